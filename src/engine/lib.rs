//! The state machines. No PostgreSQL in here: the same source runs in the server, in the unit tests and
//! under the models of `loom_tests/`.
//!
//! | module | subject |
//! |---|---|
//! | [`job`] | the job word: phases, holds, cancel |
//! | [`table`] | the job table: slots, and the lock-free free list |
//! | [`cookie`] | the cookie: how a user names a job |
//! | [`pool`] | lanes, workers, and who runs what next |
//! | [`worker`] | the worker word |
//! | `chain` | the words of a chain of jobs on which a session sleeps |
//! | `list` | a list through structures in shared memory |
//! | `locked` | words that are written under a lock |
//! | [`steps`] | a worker's steps with one job, in their order |
//! | [`wait`] | the one wait loop of each side |
//! | [`ring`] | the result ring between a worker and the reader |
//! | [`channel`] | the ring, and a spill file when nobody reads |
//! | [`block_ref`] | where a piece of shared memory is |
//! | [`process_ref`] | whose latch to set |
//! | [`text`] | short texts in shared memory, and how they are cut |
//! | [`progress`] | progress of a running job, read without tearing |
//! | [`layout`] | where the parts of a job's block lie |
//! | [`memory`] | collections whose size a user decides |
//! | [`deadlock`] | who waits for whom, and which waits form a cycle |
//! | [`column_list`] | parsing a column definition list |
//! | [`error_message`] | an error in the format of the wire protocol |
//! | `models` | the memory of a pool in one process: for models, unit tests and benchmarks, not for servers |
//! | [`transitions`] | the transitions of the words, as data |
//!
//! The crate `protocol_kit` has what is not this project's alone: one set of atomics for std, loom and shuttle
//! ([`sync`]), defects on purpose for the models ([`mod@mutant`]), and the form of the tables of transitions.
//!
//! The engine reaches the server through [`wait::Latch`] (sleep, clock, interrupts) and [`pool::PoolLock`].
//! [`steps::Process`] is what a worker does at each of its steps. A structure in shared memory and a process's
//! handle on it are always two types.

// The documentation is for developers of the engine, and includes private items.
#![allow(rustdoc::private_intra_doc_links)]

#[macro_use]
extern crate protocol_kit;

pub use protocol_kit::{mutant, sync};

pub mod block_ref;
mod chain;
pub mod channel;
pub mod column_list;
pub mod cookie;
pub mod deadlock;
pub mod error_message;
pub mod job;
pub mod layout;
mod list;
mod locked;
pub mod memory;
#[cfg(any(test, feature = "models"))]
pub mod models;
pub mod pool;
pub mod process_ref;
pub mod progress;
pub mod ring;
pub mod steps;
pub mod table;
pub mod text;
pub mod transitions;
pub mod wait;
pub mod worker;
