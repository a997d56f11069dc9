//! The PostgreSQL facilities that the engine stands on, each wrapped once.
//!
//! | module | subject |
//! |---|---|
//! | [`cluster`] | root in main shared memory, control segment, arena; the process's handle on them |
//! | [`block`] | a job's block in the arena: request, outcome, result ring |
//! | [`segment`] | dynamic segments that have one block each |
//! | [`latch`] | sleeping on the latch, ringing another process's doorbell |
//! | [`registration`] | asking the postmaster for worker processes |
//! | [`configuration`] | what the configuration says now, in whichever process asks |
//! | [`identity`] | who a session is |
//! | [`guc_state`] | the settings of a session as bytes |
//! | [`exit`] | what a process does at its exit |
//! | [`fault`] | points at which a test can make a process fail; nothing in ordinary builds |
//! | [`settings`] | the extension's own settings |
//! | [`rows`] | what the calling query wants, and where a set-returning function puts its rows |
//! | [`mod@array`] | arrays and rows that SQL passes in |
//! | [`per_call`] | what a function that gives one row per call keeps |
//! | [`allocator`] | where Rust's memory comes from, and what happens when there is none |
//! | [`memory`] | memory for data whose size a user decides |
//! | [`spill`] | the file of a result that nobody reads |
//! | [`mod@tuple`] | values that go to and come from SQL |
//! | [`local`] | memory of this process |
//! | [`error`] | errors as values, and how they are raised |
//! | [`subtransaction`] | going on after an error of the server |
//! | [`text`] | texts in the server's encoding |
//! | [`shim`] | what the C shim offers |
//! | [`trace`] | DEBUG lines for the transitions of jobs |
//! | [`wait_event`] | what `pg_stat_activity` shows while a process sleeps |
//!
//! Differences between server versions are dealt with here and in the shim, nowhere else.

#[macro_use]
pub mod fault;

pub mod allocator;
pub mod array;
pub mod block;
pub mod cluster;
pub mod configuration;
pub mod error;
pub mod exit;
pub mod guc_state;
pub mod identity;
pub mod latch;
pub mod local;
pub mod memory;
pub mod per_call;
pub mod registration;
pub mod rows;
pub mod segment;
pub mod settings;
pub mod shim;
pub mod spill;
pub mod subtransaction;
pub mod text;
pub mod trace;
pub mod tuple;
pub mod wait_event;
