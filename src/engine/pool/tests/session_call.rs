//! A session's steps with its jobs and its gate, one process at a time. The models have what happens at once.

use super::*;
use crate::pool::gate::Purged;
use crate::pool::session_call::{
    self as steps, Notes, Session, count_if_finished, enter_first, purge_own,
};
use crate::pool::words::{PURGES, WAITS, WITHIN};
use crate::table::Slot;
use crate::wait::Latch;
use std::cell::{Cell, RefCell};

struct TestSession<'a> {
    memory: &'a Memory,
    notes: Cell<Notes>,
    tracked: RefCell<Vec<JobId>>,
    is_given: Cell<bool>,
    is_read: Cell<bool>,
    counted: Cell<u32>,
    given_up: Cell<u32>,
    started_for: Cell<Option<u32>>,
}

impl<'a> TestSession<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            notes: Cell::new(Notes::NONE),
            tracked: RefCell::default(),
            is_given: Cell::new(true),
            is_read: Cell::new(false),
            counted: Cell::new(0),
            given_up: Cell::new(0),
            started_for: Cell::new(None),
        }
    }

    /// It has a job that was canceled while it was queued.
    fn has_finished(&self) -> JobId {
        let job = self.memory.queue(A);
        self.memory.slot(job).set_account(&self.memory.leaders[0]);
        let _ = self.memory.pool().cancel(job, Demand::Cancel, |_| ());
        self.tracked.borrow_mut().push(job);
        job
    }
}

/// It waits for a purge alone, which ends while it sleeps.
impl Latch for TestSession<'_> {
    fn now(&self) -> Micros {
        0
    }
    fn spin_limit(&self) -> Micros {
        0
    }
    fn is_interrupted(&self) -> bool {
        false
    }
    fn sleep(&self, _until: Option<Micros>) {
        let gate = &self.memory.leaders[0].gate.word;
        let before = gate.swap(0, Ordering::Relaxed);
        assert_eq!(before, PURGES | WAITS, "nobody would wake it");
    }
}

impl<'a> Session for TestSession<'a> {
    type Lock = Unlocked;

    fn proc(&self) -> ProcRef {
        ProcRef::new(0, 1)
    }
    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn latch(&self) -> &impl Latch {
        self
    }
    fn slot(&self, job: JobId) -> &Slot {
        self.memory.slot(job)
    }
    fn notes(&self) -> Notes {
        self.notes.get()
    }
    fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }
    fn next_tracked(&self, from: u32) -> Option<JobId> {
        let tracked = self.tracked.borrow();
        tracked.iter().copied().find(|job| job.index >= from)
    }
    fn is_given(&self, _job: JobId) -> bool {
        self.is_given.get()
    }
    fn is_being_read(&self, _job: JobId) -> bool {
        self.is_read.get()
    }
    fn count(&self, _phase: Phase, _run_time: Micros) {
        self.counted.set(self.counted.get() + 1);
    }
    fn unmap(&self, _job: JobId) {}
    fn forget(&self, job: JobId) {
        self.tracked.borrow_mut().retain(|tracked| *tracked != job);
    }
    fn give_up_hold(&self, _job: JobId) {
        self.given_up.set(self.given_up.get() + 1);
    }
    fn end_statistics(&self) {}
    fn start_workers(&self, lane: u32) {
        self.started_for.set(Some(lane));
    }
}

#[test]
fn the_first_call_enters_and_the_last_one_leaves() {
    let memory = Memory::with_room(2, 1, 1);
    let session = TestSession::new(&memory);
    steps::enter(&session);
    assert!(!session.notes().is_within(), "it has no entry");
    enter_first(&session);
    assert!(session.notes().is_within());
    enter_first(&session);
    assert_eq!(steps::leave(&session), 0);
    assert!(!session.notes().is_within());
    assert_eq!(steps::leave(&session), 0, "it is outside");
}

#[test]
fn a_call_waits_for_the_end_of_a_purge() {
    let memory = Memory::with_room(2, 1, 1);
    let session = TestSession::new(&memory);
    memory.locked(|scheduler| scheduler.enroll(session.proc()));
    let gate = &memory.leaders[0].gate.word;
    gate.store(PURGES, Ordering::Relaxed);
    steps::enter(&session);
    assert!(session.notes().is_within());
    assert_eq!(gate.load(Ordering::Relaxed), WITHIN);
}

