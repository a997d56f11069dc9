//! A job, as a process finds it in what the cluster shares.

use crate::cluster::attach::Cluster;
use engine::job::{JobWord, Snapshot};
use engine::sync::Ordering;
use engine::table::{JobId, Slot};
use std::fmt;

/// A job. That there is one says nothing of who holds it.
#[derive(Clone, Copy)]
pub struct Job {
    /// Where it is.
    pub cluster: &'static Cluster,
    /// What the engine calls it.
    pub id: JobId,
}

impl Cluster {
    /// The job of this id.
    pub fn job(&'static self, id: JobId) -> Job {
        Job { cluster: self, id }
    }
}

impl Job {
    /// Its slot; that of another job once nobody holds this one.
    pub fn slot(self) -> &'static Slot {
        self.cluster.slot(self.id)
    }

    /// Its word, with the same reservation.
    pub fn word(self) -> &'static JobWord {
        &self.slot().word
    }

    /// Its word as it is now; `None`: nobody holds the job any more.
    pub fn load(self) -> Option<Snapshot> {
        self.word().load_if(self.id.generation)
    }

    /// Whether it has finished. Of a job that this process holds.
    pub fn is_finished(self) -> bool {
        self.word().load().phase().is_finished()
    }

    /// Pid of the process that has or had it; 0 if none has yet.
    pub fn pid(self) -> u32 {
        self.slot().pid.load(Ordering::Relaxed)
    }
}

/// A process knows one cluster.
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
