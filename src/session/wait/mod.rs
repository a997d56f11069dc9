//! Waiting for jobs.
//!
//! | module | subject |
//! |---|---|
//! | [`until`] | a session's wait loop and its periodic checks |
//! | [`many`] | waiting for many jobs |
//! | [`outside`] | waiting outside of the caller's transaction |
//! | [`deadlock`] | waits that lead back to the waiter |

pub mod deadlock;
pub mod many;
pub mod outside;
pub mod until;
