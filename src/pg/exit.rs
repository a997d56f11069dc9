//! The one exit callback of a process.
//!
//! `proc_exit` does not unwind: nothing in shared memory is given back by a destructor then. This callback
//! gives back what the process's own memory says it holds. It is registered when the process first
//! attaches, before it can hold anything; in a worker that is before it connects, so that it runs after
//! the transaction was aborted and its locks were released (callbacks run last in, first out), and nobody
//! sees a job finished while its locks are held.

use crate::pg::local::Local;
use pgrx::{pg_guard, pg_sys};

static REGISTERED: Local<bool> = Local::new(false);

/// Registers the callback, once.
pub fn register() {
    if !REGISTERED.get() {
        // SAFETY: the callback is a function of this library, which is never unloaded.
        unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0)) };
        REGISTERED.set(true);
    }
}

/// The ordinary way out of a PostgreSQL process: runs the exit callbacks, unwinds nothing.
pub fn leave(code: i32) -> ! {
    // SAFETY: on the main thread, as everything here.
    unsafe { pg_sys::proc_exit(code) };
    // The bindings of 18 do not say that it does not return.
    #[cfg(feature = "pg18")]
    unreachable!("proc_exit has returned")
}

#[pg_guard]
unsafe extern "C-unwind" fn at_exit(code: i32, _arg: pg_sys::Datum) {
    // SAFETY: the first thing, because the handler reads memory that is unmapped later in the exit; and
    // an error outside a transaction may have left locks.
    unsafe {
        crate::pg::shim::pgb_ignore_doorbell();
        pg_sys::LWLockReleaseAll();
    }
    crate::leader::exit::release_all();
    if let Some(cluster) = crate::pg::cluster::attached() {
        crate::pg::registration::settle_at_exit(cluster);
    }
    crate::worker::exit::leave_pool(code);
}
