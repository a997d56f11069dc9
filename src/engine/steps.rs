//! The steps of a worker with one job, in their order.
//!
//! Written once, over what they need of the process that they are taken in ([`Process`]): the server's workers
//! take them, and so do the workers of the models.
//!
//! What a worker has of a job is one value, the process's *hold*:
//!
//! | part | from | to |
//! |---|---|---|
//! | the note that the job is this process's to end, also after an error and at exit | [`Process::note`] | [`Process::take`] |
//! | what the signal handler looks at | the same | the same |
//! | where rows and messages go: pointers into the job's block, and messages kept for want of room | [`Process::open`] | [`Process::close`], [`Process::mute`], or [`Process::take`] |
//!
//! | way | steps |
//! |---|---|
//! | the job runs to its end, well or not | note, begin, open, perform, close, note the outcome, finish |
//! | it is refused | note, begin, note the refusal, finish |
//! | an error passed these steps by | close, note the failure, finish ([`fail`]) |
//! | the process exits, wherever it was | mute, note the failure, finish ([`exit`]) |
//!
//! and *finish* is: say that it ends, take, finish the word, tell or free. So:
//!
//! * **Nothing reaches a block that is not this process's.** Rows and messages go somewhere only between *open*
//!   and *take*, which lie within the worker's hold in the word. What the process prints before or after (while it
//!   takes the session off, rests, takes its next job, or exits) has nowhere to go.
//! * **A cancel is neither lost nor another job's.** The job is noted before the word's transition to `Running`,
//!   which refuses when CANCEL is set: a cancel before it is seen by it, one after it finds the job noted when its
//!   signal arrives. From *take* on a signal finds nothing; what one before it has left pending is dropped before the
//!   process does anything else. A cancel that comes after *take* comes too late: the work is done.
//! * **A cancel is thrown once for each time that it was asked for.** While the job runs a signal raises what the word
//!   says is due; the word says so until the error is thrown ([`thrown`]), which the job may catch.
//! * **A job that was begun is finished once.** Between *take* and the word's transition nothing can fail, and nothing
//!   is printed: a line in the log can end the process. Before that an error, or an exit that is cut short and called
//!   again, finds the job still noted.

use crate::job::{Begin, Delivery, End, JobWord, Release};
use crate::process_ref::ProcRef;
use crate::table::JobId;

/// Who may wait for a job's end. Read before it has ended: its slot may be another job's then.
#[derive(Clone, Copy, Default)]
pub struct Watchers {
    /// Its leader, if there is one.
    pub leader: Option<ProcRef>,
    /// Index of its login role's usage, of which somebody may wait for the jobs ([`crate::pool::usage`]).
    pub usage: u32,
}

/// The process that takes the steps.
pub trait Process {
    /// What performing a job tells.
    type Performed;

    /// The word of a job that this process is bound to.
    fn word(&self, job: JobId) -> &JobWord;
    /// Drops what a late cancel of the job before may have left pending.
    fn drop_cancel(&self);
    /// The job is this process's to end, and the signal handler's to look at.
    fn note(&self, job: JobId);
    /// The job that is noted.
    fn noted(&self) -> Option<JobId>;
    /// The job has begun. `watched`: its leader waits for a change.
    fn begun(&self, job: JobId, watched: bool);
    /// Rows and messages go to the job from now on.
    fn open(&self, job: JobId);
    /// Raises what the word of the job that is noted asks for, as the signal handler does. Does not unwind.
    fn raise_cancel(&self);
    /// Does the job's work. May unwind.
    fn perform(&self, job: JobId) -> Self::Performed;
    /// Rows and messages have nowhere to go any more; what is on its way is sent. Neither waits nor unwinds.
    fn close(&self, job: JobId);
    /// As [`close`](Self::close), but what is on its way is lost, and nothing is ever opened again.
    fn mute(&self);
    /// The outcome of a job that was refused. Does not unwind.
    fn note_refusal(&self, job: JobId);
    /// The outcome of a job that was performed, into its block. May unwind.
    fn note_outcome(&self, job: JobId, performed: &Self::Performed) -> End;
    /// The outcome of a job that could not be performed to its end. Does not unwind.
    fn note_failure(&self, job: JobId) -> End;
    /// Gives up the hold, all of it. Does not unwind.
    fn take(&self);
    /// The job is about to be seen as finished, and is still noted; whom to wake then. Does not unwind, but may end the
    /// process, and is then called again by its exit.
    fn ending(&self, job: JobId, end: End) -> Watchers;
    /// Wakes those who wait, or frees what the job owned. Does not unwind.
    fn ended(&self, job: JobId, watchers: Watchers, release: Release);
}

