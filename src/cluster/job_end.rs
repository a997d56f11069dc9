//! The end of a job: who is told, and who frees what it owned.
//!
//! Whoever ends a job does it in three steps: what belongs to the end is noted ([`ending`]), the word says so
//! (`finish`), and the leader is woken, or the job is freed if nobody else holds it ([`ended`]). The last one out notes
//! the job ([`note_release`]) before it frees it ([`finish_release`]), so that an exit in the middle goes on with it.
//!
//! A job whose memory is out of reach in this process is left behind, for the next launch in the cluster to free
//! ([`release_deferred`]). Jobs of a lane for which no process can be started are failed here, too ([`fail_lane`]).

use crate::cluster::attach::Cluster;
use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::cluster::trace;
use crate::cluster::trace::TraceStep;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::{timestamp, wake};
use engine::error_message;
use engine::job::{End, Release};
use engine::pool::LaneKey;
use engine::process_ref::ProcRef;
use engine::steps::Watchers;
use engine::sync::Ordering;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE;

/// Frees the block of a reservation, if it has one. Only by the process that allocated it, which has it mapped.
pub fn release_reserved(job: Job) {
    if job.slot().block.load(Ordering::Relaxed) != 0 {
        Block::of(job).deallocate();
    }
}

/// A job is about to be seen as finished, and is still noted as the caller's to end. Returns whom to wake then. Does not
/// throw, but may end the process.
pub fn ending(job: Job, end: End) -> Watchers {
    let slot = job.slot();
    slot.finished_at
        .store(timestamp().cast_unsigned(), Ordering::Relaxed);
    trace::step(job, TraceStep::Ended(end));
    Watchers {
        leader: slot.leader(),
        usage: slot.usage(),
    }
}

/// A job has finished. Wakes those who wait for that, or frees what the job owned. Does not throw.
pub fn ended(job: Job, watchers: Watchers, release_now: Release) {
    let Watchers { leader, usage } = watchers;
    job.cluster.pool().wake_watcher(usage);
    fault!("job-finished");
    note_end(job, leader, release_now);
    let _ = finish_release();
}

/// A job has ended: wakes its leader, if that waits; the last one out notes that the job is to be released
/// ([`note_release`]). Does not throw.
pub fn note_end(job: Job, leader: Option<ProcRef>, release: Release) {
    match release {
        Release::Held { watched: true } => {
            if let Some(leader) = leader {
                wake(leader);
            }
        }
        Release::Held { watched: false } | Release::Stale => {}
        Release::LastOut => note_release(job),
    }
}

/// A job that this process frees.
#[derive(Clone, Copy)]
struct Releasing {
    job: Job,
    /// It had been left behind.
    again: bool,
}

/// The job that this process releases now, or next.
static RELEASING: Local<Option<Releasing>> = Local::new(None);

/// The job is this process's to release, with [`finish_release`], also if it exits before. Only by the one that was
/// told `LastOut`.
pub fn note_release(job: Job) {
    RELEASING.set(Some(Releasing { job, again: false }));
}

/// Releases the job that is noted, if one is: frees what it owned, and its slot, or what an exit that was cut short has
/// left of that. `false`: it was left behind, because its memory is out of reach. Does not throw.
pub fn finish_release() -> bool {
    let Some(Releasing { job, again }) = RELEASING.get() else {
        return true;
    };
    fault!("release-begun");
    let pool = job.cluster.pool();
    pool.count_end(job.id);
    // 0: its memory is freed already.
    let is_there = job.slot().block.load(Ordering::Relaxed) != 0;
    let block = is_there.then(|| Block::reach(job)).flatten();
    let is_out_of_reach = is_there && block.is_none();
    if let Some(block) = block {
        block.deallocate();
    }
    fault!("block-freed");
    if !is_out_of_reach {
        trace::step(job, TraceStep::Freed);
    }
    RELEASING.set(None);
    if is_out_of_reach && again {
        pool.defer_again(job.id);
    } else if is_out_of_reach {
        pool.defer_free(job.id);
    } else {
        pool.free(job.id);
    }
    !is_out_of_reach
}

/// Releases what others have left behind, until one is out of reach here too.
pub fn release_deferred(cluster: &'static Cluster) {
    let mut goes_on = true;
    while goes_on && let Some(id) = cluster.pool().take_deferred() {
        let job = cluster.job(id);
        RELEASING.set(Some(Releasing { job, again: true }));
        goes_on = finish_release();
    }
}

/// A worker's process ended before it reported in.
pub fn not_started() -> Error {
    Error::new(
        ERRCODE_CONNECTION_FAILURE,
        "background worker process could not be started",
    )
    .detail("It ended before it could take a job; the server log says why.")
    .hint("If the library of the extension was replaced, reconnect.")
}

/// The same, of a queued job.
pub fn not_started_message() -> Vec<u8> {
    let error = not_started();
    error_message::compose(
        error_message::CONNECTION_FAILURE,
        &error.message,
        Some(NOT_STARTED_DETAIL),
    )
}

/// What the error of a queued job says, which has no hint.
const NOT_STARTED_DETAIL: &str = "It ended before it could take a job; the server log says why. If the library of the extension was replaced, reconnect.";

/// A job that this process has taken to fail it, and has not yet.
static FAILING: Local<Option<Job>> = Local::new(None);

/// Fails every queued job of a lane for which no process can be started, as long as nobody in it has connected. `key`: the
/// lane that is meant. `pid`: the process that could not,
/// 0 for none. Does not throw.
pub fn fail_lane(cluster: &'static Cluster, lane: u32, key: LaneKey, pid: u32, error: &[u8]) {
    let next = || {
        FAILING.get().or_else(|| {
            let taken = cluster
                .pool()
                .locked(|scheduler| scheduler.take_to_fail(lane, key, pid));
            taken.map(|id| cluster.job(id))
        })
    };
    while let Some(job) = next() {
        FAILING.set(Some(job));
        fault!("job-taken-to-fail");
        fail_taken(job, error);
    }
}

fn fail_taken(job: Job, error: &[u8]) {
    if let Some(block) = Block::reach(job) {
        block.note_error(error);
    }
    let watchers = ending(job, End::Failed);
    FAILING.set(None);
    let release = job.word().finish(job.id.generation, End::Failed);
    ended(job, watchers, release);
}

/// At the exit of a session: a job that it has taken to fail it, and was kept from by what ended the process (a line in
/// the log), is nobody else's. Does not throw.
pub fn finish_failing() {
    if let Some(job) = FAILING.get() {
        fail_taken(job, &not_started_message());
    }
}
