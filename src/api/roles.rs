//! The jobs of login roles, for administrators: showing them and ending them.

use super::{Arguments, STRICT, sql_function};
use crate::pg::rows::Store;
use crate::pg::text;
use crate::pg::tuple::{Value, split};
use crate::session::roles;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

fn role(arguments: Arguments) -> pg_sys::Oid {
    let datum = arguments.raw(0).expect(STRICT);
    pg_sys::Oid::from(datum.value() as u32)
}

sql_function!(
    /// `pg_background_cancel_role(role, grace_ms)`: ends all queued and running jobs of a login role.
    pg_background_cancel_role,
    pg_finfo_pg_background_cancel_role,
    |arguments| {
        let grace_ms = arguments.int4(1).expect(STRICT);
        Ok(Datum::from(roles::cancel(role(arguments), grace_ms)?))
    }
);

sql_function!(
    /// `pg_background_purge_role(role)`: detaches the finished jobs of a login role.
    pg_background_purge_role,
    pg_finfo_pg_background_purge_role,
    |arguments| Ok(Datum::from(roles::purge(role(arguments))?))
);

sql_function!(
    /// `pg_background_resources_by_role()`: what the jobs of each database, login role and user use.
    pg_background_resources_by_role,
    pg_finfo_pg_background_resources_by_role,
    |arguments| {
        let mut store = Store::new(&arguments.caller()?);
        for row in roles::resources()? {
            let (values, nulls) = split([
                text::database(row.database),
                text::role(row.login_role),
                text::role(row.user),
                Value::int4(row.queued),
                Value::int4(row.throttled),
                Value::int4(row.running),
                Value::int4(row.finished),
                Value::int4(row.workers),
                Value::int8(row.bytes.cast_signed()),
                Value::int8(row.file_bytes.cast_signed()),
            ]);
            store.put_values(&values, &nulls);
        }
        Ok(arguments.null())
    }
);
