//! Launches that wait for something that is counted: a slot of the job table, or a slot that counts for their
//! login role.
//!
//! # Words
//!
//! * A [`Resource`] has a **count** of what is taken and a queue of **waiters**. The count is an atomic word
//!   that a claim raises and a release lowers.
//! * Each waiter has its own **limit**: it may claim while the count is below it. (Some slots of the table are
//!   reserved for superusers. How many slots a role may have is a setting of the launching session.)
//! * To **call** a waiter is to take it off the queue and to wake its process.
//!
//! # Why no wake-up is lost
//!
//! Both sides store first and look then. A waiter joins the queue (which counts it), fences, and tries once
//! more to claim. A release lowers the count, fences, and looks for waiters. One of them sees the other.
//!
//! A call says only that it is worth trying, and carries no number: two calls of a waiter that has not acted
//! yet are one wake-up. So a waiter that leaves the queue, with a claim or without, calls the first one that
//! may claim, as a release does. While the count is below the limit of some waiter, one such waiter has been
//! called and has not answered yet.
//!
//! A waiter that was called, and lost against a newcomer, goes back to the *front* of the queue. It passes its
//! call on as well: a waiter with a higher limit may be behind it.
//!
//! A call skips waiters whose limit is reached. Limits differ only between superusers and others, or between
//! sessions of a role for which an administrator has changed the setting.

use super::entries::Waiter;
use super::scheduler::{Pool, PoolLock, Scheduler, Shared};
use crate::list::List;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A slot of the job table.
    Slots,
    /// A slot that counts for a login role; the index of the role's usage.
    RoleSlots(u32),
}

impl Resource {
    /// As in `Waiter::queue`; 0 is no queue.
    fn to_bits(self) -> u32 {
        match self {
            Self::Slots => 1,
            Self::RoleSlots(usage) => usage + 2,
        }
    }

    fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            0 => None,
            1 => Some(Self::Slots),
            usage => Some(Self::RoleSlots(usage - 2)),
        }
    }
}

impl Waiter {
    /// What it waits for, without having been called. Read without the lock.
    pub(super) fn awaited(&self) -> Option<Resource> {
        Resource::from_bits(load(&self.queue))
    }
}

impl<L: PoolLock> Pool<'_, L> {
    /// The session joins the queue for `what`; it may claim while fewer than `limit` are taken. `first`: at the
    /// front, because it was called before. Does nothing when it is in the queue. The caller then tries to
    /// claim.
    pub fn join_waiters(&self, proc: ProcRef, what: Resource, limit: u32, first: bool) {
        let called = self.locked(|scheduler| {
            let joined = scheduler.join_waiters(proc, what, limit, first);
            (joined && first)
                .then(|| scheduler.call_waiter(what))
                .flatten()
        });
        if let Some(next) = called {
            self.lock.wake(next);
        }
        // Pairs with the fence in `call_next`.
        fenced!("waiters-joined-without-fence", Ordering::SeqCst);
    }

    /// The session no longer waits for `what`: it has claimed, or gives up.
    pub fn leave_waiters(&self, proc: ProcRef, what: Resource) {
        let called = self.locked(|scheduler| {
            scheduler.quit_waiters(proc);
            mutant!("waiter-calls-nobody" => return None);
            scheduler.call_waiter(what)
        });
        if let Some(next) = called {
            self.lock.wake(next);
        }
    }

    /// Claims a slot of the table, if fewer than `limit` are taken, for a role. The role's slot was claimed
    /// before ([`Usage::claim_slot`](super::usage::Usage::claim_slot)); from now on the two are given back
    /// together. See [`JobTable::claim_below`](crate::table::JobTable::claim_below).
    #[must_use]
    pub fn claim(&self, usage: u32, limit: u32) -> Option<JobId> {
        let job = self.shared.jobs.claim_below(limit)?;
        self.shared
            .jobs
            .slot(job.index)
            .usage
            .store(usage, Ordering::Relaxed);
        Some(job)
    }

    /// Frees the slot of a finished job that nobody holds; see [`JobTable::free`](crate::table::JobTable::free).
    pub fn free(&self, job: JobId) {
        let usage = load(&self.shared.jobs.slot(job.index).usage);
        self.shared.jobs.free(job);
        self.slot_released(usage);
    }

    /// Gives back a reservation.
    pub fn abandon(&self, job: JobId) {
        let usage = load(&self.shared.jobs.slot(job.index).usage);
        self.shared.jobs.abandon(job);
        self.slot_released(usage);
    }

    /// The table's slot comes first: a role that gets its own slot back then finds one in the table.
    fn slot_released(&self, usage: u32) {
        self.call_next(Resource::Slots);
        self.release_role_slot(usage);
    }

    /// The count of `what` was lowered: calls the next waiter.
    pub(super) fn call_next(&self, what: Resource) {
        // Pairs with the fence in `join_waiters`: the lower count comes before our look at the queue.
        fenced!("released-without-fence", Ordering::SeqCst);
        if self.shared.waiters_of(what).is_empty() {
            return;
        }
        if let Some(called) = self.locked(|scheduler| scheduler.call_waiter(what)) {
            self.lock.wake(called);
        }
    }
}

