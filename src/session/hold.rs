//! A hold that is given up once, however its launch, call or fan-out ends.

use crate::cluster::job::Job;
use crate::session::{cancel, jobs};

/// A job that this session tracks, and whose handle the user does not have, or not for longer than this lasts. When
/// dropped the job is withdrawn, unless the session has let go of it already.
pub struct Hold(Job);

impl Hold {
    /// Of a job whose slot was claimed in the same stretch without interrupts, and is tracked.
    pub fn new(job: Job) -> Self {
        Self(job)
    }

    /// The job.
    pub fn job(&self) -> Job {
        self.0
    }

    /// The session goes on with the job.
    pub fn keep(self) -> Job {
        let job = self.0;
        std::mem::forget(self);
        job
    }

    /// Lets go of the job, which goes on or has ended.
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
        }
    }
}
