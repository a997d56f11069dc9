//! Jobs whose freeing is deferred. Such a job has finished, and nobody holds it. It is not freed yet, because
//! its last holder could not reach the memory that the job owns (`cluster/block.rs`). The next launch frees it.
//!
//! The process that was told `LastOut` puts the job on a list. The process that takes it off is the last one
//! out from then on. Both hold the lock, so a job is freed once. The list uses the links of the slots, which
//! are not in use otherwise while a job is finished.
//!
//! A launch that waits for a slot may wait for such a job. It looks at the list whenever it looks for a slot,
//! and is woken when a job is put there. A launch that cannot reach the memory either puts the job back and
//! wakes nobody: otherwise two such launches would wake each other forever.

use super::scheduler::{Pool, PoolLock, Scheduler};
use super::slot_waiters::Resource;
use crate::locked::load;
use crate::table::JobId;

impl<L: PoolLock> Pool<'_, L> {
    /// Defers the freeing of a finished job that nobody holds. Called by the process that had to free it.
    pub fn defer_free(&self, job: JobId) {
        self.locked(|scheduler| {
            scheduler.put_deferred(job);
            scheduler.wake_waiters(Resource::Slots);
            let usage = load(&scheduler.slot(job.index).usage);
            scheduler.wake_waiters(Resource::RoleSlots(usage));
        });
    }

    /// Puts a job back that [`take_deferred`](Self::take_deferred) returned. Wakes nobody.
    pub fn defer_again(&self, job: JobId) {
        self.locked(|scheduler| scheduler.put_deferred(job));
    }

    /// A job whose freeing was deferred, if there is one. The caller frees it, or defers it again.
    #[must_use]
    pub fn take_deferred(&self) -> Option<JobId> {
        if self.shared.totals.deferred.is_empty() {
            return None;
        }
        self.locked(|scheduler| {
            let deferred = &scheduler.shared.totals.deferred;
            let index = deferred.first()?;
            deferred.remove(scheduler.shared.jobs.slots(), index);
            Some(scheduler.job_in(index))
        })
    }
}

impl Scheduler<'_> {
    fn put_deferred(&mut self, job: JobId) {
        let slots = self.shared.jobs.slots();
        self.shared.totals.deferred.push_front(slots, job.index);
    }
}
