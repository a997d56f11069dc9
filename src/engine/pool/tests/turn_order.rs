//! Turns: who gets a worker slot, and when.

use super::*;
use crate::pool::turns::{LONGEST_TURN, PATIENCE};

/// A pool with these worker slots in which time passes only by [`Memory::pass`].
fn memory(lanes: usize, workers: usize) -> Memory {
    let memory = Memory::with_room(64, lanes, workers);
    memory.stop_the_clock();
    memory
}

fn key(role: u32) -> LaneKey {
    LaneKey { database: 1, role }
}

/// Queues a job in a lane, and starts a process for it, which takes the longest start.
fn start(memory: &Memory, key: LaneKey, pid: u32) -> (u32, u32, JobId) {
    let job = memory.queue(key);
    let lane = memory.slot(job).lane();
    let decision = memory.spawn_decision(lane, u32::MAX);
    memory.pass(LONGEST_TURN);
    let (worker, generation, next) = memory.start(decision, proc(pid));
    assert_eq!(running(next), job);
    (worker, generation, job)
}

fn lane_of(memory: &Memory, worker: u32) -> LaneKey {
    memory.locked(|scheduler| scheduler.lane_key(worker))
}

#[test]
fn a_process_keeps_its_worker_slot_for_its_turn() {
    let memory = memory(2, 1);
    let (worker, generation, mut job) = start(&memory, A, 100);
    let other = memory.queue(B);
    for _ in 0..10 {
        memory.pass(LONGEST_TURN / 10 - 1);
        let next = memory.queue(A);
        assert_eq!(
            memory.complete(worker, job),
            NextStep::Run {
                job: next,
                leader: None
            }
        );
        job = next;
    }
    memory.pass(LONGEST_TURN);
    memory.queue(A);
    assert_eq!(memory.complete(worker, job), NextStep::Restart);
    assert_eq!(lane_of(&memory, worker), B);
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), other);
    memory.check();
}

#[test]
fn a_turn_lasts_a_few_times_what_a_start_takes() {
    let memory = memory(2, 1);
    let job = memory.queue(A);
    let decision = memory.spawn_decision(0, 1);
    memory.pass(1_000);
    let began = memory.lock.clock.get();
    let (worker, _, next) = memory.start(decision, proc(100));
    assert_eq!(running(next), job);
    assert_eq!(memory.workers[worker as usize].turn_end() - began, 8_000);
}

#[test]
fn an_idle_worker_stays_until_its_turn_is_over() {
    let memory = memory(2, 1);
    let (worker, generation, job) = start(&memory, A, 100);
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    let other = memory.queue(B);
    assert_eq!(
        memory.spawn_decision(memory.slot(other).lane(), 1),
        SpawnDecision::Full
    );
    let end_turn = || memory.locked(|scheduler| scheduler.end_turn(worker, generation));
    assert_eq!(end_turn(), None, "too early");
    let look_at = memory.workers[worker as usize].look_at();
    memory.pass(LONGEST_TURN);
    assert_eq!(look_at, Some(memory.lock.clock.get()));
    assert_eq!(end_turn(), Some(NextStep::Restart));
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), other);
    memory.check();
}

#[test]
fn only_the_process_of_a_worker_slot_that_is_idle_ends_its_turn() {
    let memory = memory(2, 1);
    let (worker, generation, job) = start(&memory, A, 100);
    memory.pass(LONGEST_TURN);
    let end_turn = |generation| memory.locked(|scheduler| scheduler.end_turn(worker, generation));
    assert_eq!(end_turn(generation), None);
    assert_eq!(memory.activity(worker), Activity::Busy(job.index));
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    memory.queue(B);
    assert_eq!(end_turn(generation + 1), None);
    assert_eq!(memory.activity(worker), Activity::Idle);
    memory.check();
    assert_eq!(end_turn(generation), Some(NextStep::Restart));
    memory.check();
}

/// Its job was canceled before the process had started.
#[test]
fn a_fresh_process_without_a_job_looks_again_at_its_turns_end() {
    let memory = memory(2, 1);
    let job = memory.queue(A);
    let decision = memory.spawn_decision(0, 1);
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
    let SpawnDecision::Start { worker, generation } = decision else {
        panic!("{decision:?}");
    };
    assert_eq!(
        memory.report_in(worker, generation, proc(100)),
        Some(NextStep::Idle)
    );
    assert_ne!(memory.workers[worker as usize].look_at(), None);
    memory.check();
}

