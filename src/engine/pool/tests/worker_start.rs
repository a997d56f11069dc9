//! Starting workers, one process at a time. The schedules have what happens at once.

use super::*;
use crate::pool::worker_start::{
    Note, Spawned, Starter, dispatch, prewarm, respawn, resume, serve, spawn_workers,
};
use crate::wait::Latch;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;

/// What can cut a process short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Check,
    Claim,
    Register,
}

/// The process that starts others.
fn own() -> ProcRef {
    ProcRef::new(0, 1)
}

/// A process that starts workers of two lanes.
struct Starting<'a> {
    memory: &'a Memory,
    noted: Cell<Option<Note>>,
    now: Cell<Micros>,
    /// For how many processes the server has room.
    room: Cell<u32>,
    /// At which it is cut short, when it has passed so many.
    cut_at: Cell<Option<(Step, u32)>>,
    exits: Cell<bool>,
    /// What the server has registered.
    registered: RefCell<Vec<(u32, u32)>>,
    checks: Cell<u32>,
    sleeps: Cell<u32>,
    /// At this sleep the process that it awaits reports in.
    reports_in_at: Cell<u32>,
}

impl<'a> Starting<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            noted: Cell::new(None),
            now: Cell::new(0),
            room: Cell::new(u32::MAX),
            cut_at: Cell::new(None),
            exits: Cell::new(false),
            registered: RefCell::default(),
            checks: Cell::new(0),
            sleeps: Cell::new(0),
            reports_in_at: Cell::new(0),
        }
    }

    fn step(&self, step: Step) {
        match self.cut_at.get() {
            Some((at, 0)) if at == step => resume_unwind(Box::new("cut short")),
            Some((at, passes)) if at == step => self.cut_at.set(Some((at, passes - 1))),
            _ => {}
        }
    }

    /// It spawns for the first lane, and drops its note.
    fn spawns(&self, first: Option<SpawnDecision>) -> Spawned {
        let spawned = spawn_workers(self, 0, first);
        assert_eq!(self.noted.get(), None);
        self.memory.check();
        spawned
    }

    /// It leaves the worker slot.
    fn respawns(&self, worker: u32, generation: u32) {
        respawn(self, worker, generation);
        assert_eq!(self.noted.get(), None);
        self.memory.check();
    }

    fn is_vacant(&self, worker: u32) -> bool {
        self.memory.activity(worker) == Activity::Vacant
    }
}

impl Latch for Starting<'_> {
    fn now(&self) -> Micros {
        self.now.get()
    }
    fn spin_limit(&self) -> Micros {
        0
    }
    fn is_interrupted(&self) -> bool {
        false
    }
    fn sleep(&self, until: Option<Micros>) {
        self.now.set(until.expect("it checks from time to time"));
        self.sleeps.set(self.sleeps.get() + 1);
        if self.sleeps.get() == self.reports_in_at.get() {
            let (worker, generation) = self.registered.borrow()[0];
            let next = self.memory.report_in(worker, generation, proc(200));
            assert!(next.is_some(), "it is awaited");
        }
    }
}

impl Starter for Starting<'_> {
    type Lock = Unlocked;

    fn proc(&self) -> ProcRef {
        own()
    }
    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn worker_cap(&self) -> u32 {
        self.memory.workers.len() as u32
    }
    fn latch(&self) -> &impl Latch {
        self
    }
    fn noted(&self) -> Option<Note> {
        self.noted.get()
    }
    fn set_noted(&self, note: Option<Note>) {
        self.noted.set(note);
    }
    fn check_registrations(&self) {
        self.checks.set(self.checks.get() + 1);
        self.step(Step::Check);
    }
    fn awaits_registered(&self) -> bool {
        let awaits =
            |worker| (self.memory).locked(|scheduler| scheduler.awaits_start_by(worker, own()));
        (0..self.worker_cap()).any(awaits)
    }
    fn after_dispatch(&self) {}

    fn after_claim(&self) {
        self.step(Step::Claim);
    }
    fn register(&self, worker: u32, generation: u32) -> Option<Registration> {
        let noted = Note::Claimed { worker, generation };
        assert_eq!(self.noted.get(), Some(noted));
        if self.room.get() == 0 {
            return None;
        }
        self.room.set(self.room.get() - 1);
        self.registered.borrow_mut().push((worker, generation));
        self.step(Step::Register);
        Some(REGISTRATION)
    }
    fn is_exiting(&self) -> bool {
        self.exits.get()
    }
}

