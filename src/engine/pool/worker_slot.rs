//! The life of a worker's place: a process reports in, takes jobs, rests, gives the place away, exits.
//!
//! What a process decides about itself is decided here, under the lock: the word of its place and the lists
//! change together. A process proves that the place is still its own by the generation (and at its exit by
//! its proc); see the hazards in [`super`].

use super::entries::{Lane, LaneKey, NOBODY, Permit, UNKNOWN, WorkerSlot};
use super::scheduler::Scheduler;
use crate::job::{Phase, Release, Unbind};
use crate::locked::{add, load, subtract};
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;
use crate::worker::Activity;

/// What a worker does next.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextStep {
    /// Run this job. `leader`: whom to wake, because the job's leader sleeps until it has a worker.
    Run {
        /// The job, now `Starting`.
        job: JobId,
        /// A leader that waits for the job to be bound.
        leader: Option<ProcRef>,
    },
    /// Sleep until the worker word says otherwise.
    Idle,
    /// Leave: exit and let a fresh process take the entry.
    Restart,
    /// Leave: exit for good.
    Retire,
}

/// What became of a job that its worker gave back.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// At the head of its lane again.
    Requeued,
    /// Another worker of the lane was idle and has it now: ring its doorbell.
    Handed(ProcRef),
    /// It had been canceled: it is finished.
    Canceled(Release),
}

impl<'a> Scheduler<'a> {
    /// A process reports in for a entry. `false`: its registration is stale, it must leave with exit
    /// code 0 and touch nothing.
    #[must_use]
    pub fn report_in(&mut self, worker: u32, generation: u32, proc: ProcRef) -> bool {
        let Some(entry) = self.shared.workers.get(worker as usize) else {
            return false;
        };
        if !entry.awaits(generation) {
            return false;
        }
        entry.note_arrival(proc);
        true
    }

    /// Who registered the process that has reported in, and may sleep until then. Once.
    pub fn take_registrar(&mut self, worker: u32) -> Option<ProcRef> {
        let entry = &self.shared.workers[worker as usize];
        let registrar = entry.registrar();
        entry.registrar.store(0, Ordering::Relaxed);
        registrar
    }

    /// The worker has connected to its lane's database: from now on its exit says nothing about whether
    /// others could start.
    pub fn connected(&mut self, worker: u32) {
        self.shared.workers[worker as usize].note_connection();
    }

    /// What the worker, in `Starting` or `Busy` (with a job that is finished), does next. `leaving`: it
    /// shall not run another job.
    pub fn next(&mut self, worker: u32, leaving: bool) -> NextStep {
        let lane = load(&self.shared.workers[worker as usize].lane);
        self.return_permit_of_worker(worker);
        let next = self.decide(worker, leaving);
        // What was admitted and is not for this one may be for one that is idle.
        mutant!("worker-rests-without-looking" => return next);
        self.hand_out(lane);
        next
    }

