//! Fan-out.

use super::{Arguments, Result, sql_function};
use crate::pg::per_call::PerCall;
use crate::pg::tuple::split;
use crate::session::launch::fanout::{Fanout, FanoutRequest};

sql_function!(
    /// `pg_background_fanout(sql, max_parallel, fail_fast, timeout_ms)`: one row per statement, as they finish.
    pg_background_fanout,
    pg_finfo_pg_background_fanout,
    |arguments| next(arguments)
);

fn next(arguments: Arguments) -> Result {
    let call = arguments.call_info();
    // SAFETY: declared to return a set; what is kept between its calls is a fan-out.
    let kept = match unsafe { PerCall::<Fanout>::of(call) } {
        Some(kept) => kept,
        None => {
            let caller = arguments.caller()?;
            let Some(statements) = arguments.raw(0) else {
                caller.answer(true);
                return Ok(arguments.null());
            };
            let asked = FanoutRequest {
                statements,
                max_parallel: arguments.int4(1),
                fail_fast: arguments.bool(2).unwrap_or(false),
                timeout_ms: arguments.int4(3).unwrap_or(0),
            };
            // SAFETY: as above.
            let kept = unsafe {
                PerCall::keep(call, &caller, c"pg_background fan-out", |memory| {
                    Fanout::new(&asked, memory)
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
