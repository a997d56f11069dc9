//! Collections whose size a user decides.
//!
//! A Rust collection that cannot grow ends the process. Where a user decides how large one becomes, it grows
//! through [`try_reserve`] and the functions below, which return an error when there is no memory. In a server,
//! memory that is requested in another way and cannot be had ends the session (`pg/allocator.rs`).

#![allow(clippy::disallowed_methods, reason = "this is the place")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the caller that requests memory now can handle a failure. In a server it is a static: the allocator reads it
/// when there is no memory, and the first access to a library's thread-local variable may itself need some.
#[cfg(not(test))]
fn flag() -> &'static AtomicBool {
    static MAY_FAIL: AtomicBool = AtomicBool::new(false);
    &MAY_FAIL
}

/// In the unit tests, each thread stands for a process.
#[cfg(test)]
fn flag() -> &'static AtomicBool {
    thread_local! {
        static MAY_FAIL: &'static AtomicBool = Box::leak(Box::default());
    }
    MAY_FAIL.with(|flag| *flag)
}

/// There is no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// Whether the caller that requests memory now can handle a failure.
pub fn may_fail() -> bool {
    flag().load(Ordering::Relaxed)
}

fn fallibly<E>(reserve: impl FnOnce() -> Result<(), E>) -> Result<(), OutOfMemory> {
    let before = flag().swap(true, Ordering::Relaxed);
    let reserved = reserve();
    flag().store(before, Ordering::Relaxed);
    reserved.map_err(|_| OutOfMemory)
}

/// Makes room for `more`; an amortized step when it has to grow.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    fallibly(|| list.try_reserve(more))
}

/// Makes room for exactly `more`.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_reserve_exact<T>(list: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    fallibly(|| list.try_reserve_exact(more))
}

/// Appends to a queue.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_push_back<T>(queue: &mut VecDeque<T>, item: T) -> Result<(), OutOfMemory> {
    fallibly(|| queue.try_reserve(1))?;
    queue.push_back(item);
    Ok(())
}

/// Appends to a list.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_push<T>(list: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    try_reserve(list, 1)?;
    list.push(item);
    Ok(())
}

/// A copy.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_copy<T: Copy>(items: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut list = Vec::new();
    try_reserve_exact(&mut list, items.len())?;
    list.extend_from_slice(items);
    Ok(list)
}

/// Collects an iterator.
///
/// # Errors
/// [`OutOfMemory`]
pub fn try_collect<T>(items: impl IntoIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let items = items.into_iter();
    let mut list = Vec::new();
    try_reserve_exact(&mut list, items.size_hint().0)?;
    for item in items {
        try_push(&mut list, item)?;
    }
    Ok(list)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_said() {
        let mut list = vec![1_u8];
        assert_eq!(try_reserve(&mut list, usize::MAX / 2), Err(OutOfMemory));
        assert_eq!(try_reserve_exact(&mut list, usize::MAX), Err(OutOfMemory));
        assert_eq!(list, [1]);
        assert!(!may_fail());
    }

    #[test]
    fn a_failure_can_be_handled_only_during_the_request() {
        assert_eq!(
            fallibly(|| if may_fail() { Ok(()) } else { Err(()) }),
            Ok(())
        );
        assert!(!may_fail());
    }

    #[test]
    fn what_can_be_had_is_all_there() {
        assert_eq!(try_collect(0..1000_u32).unwrap().len(), 1000);
        assert_eq!(
            try_collect((0..9).filter(|n| n % 3 == 0)).unwrap(),
            [0, 3, 6]
        );
        assert_eq!(try_copy(b"abc").unwrap(), b"abc");
        let mut queue = VecDeque::new();
        assert!(try_push_back(&mut queue, 1).is_ok() && try_push_back(&mut queue, 2).is_ok());
        assert_eq!(queue, [1, 2]);
    }
}
