//! The list of a lane's queued jobs, and that of a session's held back ones: doubly linked through the slots,
//! so that a canceled job leaves it at once, whichever place it has.
//!
//! `next` and `prev` of a slot are the list's while its job is `Queued`; see [`crate::table`].

use super::{AtomicU32, JobId, Link, Scheduler, Slot, add, load, subtract};

impl<'a> Scheduler<'a> {
    /// Appends a slot to a list.
    pub(super) fn append(&self, head: &AtomicU32, tail: &AtomicU32, index: u32) {
        let slot = self.slot(index);
        let last = Link::load(tail);
        Link::NONE.store(&slot.next);
        last.store(&slot.prev);
        Link::to(index).store(last.index().map_or(head, |last| &self.slot(last).next));
        Link::to(index).store(tail);
    }

    /// Takes a slot off a list.
    pub(super) fn remove(&self, head: &AtomicU32, tail: &AtomicU32, index: u32) {
        let slot = self.slot(index);
        let (before, after) = (Link::load(&slot.prev), Link::load(&slot.next));
        after.store(
            before
                .index()
                .map_or(head, |before| &self.slot(before).next),
        );
        before.store(after.index().map_or(tail, |after| &self.slot(after).prev));
    }

    pub(super) fn push_back(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        self.append(&lane.head, &lane.tail, index);
        add(&lane.queued, 1);
        add(&self.totals.queued, 1);
    }

    pub(super) fn push_front(&mut self, index: u32) {
        let slot = self.slot(index);
        let lane = self.lane(load(&slot.lane));
        let first = Link::load(&lane.head);
        Link::NONE.store(&slot.prev);
        first.store(&slot.next);
        Link::to(index).store(
            first
                .index()
                .map_or(&lane.tail, |first| &self.slot(first).prev),
        );
        Link::to(index).store(&lane.head);
        add(&lane.queued, 1);
        add(&self.totals.queued, 1);
    }

    pub(super) fn unlink(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        self.remove(&lane.head, &lane.tail, index);
        subtract(&lane.queued, 1);
        subtract(&self.totals.queued, 1);
    }

    pub(super) fn job_in(&self, index: u32) -> JobId {
        let generation = self.slot(index).word.load().generation();
        JobId { index, generation }
    }

    /// Takes the first job that `may` allows off a lane's queue.
    pub(super) fn pop(&mut self, lane: u32, may: impl Fn(&Slot) -> bool) -> Option<JobId> {
        let mut next = Link::load(&self.lane(lane).head);
        while let Some(index) = next.index() {
            let slot = self.slot(index);
            if may(slot) {
                self.unlink(index);
                return Some(self.job_in(index));
            }
            next = Link::load(&slot.next);
        }
        None
    }
}
