//! Cancel: never lost, never thrown in another job.
//!
//! The worker takes the engine's steps in their order (`engine/steps.rs`; when it dies,
//! `engine/pool/worker_exit.rs`). A signal handler runs on the worker's own thread between any two of its steps. So it
//! is modeled as a look at the signal ([`Worker::step`]) between all of them. It acts only on what `current` points to.
#![cfg(loom)]

use engine::job::{Delivery, Demand, End, JobWord, Phase, Release};
use engine::pool::worker_exit::{self, Ending, Leaver, Place};
use engine::pool::{Canceling, LaneKey, NextStep, Pool, Returned, SpawnDecision};
use engine::steps::{Ender, Process, Watchers};
use engine::table::{JobId, Slot};
use engine::wait::{condition, wait_for};
use engine::{mutant, steps};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::{LANE, Lock, Memory, process};
use std::cell::Cell;

const LEADER: u32 = 0;
const WORKER: u32 = 1;

/// The worker's process, as its signal handler sees it.
struct Worker {
    memory: Arc<Memory>,
    signal: Arc<AtomicBool>,
    current: Cell<Option<JobId>>,
    /// PostgreSQL's `QueryCancelPending`.
    pending: Cell<bool>,
    /// A cancel of the job was asked for. An atomic of the standard library, which loom does not know: looking
    /// at it changes nothing.
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// A cancel was asked for before the job could begin.
    must_refuse: Cell<bool>,
}

impl Worker {
    fn new(memory: &Arc<Memory>, signal: &Arc<AtomicBool>) -> Self {
        Self {
            memory: memory.clone(),
            signal: signal.clone(),
            current: Cell::new(None),
            pending: Cell::new(false),
            asked: std::sync::Arc::default(),
            must_refuse: Cell::new(false),
        }
    }

    /// Handles a signal that has arrived.
    fn step(&self) {
        if !self.signal.swap(false, Ordering::AcqRel) {
            return;
        }
        let Some(job) = self.current.get() else {
            return;
        };
        let word = &self.memory.slot(job).word;
        let asked = word
            .load_if(job.generation)
            .is_some_and(|now| now.is_pending() || now.must_terminate());
        if asked || mutant::is("handler-ignores-the-word") {
            self.pending.set(true);
        }
    }

    /// Checks for interrupts, as a job does now and then. Returns whether the error of a cancel is thrown.
    /// Signals are handled between any two steps of this.
    fn check_for_interrupts(&self) -> bool {
        self.step();
        if !self.pending.replace(false) {
            return false;
        }
        self.step();
        let delivery = steps::deliver(&Running {
            worker: self,
            body: || false,
        });
        self.step();
        assert_ne!(delivery, Delivery::None, "no other process raises anything");
        true
    }

    /// A job that sleeps until a cancel is thrown, and catches it.
    fn catch_one(&self) {
        let caught = wait_for(
            self.memory.latch(process(WORKER)),
            None,
            &mut condition(|| self.step(), || self.check_for_interrupts().then_some(())),
        );
        assert_eq!(caught, Some(()));
    }

    /// Runs a job. `body` does the work and returns whether it was interrupted.
    fn run(&self, job: JobId, body: impl Fn() -> bool) -> End {
        steps::run(&Running { worker: self, body }, job).unwrap_or(End::Canceled)
    }

    /// A job that only checks for interrupts, once.
    fn look_once(&self) -> bool {
        self.step();
        self.pending.get()
    }

    /// A job that sleeps until it is interrupted.
    fn sleep_until_canceled(&self) -> bool {
        let interrupted = wait_for(
            self.memory.latch(process(WORKER)),
            None,
            &mut condition(
                || self.step(),
                || {
                    self.step();
                    self.pending.get().then_some(())
                },
            ),
        );
        interrupted.is_some()
    }
}

/// A worker, and what its job does. Signals are handled between its steps.
struct Running<'a, F> {
    worker: &'a Worker,
    body: F,
}

impl<F: Fn() -> bool> Ender for Running<'_, F> {
    fn word(&self, job: JobId) -> &JobWord {
        &self.worker.memory.slot(job).word
    }

    fn noted(&self) -> Option<JobId> {
        self.worker.current.get()
    }

    fn take(&self) {
        self.worker.step();
        self.worker.current.set(None);
        self.worker.step();
    }

    fn before_end(&self, _job: JobId, _end: End) -> Watchers {
        Watchers {
            leader: Some(process(LEADER)),
            usage: 0,
        }
    }

    fn after_end(&self, _job: JobId, watchers: Watchers, release: Release) {
        let watched = release == (Release::Held { watched: true });
        self.worker.memory.wake(watchers.leader.filter(|_| watched));
    }
}

