//! Waiting for room in the job table: one freed slot wakes one waiter, and none is forgotten.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use loom_tests::memory::{Memory, process};
use pg_background::engine::job::{End, Release};
use pg_background::engine::party::Party;
use pg_background::engine::table::JobId;
use pg_background::engine::wait::{NoVigil, wait_for};
use std::cell::Cell;

/// What a launch does that finds the table full.
fn claim(memory: &Memory, own: Party) -> JobId {
    let waiting = Cell::new(false);
    let job = wait_for(
        memory.bell(own),
        None,
        &mut NoVigil,
        || memory.pool().await_room(own, waiting.replace(true)),
        || memory.jobs().claim(),
    );
    if waiting.get() {
        memory.pool().leave_room(own, true);
    }
    job.expect("there is no deadline")
}

/// From its claim to its end, and the slot is free again.
fn use_up(memory: &Memory, job: JobId) {
    let word = &memory.slot(job).word;
    word.publish(job.generation);
    let _ = word.bind(job.generation);
    let _ = word.finish(job.generation, End::Completed);
    assert_eq!(word.detach(job.generation), Release::LastOut);
    memory.pool().free(job);
}

/// A table of one slot, which is in use. It is freed while two sessions wait for it, or are about to: both
/// get it, one after the other. A waiter that was called and found a newcomer faster goes back to the front.
/// A wake-up that was lost would be a deadlock.
///
/// Three threads, at most three preemptions.
#[test]
fn a_freed_slot_reaches_everybody_who_waits() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = Memory::new(1, 1, 3);
        let held = memory.jobs().claim().expect("the only slot");
        let waiters: Vec<_> = [1, 2]
            .map(|number| {
                let memory = memory.clone();
                thread::spawn(move || {
                    let job = claim(&memory, process(number));
                    use_up(&memory, job);
                })
            })
            .into_iter()
            .collect();
        use_up(&memory, held);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(memory.jobs().used(), 0);
    });
}

/// Of two that wait one gives up, whether it has been called or not: the call reaches the other.
///
/// Three threads, at most three preemptions.
#[test]
fn a_waiter_that_gives_up_passes_its_call_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = Memory::new(1, 1, 3);
        let held = memory.jobs().claim().expect("the only slot");
        let (impatient, patient) = (process(1), process(2));
        // First in the queue, so that the call is its.
        memory.pool().await_room(impatient, false);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = claim(&memory, patient);
                use_up(&memory, job);
            })
        };
        let leaver = {
            let memory: Arc<Memory> = memory.clone();
            thread::spawn(move || memory.pool().leave_room(impatient, false))
        };
        use_up(&memory, held);
        leaver.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(memory.jobs().used(), 0);
    });
}
