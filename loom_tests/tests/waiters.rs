//! Waiting for a slot of the job table, or for a slot that counts for a login role: no waiter that may claim is
//! forgotten. Refusing a role's new jobs, and waiting for its other jobs to end.
#![cfg(loom)]

use engine::job::{End, Release};
use engine::models::Transitions as _;
use engine::pool::Dispatched;
use engine::pool::slot_waiters::Resource;
use engine::pool::usage::Claimed;
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::bound::checked;
use loom_tests::memory::{LANE, Memory, process};

/// The login role of the models.
const ROLE: u32 = LANE.role;

/// More than any model has.
const AMPLE: u32 = 100;

/// Waits until `claim` succeeds.
fn wait_to_claim<T>(
    memory: &Memory,
    own: ProcRef,
    what: Resource,
    limit: u32,
    claim: impl Fn() -> Option<T>,
) -> T {
    let mut waiting = false;
    let claimed = wait_for(
        memory.latch(own),
        None,
        &mut condition(
            || {
                memory
                    .pool()
                    .join_waiters(own, what, limit, std::mem::replace(&mut waiting, true))
            },
            claim,
        ),
    );
    if waiting {
        memory.pool().leave_waiters(own, what);
    }
    claimed.expect("there is no deadline")
}

/// What a launch does when its role is at its limit.
fn claim_of_role(memory: &Memory, own: ProcRef, limit: u32) {
    let pool = memory.pool();
    wait_to_claim(memory, own, Resource::RoleSlots(0), limit, || {
        (pool.usage(0).claim_slot(ROLE, limit) == Claimed::Yes).then_some(())
    });
}

/// What a launch does when the table is full, after it has claimed its role's slot.
fn claim(memory: &Memory, own: ProcRef, limit: u32) -> JobId {
    let pool = memory.pool();
    wait_to_claim(memory, own, Resource::Slots, limit, || pool.claim(0, limit))
}

/// Takes a job from its claim to its end; the slot is free again.
fn use_up(memory: &Memory, job: JobId) {
    let word = &memory.slot(job).word;
    word.publish(job.generation);
    let _ = word.bind(job.generation);
    let _ = word.finish(job.generation, End::Failed);
    assert_eq!(word.detach(job.generation), Release::LastOut);
    memory.pool().free(job);
}

/// A table with all of its slots in use, and the jobs. `waiters` sessions have claimed their role's slots
/// already.
fn full(slots: usize, waiters: usize) -> (Arc<Memory>, Vec<JobId>) {
    let memory = Memory::new(slots, 1, 3);
    let held = (0..slots).map(|_| memory.claim_slot().expect("a slot"));
    let held = held.collect();
    for _ in 0..waiters {
        let claimed = memory.pool().usage(0).claim_slot(ROLE, AMPLE);
        assert_eq!(claimed, Claimed::Yes);
    }
    (memory, held)
}

/// Two sessions wait for a slot, each with its own limit, and use it up.
fn two_wait(memory: &Arc<Memory>, limits: [u32; 2]) -> [thread::JoinHandle<()>; 2] {
    [(1, limits[0]), (2, limits[1])].map(|(number, limit)| {
        let memory = memory.clone();
        thread::spawn(move || {
            let job = claim(&memory, process(number), limit);
            use_up(&memory, job);
        })
    })
}

fn nothing_is_left(memory: &Memory) {
    assert_eq!(memory.jobs().used(), 0);
    assert_eq!(memory.pool().usage(0).slots(), 0);
}

/// A table of one slot, which is in use. It is freed while two sessions wait for it, or are about to. Both get
/// it, one after the other. A waiter that was called, and lost against a newcomer, goes back to the front. A
/// lost wake-up would be a deadlock.
///
/// Three threads, at most three preemptions: each of the three is interrupted once. A waiter meets one of its kind,
/// before it or behind it in the queue. More waiters, and more slots, are in the schedules (few slots: five
/// sessions, three slots).
#[test]
fn a_freed_slot_reaches_every_waiter() {
    checked(3, || {
        let (memory, held) = full(1, 2);
        let waiters = two_wait(&memory, [AMPLE; 2]);
        use_up(&memory, held[0]);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        nothing_is_left(&memory);
    });
}

/// Two slots are freed while two sessions wait, and each keeps the slot that it gets. A waiter that was called
/// twice passes on the call that it did not need.
///
/// Three threads, at most two preemptions; two slots. Two calls are needed for one of them to be one too many. With
/// two preemptions both waiters are interrupted before they have answered.
#[test]
fn two_freed_slots_reach_two_waiters_that_keep_them() {
    checked(2, || {
        let (memory, held) = full(2, 2);
        let waiters = [1, 2].map(|number| {
            let memory = memory.clone();
            thread::spawn(move || claim(&memory, process(number), AMPLE))
        });
        for job in held {
            use_up(&memory, job);
        }
        for waiter in waiters {
            use_up(&memory, waiter.join().unwrap());
        }
        nothing_is_left(&memory);
    });
}

/// A role at its limit of one, in a table that has more slots: the role's slot goes from one session to the next.
///
/// Three threads, at most three preemptions, as for the table's slots. Each role has a queue of its own: two roles,
/// at their limits, are in the schedules (lanes at their limit).
#[test]
fn a_roles_slot_reaches_every_waiter() {
    checked(3, || {
        let memory = Memory::new(3, 1, 3);
        let held = memory.claim_slot().expect("a slot");
        let waiters = [1, 2].map(|number| {
            let memory = memory.clone();
            thread::spawn(move || {
                claim_of_role(&memory, process(number), 1);
                memory.pool().release_role_slot(0);
            })
        });
        use_up(&memory, held);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        nothing_is_left(&memory);
    });
}

