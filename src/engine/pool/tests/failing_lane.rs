//! Failing the jobs of a lane, one process at a time. The schedules have what happens at once.

use super::*;
use crate::job::JobWord;
use crate::pool::failing_lane::{Failer, fail_lane, give_up_start, resume};
use crate::steps::{Ender, Watchers};
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;

/// A process that fails jobs.
struct Failing<'a> {
    memory: &'a Memory,
    noted: Cell<Option<JobId>>,
    /// It ends when it has noted a job.
    is_cut_short: Cell<bool>,
    /// The jobs in which it has noted why they fail.
    errors: RefCell<Vec<JobId>>,
}

impl<'a> Failing<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            noted: Cell::new(None),
            is_cut_short: Cell::new(false),
            errors: RefCell::default(),
        }
    }

    /// The phases of these jobs.
    fn phases<const N: usize>(&self, jobs: [JobId; N]) -> [Phase; N] {
        jobs.map(|job| self.memory.phase(job).expect("nobody has freed it"))
    }
}

impl Ender for Failing<'_> {
    fn word(&self, job: JobId) -> &JobWord {
        self.memory.word(job)
    }
    fn noted(&self) -> Option<JobId> {
        self.noted.get()
    }
    fn before_end(&self, job: JobId, end: End) -> Watchers {
        assert_eq!((self.noted.get(), end), (Some(job), End::Failed));
        Watchers::of(self.memory.slot(job))
    }
    fn take(&self) {
        self.noted.set(None);
    }
    fn after_end(&self, _job: JobId, watchers: Watchers, release: Release) {
        assert_eq!(watchers.leader, Some(ProcRef::new(0, 1)));
        assert_eq!(release, Release::Held { watched: false });
    }
}

impl Failer for Failing<'_> {
    type Lock = Unlocked;

    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn note(&self, job: JobId) {
        self.noted.set(Some(job));
    }
    fn after_note(&self) {
        if self.is_cut_short.get() {
            resume_unwind(Box::new("cut short"));
        }
    }
    fn note_error(&self, job: JobId) {
        self.errors.borrow_mut().push(job);
    }
}

#[test]
fn every_queued_job_of_the_lane_fails() {
    let memory = Memory::with_room(4, 2, 1);
    let [first, other, second] = [A, B, A].map(|key| memory.queue(key));
    let process = Failing::new(&memory);
    fail_lane(&process, 0, A, 0);
    let expected = [Phase::Failed, Phase::Queued, Phase::Failed];
    assert_eq!(process.phases([first, other, second]), expected);
    assert_eq!(*process.errors.borrow(), [first, second]);
    memory.check();
}

#[test]
fn a_process_that_exits_fails_the_job_that_it_has_taken() {
    let memory = Memory::with_room(4, 1, 1);
    let jobs = [memory.queue(A), memory.queue(A)];
    let process = Failing::new(&memory);
    process.is_cut_short.set(true);
    let fails = || fail_lane(&process, 0, A, 0);
    assert!(catch_unwind(AssertUnwindSafe(fails)).is_err());
    assert_eq!(process.phases(jobs), [Phase::Starting, Phase::Queued]);
    for _ in 0..2 {
        resume(&process);
        assert_eq!(process.phases(jobs), [Phase::Failed, Phase::Queued]);
    }
    assert_eq!(*process.errors.borrow(), jobs[..1]);
}

#[test]
fn a_start_that_was_given_up_fails_the_lane_if_another_one_would_fail_too() {
    for is_hopeless in [true, false] {
        let memory = Memory::with_room(4, 1, 1);
        let job = memory.queue(A);
        let decision = memory.spawn_decision(0, 1);
        let SpawnDecision::Start { worker, generation } = decision else {
            panic!("a worker slot is vacant");
        };
        let start = memory.locked(|scheduler| {
            assert!(scheduler.begin_registration(worker, generation, proc(7)));
            scheduler.note_registered(worker, generation, proc(7), REGISTRATION);
            scheduler.pending_start(worker).expect("it is registered")
        });
        let process = Failing::new(&memory);
        let afters = Cell::new(0);
        let after = || {
            assert_eq!(memory.activity(worker), Activity::Vacant);
            afters.set(afters.get() + 1);
        };
        for _ in 0..2 {
            give_up_start(&process, worker, start, after, || is_hopeless);
            let expected = if is_hopeless {
                Phase::Failed
            } else {
                Phase::Queued
            };
            assert_eq!(process.phases([job]), [expected]);
            assert_eq!(afters.get(), 1, "it is given up once");
        }
        memory.check();
    }
}