#[test]
fn an_idle_worker_whose_turn_is_over_makes_room_before_one_whose_turn_is_not() {
    let memory = memory(3, 2);
    let (old, _, job) = start(&memory, A, 100);
    memory.pass(LONGEST_TURN);
    let (young, _, other) = start(&memory, B, 101);
    assert_eq!(memory.complete(old, job), NextStep::Idle);
    assert_eq!(memory.complete(young, other), NextStep::Idle);
    memory.queue(C);
    memory.queue(C);
    assert_eq!(
        memory.spawn_decision(2, 2),
        SpawnDecision::Recycle(proc(100))
    );
    assert_eq!(memory.spawn_decision(2, 2), SpawnDecision::Full);
    memory.check();
}

#[test]
fn lanes_with_nobody_are_served_in_the_order_in_which_they_came() {
    let memory = memory(6, 1);
    let (worker, generation, mut job) = start(&memory, key(1), 100);
    for role in [4, 2, 5, 3] {
        memory.queue(key(role));
        memory.pass(1);
    }
    let mut served = Vec::new();
    for pid in 101..109 {
        let own = lane_of(&memory, worker);
        memory.queue(own);
        memory.pass(LONGEST_TURN);
        assert_eq!(memory.complete(worker, job), NextStep::Restart);
        served.push(lane_of(&memory, worker).role);
        memory.pass(LONGEST_TURN);
        job = running(memory.report_in(worker, generation, proc(pid)).unwrap());
        memory.check();
    }
    assert_eq!(served, [4, 2, 5, 3, 1, 4, 2, 5]);
}

/// Two lanes that flood share the worker slots, and keep their shares.
#[test]
fn lanes_that_flood_come_to_have_as_many_workers() {
    let memory = memory(2, 4);
    let mut jobs: Vec<(u32, JobId)> = (0..4)
        .map(|pid| {
            let (worker, _, job) = start(&memory, A, 100 + pid);
            (worker, job)
        })
        .collect();
    for _ in 0..4 {
        memory.queue(A);
        memory.queue(B);
    }
    memory.pass(LONGEST_TURN);
    let mut restarts = 0;
    for round in 0..12 {
        for (worker, job) in &mut jobs {
            let key = lane_of(&memory, *worker);
            let next = memory.complete(*worker, *job);
            assert_eq!(memory.word(*job).detach(job.generation), Release::LastOut);
            memory.pool().free(*job);
            *job = match next {
                NextStep::Run { job, .. } => job,
                NextStep::Restart => {
                    restarts += 1;
                    memory.pass(1_000);
                    let generation = memory.workers[*worker as usize].word.load().generation();
                    let pid = 200 + round * 10 + *worker;
                    running(memory.report_in(*worker, generation, proc(pid)).unwrap())
                }
                other => panic!("{other:?}"),
            };
            memory.queue(key);
            memory.check();
        }
        memory.pass(LONGEST_TURN);
    }
    assert_eq!(restarts, 2);
    for key in [A, B] {
        let count = jobs
            .iter()
            .filter(|(worker, _)| lane_of(&memory, *worker) == key);
        assert_eq!(count.count(), 2);
    }
}

/// A job waits for another job of its lane: the lane counts as one with nobody.
#[test]
fn a_lane_whose_worker_waits_for_a_job_has_nobody() {
    let memory = memory(3, 2);
    let (parent, _, _) = start(&memory, A, 100);
    let (other, generation, job) = start(&memory, B, 101);
    let child = memory.queue(A);
    memory.queue(C);
    memory.queue(B);
    // Before the parent waits, the lane has somebody, and C has not.
    let first = || memory.locked(|scheduler| scheduler.first_in_need());
    assert_eq!(first(), Some(2));
    let _ = memory.pool().cancel(
        memory.pool().locked(|scheduler| scheduler.job_in(3)),
        Demand::Cancel,
        |_| {},
    );
    memory.locked(|scheduler| scheduler.note_waiting(parent, proc(100), true));
    memory.check();
    memory.pass(LONGEST_TURN);
    assert_eq!(memory.complete(other, job), NextStep::Restart);
    let next = memory.report_in(other, generation, proc(102)).unwrap();
    assert_eq!(running(next), child);
    memory.locked(|scheduler| scheduler.note_waiting(parent, proc(100), false));
    memory.check();
}

