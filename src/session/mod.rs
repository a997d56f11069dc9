//! A session's side: launch, wait, result, cancel, detach, list.
//!
//! | module | subject |
//! |---|---|
//! | [`jobs`] | the jobs this session tracks, and its statistics |
//! | [`hold`] | a hold that is given up once, however its call ends |
//! | [`launch`] | from a request to a handle, and calls that launch and wait |
//! | [`mod@wait`] | waiting for jobs, and what is looked at meanwhile |
//! | [`read`] | results |
//! | [`cancel`] | cancel and detach |
//! | [`outcome`] | how a job ended |
//! | [`list`] | list, statistics, progress |
//! | [`roles`] | what an administrator sees of the roles that have jobs, and does about them |
//! | [`exit`] | what happens when the session ends |

pub mod cancel;
pub mod exit;
pub mod hold;
pub mod jobs;
pub mod launch;
pub mod list;
pub mod outcome;
pub mod read;
pub mod roles;
pub mod wait;
