//! What follows a job's end, and the steps of the last one out, in their order.
//!
//! They are written once, for any [`Releaser`]: every process of the server that holds jobs takes them, and so do
//! the processes of the models.
//!
//! # Words
//!
//! * A job has two holds, its leader's and its worker's. The **last one out** is the process whose transition of the
//!   job word gives up the last hold (`Release::LastOut`). It **releases** the job: counts it, frees what it owned,
//!   frees its slot.
//! * The **note** is in the process's own memory: the job that it releases now ([`Releasing`]). If the process exits
//!   before the release has ended, its exit finds the note and goes on ([`resume`]).
//! * What a job owned can be **out of reach** for a process that cannot map it. The release is then **deferred**: a
//!   launch goes on with it ([`release_deferred`]; the list, and what a **pass** through it is, are in
//!   `deferred_free`).
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | a job has ended | wake the process that waits for its role's jobs, and its leader if that waits; then, if this process is the last one out, release |
//! | its leader gives it up | detach; wake the worker, if it has one that may wait for a reader; or release |
//! | an administrator purges it | detach for its leader; or release |
//! | release | note, report, count, free what it owned, drop the note, free the slot |
//! | the same, what it owned is out of reach | note, report, count, drop the note, put the job on the list of those that are deferred |
//! | the deferred jobs | begin a pass; release each; end the pass |
//! | a deferred job | note, report, count, free what it owned, drop the note, take it off the list, free the slot; or drop the note and leave it there |
//! | the process exits | go on with the job that is noted; end the pass ([`resume`]) |
//!
//! To *report* is to print; a line in the log can end the process. This order has the following effects:
//!
//! * **A job is freed once, and its slot after everything else.** The note is dropped when only the slot is left to
//!   free, and between the two nothing can end the process. What comes before may be done again by an exit: a job is
//!   counted once, and what is freed is not there any more.
//! * **Nothing of a job is looked at when its slot is free**: the slot may be the next job's.
//! * **A launch finds what it waits for.** The process that defers a release wakes the waiters. A pass goes on after a
//!   job that is out of reach: the next one may be within. It ends, also when its process exits, and wakes those who
//!   have waited for its end.

use super::gate::Purged;
use super::scheduler::{Pool, PoolLock, Waker as _};
use crate::job::{JobWord, Release};
use crate::process_ref::ProcRef;
use crate::steps::Watchers;
use crate::table::JobId;

/// The note of a job that the process releases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Releasing {
    job: JobId,
    /// Its release had been deferred before.
    was_deferred: bool,
}

/// What became of a job that was to be released.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Released {
    /// It is freed.
    Freed,
    /// What it owned was out of reach.
    Deferred,
}

/// The process that takes the steps.
pub trait Releaser {
    /// The pool's lock.
    type Lock: PoolLock;

    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// The word of a job.
    fn word(&self, job: JobId) -> &JobWord;
    /// The note.
    fn noted(&self) -> Option<Releasing>;
    /// Replaces the note. Does not unwind.
    fn set_noted(&self, note: Option<Releasing>);
    /// Prints what has happened to jobs of this process. Does not unwind, but may end the process.
    fn report(&self);
    /// It has given up its hold of a job. Does not unwind.
    fn after_detach(&self);
    /// It begins to release a job. Does not unwind.
    fn before_release(&self);
    /// Frees what the job owned, if that is still there. `false`: it is out of reach. Does not unwind, but may end the
    /// process.
    fn free_owned(&self, job: JobId) -> bool;
}

/// A job has ended: its word says so. `announce` prints its end, if that has not been done. Does not unwind, but may
/// end the process; the exit goes on with [`resume`].
pub fn complete_end(
    releaser: &impl Releaser,
    job: JobId,
    watchers: Watchers,
    release: Release,
    announce: impl FnOnce(),
) {
    let pool = releaser.pool();
    pool.wake_watcher(watchers.usage);
    match release {
        Release::Held { watched: true } => {
            if let Some(leader) = watchers.leader {
                pool.lock.wake(leader);
            }
        }
        Release::Held { watched: false } | Release::Stale => {}
        Release::LastOut => note(releaser, job, false),
    }
    announce();
    let _ = finish(releaser);
}

