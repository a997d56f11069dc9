//! Idle workers leave a database that is about to be dropped.
//!
//! `DROP DATABASE` waits five seconds for the processes that use the database, looking ten times a second, and then fails.
//! Idle workers leave after `worker_idle_timeout`; those that are kept longer (`keep_workers`) would make it fail. So in a
//! process that has loaded the library, the server's hook sends them home before that wait, and none of the database is
//! kept from then on ([`engine::pool`], `keep`). The server's wait is also the one for them: it is the only one that
//! ends when a process has left for good, and it has a limit.
//!
//! The hook runs when the server has found that the user may drop the database.

use crate::cluster::attach;
use crate::pg::process::wake;
use crate::pg::{boundary, shim};
use pgrx::pg_sys;

/// Called once, when the library is loaded.
pub fn watch() {
    // SAFETY: sets a hook, which stays where it is as long as the process.
    unsafe { shim::pgb_watch_drops() };
}

/// The database is about to be dropped. May throw.
#[unsafe(no_mangle)]
extern "C-unwind" fn pgb_release_database(database: pg_sys::Oid) {
    let body = move || {
        let cluster = attach::existing().unwrap_or_else(|error| error.raise());
        if let Some(cluster) = cluster {
            cluster
                .pool()
                .locked(|scheduler| scheduler.release_database(database.to_u32(), wake));
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}
