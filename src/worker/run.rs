//! One job, from bound to finished.
//!
//! The order of the steps is the engine's ([`crate::engine::steps`]); here is what each does. An error that passes
//! them leaves the job noted, and `main::step` fails it.

use crate::engine::job::{Delivery, End, JobWord, Release};
use crate::engine::message;
use crate::engine::steps::{self, Process, Watchers};
use crate::engine::sync::Ordering;
use crate::engine::table::JobId;
use crate::pg::block::{self, Block};
use crate::pg::cluster::{Cluster, attached};
use crate::pg::latch::timestamp;
use crate::pg::settings;
use crate::pg::shim::{self, Run};
use crate::pg::trace::{self, Step};
use crate::worker::send::{self, Sink};
use crate::worker::{exit, held, session};
use pgrx::pg_sys;

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
    // A process that was told to go in the moment in which it was given the job goes now: the job has not
    // begun, so that another can run it.
    // SAFETY: a volatile flag of the server.
    if unsafe { (&raw const pg_sys::ProcDiePending).read_volatile() } != 0 {
        pgrx::check_for_interrupts!();
    }
    // An error here finds a job that was not noted, and that another may run (`main::could_not_begin`).
    Block::of(cluster, job).map();
    let Some(performed) = steps::run(&Here { cluster }, job) else {
        return After::Clean;
    };
    fault!("job-over");
    let clean = session::take_off();
    fault!("session-taken-off");
    if performed.put_on && clean {
        After::Clean
    } else {
        After::Unfit
    }
}

/// This process, as the steps see it.
struct Here {
    cluster: &'static Cluster,
}

/// How far a job came.
struct Performed {
    /// The session was the leader's.
    put_on: bool,
    /// The job's work is durable.
    committed: bool,
}

impl Process for Here {
    type Performed = Performed;

    fn word(&self, job: JobId) -> &JobWord {
        &self.cluster.slot(job).word
    }

    fn drop_cancel(&self) {
        // SAFETY: a volatile flag that signal handlers set.
        unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
    }

    fn note(&self, job: JobId) {
        let started_at = &self.cluster.slot(job).started_at;
        started_at.store(timestamp().cast_unsigned(), Ordering::Relaxed);
        send::forget_error();
        // What the shim knows is of the job before.
        // SAFETY: clears notes of the shim.
        unsafe { shim::pgb_forget_job() };
        held::note(self.cluster, job);
        fault!("job-noted");
    }

    fn noted(&self) -> Option<JobId> {
        held::job()
    }

    fn begun(&self, job: JobId, _watched: bool) {
        // A leader that waits for the job to be bound was woken when it was; one that waits for its end need not be.
        fault!("job-begun");
        trace::step(job, Step::Running);
    }

    fn open(&self, job: JobId) {
        if let Some(sink) = Sink::of(job, &Block::of(self.cluster, job)) {
            held::open(sink);
        }
    }

    fn raise_cancel(&self) {
        // SAFETY: looks at the word and raises the server's flags if need be.
        unsafe { shim::pgb_raise_cancel() };
    }

    fn perform(&self, job: JobId) -> Performed {
        let block = Block::of(self.cluster, job);
        settings::define_for(block.sql());
        let put_on = session::put_on(&block);
        fault!("session-put-on");
        let committed = put_on && execute(&block);
        fault!("job-executed");
        // Session-level advisory locks, before anyone sees the job finished: whoever waits for it may want them.
        // SAFETY: outside a transaction; the server knows the kind of lock.
        unsafe { pg_sys::LockReleaseAll(pg_sys::USER_LOCKMETHOD as pg_sys::LOCKMETHODID, true) };
        Performed { put_on, committed }
    }

    fn close(&self, _job: JobId) {
        if let Some(sink) = held::close() {
            sink.end();
        }
    }

    fn mute(&self) {
        mute();
    }

    fn note_refusal(&self, job: JobId) {
        if let Some(block) = Block::reach(self.cluster, job) {
            block.note_error(&message::compose(
                "57014",
                "canceling statement due to user request",
                Some("The job was canceled before it began."),
            ));
        }
    }

