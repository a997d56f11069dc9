//! Waiting for a slot of the job table, or for a slot that counts for a login role: no waiter that may claim is
//! forgotten. Refusing a role's new jobs, and waiting for its other jobs to end.
#![cfg(loom)]

use engine::job::{End, JobWord, Release};
use engine::models::{NEVER, Transitions as _};
use engine::pool::release::{self, Releaser, Releasing};
use engine::pool::slot_claim::{self, Ask, Claimant, Notes};
use engine::pool::usage::Claimed;
use engine::pool::{Dispatched, Pool};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use engine::wait::{Latch, condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::{LANE, Lock, Memory, process};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The login role of the models.
const ROLE: u32 = LANE.role;

/// More than any model has.
const AMPLE: u32 = 100;

/// The payload of the panic by which a session ends.
struct Ended;

/// A session that claims a slot. It may end between any two of its steps.
struct Session {
    memory: Arc<Memory>,
    proc: ProcRef,
    notes: Cell<Notes>,
    releasing: Cell<Option<Releasing>>,
    /// What it can map of what others could not.
    reaches: fn(JobId) -> bool,
    /// The job of its own, once it has one.
    taken: Cell<Option<JobId>>,
    /// The steps that it still takes before it ends.
    steps: Cell<u32>,
    /// It has ended as a process does that exits: its stack is not unwound. The panic unwinds it all the same, so
    /// what is called then does nothing.
    exits: Cell<bool>,
}

impl Session {
    fn new(memory: &Arc<Memory>, number: u32) -> Self {
        Self::that_ends_after(u32::MAX, memory, number)
    }

    fn that_ends_after(steps: u32, memory: &Arc<Memory>, number: u32) -> Self {
        Self {
            memory: memory.clone(),
            proc: process(number),
            notes: Cell::new(Notes::NONE),
            releasing: Cell::new(None),
            reaches: |_| true,
            taken: Cell::new(None),
            steps: Cell::new(steps),
            exits: Cell::new(false),
        }
    }

    fn that_reaches(reaches: fn(JobId) -> bool, memory: &Arc<Memory>, number: u32) -> Self {
        Self {
            reaches,
            ..Self::new(memory, number)
        }
    }

    fn step(&self) {
        if self.exits.get() {
            return;
        }
        match self.steps.get() {
            0 => {
                self.exits.set(true);
                resume_unwind(Box::new(Ended));
            }
            left => self.steps.set(left - 1),
        }
    }

    /// Whether it claims what it needs, or has ended before.
    fn lives<T>(&self, claim: impl FnOnce(&Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| claim(self))) {
            Ok(claimed) => Some(claimed),
            Err(ended) if ended.is::<Ended>() => None,
            Err(failure) => resume_unwind(failure),
        }
    }

    /// Its exit.
    fn exit(&self) {
        self.exits.set(false);
        self.steps.set(u32::MAX);
        slot_claim::give_up(self);
        if let Some(job) = self.taken.take() {
            self.memory.pool().abandon(job);
        }
    }

    /// Waits for a slot that counts for its role, and has it.
    fn claim_of_role(&self, limit: u32) {
        let claimed = slot_claim::claim_role_slot(self, ask(limit), Some(NEVER));
        assert_eq!(claimed, Ok(0));
    }

    /// Waits for a slot of the table. It has one of its role already.
    fn claim_of_table(&self, limit: u32) -> JobId {
        let take = |job| {
            self.taken.set(Some(job));
            self.step();
        };
        let claimed = slot_claim::claim_table_slot(self, 0, limit, Some(NEVER), take);
        claimed.expect("there is no deadline")
    }

    /// Waits for both.
    fn claim(&self, limit: u32) -> JobId {
        let take = |job| {
            self.taken.set(Some(job));
            self.step();
        };
        let claimed = slot_claim::claim(self, ask(limit), Some(NEVER), take);
        claimed.expect("there is no deadline")
    }
}

fn ask(role_slots: u32) -> Ask {
    Ask {
        role: ROLE,
        role_slots,
        table_slots: AMPLE,
    }
}

impl Claimant for Session {
    type Lock = Lock;

    fn proc(&self) -> ProcRef {
        self.proc
    }

    fn pool(&self) -> Pool<'_, Lock> {
        self.step();
        self.memory.pool()
    }

    fn latch(&self) -> &impl Latch {
        self.memory.latch(self.proc)
    }

    fn notes(&self) -> Notes {
        if self.exits.get() {
            return Notes::NONE;
        }
        self.notes.get()
    }

    fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }

    fn after_join(&self) {
        self.step();
    }

    fn release_deferred(&self) {
        self.step();
        release::release_deferred(&Freeing(self), self.proc);
    }
}

/// A session, as it frees what others could not.
struct Freeing<'a>(&'a Session);

