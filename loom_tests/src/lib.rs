//! Models of the engine. `tests/` has one file per subject, and `docs/models.md` says what each of them claims.
//!
//! This crate has what they share, besides [`engine::models`] and the latch of [`protocol_kit`]: the pool's lock, a
//! small pool, a job's block that detects a use after its free, a result ring in cells that detect a race. With `--cfg
//! loom` the tests are the models, which loom explores. With `--cfg shuttle` they are the schedules
//! (`tests/schedules/`), which shuttle draws at random. Without either, this crate and its tests are empty.
#![cfg(any(loom, shuttle))]

pub use protocol_kit::{latch, sync};

#[cfg(loom)]
pub mod block;
#[cfg(loom)]
pub mod bound;
#[cfg(loom)]
pub mod channel;
pub mod memory;
#[cfg(loom)]
pub mod ring;
