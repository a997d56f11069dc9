//! How many workers are doing what: for processes that only look.

use super::entries::LaneKey;
use super::scheduler::Scheduler;
use crate::worker::Activity;

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

impl Scheduler<'_> {
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
