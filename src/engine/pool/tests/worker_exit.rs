//! How a process leaves its worker slot, one process at a time. The models have what happens at once.

use super::*;
use crate::pool::worker_exit::{Ending, Leaver, Place, leave};
use crate::steps::Watchers;
use crate::table::Slot;
use std::cell::RefCell;

/// A process that exits, and writes down what it does for the pool and for its job.
struct Leaving<'a> {
    memory: &'a Memory,
    place: Place,
    steps: RefCell<Vec<&'static str>>,
}

impl<'a> Leaving<'a> {
    fn new(memory: &'a Memory, worker: u32, generation: u32, proc: ProcRef) -> Self {
        let place = Place {
            worker,
            generation,
            proc,
        };
        Self {
            memory,
            place,
            steps: RefCell::default(),
        }
    }

    /// A process that is registered for a job of lane A, and has reported in. It does not connect.
    fn starting(memory: &'a Memory) -> Self {
        let decision = memory.spawn_decision(0, 2);
        let SpawnDecision::Start { worker, generation } = decision else {
            panic!("expected a start, got {decision:?}");
        };
        let proc = proc(100 + worker);
        assert!(memory.locked(|scheduler| scheduler.report_in(worker, generation, proc)));
        Self::new(memory, worker, generation, proc)
    }

    /// A process of lane A, with this job.
    fn bound(memory: &'a Memory, job: JobId) -> Self {
        let (worker, generation, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
        assert_eq!(running(next), job);
        Self::new(memory, worker, generation, proc(100))
    }

    fn step(&self, name: &'static str) {
        self.steps.borrow_mut().push(name);
    }

    fn end(&self, job: JobId, end: End) {
        let _ = self.memory.word(job).finish(job.generation, end);
    }

    /// It leaves. Returns its steps.
    fn leave(&self, failed_start: bool, is_error: bool) -> Vec<&'static str> {
        let ending = Ending {
            failed_start,
            is_error,
        };
        leave(self, self.place, ending);
        self.memory.check();
        self.steps.take()
    }

    fn activity(&self) -> Activity {
        self.memory.activity(self.place.worker)
    }
}

impl Leaver for Leaving<'_> {
    type Lock = Unlocked;

    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn slot(&self, job: JobId) -> &Slot {
        self.memory.slot(job)
    }
    fn after_announce(&self) {
        assert_ne!(self.activity(), Activity::Idle);
        self.step("announce");
    }
    fn refuse(&self, job: JobId) {
        self.step("refuse");
        self.end(job, End::Canceled);
    }
    fn fail(&self, job: JobId, hopeless: bool) {
        self.step(if hopeless { "fail: hopeless" } else { "fail" });
        self.end(job, End::Failed);
    }
    fn unmap(&self, job: JobId) {
        assert_eq!(self.memory.phase(job), Some(Phase::Starting));
        self.step("unmap");
    }
    fn after_give_back(&self, _job: JobId, _returned: Returned) {
        self.step("give back");
    }
    fn report_returned(&self, _job: JobId) {
        self.step("report");
    }
    fn complete_cancel(&self, job: JobId, watchers: Watchers, _release: Release) {
        assert_eq!(watchers.leader, Some(ProcRef::new(0, 1)));
        assert_eq!(self.memory.phase(job), Some(Phase::Canceled));
        self.step("complete cancel");
    }
    fn fail_lane(&self, _lane: u32, key: LaneKey) {
        assert_eq!(key, A);
        self.step("fail lane");
    }
    fn respawn(&self) {
        assert_eq!(self.activity(), Activity::Starting);
        self.step("respawn");
    }
}

#[test]
fn a_process_that_ends_without_an_error_leaves_for_good() {
    let memory = Memory::with_room(4, 2, 2);
    let job = memory.queue(A);
    let process = Leaving::bound(&memory, job);
    assert_eq!(memory.complete(process.place.worker, job), NextStep::Idle);
    memory.queue(B);
    assert_eq!(process.leave(false, false), ["announce"]);
    assert_eq!(process.activity(), Activity::Vacant);
}

#[test]
fn the_job_of_a_process_with_an_error_goes_back_and_its_worker_slot_is_passed_on() {
    let memory = Memory::with_room(4, 1, 2);
    let job = memory.queue(A);
    let process = Leaving::bound(&memory, job);
    let steps = ["announce", "unmap", "give back", "report", "respawn"];
    assert_eq!(process.leave(false, true), steps);
    assert_eq!(memory.phase(job), Some(Phase::Queued));
}

