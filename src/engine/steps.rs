//! The steps of a worker with one job, in their order.
//!
//! They are written once, for any [`Process`]: the server's workers take them, and so do the workers of the
//! models.
//!
//! What a worker has of a job is the process's *hold*. It has three parts:
//!
//! | part | from | to |
//! |---|---|---|
//! | the note that this process has to end the job, also after an error and at exit | [`Process::note`] | [`Ender::take`] |
//! | what the signal handler looks at | the same | the same |
//! | where rows and messages go: pointers into the job's block, and messages kept because there was no room | [`Process::open`] | [`Process::close`], [`Process::mute`], or [`Ender::take`] |
//!
//! | case | steps |
//! |---|---|
//! | the job runs to its end, well or not | note, begin, open, perform, close, note the outcome, finish |
//! | it is refused | note, begin, note the refusal, finish |
//! | an error skipped the remaining steps | close, note the failure, finish ([`fail`]) |
//! | the process exits, at any step | mute, note the failure, finish ([`exit`]) |
//!
//! *Finish* consists of: announce the end, take, finish the word, wake or free. A process that fails jobs for which no
//! worker can be started takes these steps, too ([`end`]). This order has four effects:
//!
//! * **Nothing reaches a block that is not this process's.** Rows and messages have a destination only between
//!   *open* and *take*, while the worker holds the job. What the process prints before or after (while it
//!   resets the session, is idle, takes its next job, or exits) has none.
//! * **A cancel is neither lost nor thrown in another job.** The job is noted before the word's transition to
//!   `Running`, which refuses when CANCEL is set. So that transition sees a cancel that came before it, and the
//!   signal of a later cancel finds the job noted. From *take* on a signal finds nothing. What an earlier
//!   signal has left pending is dropped before the process does anything else. A cancel after *take* comes too
//!   late: the work is done.
//! * **A cancel is thrown once for each time that it was asked for.** While the job runs, a signal raises what
//!   the word says is pending. The word says so until the error is thrown ([`deliver`]). The job may catch it.
//! * **A job that was begun is finished once.** Between *take* and the word's transition nothing can fail and
//!   nothing is printed, because a line in the log can end the process. Before *take*, an error, or an exit
//!   that is cut short and called again, finds the job still noted.

use crate::job::{Begin, Delivery, End, JobWord, Release};
use crate::process_ref::ProcRef;
use crate::table::{JobId, Slot};

/// Who may wait for a job's end. Read before it has ended: after that its slot may be another job's.
#[derive(Clone, Copy, Default)]
pub struct Watchers {
    /// Its leader, if it has one.
    pub leader: Option<ProcRef>,
    /// Index of its login role's usage. A process may wait for the role's jobs to end ([`crate::pool::usage`]).
    pub usage: u32,
}

impl Watchers {
    /// Those of this slot's job.
    #[must_use]
    pub fn of(slot: &Slot) -> Self {
        Self {
            leader: slot.leader(),
            usage: slot.usage(),
        }
    }
}

/// A process that ends a job which is its own: it is bound to the job, or has taken it to fail it
/// ([`failing_lane`](crate::pool::failing_lane)).
pub trait Ender {
    /// The word of a job of this process.
    fn word(&self, job: JobId) -> &JobWord;
    /// The job that is noted: this process has to end it, also after an error and at exit.
    fn noted(&self) -> Option<JobId>;
    /// The job is about to be seen as finished, and is still noted. Returns whom to wake then. Does not unwind,
    /// but may end the process; the process's exit then calls it again.
    fn before_end(&self, job: JobId, end: End) -> Watchers;
    /// Gives up the note, and all else that this process has of the job. Does not unwind.
    fn take(&self);
    /// Wakes those who wait, or frees what the job owned. Does not unwind.
    fn after_end(&self, job: JobId, watchers: Watchers, release: Release);
}

/// The process that takes the steps of a worker.
pub trait Process: Ender {
    /// What performing a job returns.
    type Performed;

    /// Drops what a late cancel of the former job may have left pending.
    fn drop_cancel(&self);
    /// This process has to end the job from now on, and its signal handler looks at it.
    fn note(&self, job: JobId);
    /// The job has begun. `watched`: its leader waits for a change.
    fn after_begin(&self, job: JobId, watched: bool);
    /// Rows and messages go to the job from now on.
    fn open(&self, job: JobId);
    /// Raises what the word of the noted job asks for, as the signal handler does. Does not unwind.
    fn raise_cancel(&self);
    /// Does the job's work. May unwind.
    fn perform(&self, job: JobId) -> Self::Performed;
    /// Rows and messages have no destination any more; those already written are sent. Neither waits nor
    /// unwinds.
    fn close(&self, job: JobId);
    /// The same as [`close`](Self::close), but what was not sent is lost, and nothing is opened again.
    fn mute(&self);
    /// Notes the outcome of a job that was refused. Does not unwind.
    fn note_refusal(&self, job: JobId);
    /// Writes the outcome of a job that was performed into its block. May unwind.
    fn note_outcome(&self, job: JobId, performed: &Self::Performed) -> End;
    /// Notes the outcome of a job that could not be performed to its end. Does not unwind.
    fn note_failure(&self, job: JobId) -> End;
}

