//! Launch and submit.

use super::{Arguments, Result, STRICT, sql_function};
use crate::leader::launch::{Launch, launch};
use crate::pg::tuple::Value;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

fn start(arguments: Arguments, sql: &[u8], by_pid: bool, submit: bool) -> Result {
    let (pid, cookie) = launch(&Launch {
        sql,
        queue_size: arguments.int4(1).unwrap_or(0),
        by_pid,
        submit,
        label: arguments.text(2),
    })?;
    let pid = pid.cast_signed();
    if by_pid {
        return Ok(Datum::from(pid));
    }
    Ok(arguments.row([Value::int4(pid), Value::int8(cookie.to_sql())]))
}

fn start_with_handle(arguments: Arguments, submit: bool) -> Result {
    match arguments.text(0) {
        Some(sql) => start(arguments, sql, false, submit),
        // Those that take a label, which may be NULL, are not strict.
        None => Ok(arguments.null()),
    }
}

sql_function!(
    /// `pg_background_launch(sql, queue_size)`: launches a job, returns its pid; or, where it is declared to
    /// return a handle, `(sql, queue_size, label)`.
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
    /// `pg_background_submit_v2(sql, queue_size [, label])`: likewise.
    pg_background_submit_v2,
    pg_finfo_pg_background_submit_v2,
    |arguments| start_with_handle(arguments, true)
);
