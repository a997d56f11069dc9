//! The transitions of the words, as data: one source for the code, the documentation, the models and the logs.
//!
//! | table | word | module |
//! |---|---|---|
//! | [`JOB`] | the job word | [`crate::job`] |
//! | [`WORKER`] | the worker word | [`crate::worker`] |
//! | [`GATE`] | the gate of a session | [`crate::pool::gate`] |
//! | [`USAGE`] | role and slots of a usage | [`crate::pool::usage`] |
//!
//! The function that changes a word names the transition ([`Job`], [`Worker`], [`Gate`], [`Usage`]) and says what it did
//! ([`protocol_kit::observe`]). Tests and models compare that with the table, and fail if it has no such edge. A server
//! that logs at DEBUG2 writes a line for each, and `tests/trace` replays the log against the table. `docs/transitions.md`
//! is printed from here (`protocol_kit::document`).

use crate::job::snapshot::{Phase, Snapshot};
use crate::pool::words;
use crate::worker::state;
use protocol_kit::table::{Edge, Number, Owner, Phases, Side, State, Table, Transition};

/// All tables.
pub static TABLES: [&Table; 4] = [&JOB, &WORKER, &GATE, &USAGE];

const NO_NUMBER: &str = "";

const fn any_of(phases: &[Phase]) -> Phases {
    let (mut bits, mut next) = (0, 0);
    while next < phases.len() {
        bits |= 1 << phases[next] as u8;
        next += 1;
    }
    bits
}

/// Transitions of the job word, in the order of [`JOB`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the table describes them")]
pub enum Job {
    Reserve,
    Abandon,
    Publish,
    Bind,
    Unbind,
    Begin,
    Finish,
    Cancel,
    Deliver,
    CancelQueued,
    Detach,
    Watch,
    AwaitEnd,
    Unwatch,
    Free,
}

/// Flags of the job word, as in the table's states.
mod flag {
    pub const LEADER: u16 = 1;
    pub const WORKER: u16 = 2;
    pub const CANCEL: u16 = 4;
    pub const PENDING: u16 = 8;
    pub const INSISTENT: u16 = 16;
    pub const TERMINATE: u16 = 32;
    pub const WATCHED: u16 = 64;
    pub const AWAITED: u16 = 128;
    /// All that a cancel may set.
    pub const CANCELS: u16 = CANCEL | PENDING | INSISTENT | TERMINATE;
    /// All.
    pub const ANY: u16 = 255;
}

const QUEUED: Phases = any_of(&[Phase::Queued]);
const STARTING: Phases = any_of(&[Phase::Starting]);
const RUNNING: Phases = any_of(&[Phase::Running]);
const FINISHED: Phases = any_of(&[Phase::Completed, Phase::Failed, Phase::Canceled]);
const HELD: Phases = QUEUED | STARTING | RUNNING | FINISHED;

const fn ends(from: Phases, end: Phase) -> Edge {
    Edge::from(from)
        .needs(flag::WORKER)
        .to(end as u8)
        .clears(flag::WORKER)
}

const LEADER_STAYS: u16 = flag::WORKER | flag::LEADER;

