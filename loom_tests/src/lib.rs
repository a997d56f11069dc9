//! Models of the engine; see `tests/`, one file per subject, and `docs/models.md` for what each claims.
//!
//! This crate holds what they share, beside what the engine has for them ([`engine::models`]): the latch, the pool's
//! lock, a small pool, a job's block that notices when it is used after it was freed, a result ring in cells that notice
//! a race.
//! With `--cfg loom` the tests are the models, which loom explores; with `--cfg shuttle` they are the schedules
//! (`tests/schedules/`), which shuttle draws at random. Without either this crate is empty, and so are the tests.
#![cfg(any(loom, shuttle))]

#[cfg(loom)]
pub mod block;
#[cfg(loom)]
pub mod channel;
pub mod latch;
pub mod memory;
#[cfg(loom)]
pub mod ring;
pub mod sync;
