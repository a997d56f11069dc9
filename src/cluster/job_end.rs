//! The end of a job: who is woken, and who frees what the job owned.
//!
//! A process ends a job in three steps. It records the time and the end ([`prepare_end`]). It sets the job word
//! (`finish`). It wakes the leader, or frees the job if nobody else holds it ([`complete_end`]). The engine has the steps
//! that follow a job's end, and those by which a process gives up its hold (`src/engine/pool/release.rs`). This module is
//! the process's side: where the note is of a job that it releases, what a job owns, and what is printed.
//!
//! This module also fails the jobs of a lane for which no process can be started (`src/engine/pool/failing_lane.rs` has
//! the steps).

use crate::cluster::attach::{Cluster, PoolLwLock};
use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::cluster::trace;
use crate::cluster::trace::Event;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::{own_proc, timestamp};
use engine::error_message;
use engine::job::{End, JobWord, Release};
use engine::pool::failing_lane::{self, Failer};
use engine::pool::gate::Purged;
use engine::pool::release::{self, Releaser, Releasing};
use engine::pool::{LaneKey, PendingStart, Pool};
use engine::steps::{Ender, Watchers};
use engine::sync::Ordering;
use engine::table::JobId;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE;

/// Frees the block of a reserved job, if it has one. Only for the process that allocated the block, which has it
/// mapped.
pub fn release_reserved(job: Job) {
    if job.slot().block.load(Ordering::Relaxed) != 0 {
        Block::of(job).deallocate();
    }
}

/// The first step of ending a job. If the process exits in the middle, its exit ends the job: the caller has noted that
/// the job is its own. Returns whom to wake later. Does not
/// throw, but may end the process.
pub fn prepare_end(job: Job, end: End) -> Watchers {
    job.slot()
        .finished_at
        .store(timestamp().cast_unsigned(), Ordering::Relaxed);
    trace::event(job, Event::Ended(end));
    Watchers::of(job.slot())
}

/// The job that this process releases now, or next.
static RELEASING: Local<Option<Releasing>> = Local::new(None);

/// This process, as the engine's steps see it.
struct Holder(&'static Cluster);

impl Releaser for Holder {
    type Lock = PoolLwLock;

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.0.pool()
    }

    fn word(&self, id: JobId) -> &JobWord {
        self.0.job(id).word()
    }

    fn noted(&self) -> Option<Releasing> {
        RELEASING.get()
    }

    fn set_noted(&self, note: Option<Releasing>) {
        RELEASING.set(note);
    }

    fn report(&self) {
        trace::write_transitions();
    }

    fn after_detach(&self) {
        fault!("hold-given-up");
    }

    fn before_release(&self) {
        fault!("release-begun");
    }

    fn free_owned(&self, id: JobId) -> bool {
        let job = self.0.job(id);
        // 0: its memory is freed already.
        let is_there = job.slot().block.load(Ordering::Relaxed) != 0;
        let block = is_there.then(|| Block::reach(job)).flatten();
        let is_out_of_reach = is_there && block.is_none();
        if let Some(block) = block {
            block.deallocate();
        }
        fault!("block-freed");
        !is_out_of_reach
    }
}

/// The last step, when the job has finished: wakes the processes that wait for that, or frees what the job owned. Does
/// not throw.
pub fn complete_end(job: Job, watchers: Watchers, release: Release) {
    fault!("job-finished");
    release::complete_end(&Holder(job.cluster), job.id, watchers, release, || ());
}

/// As [`complete_end`], for a job that was canceled while it was queued, which the pool has ended.
pub fn complete_cancel(job: Job, watchers: Watchers, release: Release) {
    let announce = || trace::event(job, Event::Ended(End::Canceled));
    release::complete_end(&Holder(job.cluster), job.id, watchers, release, announce);
}

/// Gives up the leader's hold of a published job. Does not throw.
pub fn detach(job: Job) {
    let _ = release::detach(&Holder(job.cluster), job.id);
}