#[test]
fn only_the_process_of_a_worker_slot_says_that_it_waits() {
    let memory = memory(1, 1);
    let (worker, _, job) = start(&memory, A, 100);
    memory.locked(|scheduler| scheduler.note_waiting(worker, proc(99), true));
    assert_eq!(load(&memory.lanes[0].waiting), 0);
    memory.locked(|scheduler| scheduler.note_waiting(worker, proc(100), true));
    assert_eq!(load(&memory.lanes[0].waiting), 1);
    // It was interrupted, and did not say that it waits no more.
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    memory.check();
    assert_eq!(load(&memory.lanes[0].waiting), 0);
}

/// A lane with somebody, who takes no job for too long, comes before lanes that came later.
#[test]
fn a_lane_that_is_overdue_comes_first() {
    let memory = memory(4, 2);
    let (_stuck, _, _) = start(&memory, key(1), 100);
    let (worker, generation, job) = start(&memory, key(2), 101);
    let late = memory.queue(key(1));
    memory.pass(PATIENCE / 2);
    memory.queue(key(3));
    memory.pass(PATIENCE / 2);
    assert_eq!(memory.complete(worker, job), NextStep::Restart);
    let next = memory.report_in(worker, generation, proc(102)).unwrap();
    assert_eq!(running(next), late);
    memory.check();
}

#[test]
fn a_lane_of_which_jobs_are_taken_is_not_overdue() {
    let memory = memory(4, 2);
    let (busy, _, running_job) = start(&memory, key(1), 100);
    let (worker, _, job) = start(&memory, key(2), 101);
    let taken = memory.queue(key(1));
    memory.queue(key(1));
    memory.pass(PATIENCE - 1);
    assert_eq!(
        memory.complete(busy, running_job),
        NextStep::Run {
            job: taken,
            leader: None
        }
    );
    memory.queue(key(2));
    memory.pass(1);
    assert!(matches!(memory.complete(worker, job), NextStep::Run { .. }));
    memory.check();
}

/// Whatever others do, a worker of a lane that was passed over keeps its own worker slot.
#[test]
fn an_own_lane_that_is_overdue_keeps_its_worker_slot() {
    let memory = memory(2, 1);
    let (worker, _, job) = start(&memory, A, 100);
    let own = memory.queue(A);
    memory.pass(PATIENCE);
    memory.queue(B);
    assert_eq!(
        memory.complete(worker, job),
        NextStep::Run {
            job: own,
            leader: None
        }
    );
    memory.queue(A);
    memory.pass(LONGEST_TURN);
    assert_eq!(memory.complete(worker, own), NextStep::Restart);
    assert_eq!(lane_of(&memory, worker), B);
    memory.check();
}

#[test]
fn an_unused_entry_serves_the_lane_that_comes_next() {
    let memory = memory(2, 2);
    for role in 1..10 {
        let job = memory.queue(key(role));
        assert_eq!(memory.slot(job).lane(), (role - 1) % 2);
        memory.check();
        let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
        memory.check();
    }
    // The one that has been unused longest is given away; the other is still known.
    let job = memory.queue(key(8));
    assert_eq!(memory.slot(job).lane(), 1);
    let another = memory.queue(key(10));
    assert_eq!(memory.slot(another).lane(), 0);
    let (_, dispatched, _) = memory.dispatch(key(9));
    assert_eq!(dispatched, Dispatched::NoLane);
    memory.check();
}

/// A session that has just read its job's result launches the next one before the worker has asked for it.
#[test]
fn no_process_is_started_for_a_job_that_a_finishing_worker_will_take() {
    let memory = memory(1, 2);
    let (worker, _, job) = start(&memory, A, 100);
    memory.pool().note_finishing(worker);
    memory.run(job);
    memory.pool().note_finishing(worker);
    let next = memory.queue(A);
    assert_eq!(memory.spawn_decision(0, 2), SpawnDecision::Enough);
    memory.queue(A);
    assert!(matches!(
        memory.spawn_decision(0, 2),
        SpawnDecision::Start { .. }
    ));
    let does = memory.locked(|scheduler| scheduler.next(worker, false));
    assert_eq!(running(does), next);
    memory.check();
}

