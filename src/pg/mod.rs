//! PostgreSQL's facilities, each wrapped once.
//!
//! | module | subject |
//! |---|---|
//! | [`identity`] | the identity of a session |
//! | [`guc_state`] | the settings of a session as bytes |
//! | [`exit`] | the exit of a process |
//! | [`fault`] | points at which a test can make a process fail; nothing in ordinary builds |
//! | [`rows`] | what the calling query expects of a set-returning function, and where its rows go |
//! | [`mod@array`] | arrays, rows and texts that are passed as arguments |
//! | [`per_call`] | the state of a function that returns one row per call |
//! | [`allocator`] | the allocator of the Rust code, and what it does when there is no memory |
//! | [`memory`] | memory for data whose size a user decides |
//! | [`mod@tuple`] | SQL values and rows of them |
//! | [`local`] | memory of this process |
//! | [`guard`] | the guard around each call of C that can throw |
//! | [`boundary`] | where C calls Rust, and errors of the server on their way through Rust |
//! | [`error`] | errors as values, and how they are raised |
//! | [`server`] | the functions of the server that are called from Rust |
//! | [`process`] | this process and others: process references, clocks, sleeping on the latch, waking another process |
//! | [`library`] | the extension's library, and which processes are its workers |
//! | [`transaction`] | telling objects that their (sub)transaction was rolled back |
//! | [`subtransaction`] | going on after an error of the server |
//! | [`text`] | texts in the server's encoding |
//! | [`shim`] | the functions and structs of the C shim |
//! | [`wait_event`] | what `pg_stat_activity` shows while a process sleeps |
//!
//! Only this module and the shim know differences between server versions.

#[macro_use]
pub mod fault;

pub mod allocator;
pub mod array;
pub mod boundary;
pub mod error;
pub mod exit;
pub mod guard;
pub mod guc_state;
pub mod identity;
pub mod library;
pub mod local;
pub mod memory;
pub mod per_call;
pub mod process;
pub mod rows;
pub mod server;
pub mod shim;
pub mod subtransaction;
pub mod text;
pub mod transaction;
pub mod tuple;
pub mod wait_event;
