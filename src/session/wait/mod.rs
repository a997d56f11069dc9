//! Waiting for jobs.
//!
//! | module | subject |
//! |---|---|
//! | [`until`] | a session's wait loop and its periodic checks |
//! | [`many`] | waiting for many jobs |
//! | [`deadlock`] | waits that lead back to the waiter |

pub mod deadlock;
pub mod many;
pub mod until;
