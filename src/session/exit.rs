//! The end of a session: it detaches every job it tracks. Queued and running jobs go on.
//!
//! In a worker a session ends with the job that runs in it.

use crate::cluster::{attach, job_end, spawn};
use crate::pg::process::own_proc;
use crate::session::launch::slot_queue;
use crate::session::{cancel, jobs};

/// Gives up all that the session holds of jobs. Does not throw.
pub fn release_all() {
    let Some(cluster) = attach::attached() else {
        return;
    };
    slot_queue::give_up(cluster);
    jobs::end_all_reads();
    // One after another, because an exit must not need memory.
    while let Some(tracked) = jobs::each_held().next() {
        if tracked.is_given() {
            jobs::detach(tracked.job);
        } else {
            // The session ended in the middle of a launch or fan-out. Nobody has the handle, so nobody can use the job.
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
