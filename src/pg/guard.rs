//! The guard around each call of C that can throw.
//!
//! It turns the jump into unwinding of the Rust frames above the call. [`boundary`](crate::pg::boundary) says how an error
//! goes on from here.
//!
//! A function of C is declared once, in [`server`](crate::pg::server) or [`shim`](crate::pg::shim), with [`throwing!`]
//! or with [`not_throwing!`]. The former puts the guard around each call. So no caller has to know which functions throw.

use pgrx::pg_sys;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::resume_unwind;
use std::ptr::NonNull;

/// The payload of a panic that is an error of the server. Owns the note of it.
pub struct ServerError(NonNull<pg_sys::ErrorData>);

// SAFETY: a process of the server has one thread.
unsafe impl Send for ServerError {}

impl ServerError {
    /// Unwinds with the error of this note.
    fn unwind(note: NonNull<pg_sys::ErrorData>) -> ! {
        resume_unwind(Box::new(Self(note)))
    }

    /// Its fields.
    pub fn data(&self) -> &pg_sys::ErrorData {
        // SAFETY: the note stays as long as this.
        unsafe { self.0.as_ref() }
    }

    /// Gives the note away.
    pub fn into_note(self) -> NonNull<pg_sys::ErrorData> {
        let note = self.0;
        std::mem::forget(self);
        note
    }
}

impl Drop for ServerError {
    fn drop(&mut self) {
        // SAFETY: it is its own. Throws nothing.
        unsafe { pgb_free_error(self.0.as_ptr()) };
    }
}

/// A call, and room for its result.
struct Call<F, R> {
    body: MaybeUninit<F>,
    result: MaybeUninit<R>,
}

/// # Safety
/// `call` is a [`Call`] with these types, whose body has not been taken yet.
unsafe extern "C-unwind" fn perform<F: FnOnce() -> R, R>(call: *mut c_void) {
    // SAFETY: by the caller.
    unsafe {
        let call = call.cast::<Call<F, R>>();
        let body = (*call).body.assume_init_read();
        (*call).result.write(body());
    }
}

/// Calls C. An error that is thrown there unwinds from here as a [`ServerError`]. The memory context is then what it was,
/// and this process holds no LWLock.
///
/// # Safety
/// For [`throwing!`]. `call` must do nothing but call one function of C: an error would jump over a frame with a
/// destructor inside it, and a panic must not leave it.
pub(in crate::pg) unsafe fn guarded<R>(call: impl FnOnce() -> R) -> R {
    fn performer<F: FnOnce() -> R, R>(_: &Call<F, R>) -> unsafe extern "C-unwind" fn(*mut c_void) {
        perform::<F, R>
    }
    let mut call = Call {
        body: MaybeUninit::new(call),
        result: MaybeUninit::uninit(),
    };
    let perform = performer(&call);
    // SAFETY: by the caller's promise there is nothing to destroy.
    let note = unsafe { pgb_guard(perform, (&raw mut call).cast()) };
    if let Some(note) = NonNull::new(note) {
        ServerError::unwind(note);
    }
    // SAFETY: the call has returned, and left its result.
    unsafe { call.result.assume_init() }
}

/// Declares functions of C that may throw: an error unwinds from each.
///
/// In the module `unguarded` they are without the guard, for the few calls that no frame of Rust is above.
macro_rules! throwing {
    ($($(#[$cfg:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        pub(in crate::pg) mod unguarded {
            use super::*;

            unsafe extern "C-unwind" {
                $($(#[$cfg])* pub fn $name($($argument: $type),*) $(-> $result)?;)*
            }
        }

        $(
            /// # Safety
            /// As C documents.
            $(#[$cfg])*
            pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: by the caller.
                unsafe { $crate::pg::guard::guarded(|| unguarded::$name($($argument),*)) }
            }
        )*
    };
}
pub(in crate::pg) use throwing;

/// Declares functions of C that throw nothing.
macro_rules! not_throwing {
    ($($(#[$cfg:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        unsafe extern "C-unwind" {
            $($(#[$cfg])* pub fn $name($($argument: $type),*) $(-> $result)?;)*
        }
    };
}
pub(in crate::pg) use not_throwing;

not_throwing! {
    fn pgb_guard(
        call: unsafe extern "C-unwind" fn(*mut c_void),
        argument: *mut c_void,
    ) -> *mut pg_sys::ErrorData;
    fn pgb_free_error(note: *mut pg_sys::ErrorData);
}
