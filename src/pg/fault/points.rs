//! The table of all fault points.
//!
//! An *occasion* is something that the driver does to make a process pass the point. The names are those of the driver
//! (`tests/faults/src/occasion.rs`). `name@3`: the fault strikes when the point is passed for the third time.

/// The code around a point, by what can happen in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// It calls the server and processes interrupts: `error`, `exit`, and a `stall` that an interrupt can end.
    Open,
    /// It calls the server, which may raise an error, and processes no interrupts: `error`, and a `stall` that only the
    /// test can end. During the process's exit an error is an exit.
    Failing,
    /// Nothing in it can fail, and no interrupt is processed, because only the next step tells others of what was done:
    /// a `stall` that only the test can end.
    Closed,
    /// As `Closed`, with a lock held for which all others wait.
    Locked,
    /// An exit callback. After any error the server goes on with the exit: `exit` and `stall`.
    Exiting,
}

impl Section {
    /// Whether an interrupt ends a wait in it.
    pub fn processes_interrupts(self) -> bool {
        self == Self::Open
    }

    /// The names of the faults that it admits.
    pub fn admits(self) -> &'static [&'static str] {
        match self {
            Self::Open => &["error", "exit", "stall"],
            Self::Failing => &["error", "stall"],
            Self::Closed | Self::Locked => &["stall"],
            Self::Exiting => &["exit", "stall"],
        }
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Failing => "failing",
            Self::Closed => "closed",
            Self::Locked => "locked",
            Self::Exiting => "exiting",
        }
    }
}

/// Which processes pass a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sides {
    /// Sessions.
    Leader,
    /// Workers.
    Worker,
    /// Both.
    Both,
}

impl Sides {
    /// The sides of that name in SQL.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"leader" => Some(Self::Leader),
            b"worker" => Some(Self::Worker),
            b"both" => Some(Self::Both),
            _ => None,
        }
    }

    /// The sides as a number.
    pub fn to_bits(self) -> u32 {
        match self {
            Self::Leader => 1,
            Self::Worker => 2,
            Self::Both => 3,
        }
    }

    /// The sides of such a number.
    pub fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Leader,
            2 => Self::Worker,
            _ => Self::Both,
        }
    }

    /// Whether `one` is one of them.
    pub fn include(self, one: Self) -> bool {
        self.to_bits() & one.to_bits() != 0
    }
}

/// A point. See the module documentation of [`super`].
pub struct Point {
    /// Its name in the source.
    pub name: &'static str,
    /// Its section, which determines the faults that it admits.
    pub section: Section,
    /// The occasions in which sessions pass it.
    pub leader: &'static [&'static str],
    /// The occasions in which workers pass it.
    pub worker: &'static [&'static str],
}

type Occasions = &'static [&'static str];

const fn leader(name: &'static str, section: Section, occasions: Occasions) -> Point {
    either(name, section, occasions, &[])
}

const fn worker(name: &'static str, section: Section, occasions: Occasions) -> Point {
    either(name, section, &[], occasions)
}

const fn either(
    name: &'static str,
    section: Section,
    leader: Occasions,
    worker: Occasions,
) -> Point {
    Point {
        name,
        section,
        leader,
        worker,
    }
}

