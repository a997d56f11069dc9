//! The free list, and looking at a slot without a hold.
#![cfg(loom)]

use engine::models::{Slots as _, Transitions as _};
use engine::table::{FreeList, JobId, JobTable, Options, Slot};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::process;

struct Table {
    slots: Vec<Slot>,
    free: FreeList,
    /// The thread that claimed the slot writes here. loom notices two at once, or one that is not ordered after
    /// the slot's last owner.
    owner: Vec<UnsafeCell<u32>>,
}

impl Table {
    fn new(slots: usize) -> Arc<Self> {
        let table = Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            free: FreeList::default(),
            owner: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
        };
        table.jobs().initialize();
        Arc::new(table)
    }

    fn jobs(&self) -> JobTable<'_> {
        JobTable::new(&self.slots, &self.free)
    }

    fn claim(&self) -> Option<JobId> {
        let job = self.jobs().claim()?;
        self.own(job);
        Some(job)
    }

    fn own(&self, job: JobId) {
        // SAFETY: the slot is reserved for this thread; loom watches that it is.
        self.owner[job.index as usize].with_mut(|owner| unsafe { *owner += 1 });
    }

    fn free(&self, job: JobId) {
        self.own(job);
        self.jobs().abandon(job);
    }
}

/// Two leaders claim a slot each while both slots are free. A claim whose exchange failed must start again from
/// the head that it saw then. Otherwise both would get the same slot (and `reserve` would panic). No leader may
/// be told that no slot is free.
///
/// Two threads, unbounded. A third claim that meets these two fails its exchange as the second does, and starts
/// again.
#[test]
fn two_claims_get_two_slots() {
    unbounded(|| {
        let table = Table::new(2);
        let other = {
            let table = table.clone();
            thread::spawn(move || table.claim().expect("there are two"))
        };
        let mine = table.claim().expect("there are two");
        let other = other.join().unwrap();
        assert_ne!(mine.index, other.index);
        assert_eq!(table.claim(), None);
        assert_eq!(table.jobs().used(), 2);
    });
}

/// A slot that one leader frees is claimed by another. What the first did with it comes before what the second
/// does, and the generations differ.
///
/// Two threads, unbounded; one slot. What is handed on belongs to a slot. Slots have only the head of the list in
/// common, and more of them are in the next two models.
#[test]
fn a_freed_slot_is_handed_on_with_all_that_was_written() {
    unbounded(|| {
        let table = Table::new(1);
        let first = table.claim().expect("there is one");
        let other = {
            let table = table.clone();
            thread::spawn(move || table.claim())
        };
        table.free(first);
        match other.join().unwrap() {
            Some(second) => assert_eq!(second.generation, first.generation.next()),
            None => assert!(table.claim().is_some()),
        }
    });
}

/// The ABA problem. A leader reads the head (slot 0, below it slot 1) and sleeps. Another one claims both and
/// frees slot 0. The head names slot 0 again, but slot 1 is not below it any more. The sleeper's exchange must
/// fail, and does because the tag has grown. Otherwise it would put slot 1, which is in use, at the head of the
/// list. There are three slots, because a claim counts itself before it looks at the list: with two, the other
/// leader could not claim twice beside the sleeper.
///
/// Two threads, unbounded: the one that sleeps, and one that does meanwhile what any number of others could do to
/// the head.
#[test]
fn a_claim_that_slept_does_not_bring_back_a_slot_in_use() {
    unbounded(|| {
        let table = Table::new(3);
        let other = {
            let table = table.clone();
            thread::spawn(move || {
                let first = table.claim();
                let second = table.claim();
                if let Some(first) = first {
                    table.free(first);
                }
                second
            })
        };
        let mine = table.claim();
        let second = other.join().unwrap();
        let rest = [table.claim(), table.claim()];
        let mut claimed: Vec<_> = [mine, second, rest[0], rest[1]]
            .iter()
            .flatten()
            .map(|job| job.index)
            .collect();
        claimed.sort_unstable();
        claimed.dedup();
        assert_eq!(claimed, [0, 1, 2], "each slot is in use once");
        assert_eq!(table.claim(), None);
    });
}

/// Three leaders claim and free over two slots: none is lost, and none is claimed twice at once.
///
/// Three threads, at most three preemptions; two slots. Each of the three can be interrupted between its look at
/// the head and its exchange. Whoever comes fourth finds the head changed, as the third does.
#[test]
fn slots_are_neither_lost_nor_doubled() {
    checked(3, || {
        let table = Table::new(2);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let table = table.clone();
                thread::spawn(move || {
                    if let Some(job) = table.claim() {
                        table.free(job);
                    }
                })
            })
            .collect();
        if let Some(job) = table.claim() {
            table.free(job);
        }
        for other in others {
            other.join().unwrap();
        }
        let all = [table.claim(), table.claim(), table.claim()];
        assert_eq!(all.iter().flatten().count(), 2);
        assert_eq!(table.jobs().used(), 2);
    });
}

/// A slot goes from one job to the next while a process that holds neither looks at it (to end the jobs of a
/// role, or to count them). What it sees must be of one job: otherwise it could check rights against one and
/// act on the other. Seeing nothing is always correct: the slot may be between two jobs.
///
/// Two threads, unbounded. A look that lasts while a third job comes finds another generation, as for the second
/// job.
#[test]
fn a_look_at_a_slot_never_mixes_two_jobs() {
    unbounded(|| {
        let table = Table::new(1);
        let fill_in = |job: JobId, user: u32| {
            let slot = &table.slots[0];
            slot.prepare(process(0), Options::default(), &[]);
            slot.user.store(user, Ordering::Relaxed);
            slot.word.publish(job.generation);
        };
        let first = table.claim().expect("there is one");
        fill_in(first, 7);
        let other = {
            let table = table.clone();
            thread::spawn(move || {
                let slot = &table.slots[0];
                slot.look(|now| (now.generation(), slot.user.load(Ordering::Relaxed)))
            })
        };
        let word = &table.slots[0].word;
        assert!(word.cancel_queued(first.generation).is_some());
        let _ = word.detach(first.generation);
        table.jobs().free(first);
        let second = table.claim().expect("it was freed");
        fill_in(second, 9);
        match other.join().unwrap() {
            Some((generation, user)) if generation == first.generation => assert_eq!(user, 7),
            Some((generation, user)) => assert_eq!((generation, user), (second.generation, 9)),
            None => {}
        }
    });
}
