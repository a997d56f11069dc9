//! A launch's steps to a slot of the job table, in their order.
//!
//! They are written once, for any [`Claimant`]: the server's sessions take them, and so do the sessions of the
//! models. What the queues are, and why no waiter is forgotten, is said in [`slot_waiters`](super::slot_waiters).
//!
//! # Words
//!
//! * A launch claims twice: first a **role slot**, one of those that its login role may have, then a slot of the
//!   table. It may have to wait for either. A claim is **unfinished** until the job is the process's.
//! * The **notes** are what the process has in its own memory of an unfinished claim ([`Notes`]). An exit that does
//!   not unwind the stack finds them there.
//! * To **take** a job is to have it in the process's own list: from then on, whatever ends the process abandons it.
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | a role slot is claimed | claim, note |
//! | a slot of the table is claimed | claim, drop the note of the role slot, take the job |
//! | there is none, and the launch may not wait | give up |
//! | there is none, and it may wait | note what it waits for, join the queue, free what others deferred, look again, sleep; then leave the queue, drop the note |
//! | the time is up, or an error unwinds | give up: leave the queue, drop the note; give the role slot back, drop its note |
//! | the process exits without unwinding | give up, from its exit ([`give_up`]) |
//!
//! This order has the following effects:
//!
//! * **An exit leaves nothing behind.** The process is noted as a waiter before it is in the queue, and until it has
//!   left. If it were in the queue without a note, a freed slot could call a process that is gone, and the waiters
//!   behind it would sleep on. To leave a queue twice, or without having joined, costs a call that nobody needs.
//! * **A role slot is given back once.** Between a claim and its note nothing may end the process. The note goes
//!   before the job is taken: from then on the role slot is given back with the job.
//! * **A launch does not wait for a slot that it could free itself.** Each look first frees the jobs that others
//!   have finished with and could not free. The process that defers one wakes the waiters.
//! * **A launch whose role is at its limit takes no room from others**: it has no slot of the table while it waits for
//!   a role slot.

use super::scheduler::{Pool, PoolLock};
use super::slot_waiters::Resource;
use super::usage::Claimed;
use crate::process_ref::ProcRef;
use crate::table::JobId;
use crate::wait::{Condition, Latch, Micros, wait_for};

/// What a launch asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Its login role.
    pub role: u32,
    /// How many slots the role may have.
    pub role_slots: u32,
    /// The launch may claim a slot of the table while fewer than this many are in use.
    pub table_slots: u32,
}

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSlot {
    /// The role has reached its limit.
    RoleLimit,
    /// The table is full.
    TableFull,
    /// Too many roles have jobs.
    TooManyRoles,
}

/// What a process has in its own memory of an unfinished claim.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    /// What it is queued for, or was called for and has neither claimed nor left.
    awaited: Option<Resource>,
    /// The usage of which it has a slot, without one of the table.
    role_slot: Option<u32>,
    /// The usage that its role had last. Not part of a claim: it saves a search.
    usage: Option<u32>,
}

impl Notes {
    /// No claim.
    pub const NONE: Self = Self {
        awaited: None,
        role_slot: None,
        usage: None,
    };
}

/// The process that takes the steps.
pub trait Claimant {
    /// The pool's lock.
    type Lock: PoolLock;

    /// The process, by which waiters are called.
    fn proc(&self) -> ProcRef;
    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// What it sleeps on. A sleep may unwind, or end the process.
    fn latch(&self) -> &impl Latch;
    /// Its notes.
    fn notes(&self) -> Notes;
    /// Replaces its notes. Does not unwind.
    fn set_notes(&self, notes: Notes);
    /// It has joined a queue, and is about to look again. Does not unwind.
    fn after_join(&self);
    /// Frees the jobs that others could not free. May unwind, or end the process.
    fn release_deferred(&self);
    /// The time of its next periodic check while it waits; `None`: there is none.
    fn next_check(&self) -> Option<Micros> {
        None
    }
    /// Does the periodic check, whose time has come. May unwind, or end the process.
    fn check(&self, _now: Micros) {}
}

/// A wait for `what`.
struct SlotWait<'a, C, F> {
    claimant: &'a C,
    what: Resource,
    limit: u32,
    look: F,
}

impl<T, C: Claimant, F: FnMut() -> Option<T>> Condition for SlotWait<'_, C, F> {
    type Found = T;

    fn arm(&mut self) {
        join(self.claimant, self.what, self.limit);
    }

    fn look(&mut self) -> Option<T> {
        // One of these frees may release the slot that this process waits for.
        mutant!("waiter-frees-nothing", self.claimant.release_deferred() => ());
        (self.look)()
    }

    fn next_check(&mut self) -> Option<Micros> {
        self.claimant.next_check()
    }

    fn check(&mut self, now: Micros) {
        self.claimant.check(now);
    }
}

fn note(claimant: &impl Claimant, change: impl FnOnce(&mut Notes)) {
    let mut notes = claimant.notes();
    change(&mut notes);
    claimant.set_notes(notes);
}

