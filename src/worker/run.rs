//! One job, from bound to finished.
//!
//! The engine determines the order of the steps ([`engine::steps`]); this module implements each step. An error that is
//! thrown past them leaves the job noted, and `process::step` fails it.

use crate::cluster::attach::{Cluster, attached};
use crate::cluster::block::{Block, Returns};
use crate::cluster::job::Job;
use crate::cluster::{block, job_end, spawn, trace};
use crate::pg::process::timestamp;
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::{Run, Settings};
use crate::settings;
use crate::worker::sink::Sink;
use crate::worker::{running_job, send, session};
use engine::error_message::{ADMIN_SHUTDOWN, QUERY_CANCELED};
use engine::job::{Delivery, End, JobWord, Release};
use engine::steps::{Ender, Process, Watchers};
use engine::sync::Ordering;
use engine::table::JobId;
use engine::{error_message, steps};
use pgrx::pg_sys;

/// Whether the process can run another job after this one.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterJob {
    /// Yes.
    Clean,
    /// No: its session cannot be reset.
    Unfit,
}

/// Runs a job that is bound to this process.
pub fn run(job: Job) -> AfterJob {
    fault!("job-taken");
    // If the process was terminated while it took the job, it exits now: the job has not begun, so another process can
    // run it.
    // SAFETY: a volatile flag of the server.
    if unsafe { (&raw const pg_sys::ProcDiePending).read_volatile() } != 0 {
        server::check_for_interrupts();
    }
    // On an error here the job is not noted yet, and another process may run it (`process::end_unbegun_job`).
    Block::of(job).map();
    let Some(performed) = steps::run(&RunHost(job.cluster), job.id) else {
        return AfterJob::Clean;
    };
    fault!("job-done");
    let clean = session::reset();
    fault!("session-reset");
    if performed.adopted && clean {
        AfterJob::Clean
    } else {
        AfterJob::Unfit
    }
}