/// Runs a job that the process is bound to. `None`: it was refused, and is over. May unwind; then it is noted still,
/// or finished.
pub fn run<P: Process>(process: &P, job: JobId) -> Option<P::Performed> {
    drop_cancel(process);
    let begun = mutant!("job-noted-after-it-began", begin(process, job) => mutants::begin_then_note(process, job));
    let Begin::Running { watched } = begun else {
        process.note_refusal(job);
        finish(process, job, End::Canceled);
        return None;
    };
    process.begun(job, watched);
    process.open(job);
    let performed = process.perform(job);
    close(process, job);
    let end = process.note_outcome(job, &performed);
    finish(process, job, end);
    Some(performed)
}

fn begin<P: Process>(process: &P, job: JobId) -> Begin {
    process.note(job);
    process.word(job).begin(job.generation)
}

/// An error is thrown that a cancel has raised, the job's or somebody else's: whether the job's is thrown with it.
/// Does not unwind.
///
/// The signal of a cancel may have come a moment before this, when another signal, or a look at the word, had raised it
/// already: what is pending is dropped, or the job would be given one cancel twice. A cancel that is asked for behind
/// that step is found in the word. One that is insistent is raised again by whoever cleans up behind the error.
pub fn thrown<P: Process>(process: &P) -> Delivery {
    let Some(job) = process.noted() else {
        return Delivery::None;
    };
    let delivery = process.word(job).deliver(job.generation);
    if delivery != Delivery::None {
        mutant!("delivered-cancel-left-pending", process.drop_cancel() => ());
        if checked!("delivery-without-second-look", delivery == Delivery::Once) {
            process.raise_cancel();
        }
    }
    delivery
}

/// Ends a job that this process is bound to, begun or not: its outcome is noted. Does not unwind.
pub fn finish<P: Process>(process: &P, job: JobId, end: End) {
    mutant!("hold-taken-after-the-end" => return mutants::end_then_take(process, job, end));
    mutant!("end-said-after-the-hold-was-taken" => return mutants::take_then_say(process, job, end));
    let watchers = process.ending(job, end);
    process.take();
    let release = process.word(job).finish(job.generation, end);
    process.ended(job, watchers, release);
    drop_cancel(process);
}

fn close<P: Process>(process: &P, job: JobId) {
    mutant!("hold-taken-after-the-end", process.close(job) => ());
}

fn drop_cancel<P: Process>(process: &P) {
    mutant!("late-cancel-left-pending", process.drop_cancel() => ());
}

/// Ends the job that is noted, if one is: an error has passed [`run`] by. Does not unwind.
pub fn fail<P: Process>(process: &P) {
    if let Some(job) = process.noted() {
        close(process, job);
        let end = process.note_failure(job);
        finish(process, job, end);
    }
}

/// Ends the job that is noted, if one is: the process exits, after what it was doing was aborted. If that is cut short it is called again.
pub fn exit<P: Process>(process: &P) {
    mutant!("hold-taken-after-the-end", process.mute() => ());
    if let Some(job) = process.noted() {
        let end = process.note_failure(job);
        finish(process, job, end);
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Begin, End, JobId, Process, drop_cancel};

    pub(super) fn begin_then_note<P: Process>(process: &P, job: JobId) -> Begin {
        let begun = process.word(job).begin(job.generation);
        process.note(job);
        begun
    }

    pub(super) fn end_then_take<P: Process>(process: &P, job: JobId, end: End) {
        let watchers = process.ending(job, end);
        let release = process.word(job).finish(job.generation, end);
        process.ended(job, watchers, release);
        process.take();
        drop_cancel(process);
    }

    pub(super) fn take_then_say<P: Process>(process: &P, job: JobId, end: End) {
        process.take();
        let watchers = process.ending(job, end);
        let release = process.word(job).finish(job.generation, end);
        process.ended(job, watchers, release);
        drop_cancel(process);
    }
}