#[test]
fn a_lane_gets_a_worker_for_each_queued_job() {
    let memory = Memory::with_room(8, 1, 4);
    let jobs = [memory.queue(A), memory.queue(A)];
    let process = Starting::new(&memory);
    assert_eq!(process.spawns(None), Spawned::Enough);
    assert_eq!(process.checks.get(), 1);
    assert_eq!(process.registered.borrow().len(), jobs.len());
    for &(worker, _) in process.registered.borrow().iter() {
        let pending = memory.locked(|scheduler| scheduler.pending_start(worker));
        assert_eq!(pending.map(|start| start.registration), Some(REGISTRATION));
    }
    assert_eq!(process.spawns(None), Spawned::Enough);
    assert_eq!(process.registered.borrow().len(), jobs.len(), "they start");
}

#[test]
fn the_first_decision_is_carried_out() {
    let memory = Memory::with_room(8, 1, 1);
    memory.queue(A);
    let first = memory.spawn_decision(0, 1);
    let SpawnDecision::Start { worker, generation } = first else {
        panic!("a worker slot is vacant");
    };
    let process = Starting::new(&memory);
    assert_eq!(process.spawns(Some(first)), Spawned::Enough);
    assert_eq!(*process.registered.borrow(), [(worker, generation)]);
}

#[test]
fn a_worker_slot_goes_back_if_the_server_has_no_room() {
    let memory = Memory::with_room(8, 1, 3);
    for _ in 0..3 {
        memory.queue(A);
    }
    let process = Starting::new(&memory);
    process.room.set(1);
    assert_eq!(process.spawns(None), Spawned::Full);
    let (worker, _) = process.registered.borrow()[0];
    for other in 0..3 {
        assert_eq!(process.is_vacant(other), other != worker);
    }
}

#[test]
fn an_idle_worker_that_has_to_make_room_is_woken() {
    let memory = Memory::with_room(8, 2, 1);
    let first = memory.queue(B);
    let (worker, _, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(running(next), first);
    assert_eq!(memory.complete(worker, first), NextStep::Idle);
    memory.queue(A);
    let process = Starting::new(&memory);
    assert_eq!(process.spawns(None), Spawned::Enough);
    assert_eq!(*memory.lock.woken.borrow(), [proc(100)]);
    assert!(
        process.registered.borrow().is_empty(),
        "the worker does that"
    );
}

/// By an error, or by its exit, which goes on.
#[test]
fn a_process_that_is_cut_short_gives_back_what_it_has_and_passes_the_lane_on() {
    for (step, has_first) in [
        (Step::Check, false),
        (Step::Check, true),
        (Step::Claim, false),
        (Step::Claim, true),
        (Step::Register, true),
    ] {
        let memory = Memory::with_room(8, 1, 1);
        let job = memory.queue(A);
        let _ = memory.slot(job).word.watch(job.generation);
        let first = has_first.then(|| memory.spawn_decision(0, 1));
        let process = Starting::new(&memory);
        process.cut_at.set(Some((step, 0)));
        let spawns = || spawn_workers(&process, 0, first);
        assert!(catch_unwind(AssertUnwindSafe(spawns)).is_err());
        let before = memory.pool().passed_on();
        for _ in 0..2 {
            resume(&process);
            assert!(process.is_vacant(0), "{step:?}");
            assert_eq!(memory.pool().passed_on(), before + 1, "{step:?}");
            assert_eq!(*memory.lock.woken.borrow(), [ProcRef::new(0, 1)]);
        }
        assert_eq!(process.noted.get(), None);
        memory.check();
        // The server has a process all the same. It is stale.
        for &(worker, generation) in process.registered.borrow().iter() {
            assert_eq!(memory.report_in(worker, generation, proc(100)), None);
        }
    }
}

#[test]
fn a_process_that_is_cut_short_does_not_give_back_what_is_registered() {
    for step in [Step::Claim, Step::Register] {
        let memory = Memory::with_room(8, 1, 2);
        memory.queue(A);
        memory.queue(A);
        let process = Starting::new(&memory);
        process.cut_at.set(Some((step, 1)));
        let spawns = || spawn_workers(&process, 0, None);
        assert!(catch_unwind(AssertUnwindSafe(spawns)).is_err());
        resume(&process);
        let (worker, _) = process.registered.borrow()[0];
        assert_eq!(memory.activity(worker), Activity::Starting);
        assert!(process.is_vacant(1 - worker), "{step:?}");
        memory.check();
    }
}

#[test]
fn workers_are_started_in_advance_until_there_are_enough_or_no_room() {
    for (room, ready) in [(u32::MAX, 2), (1, 1), (0, 0)] {
        let memory = Memory::with_room(8, 1, 4);
        let process = Starting::new(&memory);
        process.room.set(room);
        assert_eq!(prewarm(&process, A, 2, 0), ready);
        assert_eq!(process.registered.borrow().len() as u32, ready);
        assert_eq!((process.noted.get(), process.checks.get()), (None, 1));
        memory.check();
    }
}

/// A worker that leaves its worker slot to a process for the same lane, which has one more job.
fn leaving(memory: &Memory) -> (u32, u32, JobId) {
    let first = memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), own());
    assert_eq!(running(next), first);
    let job = memory.queue(A);
    memory.run(first);
    let next = memory.locked(|scheduler| scheduler.next(worker, true));
    assert_eq!(next, NextStep::Restart);
    (worker, generation, job)
}

