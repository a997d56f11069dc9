//! Results, and jobs run from launch to end in one call.

use super::{Arguments, Result, sql_function};
use crate::leader::launch::Launch;
use crate::leader::session::Name;
use crate::leader::{columns, oneshot, result};
use crate::pg::tuple::Value;

fn read(arguments: Arguments, name: Name) -> Result {
    let mut sink = arguments.sink()?;
    result::read(name, &mut sink)?;
    Ok(arguments.null())
}

sql_function!(
    /// `pg_background_result(pid)`, `(pid, cookie)`: the rows of a job, once.
    pg_background_result,
    pg_finfo_pg_background_result,
    |arguments| {
        let by_pid = arguments.count() == 1;
        let name = if by_pid {
            arguments.pid()
        } else {
            arguments.handle()
        };
        read(arguments, name)
    }
);

sql_function!(
    /// `pg_background_result_v2(pid, cookie)`: the rows of a job, once.
    pg_background_result_v2,
    pg_finfo_pg_background_result_v2,
    |arguments| read(arguments, arguments.handle())
);

/// The arguments that `run` and `run_query` begin with: sql, queue_size, timeout_ms, label.
fn asked(arguments: Arguments, sql: &[u8], submit: bool) -> (Launch<'_>, i32) {
    let launch = Launch {
        sql,
        queue_size: arguments.int4(1).unwrap_or(0),
        by_pid: false,
        submit,
        label: arguments.text(3),
    };
    (launch, arguments.int4(2).unwrap_or(0))
}

sql_function!(
    /// `pg_background_run(sql, queue_size, timeout_ms, label)`: runs a job for its outcome.
    pg_background_run,
    pg_finfo_pg_background_run,
    |arguments| {
        let Some(sql) = arguments.text(0) else {
            return Ok(arguments.null());
        };
        let (launch, timeout) = asked(arguments, sql, true);
        let ran = oneshot::run(&launch, timeout)?;
        let mut row = [Value::NULL; 14];
        row[..12].copy_from_slice(&ran.outcome);
        row[12] = Value::bool(ran.timed_out);
        row[13] = Value::int8(ran.elapsed_ms);
        Ok(arguments.row(row))
    }
);

sql_function!(
    /// `pg_background_run_query(sql, queue_size, timeout_ms, label, col_def)`: runs a job for its rows.
    pg_background_run_query,
    pg_finfo_pg_background_run_query,
    |arguments| {
        let mut sink = arguments.sink()?;
        let Some(sql) = arguments.text(0) else {
            return Ok(arguments.null());
        };
        if let Some(definition) = arguments.text(4) {
            columns::check_definition(definition, sink.expected())?;
        }
        let (launch, timeout) = asked(arguments, sql, false);
        oneshot::run_query(&launch, timeout, &mut sink)?;
        Ok(arguments.null())
    }
);
