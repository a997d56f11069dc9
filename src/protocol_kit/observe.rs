//! A hook after each transition.
//!
//! The function that changes a word calls [`transition`] when it has succeeded. While no hook is set that costs a load
//! and a branch. A server sets a hook that remembers the transitions for its log; models and tests set one that checks
//! them (`coverage`).

use crate::table::Table;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A transition that was made.
#[derive(Clone, Copy)]
pub struct Made {
    /// The word's table.
    pub table: &'static Table,
    /// Index into the table's transitions.
    pub transition: usize,
    /// Where the word is.
    pub address: usize,
    /// The word before it.
    pub before: u64,
    /// The word after it.
    pub after: u64,
}

/// Called after each transition that changed a word, by the process or thread that made it, also under locks. Does not
/// unwind unless it wants to end the test.
pub type Hook = fn(&Made);

/// The hook, as a pointer; null: none.
static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets the hook of this process.
pub fn set(hook: Hook) {
    HOOK.store(hook as *mut (), Ordering::Relaxed);
}

/// A transition was made. Nothing to observe if it did not change the word.
#[inline]
pub fn transition(
    table: &'static Table,
    transition: usize,
    address: usize,
    before: u64,
    after: u64,
) {
    if before == after {
        return;
    }
    #[cfg(feature = "check")]
    crate::coverage::note(table, transition, before, after);
    let hook = HOOK.load(Ordering::Relaxed);
    if !hook.is_null() {
        call(
            hook,
            &Made {
                table,
                transition,
                address,
                before,
                after,
            },
        );
    }
}

#[inline(never)]
fn call(hook: *mut (), made: &Made) {
    // SAFETY: `set` stored a function of this type.
    let hook: Hook = unsafe { std::mem::transmute(hook) };
    hook(made);
}
