//! Jobs whose freeing is deferred. Such a job has finished, and nobody holds it. It is not freed yet, because
//! its last holder could not reach the memory that the job owns (`cluster/block.rs`). A launch frees it.
//!
//! The process that was told `LastOut` puts the job on a list, where it stays until it is freed. The list uses the
//! links of the slots, which are not in use otherwise while a job is finished.
//!
//! # Passes
//!
//! A launch **passes** through the list: it tries to free one job after the other, and leaves those there that it
//! cannot reach either. One process at a time does so, which is noted beside the list. So the process that passes is
//! the last one out of each job on the list, and a job is freed once. What it adds or removes, it does under the lock.
//!
//! # Why no wake-up is lost
//!
//! A launch that waits for a slot may wait for such a job. It passes through the list whenever it looks for a slot.
//!
//! * The process that puts a job on the list wakes those who wait.
//! * A launch that waits, and finds another one passing, has **missed** its pass: the other one may leave a job there
//!   that it could free itself. So the end of a pass wakes those who have missed theirs.
//!
//! The end of a pass wakes nobody else. Otherwise two launches that cannot reach a job would wake each other forever. As
//! it is, a launch that is woken because it missed its pass does what it would have done before, once.

use super::scheduler::{Pool, PoolLock, Scheduler};
use super::slot_waiters::Resource;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;

impl<L: PoolLock> Pool<'_, L> {
    /// Defers the freeing of a finished job that nobody holds. Called by the process that had to free it.
    pub fn defer_free(&self, job: JobId) {
        self.locked(|scheduler| {
            let slots = scheduler.shared.jobs.slots();
            scheduler
                .shared
                .totals
                .deferred
                .push_front(slots, job.index);
            scheduler.wake_waiters(Resource::Slots);
            let usage = load(&scheduler.slot(job.index).usage);
            scheduler.wake_waiters(Resource::RoleSlots(usage));
        });
    }

    /// The process begins to pass through the list. `false`: nothing is there, or another process passes.
    #[must_use]
    pub fn begin_pass(&self, proc: ProcRef) -> bool {
        !self.shared.totals.deferred.is_empty()
            && self.locked(|scheduler| scheduler.begin_pass(proc))
    }

    /// The next job after `last` of the list through which the caller passes; `None`: the first one.
    #[must_use]
    pub fn next_deferred(&self, last: Option<JobId>) -> Option<JobId> {
        self.locked(|scheduler| {
            let slots = scheduler.shared.jobs.slots();
            let deferred = &scheduler.shared.totals.deferred;
            let next = last.map_or_else(
                || deferred.first(),
                |last| deferred.after(slots, last.index),
            );
            next.map(|index| scheduler.job_in(index))
        })
    }

    /// Takes a job off the list. The caller, which passes, has freed what the job owned, and now frees its slot.
    pub fn forget_deferred(&self, job: JobId) {
        self.locked(|scheduler| {
            let slots = scheduler.shared.jobs.slots();
            scheduler.shared.totals.deferred.remove(slots, job.index);
        });
    }

    /// The process passes through the list no more. Does nothing if it did not.
    pub fn end_pass(&self, proc: ProcRef) {
        // Only the process itself sets this to its own value.
        let is_own = self.shared.totals.passing.load(Ordering::Relaxed) == proc.to_bits();
        if is_own {
            self.locked(|scheduler| scheduler.end_pass());
        }
    }
}

impl Scheduler<'_> {
    fn begin_pass(&mut self, proc: ProcRef) -> bool {
        let totals = self.shared.totals;
        if totals.passing.load(Ordering::Relaxed) != 0 {
            self.note_missed_pass(proc);
            return false;
        }
        totals.passing.store(proc.to_bits(), Ordering::Relaxed);
        true
    }

    /// Only a launch that is queued sleeps before it looks again.
    fn note_missed_pass(&mut self, proc: ProcRef) {
        let waiter = &self.shared.leaders[proc.procno() as usize].waiter;
        if load(&waiter.queue) != 0 {
            waiter.missed_pass.store(1, Ordering::Relaxed);
            self.shared.totals.missed_passes.store(1, Ordering::Relaxed);
        }
    }

    fn end_pass(&mut self) {
        let totals = self.shared.totals;
        totals.passing.store(0, Ordering::Relaxed);
        mutant!("pass-ends-in-silence" => return);
        mutant!("pass-wakes-all-who-wait" => return self.wake_waiters(Resource::Slots));
        if totals.missed_passes.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        for session in self.shared.leaders {
            if session.waiter.missed_pass.swap(0, Ordering::Relaxed) != 0
                && let Some(proc) = session.proc()
            {
                self.waker.wake(proc);
            }
        }
    }
}