    fn note_outcome(&self, job: JobId, performed: &Performed) -> End {
        let block = Block::of(self.cluster, job);
        let end = if performed.committed {
            note_completion(&block);
            End::Completed
        } else {
            let error = send::take_error();
            block.note_error(&error);
            end_of(&error)
        };
        fault!("outcome-noted");
        end
    }

    fn note_failure(&self, job: JobId) -> End {
        note_failure(self.cluster, job, &exit::why())
    }

    fn take(&self) {
        held::take();
    }

    fn ending(&self, job: JobId, end: End) -> Watchers {
        block::unmap(job);
        block::ending(self.cluster, job, end)
    }

    fn ended(&self, job: JobId, watchers: Watchers, release: Release) {
        block::ended(self.cluster, job, watchers, release);
    }
}

fn execute(block: &Block) -> bool {
    let identity = block.identity();
    let run = Run {
        sql: block.sql().as_ptr().cast(),
        identity: &raw const identity,
        time_limit: block.time_limit(),
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

/// Fails the job whose execution threw past [`run`], if there is one. Does not throw.
pub fn fail_noted(cluster: &'static Cluster) {
    steps::fail(&Here { cluster });
}

/// Ends the job that this process holds, if there is one: it exits. Nothing that it prints from now on goes anywhere
/// but into the log. Does not throw.
pub fn exit(cluster: &'static Cluster) {
    steps::exit(&Here { cluster });
}

/// Nothing that this process prints from now on goes anywhere but into the log: no message is built for a client, at
/// whatever `client_min_messages`. The exit prints after it has unmapped the memory that messages went into.
/// Does not throw.
pub fn mute() {
    drop(held::close());
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::whereToSendOutput = pg_sys::CommandDest::DestNone };
}

/// Ends a job that this process was bound to, and that was canceled before it could begin. Does not throw.
pub fn refuse(cluster: &'static Cluster, job: JobId) {
    let here = Here { cluster };
    here.note_refusal(job);
    steps::finish(&here, job, End::Canceled);
}

/// Fails a job that this process was bound to and has not begun, with an error (the body of a message; empty: the
/// process was lost). Does not throw.
pub fn fail(cluster: &'static Cluster, job: JobId, error: &[u8]) {
    let end = note_failure(cluster, job, error);
    steps::finish(&Here { cluster }, job, end);
}

/// Notes how a job failed that this process holds. One whose work is durable is completed all the same. Does not throw.
#[allow(clippy::disallowed_macros, reason = "a number")]
fn note_failure(cluster: &'static Cluster, job: JobId, error: &[u8]) -> End {
    let block = Block::reach(cluster, job);
    // SAFETY: looks at notes of the shim.
    if held::job() == Some(job) && unsafe { shim::pgb_committed() } {
        if let Some(block) = block {
            note_completion(&block);
        }
        return End::Completed;
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
    if let Some(block) = block {
        block.note_error(error);
    }
    // Asked to exit by its canceler, or because it did not end when it was told to.
    let asked = cluster.slot(job).word.load();
    let is_exit = message::is_fatal(error) && message::sqlstate(error) == Some(b"57P01");
    if is_exit && (asked.terminate() || asked.insistent()) {
        return End::Canceled;
    }
    end_of(error)
}

/// How a job ended that an error has aborted. Canceled, only if the error is that of its cancel: the code is also that
/// of a statement timeout, of somebody else's cancel, and of whatever a user raises with it.
fn end_of(error: &[u8]) -> End {
    let text = message::field(error, message::PRIMARY)
        .filter(|_| message::sqlstate(error) == Some(b"57014"));
    // SAFETY: in a message a zero byte follows the text of a field.
    let canceled = text.is_some_and(|text| unsafe { shim::pgb_is_cancel(text.as_ptr().cast()) });
    if canceled { End::Canceled } else { End::Failed }
}

/// The error of a cancel is being thrown. Whether it is that of the running job.
#[unsafe(no_mangle)]
extern "C" fn pgb_cancel_is_thrown() -> bool {
    attached().is_some_and(|cluster| steps::thrown(&Here { cluster }) != Delivery::None)
}
