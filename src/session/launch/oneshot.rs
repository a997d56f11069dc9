//! A job from launch to end in one call.
//!
//! The user never gets a handle that outlives the call. So an interrupted call ends its job ([`Hold`]).

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

/// Waits for the job and cancels it at the time limit (0 or less for none). Returns whether it did.
fn wait_or_cancel(hold: &Hold, timeout_ms: i32) -> bool {
    let job = hold.job();
    let deadline = until::deadline(timeout_ms);
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
pub fn run(request: &Launch<'_>, timeout_ms: i32) -> Result<RunResult, Failure> {
    let started = process::now();
    let (hold, name) = launch(request)?.lend();
    let timed_out = wait_or_cancel(&hold, timeout_ms);
    let tracked = jobs::find(name, Purpose::ForControl)?;
    Ok(RunResult {
        outcome: outcome::of(&tracked),
        timed_out,
        elapsed_ms: ((process::now() - started) / 1000) as i64,
    })
}

/// Runs a job and returns all its rows to the caller, as `wanted`.
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
    if timeout_ms > 0 && wait_or_cancel(&hold, timeout_ms) {
        return Err(Error::new(
            ERRCODE_QUERY_CANCELED,
            "canceling background job due to timeout",
        )
        .detail(format_args!("The job did not end within {timeout_ms} ms."))
        .into());
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
