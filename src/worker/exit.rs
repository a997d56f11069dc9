//! How a worker's exit ends its job and frees its worker slot.
//!
//! This runs in the exit callback, after the transaction was aborted and its locks were released. By then the process
//! ignores the signal of a cancel. The engine has the order of the steps (`src/engine/pool/worker_exit.rs`,
//! `src/engine/steps.rs`).
//!
//! * A running job is finished: completed if its last transaction had committed, otherwise failed with the error that
//!   ended the process.
//! * A job that was bound and not begun goes back to the head of its lane. A version 1 job fails, because its user
//!   knows it by the pid of this process.
//! * If the process could not connect, every job of the lane fails with that error, because the next process would
//!   probably fail too. That does not apply if another worker of the lane has connected, or if the process was
//!   terminated.

use crate::cluster::attach::{Cluster, PoolLwLock, attached};
use crate::cluster::job::Job;
use crate::cluster::spawn::WorkerSlotRef;
use crate::cluster::trace::Event;
use crate::cluster::{block, job_end, spawn, trace};
use crate::pg::process::own_proc;
use crate::worker::state::{WorkerState, forget_worker_slot, state};
use crate::worker::{run, send};
use engine::error_message;
use engine::error_message::{ADMIN_SHUTDOWN, QUERY_CANCELED, Sqlstate};
use engine::job::Release;
use engine::pool::worker_exit::{self, Ending, Leaver, Place};
use engine::pool::{LaneKey, Pool, Returned};
use engine::steps::Watchers;
use engine::table::{JobId, Slot};

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
    spawn::finish_spawn(cluster);
    // What this process was failing when its exit was cut short. By now a worker of the lane may have connected.
    job_end::finish_failing(cluster, &error);
    run::exit(cluster);
    leave_worker_slot(cluster, state, code, &error);
    fault!("worker-slot-vacated");
    forget_worker_slot();
}

fn leave_worker_slot(cluster: &'static Cluster, state: WorkerState, code: i32, error: &[u8]) {
    let WorkerSlotRef { worker, generation } = state.worker_slot;
    let place = Place {
        worker,
        generation,
        proc: own_proc(),
    };
    let is_interrupted =
        error_message::sqlstate(error).is_some_and(|state| INTERRUPTIONS.contains(&state));
    let is_error = code != 0;
    let ending = Ending {
        failed_start: !state.is_connected && !is_interrupted && is_error,
        is_error,
    };
    let process = Process {
        cluster,
        worker_slot: state.worker_slot,
        error,
    };
    worker_exit::leave(&process, place, ending);
}

/// Returns a job that is bound to this process and has not begun. A version 1 job ends instead: canceled, if it has a
/// cancel, otherwise failed.
pub fn return_job(worker_slot: WorkerSlotRef, job: Job) {
    let process = Process {
        cluster: job.cluster,
        worker_slot,
        error: &[],
    };
    worker_exit::return_job(&process, job.id);
}

/// This process, as the engine's steps see it.
struct Process<'a> {
    cluster: &'static Cluster,
    worker_slot: WorkerSlotRef,
    /// With which it ends; empty: none.
    error: &'a [u8],
}

impl Leaver for Process<'_> {
    type Lock = PoolLwLock;

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.cluster.pool()
    }

    fn slot(&self, id: JobId) -> &Slot {
        self.cluster.slot(id)
    }

    fn after_announce(&self) {
        fault!("exit-announced");
    }

    fn refuse(&self, id: JobId) {
        run::refuse(self.cluster.job(id));
    }

    fn fail(&self, id: JobId, hopeless: bool) {
        let error = if hopeless { self.error } else { &[] };
        run::fail(self.cluster.job(id), error);
    }

    fn unmap(&self, id: JobId) {
        block::unmap(self.cluster.job(id));
    }

    fn after_give_back(&self, _id: JobId, _returned: Returned) {}

    fn report_returned(&self, id: JobId) {
        trace::event(self.cluster.job(id), Event::Returned);
    }

    fn complete_cancel(&self, id: JobId, watchers: Watchers, release: Release) {
        job_end::complete_cancel(self.cluster.job(id), watchers, release);
    }

    fn fail_lane(&self, lane: u32, key: LaneKey) {
        job_end::fail_lane(self.cluster, lane, key, own_proc().pid(), self.error);
    }

    fn respawn(&self) {
        spawn::respawn(self.cluster, self.worker_slot);
    }
}

/// From now on, messages of this process go only to the server log. The error with which it ends is noted before.
pub fn mute() {
    if state().is_some() {
        send::note_final_error();
        run::mute();
    }
}
