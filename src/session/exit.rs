//! What happens when the session ends: every job it tracks is let go of. Jobs that run or wait go on.
//!
//! In a worker a session ends with the job that launched from it.

use crate::cluster::{attach, job_end, spawn};
use crate::pg::process::own_proc;
use crate::session::launch::slot_queue;
use crate::session::{cancel, jobs};

/// Ends the session, as far as its jobs go. Does not throw.
pub fn release_all() {
    let Some(cluster) = attach::attached() else {
        return;
    };
    slot_queue::give_up(cluster);
    jobs::end_all_reads();
    // One after the other: an exit must not need memory.
    while let Some(tracked) = jobs::each_held().next() {
        if tracked.is_given() {
            jobs::detach(tracked.job);
        } else {
            // Ended in the middle of a launch or a fan-out: nobody has the handle, so the job was never
            // accepted, or is nobody's any more.
            cancel::withdraw(tracked.job);
        }
    }
    jobs::forget_statistics();
    jobs::abandon_gate(cluster);
    let own = own_proc();
    if cluster
        .pool()
        .leader(own)
        .is_some_and(|entry| entry.is_of(own))
    {
        cluster.pool().locked(|scheduler| scheduler.depart(own));
    }
    job_end::finish_failing();
    let _ = spawn::check_own_registrations(cluster);
}
