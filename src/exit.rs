//! What happens at the end of a process or session. This is the only place that knows both sides.
//!
//! At the exit of a process two callbacks run. The first gives up the session's jobs, the second the worker's job and
//! worker slot. A process registers them when it attaches to shared memory, before it can hold anything; a worker does
//! that before it connects. The last callback registered runs first, so in a worker both run after the server has aborted
//! the transaction and released its locks. Nobody sees a job finished while its locks are held. [`crate::pg::exit`] says
//! which errors a callback has to survive.

use crate::cluster::attach::attached;
use crate::cluster::{job_end, spawn, trace};
use crate::pg::boundary;
use crate::pg::exit::{self, run_to_completion};
use crate::{session, worker};
use pgrx::pg_sys;

/// Registers the callbacks, and what a worker does at the end of a job's session. Runs when the library is loaded; the
/// postmaster's children inherit the registration.
pub fn register() {
    worker::session::provide(session::exit::release_all);
    // The last one runs first.
    exit::provide([leave_pool, end_session]);
}

unsafe extern "C-unwind" fn end_session(_code: i32, _arg: pg_sys::Datum) {
    let body = move || {
        run_to_completion(end_session, || {
            fault!("session-ends");
            let Some(cluster) = attached() else {
                return;
            };
            // A release or a spawn that the exit may have interrupted.
            job_end::finish_release(cluster);
            spawn::finish_spawn(cluster);
            session::exit::release_all();
            spawn::await_registrations(cluster);
            trace::write_transitions();
        });
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

unsafe extern "C-unwind" fn leave_pool(code: i32, _arg: pg_sys::Datum) {
    let body = move || {
        let has_run = run_to_completion(leave_pool, || {
            // First of all, because the memory that messages go into is about to be unmapped.
            worker::exit::mute();
            worker::exit::leave_pool(code);
            trace::write_transitions();
        });
        if !has_run {
            worker::exit::mute();
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}
