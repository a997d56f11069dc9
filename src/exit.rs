//! The ends of processes and sessions: the only place that knows both sides.
//!
//! At the exit of a process two callbacks run. First the session's jobs are given back, then a worker's job and worker slot. A process registers them when it
//! attaches to shared memory, before it can hold anything; in a worker that is before it connects. So they run after the
//! transaction was aborted and its locks were released (callbacks run last in, first out), and nobody sees a job
//! finished while its locks are held. [`crate::pg::exit`] says what may go wrong on the way.

use crate::cluster::attach::attached;
use crate::cluster::{job_end, spawn};
use crate::pg::exit::{self, run_to_completion};
use crate::{session, worker};
use pgrx::{pg_guard, pg_sys};

/// Names the callbacks, and what a worker does at the end of a job's session. When the library is loaded; the
/// postmaster's children inherit that.
pub fn provide() {
    worker::session::provide(session::exit::release_all);
    // The last in is the first out.
    exit::provide([leave_pool, end_session]);
}

#[pg_guard]
unsafe extern "C-unwind" fn end_session(_code: i32, _arg: pg_sys::Datum) {
    run_to_completion(end_session, || {
        fault!("session-ends");
        let Some(cluster) = attached() else {
            return;
        };
        // What it was at when it was cut short.
        let _ = job_end::finish_release();
        session::exit::release_all();
        spawn::await_registrations(cluster);
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn leave_pool(code: i32, _arg: pg_sys::Datum) {
    // However the rest goes: memory that messages go into is unmapped soon.
    worker::exit::mute();
    run_to_completion(leave_pool, || {
        worker::exit::leave_pool(code);
    });
}
