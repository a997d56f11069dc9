//! Whether the transitions that several processes have logged can be one history of the word.
//!
//! Each process logs its transitions in the order in which it made them, some time after it made them. So in the log
//! the lines of one process are in order, and those of different processes need not be. Every line says from which
//! state to which state it led. The lines are the word's history if they can be put in an order in which each begins
//! where the one before it ended, with the lines of each process in their own order.
//!
//! A transition that is missing, is there twice, or stands before another one of its process, leaves no such order,
//! unless it led back to the state that it came from.
//!
//! [`order`] looks for the order. At a state from which several processes could go on it tries the one that comes
//! first in the log, and comes back to the others if that leads nowhere. A word whose states come again and again (a
//! count that many processes change) can have too many orders to try. Then [`Fault::GaveUp`] says so, and [`is_path`]
//! still finds out whether any order exists, without regard to that of each process: a step that is missing or there
//! twice is found that way too.

use crate::table::{Arc, Side, State, Table};
use std::collections::{HashMap, HashSet};

/// A transition, as logged.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The process.
    pub process: u32,
    /// Index into the table's transitions.
    pub transition: usize,
    /// The state before it.
    pub before: State,
    /// The state after it.
    pub after: State,
}

/// Why the steps are no history of the word.
#[derive(Debug)]
pub enum Fault {
    /// The table does not have this step.
    NoEdge {
        /// Index of the step.
        step: usize,
    },
    /// No step continues from here.
    Stuck {
        /// The state.
        state: State,
        /// The last step, if there was one.
        last: Option<usize>,
        /// The next step of each process.
        next: Vec<usize>,
    },
    /// There are too many orders to try.
    GaveUp,
    /// A step of a side that another process had begun.
    WrongProcess {
        /// Index of the step.
        step: usize,
        /// A step of the same side.
        earlier: usize,
    },
}

/// The arc of each step.
///
/// # Errors
/// The first step that the table does not have.
pub fn arcs(table: &Table, steps: &[Step]) -> Result<Vec<Arc>, Fault> {
    let arc = |(step, made): (usize, &Step)| {
        table
            .find(made.transition, &made.before, &made.after)
            .ok_or(Fault::NoEdge { step })
    };
    steps.iter().enumerate().map(arc).collect()
}

/// A state from which several processes can go on.
struct Choice {
    /// How many steps were taken before.
    taken: usize,
    /// Processes to try, the next one last.
    untried: Vec<usize>,
}

/// After how many steps that were taken back the search gives up.
const PATIENCE: usize = 200_000;

/// Puts the steps of a word, which are in the order of the log, in the order in which they were made.
///
/// # Errors
/// [`Fault::Stuck`]: where the longest history that was found ends.
pub fn order(start: State, steps: &[Step]) -> Result<Vec<usize>, Fault> {
    // The steps of each process, and how many of them were taken.
    let mut processes: Vec<(u32, Vec<usize>)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        match processes
            .iter_mut()
            .find(|(process, _)| *process == step.process)
        {
            Some((_, own)) => own.push(index),
            None => processes.push((step.process, vec![index])),
        }
    }
    let mut cursors = vec![0_usize; processes.len()];
    let mut history: Vec<(usize, usize)> = Vec::new();
    let mut state = start;
    let mut choices: Vec<Choice> = Vec::new();
    let mut hopeless: HashSet<(State, Vec<usize>)> = HashSet::new();
    let mut longest: Option<(usize, Fault)> = None;
    let mut taken_back = 0;
    // Processes whose next step is early in the log come first. The heads are kept sorted by it.
    loop {
        let mut able: Vec<usize> = (0..processes.len())
            .filter(|&process| {
                let own = &processes[process].1;
                own.get(cursors[process])
                    .is_some_and(|&step| steps[step].before == state)
            })
            .collect();
        able.sort_by_key(|&process| std::cmp::Reverse(processes[process].1[cursors[process]]));
        if able.len() > 1 && hopeless.contains(&(state, cursors.clone())) {
            able.clear();
        }
        if let Some(process) = able.pop() {
            if !able.is_empty() {
                choices.push(Choice {
                    taken: history.len(),
                    untried: able,
                });
            }
            take(
                &processes,
                steps,
                &mut cursors,
                &mut history,
                &mut state,
                process,
            );
            continue;
        }
        if history.len() == steps.len() {
            return Ok(history.into_iter().map(|(_, step)| step).collect());
        }
        if longest
            .as_ref()
            .is_none_or(|(length, _)| history.len() > *length)
        {
            let next = processes.iter().zip(&cursors);
            let next = next
                .filter_map(|((_, own), &cursor)| own.get(cursor).copied())
                .collect();
            let last = history.last().map(|&(_, step)| step);
            longest = Some((history.len(), Fault::Stuck { state, last, next }));
        }
        // Back to the last choice.
        loop {
            let Some(choice) = choices.last_mut() else {
                return Err(longest.expect("it was set above").1);
            };
            while history.len() > choice.taken {
                let (process, step) = history.pop().expect("longer than the choice");
                cursors[process] -= 1;
                state = steps[step].before;
                taken_back += 1;
            }
            if taken_back > PATIENCE {
                return Err(Fault::GaveUp);
            }
            if let Some(process) = choice.untried.pop() {
                take(
                    &processes,
                    steps,
                    &mut cursors,
                    &mut history,
                    &mut state,
                    process,
                );
                break;
            }
            hopeless.insert((state, cursors.clone()));
            choices.pop();
        }
    }
}