/// The job word.
pub static JOB: Table = Table {
    word: "job",
    owner: "generation",
    number: NO_NUMBER,
    numbered: 0,
    phases: &[
        "free",
        "reserved",
        "queued",
        "starting",
        "running",
        "completed",
        "failed",
        "canceled",
    ],
    flags: &[
        "leader",
        "worker",
        "cancel",
        "pending",
        "insistent",
        "terminate",
        "watched",
        "awaited",
    ],
    initial: State {
        owner: 1,
        phase: 0,
        flags: 0,
        number: 0,
    },
    decode: Snapshot::decode,
    transitions: &[
        Transition {
            name: "reserve",
            who: "the leader that popped the slot off the free list",
            publishes: "nothing",
            edges: &[Edge::from(any_of(&[Phase::Free]))
                .lacks(flag::ANY)
                .to(Phase::Reserved as u8)
                .sets(flag::LEADER)
                .side(Side::A)],
        },
        Transition {
            name: "abandon",
            who: "that leader, on an error while it fills in the request",
            publishes: "that the slot may be reused",
            edges: &[Edge::from(any_of(&[Phase::Reserved]))
                .needs(flag::LEADER)
                .lacks(flag::ANY & !flag::LEADER)
                .owner(Owner::Next)
                .side(Side::A)],
        },
        Transition {
            name: "publish",
            who: "that leader",
            publishes: "the request",
            edges: &[Edge::from(any_of(&[Phase::Reserved]))
                .needs(flag::LEADER)
                .lacks(flag::ANY & !flag::LEADER)
                .to(Phase::Queued as u8)
                .sets(flag::WORKER)
                .side(Side::A)],
        },
        Transition {
            name: "bind",
            who: "under the pool lock: a leader or worker that gives it to an idle worker, a worker that takes it from its lane, or the process that fails the jobs of a lane",
            publishes: "which worker (`slot.worker`)",
            edges: &[Edge::from(QUEUED)
                .needs(flag::WORKER)
                .lacks(flag::CANCELS)
                .to(Phase::Starting as u8)],
        },
        Transition {
            name: "unbind",
            who: "under the pool lock: a worker that dies before it has begun the job",
            publishes: "",
            edges: &[
                Edge::from(STARTING)
                    .case("no cancel")
                    .needs(flag::WORKER)
                    .lacks(flag::CANCELS)
                    .to(Phase::Queued as u8),
                ends(STARTING, Phase::Canceled)
                    .case("a cancel, the leader holds it")
                    .needs(LEADER_STAYS | flag::CANCEL),
                ends(STARTING, Phase::Canceled)
                    .case("a cancel, last out")
                    .needs(flag::WORKER | flag::CANCEL)
                    .lacks(flag::LEADER),
            ],
        },
        Transition {
            name: "begin",
            who: "the bound worker; refused while there is a cancel",
            publishes: "the time of the start",
            edges: &[Edge::from(STARTING)
                .needs(flag::WORKER)
                .lacks(flag::CANCELS)
                .to(Phase::Running as u8)
                .side(Side::B)],
        },
        Transition {
            name: "finish",
            who: "the bound worker, or the process that fails the jobs of a lane",
            publishes: "the outcome, and the last of the ring",
            edges: &[
                ends(RUNNING, Phase::Completed)
                    .case("completed, the leader holds it")
                    .needs(LEADER_STAYS)
                    .side(Side::B),
                ends(RUNNING, Phase::Completed)
                    .case("completed, last out")
                    .lacks(flag::LEADER)
                    .side(Side::B),
                ends(RUNNING, Phase::Failed)
                    .case("failed, the leader holds it")
                    .needs(LEADER_STAYS)
                    .side(Side::B),
                ends(RUNNING, Phase::Failed)
                    .case("failed, last out")
                    .lacks(flag::LEADER)
                    .side(Side::B),
                ends(RUNNING, Phase::Canceled)
                    .case("canceled, the leader holds it")
                    .needs(LEADER_STAYS | flag::CANCEL)
                    .side(Side::B),
                ends(RUNNING, Phase::Canceled)
                    .case("canceled, last out")
                    .needs(flag::WORKER | flag::CANCEL)
                    .lacks(flag::LEADER)
                    .side(Side::B),
                ends(STARTING, Phase::Failed)
                    .case("failed, the leader holds it")
                    .needs(LEADER_STAYS),
                ends(STARTING, Phase::Failed)
                    .case("failed, last out")
                    .lacks(flag::LEADER),
                ends(STARTING, Phase::Canceled)
                    .case("canceled, the leader holds it")
                    .needs(LEADER_STAYS | flag::CANCEL),
                ends(STARTING, Phase::Canceled)
                    .case("canceled, last out")
                    .needs(flag::WORKER | flag::CANCEL)
                    .lacks(flag::LEADER),
            ],
        },
        Transition {
            name: "cancel",
            who: "anyone with rights",
            publishes: "the request to cancel",
            edges: &[
                Edge::from(STARTING | RUNNING)
                    .case("once")
                    .needs(flag::WORKER)
                    .sets(flag::CANCEL | flag::PENDING),
                Edge::from(STARTING | RUNNING)
                    .case("until it ends")
                    .needs(flag::WORKER)
                    .sets(flag::CANCEL | flag::PENDING | flag::INSISTENT),
                Edge::from(STARTING | RUNNING)
                    .case("with its worker")
                    .needs(flag::WORKER)
                    .sets(flag::CANCEL | flag::TERMINATE),
            ],
        },
        Transition {
            name: "deliver",
            who: "the bound worker, in which the cancel's error is thrown",
            publishes: "",
            edges: &[Edge::from(RUNNING)
                .needs(flag::WORKER | flag::PENDING)
                .lacks(flag::INSISTENT)
                .clears(flag::PENDING)
                .side(Side::B)],
        },
        Transition {
            name: "cancel_queued",
            who: "under the pool lock, anyone with rights",
            publishes: "",
            edges: &[
                ends(QUEUED, Phase::Canceled)
                    .case("the leader holds it")
                    .needs(LEADER_STAYS)
                    .lacks(flag::CANCELS)
                    .sets(flag::CANCEL),
                ends(QUEUED, Phase::Canceled)
                    .case("last out")
                    .lacks(flag::CANCELS | flag::LEADER)
                    .sets(flag::CANCEL),
            ],
        },
        Transition {
            name: "detach",
            who: "the leader, or a purge on its behalf",
            publishes: "that its rows may be dropped",
            edges: &[
                Edge::from(QUEUED | STARTING | RUNNING)
                    .case("the worker holds it")
                    .needs(flag::LEADER | flag::WORKER)
                    .clears(flag::LEADER | flag::WATCHED | flag::AWAITED),
                Edge::from(FINISHED)
                    .case("last out")
                    .needs(flag::LEADER)
                    .lacks(flag::WORKER)
                    .clears(flag::LEADER | flag::WATCHED | flag::AWAITED),
            ],
        },
        Transition {
            name: "watch",
            who: "the leader, before it sleeps until the word changes",
            publishes: "which process to wake",
            edges: &[Edge::from(HELD)
                .needs(flag::LEADER)
                .sets(flag::WATCHED)
                .side(Side::A)],
        },
        Transition {
            name: "await_end",
            who: "the leader, before it sleeps until the job has finished",
            publishes: "which process to wake",
            edges: &[Edge::from(HELD)
                .needs(flag::LEADER)
                .sets(flag::AWAITED)
                .side(Side::A)],
        },
        Transition {
            name: "unwatch",
            who: "the leader, at the end of its wait, in whichever way it ends",
            publishes: "",
            edges: &[Edge::from(HELD)
                .needs(flag::LEADER)
                .clears(flag::WATCHED | flag::AWAITED)
                .side(Side::A)],
        },
        Transition {
            name: "free",
            who: "the process that was last out",
            publishes: "that the slot may be reused",
            edges: &[Edge::from(FINISHED)
                .lacks(flag::LEADER | flag::WORKER)
                .owner(Owner::Next)],
        },
    ],
};

