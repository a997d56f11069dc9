//! Waiting for jobs.
//!
//! | module | subject |
//! |---|---|
//! | [`until`] | the session's wait, and what is looked at meanwhile |
//! | [`many`] | waiting for many jobs |
//! | [`deadlock`] | waits that come back to the waiter |

pub mod deadlock;
pub mod many;
pub mod until;
