//! Going on after an error of the server.
//!
//! An error may leave locks, pins, snapshots and SPI connections behind. The server's rule is that only the abort of a
//! (sub)transaction cleans them up. So code that may fail without ending the call runs in a subtransaction of its own.

use crate::pg::shim::Attempt;
use crate::pg::tuple::Value;
use crate::pg::{error, shim};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// An error after which the transaction goes on.
pub struct Refused {
    /// SQLSTATE.
    pub sqlstate: Value,
    /// Primary message.
    pub message: Value,
}

/// Runs `body` in a subtransaction, which an error rolls back. A cancel of the caller's statement is thrown on, and so
/// is every error if there can be no subtransaction (during a parallel query).
///
/// # Errors
/// An error of the server that `body` raises. Its texts are in the current memory context.
pub fn attempt<T>(body: impl FnOnce() -> T) -> Result<T, Refused> {
    let mut entered = MaybeUninit::<Attempt>::uninit();
    let into = entered.as_mut_ptr();
    // SAFETY: in a transaction; the result says whether the call has filled in `entered`.
    if !unsafe { shim::pgb_begin_attempt(into) } {
        return Ok(body());
    }
    let entered = entered.as_ptr();
    let end = |succeeded| {
        // SAFETY: the subtransaction that was begun here; everything that was begun in it has ended, or ends with it.
        unsafe { shim::pgb_end_attempt(entered, succeeded) };
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let value = body();
        end(true);
        value
    }));
    outcome.map_err(|payload| {
        end(false);
        let caught = error::caught(&*payload);
        match caught.summary() {
            Some((sqlstate, message)) if !caught.cancels_statement() => Refused {
                sqlstate: Value::text(&sqlstate),
                message: Value::text(message),
            },
            _ => resume_unwind(payload),
        }
    })
}
