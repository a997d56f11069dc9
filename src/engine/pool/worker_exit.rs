//! How a worker's process leaves its worker slot when it exits, in its steps.
//!
//! They are written once, for any [`Leaver`]: the server's workers take them, and so do the workers of the schedules.
//! The job that the process runs has ended before ([`steps::exit`](crate::steps::exit)). The exit may be cut short
//! (a line in the log can do that), and then begins again.
//!
//! # Words
//!
//! * The exit is **announced** when the worker slot shows that no leader can hand the process a job any more.
//! * A job is **assigned** when it is bound to the process and has not begun.
//! * A start has **failed** when the process ends with an error before it has connected, and was not told to end. It
//!   is **hopeless** when no worker of the lane has connected either: the next process would fail, too.
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | the process was told to make room, or has left its worker slot | look after its successor |
//! | it ends for any other reason | announce, return the assigned job, leave the worker slot; look after its successor, if the worker slot is passed on |
//! | its start was hopeless | announce, fail the assigned job, give back the permit, fail the lane's queued jobs; then as above |
//! | its start failed, and the lane works | announce, return the assigned job, leave the worker slot to a lane whose starts do not fail, or for good: the next process of this lane would fail at once, without end |
//! | a job is returned | unmap what it owns, give it back: it is at the head of its lane again, or handed to an idle worker, or has ended because of a cancel |
//! | a job that its leader knows by the pid of this process | it ends instead: canceled, if it has a cancel, otherwise failed |
//!
//! This order has the following effects:
//!
//! * **No job is left behind.** The assigned job is looked for when no leader can hand the process another one.
//! * **The worker slot is passed on without a job.** The job is returned before: a job of a worker slot that is passed
//!   on would be the next process's and somebody else's.
//! * **Nothing of a job is looked at after it was given back**: another process may have it, or have freed it. So what
//!   is mapped is unmapped, and whom its end concerns is read, before.

use super::entries::LaneKey;
use super::scheduler::{Pool, PoolLock, Waker as _};
use super::worker_slot::{Heir, NextStep, Returned};
use crate::job::Release;
use crate::process_ref::ProcRef;
use crate::steps::Watchers;
use crate::table::{JobId, Slot};

/// The process's worker slot.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its index.
    pub worker: u32,
    /// Its generation when the process was registered.
    pub generation: u32,
    /// The process.
    pub proc: ProcRef,
}

/// How the process ends.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Before it has connected, with an error that does not say that it was told to end.
    pub failed_start: bool,
    /// With an error: the worker slot may be passed to a fresh process.
    pub is_error: bool,
}

/// The process that takes the steps.
pub trait Leaver {
    /// The pool's lock.
    type Lock: PoolLock;

    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// The slot of a job that is assigned to the process.
    fn slot(&self, job: JobId) -> &Slot;
    /// Its exit is announced. Does not unwind.
    fn after_announce(&self);
    /// Ends an assigned job that is canceled. Does not unwind.
    fn refuse(&self, job: JobId);
    /// Fails an assigned job. `hopeless`: with the error of the start; otherwise, the process was lost. Does not unwind.
    fn fail(&self, job: JobId, hopeless: bool);
    /// Unmaps what the job owns. Does not unwind.
    fn unmap(&self, job: JobId);
    /// The job was given back. Called with the lock held.
    fn after_give_back(&self, job: JobId, returned: Returned);
    /// The job is queued again, or another worker's. Does not unwind, but may end the process.
    fn report_returned(&self, job: JobId);
    /// The job was given back, and has ended because of a cancel. Does not unwind, but may end the process.
    fn complete_cancel(&self, job: JobId, watchers: Watchers, release: Release);
    /// Fails the queued jobs of the lane, for which no process can be started. Does not unwind, but may end the process.
    fn fail_lane(&self, lane: u32, key: LaneKey);
    /// Registers the process to which the worker slot is passed on, and looks after its start. Does not unwind.
    fn respawn(&self);
}

