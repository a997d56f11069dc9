//! The extension's library, and which processes are its workers.

use crate::pg::shim;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The name of the library, and what the server calls its workers.
pub const NAME: &CStr = c"pg_background";

/// What a registration gives as the library of a worker: the file from which this process has loaded it.
///
/// [`NAME`] if that file is unknown, or longer than the `limit` of the registration, which is 96 bytes up to
/// PostgreSQL 16. Then the worker looks the name up along the configured `dynamic_library_path`.
pub fn of_workers(limit: usize) -> &'static CStr {
    // SAFETY: zero-terminated, and neither freed nor changed after the library has been loaded.
    let file = unsafe { CStr::from_ptr(shim::pgb_library_path()) };
    let is_absolute = file.to_bytes().starts_with(b"/");
    if is_absolute && file.to_bytes_with_nul().len() <= limit {
        file
    } else {
        NAME
    }
}

/// Called when the library is loaded: an error if this process has loaded another copy of it.
pub fn be_the_only_copy() {
    // SAFETY: one function of the shim; called by the server, which catches the error.
    unsafe { shim::pgb_be_the_only_copy() }
}

/// Whether this process is a worker of this extension. The server knows that before it loads the library.
pub fn is_own_worker() -> bool {
    // SAFETY: the pointer is null or points at the registration of this process, whose texts are zero-terminated.
    unsafe {
        !pg_sys::MyBgworkerEntry.is_null()
            && CStr::from_ptr((&raw const (*pg_sys::MyBgworkerEntry).bgw_type).cast()) == NAME
    }
}