impl<F: Fn() -> bool> Process for Running<'_, F> {
    type Performed = End;

    fn drop_cancel(&self) {
        self.worker.step();
        self.worker.pending.set(false);
        self.worker.step();
    }

    fn note(&self, job: JobId) {
        self.worker.step();
        self.worker.current.set(Some(job));
        let asked = self.worker.asked.load(std::sync::atomic::Ordering::SeqCst);
        self.worker.must_refuse.set(asked);
        self.worker.step();
    }

    fn after_begin(&self, _job: JobId, _watched: bool) {
        assert!(
            !self.worker.must_refuse.get(),
            "it began although it was canceled"
        );
        self.worker.step();
    }

    fn open(&self, _job: JobId) {}

    fn raise_cancel(&self) {
        self.worker.step();
        let job = self.worker.current.get().expect("one is noted");
        if self.word(job).load().is_pending() {
            self.worker.pending.set(true);
        }
        self.worker.step();
    }

    fn perform(&self, _job: JobId) -> End {
        if (self.body)() {
            End::Canceled
        } else {
            End::Completed
        }
    }

    fn close(&self, _job: JobId) {}

    fn mute(&self) {}

    fn note_refusal(&self, _job: JobId) {}

    fn note_outcome(&self, _job: JobId, performed: &End) -> End {
        *performed
    }

    fn note_failure(&self, _job: JobId) -> End {
        End::Failed
    }
}

/// A worker whose process exits with a job that it has not begun.
struct Dying {
    memory: Arc<Memory>,
    returned: Cell<Option<Returned>>,
    /// What followed when the job had been canceled.
    ended: Cell<Option<Release>>,
    respawns: Cell<bool>,
}

impl Dying {
    fn new(memory: &Arc<Memory>) -> Self {
        Self {
            memory: memory.clone(),
            returned: Cell::new(None),
            ended: Cell::new(None),
            respawns: Cell::new(false),
        }
    }

    fn exit(&self) {
        let place = Place {
            worker: 0,
            generation: 1,
            proc: process(WORKER),
        };
        let ending = Ending {
            failed_start: false,
            is_error: true,
        };
        worker_exit::leave(self, place, ending);
    }
}

impl Leaver for Dying {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.memory.pool()
    }

    fn slot(&self, job: JobId) -> &Slot {
        self.memory.slot(job)
    }

    fn after_announce(&self) {}

    fn refuse(&self, _job: JobId) {
        unreachable!("its leader has a handle");
    }

    fn fail(&self, _job: JobId, _hopeless: bool) {
        unreachable!("its leader has a handle");
    }

    fn unmap(&self, _job: JobId) {}

    fn after_give_back(&self, _job: JobId, returned: Returned) {
        self.returned.set(Some(returned));
    }

    fn report_returned(&self, _job: JobId) {}

    fn complete_cancel(&self, _job: JobId, _watchers: Watchers, release: Release) {
        self.ended.set(Some(release));
    }

    fn fail_lane(&self, _lane: u32, _key: LaneKey) {
        unreachable!("it has connected");
    }

    fn respawn(&self) {
        self.respawns.set(true);
    }
}

/// `kill(pid, SIGUSR2)`: ends the sleep of the process, whose handler then runs.
fn send(memory: &Memory, signal: &AtomicBool) {
    signal.swap(true, Ordering::AcqRel);
    memory.latch(process(WORKER)).set();
}

/// What a canceler does. Its signal arrives late: only after the call, when the pool's lock is released. So the
/// worker may have gone on to another job.
fn cancel_late(memory: &Memory, signal: &AtomicBool, job: JobId) -> Canceling {
    let sent = Cell::new(false);
    let canceling = memory
        .pool()
        .cancel(job, Demand::Cancel, |_| sent.set(true));
    if sent.get() {
        send(memory, signal);
    }
    canceling
}

/// A worker in its worker slot, and `count` jobs in its lane, of which it has taken the first.
fn with_jobs(count: usize) -> (Arc<Memory>, Vec<JobId>) {
    let (memory, jobs) = with_queued(count);
    let next = memory.pool().locked(|scheduler| scheduler.next(0, false));
    assert!(matches!(next, NextStep::Run { job, .. } if job == jobs[0]));
    (memory, jobs)
}