#[test]
fn a_call_forgets_the_jobs_that_were_purged_before_it() {
    let memory = Memory::with_room(4, 1, 1);
    let session = TestSession::new(&memory);
    enter_first(&session);
    let [purged, freed, kept] = [(); 3].map(|()| session.has_finished());
    assert_eq!(steps::leave(&session), 0);
    for job in [purged, freed] {
        let detached = Purged::Detached(Release::LastOut);
        assert_eq!(memory.pool().purge_one(job), detached);
    }
    memory.pool().free(freed);
    steps::enter(&session);
    assert_eq!(*session.tracked.borrow(), [kept]);
}

#[test]
fn a_session_that_was_asked_purges_its_jobs_when_it_leaves() {
    let memory = Memory::with_room(4, 1, 1);
    let session = TestSession::new(&memory);
    enter_first(&session);
    let jobs = [session.has_finished(), session.has_finished()];
    assert_eq!(memory.pool().purge_one(jobs[0]), Purged::Asked);
    assert_eq!(steps::leave(&session), 1);
    assert_eq!((session.given_up.get(), session.counted.get()), (2, 2));
    assert!(session.tracked.borrow().is_empty());
}

#[test]
fn a_session_purges_what_is_given_and_not_being_read() {
    let memory = Memory::with_room(4, 1, 1);
    for (is_given, is_read, purged) in [(true, false, 2), (false, false, 0), (true, true, 0)] {
        let session = TestSession::new(&memory);
        enter_first(&session);
        let jobs = [session.has_finished(), session.has_finished()];
        session.is_given.set(is_given);
        session.is_read.set(is_read);
        assert_eq!(purge_own(&session), purged);
        assert_eq!(session.given_up.get(), purged);
        for job in jobs {
            let _ = memory.word(job).detach(job.generation);
            memory.pool().free(job);
        }
    }
}

/// Outside the gate somebody else may purge the job, unless it is being read.
#[test]
fn a_job_is_counted_where_nobody_else_purges_it() {
    for (is_within, is_read, counted) in [
        (true, false, 1),
        (true, true, 1),
        (false, true, 1),
        (false, false, 0),
    ] {
        let memory = Memory::with_room(1, 1, 1);
        let session = TestSession::new(&memory);
        memory.locked(|scheduler| scheduler.enroll(session.proc()));
        if is_within {
            steps::enter(&session);
        }
        let job = session.has_finished();
        session.is_read.set(is_read);
        assert!(count_if_finished(&session, job).phase().is_finished());
        let _ = count_if_finished(&session, job);
        assert_eq!(session.counted.get(), counted, "{is_within}, {is_read}");
    }
}

#[test]
fn a_session_that_ends_gives_up_its_jobs_its_gate_and_its_entry() {
    for is_given in [true, false] {
        let memory = Memory::with_room(4, 1, 1);
        let session = TestSession::new(&memory);
        enter_first(&session);
        session.is_given.set(is_given);
        let jobs = [session.has_finished(), session.has_finished()];
        let withdrawn: RefCell<Vec<JobId>> = RefCell::default();
        steps::end(&session, |job| withdrawn.borrow_mut().push(job));
        let expected = if is_given { &[][..] } else { &jobs };
        assert_eq!(*withdrawn.borrow(), expected);
        assert_eq!((session.given_up.get(), session.counted.get()), (2, 2));
        assert!(!session.notes().is_within());
        assert!(!memory.leaders[0].is_of(session.proc()));
        assert!(memory.leaders[0].enter(), "the gate is open");
    }
}

