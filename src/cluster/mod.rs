//! What the processes of the cluster share.
//!
//! | module | subject |
//! |---|---|
//! | [`attach`] | root in main shared memory and control segment; this process's handle on them |
//! | [`layout`] | what they look like, and how large they are |
//! | [`arena`] | memory that comes in all sizes, its limits, and what it counts for a role |
//! | [`segment`] | dynamic segments that have one block each |
//! | [`block`] | a job's block: request, outcome, result ring |
//! | [`spill`] | the file of a result that nobody reads |
//! | [`job`] | a job, as a process finds it there |
//! | [`job_end`] | the end of a job: who is told, and who frees what it owned |
//! | [`spawn`] | asking the postmaster for worker processes |
//! | [`latch`] | the latch of this process as the engine waits on it |
//! | [`trace`] | DEBUG lines for the transitions of jobs |

pub mod arena;
pub mod attach;
pub mod block;
pub mod job;
pub mod job_end;
pub mod latch;
pub mod layout;
pub mod segment;
pub mod spawn;
pub mod spill;
pub mod trace;
