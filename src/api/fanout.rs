//! Fan-out, over texts and over the values of a parameter.

use super::launch::null_sql;
use super::{Arguments, Result, sql_function};
use crate::pg::error::Error;
use crate::pg::per_call::PerCall;
use crate::pg::tuple::split;
use crate::session::launch::fanout::{Fanout, FanoutRequest};
use crate::session::launch::statements::Source;

sql_function!(
    /// `pg_background_fanout(sql, max_parallel, fail_fast, timeout_ms)`: one row per statement, as they finish.
    pg_background_fanout,
    pg_finfo_pg_background_fanout,
    |arguments| next(arguments, texts)
);

sql_function!(
    /// `pg_background_fanout_params(sql, params, max_parallel, fail_fast, timeout_ms)`: one row per element of
    /// `params`.
    pg_background_fanout_params,
    pg_finfo_pg_background_fanout_params,
    |arguments| next(arguments, elements)
);

/// What the first call asks for; `None`: its array is NULL.
type Requested = std::result::Result<Option<FanoutRequest<'static>>, Error>;

fn texts(arguments: Arguments) -> Requested {
    let source = arguments.raw(0).map(Source::Texts);
    Ok(source.map(|source| request(arguments, source, 1)))
}

fn elements(arguments: Arguments) -> Requested {
    let sql = arguments.text(0).ok_or_else(null_sql)?;
    let source = arguments.raw(1).map(|array| Source::Elements(sql, array));
    Ok(source.map(|source| request(arguments, source, 2)))
}

/// `rest`: index of the first argument after the source.
fn request(arguments: Arguments, source: Source<'_>, rest: usize) -> FanoutRequest<'_> {
    FanoutRequest {
        source,
        max_parallel: arguments.int4(rest),
        fail_fast: arguments.bool(rest + 1).unwrap_or(false),
        timeout_ms: arguments.int4(rest + 2).unwrap_or(0),
    }
}

fn next(arguments: Arguments, requested: fn(Arguments) -> Requested) -> Result {
    let call = arguments.call_info();
    // SAFETY: declared to return a set; what is kept between its calls is a fan-out.
    let kept = match unsafe { PerCall::<Fanout>::of(call) } {
        Some(kept) => kept,
        None => {
            let caller = arguments.caller()?;
            let Some(request) = requested(arguments)? else {
                caller.answer(true);
                return Ok(arguments.null());
            };
            // SAFETY: as above.
            let kept = unsafe {
                PerCall::keep(call, &caller, c"pg_background fan-out", |memory| {
                    Fanout::new(&request, memory)
                })?
            };
            // SAFETY: the fan-out does not move until it is dropped with the memory of the calling query.
            unsafe { kept.value().watch_transaction() };
            kept
        }
    };
    let caller = kept.caller();
    let Some(row) = kept.value().next()? else {
        // SAFETY: not used again.
        unsafe { kept.finish() };
        caller.answer(true);
        return Ok(arguments.null());
    };
    let (values, nulls) = split(row);
    caller.answer(false);
    Ok(caller
        .value(&values, &nulls)
        .unwrap_or_else(|| arguments.null()))
}
