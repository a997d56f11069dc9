//! A session's side: launch, wait, result, cancel, detach, list.
//!
//! | module | subject |
//! |---|---|
//! | [`jobs`] | the jobs this session tracks, and its statistics |
//! | [`hold`] | a guard for a job whose handle the user does not have |
//! | [`launch`] | from a request to a handle, and calls that both launch and wait |
//! | [`mod@wait`] | waiting for jobs, and the checks during a wait |
//! | [`read`] | results |
//! | [`cancel`] | cancel and detach |
//! | [`outcome`] | how a job ended |
//! | [`list`] | list, last error, progress |
//! | [`roles`] | the jobs of login roles, for administrators |
//! | [`exit`] | the end of a session |

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
