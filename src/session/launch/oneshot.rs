//! A job from launch to end in one call.
//!
//! The user never gets a handle that outlives the call. So an interrupted call ends its job ([`Hold`]).
//!
//! A time limit is one moment for the whole call: it ends the waits for a slot and for a worker as it ends the wait
//! for the job, and `pg_background.launch_timeout` does not apply. Without a slot there is no job, which is the
//! launch's own error. A job that has no worker by then is canceled like one that runs.

use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::process;
use crate::pg::rows::Caller;
use crate::session::hold::Hold;
use crate::session::jobs::Purpose;
use crate::session::launch::request::{Launch, launch};
use crate::session::outcome::OutcomeRow;
use crate::session::read::convert::Wanted;
use crate::session::read::rows;
use crate::session::wait::until;
use crate::session::{cancel, jobs, outcome};
use engine::job::Demand;
use engine::sync::Ordering;
use engine::wait::Micros;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{ERRCODE_DATATYPE_MISMATCH, ERRCODE_QUERY_CANCELED};

/// How long a job may take to end after it was canceled at the time limit, in milliseconds. Then its worker is asked to
/// exit.
const GRACE: i32 = 1000;

/// How a job that was run ended.
pub struct RunResult {
    /// Its outcome.
    pub outcome: OutcomeRow,
    /// Whether it was canceled at the time limit.
    pub timed_out: bool,
    /// Milliseconds from launch to end.
    pub elapsed_ms: i64,
}

/// Waits for the job and cancels it at the deadline. Returns whether it did.
fn wait_or_cancel(hold: &Hold, deadline: Option<Micros>) -> bool {
    let job = hold.job();
    if until::first_finished([job].into_iter(), deadline).is_some() {
        return false;
    }
    jobs::note_timeout();
    let _ = cancel::request(job, Demand::Insist);
    cancel::escalate(&[job], GRACE);
    true
}

/// Runs a job for its outcome and drops its rows.
///
/// # Errors
/// As [`launch`]. An error of the job itself is part of the outcome.
pub fn run(request: &Launch<'_>) -> Result<RunResult, Failure> {
    let started = process::now();
    let (hold, name) = launch(request)?.lend();
    let timed_out = wait_or_cancel(&hold, request.deadline);
    let tracked = jobs::find(name, Purpose::ForControl)?;
    Ok(RunResult {
        outcome: outcome::of(&tracked),
        timed_out,
        elapsed_ms: ((process::now() - started) / 1000) as i64,
    })
}

/// The error of a job that was canceled at the call's time limit.
fn timed_out(job: Job, timeout_ms: i32) -> Error {
    let error = Error::new(
        ERRCODE_QUERY_CANCELED,
        "canceling background job due to timeout",
    );
    match job.slot().started_at.load(Ordering::Relaxed) {
        0 => error
            .detail(format_args!(
                "The job did not begin: no worker became free within {timeout_ms} ms."
            ))
            .hint("Raise the time limit, max_worker_processes, pg_background.max_pool_workers or pg_background.lane_max_workers."),
        _ => error.detail(format_args!("The job did not end within {timeout_ms} ms.")),
    }
}

/// Runs a job and returns all its rows to the caller, as `wanted`. `timeout_ms` is what the request's deadline was made
/// of.
///
/// # Errors
/// As [`launch`] and [`rows::read_into_store`]; 57014 at the time limit.
pub fn run_query(
    request: &Launch<'_>,
    timeout_ms: i32,
    caller: &Caller,
    wanted: Wanted<'_>,
) -> Result<(), Failure> {
    let (hold, name) = launch(request)?.lend();
    if request.deadline.is_some() && wait_or_cancel(&hold, request.deadline) {
        return Err(timed_out(hold.job(), timeout_ms).into());
    }
    let tracked = rows::find(name, Purpose::ForControl)?;
    rows::read_into_store(&tracked, caller, wanted).map_err(|failure| match failure {
        // The server keeps a result that does not fit for the owner of the handle. Here nobody has the handle.
        Failure::Own(error) if error.code == ERRCODE_DATATYPE_MISMATCH => error
            .hint(
                "The job has run and its result was dropped. Columns of type text accept any type.",
            )
            .into(),
        other => other,
    })
}