impl<'a> Shared<'a> {
    fn waiters_of(&self, what: Resource) -> &'a List {
        match what {
            Resource::Slots => &self.totals.waiters,
            Resource::RoleSlots(usage) => &self.usages[usage as usize].waiters,
        }
    }
}

impl<'a> Scheduler<'a> {
    fn waiter(&self, index: u32) -> &'a Waiter {
        &self.shared.leaders[index as usize].waiter
    }

    fn count_of(&self, what: Resource) -> u32 {
        match what {
            Resource::Slots => self.shared.jobs.used(),
            Resource::RoleSlots(usage) => self.shared.usages[usage as usize].slots(),
        }
    }

    /// `false`: the session is in the queue already.
    fn join_waiters(&mut self, proc: ProcRef, what: Resource, limit: u32, first: bool) -> bool {
        let index = proc.procno();
        let waiter = self.waiter(index);
        if load(&waiter.queue) != 0 {
            return false;
        }
        // A call wakes this process.
        self.shared.leaders[index as usize].enroll(proc);
        waiter.queue.store(what.to_bits(), Ordering::Relaxed);
        // A waiter whose limit is above what exists would be called again and again, and never succeed.
        let limit = match what {
            Resource::Slots => limit.min(self.shared.jobs.capacity() as u32),
            Resource::RoleSlots(_) => limit,
        };
        waiter.limit.store(limit, Ordering::Relaxed);
        let queue = self.shared.waiters_of(what);
        if first {
            queue.push_front(self.shared.leaders, index);
        } else {
            queue.push_back(self.shared.leaders, index);
        }
        true
    }

    fn quit_waiters(&mut self, proc: ProcRef) {
        if load(&self.waiter(proc.procno()).queue) != 0 {
            self.unlink_waiter(proc.procno());
        }
    }

    fn unlink_waiter(&mut self, index: u32) {
        let waiter = self.waiter(index);
        let Some(what) = Resource::from_bits(load(&waiter.queue)) else {
            return;
        };
        self.shared
            .waiters_of(what)
            .remove(self.shared.leaders, index);
        waiter.queue.store(0, Ordering::Relaxed);
    }

    /// Wakes all waiters in the queue. They stay there.
    pub(super) fn wake_waiters(&self, what: Resource) {
        for index in self.shared.waiters_of(what).iter(self.shared.leaders) {
            if let Some(proc) = self.shared.leaders[index as usize].proc() {
                self.waker.wake(proc);
            }
        }
    }

    /// Takes the first waiter that may claim off the queue. The caller wakes it.
    fn call_waiter(&mut self, what: Resource) -> Option<ProcRef> {
        let count = self.count_of(what);
        let mut waiting = self.shared.waiters_of(what).iter(self.shared.leaders);
        let index = waiting.find(|&index| count < load(&self.waiter(index).limit))?;
        self.unlink_waiter(index);
        self.shared.leaders[index as usize].proc()
    }
}
