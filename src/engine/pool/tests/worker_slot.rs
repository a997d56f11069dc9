//! What a worker does next.

use super::*;
use std::cell::Cell;

/// Two workers of lane A, of which the first is idle and the second has this job.
fn idle_and_busy(memory: &Memory) -> ([u32; 2], JobId) {
    let [first, second] = [100, 101].map(|pid| {
        memory.queue(A);
        let (worker, _, next) = memory.start(memory.spawn_decision(0, 2), proc(pid));
        (worker, running(next))
    });
    assert_eq!(memory.complete(first.0, first.1), NextStep::Idle);
    ([first.0, second.0], second.1)
}

/// A job of the session whose quota is used up.
fn throttle(memory: &Memory) -> JobId {
    let bounded = Options {
        bounded: true,
        ..Options::default()
    };
    let job = memory.claim(bounded, &[]).expect("a free slot");
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, 1));
    assert_eq!(dispatched, Dispatched::Queued);
    assert!(memory.slot(job).is_throttled());
    job
}

/// Nobody has to be woken for it.
#[test]
fn a_worker_takes_the_job_that_its_own_one_held_back() {
    let memory = Memory::with_room(8, 1, 2);
    let ([idle, busy], before) = idle_and_busy(&memory);
    let job = throttle(&memory);
    assert_eq!(running(memory.complete(busy, before)), job);
    assert_eq!(memory.activity(idle), Activity::Idle);
    memory.check();
}

#[test]
fn an_idle_worker_takes_the_job_that_was_held_back_by_one_that_leaves() {
    type Leaves = fn(&mut Scheduler<'_>, u32, u32);
    let leaves: [Leaves; 2] = [
        |scheduler, worker, generation| {
            let _ = scheduler.exit(worker, generation, proc(101), Heir::Nobody);
        },
        |scheduler, worker, _| {
            let _ = scheduler.next(worker, true);
        },
    ];
    for leave in leaves {
        let memory = Memory::with_room(8, 1, 2);
        let ([idle, busy], before) = idle_and_busy(&memory);
        let job = throttle(&memory);
        memory.run(before);
        let generation = memory.workers[busy as usize].word.load().generation();
        memory.locked(|scheduler| leave(scheduler, busy, generation));
        assert_eq!(memory.activity(idle), Activity::Busy(job.index));
        assert_eq!(*memory.lock.woken.borrow(), [proc(100)]);
        memory.check();
    }
}

#[test]
fn an_idle_worker_takes_the_job_of_a_session_that_departs() {
    let memory = Memory::with_room(8, 1, 2);
    let ([idle, _], _) = idle_and_busy(&memory);
    let job = throttle(&memory);
    memory.locked(|scheduler| scheduler.depart(ProcRef::new(0, 1)));
    assert_eq!(memory.activity(idle), Activity::Busy(job.index));
    assert_eq!(*memory.lock.woken.borrow(), [proc(100)]);
    memory.check();
}

/// Its job was canceled before the process had started.
#[test]
fn a_fresh_process_without_a_job_makes_room_for_a_lane_in_need() {
    let memory = Memory::with_room(8, 2, 1);
    memory.stop_the_clock();
    let job = memory.queue(A);
    let decision = memory.spawn_decision(0, 1);
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
    memory.queue(B);
    let (worker, _, next) = memory.start(decision, proc(100));
    assert_eq!(next, NextStep::Restart);
    assert_eq!(memory.locked(|scheduler| scheduler.lane_key(worker)), B);
    memory.check();
}

#[test]
fn a_worker_above_the_lanes_limit_leaves_the_idle_ones_alone() {
    let memory = Memory::with_room(8, 1, 2);
    let ([idle, busy], job) = idle_and_busy(&memory);
    memory.lanes[0].limit.store(1, Ordering::Relaxed);
    assert_eq!(memory.complete(busy, job), NextStep::Retire);
    assert_eq!(memory.activity(idle), Activity::Idle);
    memory.check();
}

#[test]
fn a_process_that_was_told_to_make_room_has_no_worker_slot_to_leave() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let job = memory.queue(B);
    let recycled = memory.spawn_decision(1, 1);
    assert_eq!(recycled, SpawnDecision::Recycle(proc(100)));
    let exit =
        || memory.locked(|scheduler| scheduler.exit(worker, generation, proc(100), Heir::Nobody));
    assert_eq!(exit(), None);
    let next = memory.report_in(worker, generation, proc(101));
    assert_eq!(next.map(running), Some(job));
    assert_eq!(exit(), None);
    assert_eq!(memory.activity(worker), Activity::Busy(job.index));
    memory.check();
}

#[test]
fn a_worker_that_leaves_already_does_not_count_when_the_pool_must_shrink() {
    let memory = Memory::with_room(8, 1, 2);
    let ([leaving, busy], job) = idle_and_busy(&memory);
    memory.run(job);
    let shrink = |cap| memory.locked(|scheduler| scheduler.shrink(busy, cap));
    assert_eq!(shrink(1), None);
    assert_eq!(memory.activity(leaving), Activity::Exiting);
    assert_eq!(shrink(1), None, "one is left");
    assert_eq!(shrink(0), Some(NextStep::Retire));
    memory.check();
}

#[test]
fn no_more_idle_workers_are_dismissed_than_were_asked_for() {
    for lane in [None, Some(A)] {
        let memory = Memory::with_room(8, 1, 2);
        let ([_, busy], job) = idle_and_busy(&memory);
        assert_eq!(memory.complete(busy, job), NextStep::Idle);
        let woken = Cell::new(0);
        let wake = |_| woken.set(woken.get() + 1);
        let sent = memory.locked(|scheduler| scheduler.dismiss_idle(lane, 1, wake));
        assert_eq!((sent, woken.get()), (1, 1));
        let counts = memory.locked(|scheduler| scheduler.worker_counts());
        assert_eq!((counts.idle, counts.exiting), (1, 1));
    }
}
