//! The server's latch, as a model.
//!
//! The order is that of `SetLatch`, `WaitLatch` and `ResetLatch`. The setter has a barrier, and looks whether
//! the latch is set already. Only if it is not, it sets it and wakes the sleeper. The sleeper looks at the
//! latch before it blocks, and resets it with a barrier afterwards. So a setter that finds the latch set relies
//! on the sleeper to look at its word *after* the reset. So a wait loop must have this order, and
//! a model with this latch shows whether it has.

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, fence};

/// The latch of one process.
///
/// The flag is changed by `swap`, which orders only the changes themselves. With plain stores loom does not
/// keep one order of the stores of three threads to one word, and shows executions that cannot happen.
pub struct MockLatch {
    is_set: AtomicBool,
    /// The signal, or the byte in the pipe, that ends the sleep. It stays until it is taken.
    wakeup: Mutex<bool>,
    arrived: Condvar,
}

impl Default for MockLatch {
    fn default() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            wakeup: Mutex::new(false),
            arrived: Condvar::new(),
        }
    }
}

impl MockLatch {
    /// `SetLatch`.
    pub fn set(&self) {
        fence(Ordering::SeqCst);
        if self.is_set.load(Ordering::Relaxed) {
            return;
        }
        self.is_set.swap(true, Ordering::Relaxed);
        *self.wakeup.lock().unwrap() = true;
        self.arrived.notify_one();
    }

    /// `WaitLatch`, then `ResetLatch`.
    pub fn wait_and_reset(&self) {
        loop {
            fence(Ordering::SeqCst);
            if self.is_set.load(Ordering::Relaxed) {
                break;
            }
            let mut wakeup = self.wakeup.lock().unwrap();
            while !*wakeup {
                wakeup = self.arrived.wait(wakeup).unwrap();
            }
            *wakeup = false;
        }
        self.is_set.swap(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}