#[test]
fn a_job_that_was_canceled_ends_with_its_process() {
    let memory = Memory::with_room(4, 1, 2);
    let job = memory.queue(A);
    let process = Leaving::bound(&memory, job);
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| ());
    let steps = ["announce", "unmap", "give back", "complete cancel"];
    assert_eq!(process.leave(false, false), steps);
}

#[test]
fn a_job_that_is_given_back_to_an_idle_worker_wakes_it() {
    let memory = Memory::with_room(4, 1, 2);
    let other = memory.queue(A);
    let (idle, _, next) = memory.start(memory.spawn_decision(0, 2), proc(7));
    assert_eq!(running(next), other);
    let job = memory.queue(A);
    let process = Leaving::bound(&memory, job);
    assert_eq!(memory.complete(idle, other), NextStep::Idle);
    let steps = ["announce", "unmap", "give back", "report"];
    assert_eq!(process.leave(false, true), steps);
    assert_eq!(memory.activity(idle), Activity::Busy(job.index));
    assert_eq!(*memory.lock.woken.borrow(), [proc(7)]);
}

/// Its leader would find another process under that pid.
#[test]
fn a_job_that_is_known_by_its_pid_ends_with_its_process() {
    for (is_canceled, step, phase) in [
        (false, "fail", Phase::Failed),
        (true, "refuse", Phase::Canceled),
    ] {
        let memory = Memory::with_room(4, 1, 2);
        let options = Options {
            by_pid: true,
            ..Options::default()
        };
        let job = memory.claim(options, &[]).expect("a free slot");
        let _ = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
        let process = Leaving::bound(&memory, job);
        if is_canceled {
            let _ = memory.pool().cancel(job, Demand::Cancel, |_| ());
        }
        assert_eq!(process.leave(false, false), ["announce", step]);
        assert_eq!(memory.phase(job), Some(phase));
    }
}

/// The next process would fail, too.
#[test]
fn a_hopeless_start_fails_the_lane() {
    let memory = Memory::with_room(4, 1, 2);
    memory.queue(A);
    let process = Leaving::starting(&memory);
    // Whoever fails the lane's jobs here does nothing, so one is left for the next process.
    let steps = ["announce", "fail lane", "respawn"];
    assert_eq!(process.leave(true, true), steps);
}

/// It was handed the job, but did not connect.
#[test]
fn a_hopeless_start_fails_its_job_first_and_gives_its_permit_back() {
    let memory = Memory::with_room(4, 1, 2);
    let job = memory.queue(A);
    let process = Leaving::starting(&memory);
    let next = memory.locked(|scheduler| scheduler.next(process.place.worker, false));
    assert_eq!(running(next), job);
    let steps = ["announce", "fail: hopeless", "fail lane"];
    assert_eq!(process.leave(true, true), steps);
    assert_eq!(memory.phase(job), Some(Phase::Failed));
    assert_eq!(memory.leaders[0].admitted_of().0, 0);
}

/// To start another one could fail again at once, without end.
#[test]
fn a_start_that_failed_in_a_lane_that_works_is_not_repeated() {
    let memory = Memory::with_room(4, 1, 2);
    let first = memory.queue(A);
    let _connected = Leaving::bound(&memory, first);
    let job = memory.queue(A);
    let process = Leaving::starting(&memory);
    assert_eq!(process.leave(true, true), ["announce"]);
    assert_eq!(process.activity(), Activity::Vacant);
    assert_eq!(memory.phase(job), Some(Phase::Queued));
}

#[test]
fn a_start_that_failed_in_a_lane_that_works_leaves_its_worker_slot_to_another_lane() {
    let memory = Memory::with_room(4, 2, 2);
    let first = memory.queue(A);
    let _connected = Leaving::bound(&memory, first);
    memory.queue(A);
    let process = Leaving::starting(&memory);
    memory.queue(B);
    assert_eq!(process.leave(true, true), ["announce", "respawn"]);
    let key = memory.locked(|scheduler| scheduler.lane_key(process.place.worker));
    assert_eq!(key, B);
}

#[test]
fn a_process_that_was_told_to_make_room_only_looks_after_its_successor() {
    let memory = Memory::with_room(4, 2, 1);
    let first = memory.queue(A);
    let process = Leaving::bound(&memory, first);
    assert_eq!(memory.complete(process.place.worker, first), NextStep::Idle);
    let job = memory.queue(B);
    let recycled = memory.spawn_decision(1, 1);
    assert_eq!(recycled, SpawnDecision::Recycle(proc(100)));
    assert_eq!(process.leave(false, true), ["respawn"]);
    assert_eq!(process.activity(), Activity::Starting);
    assert_eq!(memory.phase(job), Some(Phase::Queued));
}
