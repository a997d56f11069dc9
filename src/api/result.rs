//! Results, and jobs that run from launch to end in one call.

use super::launch::null_sql;
use super::{Arguments, Result, sql_function};
use crate::pg::rows::Store;
use crate::pg::tuple::{Value, split};
use crate::session::jobs::{JobName, Purpose};
use crate::session::launch::oneshot;
use crate::session::launch::request::Launch;
use crate::session::read::convert::{JsonType, Wanted};
use crate::session::read::{columns, rows, stream};
use crate::session::wait::until;
use pgrx::pg_sys;

/// Reads a result the way the caller wants it: all at once, or one row per call.
fn read(arguments: Arguments, name: JobName, purpose: Purpose, json: Option<JsonType>) -> Result {
    let call = arguments.call_info();
    // SAFETY: declared to return a set.
    let row = unsafe {
        if stream::is_open(call) {
            stream::next(call)?
        } else {
            let caller = arguments.caller()?;
            let tracked = rows::find(name, purpose)?;
            if caller.materializes() {
                let wanted = match json {
                    Some(json) => Wanted::Json(json),
                    None => Wanted::Columns(&caller),
                };
                rows::read_into_store(&tracked, &caller, wanted)?;
                None
            } else {
                stream::open(call, &tracked, &caller, json)?
            }
        }
    };
    Ok(row.unwrap_or_else(|| arguments.null()))
}

/// Reads the result that a function names by pid and cookie; no rows if one of them is NULL.
fn read_handle(arguments: Arguments) -> Result {
    match arguments.handle_or_null()? {
        Some(name) => read(arguments, name, Purpose::ForControl, None),
        None => read_nothing(arguments),
    }
}

/// No rows.
fn read_nothing(arguments: Arguments) -> Result {
    let caller = arguments.caller()?;
    if caller.materializes() {
        Store::new(&caller);
    } else {
        caller.answer(true);
    }
    Ok(arguments.null())
}

sql_function!(
    /// `pg_background_result(pid)`, `(pid, cookie)`: the rows of a job. They can be read once.
    pg_background_result,
    pg_finfo_pg_background_result,
    |arguments| {
        if arguments.count() == 1 {
            return read(arguments, arguments.pid(), Purpose::ForControl, None);
        }
        read_handle(arguments)
    }
);

sql_function!(
    /// `pg_background_result_v2(pid, cookie)`: the rows of a job. They can be read once.
    pg_background_result_v2,
    pg_finfo_pg_background_result_v2,
    |arguments| read(arguments, arguments.handle(), Purpose::ForResult, None)
);

sql_function!(
    /// `pg_background_result(pid, cookie, row_type)`: the rows of a job as rows of an existing type.
    pg_background_result_as,
    pg_finfo_pg_background_result_as,
    |arguments| read_handle(arguments)
);

sql_function!(
    /// `pg_background_result_json(pid, cookie)`: the rows of a job as `jsonb`.
    pg_background_result_json,
    pg_finfo_pg_background_result_json,
    |arguments| {
        let json = Some(JsonType::Jsonb);
        read(arguments, arguments.handle(), Purpose::ForControl, json)
    }
);

sql_function!(
    /// `pg_background_result_ordered_json(pid, cookie)`: the rows of a job as `json`.
    pg_background_result_ordered_json,
    pg_finfo_pg_background_result_ordered_json,
    |arguments| {
        let json = Some(JsonType::Json);
        read(arguments, arguments.handle(), Purpose::ForControl, json)
    }
);

/// The only column of a result that consists of command tags.
const TAG_COLUMN: &str = "command_tag";

sql_function!(
    /// `pg_background_columns(pid, cookie)`: the columns of a job's result.
    pg_background_columns,
    pg_finfo_pg_background_columns,
    |arguments| {
        let mut store = Store::new(&arguments.caller()?);
        let tracked = rows::find(arguments.handle(), Purpose::ForControl)?;
        let mut put = |number: i32, name: &[u8], type_oid: pg_sys::Oid, modifier: i32| {
            let (values, nulls) = split([
                Value::int4(number),
                Value::text(name),
                Value::oid(type_oid),
                Value::int4(modifier),
            ]);
            store.put_values(&values, &nulls);
        };
        match rows::columns_of(&tracked)? {
            Some(columns) => {
                for (number, column) in (1..).zip(&columns) {
                    let name = column.name.to_bytes();
                    put(number, name, column.type_oid, column.typmod);
                }
            }
            None => put(1, TAG_COLUMN.as_bytes(), pg_sys::TEXTOID, -1),
        }
        Ok(arguments.null())
    }
);

/// The first arguments of `run` and `run_query`: sql, queue_size, timeout_ms, label. The time limit begins now.
fn launch_of(arguments: Arguments, sql: &[u8], submit: bool) -> (Launch<'_>, i32) {
    let timeout_ms = arguments.int4(2).unwrap_or(0);
    let launch = Launch {
        sql,
        params: &[],
        queue_size: arguments.int4(1).unwrap_or(0),
        by_pid: false,
        submit,
        label: arguments.text(3),
        deadline: until::deadline(timeout_ms),
    };
    (launch, timeout_ms)
}

/// `pg_background_run_result`; 1.10 has fewer attributes, in another order.
const RUN_RESULT: [&str; 14] = [
    "pid",
    "cookie",
    "state",
    "consumed",
    "completed",
    "has_error",
    "row_count",
    "command_tag",
    "sqlstate",
    "error_message",
    "label",
    "launched_at",
    "timed_out",
    "elapsed_ms",
];

/// The result of running no text, as in version 2.0.
fn nothing_ran() -> [Value; 14] {
    let mut row = [Value::NULL; 14];
    row[4] = Value::bool(false);
    row[5] = Value::bool(false);
    row[12] = Value::bool(false);
    row[13] = Value::int8(0);
    row
}

sql_function!(
    /// `pg_background_run(sql, queue_size, timeout_ms, label)`: runs a job for its outcome.
    pg_background_run,
    pg_finfo_pg_background_run,
    |arguments| {
        let Some(sql) = arguments.text(0) else {
            if arguments.text(3).is_some() {
                return Err(null_sql().into());
            }
            return Ok(arguments.row_by_name(RUN_RESULT, nothing_ran()));
        };
        let (launch, _) = launch_of(arguments, sql, true);
        let ran = oneshot::run(&launch)?;
        let mut row = [Value::NULL; 14];
        row[..12].copy_from_slice(&ran.outcome);
        row[12] = Value::bool(ran.timed_out);
        row[13] = Value::int8(ran.elapsed_ms);
        Ok(arguments.row_by_name(RUN_RESULT, row))
    }
);

sql_function!(
    /// `pg_background_run_query(sql, queue_size, timeout_ms, label, col_def)`: runs a job for its rows.
    pg_background_run_query,
    pg_finfo_pg_background_run_query,
    |arguments| {
        let caller = arguments.caller()?;
        let Some(sql) = arguments.text(0) else {
            if arguments.text(3).is_some() {
                return Err(null_sql().into());
            }
            return read_nothing(arguments);
        };
        // Without rows there is nothing to return, but for a caller that has described a command tag.
        let mut wanted = Wanted::Rows(&caller);
        if let Some(definition) = arguments.text(4) {
            columns::apply_definition(definition, &caller)?;
            if columns::check_tags(caller.columns()).is_ok() {
                wanted = Wanted::Columns(&caller);
            }
        }
        let (launch, timeout) = launch_of(arguments, sql, false);
        oneshot::run_query(&launch, timeout, &caller, wanted)?;
        Ok(arguments.null())
    }
);
