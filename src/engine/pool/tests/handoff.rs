//! Dispatch without a wake-up.

use super::*;
use crate::pool::handoff::{Awake, LONGEST};

/// A lane of two workers that are idle. The first went idle last.
fn two_idle(memory: &Memory) -> [u32; 2] {
    let workers = [100, 101].map(|pid| {
        memory.queue(A);
        let (worker, _, next) = memory.start(memory.spawn_decision(0, 2), proc(pid));
        (worker, running(next))
    });
    for (worker, job) in workers.into_iter().rev() {
        assert_eq!(memory.complete(worker, job), NextStep::Idle);
    }
    workers.map(|(worker, _)| worker)
}

fn dispatch_awake(memory: &Memory, is_awake: impl Fn(ProcRef) -> bool) -> (JobId, Awake) {
    let job = memory.claim(Options::default(), &[]).expect("a free slot");
    let awake = memory.locked(|scheduler| scheduler.dispatch_awake(job, A, 0, AMPLE, is_awake));
    (job, awake)
}

/// The worker that went idle last gets a job, and is taken for busy with it.
fn occupy(memory: &Memory, worker: u32, run_time: Micros) -> JobId {
    memory.locked(|scheduler| scheduler.note_run_time(worker, run_time));
    let (job, dispatched, _) = memory.dispatch(A);
    assert_eq!(dispatched, Dispatched::Handed(proc(100)));
    job
}

#[test]
fn a_job_goes_to_the_idle_worker_that_is_awake() {
    let memory = Memory::with_room(8, 2, 2);
    let [_, second] = two_idle(&memory);
    let (job, awake) = dispatch_awake(&memory, |idle| idle == proc(101));
    assert_eq!(awake, Awake::Handed(proc(101), 0));
    assert_eq!(memory.phase(job), Some(Phase::Starting));
    assert_eq!(memory.slots[job.index as usize].worker(), second);
    memory.check();
}

#[test]
fn with_all_asleep_a_job_stays_reserved() {
    let memory = Memory::with_room(8, 2, 2);
    two_idle(&memory);
    let (job, awake) = dispatch_awake(&memory, |_| false);
    assert_eq!(awake, Awake::None);
    assert_eq!(memory.phase(job), Some(Phase::Reserved));
    memory.check();
}

#[test]
fn a_busy_worker_of_a_lane_of_short_jobs_is_worth_waiting_for() {
    let memory = Memory::with_room(8, 2, 2);
    let [first, _] = two_idle(&memory);
    let busy = occupy(&memory, first, 7);
    let (job, awake) = dispatch_awake(&memory, |_| false);
    let Awake::Wait(soon) = awake else {
        panic!("expected to wait, got {awake:?}");
    };
    assert_eq!(
        (soon.worker, soon.busy),
        (first, Activity::Busy(busy.index))
    );
    assert_eq!(memory.phase(job), Some(Phase::Reserved));
    memory.run(busy);
    let _ = memory.locked(|scheduler| scheduler.next(first, false));
    assert_ne!(
        memory.workers[first as usize].word.load().activity(),
        soon.busy
    );
    let again = memory.locked(|scheduler| scheduler.dispatch_awake(job, A, 0, AMPLE, |_| true));
    assert_eq!(again, Awake::Handed(proc(100), 0));
    memory.check();
}

#[test]
fn a_lane_is_waited_for_as_long_as_its_jobs_take_unless_that_is_long() {
    for (run_time, within) in [(7, Some(19)), (25, Some(LONGEST)), (26, None), (HOUR, None)] {
        let memory = Memory::with_room(8, 2, 2);
        let [first, _] = two_idle(&memory);
        occupy(&memory, first, run_time);
        let waits = match dispatch_awake(&memory, |_| false).1 {
            Awake::Wait(soon) => Some(soon.within),
            _ => None,
        };
        assert_eq!(waits, within, "{run_time}");
    }
}

#[test]
fn a_lane_without_history_is_not_waited_for() {
    let memory = Memory::with_room(8, 2, 2);
    two_idle(&memory);
    let (_, dispatched, _) = memory.dispatch(A);
    assert_eq!(dispatched, Dispatched::Handed(proc(100)));
    let (_, awake) = dispatch_awake(&memory, |_| false);
    assert_eq!(awake, Awake::None);
}

