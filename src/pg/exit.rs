//! What a process does at its exit.
//!
//! `proc_exit` does not unwind: nothing in shared memory is given back by a destructor then. Two callbacks
//! give back what the process's own memory says it holds: first the session's jobs, then a worker's job and
//! place. Two, because the server goes on with the next one when an error (which nothing in here should
//! raise) ends the first. They are registered when the process first attaches, before it can hold anything;
//! in a worker that is before it connects, so that they run after the transaction was aborted and its locks
//! were released (callbacks run last in, first out), and nobody sees a job finished while its locks are held.

use crate::pg::local::Local;
use pgrx::{pg_guard, pg_sys};

static REGISTERED: Local<bool> = Local::new(false);

/// Registers the callbacks, once.
pub fn register() {
    if !REGISTERED.get() {
        // SAFETY: functions of this library, which is never unloaded. The last in is the first out.
        unsafe {
            pg_sys::before_shmem_exit(Some(leave_pool), pg_sys::Datum::from(0));
            pg_sys::before_shmem_exit(Some(end_session), pg_sys::Datum::from(0));
        }
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

/// The first thing, because the handler reads memory that is unmapped later in the exit; and an error outside
/// a transaction may have left locks.
fn calm() {
    // SAFETY: sets a signal's disposition; no lock is held for a reason by now.
    unsafe {
        crate::pg::shim::pgb_ignore_doorbell();
        pg_sys::LWLockReleaseAll();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn end_session(_code: i32, _arg: pg_sys::Datum) {
    calm();
    crate::leader::exit::release_all();
    if let Some(cluster) = crate::pg::cluster::attached() {
        crate::pg::registration::settle_at_exit(cluster);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave_pool(code: i32, _arg: pg_sys::Datum) {
    calm();
    crate::worker::exit::leave_pool(code);
}
