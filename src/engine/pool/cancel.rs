//! Canceling a job, wherever it is.

use super::entries::Permit;
use super::scheduler::{Pool, PoolLock, Scheduler};
use crate::job::{Cancel, Demand, Phase, Release};
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;
use crate::worker::Activity;

/// What became of a cancel.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canceling {
    /// The flag is set, and `signal` was called for the worker.
    Asked,
    /// It had not begun, and is finished now.
    Finished(Release),
    /// It had finished before, or the slot is another job's by now. Nothing changed.
    TooLate,
}

impl<'a, L: PoolLock> Pool<'a, L> {
    /// Cancels a job wherever it is. Calls `signal` with the worker's process, which cannot exit meanwhile.
    /// `signal` must only send the signal.
    pub fn cancel(&self, job: JobId, demand: Demand, signal: impl Fn(ProcRef)) -> Canceling {
        let slot = self.shared.jobs.slot(job.index);
        loop {
            match slot.word.cancel(job.generation, demand) {
                Cancel::Asked => {
                    mutant!("cancel-does-not-signal" => return Canceling::Asked);
                    mutant!("cancel-signals-outside-the-lock" => {
                        mutants::signal_outside_the_lock(self, job, signal);
                        return Canceling::Asked;
                    });
                    self.locked(|scheduler| scheduler.worker_of(job).map(&signal));
                    return Canceling::Asked;
                }
                Cancel::Queued => {
                    if let Some(release) = self.locked(|scheduler| scheduler.cancel_queued(job)) {
                        return Canceling::Finished(release);
                    }
                }
                Cancel::Finished | Cancel::Stale => return Canceling::TooLate,
            }
        }
    }
}

impl<'a> Scheduler<'a> {
    fn cancel_queued(&mut self, job: JobId) -> Option<Release> {
        let slot = self.slot(job.index);
        let phase = slot.word.load_if(job.generation)?.phase();
        if checked!("cancel-queued-ignores-the-phase", phase != Phase::Queued) {
            return None;
        }
        mutant!("cancel-queued-unlinks-late" => return mutants::end_then_unlink(self, job));
        // The job stays queued while the lock is held. It comes off its list before it ends: after that its
        // leader may free the slot, and the free list uses the slot's links.
        let permit = match self.throttled_by(slot) {
            Some(leader) => {
                self.unthrottle(leader, job.index);
                None
            }
            None => {
                self.unlink(job.index);
                Permit::of(slot)
            }
        };
        slot.finished_at
            .store(self.waker.timestamp(), Ordering::Relaxed);
        let release = slot.word.cancel_queued(job.generation);
        self.return_permit(permit);
        self.hand_out(load(&slot.lane));
        release
    }

    /// The process that has the job, if the job is bound. It cannot exit while the lock is held.
    fn worker_of(&self, job: JobId) -> Option<ProcRef> {
        let slot = self.slot(job.index);
        slot.word
            .load_if(job.generation)
            .filter(|now| now.has_worker())?;
        let entry = self.shared.workers.get(slot.worker() as usize)?;
        (entry.word.load().activity() == Activity::Busy(job.index))
            .then(|| entry.proc())
            .flatten()
    }

    /// The process that the job is bound to, to be woken.
    #[must_use]
    pub fn proc_to_wake(&self, job: JobId) -> Option<ProcRef> {
        self.worker_of(job)
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{JobId, Pool, PoolLock, ProcRef, Release, Scheduler};

    pub(super) fn signal_outside_the_lock<L: PoolLock>(
        pool: &Pool<'_, L>,
        job: JobId,
        signal: impl Fn(ProcRef),
    ) {
        let worker = pool.locked(|scheduler| scheduler.worker_of(job));
        worker.into_iter().for_each(signal);
    }

    pub(super) fn end_then_unlink(scheduler: &mut Scheduler<'_>, job: JobId) -> Option<Release> {
        let word = &scheduler.slot(job.index).word;
        let release = word.cancel_queued(job.generation)?;
        scheduler.unlink(job.index);
        Some(release)
    }
}
