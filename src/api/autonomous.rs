//! One statement in a transaction of its own.

use super::launch::null_sql;
use super::sql_function;
use crate::session::launch::call;
use pgrx::pg_sys::Datum;

sql_function!(
    /// `pg_background_exec(sql [, VARIADIC params])`: runs a statement, returns how many rows it changed or returned.
    pg_background_exec,
    pg_finfo_pg_background_exec,
    |arguments| {
        let sql = arguments.text(0).ok_or_else(null_sql)?;
        // SAFETY: the form with parameters declares them so.
        let params = unsafe { arguments.params(1) };
        Ok(Datum::from(call::exec(sql, params)?))
    }
);

sql_function!(
    /// `pg_background_call(sql, returns [, VARIADIC params])`: runs a statement, returns its first row as a value.
    pg_background_call,
    pg_finfo_pg_background_call,
    |arguments| {
        let sql = arguments.text(0).ok_or_else(null_sql)?;
        // SAFETY: the form with parameters declares them so.
        let params = unsafe { arguments.params(2) };
        let value = call::call(sql, params, arguments.type_of(1))?;
        Ok(value.unwrap_or_else(|| arguments.null()))
    }
);
