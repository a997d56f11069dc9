//! Waiting for many jobs.

use super::{STRICT, sql_function};
use crate::pg::rows::Store;
use crate::pg::tuple::{Value, split};
use crate::session::wait::many;
use pgrx::pg_sys::Datum;

sql_function!(
    /// `pg_background_wait_any(handles, timeout_ms)`: the first job that has finished.
    pg_background_wait_any,
    pg_finfo_pg_background_wait_any,
    |arguments| {
        let handles = arguments.handles(0)?;
        let timeout = arguments.int4(1).unwrap_or(0);
        Ok(match many::wait_any(&handles, timeout)? {
            Some((pid, cookie)) => {
                arguments.row([Value::int4(pid), Value::int8(cookie.to_sql())])
            }
            None => arguments.null(),
        })
    }
);

sql_function!(
    /// `pg_background_wait_all(handles, timeout_ms)`: how many jobs have finished.
    pg_background_wait_all,
    pg_finfo_pg_background_wait_all,
    |arguments| {
        let handles = arguments.handles(0)?;
        let timeout = arguments.int4(1).expect(STRICT);
        Ok(Datum::from(many::wait_all(&handles, timeout)?))
    }
);

sql_function!(
    /// `pg_background_drain(handles, timeout_ms)`: the outcome of each job.
    pg_background_drain,
    pg_finfo_pg_background_drain,
    |arguments| {
        let mut store = Store::new(&arguments.caller()?);
        let handles = arguments.handles(0)?;
        let timeout = arguments.int4(1).unwrap_or(0);
        many::drain(&handles, timeout, |outcome| {
            let (values, nulls) = split(outcome);
            store.put_values(&values, &nulls);
        })?;
        Ok(arguments.null())
    }
);
