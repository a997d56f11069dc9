//! What this process holds of the job that it runs, as one value.
//!
//! [`engine::steps`] says when it is made, and that it is taken before the job can be freed. Nothing else in
//! the process may keep a pointer into a job's block: what runs the job gets its text and its parameters for as long
//! as the call lasts, and has copied whatever stays.

use crate::cluster::job::Job;
use crate::pg::local::Local;
use crate::worker::current;
use crate::worker::sink::Sink;

struct RunningJob {
    job: Job,
    /// `None`: the job has no result, has not begun, or has nothing more to say.
    sink: Option<Sink>,
}

static RUNNING: Local<Option<RunningJob>> = Local::new(None);

/// The job is this process's to end, and the signal handler's to look at.
pub fn note(job: Job) {
    RUNNING.with(|running| *running = Some(RunningJob { job, sink: None }));
    current::note(job.word(), job.id.generation);
}

/// The job that is noted.
pub fn job() -> Option<Job> {
    RUNNING.with(|running| running.as_ref().map(|running| running.job))
}

/// Rows and messages go there from now on.
pub fn open(sink: Sink) {
    RUNNING.with(|running| {
        if let Some(running) = running {
            running.sink = Some(sink);
        }
    });
}

/// Rows and messages have nowhere to go any more. Returns where they went.
pub fn close() -> Option<Sink> {
    RUNNING.with(|running| running.as_mut()?.sink.take())
}

/// Lends the sink, if there is one, to `body`, which must not call the server: that may print.
pub fn with_sink<R>(body: impl FnOnce(&mut Sink) -> R) -> Option<R> {
    RUNNING.with(|running| running.as_mut()?.sink.as_mut().map(body))
}

/// Gives up all of it.
pub fn take() {
    current::forget();
    drop(RUNNING.with(Option::take));
}
