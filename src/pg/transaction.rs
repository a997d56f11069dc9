//! What ends with the (sub)transaction in which it was begun.
//!
//! Memory of a query can outlive the (sub)transaction that made it by some time: an aborted transaction block waits for
//! its ROLLBACK. What must not outlive it is **tied** to it ([`tie`]): when the (sub)transaction aborts, its owner is
//! told. When a subtransaction commits, what is tied to it is its parent's from then on.

use crate::pg::local::Local;
use pgrx::{pg_guard, pg_sys};
use std::ffi::c_void;

/// Told that the (sub)transaction was rolled back. Must not throw, and must not need memory.
pub trait RolledBack {
    /// It was.
    fn rolled_back(&mut self);
}

#[derive(Clone, Copy)]
struct Tied {
    owner: *mut c_void,
    tell: unsafe fn(*mut c_void),
    subtransaction: pg_sys::SubTransactionId,
}

static TIED: Local<Vec<Tied>> = Local::new(Vec::new());
static REGISTERED: Local<bool> = Local::new(false);

/// # Safety
/// `owner` points at a `T` that nobody else refers to now.
unsafe fn tell<T: RolledBack>(owner: *mut c_void) {
    // SAFETY: by the caller.
    unsafe { (*owner.cast::<T>()).rolled_back() };
}

/// Ties `owner` to the (sub)transaction that is in progress, until it is untied.
///
/// # Safety
/// It stays where it is until [`untie`], and no call is inside it when a (sub)transaction ends.
pub unsafe fn tie<T: RolledBack>(owner: &mut T) {
    register();
    let tied = Tied {
        owner: std::ptr::from_mut(owner).cast(),
        tell: tell::<T>,
        // SAFETY: a field of the transaction's state.
        subtransaction: unsafe { pg_sys::GetCurrentSubTransactionId() },
    };
    #[allow(clippy::disallowed_methods, reason = "one for each call that is open")]
    TIED.with(|all| all.push(tied));
}

/// `owner` is not told any more. It may never have been tied.
pub fn untie<T: RolledBack>(owner: &mut T) {
    let owner = std::ptr::from_mut(owner).cast();
    TIED.with(|all| all.retain(|tied| tied.owner != owner));
}

fn register() {
    if !REGISTERED.get() {
        // SAFETY: functions of this library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(after_transaction), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(after_subtransaction), std::ptr::null_mut());
        }
        REGISTERED.set(true);
    }
}

/// Tells those that are picked.
fn tell_where(picked: impl Fn(&Tied) -> bool) {
    // One after the other: there are as many as the session has opened, and this must not need memory.
    let next = |from: usize| {
        TIED.with(|all| {
            let found = all.get(from..)?.iter().position(&picked)?;
            Some((from + found, all[from + found]))
        })
    };
    let mut from = 0;
    while let Some((at, tied)) = next(from) {
        from = at + 1;
        // SAFETY: by the contract of `tie` it is where it was, and nobody is inside it: its (sub)transaction ends after
        // all frames were left.
        unsafe { (tied.tell)(tied.owner) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        tell_where(|_| true);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            tell_where(|tied| tied.subtransaction == own);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => TIED.with(|all| {
            for tied in all.iter_mut().filter(|tied| tied.subtransaction == own) {
                tied.subtransaction = parent;
            }
        }),
        _ => {}
    }
}
