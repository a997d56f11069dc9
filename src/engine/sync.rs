//! The atomics of the engine: real ones, or those of the models.
//!
//! Everything in this crate takes its atomics from here. In an ordinary build they are the standard library's.
//! With `--cfg loom` they are loom's, and the models in `loom_tests/` explore the same source. With `--cfg
//! shuttle` they are shuttle's, which runs many more threads in random schedules. The atomics of both libraries
//! are handles rather than words, so nothing in the engine may assume their size. `src/cluster/layout.rs`
//! asserts the layout of shared memory, for ordinary builds.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, shuttle)))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Tells the processor (or the model's scheduler) that this thread is spinning.
pub(crate) fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::hint::spin_loop();
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
}
