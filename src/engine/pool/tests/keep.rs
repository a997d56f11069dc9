//! Workers that are kept beyond their idle limit.

use super::*;
use crate::pool::dispatch::Limits;

impl Memory {
    /// A worker of the lane, which has run a job and is idle. Returns it and its generation.
    fn idle_worker(&self, key: LaneKey, pid: u32) -> (u32, u32) {
        self.queue(key);
        let lane = self.locked(|scheduler| scheduler.lane_with(key).expect("it has a job"));
        let (worker, generation, next) = self.start(self.spawn_decision(lane, 8), proc(pid));
        assert_eq!(self.complete(worker, running(next)), NextStep::Idle);
        (worker, generation)
    }

    fn idle_limit(&self, (worker, generation): (u32, u32), keep: u32) -> Option<NextStep> {
        let next = self.locked(|scheduler| scheduler.idle_limit(worker, generation, keep));
        self.check();
        next
    }
}

/// Three idle workers of lane A.
fn three() -> (Memory, [(u32, u32); 3]) {
    let memory = Memory::with_room(8, 2, 3);
    let jobs = [(); 3].map(|()| memory.queue(A));
    let started = [100, 101, 102].map(|pid| memory.start(memory.spawn_decision(0, 3), proc(pid)));
    let workers = started.map(|(worker, generation, _)| (worker, generation));
    for ((worker, _), job) in workers.into_iter().zip(jobs) {
        assert_eq!(memory.complete(worker, job), NextStep::Idle);
    }
    (memory, workers)
}

#[test]
fn as_many_stay_as_are_kept() {
    let (memory, [first, second, third]) = three();
    assert_eq!(memory.idle_limit(first, 2), Some(NextStep::Retire));
    assert_eq!(memory.idle_limit(second, 2), Some(NextStep::Idle));
    assert_eq!(memory.idle_limit(third, 2), Some(NextStep::Idle));
    assert_eq!(
        memory.idle_limit(third, 1),
        Some(NextStep::Retire),
        "by its own setting"
    );
    assert_eq!(memory.idle_limit(second, 1), Some(NextStep::Idle));
    assert_eq!(memory.idle_limit(second, 0), Some(NextStep::Retire));
}

#[test]
fn a_kept_worker_is_handed_jobs_and_makes_room_for_a_lane_in_need() {
    let memory = Memory::with_room(8, 2, 1);
    let kept = memory.idle_worker(A, 100);
    assert_eq!(memory.idle_limit(kept, 1), Some(NextStep::Idle));
    let (job, dispatched, _) = memory.dispatch(A);
    assert_eq!(dispatched, Dispatched::Handed(proc(100)));
    assert_eq!(memory.complete(kept.0, job), NextStep::Idle);
    assert_eq!(memory.idle_limit(kept, 1), Some(NextStep::Idle));
    memory.queue(B);
    assert_eq!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Recycle(proc(100))
    );
    let told = memory.locked(|scheduler| scheduler.awakened(kept.0, kept.1));
    assert_eq!(told, Some(NextStep::Restart));
}

#[test]
fn nobody_is_kept_while_another_lane_is_in_need() {
    let memory = Memory::with_room(8, 2, 1);
    let idle = memory.idle_worker(A, 100);
    memory.queue(B);
    assert_eq!(
        memory.idle_limit(idle, 1),
        Some(NextStep::Restart),
        "for the other lane"
    );
}

#[test]
fn a_lane_keeps_no_more_than_it_may_have() {
    let (memory, [first, second, third]) = three();
    let limits = Limits {
        session_jobs: AMPLE,
        lane_workers: 2,
    };
    memory.locked(|scheduler| scheduler.limit_lane(0, limits));
    assert_eq!(memory.idle_limit(first, 3), Some(NextStep::Retire));
    assert_eq!(memory.idle_limit(second, 3), Some(NextStep::Idle));
    assert_eq!(memory.idle_limit(third, 3), Some(NextStep::Idle));
}

#[test]
fn the_pool_becomes_smaller_by_kept_workers() {
    let (memory, [first, second, third]) = three();
    for kept in [first, second, third] {
        assert_eq!(memory.idle_limit(kept, 3), Some(NextStep::Idle));
    }
    let shrink =
        |(worker, generation)| memory.locked(|pool| pool.shrink_idle(worker, generation, 1));
    assert_eq!(shrink(first), Some(NextStep::Retire));
    assert_eq!(shrink(second), Some(NextStep::Retire));
    assert_eq!(shrink(third), None);
}

#[test]
fn a_database_that_is_to_be_dropped_keeps_nobody_until_it_is_used_again() {
    let memory = Memory::with_room(8, 3, 3);
    let [of_a, of_c] = [memory.idle_worker(A, 100), memory.idle_worker(C, 101)];
    let (busy, ..) = memory.dispatch(A);
    let _ = memory.locked(|scheduler| scheduler.awakened(of_a.0, of_a.1));
    let other = memory.idle_worker(A, 102);
    let woken = std::cell::RefCell::new(Vec::new());
    let release = || {
        memory.locked(|scheduler| {
            scheduler.release_database(A.database, |proc| woken.borrow_mut().push(proc));
        });
    };
    release();
    assert_eq!(woken.take(), [proc(102)], "the idle ones of that database");
    let told = memory.locked(|scheduler| scheduler.awakened(other.0, other.1));
    assert_eq!(told, Some(NextStep::Retire));
    assert_eq!(
        memory.idle_limit(of_c, 1),
        Some(NextStep::Idle),
        "another database"
    );
    assert_eq!(memory.complete(of_a.0, busy), NextStep::Idle);
    assert_eq!(
        memory.idle_limit(of_a, 1),
        Some(NextStep::Retire),
        "it had a job meanwhile"
    );

    let again = memory.idle_worker(A, 103);
    assert_eq!(
        memory.idle_limit(again, 1),
        Some(NextStep::Idle),
        "the database was not dropped"
    );
    release();
    assert_eq!(woken.take(), [proc(103)]);
}
