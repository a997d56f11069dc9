//! Launching jobs.
//!
//! | module | subject |
//! |---|---|
//! | [`request`] | from a request to a handle |
//! | [`slot_queue`] | claiming a slot of the job table, and waiting for one |
//! | [`fanout`] | many statements, a bounded number of them in flight |
//! | [`statements`] | what they are: texts, or one text with many parameters |
//! | [`oneshot`] | a job from launch to end in one call, with a handle meanwhile |
//! | [`call`] | one statement in a transaction of its own, with its value |

pub mod call;
pub mod fanout;
pub mod oneshot;
pub mod request;
pub mod slot_queue;
pub mod statements;
