//! What a concurrent protocol needs so that it can be checked. Nothing in here knows what the protocol is for.
//!
//! | module | what it gives |
//! |---|---|
//! | [`sync`] | one set of names for the atomics of std, loom and shuttle, so that models run the protocol's own source |
//! | [`mod@mutant`] | defects on purpose, selected at run time, to show that the models can fail |
//! | [`table`] | the transitions of a word as data |
//! | [`observe`] | a hook that is called after each transition, at no more than a load and a branch while nobody has set it |
//! | `coverage` (feature `check`) | a hook that compares each transition with its table and notes which ones were made |
//! | `document` (feature `tools`) | the tables as text and as a picture |
//! | [`line`] | one transition as a line of a log, written and read |
//! | `promela` (feature `tools`) | the tables for the model checker Spin |
//! | `replay` (feature `tools`) | whether the lines of several processes, in whatever order they were written, can be one history of the word |
//! | `latch` (models only) | PostgreSQL's latch, as a model |
//! | `choices` (shuttle only) | the choices of a random schedule, and the few of them that make it fail |
//!
//! `docs/checking.md` of this project shows how they are used together.

// Tools and tests end when there is no memory. A server must not, and has none of this.
#![cfg_attr(
    any(feature = "tools", feature = "check", loom, shuttle),
    allow(clippy::disallowed_methods, clippy::disallowed_macros)
)]

pub mod mutant;

#[cfg(shuttle)]
pub mod choices;
#[cfg(feature = "check")]
pub mod coverage;
#[cfg(feature = "tools")]
pub mod document;
#[cfg(any(loom, shuttle))]
pub mod latch;
pub mod line;
pub mod observe;
#[cfg(feature = "tools")]
pub mod promela;
#[cfg(feature = "tools")]
pub mod replay;
pub mod sync;
pub mod table;