fn take(
    processes: &[(u32, Vec<usize>)],
    steps: &[Step],
    cursors: &mut [usize],
    history: &mut Vec<(usize, usize)>,
    state: &mut State,
    process: usize,
) {
    let step = processes[process].1[cursors[process]];
    cursors[process] += 1;
    history.push((process, step));
    *state = steps[step].after;
}

/// Whether the steps, each taken once, lead from this state on in some order. Returns the state at its end.
#[must_use]
pub fn is_path(start: State, steps: &[Step]) -> Option<State> {
    // How often more a state is left than entered, and the states that each one leads to.
    let mut surplus: HashMap<State, i64> = HashMap::new();
    let mut next: HashMap<State, Vec<State>> = HashMap::new();
    for step in steps {
        *surplus.entry(step.before).or_default() += 1;
        *surplus.entry(step.after).or_default() -= 1;
        next.entry(step.before).or_default().push(step.after);
    }
    let uneven: Vec<_> = surplus
        .iter()
        .filter(|(_, surplus)| **surplus != 0)
        .collect();
    let end = match uneven[..] {
        [] => start,
        [(one, &by), (other, _)] if by.abs() == 1 => {
            let (first, last) = if by == 1 {
                (*one, *other)
            } else {
                (*other, *one)
            };
            if first != start {
                return None;
            }
            last
        }
        _ => return None,
    };
    let mut reached = HashSet::from([start]);
    let mut left = vec![start];
    while let Some(state) = left.pop() {
        for &state in next.get(&state).map_or(&[][..], Vec::as_slice) {
            if reached.insert(state) {
                left.push(state);
            }
        }
    }
    next.keys()
        .all(|state| reached.contains(state))
        .then_some(end)
}