/// The last slot is reserved for a superuser. A superuser that waits behind an ordinary session is called all
/// the same, and that session when there is a slot for it.
///
/// Three threads, at most two preemptions; two slots and two limits, which are all that there are for the table.
/// Each waiter is interrupted once.
#[test]
fn a_reserved_slot_reaches_the_superuser_behind_others() {
    checked(2, || {
        let (memory, held) = full(2, 2);
        let waiters = two_wait(&memory, [memory.jobs().ordinary_limit(), AMPLE]);
        for job in held {
            use_up(&memory, job);
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        nothing_is_left(&memory);
    });
}

/// Of two waiting sessions one gives up, whether it has been called or not: the call reaches the other.
///
/// Three threads, at most three preemptions: each of the three is interrupted once. A second one that gives up
/// passes the call on as the first does.
#[test]
fn a_waiter_that_gives_up_passes_its_call_on() {
    checked(3, || {
        let (memory, held) = full(1, 1);
        let (impatient, patient) = (process(1), process(2));
        // The first in the queue: the call goes to it.
        memory
            .pool()
            .join_waiters(impatient, Resource::Slots, AMPLE, false);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = claim(&memory, patient, AMPLE);
                use_up(&memory, job);
            })
        };
        let leaver = {
            let memory = memory.clone();
            thread::spawn(move || memory.pool().leave_waiters(impatient, Resource::Slots))
        };
        use_up(&memory, held[0]);
        leaver.join().unwrap();
        waiter.join().unwrap();
        nothing_is_left(&memory);
    });
}

/// Two processes free a slot each at the same moment, while two sessions wait, and each keeps the slot that it gets. A
/// process that frees calls one waiter, which may be the one that the other has called.
///
/// Four threads, at most one preemption; the others of the table's waiters have three threads and more preemptions.
#[test]
fn two_slots_freed_at_once_reach_two_waiters() {
    checked(1, || {
        let (memory, held) = full(2, 2);
        let waiters = two_wait(&memory, [AMPLE; 2]);
        let [first, second] = held[..] else {
            panic!("there are two");
        };
        let other = {
            let memory = memory.clone();
            thread::spawn(move || use_up(&memory, second))
        };
        use_up(&memory, first);
        other.join().unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        nothing_is_left(&memory);
    });
}

/// A role never has more slots than its limit, and has one entry.
///
/// Two threads, every interleaving. A claim is one exchange, so a third session sees the count that one of the two
/// has left.
#[test]
fn a_role_stays_below_its_limit() {
    loom::model(|| {
        let memory = Memory::new(2, 1, 2);
        let claim_one = |memory: &Memory| {
            let usage = memory.pool().usage_of(ROLE).expect("there is room for it");
            assert_eq!(usage, 0, "its entry is one");
            memory.pool().usage(usage).claim_slot(ROLE, 1) == Claimed::Yes
        };
        let other = {
            let memory = memory.clone();
            thread::spawn(move || claim_one(&memory))
        };
        let own = claim_one(&memory);
        let claims = [own, other.join().unwrap()];
        assert_eq!(claims.iter().filter(|claimed| **claimed).count(), 1);
        assert_eq!(memory.pool().usage(0).slots(), 1);
    });
}

/// The job that a session is about to publish is refused, or found by the process that has its role refused and
/// then looks.
///
/// Two threads, every interleaving. Publishing and refusing are each done under the lock, so a second session or a
/// second administrator comes before or after them.
#[test]
fn a_job_is_refused_or_found() {
    loom::model(|| {
        let memory = Memory::new(1, 1, 2);
        let leader = process(1);
        let job = memory
            .claim_for(leader, Options::default(), &[])
            .expect("a slot");
        let administrator = {
            let memory = memory.clone();
            thread::spawn(move || {
                assert!(memory.pool().refuse(0, ROLE).is_some());
                memory.slot(job).word.load().phase().is_active()
            })
        };
        let (dispatched, _) = memory
            .pool()
            .locked(|scheduler| scheduler.dispatch(job, LANE, 0, AMPLE));
        let found = administrator.join().unwrap();
        assert_eq!(found, dispatched != Dispatched::Refused);
    });
}

/// A process that waits for the end of another session's job is woken by it.
///
/// Two threads, every interleaving. A role has one watcher: a second one replaces it. Of two jobs that end, each
/// looks for the watcher after its own word has changed.
#[test]
fn the_end_of_a_roles_job_wakes_its_watcher() {
    loom::model(|| {
        let memory = Memory::new(1, 1, 2);
        let job = memory
            .claim_for(process(1), Options::default(), &[])
            .expect("a slot");
        let word = &memory.slot(job).word;
        word.publish(job.generation);
        let _ = word.bind(job.generation);
        let worker = {
            let memory = memory.clone();
            thread::spawn(move || {
                let word = &memory.slot(job).word;
                let _ = word.finish(job.generation, End::Failed);
                memory.pool().wake_watcher(0);
            })
        };
        let own = process(0);
        let usage = memory.pool().usage(0);
        let ended = wait_for(
            memory.latch(own),
            None,
            &mut condition(
                || usage.watch(own),
                || (!word.load().phase().is_active()).then_some(()),
            ),
        );
        usage.unwatch(own);
        assert_eq!(ended, Some(()));
        worker.join().unwrap();
    });
}
