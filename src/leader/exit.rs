//! What happens when the session ends: every job it tracks is let go of. Jobs that run or wait go on.
//!
//! In a worker a session ends with the job that launched from it.

use crate::leader::{control, session};
use crate::pg::cluster;
use crate::pg::registration;

/// Ends the session, as far as its jobs go. Does not throw.
pub fn release_all() {
    let Some(cluster) = cluster::attached() else {
        return;
    };
    session::end_all_readings(cluster);
    for tracked in session::tracked() {
        if tracked.is_given() {
            session::let_go(cluster, tracked.job);
        } else {
            // Ended in the middle of a launch: nobody has the handle, so the job was never accepted.
            control::withdraw(cluster, tracked.job);
        }
    }
    session::forget_statistics();
    let _ = registration::settle(cluster);
}
