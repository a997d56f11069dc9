//! Where C calls Rust, and errors of the server on their way through Rust.
//!
//! An error that is thrown below Rust frames must not jump over them. Three steps carry it through:
//!
//! 1. The guard around each call of C catches it and panics: pgrx has put one around the server's functions, and
//!    [`guarded`](crate::pg::shim::guarded) is ours.
//! 2. Before any frame is unwound, [`note_errors`] takes it from the server's stack of errors and notes it, with all its
//!    fields (`error.c`). While frames are unwound the server has no error.
//! 3. [`enter`], around everything in Rust that C calls, raises the noted error again, unchanged.
//!
//! An error that Rust raises ([`Error::raise`](crate::pg::error::Error::raise)) is a panic too, and becomes an error of
//! the server in [`enter`].

use crate::pg::error;
use crate::pg::shim;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::submodules::panic::pgrx_extern_c_guard;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Has each error of the server noted before it unwinds Rust frames. Called each time that the server initializes the
/// library, before anything can throw: pgrx has then just put a hook of its own in front, which calls no other.
pub fn note_errors() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        next(panic);
        if let Some(CaughtError::PostgresError(_)) = panic.payload().downcast_ref() {
            // SAFETY: the guard has caught an error, which is on top of the server's stack. Throws nothing.
            unsafe { shim::pgb_note_error() };
        }
    }));
}

/// Unwinds on, to pgrx's guard, unless the panic is the error that is noted. pgrx would look for an error of the server on
/// the server's stack, where it is no longer: if its note is gone too, what the panic has of it becomes an error of its
/// own. Calls nothing that may throw, because such an error would be lost.
fn unwind_unless_noted(payload: Box<dyn Any + Send>) {
    let is_of_server = matches!(payload.downcast_ref(), Some(CaughtError::PostgresError(_)));
    if is_of_server && error::is_noted() {
        return;
    }
    match payload.downcast::<CaughtError>().map(|caught| *caught) {
        Ok(CaughtError::PostgresError(report)) => std::panic::panic_any(report),
        Ok(other) => other.rethrow(),
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs the body of a function that C calls. A panic in it becomes an error of the server.
///
/// # Safety
/// Only C is above the caller's frame, and nothing in that frame has a destructor: the error jumps over it.
pub unsafe fn enter<R: Copy>(body: impl FnOnce() -> R) -> R {
    let body = AssertUnwindSafe(body);
    // SAFETY: by the caller.
    let outcome = unsafe {
        pgrx_extern_c_guard(move || catch_unwind(body).map_err(unwind_unless_noted).ok())
    };
    match outcome {
        Some(value) => value,
        // SAFETY: jumps out of this frame, which holds nothing to drop, and that of the caller.
        None => unsafe { shim::pgb_raise_noted_error() },
    }
}
