//! The life of a worker slot: a process reports in, takes jobs, goes idle, passes the worker slot on, exits.
//!
//! A process decides here, under the lock, what it does next: the word of its worker slot and the lists change
//! together. The generation proves that the worker slot is still the process's own; at exit its `proc` has to
//! match as well. See the hazards in [`super`].

use super::entries::{LaneKey, NOBODY, Permit};
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
    /// Run this job. `leader`: the job's leader, to be woken, if it sleeps until the job has a worker.
    Run {
        /// The job, now `Starting`.
        job: JobId,
        /// The leader, if it waits for the job to be bound.
        leader: Option<ProcRef>,
    },
    /// Sleep until the worker word says otherwise.
    Idle,
    /// Leave: exit, and register a fresh process for the worker slot.
    Restart,
    /// Leave: exit for good.
    Retire,
}

/// Who may have the worker slot of a process that exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heir {
    /// A fresh process, of its lane or another.
    Anyone,
    /// Its start has failed although its lane works: a fresh process of a lane that is not stalled.
    NotStalled,
    /// Nobody.
    Nobody,
}

/// What became of a job that its worker gave back.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// It is at the head of its lane again.
    Requeued,
    /// Another worker of the lane was idle and has it now: wake that worker.
    Handed(ProcRef),
    /// It had been canceled, and is finished.
    Canceled(Release),
}

impl<'a> Scheduler<'a> {
    /// A process reports in for a worker slot. `false`: its registration is stale. The process must exit with
    /// code 0 and touch nothing.
    #[must_use]
    pub fn report_in(&mut self, worker: u32, generation: u32, proc: ProcRef) -> bool {
        let Some(entry) = self.shared.workers.get(worker as usize) else {
            return false;
        };
        if !entry.awaits(generation) {
            return false;
        }
        self.shared
            .totals
            .awaited
            .remove(self.shared.workers, worker);
        entry.note_arrival(proc);
        true
    }

    /// The process that registered the one that has reported in. It may sleep until then. Returned once.
    pub fn take_registrar(&mut self, worker: u32) -> Option<ProcRef> {
        let entry = &self.shared.workers[worker as usize];
        let registrar = entry.registrar();
        entry.registrar.store(0, Ordering::Relaxed);
        registrar
    }

    /// The worker has connected to its lane's database. From now on its exit says nothing about whether other
    /// processes can start, and its turn begins ([`super::turns`]).
    /// `proc` is the worker's process: the worker slot may be another's by now.
    pub fn note_connected(&mut self, worker: u32, proc: ProcRef) {
        let entry = &self.shared.workers[worker as usize];
        if entry.proc() == Some(proc) && !entry.has_connected() {
            entry.note_connection();
            let lane = self.lane_of(worker);
            add(&lane.connected, 1);
            lane.start_failed.store(0, Ordering::Relaxed);
            self.note_start(worker);
        }
    }

    /// What the worker does next. It is `Starting`, or `Busy` with a job that is finished. `leaving`: it must
    /// not run another job.
    pub fn next(&mut self, worker: u32, leaving: bool) -> NextStep {
        let lane = load(&self.shared.workers[worker as usize].lane);
        self.end_wait(worker);
        self.end_finishing(worker);
        self.return_permit_of_worker(worker);
        let next = self.decide(worker, leaving);
        // A job that was admitted and is not for this worker may be for an idle one.
        mutant!("worker-rests-without-looking" => return next);
        self.hand_out(lane);
        next
    }