/// The process leaves its worker slot. Does not unwind. If it is cut short, it is called again.
pub fn leave(leaver: &impl Leaver, place: Place, ending: Ending) {
    let Place {
        worker,
        generation,
        proc,
    } = place;
    let pool = leaver.pool();
    let assigned = || pool.locked(|scheduler| scheduler.assigned(worker));
    mutant!("job-looked-for-before-the-exit-is-announced" =>
        return mutants::look_then_announce(leaver, place, assigned()));
    let is_own = pool.locked(|scheduler| scheduler.begin_exit(worker, generation, proc));
    if !is_own {
        // It was asked to make room, or has just left its worker slot to another process.
        leaver.respawn();
        return;
    }
    leaver.after_announce();
    let (lane, key, lane_works) = pool.locked(|scheduler| {
        let lane = scheduler.lane_index(worker);
        (lane, scheduler.lane_key(worker), scheduler.lane_works(lane))
    });
    let is_hopeless = ending.failed_start && !lane_works;
    mutant!("worker-slot-left-before-its-job-is-returned" =>
        return mutants::leave_then_return(leaver, place, assigned()));
    match assigned() {
        Some(job) if is_hopeless => leaver.fail(job, true),
        Some(job) => return_job(leaver, job),
        None => {}
    }
    if is_hopeless {
        pool.locked(|scheduler| scheduler.return_permit_of_worker(worker));
        leaver.fail_lane(lane, key);
    }
    // The worker slot goes to the lane that needs it. A start that failed although the lane works is not repeated: it
    // would fail again at once, without end. The lane's connected workers run its queued jobs. If they must not run one,
    // the next launch or wait in the lane tries again.
    let heir = match ending {
        Ending {
            is_error: false, ..
        } => Heir::Nobody,
        Ending {
            failed_start: true, ..
        } if !is_hopeless => Heir::NotStalled,
        _ => Heir::Anyone,
    };
    let next = pool.locked(|scheduler| scheduler.exit(worker, generation, proc, heir));
    if next == Some(NextStep::Restart) {
        leaver.respawn();
    }
}

/// Returns a job that is assigned to this process. If its leader knows it by this process's pid, it ends instead. Does
/// not unwind.
pub fn return_job(leaver: &impl Leaver, job: JobId) {
    let slot = leaver.slot(job);
    let by_pid = slot.options().by_pid;
    if checked!("job-known-by-pid-is-requeued", by_pid) {
        if slot.word.load().has_cancel() {
            leaver.refuse(job);
        } else {
            leaver.fail(job, false);
        }
        return;
    }
    leaver.unmap(job);
    let watchers = Watchers::of(slot);
    let pool = leaver.pool();
    let returned = pool.locked(|scheduler| {
        let returned = scheduler.give_back(job);
        leaver.after_give_back(job, returned);
        returned
    });
    match returned {
        Returned::Requeued => leaver.report_returned(job),
        Returned::Handed(worker) => {
            pool.lock.wake(worker);
            leaver.report_returned(job);
        }
        Returned::Canceled(release) => leaver.complete_cancel(job, watchers, release),
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Heir, JobId, Leaver, Place, return_job};

    pub(super) fn look_then_announce(leaver: &impl Leaver, place: Place, assigned: Option<JobId>) {
        let pool = leaver.pool();
        let is_own =
            pool.locked(|pool| pool.begin_exit(place.worker, place.generation, place.proc));
        if let Some(job) = assigned.filter(|_| is_own) {
            return_job(leaver, job);
        }
        vacate(leaver, place);
    }

    pub(super) fn leave_then_return(leaver: &impl Leaver, place: Place, assigned: Option<JobId>) {
        vacate(leaver, place);
        if let Some(job) = assigned {
            return_job(leaver, job);
        }
    }

    fn vacate(leaver: &impl Leaver, place: Place) {
        let pool = leaver.pool();
        let (worker, generation) = (place.worker, place.generation);
        let _ = pool.locked(|pool| pool.exit(worker, generation, place.proc, Heir::Anyone));
        leaver.respawn();
    }
}
