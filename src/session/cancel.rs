//! Cancel and detach.

use crate::cluster::job::Job;
use crate::cluster::trace::Event;
use crate::cluster::{job_end, trace};
use crate::pg::error::{Error, Failure, warn};
use crate::pg::tuple::Value;
use crate::pg::{shim, text};
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose, Tracked};
use crate::session::wait::until;
use engine::job::{Demand, Phase};
use engine::memory;
use engine::pool::Canceling;
use engine::steps::Watchers;
use engine::wait::grace;

/// Requests the cancel of a job and signals its worker.
///
/// The signal is sent under the pool lock. A worker that exits removes itself from the table under the same lock, so
/// the signal never reaches a recycled pid.
pub fn request(job: Job, demand: Demand) -> Canceling {
    let slot = job.slot();
    let watchers = Watchers::of(slot);
    let pool = job.cluster.pool();
    let canceling = pool.cancel(job.id, demand, |worker| {
        fault!("cancel-flagged");
        // A worker whose job has not begun may still be connecting. It handles no cancel then, and a lock may hold up
        // its connection. So it is terminated; the job will never begin. If the worker has begun meanwhile, it still
        // has no other job, because jobs are given out under the lock.
        let has_begun = slot.word.load().phase() != Phase::Starting;
        let terminate = demand == Demand::Terminate && !has_begun;
        // SAFETY: the process exists, as said above; the call only sends a signal.
        unsafe { shim::pgb_signal_worker(worker.pid().cast_signed(), terminate) };
    });
    match canceling {
        Canceling::Finished(release) => job_end::complete_cancel(job, watchers, release),
        Canceling::Asked if demand == Demand::Terminate => trace::event(job, Event::Terminating),
        Canceling::Asked => trace::event(job, Event::Canceling),
        Canceling::TooLate => trace::event(job, Event::TooLate),
    }
    canceling
}

/// Waits up to `grace_ms` for canceled jobs to end. Then asks the workers of the remaining jobs to exit, waits up to
/// `grace_ms` again, and warns of each job that still runs.
pub fn escalate(jobs: &[Job], grace_ms: i32) {
    let await_end = |jobs: &[Job]| {
        let deadline = until::deadline(grace_ms);
        let still_runs = |job: &Job| until::first_finished([*job].into_iter(), deadline).is_none();
        let remaining = memory::try_collect(jobs.iter().copied().filter(still_runs))
            .unwrap_or_else(|_| Error::out_of_memory().raise());
        for job in jobs {
            jobs::count_if_finished(*job);
        }
        remaining
    };
    let remaining = await_end(jobs);
    for job in &remaining {
        let _ = request(*job, Demand::Terminate);
    }
    for job in await_end(&remaining) {
        let pid = job.pid();
        warn(format_args!(
            "background job with PID {pid} still runs after it was asked to terminate"
        ));
    }
}

/// Cancels a job. With a positive grace, waits that long for the job to end; then asks its worker to exit, waits up to
/// the same time again, and warns if the job still runs.
///
/// # Errors
/// As [`jobs::find`].
pub fn cancel(name: JobName, grace_ms: i32) -> Result<(), Failure> {
    let job = jobs::find(name, Purpose::ForControl)?.job;
    let _ = request(job, Demand::Cancel);
    fault!("cancel-requested");
    let grace_ms = grace(grace_ms);
    if grace_ms > 0 {
        escalate(&[job], grace_ms);
    }
    Ok(())
}

/// Stops tracking a job. The job goes on.
///
/// # Errors
/// As [`jobs::find_in_session`].
pub fn detach(name: JobName) -> Result<(), Failure> {
    jobs::detach(jobs::find_in_session(name)?.job);
    Ok(())
}

/// Has a job end whose handle nobody was given, and which is about to be detached. A job that has not begun never
/// begins; others are canceled.
pub fn withdraw(job: Job) {
    if job.slot().word.load().phase() != Phase::Reserved {
        let _ = request(job, Demand::Insist);
    }
}

/// The tracked jobs for which `may` allows the current user an action.
fn tracked_where(may: fn(&Tracked) -> bool) -> Vec<Tracked> {
    let mut jobs = jobs::tracked();
    jobs.retain(may);
    jobs
}

fn detach_where(wanted: impl Fn(Phase) -> bool) -> i32 {
    let mut jobs = tracked_where(Tracked::may_detach);
    jobs.retain(|tracked| wanted(jobs::count_if_finished(tracked.job).phase()));
    for tracked in &jobs {
        jobs::detach(tracked.job);
    }
    jobs.len() as i32
}

/// Stops tracking every job. Returns their number.
pub fn detach_all() -> i32 {
    detach_where(|_| true)
}

/// Stops tracking the jobs that have finished. Returns their number.
pub fn purge() -> i32 {
    detach_where(Phase::is_finished)
}

fn cancel_where(grace_ms: i32, wanted: impl Fn(&Tracked) -> bool) -> i32 {
    let mut jobs = tracked_where(Tracked::may_manage);
    jobs.retain(wanted);
    jobs.retain(|tracked| request(tracked.job, Demand::Cancel) != Canceling::TooLate);
    let grace_ms = grace(grace_ms);
    if grace_ms > 0 {
        let ids = memory::try_collect(jobs.iter().map(|tracked| tracked.job));
        let ids = ids.unwrap_or_else(|_| Error::out_of_memory().raise());
        escalate(&ids, grace_ms);
    }
    jobs.len() as i32
}

/// Cancels every job that has not finished. Returns their number.
pub fn cancel_all() -> i32 {
    cancel_where(0, |_| true)
}

/// Cancels every job that has not finished and whose label is LIKE the pattern; a positive grace works as in
/// [`cancel`]. Returns their number.
pub fn cancel_by_label(pattern: &[u8], grace_ms: i32) -> i32 {
    let pattern = Value::text(pattern);
    cancel_where(grace_ms, |tracked| {
        let label = tracked.job.slot().label();
        label.is_some_and(|label| text::is_like(&label, pattern))
    })
}
