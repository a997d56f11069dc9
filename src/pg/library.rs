//! The extension's library, and which processes are its workers.

use pgrx::pg_sys;
use std::ffi::CStr;

/// The library that contains the workers' entry function.
pub const LIBRARY: &CStr = c"$libdir/pg_background";

/// Whether this process is a worker of this extension. The server knows that before it loads the library.
pub fn is_own_worker() -> bool {
    // SAFETY: the pointer is null or points at the registration of this process, whose texts are zero-terminated.
    unsafe {
        !pg_sys::MyBgworkerEntry.is_null()
            && CStr::from_ptr((&raw const (*pg_sys::MyBgworkerEntry).bgw_library_name).cast())
                == LIBRARY
    }
}
