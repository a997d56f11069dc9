//! The job that this process runs, and everything that it holds of the job, as one value.
//!
//! [`engine::steps`] determines when the value is made, and that it is taken before the job can be freed. Nothing else
//! in the process may keep a pointer into the job's block: the code that runs the job gets its text and parameters for
//! the duration of a call, and copies what it needs longer.

use crate::cluster::job::Job;
use crate::pg::local::Local;
use crate::worker::current;
use crate::worker::sink::Sink;

struct RunningJob {
    job: Job,
    /// `None`: the job has no result, has not begun, or sends no more.
    sink: Option<Sink>,
}

static RUNNING: Local<Option<RunningJob>> = Local::new(None);

/// Notes the job: from now on this process has to end it, and the signal handler looks at it.
pub fn note(job: Job) {
    RUNNING.with(|running| *running = Some(RunningJob { job, sink: None }));
    current::note(job.word(), job.id.generation);
}

/// The noted job.
pub fn job() -> Option<Job> {
    RUNNING.with(|running| running.as_ref().map(|running| running.job))
}

/// From now on, rows and messages go to `sink`.
pub fn open(sink: Sink) {
    RUNNING.with(|running| {
        if let Some(running) = running {
            running.sink = Some(sink);
        }
    });
}

/// From now on, rows and messages are dropped. Returns the sink, if there was one.
pub fn close() -> Option<Sink> {
    RUNNING.with(|running| running.as_mut()?.sink.take())
}

/// Lends the sink, if there is one, to `body`. `body` must not call the server, which may emit a message.
pub fn with_sink<R>(body: impl FnOnce(&mut Sink) -> R) -> Option<R> {
    RUNNING.with(|running| running.as_mut()?.sink.as_mut().map(body))
}

/// Forgets the job and drops the sink.
pub fn take() {
    current::forget();
    drop(RUNNING.with(Option::take));
}
