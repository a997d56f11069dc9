//! A launch's steps to a slot, one process at a time. The models have what happens at once.

use super::*;
use crate::pool::slot_claim::{
    Ask, Claimant, NoSlot, Notes, claim, claim_role_slot, claim_table_slot, give_up,
};
use crate::wait::Latch;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;

/// A launch that may wait until then.
const DEADLINE: Option<Micros> = Some(1_000);

/// A session that launches. While it sleeps, something happens, or time passes.
struct Launch<'a> {
    memory: &'a Memory,
    proc: ProcRef,
    notes: Cell<Notes>,
    now: Cell<Micros>,
    /// What happens during its sleep.
    happens: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
    /// It does not return from its sleep.
    is_cut_short: Cell<bool>,
    /// How often it freed what others could not free.
    frees: Cell<u32>,
    /// When its periodic checks were made; their interval. `None`: there are none.
    checks: RefCell<Vec<Micros>>,
    interval: Option<Micros>,
}

impl<'a> Launch<'a> {
    fn new(memory: &'a Memory, number: u32) -> Self {
        Self {
            memory,
            proc: ProcRef::new(number, number + 100),
            notes: Cell::new(Notes::NONE),
            now: Cell::new(0),
            happens: RefCell::default(),
            is_cut_short: Cell::new(false),
            frees: Cell::new(0),
            checks: RefCell::default(),
            interval: None,
        }
    }

    fn claim(&self, ask: Ask, deadline: Option<Micros>) -> Result<JobId, NoSlot> {
        let taken = Cell::new(None);
        let claimed = claim(self, ask, deadline, |job| taken.set(Some(job)));
        assert_eq!(taken.get(), claimed.ok(), "what it takes");
        claimed
    }

    /// Whether it is in a queue.
    fn waits(&self) -> bool {
        let waiter = &self.memory.leaders[self.proc.procno() as usize].waiter;
        load(&waiter.queue) != 0
    }
}

impl Latch for Launch<'_> {
    fn now(&self) -> Micros {
        self.now.get()
    }
    fn spin_limit(&self) -> Micros {
        0
    }
    fn is_interrupted(&self) -> bool {
        false
    }
    fn sleep(&self, until: Option<Micros>) {
        assert!(self.waits(), "nobody would call it");
        if self.is_cut_short.get() {
            resume_unwind(Box::new("cut short"));
        }
        match self.happens.take() {
            Some(happens) => happens(),
            None => self.now.set(until.expect("nothing would ever wake it")),
        }
    }
}

impl Claimant for Launch<'_> {
    type Lock = Unlocked;

    fn proc(&self) -> ProcRef {
        self.proc
    }
    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn latch(&self) -> &impl Latch {
        self
    }
    fn notes(&self) -> Notes {
        self.notes.get()
    }
    fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }
    fn after_join(&self) {}
    fn release_deferred(&self) {
        self.frees.set(self.frees.get() + 1);
    }
    fn next_check(&self) -> Option<Micros> {
        let last = self.checks.borrow().last().copied().unwrap_or(0);
        self.interval.map(|interval| last + interval)
    }
    fn check(&self, now: Micros) {
        self.checks.borrow_mut().push(now);
    }
}

fn ask(role: u32, role_slots: u32) -> Ask {
    Ask {
        role,
        role_slots,
        table_slots: u32::MAX,
    }
}

/// The slots of a role and of the table that are in use.
fn used(memory: &Memory, role: u32) -> (u32, u32) {
    let pool = memory.pool();
    let role_slots = pool
        .find_usage(role)
        .map_or(0, |usage| pool.usage(usage).slots());
    (role_slots, pool.jobs().used())
}

#[test]
fn a_launch_that_waits_makes_its_periodic_checks() {
    let memory = Memory::with_room(1, 1, 1);
    let (first, mut second) = (Launch::new(&memory, 0), Launch::new(&memory, 1));
    second.interval = Some(400);
    first.claim(ask(7, 1), None).expect("the only slot");
    assert_eq!(second.claim(ask(8, 1), DEADLINE), Err(NoSlot::TableFull));
    assert_eq!(second.checks.take(), [400, 800]);
}

#[test]
fn a_launch_has_a_slot_of_its_role_and_one_of_the_table() {
    let memory = Memory::with_room(2, 1, 1);
    let launch = Launch::new(&memory, 0);
    let job = launch.claim(ask(7, 1), None).expect("both are free");
    assert_eq!(used(&memory, 7), (1, 1));
    assert_eq!(memory.phase(job), Some(Phase::Reserved));
    give_up(&launch);
    assert_eq!(used(&memory, 7), (1, 1), "the job has them");
    memory.pool().abandon(job);
    assert_eq!(used(&memory, 7), (0, 0));
}

