//! A worker's side: main loop, session, execution, sending.
//!
//! | module | subject |
//! |---|---|
//! | [`process`] | from the postmaster's fork to the exit: report in, connect, run or sleep, leave |
//! | [`state`] | what this process knows of itself as a worker |
//! | [`run`] | one job, from bound to finished |
//! | [`session`] | putting on the leader's session, taking off what the job left |
//! | [`running_job`] | what the process holds of the job that it runs, as one value |
//! | [`sink`] | where the rows and messages of the running job go |
//! | [`send`] | rows and messages into the result ring |
//! | [`current`] | the job this process runs now, as its signal handler sees it |
//! | [`exit`] | what becomes of the job and the place when the process ends |
//!
//! A process belongs to one lane for life. It lives through errors: the shim's loop (`execute.c`) recovers
//! and calls `process::step` again.

pub mod current;
pub mod exit;
pub mod process;
pub mod run;
pub mod running_job;
pub mod send;
pub mod session;
pub mod sink;
pub mod state;