/// This process, as the engine's steps see it.
struct RunHost(&'static Cluster);

/// How far a job got.
struct Performed {
    /// Whether the leader's session was adopted.
    adopted: bool,
    /// Whether the job's work has committed.
    committed: bool,
}

impl Ender for RunHost {
    fn word(&self, job: JobId) -> &JobWord {
        self.0.job(job).word()
    }

    fn noted(&self) -> Option<JobId> {
        running_job::job().map(|job| job.id)
    }

    fn take(&self) {
        running_job::take();
    }

    fn before_end(&self, id: JobId, end: End) -> Watchers {
        let job = self.0.job(id);
        block::unmap(job);
        let watchers = job_end::prepare_end(job, end);
        spawn::note_finishing(self.0);
        watchers
    }

    fn after_end(&self, id: JobId, watchers: Watchers, release: Release) {
        let job = self.0.job(id);
        job_end::complete_end(job, watchers, release);
    }
}

impl Process for RunHost {
    type Performed = Performed;

    fn drop_cancel(&self) {
        // SAFETY: a volatile flag that signal handlers set.
        unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
    }

    fn note(&self, id: JobId) {
        let job = self.0.job(id);
        let started_at = &job.slot().started_at;
        started_at.store(timestamp().cast_unsigned(), Ordering::Relaxed);
        send::forget_error();
        // What the shim has noted is about the previous job.
        // SAFETY: clears notes of the shim.
        unsafe { shim::pgb_forget_job() };
        running_job::note(job);
        fault!("job-noted");
    }

    fn after_begin(&self, _job: JobId, _watched: bool) {
        // A leader that waits for the job to be bound has been woken already; one that waits for its end is woken then.
        fault!("job-begun");
        trace::write_transitions();
    }

    fn open(&self, id: JobId) {
        let job = self.0.job(id);
        if let Some(sink) = Sink::of(job, &Block::of(job)) {
            running_job::open(sink);
        }
    }

    fn raise_cancel(&self) {
        // SAFETY: reads the job word and sets the server's flags if necessary.
        unsafe { shim::pgb_raise_cancel() };
    }

    fn perform(&self, id: JobId) -> Performed {
        let job = self.0.job(id);
        let block = Block::of(job);
        settings::define_for(block.sql());
        let adopted = session::adopt(&block);
        fault!("session-adopted");
        let committed = adopted && execute(job, &block);
        fault!("job-executed");
        // Releases session-level advisory locks before others can see that the job has finished: they may want the
        // locks.
        // SAFETY: outside a transaction; advisory locks are a lock method of the server.
        unsafe { server::LockReleaseAll(pg_sys::USER_LOCKMETHOD as pg_sys::LOCKMETHODID, true) };
        Performed { adopted, committed }
    }

    fn close(&self, _job: JobId) {
        if let Some(sink) = running_job::close() {
            sink.end();
        }
    }

    fn mute(&self) {
        mute();
    }

    fn note_refusal(&self, id: JobId) {
        let job = self.0.job(id);
        if let Some(block) = Block::reach(job) {
            block.note_error(&error_message::canceled_before_it_began());
        }
    }

    fn note_outcome(&self, id: JobId, performed: &Performed) -> End {
        let job = self.0.job(id);
        let block = Block::of(job);
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

    fn note_failure(&self, id: JobId) -> End {
        let job = self.0.job(id);
        note_failure(job, &send::final_error())
    }
}

fn execute(job: Job, block: &Block) -> bool {
    let label = job.slot().label().unwrap_or_default();
    let identity = block.identity();
    let leaders = Settings::of(block.guc_state());
    let returns = block.returns();
    let (wanted, wanted_shape) = match &returns {
        Returns::Value(type_oid, shape) => (*type_oid, std::ptr::from_ref(shape)),
        Returns::Nothing | Returns::Rows => (pg_sys::InvalidOid, std::ptr::null()),
    };
    let run = Run {
        sql: block.sql().as_ptr().cast(),
        identity: &raw const identity,
        time_limit: block.time_limit(),
        send_rows: returns != Returns::Nothing,
        params: block
            .params()
            .map_or(std::ptr::null(), |bytes| bytes.as_ptr().cast()),
        label: label.as_ptr().cast(),
        label_len: label.len() as i32,
        wanted,
        wanted_shape,
        settings: &raw const leaders,
        plan_memory: settings::plan_cache_size(),
    };
    let run = &raw const run;
    // SAFETY: the data that `run` points at outlives the call. It catches every error, but cleaning up after one may fail.
    unsafe { shim::pgb_run(run) }
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

/// Fails the noted job, if there is one: an error was thrown past [`run`]. Does not throw.
pub fn fail_noted(cluster: &'static Cluster) {
    steps::fail(&RunHost(cluster));
}

/// Ends the job that this process holds, if there is one, because the process exits. From now on, messages of this
/// process go only to the server log. Does not throw.
pub fn exit(cluster: &'static Cluster) {
    steps::exit(&RunHost(cluster));
}

/// From now on, messages of this process go only to the server log: none is built for a client, whatever
/// `client_min_messages` is. The exit emits messages after it has unmapped the memory to which they would go. Does not
/// throw.
pub fn mute() {
    drop(running_job::close());
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::whereToSendOutput = pg_sys::CommandDest::DestNone };
}

/// Ends a job that is bound to this process and was canceled before it could begin. Does not throw.
pub fn refuse(job: Job) {
    let host = RunHost(job.cluster);
    host.note_refusal(job.id);
    steps::finish(&host, job.id, End::Canceled);
}

/// Fails a job that is bound to this process and has not begun. `error` is the body of a message; empty: the process
/// was lost. Does not throw.
pub fn fail(job: Job, error: &[u8]) {
    let end = note_failure(job, error);
    steps::finish(&RunHost(job.cluster), job.id, end);
}

/// Notes the error of a job that this process holds. A job whose work has committed is completed nevertheless. Does not
/// throw.
fn note_failure(job: Job, error: &[u8]) -> End {
    let block = Block::reach(job);
    // SAFETY: reads notes of the shim.
    if running_job::job() == Some(job) && unsafe { shim::pgb_committed() } {
        if let Some(block) = block {
            note_completion(&block);
        }
        return End::Completed;
    }
    let lost;
    let error = if error.is_empty() {
        // SAFETY: a plain global of this process.
        let pid = unsafe { pg_sys::MyProcPid };
        lost = error_message::lost_connection(pid);
        &lost
    } else {
        error
    };
    if let Some(block) = block {
        block.note_error(error);
    }
    // The canceler asked the process to exit, or the job did not end after its cancel.
    let asked = job.word().load();
    let is_exit =
        error_message::is_fatal(error) && error_message::sqlstate(error) == Some(ADMIN_SHUTDOWN);
    if is_exit && (asked.must_terminate() || asked.is_insistent()) {
        return End::Canceled;
    }
    end_of(error)
}

/// How a job has ended that was aborted by `error`. It is canceled only if this is the error of its cancel: a statement
/// timeout, another user's `pg_cancel_backend`, and an error that a user raises can have the same SQLSTATE.
fn end_of(error: &[u8]) -> End {
    let text = error_message::field(error, error_message::PRIMARY)
        .filter(|_| error_message::sqlstate(error) == Some(QUERY_CANCELED));
    // SAFETY: in a message, a zero byte follows the text of a field.
    let canceled = text.is_some_and(|text| unsafe { shim::pgb_is_cancel(text.as_ptr().cast()) });
    if canceled { End::Canceled } else { End::Failed }
}

/// Called when the error of a cancel is being thrown. Returns whether the cancel is that of the running job.
#[unsafe(no_mangle)]
extern "C" fn pgb_cancel_is_thrown() -> bool {
    attached().is_some_and(|cluster| steps::deliver(&RunHost(cluster)) != Delivery::None)
}
