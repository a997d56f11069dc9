//! The job word, decoded.

use protocol_kit::table::State;
use std::fmt;

/// Names one job in the history of a slot. 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Generation(u64);

impl Generation {
    /// Number of bits in the word.
    pub const BITS: u32 = 40;
    const MASK: u64 = (1 << Self::BITS) - 1;

    /// The generation after this one; wraps at 2^40.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) & Self::MASK)
    }

    /// The number, for logs and for the cookie.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The generation with this number; bits above the 40th are dropped.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MASK)
    }
}

/// Where a job is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// On the free list, or about to be put there.
    Free = 0,
    /// Claimed by a leader that fills in the request.
    Reserved = 1,
    /// On its lane's list, waiting for a worker.
    Queued = 2,
    /// Bound to a worker that has not begun it.
    Starting = 3,
    /// Being executed.
    Running = 4,
    /// Committed.
    Completed = 5,
    /// Aborted by an error that was not the cancel of the job, or lost with its worker.
    Failed = 6,
    /// Aborted by the cancel of the job.
    Canceled = 7,
}

impl Phase {
    const BITS: u32 = 4;
    const MASK: u64 = (1 << Self::BITS) - 1;

    fn from_bits(bits: u64) -> Self {
        match bits & Self::MASK {
            0 => Self::Free,
            1 => Self::Reserved,
            2 => Self::Queued,
            3 => Self::Starting,
            4 => Self::Running,
            5 => Self::Completed,
            6 => Self::Failed,
            7 => Self::Canceled,
            other => unreachable!("job word holds phase {other}"),
        }
    }

    /// Queued, starting or running.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Starting | Self::Running)
    }

    /// Completed, failed or canceled.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It committed.
    Completed,
    /// It aborted, for any reason but our cancel.
    Failed,
    /// It aborted because of our cancel.
    Canceled,
}

impl End {
    pub(super) fn phase(self) -> Phase {
        match self {
            Self::Completed => Phase::Completed,
            Self::Failed => Phase::Failed,
            Self::Canceled => Phase::Canceled,
        }
    }
}

pub(super) const CANCEL: u64 = 1 << Phase::BITS;
pub(super) const TERMINATE: u64 = CANCEL << 1;
pub(super) const LEADER: u64 = TERMINATE << 1;
pub(super) const WORKER: u64 = LEADER << 1;
pub(super) const WATCHED: u64 = WORKER << 1;
pub(super) const AWAITED: u64 = WATCHED << 1;
pub(super) const PENDING: u64 = AWAITED << 1;
pub(super) const INSISTENT: u64 = PENDING << 1;
const FLAGS: u64 = CANCEL | TERMINATE | LEADER | WORKER | WATCHED | AWAITED | PENDING | INSISTENT;
pub(super) const GENERATION_SHIFT: u32 = 64 - Generation::BITS;

static_assertions::const_assert_eq!((FLAGS | Phase::MASK) >> GENERATION_SHIFT, 0);
static_assertions::const_assert_eq!(FLAGS & Phase::MASK, 0);
static_assertions::const_assert_eq!(FLAGS.count_ones(), 8);

/// The word at one moment, decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(pub(super) u64);

impl Snapshot {
    /// The job's phase.
    #[must_use]
    pub fn phase(self) -> Phase {
        Phase::from_bits(self.0)
    }

    /// The job's generation.
    #[must_use]
    pub fn generation(self) -> Generation {
        Generation(self.0 >> GENERATION_SHIFT)
    }

    /// Whether a cancel was asked for.
    #[must_use]
    pub fn has_cancel(self) -> bool {
        self.0 & CANCEL != 0
    }

    /// Whether a cancel was asked for whose error was not thrown yet, or will be thrown again until the job
    /// ends.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Whether the cancel's error is thrown again until the job ends.
    #[must_use]
    pub fn is_insistent(self) -> bool {
        self.0 & INSISTENT != 0
    }

    /// Whether the worker was asked to exit.
    #[must_use]
    pub fn must_terminate(self) -> bool {
        self.0 & TERMINATE != 0
    }

    /// Whether the leader still holds the job.
    #[must_use]
    pub fn has_leader(self) -> bool {
        self.0 & LEADER != 0
    }

    /// Whether the running side still holds the job.
    #[must_use]
    pub fn has_worker(self) -> bool {
        self.0 & WORKER != 0
    }

    /// Whether the leader sleeps until the word changes, or until the job has finished.
    #[must_use]
    pub fn is_watched(self) -> bool {
        self.0 & (WATCHED | AWAITED) != 0
    }

    /// Whether the leader is to be woken at any change.
    pub(super) fn is_change_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    pub(super) fn with_phase(self, phase: Phase) -> Self {
        Self((self.0 & !Phase::MASK) | phase as u64)
    }

    pub(super) fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    pub(super) fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    /// The word as the table of its transitions shows it.
    pub(crate) fn decode(word: u64) -> State {
        const FLAGS: [u64; 8] = [
            LEADER, WORKER, CANCEL, PENDING, INSISTENT, TERMINATE, WATCHED, AWAITED,
        ];
        let now = Self(word);
        let flags = FLAGS.iter().enumerate();
        State {
            owner: now.generation().get(),
            phase: now.phase() as u8,
            flags: flags
                .filter(|(_, flag)| word & **flag != 0)
                .map(|(bit, _)| 1 << bit)
                .sum(),
            number: 0,
        }
    }

    pub(super) fn freed(self) -> Self {
        Self(self.generation().next().0 << GENERATION_SHIFT)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("generation", &self.generation().get())
            .field("phase", &self.phase())
            .field("cancel", &self.has_cancel())
            .field("pending", &self.is_pending())
            .field("insistent", &self.is_insistent())
            .field("terminate", &self.must_terminate())
            .field("leader", &self.has_leader())
            .field("worker", &self.has_worker())
            .field("watched", &self.is_watched())
            .finish()
    }
}
