//! Failing the queued jobs of a lane for which no process can be started, in its steps.
//!
//! They are written once, for any [`Failer`]: the server's sessions and workers take them, and so do those of the
//! schedules.
//!
//! # Words
//!
//! * A start is **hopeless** when another process would not start either ([`worker_exit`](super::worker_exit)). The
//!   process that fails the lane is the one that could not start, or one that has found out that it did not.
//! * A job is **taken to fail** when it is off its lane's list and bound to nobody's worker slot
//!   ([`Scheduler::take_to_fail`](super::Scheduler::take_to_fail)). It is **noted** in the memory of the process that has
//!   taken it.
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | a lane fails | take the first queued job to fail, note it, note the error in it, end it; until there is none, or a worker of the lane has connected |
//! | a job is ended | as a worker does ([`steps::end`]): announce the end, drop the note, finish the word, wake or free |
//! | a process whose start was given up | take its worker slot back; then fail the lane, if the start was hopeless |
//! | the process exits | fail the job that is noted ([`resume`]) |
//!
//! This order has the following effects:
//!
//! * **No job is left behind.** A job that was taken is on no list, and no other process would end it. So it is noted
//!   before anything can end the process, until its end was announced, which can. The exit goes on with it, whatever it
//!   does about the lane: a worker of the lane may have connected by then.
//! * **A process that starts after all does no harm.** Its worker slot is not its own any more when its lane's jobs
//!   fail.

use super::entries::{LaneKey, PendingStart};
use super::scheduler::{Pool, PoolLock};
use crate::job::End;
use crate::steps::{self, Ender};
use crate::table::JobId;

/// The process that takes the steps.
pub trait Failer: Ender {
    /// The pool's lock.
    type Lock: PoolLock;

    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// Notes a job that was taken to fail. Does not unwind.
    fn note(&self, job: JobId);
    /// A job is noted. Does not unwind.
    fn after_note(&self);
    /// Notes in a job why it fails. Does not unwind.
    fn note_error(&self, job: JobId);
}

/// Fails every queued job of a lane for which no process can be started, as long as no worker of the lane has
/// connected. `key` identifies the lane, whose index may have been reused. `pid`: the process that could not start; 0:
/// none. Does not unwind, but may end the process; the exit goes on with [`resume`].
pub fn fail_lane(failer: &impl Failer, lane: u32, key: LaneKey, pid: u32) {
    resume(failer);
    let pool = failer.pool();
    while let Some(job) = pool.locked(|scheduler| scheduler.take_to_fail(lane, key, pid)) {
        failer.note(job);
        failer.after_note();
        fail_noted(failer);
    }
}

/// Fails the job that is noted, if there is one. Does not unwind, but may end the process; it is then called again.
pub fn resume(failer: &impl Failer) {
    mutant!("failing-job-forgotten-at-exit" => return);
    fail_noted(failer);
}

fn fail_noted(failer: &impl Failer) {
    if let Some(job) = failer.noted() {
        failer.note_error(job);
        steps::end(failer, job, End::Failed);
    }
}

/// The process that was registered for a worker slot will not report in: takes the worker slot back, does `after`, and
/// fails the lane's jobs if `is_hopeless`. Does nothing if the worker slot does not await that process any more. Does not
/// unwind, but may end the process, as above.
pub fn give_up_start(
    failer: &impl Failer,
    worker: u32,
    start: PendingStart,
    after: impl FnOnce(),
    is_hopeless: impl FnOnce() -> bool,
) {
    let given_up = failer
        .pool()
        .locked(|scheduler| scheduler.give_up_start(worker, start));
    let Some((lane, key)) = given_up else {
        return;
    };
    after();
    if is_hopeless() {
        fail_lane(failer, lane, key, 0);
    }
}
