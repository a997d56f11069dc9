//! The gate of a session, one process at a time. The models have what happens at once.

use super::*;
use crate::pool::cancel::Canceling;
use crate::pool::gate::Purged;
use crate::pool::words::{ASKED, PURGES, WAITS, WITHIN};

const SESSION: (u32, u32) = (0, 1);

fn session() -> ProcRef {
    ProcRef::new(SESSION.0, SESSION.1)
}

/// A pool whose first session is there.
fn memory() -> Memory {
    let memory = Memory::with_room(2, 1, 1);
    memory.leaders[0].enroll(session());
    memory
}

fn gate(memory: &Memory) -> u32 {
    load(&memory.leaders[0].gate.word)
}

/// A finished job that its session holds.
fn finished(memory: &Memory) -> JobId {
    let job = memory.queue(A);
    let canceled = memory.pool().cancel(job, Demand::Cancel, |_| ());
    assert_eq!(
        canceled,
        Canceling::Finished(Release::Held { watched: false })
    );
    job
}

#[test]
fn a_finished_job_is_purged_while_its_session_is_outside() {
    let memory = memory();
    let (job, session) = (finished(&memory), &memory.leaders[0]);
    assert_eq!(
        memory.pool().purge_one(job),
        Purged::Detached(Release::LastOut)
    );
    assert!(!memory.word(job).load().has_leader());
    assert_eq!((session.purges(), gate(&memory)), (1, 0));
    assert_eq!(
        memory.pool().purge_one(job),
        Purged::Kept,
        "its session holds it no more"
    );
    assert_eq!(session.purges(), 1);
    assert!(memory.lock.woken.borrow().is_empty());
}

#[test]
fn a_session_that_is_inside_is_asked_and_purges_when_it_leaves() {
    let memory = memory();
    let (job, session) = (finished(&memory), &memory.leaders[0]);
    // Twice is the same as once.
    assert!(session.enter());
    assert!(session.enter());
    for _ in 0..2 {
        assert_eq!(memory.pool().purge_one(job), Purged::Asked);
    }
    assert!(memory.word(job).load().has_leader());
    assert_eq!(session.purges(), 0);
    assert!(!session.leave(), "it was asked");
    assert_eq!(gate(&memory), WITHIN);
    assert!(session.leave());
    assert_eq!(gate(&memory), 0);
    assert_eq!(
        memory.pool().purge_one(job),
        Purged::Detached(Release::LastOut)
    );
}

#[test]
fn a_session_does_not_enter_while_one_of_its_jobs_is_purged() {
    let memory = memory();
    let (job, session) = (finished(&memory), &memory.leaders[0]);
    memory.leaders[0].gate.word.store(PURGES, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(!session.enter());
        assert_eq!(gate(&memory), PURGES | WAITS, "it waits");
    }
    assert_eq!(
        memory.pool().purge_one(job),
        Purged::Kept,
        "by another process"
    );
    assert_eq!(gate(&memory), PURGES | WAITS);
}

#[test]
fn a_session_that_ends_leaves_the_gate_as_the_next_one_needs_it() {
    let memory = memory();
    let (job, session) = (finished(&memory), &memory.leaders[0]);
    assert!(session.enter());
    assert_eq!(memory.pool().purge_one(job), Purged::Asked);
    assert_eq!(gate(&memory), WITHIN | ASKED);
    session.abandon_gate();
    assert_eq!(gate(&memory), 0);
    memory.leaders[0].gate.word.store(PURGES, Ordering::Relaxed);
    session.abandon_gate();
    assert_eq!(gate(&memory), PURGES, "the purge goes on");
}

#[test]
fn a_job_that_is_needed_is_kept() {
    let memory = memory();
    let job = memory.queue(A);
    assert_eq!(memory.pool().purge_one(job), Purged::Kept, "it is queued");
    let read = finished(&memory);
    memory.slot(read).set_being_read(true);
    assert_eq!(
        memory.pool().purge_one(read),
        Purged::Kept,
        "it is being read"
    );
    memory.slot(read).set_being_read(false);
    // Another session has the entry by now, and knows nothing of it.
    memory.leaders[0].enroll(ProcRef::new(SESSION.0, 2));
    assert_eq!(memory.pool().purge_one(read), Purged::Kept);
    assert_eq!((gate(&memory), memory.leaders[0].purges()), (0, 0));
    memory.leaders[0].enroll(session());
    assert_eq!(
        memory.pool().purge_one(read),
        Purged::Detached(Release::LastOut)
    );
}
