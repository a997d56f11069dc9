//! The words of the chains of jobs on which sessions sleep. [`crate::pool::sleep`] says what they are for, and why each of
//! them also has a count.

use crate::cookie::MAX_JOBS;
use crate::list::Link;
use crate::sync::{AtomicU64, Ordering};
use static_assertions::const_assert;

/// The link is in the low bits of the word, the count of sleeps above them. At 100 000 sleeps a second it repeats after
/// 127 days. Then a job that has not been in a chain for so long could be left out of one.
const COUNT_SHIFT: u32 = 24;

const_assert!(MAX_JOBS < 1 << COUNT_SHIFT);

/// A link of a chain, in shared memory. Zeroed: in none.
#[derive(Default)]
pub(crate) struct ChainLink(AtomicU64);

impl ChainLink {
    /// The number of the sleep after this one; never 0.
    pub(crate) fn next_count(count: u64) -> u64 {
        ((count + 1) & (u64::MAX >> COUNT_SHIFT)).max(1)
    }

    /// It is of no sleep.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Which sleep it is of, and what comes next.
    pub(crate) fn load(&self) -> (u64, Link) {
        let bits = self.0.load(Ordering::Relaxed);
        let link = bits & ((1 << COUNT_SHIFT) - 1);
        (bits >> COUNT_SHIFT, Link(link as u32))
    }

    pub(crate) fn store(&self, count: u64, link: Link) {
        let bits = count << COUNT_SHIFT | u64::from(link.0);
        self.0.store(bits, Ordering::Relaxed);
    }
}