/// A worker slot is vacant again, because the server had no room for the process that was to have it.
#[test]
fn a_vacant_worker_slot_is_not_for_the_lane_that_launches_first() {
    let memory = memory(3, 2);
    let _ = start(&memory, A, 100);
    let _ = start(&memory, B, 101);
    let waits = memory.queue(C);
    assert_eq!(memory.spawn_decision(2, 1), SpawnDecision::Full);
    memory.queue(A);
    let decision = memory.spawn_decision(0, 3);
    assert_eq!(
        decision,
        SpawnDecision::Full,
        "both worker slots are in use"
    );
    memory.locked(|scheduler| scheduler.vacate(1));
    memory.queue(A);
    let (_, _, next) = memory.start(memory.spawn_decision(0, 2), proc(102));
    assert_eq!(running(next), waits);
}

/// A session's jobs each need another process than the one before.
#[test]
fn a_lane_does_not_get_a_new_turn_by_another_process() {
    let memory = memory(2, 1);
    let (worker, generation, job) = start(&memory, A, 100);
    let end = memory.workers[worker as usize].turn_end();
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    let waits = memory.queue(B);
    memory.pass(LONGEST_TURN / 2);
    let excluding = memory
        .claim(Options::default(), &[100])
        .expect("a free slot");
    let (dispatched, lane) = memory.locked(|scheduler| scheduler.dispatch(excluding, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Queued);
    assert_eq!(
        memory.spawn_decision(lane, 1),
        SpawnDecision::Recycle(proc(100))
    );
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), excluding);
    assert_eq!(memory.workers[worker as usize].turn_end(), end);
    memory.check();
    memory.pass(LONGEST_TURN / 2);
    let another = memory
        .claim(Options::default(), &[101])
        .expect("a free slot");
    let _ = memory.locked(|scheduler| scheduler.dispatch(another, A, 0, AMPLE));
    assert_eq!(memory.complete(worker, excluding), NextStep::Restart);
    let next = memory.report_in(worker, generation, proc(102)).unwrap();
    assert_eq!(running(next), waits);
    memory.check();
}

/// The lane's own process is on its way; that others are in need is nothing to its session.
#[test]
fn a_session_is_told_about_its_own_lane() {
    let memory = memory(2, 1);
    memory.queue(A);
    assert!(matches!(
        memory.spawn_decision(0, 1),
        SpawnDecision::Start { .. }
    ));
    memory.queue(B);
    assert_eq!(memory.spawn_decision(1, 1), SpawnDecision::Full);
    assert_eq!(memory.spawn_decision(0, 1), SpawnDecision::Enough);
}

/// Its worker waits for short moments, again and again.
#[test]
fn a_lane_keeps_its_place_when_its_worker_waits() {
    let memory = memory(4, 2);
    let (waiter, _, _) = start(&memory, key(1), 100);
    let _ = start(&memory, key(2), 101);
    memory.queue(key(1));
    memory.pass(1);
    memory.queue(key(3));
    for waits in [true, false, true] {
        memory.pass(1);
        memory.locked(|scheduler| scheduler.note_waiting(waiter, proc(100), waits));
        memory.check();
    }
    let first = memory.locked(|scheduler| scheduler.first_in_need());
    assert_eq!(
        first,
        Some(memory.locked(|scheduler| scheduler.lane_index(waiter)))
    );
}

/// A worker slot does not go to and fro between lanes that differ by one worker.
#[test]
fn a_lane_with_one_worker_less_has_to_wait() {
    let memory = memory(2, 3);
    let (worker, _, job) = start(&memory, A, 100);
    let _ = start(&memory, A, 101);
    let _ = start(&memory, B, 102);
    let own = memory.queue(A);
    memory.queue(B);
    memory.pass(LONGEST_TURN);
    assert_eq!(running(memory.complete(worker, job)), own);
}

