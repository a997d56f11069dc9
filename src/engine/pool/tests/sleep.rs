//! What sessions sleep on, against a look at all jobs.

use super::*;
use crate::deadlock::{Pid, Sleep};
use crate::pool::dispatch::Limits;
use crate::pool::sleep::Sleepers;
use crate::pool::slot_waiters::Resource;
use crate::pool::usage::Claimed;
use proptest::prelude::*;
use std::collections::BTreeSet;

const BOUNDED: Options = Options {
    by_pid: false,
    submit: false,
    fresh_only: false,
    bounded: true,
    uncounted: false,
    labeled: false,
};

/// The session with this number. Its jobs are in lane A; those of the last one are in lane B.
fn session(number: usize) -> ProcRef {
    ProcRef::new(number as u32, 10 + number as u32)
}

impl Memory {
    fn launch(&self, number: usize, limits: Limits) -> JobId {
        let job = self.claim_for(session(number), BOUNDED, &[]);
        let job = job.expect("a free slot");
        let key = if number + 1 == LEADERS { B } else { A };
        self.locked(|scheduler| {
            let (dispatched, lane) = scheduler.dispatch(job, key, u32::MAX, limits);
            assert!(dispatched != Dispatched::NoLane);
            scheduler.limit_lane(lane, limits);
        });
        job
    }

    fn sleep(&self, number: usize, jobs: &[JobId]) {
        for job in jobs {
            let _ = self.word(*job).await_end(job.generation);
        }
        self.pool()
            .begin_sleep(session(number), jobs.iter().copied());
    }

    fn sleep_of(&self, number: usize) -> Option<(BTreeSet<Pid>, bool)> {
        self.sleepers()
            .sleep_of(session(number).pid())
            .map(readable)
    }

    /// No worker can be had.
    fn sleepers(&self) -> Sleepers<'_, Unlocked, impl FnMut(u32) -> bool> {
        Sleepers::new(self.pool(), |_| false)
    }
}

fn readable(sleep: Sleep) -> (BTreeSet<Pid>, bool) {
    (
        sleep.processes.iter().copied().collect(),
        sleep.over_worker_slots,
    )
}

fn limits(session_jobs: u32) -> Limits {
    Limits {
        session_jobs,
        lane_workers: 0,
    }
}

#[test]
fn a_session_sleeps_on_what_it_says_and_no_longer_than_it_says() {
    let memory = Memory::with_room(8, 2, 2);
    let jobs = [(); 2].map(|()| memory.launch(0, limits(9)));
    assert_eq!(memory.sleep_of(0), None);
    for pid in [100, 101] {
        let _ = memory.start(memory.spawn_decision(0, 2), proc(pid));
    }
    memory.sleep(0, &jobs[..1]);
    assert_eq!(memory.sleep_of(0), Some((BTreeSet::from([100]), false)));
    assert_eq!(memory.sleep_of(1), None, "another session");
    memory.sleep(0, &[jobs[1], jobs[0], jobs[1]]);
    assert_eq!(
        memory.sleep_of(0),
        Some((BTreeSet::from([100, 101]), false)),
        "a job that it names twice is in the chain once"
    );
    memory.run(jobs[1]);
    assert_eq!(
        memory.sleep_of(0),
        None,
        "one has ended, and it will see it"
    );
    memory.pool().end_sleep(session(0));
    memory.sleep(0, &jobs[..1]);
    memory.pool().end_sleep(session(0));
    assert_eq!(memory.sleep_of(0), None);
}

