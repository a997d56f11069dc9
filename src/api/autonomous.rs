//! One statement in a transaction of its own.

use super::launch::null_sql;
use super::{Arguments, sql_function};
use crate::session::launch::call;
use pgrx::pg_sys::Datum;

/// The parameters from the argument with this index on. The forms without parameters have no such argument.
fn params<'a>(arguments: Arguments, first: i32) -> &'a [u8] {
    if arguments.count() as i32 <= first {
        return &[];
    }
    // SAFETY: the scripts declare them so.
    unsafe { arguments.params(first) }
}

sql_function!(
    /// `pg_background_exec(sql [, VARIADIC params])`: runs a statement, returns how many rows it changed or returned.
    pg_background_exec,
    pg_finfo_pg_background_exec,
    |arguments| {
        let sql = arguments.text(0).ok_or_else(null_sql)?;
        let rows = call::exec(sql, params(arguments, 1))?;
        Ok(Datum::from(rows))
    }
);

sql_function!(
    /// `pg_background_call(sql, returns [, VARIADIC params])`: runs a statement, returns its first row as a value.
    pg_background_call,
    pg_finfo_pg_background_call,
    |arguments| {
        let sql = arguments.text(0).ok_or_else(null_sql)?;
        let value = call::call(sql, params(arguments, 2), arguments.type_of(1))?;
        Ok(value.unwrap_or_else(|| arguments.null()))
    }
);
