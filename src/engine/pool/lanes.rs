//! Finding a lane by its key, and using the entry of an unused lane again.
//!
//! Entries with keys are in a table of chains: entry *i* also holds the head of chain *i*, and a key's chain is the hash
//! of the key. An entry that has neither jobs nor workers keeps its key, so that its next launch finds it, but is on the
//! list of unused lanes. A new key takes an entry that was never used, or the first on that list.
//!
//! A process that was registered for the former lane of an entry may still be on its way. Its worker slot was taken back
//! before the lane could become unused, so its generation is stale, and it leaves when it reports in. Whoever means a
//! lane outside the lock names it by its key.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Lane::key`, `chain`, `chain_next` | holder of the lock | nobody |
//! | `Totals::lanes`, `unused` | holder of the lock | nobody |

use super::entries::{Lane, LaneKey};
use super::scheduler::Scheduler;
use crate::list::Link;
use crate::locked::{add, load};
use crate::sync::{AtomicU32, Ordering};

impl<'a> Scheduler<'a> {
    /// The head of the chain of this key.
    fn chain_of(&self, bits: u64) -> &'a AtomicU32 {
        // Multiplicative hashing (Knuth): the high bits of the product depend on all bits of the key.
        let hash = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        &self.shared.lanes[hash as usize % self.shared.lanes.len()].chain
    }

    /// The lane with this key.
    pub(super) fn lane_with(&self, key: LaneKey) -> Option<u32> {
        let bits = key.to_bits();
        let mut next = Link::load(self.chain_of(bits));
        while let Some(index) = next.index() {
            let lane = self.lane(index);
            if lane.has_key(bits) {
                return Some(index);
            }
            next = Link::load(&lane.chain_next);
        }
        None
    }

    /// The lane with this key, created if necessary. Looks at `hint` first. `None`: every entry is in use.
    pub(super) fn find_lane(&mut self, key: LaneKey, hint: u32) -> Option<u32> {
        let bits = key.to_bits();
        let is_it = |lane: &Lane| lane.has_key(bits);
        if self.shared.lanes.get(hint as usize).is_some_and(is_it) {
            return Some(hint);
        }
        if let Some(found) = self.lane_with(key) {
            return Some(found);
        }
        let used = &self.shared.totals.lanes;
        let index = if load(used) < self.shared.lanes.len() as u32 {
            add(used, 1);
            load(used) - 1
        } else {
            let index = self.shared.totals.unused.first()?;
            self.unchain(index);
            index
        };
        let lane = self.lane(index);
        lane.key.store(bits, Ordering::Relaxed);
        lane.run_time.store(0, Ordering::Relaxed);
        lane.limit.store(0, Ordering::Relaxed);
        lane.start_failed.store(0, Ordering::Relaxed);
        let head = self.chain_of(bits);
        Link::load(head).store(&lane.chain_next);
        Link::to(index).store(head);
        self.file(index);
        Some(index)
    }

    /// Takes an entry out of the chain of its key.
    fn unchain(&self, index: u32) {
        let lane = self.lane(index);
        let mut link = self.chain_of(lane.key.load(Ordering::Relaxed));
        while let Some(next) = Link::load(link).index()
            && next != index
        {
            link = &self.lane(next).chain_next;
        }
        Link::load(&lane.chain_next).store(link);
    }
}
