//! Whether the transitions in a server's log are what the tables of the engine allow.
//!
//! The log has a line for each transition of each word (`src/cluster/trace.rs`). For each word they have to make one
//! history ([`protocol_kit::replay`]): each step is an edge of the table and begins where the one before it ended, the
//! steps of each process are in their order, and a side of a job is one process. After an orderly shutdown nothing is
//! left: no job is reserved, starting or running, no worker has a job, no purge is under way.
//!
//! # Words
//!
//! * An **epoch** is the life of the shared memory: from the start of a server, or from its recovery after a crash of one
//!   of its processes, to its end. Each epoch begins with the initial states.
//! * An epoch is **whole** if its end is in the log as an orderly shutdown. A process that crashes takes with it what it
//!   has not written, so in another epoch a history may have **gaps**: it goes on at the next state that the log shows.
//!   The steps are still checked against the table.

pub mod coverage;

use engine::transitions::{GATE, JOB, TABLES, USAGE, WORKER};
use protocol_kit::line::Line;
use protocol_kit::replay::{self, Fault, Step};
use protocol_kit::table::{State, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;

/// What marks our lines.
const MARK: &str = "DEBUG:  pg_background: ";

/// How long before a crash a process may have made the transitions that it did not write, milliseconds. A process
/// writes them at the end of each call and whenever it sleeps.
const WINDOW: u64 = 2_000;

/// Milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// What is in one log.
#[derive(Default)]
pub struct Report {
    /// Epochs that were whole.
    pub whole: usize,
    /// Others.
    pub cut: usize,
    /// Words with at least one transition.
    pub words: usize,
    /// Words whose steps lead from the first state to the last, in too many orders to look for that of the processes.
    pub only_paths: usize,
    /// Transitions.
    pub steps: usize,
    /// Names of the arcs that were taken, each with its word before it.
    pub arcs: BTreeSet<String>,
    /// What the tables do not allow, with the lines.
    pub faults: Vec<String>,
}

impl Report {
    /// Appends the names of the arcs to the file that `PROTOCOL_COVERAGE` names, as tests of the engine do.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn note_coverage(&self) {
        let Some(path) = std::env::var_os("PROTOCOL_COVERAGE") else {
            return;
        };
        let arcs: String = self.arcs.iter().map(|arc| format!("{arc}\n")).collect();
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(arcs.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Adds what is in another log.
    pub fn add(&mut self, other: Self) {
        self.whole += other.whole;
        self.cut += other.cut;
        self.words += other.words;
        self.only_paths += other.only_paths;
        self.steps += other.steps;
        self.arcs.extend(other.arcs);
        self.faults.extend(other.faults);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = TABLES.iter().map(|table| table.arcs().count()).sum();
        write!(
            f,
            "{} transitions of {} words ({} as paths only) in {} whole and {} cut epochs; {} of {all} arcs; {} faults",
            self.steps,
            self.words,
            self.only_paths,
            self.whole,
            self.cut,
            self.arcs.len(),
            self.faults.len()
        )
    }
}

/// The words of an epoch.
type Words = BTreeMap<(&'static str, u32), Vec<(Step, usize)>>;

/// Checks a log. `name` is for the faults.
#[must_use]
pub fn check(name: &str, log: &str) -> Report {
    let mut report = Report::default();
    let mut words = Words::new();
    let mut was_shut_down = false;
    let lines: Vec<&str> = log.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if let Some(end) = epoch_end(line) {
            match end {
                EpochEnd::Start | EpochEnd::Crash => {
                    let is_whole = was_shut_down && end == EpochEnd::Start;
                    finish(
                        name,
                        &lines,
                        time_of(line),
                        &mut words,
                        is_whole,
                        &mut report,
                    );
                    was_shut_down = false;
                }
                EpochEnd::ShutDown => was_shut_down = true,
            }
            continue;
        }
        let Some((prefix, text)) = line.split_once(MARK) else {
            continue;
        };
        match Line::read(&TABLES, text) {
            None => {
                if text.contains("transitions could not be remembered") {
                    report.faults.push(format!("{name}:{}: {text}", number + 1));
                }
            }
            Some(Err(error)) => report
                .faults
                .push(format!("{name}:{}: {error}", number + 1)),
            Some(Ok(read)) => {
                let Some(process) = process_of(prefix) else {
                    report.faults.push(format!("{name}:{}: no PID", number + 1));
                    continue;
                };
                let Line {
                    table,
                    index,
                    transition,
                    before,
                    after,
                } = read;
                let step = Step {
                    process,
                    transition,
                    before,
                    after,
                };
                words
                    .entry((table.word, index))
                    .or_default()
                    .push((step, number));
            }
        }
    }
    let ended = lines.iter().rev().find_map(|line| time_of(line));
    finish(name, &lines, ended, &mut words, was_shut_down, &mut report);
    report
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EpochEnd {
    Start,
    Crash,
    ShutDown,
}

fn epoch_end(line: &str) -> Option<EpochEnd> {
    let (_, text) = line.split_once("LOG:  ")?;
    if text.starts_with("starting PostgreSQL ") {
        Some(EpochEnd::Start)
    } else if text.starts_with("all server processes terminated; reinitializing") {
        Some(EpochEnd::Crash)
    } else if text == "database system is shut down" {
        Some(EpochEnd::ShutDown)
    } else {
        None
    }
}

/// The PID in `... [PID] ...`.
fn process_of(prefix: &str) -> Option<u32> {
    let (_, rest) = prefix.split_once('[')?;
    rest.split_once(']')?.0.parse().ok()
}

/// Milliseconds of the day, from `2026-01-31 23:59:59.999 UTC ...`. Whatever is no time of a day has none.
fn time_of(line: &str) -> Option<u64> {
    let time = line.split(' ').nth(1)?;
    let (time, milliseconds) = time.split_once('.')?;
    let mut seconds = 0_u64;
    for part in time.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let time = seconds
        .checked_mul(1000)?
        .checked_add(milliseconds.parse().ok()?)?;
    (time < DAY).then_some(time)
}

/// `ended`: when the epoch ended.
fn finish(
    name: &str,
    lines: &[&str],
    ended: Option<u64>,
    words: &mut Words,
    is_whole: bool,
    report: &mut Report,
) {
    if words.is_empty() {
        return;
    }
    if is_whole {
        report.whole += 1;
    } else {
        report.cut += 1;
    }
    for ((word, index), numbered) in std::mem::take(words) {
        let table = TABLES
            .into_iter()
            .find(|table| table.word == word)
            .expect("it was read");
        let steps: Vec<Step> = numbered.iter().map(|(step, _)| *step).collect();
        report.words += 1;
        report.steps += steps.len();
        // After this step other steps may be missing.
        let may_be_lost = |step: usize| {
            let logged = lines.get(numbered[step].1).and_then(|line| time_of(line));
            !is_whole
                && ended
                    .zip(logged)
                    .is_some_and(|(ended, logged)| (ended + DAY - logged) % DAY <= WINDOW)
        };
        let found = check_word(table, &steps, is_whole, may_be_lost, report);
        if let Err(fault) = found {
            let show = |step: usize| {
                let line = numbered[step].1;
                format!("\n  {name}:{}: {}", line + 1, lines[line])
            };
            report.faults.push(describe(table, index, &fault, show));
        }
    }
}

/// A history, or what is wrong with it.
enum Wrong {
    Step(Fault),
    /// The state in which the word was left.
    Left(State, Option<usize>),
}

fn check_word(
    table: &'static Table,
    steps: &[Step],
    is_whole: bool,
    may_be_lost: impl Fn(usize) -> bool,
    report: &mut Report,
) -> Result<(), Wrong> {
    let arcs = replay::arcs(table, steps).map_err(Wrong::Step)?;
    let names = arcs
        .iter()
        .map(|arc| format!("{} {}", table.word, table.arc_name(*arc)));
    report.arcs.extend(names);
    let order = match replay::order(table.initial, steps) {
        Err(Fault::Stuck { next, .. }) if next.iter().all(|&step| may_be_lost(step)) => {
            return Ok(());
        }
        Err(Fault::GaveUp) => {
            report.only_paths += 1;
            let end = replay::is_path(table.initial, steps).ok_or(Wrong::Step(Fault::GaveUp))?;
            return if may_be_left(table, &end) {
                Ok(())
            } else {
                Err(Wrong::Left(end, None))
            };
        }
        order => order.map_err(Wrong::Step)?,
    };
    replay::check_sides(table, steps, &order, &arcs).map_err(Wrong::Step)?;
    let last = order.last().copied();
    let state = last.map_or(table.initial, |step| steps[step].after);
    if !is_whole || may_be_left(table, &state) {
        Ok(())
    } else {
        Err(Wrong::Left(state, last))
    }
}

/// Whether a word may be like this after an orderly shutdown. Accepted work may wait for a worker, or be over and
/// nobody's; a worker may have been asked for that never came.
fn may_be_left(table: &Table, state: &State) -> bool {
    let phase = table.phases[usize::from(state.phase)];
    if std::ptr::eq(table, &JOB) {
        matches!(phase, "free" | "queued")
    } else if std::ptr::eq(table, &WORKER) {
        matches!(phase, "vacant" | "starting")
    } else if std::ptr::eq(table, &GATE) {
        phase == "open"
    } else {
        debug_assert!(std::ptr::eq(table, &USAGE));
        true
    }
}

fn describe(table: &Table, index: u32, wrong: &Wrong, show: impl Fn(usize) -> String) -> String {
    let word = format!("{} {index}", table.word);
    let state_of = |state: &State| {
        if table.owner.is_empty() {
            table.describe(state).to_string()
        } else {
            format!("{} {}: {}", table.owner, state.owner, table.describe(state))
        }
    };
    match wrong {
        Wrong::Step(Fault::NoEdge { step }) => {
            format!("{word}: the table has no such edge:{}", show(*step))
        }
        Wrong::Step(Fault::Stuck { state, last, next }) => {
            let last = last.map_or_else(String::new, &show);
            let next: String = next.iter().take(4).map(|step| show(*step)).collect();
            format!(
                "{word}: no step goes on from {}. The last one that fits:{last}\n The next ones:{next}",
                state_of(state)
            )
        }
        Wrong::Step(Fault::GaveUp) => {
            format!("{word}: the steps lead nowhere in any order; some are missing or there twice")
        }
        Wrong::Step(Fault::WrongProcess { step, earlier }) => format!(
            "{word}: two processes act as one side:{}{}",
            show(*earlier),
            show(*step)
        ),
        Wrong::Left(state, last) => {
            let last = last.map_or_else(String::new, &show);
            format!(
                "{word}: the server was shut down, and left it in {}:{last}",
                state_of(state)
            )
        }
    }
}

/// The names of all arcs of all tables, each with its word before it, in the order of the tables.
pub fn all_arcs() -> impl Iterator<Item = String> {
    TABLES.into_iter().flat_map(|table| {
        let arcs = table.arcs();
        arcs.map(move |arc| format!("{} {}", table.word, table.arc_name(arc)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_of_a_day_has_none() {
        assert_eq!(time_of("2026-01-31 23:59:59.999 UTC [1]"), Some(DAY - 1));
        assert_eq!(time_of("2026-01-31 24:00:00.000 UTC [1]"), None);
        assert_eq!(time_of("- 999999999999999999:1.0"), None);
        assert_eq!(time_of("- 1.18446744073709551615"), None);
    }
}
