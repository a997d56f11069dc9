//! What a process prints goes into the block of the job that it runs, or nowhere.
//!
//! The models have two threads and no bound. Of what happens outside of the worker only a leader's detach reaches the
//! block; a purge detaches in the leader's place. One job is enough: after it nothing is noted and nothing is open,
//! which each model asserts, so the next one begins as this one did. `cancel.rs` has two jobs in a row.
#![cfg(loom)]

use engine::job::{Demand, End, JobWord, Release};
use engine::models::Transitions as _;
use engine::steps;
use engine::steps::{Ender, Process, Watchers};
use engine::table::JobId;
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::bound::unbounded;
use loom_tests::memory::process;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const LEADER: u32 = 0;

/// How a job ends.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Well,
    /// An error skips its remaining steps.
    Thrown,
    /// Its process exits in the middle of its work.
    Exit,
    /// The same, and the line that announces its end cuts the exit short. The exit then begins again.
    ExitCutShort,
}

/// The payload of the panic.
struct Thrown;

struct Job {
    word: JobWord,
    block: Block,
}

/// A worker that prints between all of its steps.
struct Worker {
    job: Arc<Job>,
    way: Way,
    noted: Cell<Option<JobId>>,
    /// Whether messages go into the block.
    open: Cell<bool>,
    /// Whether its end was announced.
    told: Cell<bool>,
}

impl Worker {
    fn print(&self) {
        if self.open.get() {
            self.job.block.write(1);
        }
    }
}

impl Ender for Worker {
    fn word(&self, _job: JobId) -> &JobWord {
        self.print();
        &self.job.word
    }

    fn noted(&self) -> Option<JobId> {
        self.noted.get()
    }

    fn take(&self) {
        self.noted.set(None);
        self.open.set(false);
    }

    fn before_end(&self, _job: JobId, _end: End) -> Watchers {
        self.print();
        if !self.told.replace(true) && self.way == Way::ExitCutShort {
            resume_unwind(Box::new(Thrown));
        }
        Watchers {
            leader: Some(process(LEADER)),
            usage: 0,
        }
    }

    fn after_end(&self, _job: JobId, _watchers: Watchers, release: Release) {
        self.print();
        if release == Release::LastOut {
            self.job.block.free();
        }
        self.print();
    }
}

impl Process for Worker {
    type Performed = ();

    fn drop_cancel(&self) {
        self.print();
    }

    fn note(&self, job: JobId) {
        self.noted.set(Some(job));
    }

    fn after_begin(&self, _job: JobId, _watched: bool) {
        self.print();
    }

    fn open(&self, _job: JobId) {
        self.open.set(true);
        self.print();
    }

    fn raise_cancel(&self) {}

    fn perform(&self, _job: JobId) {
        self.print();
        if self.way != Way::Well {
            resume_unwind(Box::new(Thrown));
        }
    }

    fn close(&self, _job: JobId) {
        self.print();
        self.open.set(false);
    }

    fn mute(&self) {
        self.print();
        self.open.set(false);
    }

    fn note_refusal(&self, _job: JobId) {
        self.job.block.write(2);
    }

    fn note_outcome(&self, _job: JobId, (): &()) -> End {
        self.job.block.write(3);
        End::Completed
    }

    fn note_failure(&self, _job: JobId) -> End {
        self.job.block.write(4);
        End::Failed
    }
}

/// The leader detaches the job while its worker takes all steps, in one of the ways. The last one out frees the
/// block. It is freed once, and nothing is printed into it afterwards.
fn detach_while_the_job_runs(way: Way, canceled: bool) {
    unbounded(move || {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.bind(generation);
        if canceled {
            let _ = word.cancel(generation, Demand::Cancel);
        }
        let job = Arc::new(Job {
            word,
            block: Block::default(),
        });
        let leader = {
            let job = job.clone();
            thread::spawn(move || {
                if job.word.detach(generation) == Release::LastOut {
                    job.block.free();
                }
            })
        };
        let worker = Worker {
            job: job.clone(),
            way,
            noted: Cell::new(None),
            open: Cell::new(false),
            told: Cell::new(false),
        };
        let id = JobId {
            index: 0,
            generation,
        };
        match catch_unwind(AssertUnwindSafe(|| steps::run(&worker, id))) {
            Ok(_) => {}
            Err(thrown) if !thrown.is::<Thrown>() => resume_unwind(thrown),
            Err(_) if way == Way::Exit => steps::exit(&worker),
            Err(_) if way == Way::ExitCutShort => {
                let cut_short = catch_unwind(AssertUnwindSafe(|| steps::exit(&worker)));
                assert!(cut_short.is_err_and(|thrown| thrown.is::<Thrown>()));
                steps::exit(&worker);
            }
            Err(_) => steps::fail(&worker),
        }
        worker.print();
        assert_eq!(worker.noted.get(), None);
        leader.join().unwrap();
        assert_eq!(job.block.frees(), 1);
    });
}

/// Two threads, unbounded.
#[test]
fn a_job_that_ends_is_not_printed_into_any_more() {
    detach_while_the_job_runs(Way::Well, false);
}

/// Two threads, unbounded.
#[test]
fn a_job_that_is_refused_is_not_printed_into() {
    detach_while_the_job_runs(Way::Well, true);
}

/// Two threads, unbounded.
#[test]
fn a_job_with_an_error_is_ended_once_and_not_printed_into_any_more() {
    detach_while_the_job_runs(Way::Thrown, false);
}

/// Two threads, unbounded.
#[test]
fn a_job_whose_process_exits_is_ended_once_and_not_printed_into_any_more() {
    detach_while_the_job_runs(Way::Exit, false);
}

/// Two threads, unbounded.
#[test]
fn a_job_whose_process_exits_is_ended_once_though_the_exit_is_cut_short() {
    detach_while_the_job_runs(Way::ExitCutShort, false);
}
