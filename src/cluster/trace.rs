//! DEBUG lines for the transitions of jobs: `pg_background: job INDEX/GENERATION ...`.
//!
//! DEBUG1 has what was asked for and how it ended, DEBUG2 every step between. Lines of two processes about one
//! job may come in either order where the processes act at the same time; a job's end is written before
//! anybody can see it, so that it comes before what its leader does then.
//!
//! A line costs a comparison of levels while nobody reads it: nothing is formatted. It can be written anywhere
//! outside the pool lock, for it never throws and processes no interrupt. But it may end the process, as any line may
//! (a hook of somebody else's that raises a FATAL), and in a process that exits an error in it is another exit. So a
//! line that tells of a step is written while what comes after that step is noted for the exit callbacks, or when
//! nothing does.

use crate::cluster::job::Job;
use crate::pg::shim;
use engine::job::End;
use std::ffi::CStr;

/// What has become of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceStep {
    /// A leader has claimed its slot.
    Reserved,
    /// The request could not be filled in.
    Abandoned,
    /// It waits for a worker.
    Queued,
    /// An idle worker has been given it.
    Handed(u32),
    /// This worker has it.
    Taken(u32),
    /// Its worker goes, and had not begun it.
    Returned,
    /// It has begun.
    Running,
    /// Its worker was asked to cancel it.
    Canceling,
    /// Its worker was asked to exit.
    Terminating,
    /// There was nothing left to cancel.
    TooLate,
    /// It is about to be seen as finished.
    Ended(End),
    /// Its leader has let go of it.
    Detached,
    /// Nobody holds it any more.
    Freed,
}

impl TraceStep {
    /// Whether it is for DEBUG2, the words, and the worker they end with.
    fn line(self) -> (bool, &'static CStr, u32) {
        match self {
            Self::Reserved => (true, c"is reserved", 0),
            Self::Abandoned => (true, c"is given up before it was launched", 0),
            Self::Queued => (false, c"is queued", 0),
            Self::Handed(pid) => (false, c"is handed to the worker with", pid),
            Self::Taken(pid) => (true, c"is starting in the worker with", pid),
            Self::Returned => (false, c"is returned by a worker that had not begun it", 0),
            Self::Running => (true, c"is running", 0),
            Self::Canceling => (false, c"is asked to be canceled", 0),
            Self::Terminating => (false, c"is asked to end with its worker", 0),
            Self::TooLate => (false, c"had finished before it was canceled", 0),
            Self::Ended(End::Completed) => (false, c"is completed", 0),
            Self::Ended(End::Failed) => (false, c"has failed", 0),
            Self::Ended(End::Canceled) => (false, c"is canceled", 0),
            Self::Detached => (true, c"is let go of by its leader", 0),
            Self::Freed => (true, c"is freed", 0),
        }
    }
}

/// Writes the line. Not under the pool lock.
pub fn step(job: Job, step: TraceStep) {
    let (detail, words, pid) = step.line();
    // SAFETY: never throws; the words are zero-terminated.
    unsafe {
        shim::pgb_trace(
            detail,
            job.id.index,
            job.id.generation.get(),
            words.as_ptr(),
            pid.cast_signed(),
        );
    }
}

/// A worker leaves.
pub fn leaving(how: &CStr) {
    // SAFETY: never throws; zero-terminated.
    unsafe { shim::pgb_trace_exit(how.as_ptr()) };
}

/// Why this process does not become a worker, in the log.
pub fn unattached(why: &str) {
    // SAFETY: never throws; so many bytes.
    unsafe { shim::pgb_log_unattached(why.as_ptr().cast(), why.len()) };
}
