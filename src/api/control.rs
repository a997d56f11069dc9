//! Detach, cancel, wait.

use super::{Arguments, Result, STRICT, VOID, sql_function};
use crate::pg::error::Error;
use crate::session::cancel;
use crate::session::wait::{outside, until};
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;

sql_function!(
    /// `pg_background_detach(pid)`, `(pid, cookie)`: stops tracking a job.
    pg_background_detach,
    pg_finfo_pg_background_detach,
    |arguments| {
        if arguments.count() == 1 {
            return cancel::detach(arguments.pid()).map(|()| VOID);
        }
        match arguments.handle_or_null()? {
            Some(name) => cancel::detach(name).map(|()| VOID),
            None => Ok(arguments.null()),
        }
    }
);

sql_function!(
    /// `pg_background_detach_v2(pid, cookie)`: stops tracking a job.
    pg_background_detach_v2,
    pg_finfo_pg_background_detach_v2,
    |arguments| cancel::detach(arguments.handle()).map(|()| VOID)
);

/// Cancels a job. The grace is the third argument, if there is one. Does nothing if an argument is NULL.
fn cancel(arguments: Arguments) -> Result {
    let grace = match arguments.count() {
        2 => Some(0),
        _ => arguments.int4(2),
    };
    match (arguments.handle_or_null()?, grace) {
        (Some(name), Some(grace)) => cancel::cancel(name, grace).map(|()| VOID),
        _ => Ok(arguments.null()),
    }
}

sql_function!(
    /// `pg_background_cancel(pid, cookie, grace_ms)`: cancels a job. With a grace, waits and then terminates its
    /// worker.
    pg_background_cancel,
    pg_finfo_pg_background_cancel,
    |arguments| cancel(arguments)
);

sql_function!(
    /// `pg_background_cancel_v2(pid, cookie [, grace_ms])`: cancels a job.
    pg_background_cancel_v2,
    pg_finfo_pg_background_cancel_v2,
    |arguments| cancel(arguments)
);

sql_function!(
    /// `pg_background_cancel_v2_grace(pid, cookie, grace_ms)`: cancels a job, with a grace.
    pg_background_cancel_v2_grace,
    pg_finfo_pg_background_cancel_v2_grace,
    |arguments| cancel(arguments)
);

/// Waits for a job; 0 or less for no limit. Does not wait if an argument is NULL.
fn wait_up_to(arguments: Arguments) -> Result {
    let (Some(name), Some(timeout)) = (arguments.handle_or_null()?, arguments.int4(2)) else {
        return Ok(arguments.null());
    };
    let timeout = (timeout > 0).then_some(timeout);
    until::by_name(name, timeout).map(Datum::from)
}

sql_function!(
    /// `pg_background_wait(pid, cookie, timeout_ms)`: waits until a job has finished; 0 for no limit.
    pg_background_wait,
    pg_finfo_pg_background_wait,
    |arguments| wait_up_to(arguments)
);

sql_function!(
    /// `pg_background_wait_v2(pid, cookie)`: waits until a job has finished. A third argument works as in
    /// `pg_background_wait`.
    pg_background_wait_v2,
    pg_finfo_pg_background_wait_v2,
    |arguments| {
        if arguments.count() > 2 {
            return wait_up_to(arguments);
        }
        until::by_name(arguments.handle(), None).map(|_| VOID)
    }
);

sql_function!(
    /// `pg_background_wait_v2_timeout(pid, cookie, timeout_ms)`: waits until a job has finished, with a limit.
    pg_background_wait_v2_timeout,
    pg_finfo_pg_background_wait_v2_timeout,
    |arguments| {
        let timeout = arguments.int4(2).expect(STRICT);
        until::by_name(arguments.handle(), Some(timeout)).map(Datum::from)
    }
);

sql_function!(
    /// `pg_background_await(pid, cookie)`, a procedure: ends the caller's transaction, then waits until a job has
    /// finished.
    pg_background_await,
    pg_finfo_pg_background_await,
    |arguments| {
        let name = arguments.handle_or_null()?.ok_or_else(|| {
            Error::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "the handle of a background job must not be null",
            )
        })?;
        // SAFETY: declared as a procedure.
        unsafe { outside::by_name(arguments.call_info(), name)? };
        Ok(VOID)
    }
);

sql_function!(
    /// `pg_background_detach_all()`: stops tracking every job.
    pg_background_detach_all,
    pg_finfo_pg_background_detach_all,
    |_arguments| Ok(Datum::from(cancel::detach_all()))
);

sql_function!(
    /// `pg_background_purge()`: stops tracking the jobs that have finished.
    pg_background_purge,
    pg_finfo_pg_background_purge,
    |_arguments| Ok(Datum::from(cancel::purge()))
);

sql_function!(
    /// `pg_background_cancel_all()`: cancels every job that has not finished.
    pg_background_cancel_all,
    pg_finfo_pg_background_cancel_all,
    |_arguments| Ok(Datum::from(cancel::cancel_all()))
);

sql_function!(
    /// `pg_background_cancel_by_label(pattern, grace_ms)`: cancels the jobs whose label is LIKE the pattern.
    pg_background_cancel_by_label,
    pg_finfo_pg_background_cancel_by_label,
    |arguments| {
        let Some(pattern) = arguments.text(0) else {
            return Ok(Datum::from(0));
        };
        let grace = arguments.int4(1).unwrap_or(0);
        Ok(Datum::from(cancel::cancel_by_label(pattern, grace)))
    }
);
