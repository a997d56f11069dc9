//! The atomics of loom or of shuttle, for what the models share. Those of the engine are in [`engine::sync`].

#[cfg(loom)]
pub use loom::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(shuttle)]
pub use shuttle::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering, fence},
};