    /// Makes the pool smaller, if it has more than `cap` workers. An idle one is sent home first; with none the
    /// worker itself, as in [`next`](Self::next), leaves for good: then this says so.
    pub fn shrink(&mut self, worker: u32, cap: u32) -> Option<NextStep> {
        if !self.is_larger_than(cap) {
            return None;
        }
        if let Some((idle, proc)) = self.take_any_idle() {
            self.shared.workers[idle as usize].word.dismiss();
            self.waker.wake(proc);
            return None;
        }
        let lane = load(&self.shared.workers[worker as usize].lane);
        self.return_permit_of_worker(worker);
        self.hand_out(lane);
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// Likewise, by a worker that is idle: it leaves for good, or stays as it is.
    pub fn shrink_idle(&mut self, worker: u32, generation: u32, cap: u32) -> Option<NextStep> {
        let is_idle =
            self.is_slot_of(worker, generation) && self.activity(worker) == Activity::Idle;
        if !is_idle || !self.is_larger_than(cap) {
            return None;
        }
        self.take_off_idle(worker);
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// Whether the pool has more than `cap` workers without those that are leaving.
    fn is_larger_than(&self, cap: u32) -> bool {
        let live = load(&self.shared.totals.live);
        let leaves = |entry: &&WorkerSlot| entry.word.load().activity() == Activity::Exiting;
        live > cap && live - self.shared.workers.iter().filter(leaves).count() as u32 > cap
    }

    pub(super) fn decide(&mut self, worker: u32, leaving: bool) -> NextStep {
        let entry = &self.shared.workers[worker as usize];
        let pid = entry.proc().map_or(0, ProcRef::pid);
        let lane_index = load(&entry.lane);
        let lane = self.lane(lane_index);
        let fresh = self.activity(worker) == Activity::Starting;
        let others_wait = load(&self.shared.totals.queued) > lane.queue.len();
        // A fresh process runs one job first, so that a place does not change hands for nothing.
        let starving = if fresh || !others_wait {
            None
        } else {
            self.find_short(lane_index, 0, Lane::has_nobody)
        };
        if leaving || lane.is_over_limit() || starving.is_some() {
            // First, or the lane looks short of workers that it has.
            self.hand_out(lane_index);
            return self.leave(worker, starving);
        }
        if !fresh && self.first_awaits_another(lane_index, pid) {
            // Somebody who is idle may have what it waits for.
            self.hand_out(lane_index);
            if self.first_awaits_another(lane_index, pid) {
                return self.leave(worker, Some(lane_index));
            }
        }
        mutant!("worker-rests-without-looking" => if !fresh { return self.rest(worker); });
        if let Some(job) = self.pop(lane_index, |slot| slot.may_run_on(pid, fresh)) {
            if fresh {
                subtract(&lane.starting, 1);
            }
            let (_, leader) = self.bind(job, worker);
            return NextStep::Run { job, leader };
        }
        if let Some(short) = self.find_short(lane_index, fresh.into(), |_| true) {
            return self.leave(worker, Some(short));
        }
        if fresh {
            subtract(&lane.starting, 1);
        }
        self.rest(worker)
    }

    /// The worker goes to its lane's idle list.
    fn rest(&mut self, worker: u32) -> NextStep {
        self.shared.workers[worker as usize].word.rest();
        mutant!("idle-worker-on-no-list" => return NextStep::Idle);
        let lane = self.lane_of(worker);
        lane.idle.push_front(self.shared.workers, worker);
        NextStep::Idle
    }

    /// Whether the lane's first job must not run on this process, and none is on its way for it, for want of places:
    /// those behind it could overtake it for ever.
    fn first_awaits_another(&self, lane: u32, pid: u32) -> bool {
        let lane = self.lane(lane);
        let first = lane.queue.first();
        load(&lane.starting) == 0
            && first.is_some_and(|first| !self.slot(first).may_run_on(pid, false))
    }

    /// The first lane that is short, may have one more worker and that `also` accepts, in a ring that begins after `lane` and ends
    /// with it. Of the workers on their way to `lane`, `uncounted` do not count.
    pub(super) fn find_short(
        &self,
        lane: u32,
        uncounted: u32,
        also: impl Fn(&Lane) -> bool,
    ) -> Option<u32> {
        mutant!("nobody-looks-at-other-lanes" => return None);
        if load(&self.shared.totals.queued) == 0 {
            return None;
        }
        let used = self.used_lanes().len() as u32;
        (lane + 1..used).chain(0..=lane).find(|&index| {
            let candidate = self.lane(index);
            let (uncounted, leaving) = if index == lane {
                (uncounted, 1)
            } else {
                (0, 0)
            };
            candidate.is_short_without(uncounted) && candidate.may_grow(leaving) && also(candidate)
        })
    }

    /// The worker (any live phase, on no list, bound to no job) leaves: for a fresh process in lane `to`
    /// or, if none is given, in whichever lane is short; else for good.
    pub(super) fn leave(&mut self, worker: u32, to: Option<u32>) -> NextStep {
        let lane = load(&self.shared.workers[worker as usize].lane);
        let is_on_its_way = self.activity(worker) == Activity::Starting;
        let uncounted = u32::from(checked!("leaver-counts-itself", is_on_its_way));
        let to = to
            .or_else(|| self.find_short(lane, uncounted, Lane::has_nobody))
            .or_else(|| self.find_short(lane, uncounted, |_| true));
        match to {
            Some(lane) => {
                self.move_to(worker, lane);
                NextStep::Restart
            }
            None => {
                self.vacate(worker);
                self.replace_idle(lane);
                NextStep::Retire
            }
        }
    }

    /// A worker of a lane that is at its limit has left for good, and left jobs in the queue that the lane's idle workers
    /// must not run: has one of these make room for a fresh process, or nobody would run the jobs.
    fn replace_idle(&mut self, lane: u32) {
        if !self.lane(lane).is_short() || self.lane(lane).may_grow(0) {
            return;
        }
        if let Some(idle) = self.take_idle(lane, |_| true) {
            let proc = self.proc_of(idle);
            self.move_to(idle, lane);
            self.waker.wake(proc);
        }
    }

    /// Gives the place to a fresh process in `lane`, which the process that has it now, and nobody else, registers.
    pub(super) fn move_to(&mut self, worker: u32, lane: u32) {
        let entry = &self.shared.workers[worker as usize];
        let leaver = entry.proc();
        let from = self.lane_of(worker);
        if self.activity(worker) == Activity::Starting {
            subtract(&from.starting, 1);
        }
        subtract(&from.workers, 1);
        entry.word.restart();
        entry.claimed_at.store(UNKNOWN, Ordering::Relaxed);
        entry.lane.store(lane, Ordering::Relaxed);
        entry.forget_process();
        let registrar = leaver.map_or(0, ProcRef::to_bits);
        entry.registrar.store(registrar, Ordering::Relaxed);
        add(&self.lane(lane).starting, 1);
        add(&self.lane(lane).workers, 1);
    }

    pub(super) fn vacate(&mut self, worker: u32) {
        let entry = &self.shared.workers[worker as usize];
        let lane = self.lane_of(worker);
        if self.activity(worker) == Activity::Starting {
            subtract(&lane.starting, 1);
        }
        subtract(&lane.workers, 1);
        subtract(&self.shared.totals.live, 1);
        entry.forget_process();
        entry.word.vacate();
    }

    /// The idle limit has come, or the worker has another reason to go. `None`: it is not idle any more,
    /// call [`awakened`](Self::awakened). Otherwise `Restart` or `Retire`.
    pub fn idle_limit(&mut self, worker: u32, generation: u32) -> Option<NextStep> {
        let is_idle = self.activity(worker) == Activity::Idle;
        if !self.is_slot_of(worker, generation) || checked!("idle-limit-ignores-the-word", !is_idle)
        {
            return None;
        }
        self.take_off_idle(worker);
        Some(self.leave(worker, None))
    }

    fn take_off_idle(&mut self, worker: u32) {
        self.lane_of(worker)
            .idle
            .remove(self.shared.workers, worker);
    }

    /// Whether the place still belongs to the registration with this generation. A process that was told
    /// to make room, and then did not run for [`super::entries::START_LIMIT`], may find another one there.
    pub(super) fn is_slot_of(&self, worker: u32, generation: u32) -> bool {
        self.shared.workers[worker as usize]
            .word
            .load()
            .generation()
            == generation
    }

    /// What the word of a worker that was idle tells it to do; `None` while it is still idle.
    pub fn awakened(&mut self, worker: u32, generation: u32) -> Option<NextStep> {
        if !self.is_slot_of(worker, generation) {
            return Some(NextStep::Retire);
        }
        match self.activity(worker) {
            Activity::Idle => None,
            Activity::Busy(index) => Some(NextStep::Run {
                job: self.job_in(index),
                leader: None,
            }),
            Activity::Starting => Some(NextStep::Restart),
            Activity::Exiting => Some(self.leave(worker, None)),
            Activity::Vacant => Some(NextStep::Retire),
        }
    }

    /// The worker gives back the job it was bound to and has not begun. The caller then leaves.
    pub fn give_back(&mut self, job: JobId) -> Returned {
        let slot = self.slot(job.index);
        let worker = slot.worker();
        let permit = &self.shared.workers[worker as usize].permit;
        match slot.word.unbind(job.generation) {
            Unbind::Requeued => {
                // The job carries its permit itself again.
                Permit::store(None, permit);
                slot.pid.store(0, Ordering::Relaxed);
                match self.hand_over(job) {
                    Some((proc, leader)) => {
                        if let Some(leader) = leader {
                            self.waker.wake(leader);
                        }
                        Returned::Handed(proc)
                    }
                    None => {
                        mutant!("give-back-puts-last" => {
                            self.push_back(job.index);
                            return Returned::Requeued;
                        });
                        self.push_front(job.index);
                        Returned::Requeued
                    }
                }
            }
            Unbind::Canceled(release) => {
                let lane = load(&self.shared.workers[worker as usize].lane);
                self.return_permit_of_worker(worker);
                self.hand_out(lane);
                Returned::Canceled(release)
            }
        }
    }

    /// The worker's process begins to exit. `false`: the place is not its own any more (it was told to make
    /// room, or was taken for lost), and it must touch nothing in the pool. Otherwise nobody hands it
    /// anything from now on.
    #[must_use]
    pub fn begin_exit(&mut self, worker: u32, generation: u32, proc: ProcRef) -> bool {
        let entry = &self.shared.workers[worker as usize];
        if !self.is_slot_of(worker, generation) || entry.proc() != Some(proc) {
            return false;
        }
        if self.activity(worker) == Activity::Idle {
            self.take_off_idle(worker);
            entry.word.dismiss();
        }
        true
    }

    /// The worker's process exits, whatever it was doing; its job was finished or given back before.
    /// `restartable`: the place may be given to a fresh process. `Restart`: it is, and the caller registers that
    /// one; `Retire`: it is not. `None`: the place is not this process's any more.
    ///
    /// A process that could not start although its lane works ([`lane_works`](Self::lane_works)) says
    /// that it is not restartable: the lane's other workers look after the queue, and trying again at
    /// once could fork without end.
    pub fn exit(
        &mut self,
        worker: u32,
        generation: u32,
        proc: ProcRef,
        restartable: bool,
    ) -> Option<NextStep> {
        let entry = &self.shared.workers[worker as usize];
        if entry.word.load().generation() != generation || entry.proc() != Some(proc) {
            return None;
        }
        match self.activity(worker) {
            Activity::Vacant => return None,
            Activity::Idle => self.take_off_idle(worker),
            Activity::Starting | Activity::Busy(_) | Activity::Exiting => {}
        }
        let lane = load(&entry.lane);
        self.return_permit_of_worker(worker);
        self.hand_out(lane);
        if restartable {
            return Some(self.leave(worker, None));
        }
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// The job that an exiting worker had is over: what it counted against has room for another.
    pub fn job_is_over(&mut self, worker: u32) {
        self.return_permit_of_worker(worker);
    }

    /// Index of the lane that a worker's place belongs to.
    #[must_use]
    pub fn lane_index(&self, worker: u32) -> u32 {
        load(&self.shared.workers[worker as usize].lane)
    }

    /// Whether anybody in the lane has connected: then a failed start is not the lane's fault.
    #[must_use]
    pub fn lane_works(&self, lane: u32) -> bool {
        self.shared.workers.iter().any(|entry| {
            load(&entry.lane) == lane
                && entry.has_connected()
                && entry.word.load().activity() != Activity::Vacant
        })
    }

    /// Takes the first queued job of a lane for which no process can be started, whatever it is: to fail
    /// it. The job is `Starting` and the caller's. `pid`: the process that could not start, 0 if it has
    /// none. What was held back for it is admitted, and so fails in its turn. `key`: the lane that is meant; its entry
    /// may be another's by now. `None` also when somebody in the lane has connected.
    pub fn take_to_fail(&mut self, lane: u32, key: LaneKey, pid: u32) -> Option<JobId> {
        let is_meant = self.lane(lane).key() == key;
        if !is_meant || self.lane_works(lane) {
            return None;
        }
        let job = self.pop(lane, |_| true)?;
        let slot = self.slot(job.index);
        slot.worker.store(NOBODY, Ordering::Relaxed);
        slot.pid.store(pid, Ordering::Relaxed);
        let permit = Permit::of(slot);
        let _ = slot.word.bind(job.generation);
        self.return_permit(permit);
        Some(job)
    }

    /// The job that a worker is bound to and has not begun.
    #[must_use]
    pub fn assigned(&self, worker: u32) -> Option<JobId> {
        let Activity::Busy(index) = self.activity(worker) else {
            return None;
        };
        let slot = self.slot(index);
        (slot.word.load().phase() == Phase::Starting && slot.worker() == worker)
            .then(|| self.job_in(index))
    }
}
