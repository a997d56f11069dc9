//! What the pool tells about its jobs and workers.

use super::*;
use crate::pool::dispatch::Limits;
use crate::pool::sleep::Awaited;
use crate::pool::tally::Ends;
use crate::pool::view::WorkerCounts;

#[test]
fn a_queued_job_waits_for_a_worker_slot_or_for_a_permit() {
    let memory = Memory::with_room(4, 1, 1);
    let bounded = Options {
        bounded: true,
        ..Options::default()
    };
    let jobs = [(); 2].map(|()| {
        let job = memory.claim(bounded, &[]).expect("a free slot");
        let dispatched = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, 1));
        assert_eq!(dispatched, (Dispatched::Queued, 0));
        job
    });
    let awaited = || jobs.map(|job| memory.locked(|scheduler| scheduler.awaited_by(job, |_| ())));
    let throttled = || jobs.map(|job| memory.slot(job).is_throttled());
    assert_eq!(
        awaited(),
        [
            Awaited::WorkerSlot,
            Awaited::Permit {
                behind_queued: true
            }
        ]
    );
    assert_eq!(throttled(), [false, true]);
    assert_eq!(memory.pool().queued(), 2);
    let _ = memory.pool().cancel(jobs[0], Demand::Cancel, |_| ());
    assert_eq!(awaited(), [Awaited::Nothing, Awaited::WorkerSlot]);
    assert_eq!(throttled(), [false, false]);
    assert_eq!(memory.pool().queued(), 1);
}

#[test]
fn workers_are_counted_by_what_they_do() {
    let memory = Memory::with_room(8, 3, 4);
    let queued = memory.queue(A);
    let (busy, _, next) = memory.start(memory.spawn_decision(0, 4), proc(100));
    let job = running(next);
    assert_eq!(job, queued);
    memory.queue(B);
    let (idle, _, next) = memory.start(memory.spawn_decision(1, 4), proc(101));
    assert_eq!(memory.complete(idle, running(next)), NextStep::Idle);
    let waiting = memory.queue(C);
    let SpawnDecision::Start {
        worker: starting, ..
    } = memory.spawn_decision(2, 4)
    else {
        panic!("a worker slot is vacant");
    };
    let vacant = 3;
    let counts = WorkerCounts {
        starting: 1,
        idle: 1,
        busy: 1,
        exiting: 0,
    };
    memory.locked(|scheduler| {
        assert_eq!(scheduler.worker_counts(), counts);
        let occupants: Vec<_> = scheduler.occupants(0).collect();
        assert_eq!(occupants, [Some(proc(100)), None, None]);
        let lanes = [busy, idle, starting, vacant].map(|worker| scheduler.lane_of_jobless(worker));
        assert_eq!(lanes, [None, Some(B), Some(C), None]);
        assert_eq!(scheduler.proc_to_wake(job), Some(proc(100)));
        assert_eq!(scheduler.proc_to_wake(waiting), None);
        let assigned = [busy, idle, starting].map(|worker| scheduler.assigned(worker));
        assert_eq!(assigned, [Some(job), None, None]);
        // At its limit, a lane is served by its own workers alone.
        let limits = Limits {
            session_jobs: AMPLE,
            lane_workers: 1,
        };
        scheduler.limit_lane(0, limits);
        let occupants: Vec<_> = scheduler.occupants(0).collect();
        assert_eq!(occupants, [Some(proc(100))]);
        assert_eq!(scheduler.dismiss_idle(None, 9, |_| ()), 1);
        let counts = WorkerCounts {
            idle: 0,
            exiting: 1,
            ..counts
        };
        assert_eq!(scheduler.worker_counts(), counts);
    });
    memory.run(job);
    memory.locked(|scheduler| {
        assert_eq!(scheduler.assigned(busy), None, "it has begun");
        assert_eq!(scheduler.proc_to_wake(job), None, "it has ended");
    });
}

#[test]
fn a_lane_is_warmed_up_as_far_as_it_may_grow() {
    let memory = Memory::with_room(1, 2, 4);
    let prewarm = |key, wanted, lane_limit, cap| {
        memory.locked(|scheduler| {
            let (ready, claimed) = scheduler.prewarm(key, wanted, lane_limit, cap);
            (ready, claimed.is_some())
        })
    };
    assert_eq!(prewarm(A, 1, 0, 3), (0, true));
    assert_eq!(prewarm(A, 1, 0, 3), (1, false), "enough");
    assert_eq!(prewarm(A, 2, 1, 3), (1, false), "the lane's limit");
    assert_eq!(prewarm(A, 2, 2, 3), (1, true));
    assert_eq!(prewarm(B, 1, 0, 2), (0, false), "the pool's limit");
    assert_eq!(prewarm(B, 1, 0, 3), (0, true));
    assert_eq!(prewarm(C, 1, 0, 4), (0, false), "no room for another lane");
}

