//! What happens when the session ends: every job it tracks is let go of. Jobs that run or wait go on.

use crate::leader::session;
use crate::pg::cluster;
use crate::pg::registration;

/// From the exit callback. Does not throw.
pub fn release_all() {
    let Some(cluster) = cluster::attached() else {
        return;
    };
    for tracked in session::tracked() {
        session::let_go(cluster, tracked.job);
    }
    registration::settle(cluster);
}
