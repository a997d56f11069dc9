//! Jobs left behind: finished, held by nobody, and not freed, because the memory that they own was out of reach
//! for the process that was the last to hold them (`pg/block.rs`). Whoever launches next frees them.
//!
//! The one that was told `LastOut` puts such a job on a list; whoever takes it off is the last out from then on.
//! Both hold the lock, so a job is freed once. The list goes through the links of the slots, which nobody uses
//! otherwise while a job is finished.
//!
//! A launch that waits for a slot may wait for that one: it looks at the list whenever it looks for a slot, and is woken
//! when a job is left behind. Who then cannot reach the memory either wakes nobody, or two such would wake each other for
//! ever.

use super::scheduler::{Pool, PoolLock, Scheduler};
use super::slot_waiters::Resource;
use crate::locked::load;
use crate::table::JobId;

impl<L: PoolLock> Pool<'_, L> {
    /// Leaves a finished job that nobody holds to the next launch. By the one that was to free it.
    pub fn defer_free(&self, job: JobId) {
        self.locked(|scheduler| {
            scheduler.put_deferred(job);
            scheduler.wake_waiters(Resource::Slots);
            let usage = load(&scheduler.slot(job.index).usage);
            scheduler.wake_waiters(Resource::RoleSlots(usage));
        });
    }

    /// Likewise, by one that has taken it off the list.
    pub fn defer_again(&self, job: JobId) {
        self.locked(|scheduler| scheduler.put_deferred(job));
    }

    /// A job that was left behind, if there is one: the caller's to free, or to leave behind again.
    #[must_use]
    pub fn take_deferred(&self) -> Option<JobId> {
        if self.shared.totals.left.is_empty() {
            return None;
        }
        self.locked(|scheduler| {
            let left = &scheduler.shared.totals.left;
            let index = left.first()?;
            left.remove(scheduler.shared.jobs.slots(), index);
            Some(scheduler.job_in(index))
        })
    }
}

impl Scheduler<'_> {
    fn put_deferred(&mut self, job: JobId) {
        let slots = self.shared.jobs.slots();
        self.shared.totals.left.push_front(slots, job.index);
    }
}
