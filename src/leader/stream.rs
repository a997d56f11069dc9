//! A result in a select list: one row per call.
//!
//! Between the calls the stream lives in a memory context of its own under the calling query's. It ends in
//! one way, whatever the reason: that context is deleted, whose reset callback ends the reading. Who deletes
//! it: the call that finds no more rows; the expression's shutdown, when the query is done with it early
//! (LIMIT, a cursor that is closed, a rescan); and on an error, where the expression is not shut down, the
//! server, together with the query's memory.

use crate::engine::table::JobId;
use crate::leader::convert::{Row, Wanted};
use crate::leader::reading::Pace;
use crate::leader::result::{Rows, Step, conclude, find};
use crate::leader::session::Name;
use crate::pg::cluster::Cluster;
use crate::pg::error::Failure;
use crate::pg::memory::child_of;
use crate::pg::rows::Caller;
use pgrx::pg_sys::Datum;
use pgrx::{pg_guard, pg_sys};

/// What is kept between the calls; `FmgrInfo.fn_extra` points at it.
struct Stream {
    cluster: &'static Cluster,
    job: JobId,
    caller: Caller,
    json: bool,
    /// `None`: ended.
    rows: Option<Rows>,
    context: pg_sys::MemoryContext,
    function: *mut pg_sys::FmgrInfo,
    callback: pg_sys::MemoryContextCallback,
}

#[pg_guard]
unsafe extern "C-unwind" fn end_reading(stream: *mut std::ffi::c_void) {
    // SAFETY: called once, before the context that holds the stream is freed. What the rows refer to in
    // contexts under it is freed already; ending them looks at shared memory only.
    unsafe { (*stream.cast::<Stream>()).rows = None };
}

#[pg_guard]
unsafe extern "C-unwind" fn shut_down(stream: Datum) {
    // SAFETY: the expression is shut down before the query's memory is freed, and not after `finish`.
    unsafe {
        let stream = stream.cast_mut_ptr::<Stream>();
        (*(*stream).function).fn_extra = std::ptr::null_mut();
        pg_sys::MemoryContextDelete((*stream).context);
    }
}

/// Ends a stream in the call that found its end.
unsafe fn finish(stream: *mut Stream) {
    // SAFETY: the stream is the one of this call; it is not looked at again.
    unsafe {
        let econtext = (*stream).caller.expression_context();
        pg_sys::UnregisterExprContextCallback(econtext, Some(shut_down), Datum::from(stream));
        shut_down(Datum::from(stream));
    }
}

unsafe fn begin(
    fcinfo: pg_sys::FunctionCallInfo,
    name: Name,
    caller: &Caller,
    json: bool,
) -> Result<*mut Stream, Failure> {
    let (cluster, tracked) = find(name)?;
    // SAFETY: the query's context is valid; the stream is complete before a callback can see it.
    unsafe {
        let context = child_of(caller.query_context(), c"pg_background stream");
        let rows = Rows::begin(cluster, tracked.job, tracked.pid, Pace::Stepwise, context)?;
        let stream = pg_sys::MemoryContextAllocZero(context, size_of::<Stream>()).cast::<Stream>();
        stream.write(Stream {
            cluster,
            job: tracked.job,
            caller: *caller,
            json,
            rows: Some(rows),
            context,
            function: (*fcinfo).flinfo,
            callback: pg_sys::MemoryContextCallback {
                func: Some(end_reading),
                arg: stream.cast(),
                next: std::ptr::null_mut(),
            },
        });
        pg_sys::MemoryContextRegisterResetCallback(context, &raw mut (*stream).callback);
        pg_sys::RegisterExprContextCallback(
            caller.expression_context(),
            Some(shut_down),
            Datum::from(stream),
        );
        (*(*fcinfo).flinfo).fn_extra = stream.cast();
        Ok(stream)
    }
}

/// Whether this is a call for a further row.
///
/// # Safety
/// `fcinfo` is the argument of a function that streams.
pub unsafe fn is_open(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: by the caller.
    unsafe { !(*(*fcinfo).flinfo).fn_extra.is_null() }
}

/// Opens a stream and returns its first row; `None`: there is none, or it is NULL.
///
/// # Errors
/// As [`find`] and [`next`].
///
/// # Safety
/// `fcinfo` is the argument of a function that streams, `caller` whoever called it.
pub unsafe fn open(
    fcinfo: pg_sys::FunctionCallInfo,
    name: Name,
    caller: &Caller,
    json: bool,
) -> Result<Option<Datum>, Failure> {
    // SAFETY: by the caller.
    unsafe {
        begin(fcinfo, name, caller, json)?;
        next(fcinfo)
    }
}

/// The next row; `None`: there is none, or it is NULL.
///
/// # Errors
/// 42804 when the caller's columns do not fit; the job's own error, after its rows; 08006 when its worker
/// was lost.
///
/// # Safety
/// `fcinfo` is the argument of a call for which [`is_open`].
pub unsafe fn next(fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<Datum>, Failure> {
    // SAFETY: the stream is valid until it is finished; the value is made in the call's context.
    unsafe {
        let stream = (*(*fcinfo).flinfo).fn_extra.cast::<Stream>();
        (*stream).caller.called_again(fcinfo);
        let caller = (*stream).caller;
        let wanted = if (*stream).json {
            Wanted::Json
        } else {
            Wanted::Columns(&caller)
        };
        let rows = (*stream).rows.as_mut().expect("the stream is open");
        let value = match rows.next(wanted, true, true)? {
            Step::Row(Row::Values(values, nulls)) => Some(caller.value(values, nulls)),
            Step::Row(Row::AsIs(_)) => unreachable!("values were asked for"),
            Step::End => None,
            Step::NotYet => unreachable!("waited for"),
        };
        if let Some(value) = value {
            rows.done();
            caller.answer(false);
            return Ok(value);
        }
        let (cluster, job) = ((*stream).cluster, (*stream).job);
        finish(stream);
        caller.answer(true);
        conclude(cluster, job)?;
        Ok(None)
    }
}
