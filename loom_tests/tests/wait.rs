//! The wait loop, with a latch that behaves like the server's.
#![cfg(loom)]

use engine::job::{Begin, End, Generation, JobWord, Release};
use engine::models::Transitions as _;
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use loom_tests::latch::MockLatch;
use loom_tests::memory::process;

struct Job {
    word: JobWord,
    generation: Generation,
    leader: MockLatch,
}

impl Job {
    fn starting() -> Arc<Self> {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.bind(generation);
        Arc::new(Self {
            word,
            generation,
            leader: MockLatch::default(),
        })
    }

    fn wait<T>(&self, mut look: impl FnMut(engine::job::Snapshot) -> Option<T>) -> T {
        let found = wait_for(
            &self.leader,
            None,
            &mut condition(
                || {
                    let _ = self.word.watch(self.generation);
                },
                || look(self.word.load()),
            ),
        );
        found.expect("there is no deadline")
    }
}

/// A leader waits for its job to finish while the worker begins and finishes it. The leader sets WATCHED and
/// looks again before it sleeps. It sees a transition before that; a transition after it finds WATCHED and
/// wakes the leader. The latch is reset after the sleep and before the next look, so a wake-up in between is
/// not lost. A lost wake-up would be a deadlock.
///
/// Two threads, unbounded.
#[test]
fn a_leader_that_waits_sees_the_end() {
    loom::model(|| {
        let job = Job::starting();
        let worker = {
            let job = job.clone();
            thread::spawn(move || {
                if let Begin::Running { watched: true } = job.word.begin(job.generation) {
                    job.leader.set();
                }
                let end = job.word.finish(job.generation, End::Completed);
                if end == (Release::Held { watched: true }) {
                    job.leader.set();
                }
            })
        };
        job.wait(|now| now.phase().is_finished().then_some(()));
        worker.join().unwrap();
    });
}

/// A leader waits twice on the same word, first for the job's beginning, then for its end. Meanwhile wake-ups
/// that mean nothing arrive from a third process (a session has one latch for everything). The first wake-up
/// may come late and end the second sleep: that costs one look.
///
/// Three threads, at most three preemptions.
#[test]
fn wake_ups_that_mean_nothing_do_no_harm() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let job = Job::starting();
        let worker = {
            let job = job.clone();
            thread::spawn(move || {
                if let Begin::Running { watched: true } = job.word.begin(job.generation) {
                    job.leader.set();
                }
                let end = job.word.finish(job.generation, End::Completed);
                if end == (Release::Held { watched: true }) {
                    job.leader.set();
                }
            })
        };
        let stranger = {
            let job = job.clone();
            thread::spawn(move || job.leader.set())
        };
        job.wait(|now| (now.phase() != engine::job::Phase::Starting).then_some(()));
        job.wait(|now| now.phase().is_finished().then_some(()));
        worker.join().unwrap();
        stranger.join().unwrap();
    });
}

/// The loop with a protocol of plain stores, as in the result ring: the waiter arms by a store and a fence, the
/// waker publishes by a store and a fence. At least one of the two sees the other.
///
/// Two threads, unbounded.
#[test]
fn store_then_look_on_both_sides_loses_nothing() {
    struct RingShared {
        value: AtomicU32,
        armed: AtomicU32,
        latch: MockLatch,
    }
    loom::model(|| {
        let shared = Arc::new(RingShared {
            value: AtomicU32::new(0),
            armed: AtomicU32::new(0),
            latch: MockLatch::default(),
        });
        let waker = {
            let shared = shared.clone();
            thread::spawn(move || {
                for value in 1..3 {
                    shared.value.store(value, Ordering::Release);
                    fence(Ordering::SeqCst);
                    if shared.armed.load(Ordering::Relaxed) != 0 {
                        shared.latch.set();
                    }
                }
            })
        };
        for wanted in 1..3 {
            let found = wait_for(
                &shared.latch,
                None,
                &mut condition(
                    || {
                        shared.armed.store(process(0).pid(), Ordering::Relaxed);
                        fence(Ordering::SeqCst);
                    },
                    || (shared.value.load(Ordering::Acquire) >= wanted).then_some(()),
                ),
            );
            assert!(found.is_some());
            shared.armed.store(0, Ordering::Relaxed);
        }
        waker.join().unwrap();
    });
}

/// A leader waits for the first of two jobs to finish, while their workers finish them at the same time. It
/// sets AWAITED in both words before it looks at both. A job that ends later finds the flag and wakes the
/// leader. Afterwards the leader clears the flags and sees the other end by itself.
///
/// Three threads, at most three preemptions.
#[test]
fn a_leader_that_waits_for_any_sees_the_first_end() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let leader = Arc::new(MockLatch::default());
        let jobs = [Job::starting(), Job::starting()];
        let workers: Vec<_> = jobs
            .iter()
            .map(|job| {
                let (job, leader) = (job.clone(), leader.clone());
                thread::spawn(move || {
                    let begun = job.word.begin(job.generation);
                    assert_eq!(
                        begun,
                        Begin::Running { watched: false },
                        "only ends are awaited"
                    );
                    let end = job.word.finish(job.generation, End::Completed);
                    if end == (Release::Held { watched: true }) {
                        leader.set();
                    }
                })
            })
            .collect();
        let finished = |job: &Arc<Job>| job.word.load().phase().is_finished();
        for wanted in 1..=2 {
            let found = wait_for(
                &*leader,
                None,
                &mut condition(
                    || {
                        for job in &jobs {
                            let _ = job.word.await_end(job.generation);
                        }
                    },
                    || (jobs.iter().filter(|job| finished(job)).count() >= wanted).then_some(()),
                ),
            );
            assert!(found.is_some());
            for job in &jobs {
                job.word.unwatch(job.generation);
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