/// Gives up an unfinished claim when dropped.
struct Unfinished<'a, C: Claimant>(&'a C);

impl<C: Claimant> Drop for Unfinished<'_, C> {
    fn drop(&mut self) {
        give_up(self.0);
    }
}

/// Claims a slot, and passes the job to `take`. Waits until `deadline`; `None`: does not wait. `take` comes first
/// after the claim: nothing may end the process before it has the job. May unwind; then it has neither slot.
///
/// # Errors
/// Why there was none.
pub fn claim(
    claimant: &impl Claimant,
    ask: Ask,
    deadline: Option<Micros>,
    take: impl FnMut(JobId),
) -> Result<JobId, NoSlot> {
    let unfinished = Unfinished(claimant);
    let usage = claim_role_slot(claimant, ask, deadline)?;
    let job = claim_table_slot(claimant, usage, ask.table_slots, deadline, take);
    drop(unfinished);
    job.ok_or(NoSlot::TableFull)
}

/// The first half of [`claim`]. Returns the role's usage. The caller gives up, or goes on with the other half.
///
/// # Errors
/// As [`claim`].
pub fn claim_role_slot(
    claimant: &impl Claimant,
    ask: Ask,
    deadline: Option<Micros>,
) -> Result<u32, NoSlot> {
    let Ask {
        role, role_slots, ..
    } = ask;
    let pool = claimant.pool();
    loop {
        let known = claimant.notes().usage.or_else(|| pool.usage_of(role));
        let usage = known.ok_or(NoSlot::TooManyRoles)?;
        note(claimant, |notes| notes.usage = Some(usage));
        let look = || match pool.usage(usage).claim_slot(role, role_slots) {
            Claimed::AtLimit => None,
            Claimed::Gone => Some(false),
            Claimed::Yes => {
                note(claimant, |notes| notes.role_slot = Some(usage));
                Some(true)
            }
        };
        let what = Resource::RoleSlots(usage);
        match wait(claimant, what, role_slots, deadline, look) {
            Some(true) => return Ok(usage),
            // The entry serves another role by now: this role had no jobs for a moment.
            Some(false) => note(claimant, |notes| notes.usage = None),
            None => return Err(NoSlot::RoleLimit),
        }
    }
}

/// The other half of [`claim`], for a process that has one of the role's slots. The caller gives up afterwards.
pub fn claim_table_slot(
    claimant: &impl Claimant,
    usage: u32,
    limit: u32,
    deadline: Option<Micros>,
    mut take: impl FnMut(JobId),
) -> Option<JobId> {
    let pool = claimant.pool();
    wait(claimant, Resource::Slots, limit, deadline, || {
        let job = pool.claim(usage, limit)?;
        let forget_role_slot = || note(claimant, |notes| notes.role_slot = None);
        mutant!("role-slot-noted-until-the-job-is-taken", forget_role_slot() => ());
        take(job);
        mutant!("role-slot-noted-until-the-job-is-taken" => forget_role_slot());
        Some(job)
    })
}

/// Looks, and waits until the deadline if there is one.
fn wait<T>(
    claimant: &impl Claimant,
    what: Resource,
    limit: u32,
    deadline: Option<Micros>,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    if deadline.is_none() {
        return look();
    }
    let mut wait = SlotWait {
        claimant,
        what,
        limit,
        look,
    };
    let found = wait_for(claimant.latch(), deadline, &mut wait);
    stop_waiting(claimant);
    found
}

fn join(claimant: &impl Claimant, what: Resource, limit: u32) {
    mutant!("waiter-noted-after-it-joined" => return mutants::join_then_note(claimant, what, limit));
    let was_waiting = claimant.notes().awaited.is_some();
    note(claimant, |notes| notes.awaited = Some(what));
    let (pool, proc) = (claimant.pool(), claimant.proc());
    pool.join_waiters(proc, what, limit, was_waiting);
    claimant.after_join();
}

fn stop_waiting(claimant: &impl Claimant) {
    if let Some(what) = claimant.notes().awaited {
        mutant!("wait-forgotten-before-it-left" => note(claimant, |notes| notes.awaited = None));
        claimant.pool().leave_waiters(claimant.proc(), what);
        note(claimant, |notes| notes.awaited = None);
    }
}

/// Gives up what the process waits for, or has half claimed. Called by its exit, which may not have unwound the stack.
/// Does not unwind.
pub fn give_up(claimant: &impl Claimant) {
    stop_waiting(claimant);
    if let Some(usage) = claimant.notes().role_slot {
        mutant!("role-slot-kept-by-a-launch-that-gives-up" => return);
        claimant.pool().release_role_slot(usage);
        note(claimant, |notes| notes.role_slot = None);
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Claimant, Resource, note};

    pub(super) fn join_then_note(claimant: &impl Claimant, what: Resource, limit: u32) {
        let was_waiting = claimant.notes().awaited.is_some();
        let (pool, proc) = (claimant.pool(), claimant.proc());
        pool.join_waiters(proc, what, limit, was_waiting);
        claimant.after_join();
        note(claimant, |notes| notes.awaited = Some(what));
    }
}
