//! What jobs wait for, and how many workers are doing what: for processes that only look.

use super::entries::{LaneKey, Leader};
use super::scheduler::Scheduler;
use crate::job::Phase;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::table::JobId;
use crate::worker::Activity;

/// What a job that has no worker waits for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// It is not queued, or not any more.
    Nothing,
    /// Any worker slot of the pool.
    WorkerSlot,
    /// A permit of this session: one of its admitted jobs has to end.
    Permit(ProcRef),
}

/// How many workers are doing what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorkerCounts {
    /// Starting.
    pub starting: u32,
    /// With nothing to do.
    pub idle: u32,
    /// Running a job.
    pub busy: u32,
    /// Leaving.
    pub exiting: u32,
}

impl<'a> Scheduler<'a> {
    /// What a queued job waits for.
    pub fn awaited_by(&self, job: JobId) -> Awaited {
        let slot = self.slot(job.index);
        let is_queued = slot
            .word
            .load_if(job.generation)
            .is_some_and(|now| now.phase() == Phase::Queued);
        match (is_queued, self.throttled_by(slot).and_then(Leader::proc)) {
            (false, _) => Awaited::Nothing,
            (true, None) => Awaited::WorkerSlot,
            (true, Some(leader)) => Awaited::Permit(leader),
        }
    }

    /// The process in each worker slot that is in use, if it has a job now. `None`: it has no job and will look
    /// for one. When the lane is at its limit, only its own worker slots: no other one comes to serve it.
    pub fn occupants(&self, lane: u32) -> impl Iterator<Item = Option<ProcRef>> + use<'a> {
        let only_own = !self.lane(lane).may_grow(0);
        self.shared
            .workers
            .iter()
            .filter(move |entry| !only_own || load(&entry.lane) == lane)
            .filter(|entry| entry.word.load().activity() != Activity::Vacant)
            .map(|entry| match entry.word.load().activity() {
                Activity::Busy(_) => entry.proc(),
                _ => None,
            })
    }

    /// The lane of a worker that has no job; `None`: it has one, or there is none.
    #[must_use]
    pub fn lane_of_jobless(&self, worker: u32) -> Option<LaneKey> {
        let activity = self.activity(worker);
        let has_none = !matches!(activity, Activity::Vacant | Activity::Busy(_));
        has_none.then(|| self.lane_key(worker))
    }

    /// How many workers are doing what.
    #[must_use]
    pub fn worker_counts(&self) -> WorkerCounts {
        let mut worker_counts = WorkerCounts::default();
        for worker in 0..self.shared.workers.len() as u32 {
            match self.activity(worker) {
                Activity::Vacant => {}
                Activity::Starting => worker_counts.starting += 1,
                Activity::Idle => worker_counts.idle += 1,
                Activity::Busy(_) => worker_counts.busy += 1,
                Activity::Exiting => worker_counts.exiting += 1,
            }
        }
        worker_counts
    }
}