impl Releaser for Freeing<'_> {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.0.memory.pool()
    }

    fn word(&self, job: JobId) -> &JobWord {
        &self.0.memory.slot(job).word
    }

    fn noted(&self) -> Option<Releasing> {
        self.0.releasing.get()
    }

    fn set_noted(&self, note: Option<Releasing>) {
        self.0.releasing.set(note);
    }

    fn report(&self) {}

    fn after_detach(&self) {}

    fn before_release(&self) {}

    fn free_owned(&self, job: JobId) -> bool {
        (self.0.reaches)(job)
    }
}

/// Takes a job from its claim to its end.
fn end(memory: &Memory, job: JobId) {
    let word = &memory.slot(job).word;
    word.publish(job.generation);
    let _ = word.bind(job.generation);
    let _ = word.finish(job.generation, End::Failed);
    assert_eq!(word.detach(job.generation), Release::LastOut);
}

/// The same; the slot is free again.
fn use_up(memory: &Memory, job: JobId) {
    end(memory, job);
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
            let job = Session::new(&memory, number).claim_of_table(limit);
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
            thread::spawn(move || Session::new(&memory, number).claim_of_table(AMPLE))
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
                let session = Session::new(&memory, number);
                session.claim_of_role(1);
                slot_claim::give_up(&session);
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
        // The first in the queue: the call goes to it. It has looked and joined.
        let impatient = Session::that_ends_after(4, &memory, 1);
        let claimed = impatient.lives(|session| session.claim_of_table(AMPLE));
        assert_eq!(claimed, None);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = Session::new(&memory, 2).claim_of_table(AMPLE);
                use_up(&memory, job);
            })
        };
        let leaver = thread::spawn(move || impatient.exit());
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

/// Of two sessions that claim the only slot, which is in use, one exits after so many steps: before or after it
/// has joined the queue, has its role's slot, or has the job. Nothing of it is left, and the other gets the slot.
fn one_exits_while_it_claims(steps: u32) {
    checked(2, move || {
        let (memory, held) = full(1, 1);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = Session::new(&memory, 2).claim_of_table(AMPLE);
                use_up(&memory, job);
            })
        };
        let session = Session::that_ends_after(steps, &memory, 1);
        let other = thread::spawn(move || {
            let _ = session.lives(|session| session.claim(AMPLE));
            session.exit();
        });
        use_up(&memory, held[0]);
        other.join().unwrap();
        waiter.join().unwrap();
        nothing_is_left(&memory);
    });
}

/// Three threads, at most two preemptions, for each of the steps. The exit is the one preemption more that it takes
/// to meet the other two. A second session that exits leaves no more than the first.
#[test]
fn a_session_that_exits_while_it_claims_leaves_nothing() {
    for steps in 0..10 {
        one_exits_while_it_claims(steps);
    }
}

/// The process that has to free the job in the only slot cannot, and leaves that to others. A launch waits for
/// the slot, or is about to: it frees the job.
///
/// Two threads, every interleaving. Two that wait take one deferred job after the other, under the lock.
#[test]
fn a_launch_that_waits_frees_what_others_could_not() {
    unbounded(|| {
        let (memory, held) = full(1, 1);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = Session::new(&memory, 1).claim_of_table(AMPLE);
                use_up(&memory, job);
            })
        };
        end(&memory, held[0]);
        memory.pool().defer_free(held[0]);
        waiter.join().unwrap();
        nothing_is_left(&memory);
    });
}

/// A launch waits for the only slot, of a job whose freeing was deferred. Another launch, which does not wait, tries to
/// free that job just then, and cannot. The first one could, and does.
///
/// Two threads, every interleaving. A third launch finds that one of the others tries, as these two do.
#[test]
fn a_launch_that_tries_to_free_and_cannot_holds_up_nobody() {
    unbounded(|| {
        let (memory, held) = full(1, 1);
        end(&memory, held[0]);
        memory.pool().defer_free(held[0]);
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let job = Session::new(&memory, 1).claim_of_table(AMPLE);
                use_up(&memory, job);
            })
        };
        Session::that_reaches(|_| false, &memory, 2).release_deferred();
        waiter.join().unwrap();
        nothing_is_left(&memory);
    });
}

/// The freeing of two jobs was deferred, in a table of two slots. A launch that waits cannot free the first of them, nor
/// another launch any. It frees the second.
///
/// Two threads, every interleaving. Three jobs would be two of one kind.
#[test]
fn a_launch_frees_what_is_behind_what_it_cannot_free() {
    unbounded(|| {
        let (memory, held) = full(2, 1);
        for job in held {
            end(&memory, job);
            memory.pool().defer_free(job);
        }
        let waiter = {
            let memory = memory.clone();
            thread::spawn(move || {
                let session = Session::that_reaches(|job| job.index == 0, &memory, 1);
                assert_eq!(
                    memory.pool().next_deferred(None).map(|job| job.index),
                    Some(1)
                );
                use_up(&memory, session.claim_of_table(AMPLE));
            })
        };
        Session::that_reaches(|_| false, &memory, 2).release_deferred();
        waiter.join().unwrap();
        Session::new(&memory, 2).release_deferred();
        nothing_is_left(&memory);
    });
}