/// A worker in its worker slot, and `count` jobs in its lane.
fn with_queued(count: usize) -> (Arc<Memory>, Vec<JobId>) {
    let memory = Memory::new(count, 1, 2);
    let jobs: Vec<_> = (0..count).map(|_| memory.claim(process(LEADER))).collect();
    memory.pool().locked(|scheduler| {
        for &job in &jobs {
            let _ = scheduler.dispatch(job, LANE, 0, 1000);
        }
        let SpawnDecision::Start { worker, generation } = scheduler.spawn_decision(0, 1, true)
        else {
            panic!("a worker slot is vacant");
        };
        assert!(scheduler.report_in(worker, generation, process(WORKER)));
        scheduler.note_connected(worker, process(WORKER));
    });
    (memory, jobs)
}

/// A job that sleeps until it is canceled is canceled while its worker begins it. The flag and the transition
/// to `Running` are read-modify-writes on one word. Either `begin` sees the flag and refuses. Or the flag is
/// set in `Running`, and the signal that follows finds `current` set, because that is done before `begin`. A
/// lost cancel would be a deadlock. A cancel that was asked for before keeps the job from beginning.
///
/// Two threads, unbounded. A process runs one job at a time, and another worker has another word. Two who cancel
/// are in `two_cancels_while_a_worker_takes_the_job_end_it_once`.
#[test]
fn a_cancel_while_the_job_begins_is_not_lost() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(1);
        let signal = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(&memory, &signal);
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            let is_asked = worker.asked.clone();
            let job = jobs[0];
            thread::spawn(move || {
                let asked = memory
                    .pool()
                    .cancel(job, Demand::Cancel, |_| send(&memory, &signal));
                assert_eq!(asked, Canceling::Asked);
                is_asked.store(true, std::sync::atomic::Ordering::SeqCst);
            })
        };
        let end = worker.run(jobs[0], || worker.sleep_until_canceled());
        assert_eq!(end, End::Canceled);
        assert_eq!(memory.phase(jobs[0]), Some(Phase::Canceled));
        assert!(!worker.pending.get());
        canceler.join().unwrap();
    });
}

/// A job is canceled while it ends, and its worker runs the next one at once. The flag is set only in the
/// generation that is meant, and the handler looks at the job that runs when the signal arrives. The next job's
/// word has no flag, so the signal does nothing. What the handler raised for the first job, between the end of
/// its work and the clearing of `current`, is dropped before the next job is looked for. And the answer is
/// correct: a canceler that is told that it was too late finds the job completed.
///
/// Two threads, unbounded; two jobs. What could reach a third job has been dropped before the second.
#[test]
fn a_cancel_of_a_job_that_ends_does_not_reach_the_next() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(2);
        let signal = Arc::new(AtomicBool::new(false));
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            let job = jobs[0];
            thread::spawn(move || cancel_late(&memory, &signal, job))
        };
        let worker = Worker::new(&memory, &signal);
        let first = worker.run(jobs[0], || worker.look_once());
        let next = memory.pool().locked(|scheduler| scheduler.next(0, false));
        assert!(matches!(next, NextStep::Run { job, .. } if job == jobs[1]));
        let second = worker.run(jobs[1], || worker.look_once());
        assert_eq!(second, End::Completed, "the next job was canceled");
        let canceling = canceler.join().unwrap();
        let cancel = memory.slot(jobs[0]).word.load().has_cancel();
        assert_eq!(canceling == Canceling::Asked, cancel);
        if first == End::Canceled {
            assert_eq!(canceling, Canceling::Asked);
        }
        assert!(!memory.slot(jobs[1]).word.load().has_cancel());
    });
}

/// As before, but the leader does not hold the first job: the worker frees its slot, which is reserved for the
/// next job of the lane. So a cancel with the old handle meets the *same word* with another generation, on the
/// same worker.
///
/// Two threads, unbounded; two jobs in one slot. For a third one the generation differs as for the second.
#[test]
fn a_cancel_with_a_stale_handle_does_not_reach_the_slots_next_job() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(1);
        let first = jobs[0];
        let signal = Arc::new(AtomicBool::new(false));
        let _ = memory.slot(first).word.detach(first.generation);
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            thread::spawn(move || {
                let _ = memory
                    .pool()
                    .cancel(first, Demand::Terminate, |_| send(&memory, &signal));
            })
        };
        let worker = Worker::new(&memory, &signal);
        let _ = worker.run(first, || worker.look_once());
        memory.pool().free(first);
        let second = memory.claim(process(LEADER));
        assert_eq!(second.index, first.index);
        let next = memory.pool().locked(|scheduler| {
            let _ = scheduler.dispatch(second, LANE, 0, 1000);
            scheduler.next(0, false)
        });
        assert!(matches!(next, NextStep::Run { job, .. } if job == second));
        let end = worker.run(second, || worker.look_once());
        assert_eq!(end, End::Completed, "the slot's next job was canceled");
        let now = memory.slot(second).word.load();
        assert!(!now.has_cancel() && !now.must_terminate());
        canceler.join().unwrap();
    });
}