#[test]
fn a_start_moves_the_mean_by_an_eighth_of_the_difference() {
    let memory = memory(2, 2);
    let start_in = |time: Micros, key, pid| {
        let job = memory.queue(key);
        let decision = memory.spawn_decision(memory.slot(job).lane(), 2);
        memory.pass(time);
        let began = memory.lock.clock.get();
        let (worker, _, _) = memory.start(decision, proc(pid));
        memory.workers[worker as usize]
            .turn_end
            .load(Ordering::Relaxed)
            - began
    };
    assert_eq!(start_in(1_000, A, 100), 8_000);
    // 1000 - 125 + 325
    assert_eq!(start_in(2_600, B, 101), 9_600);
}

#[test]
fn a_lane_with_nobody_comes_before_one_that_is_overdue_for_less_long() {
    let memory = memory(4, 2);
    let _ = start(&memory, key(1), 100);
    let (worker, _, job) = start(&memory, key(2), 101);
    memory.queue(key(3));
    memory.pass(1);
    memory.queue(key(1));
    memory.pass(PATIENCE);
    assert_eq!(memory.complete(worker, job), NextStep::Restart);
    assert_eq!(lane_of(&memory, worker), key(3));
}

/// A process does not start. Returns what becomes of its worker slot.
fn fail_to_start(memory: &Memory, (worker, generation): (u32, u32), pid: u32) -> NextStep {
    let next = memory.locked(|scheduler| {
        assert!(scheduler.report_in(worker, generation, proc(pid)));
        assert!(scheduler.lane_works(scheduler.lane_index(worker)));
        scheduler.exit(worker, generation, proc(pid), Heir::NotStalled)
    });
    memory.check();
    next.expect("it was its own")
}

/// Lanes that work, each of which has another job; and the worker slot of a process that is to start for the first one.
fn working_and_in_need<const N: usize>(keys: [LaneKey; N]) -> (Memory, (u32, u32)) {
    let workers = N as u32 + 1;
    let memory = memory(N, N + 1);
    for (key, pid) in keys.into_iter().zip(100..) {
        let _ = start(&memory, key, pid);
        memory.queue(key);
    }
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, workers) else {
        panic!("a worker slot is vacant");
    };
    assert_eq!(lane_of(&memory, worker), keys[0]);
    (memory, (worker, generation))
}

/// If a worker slot went from one lane whose starts fail to another, it would go back and forth without end.
#[test]
fn failed_starts_pass_a_worker_slot_through_each_lane_once() {
    let (memory, place) = working_and_in_need([A, B, C]);
    let mut starts = Vec::new();
    for pid in 200.. {
        starts.push(lane_of(&memory, place.0));
        if fail_to_start(&memory, place, pid) == NextStep::Retire {
            break;
        }
    }
    assert_eq!(starts, [A, B, C]);
    assert_eq!(memory.activity(place.0), Activity::Vacant);
}

#[test]
fn a_lane_is_stalled_until_a_start_succeeds_or_it_has_no_worker() {
    for succeeds in [true, false] {
        let (memory, place) = working_and_in_need([A, B]);
        assert_eq!(fail_to_start(&memory, place, 200), NextStep::Restart);
        assert_eq!(fail_to_start(&memory, place, 201), NextStep::Retire);
        let lanes = [&memory.lanes[0], &memory.lanes[1]];
        assert_eq!(lanes.map(Lane::is_stalled), [true; 2]);
        if succeeds {
            let (_, _, next) = memory.start(memory.spawn_decision(1, 3), proc(300));
            let _ = running(next);
        } else {
            let exit = |generation| {
                memory.locked(|scheduler| scheduler.exit(1, generation, proc(101), Heir::Nobody))
            };
            let generation = memory.workers[1].word.load().generation();
            let job = memory
                .locked(|scheduler| scheduler.assigned(1))
                .expect("its first job");
            memory.run(job);
            assert_eq!(exit(generation), Some(NextStep::Retire));
        }
        assert_eq!(lanes.map(Lane::is_stalled), [true, false]);
        memory.check();
    }
}

