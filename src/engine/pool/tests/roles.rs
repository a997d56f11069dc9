//! What a role's jobs use, and who waits for a slot.

use super::*;
use crate::pool::usage::Claimed;

/// Sessions that wait.
fn waiters() -> [ProcRef; 3] {
    [0, 1, 2].map(|index| ProcRef::new(index, index + 100))
}

fn woken(memory: &Memory) -> Vec<ProcRef> {
    memory.lock.woken.take()
}

#[test]
fn a_role_has_its_slots_up_to_its_limit() {
    let memory = Memory::with_room(4, 1, 1);
    let pool = memory.pool();
    let index = pool.usage_of(7).expect("there is room");
    let usage = pool.usage(index);
    assert_eq!((usage.role(), usage.slots()), (7, 0));
    for slots in 1..=2 {
        assert_eq!(usage.claim_slot(7, 2), Claimed::Yes);
        assert_eq!(usage.slots(), slots);
    }
    assert_eq!(usage.claim_slot(7, 2), Claimed::AtLimit);
    assert_eq!(usage.claim_slot(8, 9), Claimed::Gone);
    pool.release_role_slot(index);
    assert_eq!((usage.role(), usage.slots()), (7, 1));
}

#[test]
fn a_roles_bytes_stay_below_their_limits() {
    let memory = Memory::with_room(1, 1, 1);
    let usage = memory.pool().usage(0);
    assert!(usage.claim_bytes(10, 20));
    assert!(!usage.claim_bytes(11, 20));
    assert!(!usage.claim_bytes(u64::MAX, u64::MAX), "it is no number");
    assert!(usage.claim_bytes(10, 20));
    assert!(usage.claim_file_bytes(7, 7));
    assert!(!usage.claim_file_bytes(1, 7));
    assert_eq!((usage.bytes(), usage.file_bytes()), (20, 7));
    usage.release_bytes(5);
    usage.release_file_bytes(3);
    assert_eq!((usage.bytes(), usage.file_bytes()), (15, 4));
}

#[test]
fn the_bytes_of_all_roles_are_known() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    assert!(pool.usage(0).claim_bytes(10, 20) && pool.usage(0).claim_file_bytes(3, 3));
    assert!(pool.usage(1).claim_bytes(7, 20) && pool.usage(1).claim_file_bytes(4, 4));
    assert_eq!((pool.bytes(), pool.file_bytes()), (17, 7));
}

#[test]
fn the_process_that_watches_a_role_is_woken_until_it_stops() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let index = pool.usage_of(7).expect("there is room");
    let [watcher, other, _] = waiters();
    pool.wake_watcher(index);
    assert_eq!(woken(&memory), []);
    pool.usage(index).watch(watcher);
    pool.usage(index).unwatch(other);
    pool.wake_watcher(index);
    assert_eq!(woken(&memory), [watcher]);
    pool.usage(index).unwatch(watcher);
    pool.wake_watcher(index);
    assert_eq!(woken(&memory), []);
}

#[test]
fn a_refusal_stands_until_the_last_one_is_taken_back() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let index = pool.usage_of(7).expect("there is room");
    assert_eq!(pool.refuse(index, 8), None, "another role's entry");
    assert_eq!(pool.refusal(index), 0);
    assert_eq!(pool.refuse(index, 7), Some(1));
    assert_eq!(pool.refuse(index, 7), Some(2));
    pool.accept_again(index, 1);
    assert_eq!(pool.refusal(index), 2);
    pool.accept_again(index, 2);
    assert_eq!(pool.refusal(index), 0);
}

#[test]
fn each_role_has_one_entry_as_long_as_it_needs_it() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let [seven, eight] = [7, 8].map(|role| pool.usage_of(role).expect("there is room"));
    assert_ne!(seven, eight);
    assert_eq!(
        (pool.usage_of(7), pool.find_usage(8)),
        (Some(seven), Some(eight))
    );
    assert_eq!(pool.find_usage(9), None);
    assert_eq!(pool.usage(seven).claim_slot(7, 1), Claimed::Yes);
    pool.join_waiters(waiters()[0], Resource::RoleSlots(eight), 1, false);
    assert_eq!(
        pool.usage_of(9),
        None,
        "one has slots, for the other somebody waits"
    );
    pool.leave_waiters(waiters()[0], Resource::RoleSlots(eight));
    assert_eq!(pool.usage_of(9), Some(eight));
}

#[test]
fn a_freed_slot_calls_the_first_waiter_that_may_claim_it() {
    let memory = Memory::with_room(4, 1, 1);
    let pool = memory.pool();
    for what in [0, 1]
        .map(Resource::RoleSlots)
        .into_iter()
        .chain([Resource::Slots])
    {
        let usage = match what {
            Resource::RoleSlots(usage) => usage,
            Resource::Slots => 0,
        };
        let role = 7 + usage;
        assert_eq!(pool.usage_of(role), Some(usage));
        let jobs = [(); 2].map(|()| {
            assert_eq!(pool.usage(usage).claim_slot(role, 2), Claimed::Yes);
            pool.claim(usage, 2).expect("a free slot")
        });
        let [low, second, first] = waiters();
        pool.join_waiters(low, what, 1, false);
        pool.join_waiters(second, what, 2, false);
        pool.join_waiters(first, what, 2, false);
        // In the queue already: it keeps its place.
        pool.join_waiters(first, what, 1, true);
        assert_eq!(woken(&memory), []);
        pool.abandon(jobs[0]);
        assert_eq!(woken(&memory), [second], "{what:?}: one is in use");
        // Called, but it could not claim: it passes its call on, and is first of all.
        pool.join_waiters(second, what, 2, true);
        assert_eq!(woken(&memory), [second]);
        pool.leave_waiters(second, what);
        assert_eq!(woken(&memory), [first]);
        pool.abandon(jobs[1]);
        assert_eq!(woken(&memory), [low], "none is in use");
    }
}

#[test]
fn a_waiter_is_not_called_for_more_slots_than_there_are() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let index = pool.usage_of(1).expect("there is room");
    assert_eq!(pool.usage(index).claim_slot(1, 1), Claimed::Yes);
    let job = pool.claim(index, 1).expect("a free slot");
    let [waiter, other, _] = waiters();
    pool.join_waiters(waiter, Resource::Slots, 1000, false);
    pool.leave_waiters(other, Resource::Slots);
    assert_eq!(woken(&memory), []);
    pool.abandon(job);
    assert_eq!(woken(&memory), [waiter]);
}

#[test]
fn a_waiter_that_has_left_is_not_called() {
    let memory = Memory::with_room(1, 1, 1);
    let pool = memory.pool();
    let job = memory.claim(Options::default(), &[]).expect("a free slot");
    let [waiter, _, _] = waiters();
    pool.join_waiters(waiter, Resource::Slots, 1, false);
    pool.leave_waiters(waiter, Resource::Slots);
    pool.abandon(job);
    assert_eq!(woken(&memory), []);
}
