//! Cancel and detach.

use crate::engine::job::{Demand, End, Phase};
use crate::engine::memory;
use crate::engine::pool::Canceling;
use crate::engine::sync::Ordering;
use crate::engine::table::JobId;
use crate::engine::wait::grace;
use crate::leader::session::{self, Asking, Name};
use crate::leader::wait;
use crate::pg::block;
use crate::pg::cluster::Cluster;
use crate::pg::error::{Error, Failure};
use crate::pg::shim;
use crate::pg::trace::{self, Step};
use pgrx::warning;

/// Asks a job to be canceled, and signals its worker.
///
/// The signal is sent under the pool lock, under which a worker that exits takes itself off the table
/// first: so it never reaches a recycled pid.
pub fn request(cluster: &'static Cluster, job: JobId, demand: Demand) -> Canceling {
    let slot = cluster.slot(job);
    let usage = slot.usage();
    let canceling = cluster.pool().cancel(job, demand, |worker| {
        fault!("cancel-flagged");
        // One that has not begun never will, and its process has no ears for it while it connects, which a lock may
        // hold up: it goes, as any process that is told to. If it is beyond that it has no other job, which
        // it is given under the lock.
        let has_begun = slot.word.load().phase() != Phase::Starting;
        let terminate = demand == Demand::Terminate && !has_begun;
        // SAFETY: the process exists, see above; the call only sends a signal.
        unsafe { shim::pgb_signal_worker(worker.pid().cast_signed(), terminate) };
    });
    if let Canceling::Finished(release) = canceling {
        cluster.pool().job_ended(usage);
        block::note_end(job, cluster.slot(job).leader(), release);
    }
    trace::step(
        job,
        match canceling {
            Canceling::Asked if demand == Demand::Terminate => Step::Terminating,
            Canceling::Asked => Step::Canceling,
            Canceling::Finished(_) => Step::Ended(End::Canceled),
            Canceling::TooLate => Step::TooLate,
        },
    );
    let _ = block::finish_release(cluster);
    canceling
}

/// Waits for canceled jobs to end, `grace_ms` at most; then asks the workers of those that have not to exit,
/// waits as long again at most, and warns of each that runs even then.
pub fn escalate(cluster: &'static Cluster, jobs: &[JobId], grace_ms: i32) {
    let await_end = |jobs: &[JobId]| {
        let deadline = wait::deadline(grace_ms);
        let still_runs = |job: &JobId| wait::first_finished(cluster, &[*job], deadline).is_none();
        let remaining = memory::try_collect(jobs.iter().copied().filter(still_runs))
            .unwrap_or_else(|_| Error::out_of_memory().raise());
        for job in jobs {
            session::notice(cluster, *job);
        }
        remaining
    };
    let remaining = await_end(jobs);
    for job in &remaining {
        let _ = request(cluster, *job, Demand::Terminate);
    }
    for job in await_end(&remaining) {
        let pid = cluster.slot(job).pid.load(Ordering::Relaxed);
        warning!("background job with PID {pid} still runs after it was asked to terminate");
    }
}

/// Cancels a job. With a grace above 0 waits that long for it to end, then asks its worker to exit, waits
/// as long again at most, and warns if the job runs even then.
///
/// # Errors
/// As [`session::find`].
pub fn cancel(name: Name, grace_ms: i32) -> Result<(), Failure> {
    let (cluster, tracked) = session::find(name, Asking::ForControl)?;
    let job = tracked.job;
    let _ = request(cluster, job, Demand::Cancel);
    fault!("cancel-asked");
    let grace_ms = grace(grace_ms);
    if grace_ms > 0 {
        escalate(cluster, &[job], grace_ms);
    }
    Ok(())
}

/// Stops tracking a job, which goes on.
///
/// # Errors
/// As [`session::find_to_let_go`].
pub fn detach(name: Name) -> Result<(), Failure> {
    let (cluster, tracked) = session::find_to_let_go(name)?;
    session::let_go(cluster, tracked.job);
    Ok(())
}

/// Takes back a job whose handle was not given out: if it has not begun it never will, else it is
/// canceled.
pub fn withdraw(cluster: &'static Cluster, job: JobId) {
    if cluster.slot(job).word.load().phase() != Phase::Reserved {
        let _ = request(cluster, job, Demand::Insist);
    }
    session::let_go(cluster, job);
}
