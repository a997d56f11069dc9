//! The memory that the processes of the cluster share.
//!
//! | module | subject |
//! |---|---|
//! | [`attach`] | root in main shared memory and control segment; this process's handle on them |
//! | [`layout`] | how they are laid out, and how large they are |
//! | [`arena`] | memory of variable size, its limits, and what is charged to a role |
//! | [`segment`] | dynamic segments with one block each |
//! | [`block`] | a job's block: request, outcome, result ring |
//! | [`spill`] | the file of a result that nobody reads |
//! | [`job`] | a job, as a process finds it in shared memory |
//! | [`job_end`] | the end of a job: who is woken, and who frees what the job owned |
//! | [`spawn`] | asking the postmaster for worker processes |
//! | [`latch`] | the latch of this process, as the engine's wait loop uses it |
//! | [`drop_database`] | idle workers leave a database that is about to be dropped |
//! | [`trace`] | DEBUG lines for the transitions of jobs |

pub mod arena;
pub mod attach;
pub mod block;
pub mod drop_database;
pub mod job;
pub mod job_end;
pub mod latch;
pub mod layout;
pub mod segment;
pub mod spawn;
pub mod spill;
pub mod trace;
