//! Ending the transaction of a procedure's caller, and telling objects that their (sub)transaction was rolled back.
//!
//! The memory of a query can outlive its (sub)transaction: an aborted transaction block waits for its ROLLBACK. An
//! object that must not outlive the (sub)transaction is **tied** to it ([`tie`]): it is told when the (sub)transaction
//! aborts. When a subtransaction commits, the objects tied to it become tied to its parent.

use crate::pg::boundary;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::server;
use crate::pg::shim::{pgb_may_end_transaction, pgb_next_transaction};
use engine::memory;
use pgrx::pg_sys;
use std::ffi::c_void;

/// Whether a procedure that is called so may end the transaction ([`next`]).
///
/// # Safety
/// `fcinfo` is the argument of the call.
pub unsafe fn may_end(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: by the caller; looks at the call and at the state of this process.
    unsafe { pgb_may_end_transaction(fcinfo) }
}

/// Commits the transaction and begins another, without a snapshot. Where [`may_end`] has been false it raises 2D000;
/// otherwise the errors of a commit.
pub fn next() {
    // SAFETY: one call of the shim.
    unsafe { pgb_next_transaction() };
}

/// An object that can be tied to a (sub)transaction.
pub trait RolledBack {
    /// Called when the (sub)transaction was rolled back. Must not throw, and must not allocate memory.
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
/// `owner` points at a `T` to which there is no other reference now.
unsafe fn tell<T: RolledBack>(owner: *mut c_void) {
    // SAFETY: by the caller.
    unsafe { (*owner.cast::<T>()).rolled_back() };
}

/// Ties `owner` to the current (sub)transaction until [`untie`]. Raises 53200 without memory.
///
/// # Safety
/// `owner` must not move until [`untie`], and none of its methods may be running when the (sub)transaction that it is
/// tied to aborts, or one around that.
pub unsafe fn tie<T: RolledBack>(owner: &mut T) {
    register();
    let tied = Tied {
        owner: std::ptr::from_mut(owner).cast(),
        tell: tell::<T>,
        // SAFETY: reads the state of the transaction.
        subtransaction: unsafe { server::GetCurrentSubTransactionId() },
    };
    if TIED.with(|all| memory::try_push(all, tied)).is_err() {
        Error::out_of_memory().raise();
    }
}

/// Unties `owner`, which need not have been tied.
pub fn untie<T: RolledBack>(owner: &mut T) {
    let owner = std::ptr::from_mut(owner).cast();
    TIED.with(|all| all.retain(|tied| tied.owner != owner));
}

fn register() {
    if !REGISTERED.get() {
        // SAFETY: functions of this library, which is never unloaded.
        unsafe {
            server::RegisterXactCallback(Some(after_transaction), std::ptr::null_mut());
            server::RegisterSubXactCallback(Some(after_subtransaction), std::ptr::null_mut());
        }
        REGISTERED.set(true);
    }
}

/// Tells the objects for which `is_affected` is true.
fn tell_where(is_affected: impl Fn(&Tied) -> bool) {
    // Finds them one by one, because this must not allocate memory.
    let next = |from: usize| {
        TIED.with(|all| {
            let found = all.get(from..)?.iter().position(&is_affected)?;
            Some((from + found, all[from + found]))
        })
    };
    let mut from = 0;
    while let Some((at, tied)) = next(from) {
        from = at + 1;
        // SAFETY: by the contract of `tie` the owner has not moved, and none of its methods is running.
        unsafe { (tied.tell)(tied.owner) };
    }
}

unsafe extern "C-unwind" fn after_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let body = move || {
        if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
            tell_where(|_| true);
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

unsafe extern "C-unwind" fn after_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    let body = move || match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            tell_where(|tied| tied.subtransaction == own);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => TIED.with(|all| {
            for tied in all.iter_mut().filter(|tied| tied.subtransaction == own) {
                tied.subtransaction = parent;
            }
        }),
        _ => {}
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}
