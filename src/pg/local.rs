//! Memory of this process.
//!
//! A PostgreSQL process runs extension code on one thread. But if a value is borrowed during a call into the server,
//! the server may call back (an exit callback, a nested SQL function), and the value is borrowed again. So no value is
//! borrowed across such a call: the closure of [`Local::with`] must not call the server. The allocator does not, either,
//! while a value is borrowed ([`allocator`]).

use crate::pg::allocator;
use std::cell::RefCell;

/// A value that belongs to this process.
pub struct Local<T>(RefCell<T>);

// SAFETY: a backend or background worker runs this library's code on its main thread only. The signal handler accesses
// atomics, never a `Local`.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    /// A value for a `static`.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Lends the value to `body`, which must not call the server.
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        let _hold = allocator::hold_end();
        body(&mut self.0.borrow_mut())
    }
}

impl<T: Copy> Local<T> {
    /// A copy of the value.
    pub fn get(&self) -> T {
        *self.0.borrow()
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.borrow_mut() = value;
    }
}
