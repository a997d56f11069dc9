//! Workers that stay beyond their idle limit.
//!
//! # Words
//!
//! * How many idle workers a lane **keeps** is a setting of each worker's process, which passes it with its question.
//!   Processes of one lane can have different ones: each goes by its own.
//! * A worker is **kept** when it has reached its idle limit and was told to stay. Nothing in shared memory says so. It
//!   asks again when it has been idle for as long once more.
//! * A lane is **released** when its database is about to be dropped: all its idle workers were dismissed, and none that
//!   becomes idle is kept, until the next launch in the lane.
//!
//! # Who is kept
//!
//! At its idle limit a worker stays if its lane has no more idle workers than it keeps, has no more workers than it may
//! have and is not released, and no lane is in need. The worker that went idle first reaches its limit first, and leaves if
//! others are enough; so those that stay are those that worked last.
//!
//! A kept worker is an idle worker like any other. It is handed jobs; it makes room for a lane in need, for a job that it
//! must not run, and when the pool is larger than it may be; and it is sent home with all idle ones. Nobody starts a worker
//! in order to keep it.
//!
//! # Hazards
//!
//! * **A lane comes into need while a worker is kept.** Whoever brings it there decides at once
//!   ([`Scheduler::spawn_decision`]), and finds the kept worker: its turn is over. If it is not, the worker looks at its
//!   turn's end ([`WorkerSlot::look_at`](super::WorkerSlot::look_at)), kept or not. Nobody starts
//!   another process at once for a lane that works and in which a start has failed, such as that of a process for a job
//!   that must not run on the kept worker. So the kept worker asks again, and makes room then.
//! * **A worker of a released lane finishes its job later**, while the process that drops the database waits for it to
//!   leave. It is not kept, and leaves at its idle limit.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Lane::released` | holder of the lock | nobody |

use super::entries::Lane;
use super::scheduler::Scheduler;
use super::worker_slot::NextStep;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::worker::Activity;

impl Lane {
    /// Whether one of its idle workers, which has reached its idle limit, stays.
    fn keeps(&self, keep: u32) -> bool {
        (1..=keep).contains(&self.idle.len()) && !self.is_over_limit() && load(&self.released) == 0
    }

    /// Somebody launches a job in it, or wants workers for it.
    pub(super) fn reclaim(&self) {
        if load(&self.released) != 0 {
            self.released.store(0, Ordering::Relaxed);
        }
    }
}

impl Scheduler<'_> {
    /// The worker's idle time is over. Returns `Restart` or `Retire`; or `Idle`, if it is one of the `keep` idle workers
    /// that stay in its lane. `None`: it is not idle any more; call
    /// [`awakened`](Self::awakened).
    pub fn idle_limit(&mut self, worker: u32, generation: u32, keep: u32) -> Option<NextStep> {
        let is_idle = self.activity(worker) == Activity::Idle;
        if !self.is_slot_of(worker, generation) || checked!("idle-limit-ignores-the-word", !is_idle)
        {
            return None;
        }
        if self.lane_of(worker).keeps(keep) && self.successor_of_leaver(worker).is_none() {
            mutant!("kept-worker-off-its-list" => self.unlist_idle(worker));
            return Some(NextStep::Idle);
        }
        self.unlist_idle(worker);
        Some(self.leave(worker, None))
    }

    /// A database is about to be dropped: releases its lanes. Calls `wake` for each idle worker that leaves.
    pub fn release_database(&mut self, database: u32, wake: impl Fn(ProcRef)) {
        for index in 0..load(&self.shared.totals.lanes) {
            let lane = self.lane(index);
            if lane.key().database != database {
                continue;
            }
            lane.released.store(1, Ordering::Relaxed);
            while let Some(worker) = self.take_idle(index, |_| true) {
                self.dismiss(worker);
                wake(self.proc_of(worker));
            }
        }
    }
}