/// Transitions of the worker word, in the order of [`WORKER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the table describes them")]
pub enum Worker {
    Claim,
    Assign,
    Rest,
    Dismiss,
    Restart,
    Vacate,
}

const VACANT: u8 = 0;
const LIVE_STARTING: u8 = 1;
const IDLE: u8 = 2;
const BUSY: u8 = 3;
const EXITING: u8 = 4;

/// The worker word.
pub static WORKER: Table = Table {
    word: "worker",
    owner: "generation",
    number: "job",
    numbered: 1 << BUSY,
    phases: &["vacant", "starting", "idle", "busy", "exiting"],
    flags: &[],
    initial: State {
        owner: 1,
        phase: VACANT,
        flags: 0,
        number: 0,
    },
    decode: state::State::decode,
    transitions: &[
        Transition {
            name: "claim",
            who: "a leader or worker that starts one",
            publishes: "",
            edges: &[Edge::from(1 << VACANT).to(LIVE_STARTING)],
        },
        Transition {
            name: "assign",
            who: "a leader or another worker (from idle), or the worker itself",
            publishes: "which job it has",
            edges: &[Edge::from(1 << LIVE_STARTING | 1 << IDLE | 1 << BUSY)
                .to(BUSY)
                .number(Number::Any)],
        },
        Transition {
            name: "rest",
            who: "the worker itself",
            publishes: "",
            edges: &[Edge::from(1 << LIVE_STARTING | 1 << BUSY)
                .to(IDLE)
                .number(Number::Zero)],
        },
        Transition {
            name: "dismiss",
            who: "any process that dismisses it, or the worker when it begins to exit",
            publishes: "",
            edges: &[Edge::from(1 << IDLE).to(EXITING)],
        },
        Transition {
            name: "restart",
            who: "any process that needs its worker slot (from idle), or the worker itself",
            publishes: "that a fresh process has the worker slot",
            edges: &[Edge::from(1 << IDLE | 1 << BUSY | 1 << EXITING)
                .to(LIVE_STARTING)
                .number(Number::Zero)],
        },
        Transition {
            name: "vacate",
            who: "the worker itself when it exits; the process that failed to register it, or that takes the worker slot of a lost process back",
            publishes: "that its process is gone",
            edges: &[
                Edge::from(1 << LIVE_STARTING | 1 << IDLE | 1 << BUSY | 1 << EXITING)
                    .owner(Owner::Next),
            ],
        },
    ],
};