/// Checks that each side of the word is one process, as long as the owner is the same. `order` is what [`order`]
/// returned, and `arcs` what [`arcs`] did.
///
/// # Errors
/// The first step of another process.
pub fn check_sides(
    table: &Table,
    steps: &[Step],
    order: &[usize],
    arcs: &[Arc],
) -> Result<(), Fault> {
    let mut first: [Option<usize>; 2] = [None; 2];
    for &step in order {
        let Arc {
            transition, edge, ..
        } = arcs[step];
        let side = match table.transitions[transition].edges[edge].side {
            Side::A => 0,
            Side::B => 1,
            Side::Any => usize::MAX,
        };
        if let Some(first) = first.get_mut(side) {
            let earlier = *first.get_or_insert(step);
            if steps[earlier].process != steps[step].process {
                return Err(Fault::WrongProcess { step, earlier });
            }
        }
        if steps[step].before.owner != steps[step].after.owner {
            first = [None; 2];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Edge, Owner, Transition};

    const OUT: u16 = 1;
    const IN: u16 = 2;

    /// A thing that is taken, looked at, and given back.
    static TABLE: Table = Table {
        word: "thing",
        owner: "turn",
        number: "",
        numbered: 0,
        phases: &["out", "in"],
        flags: &["seen"],
        initial: State {
            owner: 0,
            phase: 0,
            flags: 0,
            number: 0,
        },
        decode: |_| State {
            owner: 0,
            phase: 0,
            flags: 0,
            number: 0,
        },
        transitions: &[
            Transition {
                name: "take",
                who: "",
                publishes: "",
                edges: &[Edge::from(OUT).to(1).side(Side::A)],
            },
            Transition {
                name: "look",
                who: "",
                publishes: "",
                edges: &[Edge::from(IN).lacks(1).sets(1)],
            },
            Transition {
                name: "forget",
                who: "",
                publishes: "",
                edges: &[Edge::from(IN).needs(1).clears(1)],
            },
            Transition {
                name: "give back",
                who: "",
                publishes: "",
                edges: &[Edge::from(IN).to(0).owner(Owner::Next).side(Side::A)],
            },
        ],
    };

    fn state(owner: u64, phase: u8, flags: u16) -> State {
        State {
            owner,
            phase,
            flags,
            number: 0,
        }
    }

    fn step(process: u32, name: &str, before: State, after: State) -> Step {
        let transition = TABLE.transition(name).expect("a transition");
        Step {
            process,
            transition,
            before,
            after,
        }
    }

    /// Three turns, in each of which another process looks twice. Its lines come late.
    fn log() -> Vec<Step> {
        let mut log = Vec::new();
        for turn in 0..3 {
            log.push(step(1, "take", state(turn, 0, 0), state(turn, 1, 0)));
            log.push(step(
                1,
                "give back",
                state(turn, 1, 1),
                state(turn + 1, 0, 0),
            ));
        }
        for turn in 0..3 {
            log.push(step(2, "look", state(turn, 1, 0), state(turn, 1, 1)));
            log.push(step(3, "forget", state(turn, 1, 1), state(turn, 1, 0)));
            log.push(step(2, "look", state(turn, 1, 0), state(turn, 1, 1)));
        }
        log
    }

    fn check(log: &[Step]) -> Result<(), Fault> {
        let arcs = arcs(&TABLE, log)?;
        let order = order(TABLE.initial, log)?;
        check_sides(&TABLE, log, &order, &arcs)
    }

    #[test]
    fn lines_that_come_late_are_put_where_they_belong() {
        check(&log()).expect("a history");
        let order = order(TABLE.initial, &log()).expect("a history");
        assert_eq!(order.len(), log().len());
    }

    #[test]
    fn a_choice_that_leads_nowhere_is_taken_back() {
        // Either process could look first, and only process 3 must not: its next step needs the flag clear again.
        let log = [
            step(1, "take", state(0, 0, 0), state(0, 1, 0)),
            step(3, "look", state(0, 1, 0), state(0, 1, 1)),
            step(3, "give back", state(0, 1, 1), state(1, 0, 0)),
            step(2, "look", state(0, 1, 0), state(0, 1, 1)),
            step(2, "forget", state(0, 1, 1), state(0, 1, 0)),
        ];
        let order = order(TABLE.initial, &log).expect("a history");
        assert_eq!(order, [0, 3, 4, 1, 2]);
    }

    #[test]
    fn a_line_that_is_missing_is_noticed_wherever_it_was() {
        let whole = log();
        for missing in 0..whole.len() {
            let mut log = whole.clone();
            log.remove(missing);
            // The last step of all is missing: that is a shorter history.
            let is_prefix = whole[missing].after == state(3, 0, 0);
            assert_eq!(check(&log).is_ok(), is_prefix, "without step {missing}");
        }
    }

    #[test]
    fn a_line_that_is_there_twice_is_noticed_wherever_it_is() {
        for doubled in 0..log().len() {
            let mut log = log();
            log.insert(doubled, log[doubled]);
            assert!(check(&log).is_err(), "step {doubled} twice");
        }
    }

    #[test]
    fn lines_of_one_process_in_another_order_are_noticed() {
        let whole = log();
        for first in 0..whole.len() {
            let same = |step: &Step| step.process == whole[first].process;
            let Some(second) = (first + 1..whole.len()).find(|&next| same(&whole[next])) else {
                continue;
            };
            if (whole[first].before, whole[first].after)
                == (whole[second].before, whole[second].after)
            {
                continue; // the same step
            }
            let mut log = whole.clone();
            log.swap(first, second);
            assert!(check(&log).is_err(), "steps {first} and {second} exchanged");
        }
    }

    #[test]
    fn a_path_is_found_and_what_is_missing_or_doubled_noticed() {
        let whole = log();
        assert_eq!(is_path(TABLE.initial, &whole), Some(state(3, 0, 0)));
        for step in 0..whole.len() {
            let mut doubled = whole.clone();
            doubled.push(whole[step]);
            assert_eq!(is_path(TABLE.initial, &doubled), None, "step {step} twice");
            let mut missing = whole.clone();
            missing.remove(step);
            let is_last = whole[step].after == state(3, 0, 0);
            assert_eq!(
                is_path(TABLE.initial, &missing).is_some(),
                is_last,
                "without step {step}"
            );
        }
        // A part that cannot be reached.
        let apart = [
            step(1, "look", state(9, 1, 0), state(9, 1, 1)),
            step(1, "forget", state(9, 1, 1), state(9, 1, 0)),
        ];
        assert_eq!(is_path(TABLE.initial, &[&whole[..], &apart].concat()), None);
    }

    /// Two hundred processes that count up and down.
    #[test]
    fn a_search_that_would_take_forever_gives_up() {
        let mut log = Vec::new();
        for round in 0..200 {
            let process = 100 + round % 40;
            log.push(step(process, "look", state(0, 1, 0), state(0, 1, 1)));
            log.push(step(process + 50, "forget", state(0, 1, 1), state(0, 1, 0)));
        }
        let start = state(0, 1, 0);
        // The last step of one process comes before the others', where it does not fit.
        log.push(step(100, "take", state(0, 1, 1), state(0, 1, 1)));
        log.push(step(100, "look", state(7, 1, 0), state(0, 1, 1)));
        let begun = std::time::Instant::now();
        assert!(order(start, &log).is_err());
        assert!(begun.elapsed().as_secs() < 60);
    }

    #[test]
    fn an_edge_that_the_table_does_not_have_is_noticed() {
        let mut log = log();
        log[1].before.flags = 0;
        log[1].after.phase = 1;
        assert!(matches!(check(&log), Err(Fault::NoEdge { step: 1 })));
    }

    #[test]
    fn a_step_of_another_process_is_noticed() {
        let mut log = log();
        log[1].process = 4;
        assert!(matches!(check(&log), Err(Fault::WrongProcess { .. })));
    }
}
