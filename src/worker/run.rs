//! One job, from bound to finished.
//!
//! Everything up to [`finish`] may throw; `main::step` then finds the job
//! still noted in [`RUNNING`] and fails it. From `finish` on the job is the leader's, or gone.

use crate::engine::job::{Begin, End};
use crate::engine::message;
use crate::engine::sync::Ordering;
use crate::engine::table::JobId;
use crate::pg::block::{self, Block};
use crate::pg::cluster::Cluster;
use crate::pg::latch::shared_now;
use crate::pg::local::Local;
use crate::pg::settings;
use crate::pg::shim::{self, Run, guarded};
use crate::pg::trace::{self, Step};
use crate::worker::{current, send, session};
use pgrx::pg_sys;

/// The job that has begun and is not finished.
static RUNNING: Local<Option<JobId>> = Local::new(None);

/// The job that has begun and is not finished.
pub fn running() -> Option<JobId> {
    RUNNING.get()
}

/// Whether the process can run another job.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Yes.
    Clean,
    /// No: it cannot be put right.
    Unfit,
}

/// Runs a job that this process is bound to.
pub fn run(cluster: &'static Cluster, job: JobId) -> After {
    fault!("job-taken");
    // A stray cancel from before must not hit this job. Its own are in its word.
    // SAFETY: clears a flag of the server.
    unsafe { shim::pgb_clear_cancel() };
    // A process that was told to go in the moment in which it was given the job goes now: the job has not
    // begun, so that another can run it.
    // SAFETY: a volatile flag of the server.
    if unsafe { (&raw const pg_sys::ProcDiePending).read_volatile() } != 0 {
        pgrx::check_for_interrupts!();
    }

    let slot = cluster.slot(job);
    let block = Block::of(cluster, job);
    send::begin(job, &block);
    slot.started_at.store(shared_now(), Ordering::Relaxed);
    current::note(&slot.word, job.generation);
    RUNNING.set(Some(job));
    fault!("job-noted");
    if slot.word.begin(job.generation) == Begin::Refused {
        block.note_error(&message::compose(
            "57014",
            "canceling statement due to user request",
            Some("The job was canceled before it began."),
        ));
        finish(cluster, job, End::Canceled);
        return After::Clean;
    }
    fault!("job-begun");
    trace::step(job, Step::Running);
    // SAFETY: looks at the word once more and raises the server's flags if need be.
    unsafe {
        shim::pgb_rearm_cancel();
        shim::pgb_forget_job();
    }
    settings::define_for(block.sql());
    let put_on = session::put_on(&block);
    fault!("session-put-on");
    let committed = put_on && execute(&block);
    fault!("job-executed");
    // SAFETY: before anyone sees the job finished: whoever waits for it may want its locks.
    unsafe { guarded(|| shim::pgb_release_session_locks()) };
    send::end();
    if committed {
        note_completion(&block);
        fault!("outcome-noted");
        finish(cluster, job, End::Completed);
    } else {
        let error = send::take_error();
        block.note_error(&error);
        fault!("outcome-noted");
        let canceled = slot.word.load().cancel();
        finish(cluster, job, block::end_of(&error, canceled));
    }
    fault!("job-over");
    let clean = session::take_off();
    fault!("session-taken-off");
    if put_on && clean {
        After::Clean
    } else {
        After::Unfit
    }
}

fn execute(block: &Block) -> bool {
    let identity = block.identity();
    let run = Run {
        sql: block.sql().as_ptr().cast(),
        identity: &raw const identity,
        statement_timeout: block.statement_timeout(),
        send_rows: block.ring().is_some(),
        params: block
            .params()
            .map_or(std::ptr::null(), |bytes| bytes.as_ptr().cast()),
    };
    // SAFETY: what `run` points at outlives the call, which catches every error itself.
    unsafe { shim::pgb_run(&raw const run) }
}

/// Notes the command tag and the row count of the last statement.
fn note_completion(block: &Block) {
    let mut row_count = -1;
    // SAFETY: the shim returns NULL or a constant, zero-terminated text.
    unsafe {
        let tag = shim::pgb_completion(&raw mut row_count);
        if !tag.is_null() {
            let tag = std::ffi::CStr::from_ptr(tag);
            block.note_completion(tag.to_bytes(), (row_count >= 0).then_some(row_count));
        }
    }
}

/// Ends the job: the outcome is in its block, and the last of its rows in the ring. Does not throw.
pub fn finish(cluster: &'static Cluster, job: JobId, end: End) {
    RUNNING.set(None);
    send::close();
    block::unmap(job);
    block::end(cluster, job, end);
    current::forget();
    // SAFETY: clears a flag of the server that a late cancel may have set.
    unsafe { shim::pgb_clear_cancel() };
}

/// Fails a job whose execution threw past [`run`].
pub fn fail_running(cluster: &'static Cluster, job: JobId) {
    fail(cluster, job, &send::take_error());
}

/// Fails a job that this process holds, with an error (the body of a message; empty: the process was
/// lost). A job whose work is durable is completed all the same. Does not throw.
#[allow(clippy::disallowed_macros, reason = "a number")]
pub fn fail(cluster: &'static Cluster, job: JobId, error: &[u8]) {
    let slot = cluster.slot(job);
    // SAFETY: looks at notes of the shim.
    if running() == Some(job) && unsafe { shim::pgb_committed() } {
        if let Some(block) = Block::reach(cluster, job) {
            note_completion(&block);
        }
        finish(cluster, job, End::Completed);
        return;
    }
    let lost;
    let error = if error.is_empty() {
        // SAFETY: a plain global of this process.
        let pid = unsafe { pg_sys::MyProcPid };
        lost = message::compose(
            "08006",
            &format!("lost connection to worker process with PID {pid}"),
            None,
        );
        &lost
    } else {
        error
    };
    if let Some(block) = Block::reach(cluster, job) {
        block.note_error(error);
    }
    let canceled = slot.word.load().cancel();
    let end = match block::end_of(error, canceled) {
        End::Failed if canceled && message::is_fatal(error) => End::Canceled,
        end => end,
    };
    finish(cluster, job, end);
}