#[test]
fn another_lane_with_the_entry_of_a_stalled_one_is_not_stalled() {
    let (memory, place) = working_and_in_need([A]);
    assert_eq!(fail_to_start(&memory, place, 200), NextStep::Retire);
    let lane = &memory.lanes[0];
    assert!(lane.is_stalled());
    let job = memory
        .locked(|scheduler| scheduler.assigned(0))
        .expect("its first job");
    let next = memory.complete(0, job);
    assert_eq!(memory.complete(0, running(next)), NextStep::Idle);
    memory.locked(|scheduler| scheduler.dismiss_idle(None, 1, |_| ()));
    let generation = memory.workers[0].word.load().generation();
    assert_eq!(
        memory.locked(|scheduler| scheduler.awakened(0, generation)),
        Some(NextStep::Retire)
    );
    let _ = start(&memory, B, 300);
    assert_eq!(lane.key(), B);
    assert!(!lane.is_stalled());
}

#[test]
fn a_lane_that_comes_to_be_in_need_again_comes_last() {
    let memory = memory(3, 1);
    let _ = start(&memory, A, 100);
    let canceled = memory.queue(B);
    let _ = memory.pool().cancel(canceled, Demand::Cancel, |_| {});
    memory.pass(1);
    let first = memory.queue(C);
    memory.pass(1);
    memory.queue(B);
    let in_need = memory.locked(|scheduler| scheduler.first_in_need());
    assert_eq!(in_need, Some(memory.slot(first).lane()));
}

#[test]
fn vacant_worker_slots_go_to_the_lanes_in_need_by_turns() {
    let memory = memory(3, 6);
    for _ in 0..4 {
        memory.queue(A);
        memory.queue(B);
        memory.pass(1);
    }
    let served = [(); 6].map(|()| {
        memory.pass(1);
        // For a lane that needs none.
        let SpawnDecision::Start { worker, .. } = memory.spawn_decision(2, 6) else {
            panic!("a worker slot is vacant");
        };
        lane_of(&memory, worker)
    });
    assert_eq!(served, [A, B, A, B, A, B]);
}

/// Its own lane is overdue, but no other lane is in need.
#[test]
fn a_turn_that_is_over_does_not_begin_again_without_need() {
    let memory = memory(2, 1);
    let (worker, _, job) = start(&memory, A, 100);
    let own = memory.queue(A);
    memory.pass(PATIENCE);
    assert_eq!(running(memory.complete(worker, job)), own);
    memory.queue(A);
    memory.queue(B);
    assert_eq!(memory.complete(worker, own), NextStep::Restart);
    assert_eq!(lane_of(&memory, worker), B);
}

/// Otherwise its lane would have nobody.
#[test]
fn the_last_worker_of_a_lane_with_jobs_is_replaced_when_it_dies() {
    for (pids, successor) in [(&[101][..], A), (&[101, 102], B)] {
        let memory = memory(2, 1 + pids.len());
        let _ = start(&memory, B, 100);
        memory.queue(B);
        memory.pass(1);
        let dying: Vec<_> = pids.iter().map(|&pid| start(&memory, A, pid)).collect();
        memory.queue(A);
        let (worker, generation, job) = dying[0];
        memory.run(job);
        let exit =
            memory.locked(|scheduler| scheduler.exit(worker, generation, proc(101), Heir::Anyone));
        assert_eq!(exit, Some(NextStep::Restart));
        assert_eq!(lane_of(&memory, worker), successor);
        memory.check();
    }
}

/// It looks at its turn's end.
#[test]
fn a_worker_slot_that_cannot_be_passed_on_is_left_to_a_worker_that_will_look() {
    let memory = memory(2, 1);
    let (worker, _, job) = start(&memory, A, 100);
    memory.queue(B);
    let pass_on = || memory.locked(|scheduler| scheduler.pass_on());
    assert!(pass_on(), "it is busy");
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    assert!(pass_on(), "it is idle, and its turn is not over");
    assert_eq!(memory.activity(worker), Activity::Idle);
    memory.check();
}

/// The other lane is in need for longer, but not urgent.
#[test]
fn a_vacant_worker_slot_is_for_the_lane_that_launches_if_it_may_grow() {
    for (limit, served) in [(0, A), (1, B)] {
        let memory = memory(2, 3);
        let _ = start(&memory, B, 100);
        memory.queue(B);
        memory.pass(1);
        let _ = start(&memory, A, 101);
        let lane = dispatch_limited(&memory, A, limit);
        let SpawnDecision::Start { worker, .. } = memory.spawn_decision(lane, 3) else {
            panic!("a worker slot is vacant");
        };
        assert_eq!(lane_of(&memory, worker), served);
    }
}