#[test]
fn a_launch_that_may_not_wait_says_what_there_is_none_of_and_keeps_nothing() {
    let memory = Memory::with_room(2, 1, 1);
    let launch = Launch::new(&memory, 0);
    let job = launch.claim(ask(7, 1), None).expect("both are free");
    assert_eq!(launch.claim(ask(7, 1), None), Err(NoSlot::RoleLimit));
    assert_eq!(used(&memory, 7), (1, 1));
    let _ = launch.claim(ask(7, 2), None).expect("one is free");
    assert_eq!(launch.claim(ask(7, 3), None), Err(NoSlot::TableFull));
    assert_eq!(used(&memory, 7), (2, 2));
    memory.pool().abandon(job);
    let other = Launch::new(&memory, 1);
    let of_other = other.claim(ask(8, 1), None).expect("one is free");
    let usage = memory.slot(of_other).usage();
    assert_eq!(memory.pool().find_usage(8), Some(usage));
    let third = Launch::new(&memory, 2);
    assert_eq!(third.claim(ask(9, 1), None), Err(NoSlot::TooManyRoles));
    assert_eq!(
        launch.frees.get() + other.frees.get() + third.frees.get(),
        0
    );
}

#[test]
fn a_launch_that_waits_has_the_slot_that_comes_free() {
    // Of the table, and of its role.
    for (role, role_slots) in [(8, 1), (7, 1)] {
        let memory = Memory::with_room(1, 1, 1);
        let first = Launch::new(&memory, 0);
        let job = first.claim(ask(7, 1), None).expect("both are free");
        let launch = Launch::new(&memory, 1);
        let pool = memory.pool();
        *launch.happens.borrow_mut() = Some(Box::new(move || pool.abandon(job)));
        let claimed = launch.claim(ask(role, role_slots), DEADLINE);
        assert!(claimed.is_ok(), "{claimed:?}");
        assert!(memory.lock.woken.borrow().contains(&launch.proc));
        assert_eq!(used(&memory, role), (1, 1));
        assert!(!launch.waits());
        assert_ne!(
            launch.frees.get(),
            0,
            "one of these may be what it waits for"
        );
    }
}

#[test]
fn a_launch_whose_time_is_up_waits_no_more_and_keeps_nothing() {
    for (role, why) in [(8, NoSlot::TableFull), (7, NoSlot::RoleLimit)] {
        let memory = Memory::with_room(1, 1, 1);
        let first = Launch::new(&memory, 0);
        let job = first.claim(ask(7, 1), None).expect("both are free");
        let launch = Launch::new(&memory, 1);
        assert_eq!(launch.claim(ask(role, 1), DEADLINE), Err(why));
        assert_eq!(Some(launch.now.get()), DEADLINE);
        assert!(!launch.waits());
        assert_eq!(used(&memory, 7), (1, 1));
        memory.pool().abandon(job);
        assert_eq!(*memory.lock.woken.borrow(), []);
        assert_eq!(used(&memory, role), (0, 0));
    }
}

/// An exit does not unwind the stack: it gives up what the notes say. An error does.
#[test]
fn a_launch_that_is_cut_short_leaves_nothing_behind() {
    let memory = Memory::with_room(1, 1, 1);
    let first = Launch::new(&memory, 0);
    let _ = first.claim(ask(7, 1), None).expect("both are free");
    let launch = Launch::new(&memory, 1);
    launch.is_cut_short.set(true);
    let exits = || {
        let usage = claim_role_slot(&launch, ask(8, 1), None).expect("it is free");
        claim_table_slot(&launch, usage, 1, DEADLINE, |_| ())
    };
    assert!(catch_unwind(AssertUnwindSafe(exits)).is_err());
    assert_eq!((launch.waits(), used(&memory, 8)), (true, (1, 1)));
    for _ in 0..2 {
        give_up(&launch);
        assert_eq!((launch.waits(), used(&memory, 8)), (false, (0, 1)));
    }
    let fails = || launch.claim(ask(8, 1), DEADLINE);
    assert!(catch_unwind(AssertUnwindSafe(fails)).is_err());
    assert_eq!((launch.waits(), used(&memory, 8)), (false, (0, 1)));
}

#[test]
fn a_launch_whose_roles_entry_went_to_another_role_finds_the_next_one() {
    let memory = Memory::with_room(2, 1, 1);
    let pool = memory.pool();
    let launch = Launch::new(&memory, 0);
    let job = launch.claim(ask(7, 1), None).expect("both are free");
    let before = pool.find_usage(7).expect("it has a job");
    pool.abandon(job);
    let taken = [8, 9].map(|role| pool.usage_of(role));
    assert!(taken.contains(&Some(before)));
    let _ = launch.claim(ask(7, 1), None).expect("both are free");
    assert_eq!(used(&memory, 7), (1, 1));
}
