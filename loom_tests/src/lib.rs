//! Models of the engine; see `tests/`, one file per subject, and `docs/models.md` for what each claims.
//!
//! This crate holds what they share: the latch, the pool's lock, the memory of a small pool, a job's
//! block that notices when it is used after it was freed, a result ring in cells that notice a race.
//! Without `--cfg loom` it is empty, and so are the tests.
#![cfg(loom)]

pub mod block;
pub mod channel;
pub mod latch;
pub mod memory;
pub mod ring;
