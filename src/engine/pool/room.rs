//! Waiting for room in the job table.
//!
//! A launch that finds every slot in use queues up here, if its session wants to wait. Whoever frees a slot
//! takes the first of the queue off it and rings its doorbell.
//!
//! # Why no wake-up is lost
//!
//! Store-then-look on both sides. The launch joins the queue (which counts it in `Totals::waiting`), fences,
//! and tries once more to claim a slot; who frees a slot puts it on the free list, fences, and looks at the
//! count. One of them sees the other.
//!
//! A waiter that was taken off the queue owes an answer: it claims a slot, or goes back to the *front* (a
//! newcomer was faster), or, when it gives up, passes the call on to the next ([`Pool::leave_room`]). So one
//! freed slot wakes one waiter, and as long as there is a free slot and a waiter, a call is under way.

use super::{Link, Pool, PoolLock, Scheduler, add, load, subtract};
use crate::engine::party::Party;
use crate::engine::sync::{AtomicU32, Ordering, fence};
use crate::engine::table::JobId;

/// A session's place in the queue, in its entry.
#[derive(Default)]
pub(super) struct Place {
    listed: AtomicU32,
    next: AtomicU32,
    prev: AtomicU32,
}

/// The queue's ends and length, in [`super::Totals`].
#[derive(Default)]
pub(super) struct Queue {
    head: AtomicU32,
    tail: AtomicU32,
    waiting: AtomicU32,
}

impl<L: PoolLock> Pool<'_, L> {
    /// The session joins the queue for a slot; `first`: at the front, because it was called before. Does
    /// nothing when it is in the queue. To be followed by an attempt to claim.
    pub fn await_room(&self, party: Party, first: bool) {
        self.locked(|scheduler| scheduler.join_room(party, first));
        // Pairs with the fence in `room_made`.
        if !mutant!("room-awaited-without-fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// The session waits no more. `claimed`: it has a slot; otherwise, if it had been called, the call is
    /// passed on.
    pub fn leave_room(&self, party: Party, claimed: bool) {
        let pass_on = self.locked(|scheduler| {
            let was_listed = scheduler.quit_room(party);
            (!was_listed && !claimed && !mutant!("room-call-not-passed-on"))
                .then(|| scheduler.call_room())
                .flatten()
        });
        if let Some(next) = pass_on {
            self.lock.ring(next);
        }
    }

    /// Frees the slot of a finished job that nobody holds; see [`JobTable::free`](super::JobTable::free).
    pub fn free(&self, job: JobId) {
        self.jobs.free(job);
        self.room_made();
    }

    /// Gives back a reservation.
    pub fn abandon(&self, job: JobId) {
        self.jobs.abandon(job);
        self.room_made();
    }

    fn room_made(&self) {
        // Pairs with the fence in `await_room`: the slot on the free list before our look at the queue.
        if !mutant!("room-made-without-fence") {
            fence(Ordering::SeqCst);
        }
        if self.totals.room.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(called) = self.locked(|scheduler| scheduler.call_room()) {
            self.lock.ring(called);
        }
    }
}

impl<'a> Scheduler<'a> {
    fn room_of(&self, index: u32) -> &'a Place {
        &self.leaders[index as usize].room
    }

    fn join_room(&mut self, party: Party, first: bool) {
        let index = party.procno();
        let place = self.room_of(index);
        if load(&place.listed) != 0 {
            return;
        }
        // The party is what a call rings.
        self.leaders[index as usize].enrol(party);
        place.listed.store(1, Ordering::Relaxed);
        let queue = &self.totals.room;
        let (before, after) = if first {
            (Link::NONE, Link::load(&queue.head))
        } else {
            (Link::load(&queue.tail), Link::NONE)
        };
        before.store(&place.prev);
        after.store(&place.next);
        let own = Link::to(index);
        own.store(
            before
                .index()
                .map_or(&queue.head, |before| &self.room_of(before).next),
        );
        own.store(
            after
                .index()
                .map_or(&queue.tail, |after| &self.room_of(after).prev),
        );
        add(&queue.waiting, 1);
    }

    fn quit_room(&mut self, party: Party) -> bool {
        let place = self.room_of(party.procno());
        let was_listed = load(&place.listed) != 0;
        if was_listed {
            self.unlink_room(party.procno());
        }
        was_listed
    }

    fn unlink_room(&mut self, index: u32) {
        let (place, queue) = (self.room_of(index), &self.totals.room);
        let (before, after) = (Link::load(&place.prev), Link::load(&place.next));
        after.store(
            before
                .index()
                .map_or(&queue.head, |before| &self.room_of(before).next),
        );
        before.store(
            after
                .index()
                .map_or(&queue.tail, |after| &self.room_of(after).prev),
        );
        place.listed.store(0, Ordering::Relaxed);
        subtract(&queue.waiting, 1);
    }

    /// Takes the first off the queue, to be rung.
    fn call_room(&mut self) -> Option<Party> {
        let index = Link::load(&self.totals.room.head).index()?;
        self.unlink_room(index);
        self.leaders[index as usize].party()
    }
}
