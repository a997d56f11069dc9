//! What happens when the session ends: every job it tracks is let go of. Jobs that run or wait go on.
//!
//! In a worker a session ends with the job that launched from it.

use crate::leader::{control, session, slot_queue};
use crate::pg::cluster;
use crate::pg::latch::own_party;
use crate::pg::registration;

/// Ends the session, as far as its jobs go. Does not throw.
pub fn release_all() {
    let Some(cluster) = cluster::attached() else {
        return;
    };
    slot_queue::give_up(cluster);
    session::end_all_readings(cluster);
    // One after the other: an exit must not need memory.
    while let Some(tracked) = session::any_held() {
        if tracked.is_given() {
            session::let_go(cluster, tracked.job);
        } else {
            // Ended in the middle of a launch or a fan-out: nobody has the handle, so the job was never
            // accepted, or is nobody's any more.
            control::withdraw(cluster, tracked.job);
        }
    }
    session::forget_statistics();
    session::abandon_gate(cluster);
    let own = own_party();
    if cluster
        .pool()
        .leader(own)
        .is_some_and(|entry| entry.is_of(own))
    {
        cluster.pool().locked(|scheduler| scheduler.depart(own));
    }
    registration::finish_failing(cluster);
    let _ = registration::settle_own(cluster);
}