/// Transitions of a session's gate, in the order of [`GATE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the table describes them")]
pub enum Gate {
    Enter,
    AwaitEntry,
    Leave,
    AbandonGate,
    BeginPurge,
    EndPurge,
}

const OPEN: u8 = 0;
const WITHIN: u8 = 1;
const CLOSED: u8 = 2;
const WAITS: u16 = 1;
const ASKED: u16 = 2;

/// The gate of a session.
pub static GATE: Table = Table {
    word: "gate",
    owner: "",
    number: NO_NUMBER,
    numbered: 0,
    phases: &["open", "within", "closed"],
    flags: &["waits", "asked"],
    initial: State {
        owner: 0,
        phase: OPEN,
        flags: 0,
        number: 0,
    },
    decode: words::decode_gate,
    transitions: &[
        Transition {
            name: "enter",
            who: "the session, before it looks at its jobs",
            publishes: "",
            edges: &[Edge::from(1 << OPEN).lacks(WAITS | ASKED).to(WITHIN)],
        },
        Transition {
            name: "await_entry",
            who: "the session, in the same step, when a purge has closed the gate",
            publishes: "that it waits",
            edges: &[Edge::from(1 << CLOSED).lacks(WAITS).sets(WAITS)],
        },
        Transition {
            name: "leave",
            who: "the session",
            publishes: "what it did inside",
            edges: &[
                Edge::from(1 << WITHIN)
                    .case("nobody has asked")
                    .lacks(ASKED)
                    .to(OPEN),
                Edge::from(1 << WITHIN)
                    .case("asked to purge")
                    .needs(ASKED)
                    .clears(ASKED),
            ],
        },
        Transition {
            name: "abandon_gate",
            who: "the session, at its end",
            publishes: "",
            edges: &[Edge::from(1 << WITHIN).to(OPEN).clears(ASKED)],
        },
        Transition {
            name: "begin_purge",
            who: "any process with rights, under the pool lock",
            publishes: "",
            edges: &[
                Edge::from(1 << OPEN).case("nobody is within").to(CLOSED),
                Edge::from(1 << WITHIN)
                    .case("the session is within")
                    .sets(ASKED),
            ],
        },
        Transition {
            name: "end_purge",
            who: "that process",
            publishes: "what it has changed",
            edges: &[Edge::from(1 << CLOSED).to(OPEN).clears(WAITS)],
        },
    ],
};

/// Transitions of a usage's word, in the order of [`USAGE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the table describes them")]
pub enum Usage {
    ClaimSlot,
    ReleaseRoleSlot,
    UsageOf,
}

const UNUSED: u8 = 0;
const IN_USE: u8 = 1;

/// Role and slots of a usage.
pub static USAGE: Table = Table {
    word: "usage",
    owner: "role",
    number: "slots",
    numbered: 1 << IN_USE,
    phases: &["unused", "used"],
    flags: &[],
    initial: State {
        owner: 0,
        phase: UNUSED,
        flags: 0,
        number: 0,
    },
    decode: words::decode_usage,
    transitions: &[
        Transition {
            name: "claim_slot",
            who: "a launch, before it claims a slot of the table; refused at the limit",
            publishes: "",
            edges: &[
                Edge::from(1 << UNUSED).to(IN_USE).number(Number::Up),
                Edge::from(1 << IN_USE).number(Number::Up),
            ],
        },
        Transition {
            name: "release_role_slot",
            who: "the process that freed that slot, or that had claimed and found none in the table",
            publishes: "that the job is gone",
            edges: &[
                Edge::from(1 << IN_USE)
                    .case("the last")
                    .to(UNUSED)
                    .number(Number::Down),
                Edge::from(1 << IN_USE)
                    .case("others are left")
                    .number(Number::Down),
            ],
        },
        Transition {
            name: "usage_of",
            who: "under the pool lock, for a role that has no entry, when nobody waits for the former role's slots",
            publishes: "that the former role's jobs are gone",
            edges: &[Edge::from(1 << UNUSED).owner(Owner::Other)],
        },
    ],
};

/// Declares that a word's transition was made, for [`protocol_kit::observe`].
pub(crate) trait Named: Copy {
    /// The table that describes it.
    const TABLE: &'static Table;
    /// Its index in the table.
    fn index(self) -> usize;

    /// This transition has changed the word at `word`.
    fn made<T>(self, word: &T, before: u64, after: u64) {
        let address = std::ptr::from_ref(word).addr();
        protocol_kit::observe::transition(Self::TABLE, self.index(), address, before, after);
    }
}