#[test]
fn a_process_stays_until_its_successor_has_reported_in() {
    let memory = Memory::with_room(8, 1, 1);
    let (worker, generation, job) = leaving(&memory);
    let process = Starting::new(&memory);
    process.reports_in_at.set(3);
    process.respawns(worker, generation);
    assert_eq!(*process.registered.borrow(), [(worker, generation)]);
    assert_eq!(process.sleeps.get(), 3);
    assert_eq!(memory.activity(worker), Activity::Busy(job.index));
}

#[test]
fn a_process_does_not_wait_for_its_successor_for_longer_than_a_second() {
    let memory = Memory::with_room(8, 1, 1);
    let (worker, generation, _) = leaving(&memory);
    let process = Starting::new(&memory);
    process.respawns(worker, generation);
    assert_eq!((process.now.get(), process.sleeps.get()), (1_000_000, 10));
    assert_eq!(process.registered.borrow().len(), 1);
}

#[test]
fn a_process_that_cannot_register_its_successor_leaves_that_to_who_waits() {
    let memory = Memory::with_room(8, 1, 1);
    let (worker, generation, job) = leaving(&memory);
    let _ = memory.slot(job).word.watch(job.generation);
    let process = Starting::new(&memory);
    process.room.set(0);
    process.respawns(worker, generation);
    assert!(process.is_vacant(worker));
    assert_eq!(process.sleeps.get(), 0);
    assert_eq!(memory.lock.woken.borrow().last(), Some(&own()));
}

#[test]
fn a_process_that_cannot_register_its_successor_tries_again_if_nobody_waits() {
    for exits in [false, true] {
        let memory = Memory::with_room(8, 1, 1);
        let (worker, generation, _) = leaving(&memory);
        let process = Starting::new(&memory);
        process.room.set(0);
        process.exits.set(exits);
        process.respawns(worker, generation);
        let slept = if exits { 3 } else { 10 };
        assert_eq!(process.sleeps.get(), slept, "exits: {exits}");
        assert!(process.is_vacant(worker));
    }
    let memory = Memory::with_room(8, 1, 1);
    let (worker, generation, job) = leaving(&memory);
    let process = Starting::new(&memory);
    process.cut_at.set(Some((Step::Register, 0)));
    let respawns = || respawn(&process, worker, generation);
    assert!(catch_unwind(AssertUnwindSafe(respawns)).is_err());
    resume(&process);
    assert!(process.is_vacant(worker));
    process.cut_at.set(None);
    process.registered.borrow_mut().clear();
    process.reports_in_at.set(2);
    process.respawns(worker, generation);
    assert_eq!(memory.activity(worker), Activity::Busy(job.index));
}

#[test]
fn a_process_does_not_register_for_a_worker_slot_that_another_leaves() {
    let memory = Memory::with_room(8, 1, 1);
    let (worker, generation, _) = leaving(&memory);
    let other = proc(300);
    let entry = &memory.workers[worker as usize];
    entry.registrar.store(other.to_bits(), Ordering::Relaxed);
    let process = Starting::new(&memory);
    process.respawns(worker, generation);
    assert!(process.registered.borrow().is_empty());
    assert_eq!(memory.activity(worker), Activity::Starting);
}

#[test]
fn a_job_that_is_dispatched_has_a_worker_started_or_woken() {
    let memory = Memory::with_room(8, 1, 2);
    let process = Starting::new(&memory);
    let place = || {
        let job = memory.claim(Options::default(), &[]).expect("a free slot");
        let placed =
            memory.locked(|scheduler| dispatch(&process, scheduler, job, A, 0, AMPLE.into()));
        (job, placed)
    };
    let (job, queued) = place();
    assert_eq!(queued.dispatched, Dispatched::Queued);
    assert_eq!(serve(&process, queued), Some(Spawned::Enough));
    let (worker, generation) = process.registered.borrow()[0];
    assert!(memory.report_in(worker, generation, proc(100)).is_some());
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    let woken = memory.lock.woken.borrow().len();
    let (_, handed) = place();
    assert_eq!(handed.dispatched, Dispatched::Handed(proc(100)));
    assert_eq!(serve(&process, handed), None);
    assert_eq!(memory.lock.woken.borrow()[woken..], [proc(100)]);
    assert_eq!(process.registered.borrow().len(), 1);
}