    /// Makes the pool smaller, if it has more than `cap` workers. Dismisses an idle worker if there is one.
    /// Otherwise the calling worker, which is in a state as for [`next`](Self::next), has to leave for good:
    /// returns `Retire`.
    pub fn shrink(&mut self, worker: u32, cap: u32) -> Option<NextStep> {
        if !self.is_larger_than(cap) {
            return None;
        }
        if let Some((idle, proc)) = self.take_any_idle() {
            self.dismiss(idle);
            self.waker.wake(proc);
            return None;
        }
        let lane = load(&self.shared.workers[worker as usize].lane);
        self.return_permit_of_worker(worker);
        self.hand_out(lane);
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// The same for a worker that is idle: it leaves for good, or stays as it is.
    pub fn shrink_idle(&mut self, worker: u32, generation: u32, cap: u32) -> Option<NextStep> {
        let is_idle =
            self.is_slot_of(worker, generation) && self.activity(worker) == Activity::Idle;
        if !is_idle || !self.is_larger_than(cap) {
            return None;
        }
        self.unlist_idle(worker);
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// Whether the pool has more than `cap` workers, not counting those that are leaving.
    fn is_larger_than(&self, cap: u32) -> bool {
        load(&self.shared.totals.live) - load(&self.shared.totals.exiting) > cap
    }

    pub(super) fn decide(&mut self, worker: u32, leaving: bool) -> NextStep {
        let entry = &self.shared.workers[worker as usize];
        let pid = entry.proc().map_or(0, ProcRef::pid);
        let lane_index = load(&entry.lane);
        let lane = self.lane(lane_index);
        let fresh = self.activity(worker) == Activity::Starting;
        // A fresh process runs one job first: otherwise a worker slot could change lanes without running any.
        let successor = if fresh { None } else { self.successor(worker) };
        if leaving || lane.is_over_limit() || successor.is_some() {
            // Before leaving, or the lane looks short of workers that it has.
            self.hand_out(lane_index);
            return self.leave(worker, successor);
        }
        if !fresh && self.first_awaits_another(lane_index, pid) {
            // An idle worker may be able to run that job.
            self.hand_out(lane_index);
            if self.first_awaits_another(lane_index, pid) {
                return self.leave(worker, Some(lane_index));
            }
        }
        mutant!("worker-rests-without-looking" => if !fresh { return self.rest(worker, true); });
        if let Some(job) = self.pop(lane_index, pid, fresh) {
            if fresh {
                subtract(&lane.starting, 1);
                self.file(lane_index);
            }
            let (_, leader) = self.bind(job, worker);
            return NextStep::Run { job, leader };
        }
        let needs_another = lane.is_short_without(fresh.into()) && lane.may_grow(1);
        if needs_another {
            return self.leave(worker, Some(lane_index));
        }
        let turn_is_over = self.is_turn_over(worker);
        if (fresh || turn_is_over)
            && let Some(to) = self.first_in_need()
        {
            return self.leave(worker, Some(to));
        }
        if fresh {
            subtract(&lane.starting, 1);
        }
        self.rest(worker, turn_is_over)
    }

    /// The worker goes to its lane's idle list. `has_looked` as in [`list_idle`](Self::list_idle).
    fn rest(&mut self, worker: u32, has_looked: bool) -> NextStep {
        self.shared.workers[worker as usize].word.rest();
        self.file(self.lane_index(worker));
        mutant!("idle-worker-on-no-list" => return NextStep::Idle);
        self.list_idle(worker, has_looked);
        NextStep::Idle
    }

    /// Whether the lane's first job must not run on this process, and no worker is starting for it because no
    /// worker slot is vacant. The jobs behind it could overtake it forever.
    fn first_awaits_another(&self, lane: u32, pid: u32) -> bool {
        let lane = self.lane(lane);
        let first = lane.queue.first();
        load(&lane.starting) == 0
            && first.is_some_and(|first| !self.slot(first).may_run_on(pid, false))
    }

    /// The worker leaves: for a fresh process in lane `to`, or if that is `None` in the lane that comes next
    /// ([`super::turns`]), or else for good. The worker may be in any phase but vacant, is on no list and has no job.
    pub(super) fn leave(&mut self, worker: u32, to: Option<u32>) -> NextStep {
        let lane = self.lane_index(worker);
        let is_told = to.is_some();
        match to.or_else(|| self.successor_of_leaver(worker)) {
            Some(to) => {
                // Only a lane whose turn it is gets a new one.
                if is_told && to == lane {
                    self.replace_process(worker);
                } else {
                    self.move_to(worker, to);
                }
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
            self.replace_process(idle);
            self.waker.wake(proc);
        }
    }

    /// Passes the worker slot to a fresh process in `lane`. Only the process that has the worker slot now
    /// registers it.
    pub(super) fn move_to(&mut self, worker: u32, lane: u32) {
        let entry = &self.shared.workers[worker as usize];
        let leaver = entry.proc();
        self.leave_lane(worker);
        entry.word.restart();
        self.join_lane(worker, lane);
        let registrar = leaver.map_or(0, ProcRef::to_bits);
        entry.registrar.store(registrar, Ordering::Relaxed);
    }

    /// Passes the worker slot to a fresh process in the same lane, for what is left of its turn. Otherwise a lane could
    /// keep a worker slot for ever by jobs that each need another process.
    pub(super) fn replace_process(&mut self, worker: u32) {
        let turn_end = &self.shared.workers[worker as usize].turn_end;
        let end = turn_end.load(Ordering::Relaxed);
        self.move_to(worker, self.lane_index(worker));
        turn_end.store(end, Ordering::Relaxed);
    }

    /// Nobody has the worker slot any more.
    pub(super) fn vacate(&mut self, worker: u32) {
        self.leave_lane(worker);
        subtract(&self.shared.totals.live, 1);
        self.shared.workers[worker as usize].word.vacate();
        let vacant = &self.shared.totals.vacant;
        vacant.push_front(self.shared.workers, worker);
    }

    /// The worker slot, whose word still says what it was, does not count in its lane any more and forgets its
    /// process.
    fn leave_lane(&mut self, worker: u32) {
        self.end_wait(worker);
        self.end_finishing(worker);
        let entry = &self.shared.workers[worker as usize];
        let index = self.lane_index(worker);
        let lane = self.lane(index);
        match self.activity(worker) {
            Activity::Starting => subtract(&lane.starting, 1),
            Activity::Exiting => subtract(&self.shared.totals.exiting, 1),
            Activity::Vacant | Activity::Idle | Activity::Busy(_) => {}
        }
        if entry.awaits_any() {
            let awaited = &self.shared.totals.awaited;
            awaited.remove(self.shared.workers, worker);
        }
        if entry.has_connected() {
            subtract(&lane.connected, 1);
        }
        subtract(&lane.workers, 1);
        entry.forget_process();
        self.file(index);
    }

    /// The worker slot, whose word says `Starting` and which has no process, counts in this lane from now on.
    pub(super) fn join_lane(&mut self, worker: u32, index: u32) {
        let entry = &self.shared.workers[worker as usize];
        entry.lane.store(index, Ordering::Relaxed);
        let now = self.waker.now();
        entry.claimed_at.store(now, Ordering::Relaxed);
        let awaited = &self.shared.totals.awaited;
        awaited.push_back(self.shared.workers, worker);
        let lane = self.lane(index);
        add(&lane.starting, 1);
        add(&lane.workers, 1);
        self.serve_with_start(index);
    }

    /// Tells a worker that is idle, and on no list, to leave.
    pub(super) fn dismiss(&mut self, worker: u32) {
        self.shared.workers[worker as usize].word.dismiss();
        add(&self.shared.totals.exiting, 1);
    }

    /// The worker has asked for its next step, or leaves.
    fn end_finishing(&mut self, worker: u32) {
        if self.shared.workers[worker as usize]
            .finishing
            .swap(0, Ordering::Relaxed)
            != 0
        {
            self.lane_of(worker)
                .finishing
                .fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The job that the worker ran waits for no other any more.
    fn end_wait(&mut self, worker: u32) {
        if let Some(proc) = self.shared.workers[worker as usize].proc() {
            self.note_waiting(worker, proc, false);
        }
    }

    /// Whether the worker slot still belongs to the registration with this generation. A process that was told
    /// to make room and then did not run for [`super::entries::START_LIMIT`] may find another process there.
    pub(super) fn is_slot_of(&self, worker: u32, generation: u32) -> bool {
        self.shared.workers[worker as usize]
            .word
            .load()
            .generation()
            == generation
    }

    /// What its word tells a worker that was idle to do. `None`: it is still idle.
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

    /// The worker gives back the job that it is bound to and has not begun. The caller then leaves.
    pub fn give_back(&mut self, job: JobId) -> Returned {
        let slot = self.slot(job.index);
        let worker = slot.worker();
        let permit = &self.shared.workers[worker as usize].permit;
        // Before the word says that the job was canceled; it stands for nothing as long as the job has not finished.
        slot.finished_at
            .store(self.waker.timestamp(), Ordering::Relaxed);
        match slot.word.unbind(job.generation) {
            Unbind::Requeued => {
                // The permit is in the job's slot again.
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

    /// The worker's process begins to exit. `false`: the worker slot is no longer its own (it was told to make
    /// room, or was taken for lost), and the process must touch nothing in the pool. Otherwise nobody hands it
    /// a job from now on.
    #[must_use]
    pub fn begin_exit(&mut self, worker: u32, generation: u32, proc: ProcRef) -> bool {
        let entry = &self.shared.workers[worker as usize];
        if !self.is_slot_of(worker, generation) || entry.proc() != Some(proc) {
            return false;
        }
        if self.activity(worker) == Activity::Idle {
            self.unlist_idle(worker);
            self.dismiss(worker);
        }
        true
    }

    /// The worker's process exits, whatever it was doing. Its job was finished or given back before. Returns `Restart` if
    /// the worker slot is passed on to a fresh process, and the caller registers that process; `Retire` if it is vacant.
    /// `None`: the worker slot is no longer this process's.
    ///
    /// A process that could not start although its lane works ([`lane_works`](Self::lane_works)) leaves its worker slot to
    /// a lane that is not stalled. The workers of its own lane look after the queue, and trying again at once could fork
    /// without end. So could two lanes whose starts fail, if they passed the worker slot to each other. So a lane whose
    /// start has failed is **stalled** until one has succeeded, and no failed start leads to one in a stalled lane: there
    /// are at most as many in a row as there are lanes. Launches, waits and workers that leave do not look at that.
    pub fn exit(
        &mut self,
        worker: u32,
        generation: u32,
        proc: ProcRef,
        heir: Heir,
    ) -> Option<NextStep> {
        let entry = &self.shared.workers[worker as usize];
        if entry.word.load().generation() != generation || entry.proc() != Some(proc) {
            return None;
        }
        match self.activity(worker) {
            Activity::Vacant => return None,
            Activity::Idle => self.unlist_idle(worker),
            Activity::Starting | Activity::Busy(_) | Activity::Exiting => {}
        }
        let lane = load(&entry.lane);
        self.return_permit_of_worker(worker);
        self.hand_out(lane);
        let to = match heir {
            Heir::Anyone => return Some(self.leave(worker, None)),
            Heir::NotStalled => {
                self.lane(lane).start_failed.store(1, Ordering::Relaxed);
                self.first_in_need_not_stalled()
            }
            Heir::Nobody => None,
        };
        if to.is_some() {
            return Some(self.leave(worker, to));
        }
        self.vacate(worker);
        Some(NextStep::Retire)
    }

    /// Index of the lane that a worker slot belongs to.
    #[must_use]
    pub fn lane_index(&self, worker: u32) -> u32 {
        load(&self.shared.workers[worker as usize].lane)
    }

    /// Whether any worker of the lane has connected. If so, a failed start is not the lane's fault.
    #[must_use]
    pub fn lane_works(&self, lane: u32) -> bool {
        load(&self.lane(lane).connected) > 0
    }

    /// Takes the first queued job of a lane for which no process can be started, to fail it. The job is
    /// `Starting` and belongs to the caller. A throttled job that can now be admitted is, and so fails in its
    /// turn. `pid`: the process that could not start, 0 if there is none; a job that must not run on it is not known
    /// by it either. `key`: the lane that is meant; by now
    /// its entry may be another lane's. `None` also when a worker of the lane has connected.
    pub fn take_to_fail(&mut self, lane: u32, key: LaneKey, pid: u32) -> Option<JobId> {
        let is_meant = self.lane(lane).key() == key;
        if !is_meant || self.lane_works(lane) {
            return None;
        }
        // A fresh process without a pid could take any job.
        let job = self.pop(lane, 0, true)?;
        let slot = self.slot(job.index);
        slot.worker.store(NOBODY, Ordering::Relaxed);
        let is_excluded = checked!(
            "job-failed-with-an-excluded-pid",
            !slot.may_run_on(pid, true)
        );
        let pid = if is_excluded { 0 } else { pid };
        slot.pid.store(pid, Ordering::Relaxed);
        let permit = Permit::of(slot);
        let _ = slot.word.bind(job.generation);
        self.return_permit(permit);
        Some(job)
    }

    /// The job that the worker is bound to and has not begun.
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