/// All points, in the order of a job's life.
pub const POINTS: &[Point] = {
    use Section::{Closed, Exiting, Failing, Locked, Open};
    &[
        // The first use of the cluster makes the segments, and every process maps them, under a lock that an error
        // releases.
        leader("segments-made", Failing, &["first"]),
        either("control-mapped", Failing, &["job"], &["job"]),
        either("segments-mapped", Locked, &["job"], &["job"]),
        // A claimed slot belongs to the session; that is recorded before anything else.
        leader("slot-claimed", Closed, &["job", "room"]),
        leader("slot-tracked", Open, &["job", "fanout", "room"]),
        // No process can find the block until the slot has its pointer.
        leader("block-allocated", Closed, &["job"]),
        leader("request-filled", Open, &["job", "fanout"]),
        // The job is published; its worker is woken next.
        leader("job-dispatched", Locked, &["job", "warm"]),
        leader("job-enqueued", Closed, &["job", "warm", "fanout"]),
        // A claimed worker slot is noted: unwinding gives it back, and so does the exit.
        leader("worker-slot-claimed", Failing, &["job", "throttled@2"]),
        leader("worker-registered", Failing, &["job", "throttled@2"]),
        leader("job-spawned", Open, &["job", "fanout"]),
        leader("job-bound", Open, &["job"]),
        leader("handle-given", Open, &["job", "warm", "oneshot"]),
        leader("slot-waiter-listed", Open, &["room"]),
        leader("statement-launched", Closed, &["fanout@3"]),
        leader("statement-collected", Open, &["fanout", "fanout@3"]),
        // The start and end of a worker.
        worker("worker-started", Open, &["job"]),
        worker("worker-attached", Open, &["job"]),
        // Other processes know its worker slot, and it has not recorded that itself.
        worker("worker-reported", Closed, &["job"]),
        worker("worker-connects", Open, &["job"]),
        worker("worker-connected", Open, &["job"]),
        worker("worker-idle", Open, &["warm"]),
        worker("worker-leaves", Open, &["retired", "moved", "fresh"]),
        // Running a job.
        worker("job-taken", Open, &["job", "warm", "v1"]),
        worker("job-noted", Open, &["job", "chatty"]),
        worker("job-begun", Open, &["job"]),
        worker("session-adopted", Open, &["job", "leaves@2"]),
        worker("transaction-begun", Open, &["job"]),
        // Only this process knows the memory until the block has its pointer.
        worker("description-allocated", Closed, &["wide"]),
        worker("frame-made", Open, &["rows@2000", "spill"]),
        worker("spill-numbered", Open, &["spill"]),
        worker("spill-written", Open, &["spill", "spill@2"]),
        worker("spill-emptied", Open, &["emptied"]),
        worker("frame-sent", Open, &["rows", "spill@4000"]),
        worker("statement-done", Open, &["job", "fanout"]),
        worker("frames-flushed", Open, &["job", "spill"]),
        worker("commit-begun", Open, &["job", "spill"]),
        // Committed: an error here would make PostgreSQL restart the cluster.
        worker("commit-recorded", Closed, &["job"]),
        worker("committed", Open, &["job", "rows"]),
        worker("job-executed", Open, &["job", "wide"]),
        worker("outcome-noted", Open, &["job", "wide", "cancel"]),
        // The end is published; a sleeping leader is woken next.
        worker("job-finished", Closed, &["job", "detach", "cancel"]),
        worker("job-done", Open, &["job", "fresh", "leaves"]),
        worker("session-reset", Open, &["job", "chatty", "leaves"]),
        // Reading a result.
        leader("reading-begun", Open, &["job", "rows", "cursor"]),
        // Also passed while the stack unwinds.
        leader("rows-consumed", Closed, &["rows", "cursor", "spill@2"]),
        leader("row-taken", Open, &["job", "rows", "spill", "cursor@5"]),
        leader("call-launched", Open, &["call"]),
        leader("call-read", Open, &["call"]),
        leader("result-read", Open, &["job", "rows", "spill", "cursor"]),
        // Canceling a job.
        leader("cancel-flagged", Locked, &["cancel"]),
        leader("cancel-requested", Open, &["cancel"]),
        // Detaching a job, also while the stack unwinds, and at exit.
        leader("job-forgotten", Closed, &["job", "detach", "left"]),
        leader("hold-given-up", Closed, &["job", "detach", "left"]),
        either("release-begun", Closed, &["job", "left"], &["detach"]),
        either("block-freed", Closed, &["job", "left"], &["detach"]),
        // The operating system may refuse to map a segment. The error is caught, except at exit.
        either(
            "block-mapped",
            Failing,
            &["job", "left"],
            &["detach", "ended", "v1-ended"],
        ),
        // Exit callbacks.
        either("session-ends", Exiting, &["left"], &["ended", "retired"]),
        worker("worker-exit-begun", Exiting, &["ended", "refused"]),
        worker("exit-announced", Exiting, &["ended", "refused"]),
        worker("worker-slot-vacated", Exiting, &["ended", "refused"]),
        worker("job-taken-to-fail", Closed, &["refused"]),
        // Lines of the log, which are written whatever the process is doing. An error is caught, except at exit.
        either(
            "event-written",
            Failing,
            &["job", "cancel@2"],
            &["job", "ended", "v1-ended", "refused", "retired"],
        ),
        either(
            "transitions-written",
            Failing,
            &["job", "job@2", "job@3", "left@3", "left@4", "cancel@3"],
            &[
                "job",
                "job@2",
                "job@3",
                "detach@3",
                "ended@3",
                "v1-ended@2",
                "refused@2",
                "refused@3",
                "retired",
            ],
        ),
    ]
};

/// Index of the point of that name, which must exist.
pub const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < POINTS.len() {
        if is_same(POINTS[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("there is no fault point of that name")
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Index of the point of that name, if it exists.
pub fn named(name: &[u8]) -> Option<usize> {
    POINTS
        .iter()
        .position(|point| point.name.as_bytes() == name)
}