/// Two launches wait, and neither can free the job whose freeing was deferred. They do not wake each other forever: each
/// gets the other slot of the table, when it is freed.
///
/// Three threads, at most two preemptions: each of the two is interrupted while it tries. A third launch that cannot
/// free the job is told, as the second is, once for each that has tried.
#[test]
fn two_launches_that_cannot_free_a_job_sleep() {
    checked(2, || {
        let (memory, held) = full(2, 2);
        end(&memory, held[0]);
        memory.pool().defer_free(held[0]);
        let waiters = [1, 2].map(|number| {
            let memory = memory.clone();
            thread::spawn(move || {
                let session = Session::that_reaches(|_| false, &memory, number);
                use_up(&memory, session.claim_of_table(AMPLE));
            })
        });
        use_up(&memory, held[1]);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        Session::new(&memory, 0).release_deferred();
        nothing_is_left(&memory);
    });
}

/// A role never has more slots than its limit, and has one entry.
///
/// Two threads, every interleaving. A claim is one exchange, so a third session sees the count that one of the two
/// has left.
#[test]
fn a_role_stays_below_its_limit() {
    unbounded(|| {
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

/// Two roles, and one entry, which goes from one to the other while neither has a slot. A session that has claimed one has
/// it in the entry of its own role, and comes after all that the other role did with its slot.
///
/// Two threads, every interleaving; the one role comes back. A third role takes the entry as the second does, one after
/// another, under the lock.
#[test]
fn an_entry_is_another_roles_only_without_slots() {
    unbounded(|| {
        let memory = Memory::new(2, 1, 2);
        let block = Arc::new(Block::default());
        let use_one = |memory: &Memory, block: &Block, role: u32| {
            let Some(usage) = memory.pool().usage_of(role) else {
                return;
            };
            match memory.pool().usage(usage).claim_slot(role, 1) {
                Claimed::Yes => {}
                Claimed::Gone => return,
                Claimed::AtLimit => panic!("the other role's slots count for this one"),
            }
            block.write(role);
            assert_eq!(memory.pool().usage(usage).role(), role);
            memory.pool().release_role_slot(usage);
        };
        let other = {
            let (memory, block) = (memory.clone(), block.clone());
            thread::spawn(move || use_one(&memory, &block, ROLE + 1))
        };
        for _ in 0..2 {
            use_one(&memory, &block, ROLE);
        }
        other.join().unwrap();
        assert_eq!(memory.pool().usage(0).slots(), 0);
    });
}

/// The job that a session is about to publish is refused, or found by the process that has its role refused and
/// then looks.
///
/// Two threads, every interleaving. Publishing and refusing are each done under the lock, so a second session or a
/// second administrator comes before or after them.
#[test]
fn a_job_is_refused_or_found() {
    unbounded(|| {
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

/// A refusal was left standing. A session that is refused looks whether it may lift it. Meanwhile another session of the
/// role has lifted it and publishes a job, and an administrator has the role's jobs refused again. His refusal stands
/// as long as that job is active.
///
/// Two threads, at most two preemptions. The other session and the administrator do what they do under the lock, one after
/// the other. The session that looks is interrupted before and after its look.
#[test]
fn a_refusal_is_not_lifted_while_a_job_of_its_role_is_active() {
    checked(2, || {
        let memory = Memory::new(2, 1, 2);
        let [own, others] = [0, 1].map(|number| {
            let job = memory.claim_for(process(number), Options::default(), &[]);
            job.expect("a slot")
        });
        let first = memory.pool().refuse(0, ROLE).expect("it has its entry");
        let session = {
            let memory = memory.clone();
            thread::spawn(move || {
                let pool = memory.pool();
                let _ = pool.publish(own, || {
                    pool.locked(|scheduler| scheduler.dispatch(own, LANE, 0, AMPLE))
                });
            })
        };
        let pool = memory.pool();
        pool.accept_again(0, first);
        let (dispatched, _) = pool.locked(|scheduler| scheduler.dispatch(others, LANE, 0, AMPLE));
        assert_eq!(dispatched, Dispatched::Queued);
        let second = pool.refuse(0, ROLE).expect("it has its entry");
        session.join().unwrap();
        assert_eq!(pool.refusal(0), second, "a job is active");
    });
}

/// A process that waits for the end of another session's job is woken by it.
///
/// Two threads, every interleaving. A role has one watcher: a second one replaces it. Of two jobs that end, each
/// looks for the watcher after its own word has changed.
#[test]
fn the_end_of_a_roles_job_wakes_its_watcher() {
    unbounded(|| {
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
