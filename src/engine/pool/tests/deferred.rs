//! What follows a job's end, and deferred frees, one process at a time. The models have what happens at once.

use super::*;
use crate::job::JobWord;
use crate::pool::cancel::Canceling;
use crate::pool::gate::Purged;
use crate::pool::release::{self, Releaser, Releasing};
use crate::steps::Watchers;
use std::cell::Cell;

/// A process that releases jobs, and can reach what some own.
struct Process<'a> {
    memory: &'a Memory,
    noted: Cell<Option<Releasing>>,
    reaches: fn(JobId) -> bool,
}

impl<'a> Process<'a> {
    fn new(memory: &'a Memory, reaches: fn(JobId) -> bool) -> Self {
        Self {
            memory,
            noted: Cell::new(None),
            reaches,
        }
    }
}

impl Releaser for Process<'_> {
    type Lock = Unlocked;

    fn pool(&self) -> Pool<'_, Unlocked> {
        self.memory.pool()
    }
    fn word(&self, job: JobId) -> &JobWord {
        self.memory.word(job)
    }
    fn noted(&self) -> Option<Releasing> {
        self.noted.get()
    }
    fn set_noted(&self, note: Option<Releasing>) {
        self.noted.set(note);
    }
    fn report(&self) {}
    fn after_detach(&self) {}
    fn before_release(&self) {}
    fn free_owned(&self, job: JobId) -> bool {
        (self.reaches)(job)
    }
}

fn process(number: u32) -> ProcRef {
    ProcRef::new(number, number + 1)
}

/// Finished jobs that nobody holds, and nobody could free.
fn deferred(count: usize) -> (Memory, Vec<JobId>) {
    let memory = Memory::with_room(count, 1, 1);
    let nobody = Process::new(&memory, |_| false);
    let jobs = (0..count).map(|_| {
        let job = memory.queue(A);
        let canceled = memory.pool().cancel(job, Demand::Cancel, |_| ());
        assert!(matches!(
            canceled,
            Canceling::Finished(Release::Held { .. })
        ));
        assert_eq!(release::detach(&nobody, job), Release::LastOut);
        job
    });
    let jobs = jobs.collect();
    (memory, jobs)
}

#[test]
fn the_end_of_a_job_is_announced_and_wakes_those_who_wait() {
    let watcher = process(2);
    let leader = ProcRef::new(0, 1);
    for (release, woken) in [
        (Release::Held { watched: true }, &[watcher, leader][..]),
        (Release::Held { watched: false }, &[watcher]),
        (Release::Stale, &[watcher]),
        (Release::LastOut, &[watcher]),
    ] {
        let memory = Memory::with_room(1, 1, 1);
        let job = memory.queue(A);
        let slot = memory.slot(job);
        memory.pool().usage(slot.usage()).watch(watcher);
        let _ = memory.pool().cancel(job, Demand::Cancel, |_| ());
        let is_last_out = release == Release::LastOut;
        if is_last_out {
            assert_eq!(slot.word.detach(job.generation), release);
        }
        let announced = Cell::new(false);
        let releaser = Process::new(&memory, |_| true);
        release::complete_end(&releaser, job, Watchers::of(slot), release, || {
            announced.set(true);
        });
        assert!(announced.get());
        assert_eq!(*memory.lock.woken.borrow(), woken, "{release:?}");
        assert_eq!(memory.pool().jobs().used(), u32::from(!is_last_out));
    }
}

#[test]
fn an_administrator_who_is_the_last_one_out_frees_the_job() {
    let memory = Memory::with_room(1, 1, 1);
    memory.locked(|scheduler| scheduler.enroll(ProcRef::new(0, 1)));
    let job = memory.queue(A);
    let administrator = Process::new(&memory, |_| true);
    assert_eq!(release::purge(&administrator, job), Purged::Kept);
    assert_eq!(memory.pool().jobs().used(), 1);
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| ());
    let detached = Purged::Detached(Release::LastOut);
    assert_eq!(release::purge(&administrator, job), detached);
    assert_eq!(memory.pool().jobs().used(), 0);
}

#[test]
fn a_pass_frees_every_job_that_is_within_reach() {
    let (memory, jobs) = deferred(3);
    let used = || memory.pool().jobs().used();
    // The second one of the list.
    assert_eq!(jobs[1].index, 1);
    release::release_deferred(&Process::new(&memory, |job| job.index == 1), process(0));
    assert_eq!(used(), 2);
    release::release_deferred(&Process::new(&memory, |_| false), process(0));
    assert_eq!(used(), 2);
    release::release_deferred(&Process::new(&memory, |_| true), process(0));
    assert_eq!(used(), 0);
    assert!(!memory.pool().begin_pass(process(0)), "nothing is left");
}

#[test]
fn one_process_passes_at_a_time() {
    let (memory, jobs) = deferred(1);
    let pool = memory.pool();
    assert!(pool.begin_pass(process(0)));
    assert!(!pool.begin_pass(process(1)));
    pool.end_pass(process(1));
    assert!(!pool.begin_pass(process(1)), "the other one still passes");
    assert_eq!(pool.next_deferred(None), Some(jobs[0]));
    assert_eq!(pool.next_deferred(Some(jobs[0])), None);
    pool.end_pass(process(0));
    assert!(pool.begin_pass(process(1)));
}

#[test]
fn the_end_of_a_pass_wakes_those_who_wait_and_missed_it() {
    let (memory, _) = deferred(1);
    let pool = memory.pool();
    let woken = || std::mem::take(&mut *memory.lock.woken.borrow_mut());
    for number in [1, 2] {
        pool.join_waiters(process(number), Resource::Slots, 1, false);
    }
    assert!(pool.begin_pass(process(0)));
    // One waits and looks, one waits and does not look, one looks and does not wait.
    assert!(!pool.begin_pass(process(2)));
    assert!(!pool.begin_pass(process(3)));
    assert!(woken().is_empty());
    pool.end_pass(process(0));
    assert_eq!(woken(), [process(2)]);
    assert!(pool.begin_pass(process(0)));
    pool.end_pass(process(0));
    assert!(woken().is_empty(), "woken once");
}

#[test]
fn the_exit_of_a_process_ends_its_pass() {
    let (memory, _) = deferred(1);
    assert!(memory.pool().begin_pass(process(0)));
    let none = Process::new(&memory, |_| true);
    release::resume(&none, process(1));
    assert!(!memory.pool().begin_pass(process(1)), "another's");
    release::resume(&none, process(0));
    assert!(memory.pool().begin_pass(process(1)));
}

#[test]
fn a_deferred_free_wakes_those_who_wait_for_the_slot() {
    let (memory, jobs) = deferred(2);
    let pool = memory.pool();
    pool.join_waiters(process(1), Resource::Slots, 1, false);
    let usage = pool.jobs().slot(jobs[0].index).usage();
    pool.join_waiters(process(2), Resource::RoleSlots(usage), 1, false);
    pool.join_waiters(process(3), Resource::RoleSlots(usage + 1), 1, false);
    pool.forget_deferred(jobs[0]);
    memory.lock.woken.borrow_mut().clear();
    pool.defer_free(jobs[0]);
    assert_eq!(*memory.lock.woken.borrow(), [process(1), process(2)]);
}
