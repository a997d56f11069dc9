//! How many of a session's jobs ended in which way, for jobs that ended after the session gave them up.
//!
//! A session counts its jobs by how they ended. It counts a job itself when it finds it finished. If it
//! detached the job before, or an administrator purged it, the last one out counts the job in the session's
//! entry.
//!
//! Each job is counted once. Until then its slot says whose statistics it belongs to ([`Slot::set_account`],
//! called by the session while it holds the job). While the session holds the job and is in its gate, the session
//! counts it ([`Slot::take_account`]). When nobody holds it, the last one out does ([`Pool::count_end`]). Between the
//! two lies the transition that gives up the session's hold. Outside its gate the session does not count: a purge may
//! make that transition at any moment.
//!
//! An entry belongs to one session after another. A worker whose jobs launch jobs has one session after another
//! in the same process. So the slot names the generation of the entry, not the process.

use super::entries::Leader;
use super::scheduler::{Pool, PoolLock, Scheduler};
pub use super::tally::Ends;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::{JobId, Slot};
use crate::wait::Micros;

impl Slot {
    /// The job belongs to the statistics of the session whose entry that is. By the session, while it holds the job.
    pub fn set_account(&self, leader: &Leader) {
        self.account.store(leader.generation(), Ordering::Relaxed);
    }

    /// Whether nobody has counted the job, which the caller then does. By the session, while it holds the finished
    /// job and nobody can purge it ([`gate`](super::gate)).
    pub fn take_account(&self) -> bool {
        let account = self.account.load(Ordering::Relaxed);
        self.account.store(0, Ordering::Relaxed);
        account != 0
    }

    /// How long the finished job ran.
    #[must_use]
    pub fn run_time(&self) -> Micros {
        let started = self.started_at.load(Ordering::Relaxed);
        let finished = self.finished_at.load(Ordering::Relaxed);
        match started {
            0 => 0,
            started => finished.saturating_sub(started),
        }
    }
}

impl<L: PoolLock> Pool<'_, L> {
    /// Counts a finished job that nobody holds into the statistics that it still belongs to. By the last one out,
    /// before it frees the job; any number of times.
    pub fn count_end(&self, job: JobId) {
        let slot = self.shared.jobs.slot(job.index);
        let account = slot.account.load(Ordering::Relaxed);
        if account == 0 {
            return;
        }
        let entry = slot.leader().and_then(|proc| self.leader(proc));
        self.locked(|_| {
            slot.account.store(0, Ordering::Relaxed);
            // Otherwise the session has ended.
            if let Some(entry) = entry.filter(|entry| entry.generation() == account) {
                let mut ends = entry.ends.load();
                ends.count(slot.word.load().phase(), slot.run_time());
                entry.ends.store(ends);
            }
        });
    }
}

impl Scheduler<'_> {
    /// How those jobs of the session ended that it did not count itself.
    #[must_use]
    pub fn ends_of(&self, proc: ProcRef) -> Ends {
        let entry = self.shared.leaders.get(proc.procno() as usize);
        let own = entry.filter(|entry| entry.is_of(proc));
        own.map_or_else(Ends::default, |entry| entry.ends.load())
    }
}
