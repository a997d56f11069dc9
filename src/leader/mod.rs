//! A session's side: launch, wait, result, cancel, detach, list.
//!
//! | module | subject |
//! |---|---|
//! | [`session`] | the jobs this session tracks, and its statistics |
//! | [`launch`] | from a request to a handle |
//! | [`wait`] | waiting for a job, and what is looked at meanwhile |
//! | [`deadlock`] | waits that come back to the waiter |
//! | [`result`] | reading a result, for everyone who wants rows |
//! | [`stream`] | a result in a select list: one row per call |
//! | [`json_array`] | a result as one JSON array |
//! | [`reading`] | the frames of a job, one after another |
//! | [`convert`] | from the rows of a job to the rows that the caller wants |
//! | [`columns`] | comparing the columns of a job with the caller's |
//! | [`control`] | cancel and detach |
//! | [`outcome`] | how a job ended |
//! | [`many`] | waiting for many jobs, and what is done with all of a session's |
//! | [`fanout`] | many statements, a bounded number in flight |
//! | [`oneshot`] | a job from its launch to its end in one call |
//! | [`view`] | list, statistics, progress |
//! | [`roles`] | what an administrator sees of the roles that have jobs, and does about them |
//! | [`slot_queue`] | claiming a slot of the job table, and waiting for one |
//! | [`exit`] | what happens when the session ends |

pub mod columns;
pub mod control;
pub mod convert;
pub mod deadlock;
pub mod exit;
pub mod fanout;
pub mod json_array;
pub mod launch;
pub mod many;
pub mod oneshot;
pub mod outcome;
pub mod reading;
pub mod result;
pub mod roles;
pub mod session;
pub mod slot_queue;
pub mod stream;
pub mod view;
pub mod wait;