#[test]
fn a_job_is_counted_when_it_has_finished_and_only_while_it_is_held() {
    let memory = Memory::with_room(1, 1, 1);
    let session = TestSession::new(&memory);
    enter_first(&session);
    let queued = memory.queue(A);
    memory.slot(queued).set_account(&memory.leaders[0]);
    let _ = count_if_finished(&session, queued);
    assert_eq!(session.counted.get(), 0, "it has not finished");
    let _ = memory.pool().cancel(queued, Demand::Cancel, |_| ());
    assert_eq!(
        memory.word(queued).detach(queued.generation),
        Release::LastOut
    );
    let _ = count_if_finished(&session, queued);
    assert_eq!(session.counted.get(), 0, "somebody has purged it");
    memory.pool().free(queued);
    let next = session.has_finished();
    let _ = count_if_finished(&session, queued);
    assert_eq!(session.counted.get(), 0, "the slot is another job's");
    let _ = count_if_finished(&session, next);
    assert_eq!(session.counted.get(), 1);
}

/// The memory has room for two roles; the second has jobs.
fn second_role(memory: &Memory) -> u32 {
    let pool = memory.pool();
    let first = pool.usage_of(5).expect("there is room");
    let _ = pool.usage(first).claim_slot(5, 1);
    let second = pool.usage_of(6).expect("there is room");
    assert_ne!(first, second);
    let _ = pool.usage(second).claim_slot(6, 1);
    second
}

#[test]
fn a_refusal_names_the_entry_of_its_role() {
    let memory = Memory::with_room(2, 1, 1);
    let pool = memory.pool();
    assert!(pool.begin_refusal(6).is_none(), "it has no jobs");
    let index = second_role(&memory);
    for role in [5, 6] {
        let refusal = pool.begin_refusal(role).expect("it has jobs");
        let expected = if role == 6 { index } else { 1 - index };
        assert_eq!(refusal.usage(), expected);
    }
}

#[test]
fn a_refusal_is_lifted_when_no_job_of_its_role_is_active() {
    let memory = Memory::with_room(4, 1, 1);
    let pool = memory.pool();
    let publish = |job| {
        pool.publish(job, || {
            let dispatch = |scheduler: &mut Scheduler<'_>| scheduler.dispatch(job, A, 0, AMPLE);
            let (dispatched, _) = memory.locked(dispatch);
            (dispatched, ())
        })
    };
    let active = memory.queue(A);
    let refused = memory.claim(Options::default(), &[]).expect("a free slot");
    let refusal = pool.begin_refusal(1).expect("it has jobs");
    assert!(pool.has_active(1));
    assert!(!pool.has_active(2), "it has no job");
    assert_eq!(publish(refused).0, Dispatched::Refused);
    let _ = pool.cancel(active, Demand::Cancel, |_| ());
    assert!(
        !pool.has_active(1),
        "its jobs are finished, or not published"
    );
    assert_eq!(publish(refused).0, Dispatched::Queued);
    assert_eq!(pool.refusal(refusal.usage()), 0);
}

#[test]
fn a_session_that_ends_has_workers_started_for_what_was_throttled() {
    let memory = Memory::with_room(8, 1, 4);
    let own = TestSession::new(&memory);
    steps::end(&own, |_| ());
    assert_eq!(own.started_for.get(), None, "it had no jobs");
    let bounded = Options {
        bounded: true,
        ..Options::default()
    };
    for _ in 0..3 {
        let job = memory.claim(bounded, &[]).expect("a free slot");
        let dispatched = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, 1));
        assert_eq!(dispatched, (Dispatched::Queued, 0));
    }
    let _ = memory.start(memory.spawn_decision(0, 4), proc(100));
    assert_eq!(
        memory.spawn_decision(0, 4),
        SpawnDecision::Enough,
        "the others are throttled"
    );
    steps::end(&own, |_| ());
    assert_eq!(own.started_for.get(), Some(0));
    assert!(matches!(
        memory.spawn_decision(0, 4),
        SpawnDecision::Start { .. }
    ));
    memory.check();
}

#[test]
fn an_administrator_lifts_a_refusal_unless_a_job_of_the_role_is_active() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let active = memory.queue(A);
    let refusal = pool.begin_refusal(1).expect("it has a job");
    pool.end_refusal(refusal);
    assert_ne!(pool.refusal(refusal.usage()), 0);
    let _ = pool.cancel(active, Demand::Cancel, |_| ());
    pool.end_refusal(refusal);
    assert_eq!(pool.refusal(refusal.usage()), 0);
}
