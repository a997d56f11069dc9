//! One set of names for the atomics of std, loom and shuttle.
//!
//! Code that is to be explored takes its atomics from here. In an ordinary build they are the standard library's.
//! With `--cfg loom` they are loom's, and a model explores the same source: every interleaving, and every value that
//! the memory model allows. With `--cfg shuttle` they are shuttle's, which runs many more threads in random
//! schedules. The atomics of both libraries are handles rather than words, so the code must not assume their size.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, shuttle)))]
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// What models block on.
#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex};
/// What models block on.
#[cfg(shuttle)]
pub use shuttle::sync::{Arc, Condvar, Mutex};

/// Tells the processor (or the model's scheduler) that this thread is spinning.
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::hint::spin_loop();
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
}
