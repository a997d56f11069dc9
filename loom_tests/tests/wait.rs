//! The wait loop, with a latch that behaves like the server's.
#![cfg(loom)]

use engine::job::{Begin, Demand, End, Generation, JobWord, Release};
use engine::models::Transitions as _;
use engine::pool::sleep::Sleepers;
use engine::pool::{Canceling, NextStep, Returned, SpawnDecision};
use engine::table::JobId;
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use loom_tests::bound::{checked, unbounded};
use loom_tests::latch::MockLatch;
use loom_tests::memory::{LANE, Memory, process};

const LEADER: u32 = 0;
const WORKER: u32 = 1;

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
/// Two threads, unbounded. A word has one leader. A leader of two jobs is in the last model.
#[test]
fn a_leader_that_waits_sees_the_end() {
    unbounded(|| {
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
/// Three threads, at most three preemptions: one for each wake-up that may come late, the two of the worker and the
/// stranger's. A second stranger finds the latch set, or is one more of the same.
#[test]
fn wake_ups_that_mean_nothing_do_no_harm() {
    checked(3, || {
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

/// How a job that is queued, or has its worker, comes to its end.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    /// Its worker begins it and finishes it so.
    Run(End),
    /// It is canceled before its worker begins it, which refuses it.
    Refused,
    /// It is canceled, and its worker dies before it has begun it.
    GivenBack,
    /// Its worker dies, and it is queued again. Then it is canceled.
    Requeued,
    /// It is canceled before it has a worker.
    Queued,
}

/// A pool with a worker that has taken the job, or with the job alone.
fn with_job(way: Way) -> (Arc<Memory>, JobId) {
    let memory = Memory::new(1, 1, 2);
    let job = memory.claim(process(LEADER));
    memory.pool().locked(|scheduler| {
        let _ = scheduler.dispatch(job, LANE, 0, 1000);
        let SpawnDecision::Start { worker, generation } = scheduler.spawn_decision(0, 1, true)
        else {
            panic!("a worker slot is vacant");
        };
        assert!(scheduler.report_in(worker, generation, process(WORKER)));
        scheduler.note_connected(worker, process(WORKER));
        if way != Way::Queued {
            let next = scheduler.next(worker, false);
            assert!(matches!(next, NextStep::Run { .. }));
        }
    });
    (memory, job)
}

/// Ends the job. Returns how often the leader was woken.
fn end(memory: &Memory, job: JobId, way: Way) -> u32 {
    let pool = memory.pool();
    let word = &memory.slot(job).word;
    let mut woken = 0;
    let mut wake_if = |watched: bool| {
        if watched {
            woken += 1;
            memory.wake(memory.slot(job).leader());
        }
    };
    let cancel = || pool.cancel(job, Demand::Insist, |_| {});
    let release = match way {
        Way::Run(end) => {
            let Begin::Running { watched } = word.begin(job.generation) else {
                panic!("nobody canceled it");
            };
            wake_if(watched);
            if end == End::Canceled {
                assert_eq!(cancel(), Canceling::Asked);
            }
            word.finish(job.generation, end)
        }
        Way::Refused => {
            assert_eq!(cancel(), Canceling::Asked);
            assert_eq!(word.begin(job.generation), Begin::Refused);
            word.finish(job.generation, End::Canceled)
        }
        Way::GivenBack => {
            assert_eq!(cancel(), Canceling::Asked);
            match pool.locked(|scheduler| scheduler.give_back(job)) {
                Returned::Canceled(release) => release,
                other => panic!("it was canceled: {other:?}"),
            }
        }
        Way::Requeued | Way::Queued => {
            if way == Way::Requeued {
                let returned = pool.locked(|scheduler| scheduler.give_back(job));
                assert_eq!(returned, Returned::Requeued);
            }
            match cancel() {
                Canceling::Finished(release) => release,
                other => panic!("no worker has it: {other:?}"),
            }
        }
    };
    if let Release::Held { watched } = release {
        wake_if(watched);
    }
    woken
}

/// A leader has waited for its job in vain and given up, in whichever phase. Then it waits again, for the end, however
/// that comes. With AWAITED it is woken once, at the end; with WATCHED also at the changes before. The flags are gone
/// when it detaches the job, as the last one out. A forgotten wake-up would be a deadlock.
fn the_end_wakes_the_leader(way: Way, at_each_change: bool) {
    checked(3, move || {
        let (memory, job) = with_job(way);
        let other = {
            let memory = memory.clone();
            thread::spawn(move || end(&memory, job, way))
        };
        let word = &memory.slot(job).word;
        let arm = || {
            let _ = if at_each_change {
                word.watch(job.generation)
            } else {
                word.await_end(job.generation)
            };
        };
        arm();
        word.unwatch(job.generation);
        let look = || Some(word.load()).filter(|now| now.phase().is_finished());
        let found = wait_for(
            memory.latch(process(LEADER)),
            None,
            &mut condition(arm, look),
        );
        word.unwatch(job.generation);
        assert!(found.is_some() && !word.load().is_watched());
        let woken = other.join().unwrap();
        assert!(
            woken <= if at_each_change { 2 } else { 1 },
            "woken too often"
        );
        assert_eq!(word.detach(job.generation), Release::LastOut);
        memory.pool().free(job);
    });
}

fn every_end_wakes_the_leader(at_each_change: bool) {
    let ends = [End::Completed, End::Failed, End::Canceled].map(Way::Run);
    let others = [Way::Refused, Way::GivenBack, Way::Requeued, Way::Queued];
    for way in ends.into_iter().chain(others) {
        the_end_wakes_the_leader(way, at_each_change);
    }
}

/// Two threads, at most three preemptions, for each way in which a job ends. There is nothing that a second job or
/// leader could change: a word has one leader, which looks at no other word in this wait. Each side changes the word
/// three times at most, so three preemptions put any change of the one between any two of the other.
#[test]
fn a_leader_that_awaits_the_end_is_woken_by_it_and_not_before() {
    every_end_wakes_the_leader(false);
}

/// The same.
#[test]
fn a_leader_that_watches_sees_the_end_however_it_comes() {
    every_end_wakes_the_leader(true);
}

/// The loop with a protocol of plain stores, as in the result ring: the waiter arms by a store and a fence, the
/// waker publishes by a store and a fence. At least one of the two sees the other.
///
/// Two threads, unbounded; two rounds, so that a wake-up of the first may come in the second.
#[test]
fn store_then_look_on_both_sides_loses_nothing() {
    struct RingShared {
        value: AtomicU32,
        armed: AtomicU32,
        latch: MockLatch,
    }
    unbounded(|| {
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
/// Three threads, at most three preemptions: each of the three is interrupted once. A third job is a third word,
/// which is armed and looked at like the other two. Leaders of more jobs are in the schedules (three jobs each).
#[test]
fn a_leader_that_waits_for_any_sees_the_first_end() {
    checked(3, || {
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

/// A leader sleeps on three jobs, wakes up and sleeps on one of them, while another process looks what it sleeps on. It
/// finds one of the two waits, or that the leader is awake, and never a part of the one with a part of the other: that
/// could be taken for a deadlock which there is not. The words say all the time that the leader sleeps.
///
/// Two threads, unbounded. Others that look change nothing. A longer chain, or a third sleep, adds no other order: a slot
/// is of the sleep that the entry names, or of another one.
#[test]
fn who_looks_what_a_leader_sleeps_on_never_sees_two_sleeps_in_one() {
    unbounded(|| {
        let memory = Memory::new(3, 1, 2);
        let own = process(LEADER);
        memory.pool().locked(|scheduler| scheduler.enroll(own));
        let jobs = [100, 101, 102].map(|pid| {
            let job = memory.claim(own);
            let slot = memory.slot(job);
            slot.word.publish(job.generation);
            let _ = slot.word.bind(job.generation);
            slot.pid.store(pid, engine::sync::Ordering::Relaxed);
            let _ = slot.word.await_end(job.generation);
            job
        });
        memory.pool().begin_sleep(own, jobs.into_iter());
        let looker = {
            let memory = memory.clone();
            thread::spawn(move || {
                let mut sleepers = Sleepers::new(memory.pool(), |_| false);
                let found = sleepers.sleep_of(own.pid());
                if let Some(found) = found {
                    let mut found = found.processes.to_vec();
                    found.sort_unstable();
                    assert!(found == [100, 101, 102] || found == [101], "{found:?}");
                }
            })
        };
        memory.pool().end_sleep(own);
        memory.pool().begin_sleep(own, [jobs[1]].into_iter());
        looker.join().unwrap();
    });
}
