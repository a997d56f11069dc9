//! Words that are written under a lock. The holder needs no memory ordering, because the lock orders. A reader
//! without the lock takes the value for a hint.

use crate::sync::{AtomicU32, Ordering};

/// The word now.
pub fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Relaxed)
}

/// Raises a count.
pub fn add(word: &AtomicU32, count: u32) {
    word.store(load(word) + count, Ordering::Relaxed);
}

/// Lowers a count.
///
/// # Panics
/// When it would go below zero.
pub fn subtract(word: &AtomicU32, count: u32) {
    word.store(
        load(word)
            .checked_sub(count)
            .expect("a count went below zero"),
        Ordering::Relaxed,
    );
}