/// Detaches another session's finished job. The caller holds interrupts off. Does not throw.
pub fn purge(job: Job) -> Purged {
    release::purge(&Holder(job.cluster), job.id)
}

/// At the exit of a process: goes on with the release that the exit has interrupted, if there is one. Does not throw.
pub fn finish_release(cluster: &'static Cluster) {
    release::resume(&Holder(cluster), own_proc());
}

/// Releases the jobs whose release was deferred, but for those whose memory this process cannot map either.
pub fn release_deferred(cluster: &'static Cluster) {
    release::release_deferred(&Holder(cluster), own_proc());
}

/// A worker's process ended before it reported in.
pub fn not_started() -> Error {
    Error::new(
        ERRCODE_CONNECTION_FAILURE,
        "background worker process could not be started",
    )
    .detail("The process ended before it could take a job. Check the server log.")
    .hint("If the library of the extension was replaced, reconnect.")
}

/// The same error as a message, for a queued job.
pub fn not_started_message() -> Vec<u8> {
    let error = not_started();
    error_message::compose(
        error_message::CONNECTION_FAILURE,
        &error.message,
        Some(NOT_STARTED_DETAIL),
    )
}

/// Detail and hint of [`not_started`] in one: the error of a queued job has no hint.
const NOT_STARTED_DETAIL: &str = "The process ended before it could take a job. Check the server log. If the library of the extension was replaced, reconnect.";

/// A job that this process has taken from a queue to fail it, and has not failed yet.
static FAILING: Local<Option<JobId>> = Local::new(None);

/// This process, as the engine's steps see it when it fails jobs with an error.
struct Failing<'a> {
    cluster: &'static Cluster,
    error: &'a [u8],
}

impl Ender for Failing<'_> {
    fn word(&self, id: JobId) -> &JobWord {
        self.cluster.job(id).word()
    }

    fn noted(&self) -> Option<JobId> {
        FAILING.get()
    }

    fn before_end(&self, id: JobId, end: End) -> Watchers {
        prepare_end(self.cluster.job(id), end)
    }

    fn take(&self) {
        FAILING.set(None);
    }

    fn after_end(&self, id: JobId, watchers: Watchers, release: Release) {
        complete_end(self.cluster.job(id), watchers, release);
    }
}

impl Failer for Failing<'_> {
    type Lock = PoolLwLock;

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.cluster.pool()
    }

    fn note(&self, id: JobId) {
        FAILING.set(Some(id));
    }

    fn after_note(&self) {
        fault!("job-taken-to-fail");
    }

    fn note_error(&self, id: JobId) {
        if let Some(block) = Block::reach(self.cluster.job(id)) {
            block.note_error(self.error);
        }
    }
}

/// Fails every queued job of a lane for which no process can be started, as long as no worker of the lane has
/// connected. `key` identifies the lane, whose index may have been reused. `pid`: the process that could not start; 0:
/// none. Does not throw.
pub fn fail_lane(cluster: &'static Cluster, lane: u32, key: LaneKey, pid: u32, error: &[u8]) {
    failing_lane::fail_lane(&Failing { cluster, error }, lane, key, pid);
}

/// The process that was registered for a worker slot will not report in: takes the worker slot back, does `after`, and
/// fails the lane's jobs if `is_hopeless`. Does not throw.
pub fn give_up_start(
    cluster: &'static Cluster,
    worker: u32,
    start: PendingStart,
    after: impl FnOnce(),
    is_hopeless: impl FnOnce() -> bool,
) {
    let error = not_started_message();
    let failing = Failing {
        cluster,
        error: &error,
    };
    failing_lane::give_up_start(&failing, worker, start, after, is_hopeless);
}

/// At the exit of a process: fails a job that it had taken to fail it when something ended the process (a line in the
/// log can). No other process would do that. Does not throw.
pub fn finish_failing(cluster: &'static Cluster, error: &[u8]) {
    failing_lane::resume(&Failing { cluster, error });
}
