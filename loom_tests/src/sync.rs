//! The seam between loom and shuttle, for what the models share. The engine's own is
//! [`engine::sync`].

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
