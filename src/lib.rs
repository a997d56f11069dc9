//! Runs SQL in PostgreSQL background workers.
//!
//! The modules are floors. Each uses only those below it (`ci/lint` checks that):
//!
//! | module | subject |
//! |---|---|
//! | `api` | the SQL-callable functions |
//! | `exit` | the exit callbacks of a process: the only place that knows both sides |
//! | `session`, `worker` | the two sides: a session that launches jobs, a process that runs them |
//! | `cluster` | what the processes share: shared memory, a job's block, starting workers |
//! | `settings` | the extension's own settings |
//! | `pg` | PostgreSQL's facilities, each wrapped once; with the C of `src/shim/`, whose `shim.h` names the Rust functions that C calls |
//! | `engine` | the state machines: a crate of its own without PostgreSQL, checked by models in `loom_tests/` |
//!
//! `docs/architecture.md` explains how they fit together.

#[macro_use]
mod pg;

mod api;
mod cluster;
mod exit;
mod session;
mod settings;
mod worker;

use pg::boundary;

pgrx::pg_module_magic!(name, version);

/// Called by the server when it loads the library.
///
/// # Safety
/// Only the server calls this, once per process.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name that the server looks for")]
pub unsafe extern "C-unwind" fn _PG_init() {
    let body = move || {
        boundary::note_bugs();
        // What may fail comes before what stays: the server initializes the library again after a failure.
        pg::library::be_the_only_copy();
        settings::define_at_load();
        exit::register();
        cluster::attach::reserve();
        cluster::drop_database::watch();
        cluster::trace::begin();
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}
