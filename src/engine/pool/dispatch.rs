//! Placing jobs: a new one goes to an idle worker of its lane that may run it, or to the end of the lane's list; what
//! may run is handed to whoever is idle.

use super::entries::{LaneKey, Permit};
use super::scheduler::Scheduler;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;

/// What a launch's session allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Jobs of the session that may be in its lane or on a worker.
    pub session_jobs: u32,
    /// Workers of the lane; 0: any number.
    pub lane_workers: u32,
}

impl From<u32> for Limits {
    /// So many jobs of the session, and any number of workers.
    fn from(session_jobs: u32) -> Self {
        Self {
            session_jobs,
            lane_workers: 0,
        }
    }
}

/// What became of a job that was placed.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dispatched {
    /// An idle worker has it: ring its doorbell.
    Handed(ProcRef),
    /// It waits in its lane. Now [`Scheduler::spawn_decision`] the lane.
    Queued,
    /// There is no room for another lane. The job is still reserved.
    NoLane,
    /// New jobs of its login role are refused. The job is still reserved.
    Refused,
}

impl<'a> Scheduler<'a> {
    /// Publishes a reserved job in the lane `key` and gives it to an idle worker if there is one that may
    /// run it, else puts it at the end of the lane's queue; a job over its leader's share is held back.
    /// `hint` is the lane's index if the caller knows it; the right index is returned.
    pub fn dispatch(
        &mut self,
        job: JobId,
        key: LaneKey,
        hint: u32,
        limits: impl Into<Limits>,
    ) -> (Dispatched, u32) {
        let limits = limits.into();
        let slot = self.slot(job.index);
        if self.refuses(load(&slot.usage)) {
            return (Dispatched::Refused, hint);
        }
        let Some(index) = self.find_lane(key, hint) else {
            return (Dispatched::NoLane, hint);
        };
        slot.lane.store(index, Ordering::Relaxed);
        self.limit_lane(index, limits);
        slot.word.publish(job.generation);
        let admitted = self.admit_new(job.index, limits.session_jobs);
        self.hand_out(index);
        if !admitted {
            return (Dispatched::Queued, index);
        }
        match self.hand_over(job) {
            // Its leader is the caller, which does not sleep.
            Some((proc, _)) => (Dispatched::Handed(proc), index),
            None => {
                self.push_back(job.index);
                (Dispatched::Queued, index)
            }
        }
    }

    /// The lane's limit is that of whoever launched in it last.
    pub(super) fn limit_lane(&mut self, index: u32, limits: Limits) {
        self.lane(index)
            .limit
            .store(limits.lane_workers, Ordering::Relaxed);
    }

    /// Binds a queued job that is on no list to an idle worker of its lane. An idle worker may run none
    /// of the jobs that wait in the queue, so this one overtakes nobody. Returns the worker's doorbell, and
    /// the leader's if that sleeps on the job.
    pub(super) fn hand_over(&mut self, job: JobId) -> Option<(ProcRef, Option<ProcRef>)> {
        let slot = self.slot(job.index);
        let worker = self.take_idle(load(&slot.lane), |idle| slot.may_run_on(idle.pid(), false))?;
        Some(self.bind(job, worker))
    }

    /// Binds a queued job (not on a list any more) to a worker. Returns the worker's doorbell, and the
    /// leader's if that sleeps on the job.
    pub(super) fn bind(&mut self, job: JobId, worker: u32) -> (ProcRef, Option<ProcRef>) {
        let entry = &self.shared.workers[worker as usize];
        let proc = entry.proc().expect("bound to a worker that is not there");
        let slot = self.slot(job.index);
        slot.worker.store(worker, Ordering::Relaxed);
        slot.pid.store(proc.pid(), Ordering::Relaxed);
        Permit::store(Permit::of(slot), &entry.permit);
        let watched = slot.word.bind(job.generation);
        entry.word.assign(job.index);
        self.lane(load(&slot.lane))
            .latest
            .store(worker, Ordering::Relaxed);
        (proc, slot.leader().filter(|_| watched))
    }

    /// Gives jobs of a lane to its idle workers until there is no pair left.
    pub(super) fn hand_out(&mut self, index: u32) {
        let lane = self.lane(index);
        for worker in lane.idle.iter(self.shared.workers) {
            if lane.queue.is_empty() {
                return;
            }
            let pid = self.shared.workers[worker as usize]
                .proc()
                .map_or(0, ProcRef::pid);
            let Some(job) = self.pop(index, |slot| slot.may_run_on(pid, false)) else {
                continue;
            };
            lane.idle.remove(self.shared.workers, worker);
            let (proc, leader) = self.bind(job, worker);
            self.waker.wake(proc);
            if let Some(leader) = leader {
                self.waker.wake(leader);
            }
        }
    }
}
