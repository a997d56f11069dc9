//! PostgreSQL's facilities, each wrapped once.
//!
//! | module | subject |
//! |---|---|
//! | [`identity`] | who a session is |
//! | [`guc_state`] | the settings of a session as bytes |
//! | [`exit`] | what a process does at its exit |
//! | [`fault`] | points at which a test can make a process fail; nothing in ordinary builds |
//! | [`rows`] | what the calling query wants, and where a set-returning function puts its rows |
//! | [`mod@array`] | arrays and rows that SQL passes in |
//! | [`per_call`] | what a function that gives one row per call keeps |
//! | [`allocator`] | where Rust's memory comes from, and what happens when there is none |
//! | [`memory`] | memory for data whose size a user decides |
//! | [`mod@tuple`] | values that go to and come from SQL |
//! | [`local`] | memory of this process |
//! | [`error`] | errors as values, and how they are raised |
//! | [`process`] | this process and others: who it is, clocks, sleeping on its latch, waking another |
//! | [`library`] | the library of the extension, as processes know it |
//! | [`transaction`] | what ends with the (sub)transaction in which it was begun |
//! | [`subtransaction`] | going on after an error of the server |
//! | [`text`] | texts in the server's encoding |
//! | [`shim`] | what the C shim offers |
//! | [`wait_event`] | what `pg_stat_activity` shows while a process sleeps |
//!
//! Differences between server versions are dealt with here and in the shim, nowhere else.

#[macro_use]
pub mod fault;

pub mod allocator;
pub mod array;
pub mod error;
pub mod exit;
pub mod guc_state;
pub mod identity;
pub mod library;
pub mod local;
pub mod memory;
pub mod per_call;
pub mod process;
pub mod rows;
pub mod shim;
pub mod subtransaction;
pub mod text;
pub mod transaction;
pub mod tuple;
pub mod wait_event;
