//! Waiting until there is room in the job table.
//!
//! The queue of those that wait, and why nobody is forgotten in it, is the engine's
//! (`src/engine/pool/room.rs`). Here is the session's side: it joins, sleeps, and leaves, however its wait
//! ends. An exit does not unwind, so the exit callback leaves for it ([`give_up`]).

use crate::engine::table::JobId;
use crate::engine::wait::{Latch, Micros, NoVigil, wait_for};
use crate::pg::cluster::Cluster;
use crate::pg::latch::{ProcessLatch, own_party};
use crate::pg::local::Local;

/// This session is in the queue, or was called and has not answered.
static WAITING: Local<bool> = Local::new(false);

/// Leaves the queue when dropped.
struct Waiting {
    cluster: &'static Cluster,
    claimed: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if WAITING.get() {
            self.cluster.pool().leave_room(own_party(), self.claimed);
            WAITING.set(false);
        }
    }
}

/// Claims a slot, and tells `claimed` in the same stretch without interrupts. `None`: there was none until
/// `timeout_ms` had passed.
pub fn claim(
    cluster: &'static Cluster,
    timeout_ms: i32,
    mut claimed: impl FnMut(JobId),
) -> Option<JobId> {
    let mut waiting = Waiting {
        cluster,
        claimed: false,
    };
    let own = own_party();
    let latch = ProcessLatch::new(cluster);
    let deadline = latch.now() + timeout_ms as Micros * 1000;
    let arm = || {
        let was_waiting = WAITING.get();
        WAITING.set(true);
        cluster.pool().await_room(own, was_waiting);
        fault!("room-awaited");
    };
    let look = || {
        let job = cluster.jobs().claim()?;
        claimed(job);
        Some(job)
    };
    let job = wait_for(&latch, Some(deadline), &mut NoVigil, arm, look);
    waiting.claimed = job.is_some();
    job
}

/// The session ends.
pub fn give_up(cluster: &'static Cluster) {
    drop(Waiting {
        cluster,
        claimed: false,
    });
}
