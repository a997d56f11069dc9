//! The library of the extension, as processes know it.

use pgrx::pg_sys;
use std::ffi::CStr;

/// The library whose entry function the workers run.
pub const LIBRARY: &CStr = c"$libdir/pg_background";

/// Whether this process is a worker of ours: the server knows that before it loads the library.
pub fn is_own_worker() -> bool {
    // SAFETY: null, or the registration of this process, whose texts are zero-terminated.
    unsafe {
        !pg_sys::MyBgworkerEntry.is_null()
            && CStr::from_ptr((&raw const (*pg_sys::MyBgworkerEntry).bgw_library_name).cast())
                == LIBRARY
    }
}
