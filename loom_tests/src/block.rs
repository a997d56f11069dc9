//! A job's arena block, as a witness of wrong uses.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};

/// Stands for everything that a job owns. loom fails the model when the engine does not order a use and the
/// free. The assertions fail when they are in the wrong order.
#[derive(Default)]
pub struct Block {
    freed: UnsafeCell<bool>,
    outcome: UnsafeCell<u32>,
    /// Counts, without ordering anything.
    frees: AtomicU32,
}

impl Block {
    fn assert_alive(&self) {
        // SAFETY: only read here; loom watches for a free that is not ordered with it.
        self.freed
            .with(|freed| assert!(!unsafe { *freed }, "used after it was freed"));
    }

    /// The worker writes how the job ended.
    pub fn write(&self, outcome: u32) {
        self.assert_alive();
        // SAFETY: the job word lets only the bound worker write; loom watches that it does.
        self.outcome.with_mut(|place| unsafe { *place = outcome });
    }

    /// A process with a hold reads it.
    pub fn read(&self) -> u32 {
        self.assert_alive();
        // SAFETY: the outcome is not written any more after it was published; loom watches that.
        self.outcome.with(|place| unsafe { *place })
    }

    /// The last one out frees it.
    pub fn free(&self) {
        self.frees.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the last one out is alone; loom watches that it is.
        self.freed.with_mut(|freed| unsafe {
            assert!(!*freed, "freed twice");
            *freed = true;
        });
    }

    /// How often it was freed. Called after every thread was joined.
    pub fn frees(&self) -> u32 {
        self.frees.load(Ordering::Relaxed)
    }
}
