//! A guard for a job whose handle the user does not have yet, or only during a call.

use crate::cluster::job::Job;
use crate::session::{cancel, jobs};

/// A job that this session tracks and whose handle the user has at most as long as this guard lives. When dropped, it
/// withdraws the job unless the session has already detached it.
pub struct Hold(Job);

impl Hold {
    /// The job's slot was claimed and is tracked, and no interrupt was processed since.
    pub fn new(job: Job) -> Self {
        Self(job)
    }

    /// The guarded job.
    pub fn job(&self) -> Job {
        self.0
    }

    /// Gives up the guard. The session keeps the job.
    pub fn keep(self) -> Job {
        let job = self.0;
        std::mem::forget(self);
        job
    }

    /// Detaches the job, which goes on or has ended.
    pub fn detach(self) {
        let job = self.keep();
        if jobs::holds(job) {
            jobs::detach(job);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if jobs::holds(self.0) {
            cancel::withdraw(self.0);
            jobs::detach(self.0);
        }
    }
}
