//! Dispatch. A new job goes to an idle worker of its lane that may run it, or to the end of the lane's list.
//! Queued jobs go to workers that become idle.

use super::entries::{LaneKey, Permit};
use super::scheduler::Scheduler;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;

/// What the launching session's settings allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Jobs of the session that may be in its lane or on a worker at once.
    pub session_jobs: u32,
    /// Workers of the lane; 0: any number.
    pub lane_workers: u32,
}

impl From<u32> for Limits {
    /// This many jobs of the session, and any number of workers.
    fn from(session_jobs: u32) -> Self {
        Self {
            session_jobs,
            lane_workers: 0,
        }
    }
}

/// What became of a job that was dispatched.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dispatched {
    /// An idle worker has it: wake that worker.
    Handed(ProcRef),
    /// It waits in its lane. Now call [`Scheduler::spawn_decision`] for the lane.
    Queued,
    /// There is no room for another lane. The job is still reserved.
    NoLane,
    /// New jobs of its login role are refused. The job is still reserved.
    Refused,
}

impl<'a> Scheduler<'a> {
    /// Publishes a reserved job in the lane `key`. Gives it to an idle worker that may run it, or else puts it
    /// at the end of the lane's queue. A job beyond its leader's quota is throttled. `hint` is the lane's index
    /// if the caller knows it; returns the right index.
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
            // The caller is its leader, and does not sleep.
            Some((proc, _)) => (Dispatched::Handed(proc), index),
            None => {
                self.push_back(job.index);
                (Dispatched::Queued, index)
            }
        }
    }

    /// The latest launch in the lane sets its limit, and the lane is not released any more.
    pub(super) fn limit_lane(&mut self, index: u32, limits: Limits) {
        self.lane(index).reclaim();
        let limit = &self.lane(index).limit;
        if load(limit) != limits.lane_workers {
            limit.store(limits.lane_workers, Ordering::Relaxed);
            self.file(index);
        }
    }

    /// Binds a queued job that is on no list to an idle worker of its lane. An idle worker may run none of the
    /// jobs that wait in the queue, so this job overtakes nobody. Returns the worker, and the leader if it
    /// sleeps until the job's word changes: the caller wakes both.
    pub(super) fn hand_over(&mut self, job: JobId) -> Option<(ProcRef, Option<ProcRef>)> {
        let slot = self.slot(job.index);
        if slot.options().fresh_only {
            return None;
        }
        let worker = self.take_idle(load(&slot.lane), |idle| slot.may_run_on(idle.pid(), false))?;
        Some(self.bind(job, worker))
    }

    /// Binds a queued job (no longer on a list) to a worker. Returns the worker, and the leader if it sleeps
    /// until the job's word changes: the caller wakes both.
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

    /// Gives jobs of a lane to its idle workers, until no job is left that an idle worker may run.
    pub(super) fn hand_out(&mut self, index: u32) {
        let lane = self.lane(index);
        for worker in lane.idle.iter(self.shared.workers) {
            if lane.queue.reusing.is_empty() {
                return;
            }
            let pid = self.shared.workers[worker as usize]
                .proc()
                .map_or(0, ProcRef::pid);
            let Some(job) = self.pop(index, pid, false) else {
                continue;
            };
            self.unlist_idle(worker);
            let (proc, leader) = self.bind(job, worker);
            self.waker.wake(proc);
            if let Some(leader) = leader {
                self.waker.wake(leader);
            }
        }
    }
}