#[test]
fn a_session_that_waits_for_a_slot_sleeps_on_those_who_can_free_one() {
    let memory = Memory::with_room(2, 2, 2);
    let jobs = [1, 2].map(|number| memory.launch(number, limits(9)));
    let pool = memory.pool();
    pool.join_waiters(session(0), Resource::Slots, 2, false);
    let leaders = BTreeSet::from([session(1), session(2)].map(ProcRef::pid));
    assert_eq!(memory.sleep_of(0), Some((leaders, false)));
    let _ = memory.word(jobs[0]).detach(jobs[0].generation);
    assert_eq!(memory.sleep_of(0), None, "nobody has the queued job");
    let _ = memory.start(memory.spawn_decision(0, 1), proc(100));
    let holders = BTreeSet::from([100, session(2).pid()]);
    assert_eq!(memory.sleep_of(0), Some((holders, false)));
    pool.leave_waiters(session(0), Resource::Slots);
    assert_eq!(memory.sleep_of(0), None);
}

#[test]
fn a_session_that_waits_for_a_slot_of_its_role_sleeps_on_the_jobs_of_the_role() {
    let memory = Memory::with_room(3, 2, 2);
    let jobs = [1, 2].map(|number| memory.launch(number, limits(9)));
    let pool = memory.pool();
    let own = pool.usage_of(7).expect("there is room");
    assert_eq!(pool.usage(own).claim_slot(7, 2), Claimed::Yes);
    let other = 1 - own;
    for (job, usage) in jobs.iter().zip([own, other]) {
        let slot = pool.jobs().slot(job.index);
        slot.usage.store(usage, Ordering::Relaxed);
    }
    pool.join_waiters(session(0), Resource::RoleSlots(own), 1, false);
    let leader = BTreeSet::from([session(1).pid()]);
    assert_eq!(memory.sleep_of(0), Some((leader, false)));
    assert_eq!(pool.usage(own).claim_slot(7, 2), Claimed::Yes);
    assert_eq!(memory.sleep_of(0), None, "a launch has the other one");
}

#[test]
fn an_entry_that_another_process_has_now_says_nothing_about_it() {
    let memory = Memory::with_room(8, 2, 1);
    let job = memory.launch(0, limits(9));
    let _ = memory.start(memory.spawn_decision(0, 1), proc(100));
    memory.sleep(0, &[job]);
    let _ = memory.locked(|scheduler| scheduler.depart(session(0)));
    let next = ProcRef::new(0, 99);
    memory.locked(|scheduler| scheduler.enroll(next));
    assert!(memory.sleepers().sleep_of(next.pid()).is_none());
    assert_eq!(memory.sleep_of(0), None);
}

