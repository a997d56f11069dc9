//! How a worker's exit ends its job and frees its worker slot.
//!
//! This runs in the exit callback, after the transaction was aborted and its locks were released. By then the process
//! ignores the signal of a cancel.
//!
//! * A running job is finished: completed if its last transaction had committed, otherwise failed with the error that
//!   ended the process.
//! * A job that was bound and not begun goes back to the head of its lane. A version 1 job fails, because its user
//!   knows it by the pid of this process.
//! * If the process could not connect, every job of the lane fails with that error, because the next process would
//!   probably fail too. That does not apply if another worker of the lane has connected, or if the process was
//!   terminated.

use crate::cluster::attach::{Cluster, attached};
use crate::cluster::job::Job;
use crate::cluster::trace::Event;
use crate::cluster::{block, job_end, spawn, trace};
use crate::pg::process::{own_proc, wake};
use crate::worker::state::{WorkerState, forget_worker_slot, state};
use crate::worker::{run, send};
use engine::error_message;
use engine::error_message::{ADMIN_SHUTDOWN, QUERY_CANCELED, Sqlstate};
use engine::pool::{NextStep, Returned};

/// SQLSTATEs of a process that was terminated or canceled. They say nothing about its lane.
const INTERRUPTIONS: [Sqlstate; 2] = [ADMIN_SHUTDOWN, QUERY_CANCELED];

/// Gives up the job and the worker slot. If an error interrupts it (see [`crate::pg::exit`]), it is called again and
/// goes on.
pub fn leave_pool(code: i32) {
    let (Some(state), Some(cluster)) = (state(), attached()) else {
        return;
    };
    let error = send::final_error();
    fault!("worker-exit-begun");
    job_end::finish_release(cluster);
    run::exit(cluster);
    leave_worker_slot(cluster, state, code, &error);
    fault!("worker-slot-vacated");
    forget_worker_slot();
}

fn leave_worker_slot(cluster: &'static Cluster, state: WorkerState, code: i32, error: &[u8]) {
    let (worker, proc) = (state.worker_slot.worker, own_proc());
    let own = cluster
        .pool()
        .locked(|scheduler| scheduler.begin_exit(worker, state.worker_slot.generation, proc));
    if !own {
        // It was asked to make room, or has just left its worker slot to another process.
        spawn::respawn(cluster, state.worker_slot);
        return;
    }
    fault!("exit-announced");
    let interrupted =
        error_message::sqlstate(error).is_some_and(|state| INTERRUPTIONS.contains(&state));
    let failed_start = !state.is_connected && !interrupted && code != 0;
    let (lane, key, lane_works) = cluster.pool().locked(|scheduler| {
        let lane = scheduler.lane_index(worker);
        (lane, scheduler.lane_key(worker), scheduler.lane_works(lane))
    });
    let hopeless = failed_start && !lane_works;
    let assigned = cluster
        .pool()
        .locked(|scheduler| scheduler.assigned(worker));
    if let Some(job) = assigned.map(|id| cluster.job(id)) {
        if hopeless {
            run::fail(job, error);
        } else {
            return_job(job);
        }
    }
    if hopeless {
        cluster
            .pool()
            .locked(|scheduler| scheduler.return_permit_of_worker(worker));
        job_end::fail_lane(cluster, lane, key, proc.pid(), error);
    }
    // The worker slot goes to the lane that needs it. A start that failed although the lane works is not repeated: it
    // would fail again at once, without end. The lane's connected workers run its queued jobs.
    let restartable = code != 0 && (!failed_start || hopeless);
    let next = cluster.pool().locked(|scheduler| {
        scheduler.exit(worker, state.worker_slot.generation, proc, restartable)
    });
    if next == Some(NextStep::Restart) {
        spawn::respawn(cluster, state.worker_slot);
    }
}

/// Returns a job that is bound to this process and has not begun. A version 1 job ends instead: canceled, if it has a
/// cancel, otherwise failed.
pub fn return_job(job: Job) {
    let slot = job.slot();
    if slot.options().by_pid {
        if slot.word.load().has_cancel() {
            run::refuse(job);
        } else {
            run::fail(job, &[]);
        }
    } else {
        give_back(job);
    }
}

fn give_back(job: Job) {
    block::unmap(job);
    let pool = job.cluster.pool();
    let watchers = job_end::watchers_of(job);
    let returned = pool.locked(|scheduler| scheduler.give_back(job.id));
    match returned {
        Returned::Requeued => trace::event(job, Event::Returned),
        Returned::Handed(worker) => {
            wake(worker);
            trace::event(job, Event::Returned);
        }
        Returned::Canceled(release) => job_end::complete_cancel(job, watchers, release),
    }
}

/// From now on, messages of this process go only to the server log. The error with which it ends is noted before.
pub fn mute() {
    if state().is_some() {
        send::note_final_error();
        run::mute();
    }
}
