//! One statement in a transaction of its own, from launch to end in one call: `pg_background_exec` and
//! `pg_background_call`.
//!
//! Nobody gets a handle. So nothing is left however the call ends: an error, or an interrupt of the wait, withdraws the
//! job ([`Hold`](crate::session::hold::Hold)). The call returns when the job has committed.
//!
//! The wanted type travels with the request, and the worker converts the value before it commits (`src/shim/value.c`). So
//! an error of the conversion is the job's error. What the session does with the value afterwards runs no code of users:
//! the types are the same. The shape of the type travels too: the worker refuses, before anything is done, a type that
//! the session has altered without having committed, because the session could not read the worker's form of it.
//!
//! A third session may alter or drop the type after the conversion. Then the value cannot be read, and the statement
//! may have committed. So the call waits for the end of the job and says how it has ended: with the job's error, or
//! with the reader's, which then says that the statement has committed.

use crate::cluster::block::{Block, Returns};
use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::rows::Caller;
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::Shape;
use crate::session::jobs;
use crate::session::launch::request::launch_for_call;
use crate::session::read::columns::TypeName;
use crate::session::read::convert::{ResultRow, Wanted};
use crate::session::read::frames::Pace;
use crate::session::read::rows::{RowStep, Rows, conclude};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;

/// How many rows the last statement of the text has returned or changed; 0 where it has no row count. `params` are as the
/// shim serialized them.
///
/// # Errors
/// As [`launch_for_call`]; the job's own; 08006 its worker was lost; 40P01 the job waits for this session
pub fn exec(sql: &[u8], params: &[u8]) -> Result<i64, Failure> {
    let end = run(
        sql,
        params,
        Returns::Nothing,
        &Caller::of_value(pg_sys::INT8OID),
    )?;
    Ok(end.row_count)
}

/// The first row of the last statement of the text as a value of the type, in the current memory context; `None`: it is
/// NULL, or there is no row.
///
/// # Errors
/// As [`exec`]; 0A000 the type is a pseudo-type; in the job: 42704 it does not see the type; 42804 it sees it in another
/// form, or the row does not fit the type; the errors of the conversion
pub fn call(sql: &[u8], params: &[u8], type_oid: pg_sys::Oid) -> Result<Option<Datum>, Failure> {
    check_type(type_oid)?;
    let end = run(
        sql,
        params,
        Returns::Value(type_oid, shape_of(type_oid)),
        &Caller::of_value(type_oid),
    )?;
    Ok(end.value)
}

/// The shape of the type as it is now, also if this session has not locked it.
fn shape_of(type_oid: pg_sys::Oid) -> Shape {
    // SAFETY: in the transaction of the calling function.
    unsafe {
        server::AcceptInvalidationMessages();
        shim::pgb_shape(type_oid).hash
    }
}

fn check_type(type_oid: pg_sys::Oid) -> Result<(), Error> {
    // SAFETY: a catalog lookup, in the transaction of the calling function.
    let kind = unsafe { server::get_typtype(type_oid) };
    if kind.cast_unsigned() != pg_sys::TYPTYPE_PSEUDO {
        return Ok(());
    }
    Err(Error::new(
        ERRCODE_FEATURE_NOT_SUPPORTED,
        "a background job cannot return a value of a pseudo-type",
    )
    .detail(format_args!("The type is {}.", TypeName(type_oid, -1)))
    .hint("Pass a value of a named type, such as NULL::int or NULL::some_table."))
}

/// How a call ended.
struct End {
    value: Option<Datum>,
    row_count: i64,
}

fn run(sql: &[u8], params: &[u8], returns: Returns, caller: &Caller) -> Result<End, Failure> {
    let hold = launch_for_call(sql, params, returns)?;
    let job = hold.job();
    fault!("call-launched");
    // SAFETY: the context of the call outlives it.
    let mut rows =
        unsafe { Rows::begin(job, job.pid(), Pace::Whole, pg_sys::CurrentMemoryContext)? };
    let value = match value_of(&mut rows, caller) {
        Ok(value) => value,
        Err(error) => return Err(unreadable(rows, job, error)),
    };
    rows.free();
    let (_, row_count) = Block::of(job).completion();
    fault!("call-read");
    conclude(job)?;
    Ok(End {
        value,
        row_count: row_count.unwrap_or(0),
    })
}

/// The value that the job sends; `None`: it is NULL, or there is no row.
fn value_of(rows: &mut Rows, caller: &Caller) -> Result<Option<Datum>, Error> {
    let mut value = None;
    while let RowStep::Row(row) = rows.next(Wanted::Rows(caller), true, true)? {
        let ResultRow::Values(values, nulls) = row else {
            unreachable!("values were asked for")
        };
        value = caller.value(values, nulls);
        rows.release_row();
    }
    Ok(value)
}

/// The error of a call whose value cannot be read. Waits for the end of the job.
fn unreadable(mut rows: Rows, job: Job, error: Error) -> Failure {
    if !jobs::holds(job) {
        return error.into();
    }
    rows.await_end();
    rows.free();
    match conclude(job) {
        Err(failure) => failure,
        Ok(()) => error
            .detail("The statement has been committed; its value cannot be returned.")
            .hint("Do not repeat the statement: look up what it has done.")
            .into(),
    }
}
