//! Who waits for what, and how many are doing what: for those who only look.

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
    /// It is not queued (any more).
    Nothing,
    /// Any place in the pool.
    WorkerSlot,
    /// One of the jobs that are admitted for this session to end.
    Share(ProcRef),
}

/// How many workers are doing what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorkerCounts {
    /// On their way.
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
        match (is_queued, self.holder_of(slot).and_then(Leader::proc)) {
            (false, _) => Awaited::Nothing,
            (true, None) => Awaited::WorkerSlot,
            (true, Some(leader)) => Awaited::Share(leader),
        }
    }

    /// The process in each place that has a job now; `None`: a place without one, which will look for work. Of a lane
    /// that may have no more workers its own places only: no other comes to serve it.
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
    pub fn without_job(&self, worker: u32) -> Option<LaneKey> {
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