/// A queued job is canceled while its worker takes it. Under the lock it is either queued: then it leaves its
/// lane and never starts. Or it is bound: then it has the flag before it can begin, or while it runs.
///
/// Two threads, unbounded. Two who cancel are in the next model.
#[test]
fn a_cancel_while_a_worker_takes_the_job_is_not_lost() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(2);
        let signal = Arc::new(AtomicBool::new(false));
        let target = jobs[1];
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            thread::spawn(move || {
                memory
                    .pool()
                    .cancel(target, Demand::Cancel, |_| send(&memory, &signal))
            })
        };
        let worker = Worker::new(&memory, &signal);
        let first = worker.run(jobs[0], || worker.look_once());
        assert_eq!(first, End::Completed);
        match memory.pool().locked(|scheduler| scheduler.next(0, false)) {
            NextStep::Run { job, .. } => {
                assert_eq!(job, target);
                let end = worker.run(job, || worker.sleep_until_canceled());
                assert_eq!(end, End::Canceled);
                assert_eq!(canceler.join().unwrap(), Canceling::Asked);
            }
            NextStep::Idle => {
                let canceling = canceler.join().unwrap();
                assert!(matches!(canceling, Canceling::Finished(_)));
            }
            other => panic!("nothing else is queued: {other:?}"),
        }
        assert_eq!(memory.phase(target), Some(Phase::Canceled));
        assert_eq!(memory.pool().queued(), 0);
    });
}

/// Two processes cancel a queued job, with different demands, while a worker takes it. One of them ends it; or the
/// worker has it, and the job is interrupted by the first cancel that is seen. It ends once, as canceled, and whoever
/// was told that it was asked for has set the flag.
///
/// Three threads, at most two preemptions. Each of the three meets each of the others between two of its steps then. A
/// third canceler would find what the second one finds.
#[test]
fn two_cancels_while_a_worker_takes_the_job_end_it_once() {
    checked(2, || {
        let (memory, jobs) = with_queued(1);
        let job = jobs[0];
        let signal = Arc::new(AtomicBool::new(false));
        let cancelers = [Demand::Cancel, Demand::Insist].map(|demand| {
            let (memory, signal) = (memory.clone(), signal.clone());
            thread::spawn(move || {
                memory
                    .pool()
                    .cancel(job, demand, |_| send(&memory, &signal))
            })
        });
        let worker = Worker::new(&memory, &signal);
        let next = memory.pool().locked(|scheduler| scheduler.next(0, false));
        let ran = matches!(next, NextStep::Run { .. });
        if ran {
            let end = worker.run(job, || worker.sleep_until_canceled());
            assert_eq!(end, End::Canceled);
        }
        let told = cancelers.map(|canceler| canceler.join().unwrap());
        let count =
            |wanted: fn(&Canceling) -> bool| told.iter().filter(|told| wanted(told)).count();
        let ended = count(|told| matches!(told, Canceling::Finished(_)));
        assert_eq!(ended, usize::from(!ran), "{told:?}");
        assert!(
            !ran || count(|told| *told == Canceling::Asked) > 0,
            "{told:?}"
        );
        assert_eq!(memory.phase(job), Some(Phase::Canceled));
        assert_eq!(memory.pool().queued(), 0);
    });
}