/// Runs a job to which the process is bound. `None`: it was refused, and has ended. May unwind; the job is then
/// still noted, or finished.
pub fn run<P: Process>(process: &P, job: JobId) -> Option<P::Performed> {
    drop_cancel(process);
    let begun = mutant!("job-noted-after-it-began", begin(process, job) => mutants::begin_then_note(process, job));
    let Begin::Running { watched } = begun else {
        process.note_refusal(job);
        finish(process, job, End::Canceled);
        return None;
    };
    process.after_begin(job, watched);
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

/// An error that a cancel has raised is thrown, the job's cancel or another process's. Returns whether the
/// job's cancel is delivered with it. Does not unwind.
///
/// The signal of a cancel may have come a moment ago, when another signal, or a look at the word, had already
/// raised it. So what is pending is dropped: otherwise one cancel would be thrown twice. A cancel after that
/// step is found in the word. An insistent cancel is raised again by the code that cleans up after the error.
pub fn deliver<P: Process>(process: &P) -> Delivery {
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

/// Ends a job to which this process is bound, begun or not. Its outcome is noted. Does not unwind.
pub fn finish<P: Process>(process: &P, job: JobId, how: End) {
    end(process, job, how);
    drop_cancel(process);
}

/// Ends a job of this process, whose outcome is noted. Does not unwind, but may end the process.
pub fn end(process: &impl Ender, job: JobId, end: End) {
    mutant!("hold-taken-after-the-end" => return mutants::end_then_take(process, job, end));
    mutant!("end-said-after-the-hold-was-taken" => return mutants::take_then_say(process, job, end));
    let watchers = process.before_end(job, end);
    process.take();
    let release = process.word(job).finish(job.generation, end);
    process.after_end(job, watchers, release);
}

fn close<P: Process>(process: &P, job: JobId) {
    mutant!("hold-taken-after-the-end", process.close(job) => ());
}

fn drop_cancel<P: Process>(process: &P) {
    mutant!("late-cancel-left-pending", process.drop_cancel() => ());
}

/// Ends the noted job, if there is one: an error has left [`run`]. Does not unwind.
pub fn fail<P: Process>(process: &P) {
    if let Some(job) = process.noted() {
        close(process, job);
        let end = process.note_failure(job);
        finish(process, job, end);
    }
}

/// Ends the noted job, if there is one: the process exits, after its work was aborted. If it is cut short, it
/// is called again.
pub fn exit<P: Process>(process: &P) {
    mutant!("hold-taken-after-the-end", process.mute() => ());
    if let Some(job) = process.noted() {
        let end = process.note_failure(job);
        finish(process, job, end);
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Begin, End, Ender, JobId, Process};

    pub(super) fn begin_then_note<P: Process>(process: &P, job: JobId) -> Begin {
        let begun = process.word(job).begin(job.generation);
        process.note(job);
        begun
    }

    pub(super) fn end_then_take(process: &impl Ender, job: JobId, end: End) {
        let watchers = process.before_end(job, end);
        let release = process.word(job).finish(job.generation, end);
        process.after_end(job, watchers, release);
        process.take();
    }

    pub(super) fn take_then_say(process: &impl Ender, job: JobId, end: End) {
        process.take();
        let watchers = process.before_end(job, end);
        let release = process.word(job).finish(job.generation, end);
        process.after_end(job, watchers, release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::job::{Demand, Generation, Phase};
    use std::cell::{Cell, RefCell};

    /// Writes down its steps.
    struct Steps {
        word: JobWord,
        noted: Cell<Option<JobId>>,
        steps: RefCell<Vec<&'static str>>,
    }

    impl Steps {
        /// A process that is bound to a job.
        fn bound() -> (Self, JobId) {
            let word = JobWord::new();
            let generation: Generation = word.reserve();
            word.publish(generation);
            let _ = word.bind(generation);
            let process = Self {
                word,
                noted: Cell::new(None),
                steps: RefCell::default(),
            };
            let job = JobId {
                index: 0,
                generation,
            };
            (process, job)
        }

        fn step(&self, name: &'static str) {
            self.steps.borrow_mut().push(name);
        }

        fn phase(&self) -> Phase {
            self.word.load().phase()
        }
    }

    impl Ender for Steps {
        fn word(&self, _job: JobId) -> &JobWord {
            &self.word
        }
        fn noted(&self) -> Option<JobId> {
            self.noted.get()
        }
        fn take(&self) {
            self.step("take");
            self.noted.set(None);
        }
        fn before_end(&self, _job: JobId, _end: End) -> Watchers {
            assert!(self.word.load().has_worker());
            self.step("before end");
            Watchers::default()
        }
        fn after_end(&self, _job: JobId, _watchers: Watchers, release: Release) {
            assert_eq!(release, Release::Held { watched: false });
            self.step("after end");
        }
    }

    impl Process for Steps {
        type Performed = u32;

        fn drop_cancel(&self) {
            self.step("drop cancel");
        }
        fn note(&self, job: JobId) {
            self.step("note");
            self.noted.set(Some(job));
        }
        fn after_begin(&self, _job: JobId, watched: bool) {
            assert!(!watched);
            self.step("after begin");
        }
        fn open(&self, _job: JobId) {
            self.step("open");
        }
        fn raise_cancel(&self) {
            self.step("raise cancel");
        }
        fn perform(&self, _job: JobId) -> u32 {
            assert_eq!(self.phase(), Phase::Running);
            self.step("perform");
            42
        }
        fn close(&self, _job: JobId) {
            self.step("close");
        }
        fn mute(&self) {
            self.step("mute");
        }
        fn note_refusal(&self, _job: JobId) {
            self.step("note refusal");
        }
        fn note_outcome(&self, _job: JobId, performed: &u32) -> End {
            assert_eq!(*performed, 42);
            self.step("note outcome");
            End::Completed
        }
        fn note_failure(&self, _job: JobId) -> End {
            self.step("note failure");
            End::Failed
        }
    }

    const ENDS: [&str; 4] = ["before end", "take", "after end", "drop cancel"];

    #[test]
    fn a_job_runs_to_its_end() {
        let (process, job) = Steps::bound();
        assert_eq!(run(&process, job), Some(42));
        let steps = [
            "drop cancel",
            "note",
            "after begin",
            "open",
            "perform",
            "close",
            "note outcome",
        ];
        assert_eq!(*process.steps.borrow(), [&steps[..], &ENDS].concat());
        assert_eq!(process.phase(), Phase::Completed);
    }

    #[test]
    fn a_job_that_was_canceled_is_refused() {
        let (process, job) = Steps::bound();
        let _ = process.word.cancel(job.generation, Demand::Cancel);
        assert_eq!(run(&process, job), None);
        let steps = ["drop cancel", "note", "note refusal"];
        assert_eq!(*process.steps.borrow(), [&steps[..], &ENDS].concat());
        assert_eq!(process.phase(), Phase::Canceled);
    }

    #[test]
    fn a_job_with_an_error_is_closed_and_ended_once() {
        let (process, job) = Steps::bound();
        let _ = begin(&process, job);
        fail(&process);
        let steps = [&["note", "close", "note failure"][..], &ENDS].concat();
        assert_eq!(*process.steps.borrow(), steps);
        assert_eq!(process.phase(), Phase::Failed);
        fail(&process);
        assert_eq!(*process.steps.borrow(), steps, "there is none any more");
    }

    #[test]
    fn a_job_whose_process_exits_is_muted_and_ended_once() {
        let (process, job) = Steps::bound();
        let _ = begin(&process, job);
        exit(&process);
        let steps = [&["note", "mute", "note failure"][..], &ENDS].concat();
        assert_eq!(*process.steps.borrow(), steps);
        exit(&process);
        assert_eq!(*process.steps.borrow(), [&steps[..], &["mute"]].concat());
    }

    #[test]
    fn a_cancel_is_delivered_with_what_is_pending() {
        let (process, job) = Steps::bound();
        assert_eq!(deliver(&process), Delivery::None, "no job");
        let _ = begin(&process, job);
        assert_eq!(deliver(&process), Delivery::None, "no cancel");
        assert_eq!(*process.steps.borrow(), ["note"]);
        let _ = process.word.cancel(job.generation, Demand::Cancel);
        assert_eq!(deliver(&process), Delivery::Once);
        assert_eq!(
            *process.steps.borrow(),
            ["note", "drop cancel", "raise cancel"]
        );
        let _ = process.word.cancel(job.generation, Demand::Insist);
        assert_eq!(deliver(&process), Delivery::Insistent);
        assert_eq!(process.steps.borrow().last(), Some(&"drop cancel"));
    }
}
