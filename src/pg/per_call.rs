//! The state that a set-returning function keeps between its calls when it returns one row per call.
//!
//! The state has a memory context of its own, a child of the calling query's. It always ends in the same way: the
//! context is deleted, and its reset callback drops the value. Three parties can delete the context:
//!
//! * the call that finds no more rows ([`PerCall::finish`]);
//! * the shutdown of the expression, when the query ends early (LIMIT, a closed cursor, a rescan);
//! * on an error, when the expression is not shut down, the server, together with the query's memory.
//!
//! Child contexts are deleted before the callback runs, so dropping the value must not access their memory.

use crate::pg::boundary;
use crate::pg::memory::child_of;
use crate::pg::rows::Caller;
use crate::pg::server;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::ffi::{CStr, c_void};

/// See the module documentation. `FmgrInfo.fn_extra` points at it.
pub struct PerCall<T> {
    /// `None`: it has ended.
    value: Option<T>,
    caller: Caller,
    context: pg_sys::MemoryContext,
    function: *mut pg_sys::FmgrInfo,
    callback: pg_sys::MemoryContextCallback,
}

unsafe extern "C-unwind" fn drop_value<T>(kept: *mut c_void) {
    // SAFETY: called once, before the context that contains the value is freed.
    unsafe { boundary::enter(|| (*kept.cast::<PerCall<T>>()).value = None) };
}

unsafe extern "C-unwind" fn shut_down<T>(kept: Datum) {
    // SAFETY: the expression is shut down before the query's memory is freed, and not after `finish`.
    unsafe { boundary::enter(|| end(kept.cast_mut_ptr::<PerCall<T>>())) };
}

/// Deletes the state's memory, and with it the state.
///
/// # Safety
/// The state has not ended, and is not used again.
unsafe fn end<T>(kept: *mut PerCall<T>) {
    // SAFETY: by the caller.
    unsafe {
        (*(*kept).function).fn_extra = std::ptr::null_mut();
        server::MemoryContextDelete((*kept).context);
    }
}

impl<T> PerCall<T> {
    /// What an earlier call has kept; `None`: this is the first call.
    ///
    /// # Safety
    /// `fcinfo` is the argument of a function that keeps a `T`. The result is not used after
    /// [`finish`](Self::finish).
    pub unsafe fn of<'a>(fcinfo: pg_sys::FunctionCallInfo) -> Option<&'a mut Self> {
        // SAFETY: by the caller.
        unsafe {
            let kept = (*(*fcinfo).flinfo).fn_extra.cast::<Self>();
            let kept = kept.as_mut()?;
            kept.caller.called_again(fcinfo);
            Some(kept)
        }
    }

    /// Keeps the value that `make` returns. `make` is given the new memory context.
    ///
    /// # Errors
    /// Those of `make`.
    ///
    /// # Safety
    /// `fcinfo` is the argument of a set-returning function, and `caller` its caller.
    pub unsafe fn keep<'a, E>(
        fcinfo: pg_sys::FunctionCallInfo,
        caller: &Caller,
        name: &'static CStr,
        make: impl FnOnce(pg_sys::MemoryContext) -> Result<T, E>,
    ) -> Result<&'a mut Self, E> {
        // SAFETY: the query's context is valid; the state is complete before a callback can see it.
        unsafe {
            let context = child_of(caller.query_context(), name);
            let value = make(context)?;
            let kept = server::MemoryContextAllocZero(context, size_of::<Self>()).cast::<Self>();
            kept.write(Self {
                value: Some(value),
                caller: *caller,
                context,
                function: (*fcinfo).flinfo,
                callback: pg_sys::MemoryContextCallback {
                    func: Some(drop_value::<T>),
                    arg: kept.cast(),
                    next: std::ptr::null_mut(),
                },
            });
            server::MemoryContextRegisterResetCallback(context, &raw mut (*kept).callback);
            server::RegisterExprContextCallback(
                caller.expression_context(),
                Some(shut_down::<T>),
                Datum::from(kept),
            );
            (*(*fcinfo).flinfo).fn_extra = kept.cast();
            Ok(&mut *kept)
        }
    }

    /// The value.
    ///
    /// # Panics
    /// When it has ended.
    pub fn value(&mut self) -> &mut T {
        self.value.as_mut().expect("kept until it is finished")
    }

    /// The calling query's side of this call.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Ends the state, in the call that found no more rows.
    ///
    /// # Safety
    /// `self` is not used again.
    pub unsafe fn finish(&mut self) {
        let kept = std::ptr::from_mut(self);
        // SAFETY: by the caller.
        unsafe {
            server::UnregisterExprContextCallback(
                (*kept).caller.expression_context(),
                Some(shut_down::<T>),
                Datum::from(kept),
            );
            end(kept);
        }
    }
}
