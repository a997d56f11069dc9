//! What becomes of the job and the place when the process ends.
//!
//! Runs in the exit callback, after the transaction was aborted and its locks were released. By then the
//! doorbell is ignored.
//!
//! * A job that runs is finished: completed if its last transaction had committed, else failed with the
//!   error that ended the process.
//! * A job that was bound and not begun goes back to the head of its lane; a version 1 job fails, because
//!   its user knows it by this process's pid.
//! * A process that could not connect says something about its lane: unless another worker of the lane
//!   has connected, or the process was told to go, every job of the lane fails with that error instead of
//!   having process after process fail.

use crate::engine::job::Release;
use crate::engine::message;
use crate::engine::pool::Returned;
use crate::engine::table::JobId;
use crate::pg::block;
use crate::pg::cluster::{Cluster, attached};
use crate::pg::latch::{own_party, ring};
use crate::worker::main::{Me, give_up_place, me};
use crate::worker::{current, run, send};

/// SQLSTATE of a process that was told to go: says nothing about its lane.
const ADMIN_SHUTDOWN: &[u8] = b"57P01";

/// Gives up job and place. Does not throw.
pub fn leave_pool(code: i32) {
    current::forget();
    let (Some(me), Some(cluster)) = (me(), attached()) else {
        return;
    };
    give_up_place();
    let error = send::take_error();
    if let Some(job) = run::running() {
        run::fail(cluster, job, &error);
    }
    let told_to_go = message::sqlstate(&error) == Some(ADMIN_SHUTDOWN);
    let worker = me.place.worker;
    let hopeless = !me.connected
        && !told_to_go
        && code != 0
        && !cluster
            .pool()
            .locked(|scheduler| scheduler.lane_works(worker));
    if let Some(job) = cluster
        .pool()
        .locked(|scheduler| scheduler.assigned(worker))
    {
        let by_pid = cluster.slot(job).options().by_pid;
        if hopeless {
            run::fail(cluster, job, &error);
        } else if by_pid {
            run::fail(cluster, job, &[]);
        } else {
            give_back(cluster, job);
        }
    }
    if hopeless {
        fail_lane(cluster, &me, &error);
    }
    // Exit code 1 has the postmaster start the registration again: the place may go to whoever needs it.
    // If nobody does, it is vacant by then, and that process leaves at once.
    let _ = cluster
        .pool()
        .locked(|scheduler| scheduler.exit(worker, me.place.generation, own_party(), code != 0));
}

fn give_back(cluster: &'static Cluster, job: JobId) {
    let leader = cluster.slot(job).leader();
    match cluster.pool().locked(|scheduler| scheduler.give_back(job)) {
        Returned::Requeued => {}
        Returned::Handed(worker) => ring(worker),
        Returned::Canceled(Release::LastOut) => block::release(cluster, job),
        Returned::Canceled(Release::Held { watched }) => {
            if let Some(leader) = leader.filter(|_| watched) {
                ring(leader);
            }
        }
        Returned::Canceled(Release::Stale) => {}
    }
}

fn fail_lane(cluster: &'static Cluster, me: &Me, error: &[u8]) {
    let worker = me.place.worker;
    while let Some(job) = cluster
        .pool()
        .locked(|scheduler| scheduler.take_to_fail(worker))
    {
        run::fail(cluster, job, error);
    }
}