#[test]
fn a_lane_is_asked_for_once_and_not_looked_at_if_it_is_served() {
    let memory = Memory::with_room(8, 2, 1);
    let running = memory.launch(0, limits(9));
    let _ = memory.start(memory.spawn_decision(0, 1), proc(100));
    for number in 0..3 {
        let job = memory.launch(number, limits(9));
        memory.sleep(number, &[running, job][usize::from(number > 0)..]);
    }
    let asked = std::cell::Cell::new(0);
    for is_served in [false, true] {
        let mut sleepers = Sleepers::new(memory.pool(), |lane| {
            assert_eq!(lane, 0);
            asked.set(asked.get() + 1);
            is_served
        });
        let found: Vec<_> = (0..3)
            .map(|number| sleepers.sleep_of(session(number).pid()))
            .collect();
        if is_served {
            assert!(found.iter().all(Option::is_none));
            continue;
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|sleep| sleep.expect("it waits"))
            .collect();
        let is_first = |sleep: &Sleep| std::rc::Rc::ptr_eq(&sleep.processes, &found[0].processes);
        assert!(found.iter().all(is_first), "the processes are kept once");
    }
    assert_eq!(asked.get(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Launch(usize),
    Start,
    Complete(u32),
    /// Workers that the lane of that session may have.
    Limit(usize, u32),
    /// On those of its jobs whose bits are set.
    Sleep(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..LEADERS).prop_map(Step::Launch),
        3 => Just(Step::Start),
        2 => (0..3_u32).prop_map(Step::Complete),
        1 => (0..LEADERS, 0..3_u32).prop_map(|(session, limit)| Step::Limit(session, limit)),
        3 => (0..LEADERS, any::<u8>()).prop_map(|(session, bits)| Step::Sleep(session, bits)),
    ]
}

/// The same by a look at all jobs on which the session sleeps and that have not ended.
fn by_all_jobs(memory: &Memory, number: usize) -> Option<(BTreeSet<Pid>, bool)> {
    let proc = session(number);
    let own = || {
        memory
            .slots
            .iter()
            .filter(|slot| slot.leader() == Some(proc))
    };
    let phase = |slot: &crate::table::Slot| slot.word.load().phase();
    let is_bound =
        |slot: &crate::table::Slot| matches!(phase(slot), Phase::Starting | Phase::Running);
    let pid = |slot: &crate::table::Slot| slot.pid.load(Ordering::Relaxed);
    let in_worker_slots = |lane: u32| -> Option<Vec<Pid>> {
        memory.locked(|scheduler| {
            let occupants = scheduler.occupants(lane).map(|proc| proc.map(ProcRef::pid));
            occupants.collect()
        })
    };
    let mut found = BTreeSet::new();
    let mut over_worker_slots = false;
    let mut sleeps = false;
    for slot in own().filter(|slot| slot.word.load().is_watched()) {
        sleeps = true;
        let permits = || own().filter(|slot| !slot.is_throttled());
        if is_bound(slot) {
            found.insert(pid(slot));
        } else if phase(slot) == Phase::Queued {
            let is_behind_queued = permits().any(|slot| phase(slot) == Phase::Queued);
            if !slot.is_throttled() || is_behind_queued {
                found.extend(in_worker_slots(slot.lane())?);
                over_worker_slots = true;
            }
            found.extend(permits().filter(|slot| is_bound(slot)).map(pid));
        }
    }
    sleeps.then_some((found, over_worker_slots))
}

proptest! {
    #[test]
    fn a_chain_tells_the_same_as_all_jobs(
        steps in proptest::collection::vec(step(), 1..60),
        quota in 1..4_u32,
    ) {
        let memory = Memory::with_room(24, 2, 3);
        let mut jobs: [Vec<JobId>; LEADERS] = Default::default();
        let mut lane_workers = [0; LEADERS];
        let mut pids = 100..;
        for step in steps {
            match step {
                Step::Launch(number) if jobs[number].len() < 6 => {
                    let limits = Limits { session_jobs: quota, lane_workers: lane_workers[number] };
                    jobs[number].push(memory.launch(number, limits));
                }
                Step::Launch(_) => {}
                Step::Start => {
                    let start = memory.spawn_decision(0, 3);
                    if matches!(start, SpawnDecision::Start { .. }) {
                        let _ = memory.start(start, proc(pids.next().expect("no end")));
                    }
                }
                Step::Complete(worker) => {
                    if let Activity::Busy(index) = memory.activity(worker) {
                        let job = memory.locked(|scheduler| scheduler.job_in(index));
                        if let NextStep::Restart = memory.complete(worker, job) {
                            let generation = memory.workers[worker as usize].word.load().generation();
                            let _ = memory.report_in(worker, generation, proc(pids.next().expect("no end")));
                        }
                    }
                }
                Step::Limit(number, limit) => lane_workers[number] = limit,
                Step::Sleep(number, bits) => {
                    for job in &jobs[number] {
                        memory.word(*job).unwatch(job.generation);
                    }
                    let is_chosen = |(bit, job): (usize, &JobId)| (bits & 1 << bit != 0).then_some(*job);
                    let chosen: Vec<JobId> = jobs[number].iter().enumerate().filter_map(is_chosen).collect();
                    memory.sleep(number, &chosen);
                }
            }
            for (number, jobs) in jobs.iter().enumerate() {
                let found = memory.sleep_of(number);
                // If one has ended, the session will see it, and so may whoever follows the chain.
                let is_awake = found.is_none() && jobs.iter().any(|job| {
                    let now = memory.word(*job).load();
                    now.is_watched() && now.phase().is_finished()
                });
                prop_assert!(is_awake || found == by_all_jobs(&memory, number), "{:?}", found);
            }
        }
    }
}
