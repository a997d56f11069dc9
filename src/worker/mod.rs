//! A worker's side: main loop, session, execution, sending.
//!
//! | module | subject |
//! |---|---|
//! | [`process`] | from the postmaster's fork to the exit: report in, connect, run or sleep, leave |
//! | [`state`] | the state of this process as a worker |
//! | [`run`] | one job, from bound to finished |
//! | [`session`] | adopting the leader's session, and resetting it after the job |
//! | [`running_job`] | the job that the process runs, and what it holds of the job |
//! | [`sink`] | the destination of the running job's rows and messages |
//! | [`send`] | rows and messages into the result ring |
//! | [`current`] | the job that this process runs now, as its signal handler sees it |
//! | [`exit`] | how a worker's exit ends its job and frees its worker slot |
//!
//! A process belongs to one lane until it exits. Errors do not end it: the shim's loop (`execute.c`) recovers and calls
//! `process::step` again.

pub mod current;
pub mod exit;
pub mod process;
pub mod run;
pub mod running_job;
pub mod send;
pub mod session;
pub mod sink;
pub mod state;
