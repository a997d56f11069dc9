//! A result in a select list: one row per call.
//!
//! A [`Stream`] is kept between the calls. [`PerCall`] keeps it and ends it with the calling query. Dropping it ends
//! the read. The drop accesses shared memory only, because the memory contexts of its rows may be freed by then.

use crate::cluster::job::Job;
use crate::pg::error::Failure;
use crate::pg::per_call::PerCall;
use crate::pg::rows::Caller;
use crate::session::jobs::Tracked;
use crate::session::read::convert::{JsonType, ResultRow, Wanted};
use crate::session::read::frames::Pace;
use crate::session::read::rows::{RowStep, Rows, conclude};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

struct Stream {
    job: Job,
    json: Option<JsonType>,
    rows: Rows,
}

/// Whether this is a call for another row.
///
/// # Safety
/// `fcinfo` is the argument of a function that streams.
pub unsafe fn is_open(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: by the caller.
    unsafe { !(*(*fcinfo).flinfo).fn_extra.is_null() }
}

/// Opens a stream over the result of a job, which [`rows::find`](super::rows::find) has found, and returns its first row; `None`: there is no row, or it is NULL.
///
/// # Errors
/// 55006 the result is already being read; as [`next`].
///
/// # Safety
/// `fcinfo` is the argument of a function that streams; `caller` describes its call.
pub unsafe fn open(
    fcinfo: pg_sys::FunctionCallInfo,
    tracked: &Tracked,
    caller: &Caller,
    json: Option<JsonType>,
) -> Result<Option<Datum>, Failure> {
    let job = tracked.job;
    // SAFETY: by the caller; the context lives as long as the stream.
    unsafe {
        PerCall::keep(fcinfo, caller, c"pg_background stream", |context| {
            Rows::begin(job, tracked.pid, Pace::Stepwise, context).map(|rows| Stream {
                job,
                json,
                rows,
            })
        })?;
        next(fcinfo)
    }
}

/// The next row; `None`: there is no row, or it is NULL.
///
/// # Errors
/// 42804 the caller's columns do not fit; the job's own error, after its rows; 08006 its worker was lost
///
/// # Safety
/// `fcinfo` is the argument of a call for which [`is_open`] is true.
pub unsafe fn next(fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<Datum>, Failure> {
    // SAFETY: by the caller; not used after `finish`. The value is made in the call's context.
    unsafe {
        let kept = PerCall::<Stream>::of(fcinfo).expect("the stream is open");
        let caller = kept.caller();
        let stream = kept.value();
        let wanted = match stream.json {
            Some(json) => Wanted::Json(json),
            None => Wanted::Columns(&caller),
        };
        match stream.rows.next(wanted, true, true)? {
            RowStep::Row(ResultRow::Values(values, nulls)) => {
                let value = caller.value(values, nulls);
                stream.rows.release_row();
                caller.answer(false);
                Ok(value)
            }
            RowStep::Row(ResultRow::AsIs(_)) => unreachable!("values were asked for"),
            RowStep::NotYet => unreachable!("waited for"),
            RowStep::End => {
                let job = stream.job;
                kept.finish();
                caller.answer(true);
                conclude(job)?;
                Ok(None)
            }
        }
    }
}