/// A worker dies with a job that it has not begun, while the job is canceled. Giving back and setting the flag are
/// read-modify-writes on one word. The job ends as canceled; or it goes back to its lane, where the canceler finds it
/// (it asks again), and ends without a worker. No worker runs it. And the process is gone only when no signal to it can
/// be under way: its pid may be another's by then. If its leader has detached the job, the process that ends it is the
/// last one out.
///
/// Two threads, unbounded. Another worker of the lane, to which the job is handed, is in the schedules (three worker
/// slots).
#[test]
fn a_cancel_of_a_job_whose_worker_dies_is_not_lost() {
    for detached in [false, true] {
        unbounded(move || {
            let (memory, jobs) = with_jobs(1);
            let job = jobs[0];
            let wanted = if detached {
                let release = memory.slot(job).word.detach(job.generation);
                assert_eq!(release, Release::Held { watched: false });
                Release::LastOut
            } else {
                Release::Held { watched: false }
            };
            // Whether the process exists; ordered by the pool's lock alone.
            let alive = Arc::new(AtomicU32::new(1));
            let canceler = {
                let (memory, alive) = (memory.clone(), alive.clone());
                thread::spawn(move || {
                    memory.pool().cancel(job, Demand::Cancel, |proc| {
                        assert_eq!(proc, process(WORKER));
                        assert_eq!(
                            alive.load(Ordering::Relaxed),
                            1,
                            "signaled a pid that is gone"
                        );
                    })
                })
            };
            let worker = Dying::new(&memory);
            worker.exit();
            alive.store(0, Ordering::Relaxed);
            let canceling = canceler.join().unwrap();
            match worker.returned.get().expect("it had a job") {
                Returned::Canceled(release) => {
                    assert_eq!(release, wanted);
                    assert_eq!(worker.ended.get(), Some(wanted));
                    assert_eq!(canceling, Canceling::Asked);
                    assert!(!worker.respawns.get(), "for nothing");
                }
                Returned::Requeued => assert_eq!(canceling, Canceling::Finished(wanted)),
                Returned::Handed(_) => panic!("there is no other worker"),
            }
            assert_eq!(memory.phase(job), Some(Phase::Canceled));
            assert_eq!(memory.pool().queued(), 0);
        });
    }
}

/// A job is canceled, and catches the error. The signal may arrive at any moment, also between the moment at
/// which the server notices the pending cancel and the one at which the error is thrown. A look at the word
/// raises what is pending, too. The cancel is thrown in the job once.
///
/// Two threads, unbounded. Two cancels are in the next model.
#[test]
fn a_cancel_that_is_caught_is_given_once() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(1);
        let signal = Arc::new(AtomicBool::new(false));
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            let job = jobs[0];
            thread::spawn(move || cancel_late(&memory, &signal, job))
        };
        let worker = Worker::new(&memory, &signal);
        let end = worker.run(jobs[0], || {
            worker.catch_one();
            for _ in 0..2 {
                assert!(!worker.check_for_interrupts(), "given twice");
            }
            false
        });
        assert_eq!(canceler.join().unwrap(), Canceling::Asked);
        if end == End::Completed {
            assert!(!worker.pending.get());
        } else {
            // It was canceled before it could begin.
            assert_eq!(memory.phase(jobs[0]), Some(Phase::Canceled));
        }
    });
}

/// A job is canceled twice, the second time while the error of the first is thrown. Either the second comes
/// before the first is delivered, and is one with it. Or the word says that it is pending; then it is raised
/// and thrown as well. It is never thrown more often than that.
///
/// Two threads, unbounded. Of three cancels two come on the same side of the delivery, and are one.
#[test]
fn a_cancel_while_another_is_thrown_is_not_lost() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(1);
        let job = jobs[0];
        let signal = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(&memory, &signal);
        let end = worker.run(job, || {
            assert_eq!(cancel_late(&memory, &signal, job), Canceling::Asked);
            let canceler = {
                let (memory, signal) = (memory.clone(), signal.clone());
                thread::spawn(move || cancel_late(&memory, &signal, job))
            };
            worker.catch_one();
            assert_eq!(canceler.join().unwrap(), Canceling::Asked);
            worker.step();
            let word = &memory.slot(job).word;
            if word.load().is_pending() {
                assert!(worker.check_for_interrupts(), "a cancel was lost");
            } else {
                assert!(
                    !worker.check_for_interrupts(),
                    "two that are one were given twice"
                );
            }
            assert!(!word.load().is_pending());
            false
        });
        assert_eq!(end, End::Completed);
    });
}

/// A cancel that nobody repeats stays pending when it is caught: the code that cleans up after the error raises
/// it again.
///
/// Two threads, unbounded. It is given twice; the word, and so what happens the third time, is the same after the
/// second.
#[test]
fn an_insistent_cancel_is_given_again() {
    unbounded(|| {
        let (memory, jobs) = with_jobs(1);
        let job = jobs[0];
        let signal = Arc::new(AtomicBool::new(false));
        let canceler = {
            let (memory, signal) = (memory.clone(), signal.clone());
            thread::spawn(move || {
                let pool = memory.pool();
                let _ = pool.cancel(job, Demand::Insist, |_| send(&memory, &signal));
            })
        };
        let worker = Worker::new(&memory, &signal);
        let end = worker.run(job, || {
            for _ in 0..2 {
                worker.catch_one();
                let clean_up = Running {
                    worker: &worker,
                    body: || false,
                };
                clean_up.raise_cancel();
            }
            worker.check_for_interrupts()
        });
        assert_eq!(end, End::Canceled);
        canceler.join().unwrap();
    });
}