macro_rules! named {
    ($($name:ident => $table:ident),+) => {
        $(impl Named for $name {
            const TABLE: &'static Table = &$table;
            fn index(self) -> usize {
                self as usize
            }
        })+
    };
}

named!(Job => JOB, Worker => WORKER, Gate => GATE, Usage => USAGE);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use protocol_kit::document::{graph, markdown};
    use protocol_kit::line::Line;
    use std::fs;

    /// Fails unless the file has this text. With `UPDATE_DOCS=1` it is written.
    fn is_in(path: &str, text: &str) {
        let path = format!("{}/../../docs/{path}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, text).expect("it can be written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{path} is not what the tables say: run the tests with UPDATE_DOCS=1"
        );
    }

    #[test]
    fn the_documentation_is_what_the_tables_say() {
        let begin = "<!-- Printed from src/engine/transitions.rs: UPDATE_DOCS=1 ci/engine test transitions -->\n";
        let titles = [
            "The job word",
            "The worker word",
            "The gate of a session",
            "The slots of a role",
        ];
        let mut page = format!(
            "{begin}# Transitions\n\nEach change of a word that processes share is an edge of one of these tables. \
             Tests and models fail when they make another one, and so does the check of a server's log. \
             [concurrency.md](concurrency.md) says why the transitions are safe, and [models.md](models.md) which of \
             them what has reached.\n"
        );
        for (table, title) in TABLES.into_iter().zip(titles) {
            page += &format!("\n## {title}\n\n");
            if std::ptr::eq(table, &JOB) {
                page += "![The life of a job](job-life.svg)\n\n";
            }
            page += &markdown(table);
        }
        is_in("transitions.md", &page);
        is_in("job-life.dot", &graph(&JOB));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let states = |table: &'static Table| {
            let flags = 0..1_u16 << table.flags.len();
            let phases = 0..table.phases.len() as u8;
            phases.flat_map(move |phase| {
                flags.clone().map(move |flags| State {
                    owner: if table.owner.is_empty() { 0 } else { 7 },
                    phase,
                    flags,
                    number: if table.is_numbered(phase) { 3 } else { 0 },
                })
            })
        };
        for table in TABLES {
            for before in states(table) {
                let mut after = table.initial;
                after.owner = if table.owner.is_empty() { 0 } else { 8 };
                let line = Line {
                    table,
                    index: 5,
                    transition: 1,
                    before,
                    after,
                };
                let text = line.to_string();
                let read = Line::read(&TABLES, &text)
                    .expect("a word's")
                    .expect("readable");
                assert_eq!((read.index, read.transition), (5, 1), "{text}");
                assert_eq!((read.before, read.after), (before, after), "{text}");
            }
        }
        assert!(Line::read(&TABLES, "job 0/1 is queued").is_none());
        assert!(matches!(
            Line::read(&TABLES, "job 0/1: jump: free -> free"),
            Some(Err(_))
        ));
    }

    #[test]
    fn a_line_names_an_owner_exactly_if_its_word_has_one() {
        let read = |text| Line::read(&TABLES, text).expect("a word's").is_ok();
        assert!(read("gate 5: enter: open -> within"));
        assert!(!read("gate 5/1: enter: open -> within"));
        assert!(!read("gate 5: enter: open -> within,  1"));
        assert!(read("job 0/1: reserve: free -> reserved leader"));
        assert!(!read("job 0: reserve: free -> reserved leader"));
    }

    #[test]
    fn a_line_says_which_job_a_worker_has_and_how_many_slots_a_role() {
        for (text, numbers) in [
            ("worker 0/1: assign: idle -> busy job=77", (0, 77)),
            (
                "usage 0/7: claim_slot: used slots=1 -> used slots=2",
                (1, 2),
            ),
        ] {
            let line = Line::read(&TABLES, text).expect("a word's").expect(text);
            assert_eq!((line.before.number, line.after.number), numbers);
            assert_eq!(line.to_string(), text);
        }
    }

    #[test]
    fn a_test_that_makes_another_transition_than_the_tables_fails() {
        let makes = |slots| {
            let (word, role) = (0_u64, 7 << 32);
            let make = || Usage::ClaimSlot.made(&word, role, role | slots);
            std::panic::catch_unwind(make).is_ok()
        };
        assert!(makes(1));
        assert!(!makes(2));
    }

    /// Two edges of a transition never lead from one state to the same other one: each change has one name.
    #[test]
    fn an_arc_has_one_name() {
        for table in TABLES {
            let mut names: Vec<_> = table.arcs().map(|arc| table.arc_name(arc)).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "{}: arcs with one name", table.word);
        }
    }
}
