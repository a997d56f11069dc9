//! Launch and submit.

use super::{Arguments, Result, STRICT, sql_function};
use crate::pg::error::Error;
use crate::pg::tuple::Value;
use crate::session::jobs;
use crate::session::launch::request::{Launch, launch};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;

fn start(arguments: Arguments, sql: &[u8], by_pid: bool, submit: bool) -> Result {
    let launched = launch(&Launch {
        sql,
        params: &[],
        queue_size: arguments.int4(1).unwrap_or(0),
        by_pid,
        submit,
        label: arguments.text(2),
        deadline: None,
    })?;
    let (pid, cookie) = launched.give();
    let pid = pid.cast_signed();
    if by_pid {
        return Ok(Datum::from(pid));
    }
    Ok(arguments.row([Value::int4(pid), Value::int8(cookie.to_sql())]))
}

/// A NULL text, in a function that is not strict.
pub(super) fn null_sql() -> Error {
    Error::new(
        ERRCODE_NULL_VALUE_NOT_ALLOWED,
        "the SQL text must not be null",
    )
}

/// Not strict, because a parameter may be NULL.
fn start_with_params(arguments: Arguments, submit: bool) -> Result {
    let sql = arguments.text(0).ok_or_else(null_sql)?;
    // SAFETY: declared with the parameters from the second argument on.
    let params = unsafe { arguments.params(1) };
    let launched = launch(&Launch {
        sql,
        params,
        queue_size: 0,
        by_pid: false,
        submit,
        label: None,
        deadline: None,
    })?;
    let (pid, cookie) = launched.give();
    Ok(arguments.row([Value::int4(pid.cast_signed()), Value::int8(cookie.to_sql())]))
}

fn start_with_handle(arguments: Arguments, submit: bool) -> Result {
    match arguments.text(0) {
        Some(sql) => start(arguments, sql, false, submit),
        // The functions that take a label are not strict, because it may be NULL.
        None => Err(null_sql().into()),
    }
}

sql_function!(
    /// `pg_background_launch(sql, queue_size)`: launches a job, returns its pid. Where it is declared to return a
    /// handle: `(sql, queue_size, label)`.
    pg_background_launch,
    pg_finfo_pg_background_launch,
    |arguments| {
        if arguments.result_type() != pg_sys::INT4OID {
            return start_with_handle(arguments, false);
        }
        start(arguments, arguments.text(0).expect(STRICT), true, false)
    }
);

sql_function!(
    /// `pg_background_launch_v2(sql, queue_size [, label])`: launches a job, returns its handle.
    pg_background_launch_v2,
    pg_finfo_pg_background_launch_v2,
    |arguments| start_with_handle(arguments, false)
);

sql_function!(
    /// `pg_background_submit(sql, queue_size [, label])`: launches a job without a result.
    pg_background_submit,
    pg_finfo_pg_background_submit,
    |arguments| start_with_handle(arguments, true)
);

sql_function!(
    /// `pg_background_submit_v2(sql, queue_size [, label])`: launches a job without a result.
    pg_background_submit_v2,
    pg_finfo_pg_background_submit_v2,
    |arguments| start_with_handle(arguments, true)
);

sql_function!(
    /// `pg_background_launch_params(sql, VARIADIC params)`: launches a job whose `$1`, `$2` are bound.
    pg_background_launch_params,
    pg_finfo_pg_background_launch_params,
    |arguments| start_with_params(arguments, false)
);

sql_function!(
    /// `pg_background_submit_params(sql, VARIADIC params)`: launches a job with parameters and without a result.
    pg_background_submit_params,
    pg_finfo_pg_background_submit_params,
    |arguments| start_with_params(arguments, true)
);

sql_function!(
    /// `pg_background_handle(pid)`: the handle of the job that a version 1 function has launched.
    pg_background_handle,
    pg_finfo_pg_background_handle,
    |arguments| {
        let pid = arguments.int4(0).expect(STRICT);
        let cookie = jobs::cookie_of(pid)?;
        Ok(arguments.row([Value::int4(pid), Value::int8(cookie.to_sql())]))
    }
);