/// The leader gives up its hold of a published job. Returns what its transition said. Does not unwind, but may end
/// the process, as above.
pub fn detach(releaser: &impl Releaser, job: JobId) -> Release {
    let release = releaser.word(job).detach(job.generation);
    releaser.after_detach();
    match release {
        Release::LastOut => {
            note(releaser, job, false);
            releaser.report();
            let _ = finish(releaser);
        }
        Release::Held { .. } => {
            let pool = releaser.pool();
            // A worker that waits for room in the ring learns that nobody will read.
            let worker = pool.locked(|scheduler| scheduler.proc_to_wake(job));
            if let Some(worker) = worker {
                pool.lock.wake(worker);
            }
            releaser.report();
        }
        Release::Stale => {}
    }
    release
}

/// Gives up another session's hold of a finished job; see [`Pool::purge_one`]. The caller holds interrupts off. Does
/// not unwind, but may end the process, as above.
pub fn purge(releaser: &impl Releaser, job: JobId) -> Purged {
    let purged = releaser.pool().purge_one(job);
    if let Purged::Detached(release) = purged {
        if release == Release::LastOut {
            note(releaser, job, false);
        }
        releaser.report();
        let _ = finish(releaser);
    }
    purged
}

/// Releases the jobs whose release was deferred, but for those that own something that `proc`, this process, cannot
/// reach either. Does not unwind, but may end the process; the exit goes on with [`resume`].
pub fn release_deferred(releaser: &impl Releaser, proc: ProcRef) {
    let pool = releaser.pool();
    if !pool.begin_pass(proc) {
        return;
    }
    let mut next = pool.next_deferred(None);
    while let Some(job) = next {
        // Before the job may be gone. Only this process takes jobs off the list.
        next = pool.next_deferred(Some(job));
        note(releaser, job, true);
        if finish(releaser) == Released::Deferred {
            mutant!("pass-ends-at-what-is-out-of-reach" => break);
        }
    }
    pool.end_pass(proc);
}

/// `proc`, this process, exits: it goes on with what the exit has interrupted. Does not unwind, but may end the process;
/// it is then called again.
pub fn resume(releaser: &impl Releaser, proc: ProcRef) {
    let _ = finish(releaser);
    mutant!("pass-outlives-its-process", releaser.pool().end_pass(proc) => ());
}

fn note(releaser: &impl Releaser, job: JobId, was_deferred: bool) {
    releaser.set_noted(Some(Releasing { job, was_deferred }));
}

/// Releases the noted job, if there is one. Does not unwind, but may end the process, as above.
pub fn finish(releaser: &impl Releaser) -> Released {
    let Some(noted) = releaser.noted() else {
        return Released::Freed;
    };
    releaser.before_release();
    let (job, pool) = (noted.job, releaser.pool());
    mutant!("slot-freed-before-what-the-job-owned" => return mutants::free_slot_first(releaser, job));
    mutant!("release-forgotten-before-it-ends" => releaser.set_noted(None));
    mutant!("last-one-out-counts-nothing", pool.count_end(job) => ());
    let is_freed = releaser.free_owned(job);
    mutant!("release-noted-until-its-end" => return mutants::drop_note_last(releaser, job, is_freed));
    releaser.set_noted(None);
    match (is_freed, noted.was_deferred) {
        (true, true) => {
            pool.forget_deferred(job);
            pool.free(job);
        }
        (true, false) => pool.free(job),
        (false, true) => {}
        (false, false) => pool.defer_free(job),
    }
    releaser.report();
    if is_freed {
        Released::Freed
    } else {
        Released::Deferred
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{JobId, Released, Releaser};

    pub(super) fn free_slot_first(releaser: &impl Releaser, job: JobId) -> Released {
        releaser.pool().count_end(job);
        releaser.set_noted(None);
        releaser.pool().free(job);
        let _ = releaser.free_owned(job);
        Released::Freed
    }

    pub(super) fn drop_note_last(releaser: &impl Releaser, job: JobId, is_freed: bool) -> Released {
        if is_freed {
            releaser.pool().free(job);
        } else {
            releaser.pool().defer_free(job);
        }
        releaser.report();
        releaser.set_noted(None);
        Released::Freed
    }
}
