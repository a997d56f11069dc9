//! The end of a session: it detaches every job it tracks. Queued and running jobs go on. The engine has the steps
//! (`src/engine/pool/session_call.rs`).
//!
//! In a worker a session ends with the job that runs in it.

use crate::cluster::{attach, job_end, spawn};
use crate::session::launch::slot_queue;
use crate::session::{cancel, jobs};

/// Gives up all that the session holds of jobs. Does not throw.
pub fn release_all() {
    let Some(cluster) = attach::attached() else {
        return;
    };
    slot_queue::give_up(cluster);
    jobs::end_all_reads();
    // Nobody has the handle of a job that is not given: the session ended in the middle of a launch or fan-out.
    jobs::end(cluster, cancel::withdraw);
    job_end::finish_failing(cluster, &job_end::not_started_message());
    let _ = spawn::check_own_registrations(cluster);
}
