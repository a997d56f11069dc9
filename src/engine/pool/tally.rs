//! Jobs by how they ended; who counts them is in [`super::ends`].

use crate::job::Phase;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::Micros;

/// Jobs by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ends {
    /// Committed.
    pub completed: u64,
    /// With an error that was not our cancel.
    pub failed: u64,
    /// By our cancel.
    pub canceled: u64,
    /// How long they ran, in all.
    pub run_time: Micros,
}

impl Ends {
    /// A job ended in this phase, having run so long.
    pub fn count(&mut self, phase: Phase, run_time: Micros) {
        match phase {
            Phase::Completed => self.completed += 1,
            Phase::Canceled => self.canceled += 1,
            _ => self.failed += 1,
        }
        self.run_time += run_time;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.completed + self.failed + self.canceled
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            canceled: self.canceled + other.canceled,
            run_time: self.run_time + other.run_time,
        }
    }
}

/// In a session's entry. Written by the holder of the pool's lock.
#[derive(Default)]
pub(super) struct SharedEnds {
    completed: AtomicU64,
    failed: AtomicU64,
    canceled: AtomicU64,
    run_time: AtomicU64,
}

impl SharedEnds {
    pub(super) fn load(&self) -> Ends {
        Ends {
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            canceled: self.canceled.load(Ordering::Relaxed),
            run_time: self.run_time.load(Ordering::Relaxed),
        }
    }

    pub(super) fn store(&self, ends: Ends) {
        self.completed.store(ends.completed, Ordering::Relaxed);
        self.failed.store(ends.failed, Ordering::Relaxed);
        self.canceled.store(ends.canceled, Ordering::Relaxed);
        self.run_time.store(ends.run_time, Ordering::Relaxed);
    }
}
