//! A job, as a process finds it in shared memory.

use crate::cluster::attach::Cluster;
use engine::job::{JobWord, Snapshot};
use engine::sync::Ordering;
use engine::table::{JobId, Slot};
use std::fmt;

/// A job. Having this value does not mean that this process holds the job.
#[derive(Clone, Copy)]
pub struct Job {
    /// The cluster that it belongs to.
    pub cluster: &'static Cluster,
    /// Its id in the engine.
    pub id: JobId,
}

impl Cluster {
    /// The job with this id.
    pub fn job(&'static self, id: JobId) -> Job {
        Job { cluster: self, id }
    }
}

impl Job {
    /// Its slot. Once nobody holds this job, the slot may belong to another.
    pub fn slot(self) -> &'static Slot {
        self.cluster.slot(self.id)
    }

    /// Its job word, under the same condition as [`slot`](Self::slot).
    pub fn word(self) -> &'static JobWord {
        &self.slot().word
    }

    /// Its job word as it is now; `None`: nobody holds the job any more.
    pub fn load(self) -> Option<Snapshot> {
        self.word().load_if(self.id.generation)
    }

    /// Whether it has finished. Only for a job that this process holds.
    pub fn is_finished(self) -> bool {
        self.word().load().phase().is_finished()
    }

    /// Pid of the process to which it is or was bound; 0: none yet.
    pub fn pid(self) -> u32 {
        self.slot().pid.load(Ordering::Relaxed)
    }
}

/// Compares ids only: a process is attached to one cluster.
impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Job {}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}