#[test]
fn a_process_that_exits_is_given_nothing_any_more() {
    let memory = Memory::with_room(4, 1, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    let begin_exit = |generation, pid| {
        memory.locked(|scheduler| scheduler.begin_exit(worker, generation, proc(pid)))
    };
    assert!(begin_exit(generation, 100), "with a job");
    assert!(matches!(memory.activity(worker), Activity::Busy(_)));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    assert!(!begin_exit(generation + 1, 100), "of another process");
    assert!(!begin_exit(generation, 101), "of another process");
    assert_eq!(memory.activity(worker), Activity::Idle);
    assert!(begin_exit(generation, 100));
    assert_eq!(memory.activity(worker), Activity::Exiting);
    let (_, dispatched, _) = memory.dispatch(A);
    assert_eq!(dispatched, Dispatched::Queued);
}

#[test]
fn a_job_that_its_session_has_not_counted_is_counted_for_it_once() {
    let memory = Memory::with_room(4, 1, 1);
    let session = ProcRef::new(0, 1);
    let ended = |counted: bool| {
        let job = memory.queue(A);
        let entry = &memory.leaders[0];
        memory.slot(job).set_account(entry);
        let _ = memory.pool().cancel(job, Demand::Cancel, |_| ());
        assert!(!counted || memory.slot(job).take_account());
        job
    };
    let ends = || memory.locked(|scheduler| scheduler.ends_of(session));
    memory.locked(|scheduler| scheduler.enroll(session));
    memory.pool().count_end(ended(true));
    assert_eq!(ends(), Ends::default(), "its session has counted it");
    let job = ended(false);
    for _ in 0..2 {
        memory.pool().count_end(job);
    }
    assert!(!memory.slot(job).take_account());
    assert_eq!((ends().canceled, ends().total()), (1, 1));
    // The session has ended, and the next one has its entry.
    let job = ended(false);
    let next = ProcRef::new(0, 2);
    memory.locked(|scheduler| scheduler.enroll(next));
    memory.pool().count_end(job);
    assert_eq!(ends(), Ends::default(), "it is no session's any more");
    assert_eq!(
        memory.locked(|scheduler| scheduler.ends_of(next)),
        Ends::default()
    );
}

#[test]
fn ends_are_counted_by_phase_with_their_run_time() {
    let mut ends = Ends::default();
    for (phase, run_time) in [
        (Phase::Completed, 1),
        (Phase::Failed, 10),
        (Phase::Failed, 10),
        (Phase::Canceled, 100),
        (Phase::Canceled, 100),
        (Phase::Canceled, 100),
    ] {
        ends.count(phase, run_time);
    }
    let expected = Ends {
        completed: 1,
        failed: 2,
        canceled: 3,
        run_time: 321,
    };
    assert_eq!((ends, ends.total()), (expected, 6));
    let others = Ends {
        completed: 10,
        failed: 20,
        canceled: 30,
        run_time: 400,
    };
    let all = Ends {
        completed: 11,
        failed: 22,
        canceled: 33,
        run_time: 721,
    };
    assert_eq!(ends.and(others), all);
    let shared = crate::pool::tally::SharedEnds::default();
    shared.store(ends);
    assert_eq!(shared.load(), ends);
}

#[test]
fn a_job_has_run_from_its_begin_to_its_end() {
    let memory = Memory::with_room(1, 1, 1);
    let slot = &memory.slots[0];
    for (started, finished, run_time) in [(0, 350, 0), (100, 350, 250), (100, 50, 0)] {
        slot.started_at.store(started, Ordering::Relaxed);
        slot.finished_at.store(finished, Ordering::Relaxed);
        assert_eq!(slot.run_time(), run_time);
    }
}

/// The log names it by that.
#[test]
fn a_word_that_has_changed_is_found_by_its_address() {
    use crate::transitions::{GATE, JOB, USAGE, WORKER};
    use protocol_kit::observe::Made;
    use std::ptr::from_ref;
    let memory = Memory::with_room(2, 1, 2);
    let shared = memory.pool().shared();
    for index in 0..2 {
        let at = index as usize;
        let words = [
            (&JOB, from_ref(&shared.jobs.slot(index).word).addr()),
            (&WORKER, from_ref(&shared.workers[at].word).addr()),
            (&GATE, from_ref(&shared.leaders[at].gate.word).addr()),
            (&USAGE, from_ref(&shared.usages[at]).addr()),
        ];
        for (table, address) in words {
            let made = Made {
                table,
                transition: 0,
                address,
                before: 0,
                after: 1,
            };
            assert_eq!(scheduler::index_of(&shared.words(), &made), index);
        }
    }
}
