//! A session's side: launch, wait, result, cancel, detach, list.
//!
//! | module | subject |
//! |---|---|
//! | [`session`] | the jobs this session tracks, and its statistics |
//! | [`launch`] | from a request to a handle |
//! | [`wait`] | waiting for a job, and what is looked at meanwhile |
//! | [`deadlock`] | waits that come back to the waiter |
//! | [`result`] | reading a result |
//! | [`columns`] | fitting the rows of a job to the caller's column list |
//! | [`control`] | cancel and detach |
//! | [`view`] | list, statistics, progress |
//! | [`exit`] | what happens when the session ends |

pub mod columns;
pub mod control;
pub mod deadlock;
pub mod exit;
pub mod launch;
pub mod result;
pub mod session;
pub mod view;
pub mod wait;
