//! Jobs left behind: finished, held by nobody, and not freed, because the memory that they own was out of reach
//! for the process that was the last to hold them (`pg/block.rs`). Whoever launches next frees them.
//!
//! The one that was told `LastOut` puts such a job on a list; whoever takes it off is the last out from then on.
//! Both hold the lock, so a job is freed once. The list goes through `next` of the slots, which nobody uses
//! otherwise while a job is finished.

use super::{Link, Ordering, Pool, PoolLock};
use crate::engine::table::JobId;

impl<L: PoolLock> Pool<'_, L> {
    /// Leaves a finished job that nobody holds to the next launch. By the one that was to free it.
    pub fn leave_behind(&self, job: JobId) {
        self.locked(|scheduler| {
            let first = &scheduler.totals.left;
            Link::load(first).store(&scheduler.slot(job.index).next);
            Link::to(job.index).store(first);
        });
    }

    /// A job that was left behind, if there is one: the caller's to free, or to leave behind again.
    #[must_use]
    pub fn take_left_behind(&self) -> Option<JobId> {
        if self.totals.left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.locked(|scheduler| {
            let first = &scheduler.totals.left;
            let index = Link::load(first).index()?;
            Link::load(&scheduler.slot(index).next).store(first);
            Some(scheduler.job_in(index))
        })
    }
}