#[test]
fn a_longer_job_moves_the_mean_by_an_eighth_of_the_difference_and_a_shorter_one_by_half() {
    let memory = Memory::with_room(8, 2, 2);
    let [worker, _] = two_idle(&memory);
    // The last one counts as 200.
    for (run_time, mean) in [(8, 8), (16, 9), (24, 11), (1, 6), (HOUR, 31)] {
        memory.locked(|scheduler| scheduler.note_run_time(worker, run_time));
        assert_eq!(load(&memory.lanes[0].run_time), mean);
    }
}

#[test]
fn one_long_job_among_short_ones_hardly_counts() {
    let memory = Memory::with_room(8, 2, 2);
    let [first, _] = two_idle(&memory);
    for run_time in [7, 7, HOUR] {
        memory.locked(|scheduler| scheduler.note_run_time(first, run_time));
    }
    occupy(&memory, first, 7);
    let (_, awake) = dispatch_awake(&memory, |_| false);
    assert!(matches!(awake, Awake::Wait(_)), "{awake:?}");
}

#[test]
fn without_a_sleeping_worker_no_wake_up_is_saved() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, _, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    occupy(&memory, worker, 7);
    let (_, awake) = dispatch_awake(&memory, |_| true);
    assert_eq!(awake, Awake::None);
}

#[test]
fn a_worker_that_must_not_run_the_job_is_not_waited_for() {
    let memory = Memory::with_room(8, 2, 2);
    let [first, _] = two_idle(&memory);
    occupy(&memory, first, 7);
    let options = Options {
        by_pid: true,
        ..Options::default()
    };
    let job = memory.claim(options, &[100]).expect("a free slot");
    let awake = memory.locked(|scheduler| scheduler.dispatch_awake(job, A, 0, AMPLE, |_| false));
    assert_eq!(awake, Awake::None);
}

#[test]
fn only_a_few_idle_workers_are_looked_at() {
    let memory = Memory::with_room(64, 1, 40);
    let workers: Vec<_> = (0..40)
        .map(|number| {
            memory.queue(A);
            let started = memory.start(memory.spawn_decision(0, 40), proc(100 + number));
            (started.0, running(started.2))
        })
        .collect();
    for (worker, job) in workers {
        assert_eq!(memory.complete(worker, job), NextStep::Idle);
    }
    let looked_at = std::cell::RefCell::new(Vec::new());
    let (job, awake) = dispatch_awake(&memory, |proc| {
        looked_at.borrow_mut().push(proc.pid());
        false
    });
    assert_eq!(awake, Awake::None);
    let last: Vec<u32> = (123..140).rev().collect();
    assert_eq!(looked_at.take(), last, "those that went idle last");
    // As many as a job can exclude, and one more: a job that may run on one of them is handed to it.
    let excluded: Vec<u32> = last[..16].to_vec();
    memory.pool().abandon(job);
    let job = memory
        .claim(Options::default(), &excluded)
        .expect("a free slot");
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Handed(proc(123)));
}

#[test]
fn a_job_beyond_its_sessions_quota_is_not_handed_over() {
    for (bounded, limit, is_handed) in [(true, 1, false), (true, 2, true), (false, 1, true)] {
        let memory = Memory::with_room(8, 2, 2);
        let [first, _] = two_idle(&memory);
        occupy(&memory, first, HOUR);
        let options = Options {
            bounded,
            ..Options::default()
        };
        let launch = |limit| {
            let job = memory.claim(options, &[]).expect("a free slot");
            let awake =
                memory.locked(|scheduler| scheduler.dispatch_awake(job, A, 0, limit, |_| true));
            (job, awake)
        };
        let (job, awake) = launch(limit);
        assert_eq!(awake != Awake::None, is_handed, "{bounded}, {limit}");
        if !is_handed {
            let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, limit));
            assert_eq!(dispatched, Dispatched::Queued);
            assert_eq!(launch(AMPLE).1, Awake::None, "it would overtake");
        }
        memory.check();
    }
}
