//! DEBUG lines for the transitions of jobs: `pg_background: job INDEX/GENERATION ...`.
//!
//! DEBUG1 shows requests and how they end, DEBUG2 every step in between. When two processes act on one job at the same
//! time, their lines may come in either order. The end of a job is written before other processes can see it, so it
//! comes before the lines about what the leader does next.
//!
//! A line that is not logged costs a comparison of levels: nothing is formatted. A line can be written anywhere outside
//! the pool lock, because it never throws and processes no interrupt. But it may end the process, as any line may (the
//! log hook of another library can raise a FATAL), and in a process that exits, an error in it is another exit. So a
//! line is written only while the rest of the work is noted for the exit callbacks, or when there is no more work.

use crate::cluster::job::Job;
use crate::pg::shim;
use engine::job::End;
use std::ffi::CStr;

/// A step in the life of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceStep {
    /// A leader has claimed a slot for it.
    Reserved,
    /// The request could not be filled in.
    Abandoned,
    /// It waits for a worker.
    Queued,
    /// It was dispatched to an idle worker.
    Dispatched(u32),
    /// This worker has taken it.
    Taken(u32),
    /// Its worker exits and had not begun it.
    Returned,
    /// Its worker has begun it.
    Running,
    /// Its worker was asked to cancel it.
    Canceling,
    /// Its worker was asked to exit.
    Terminating,
    /// It had finished, so there was nothing to cancel.
    TooLate,
    /// It has ended; other processes see that next.
    Ended(End),
    /// Its leader has detached it.
    Detached,
    /// Nobody holds it any more.
    Freed,
}

impl TraceStep {
    /// Whether the line is for DEBUG2, its words, and the pid of the worker that they end with; 0: none.
    fn line(self) -> (bool, &'static CStr, u32) {
        match self {
            Self::Reserved => (true, c"is reserved", 0),
            Self::Abandoned => (true, c"is abandoned before its launch", 0),
            Self::Queued => (false, c"is queued", 0),
            Self::Dispatched(pid) => (false, c"is dispatched to the worker with", pid),
            Self::Taken(pid) => (true, c"is starting in the worker with", pid),
            Self::Returned => (false, c"is returned by a worker that had not begun it", 0),
            Self::Running => (true, c"is running", 0),
            Self::Canceling => (false, c"has a cancel requested", 0),
            Self::Terminating => (false, c"has its worker terminated", 0),
            Self::TooLate => (false, c"had finished before it was canceled", 0),
            Self::Ended(End::Completed) => (false, c"is completed", 0),
            Self::Ended(End::Failed) => (false, c"has failed", 0),
            Self::Ended(End::Canceled) => (false, c"is canceled", 0),
            Self::Detached => (true, c"is detached by its leader", 0),
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

/// Writes that this worker exits, and how.
pub fn worker_exits(how: &CStr) {
    // SAFETY: never throws; zero-terminated.
    unsafe { shim::pgb_trace_exit(how.as_ptr()) };
}

/// Writes to the log why this process does not become a worker.
pub fn not_attached(why: &str) {
    // SAFETY: never throws; `why` has so many bytes.
    unsafe { shim::pgb_log_unattached(why.as_ptr().cast(), why.len()) };
}
