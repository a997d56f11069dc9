//! The pool's memory as one process sees it, and the right to change what the lock protects.
//!
//! [`Shared`] says where everything is. [`Pool`] adds the lock. [`Scheduler`] exists while the lock is held.
//! Its methods are in the files beside this one.

use super::entries::{Lane, LaneKey, Leader, Totals, WorkerSlot};
use super::usage::Usage;
use crate::locked::{add, load, subtract};
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::{EXCLUDED_LIMIT, JobId, JobTable, Slot};
use crate::transitions::{GATE, JOB, USAGE, WORKER};
use crate::wait::Micros;
use crate::worker::Activity;
use protocol_kit::observe::Made;
use protocol_kit::table::Table;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What the pool needs of the server, with and without its lock.
pub trait Waker {
    /// Has the process look at its words again. Does not fail or sleep. Also called under the lock, where it is
    /// rare.
    fn wake(&self, proc: ProcRef);

    /// The time of day that users see, microseconds, as a slot records it. Also called under the lock.
    fn timestamp(&self) -> u64;

    /// The clock of the processes' latches. Called under the lock, where it matters how long something took.
    fn now(&self) -> Micros;
}

/// The lock of the pool; see its module documentation.
pub trait PoolLock: Waker {
    /// Runs `body` with the lock held. `body` does not unwind.
    fn with<R>(&self, body: impl FnOnce() -> R) -> R;

    /// Something under the lock has failed that cannot fail (an assertion, a count, an index), and may have
    /// left the lists half changed; `why` says what. No process may ever look at them again. In a server or a
    /// model this does not return.
    fn broken(&self, why: &str);
}

/// The parts of shared memory that make a pool.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    /// The job table.
    pub jobs: JobTable<'a>,
    /// Lanes.
    pub lanes: &'a [Lane],
    /// Worker slots.
    pub workers: &'a [WorkerSlot],
    /// Sessions, by PGPROC number.
    pub leaders: &'a [Leader],
    /// Login roles.
    pub usages: &'a [Usage],
    /// Totals.
    pub totals: &'a Totals,
}

/// Where the words of one table are.
#[derive(Clone, Copy)]
pub struct Words {
    table: &'static Table,
    first: usize,
    distance: usize,
}

impl Shared<'_> {
    /// Where the words of each table are in this process, to tell which of them has changed.
    #[must_use]
    pub fn words(&self) -> [Words; 4] {
        fn of<T>(table: &'static Table, words: &[T]) -> Words {
            Words {
                table,
                first: words.as_ptr().addr(),
                distance: size_of::<T>(),
            }
        }
        [
            of(&JOB, self.jobs.slots()),
            of(&WORKER, self.workers),
            of(&GATE, self.leaders),
            of(&USAGE, self.usages),
        ]
    }
}

/// Which of the words with its table has changed.
///
/// # Panics
/// When the word is not one of them.
#[must_use]
pub fn index_of(words: &[Words], made: &Made) -> u32 {
    let of_table = |words: &&Words| std::ptr::eq(words.table, made.table);
    let words = words.iter().find(of_table).expect("a table of this crate");
    ((made.address - words.first) / words.distance) as u32
}

/// How many of a lane's idle workers are looked at: one more than a job can name that must not run it.
const IDLE_LOOKS: usize = EXCLUDED_LIMIT + 1;

/// A process's handle on the pool.
#[derive(Clone, Copy)]
pub struct Pool<'a, L> {
    pub(super) shared: Shared<'a>,
    pub(super) lock: &'a L,
}

/// The right to change the lists. Exists only while the lock is held.
pub struct Scheduler<'a> {
    pub(super) shared: Shared<'a>,
    pub(super) waker: &'a dyn Waker,
}

impl<'a, L: PoolLock> Pool<'a, L> {
    /// The pool over these parts of shared memory.
    #[must_use]
    pub fn new(shared: Shared<'a>, lock: &'a L) -> Self {
        Self { shared, lock }
    }

    /// The parts of shared memory.
    #[must_use]
    pub fn shared(&self) -> Shared<'a> {
        self.shared
    }

    /// The job table.
    #[must_use]
    pub fn jobs(&self) -> JobTable<'a> {
        self.shared.jobs
    }

    /// A worker slot.
    #[must_use]
    pub fn worker(&self, index: u32) -> &'a WorkerSlot {
        &self.shared.workers[index as usize]
    }

    /// The entry of the session with this PGPROC.
    #[must_use]
    pub fn leader(&self, proc: ProcRef) -> Option<&'a Leader> {
        self.shared.leaders.get(proc.procno() as usize)
    }

    /// Jobs that are queued in lanes or throttled.
    #[must_use]
    pub fn queued(&self) -> u32 {
        load(&self.shared.totals.queued) + load(&self.shared.totals.throttled)
    }

    /// Changes each time a lane that needs a worker was passed on ([`Scheduler::pass_on`]). A hint, without the
    /// lock.
    #[must_use]
    pub fn passed_on(&self) -> u32 {
        load(&self.shared.totals.passed_on)
    }

    /// The worker's job is about to be seen as finished, so the worker will ask for its next step in a moment. No process
    /// is started for a job that it can run. Only the worker's own process calls this, without the lock.
    pub fn note_finishing(&self, worker: u32) {
        let entry = self.worker(worker);
        if entry.finishing.swap(1, Ordering::Relaxed) == 0 {
            let lane = &self.shared.lanes[load(&entry.lane) as usize];
            lane.finishing.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs `body` with the right to change the lists. `body` must not fail, allocate or sleep.
    pub fn locked<R>(&self, body: impl FnOnce(&mut Scheduler<'a>) -> R) -> R {
        self.lock.with(|| {
            let mut scheduler = Scheduler {
                shared: self.shared,
                waker: self.lock,
            };
            catch_unwind(AssertUnwindSafe(|| body(&mut scheduler))).unwrap_or_else(|thrown| {
                self.lock.broken(panic_message(&*thrown));
                resume_unwind(thrown)
            })
        })
    }
}

/// The message of a panic.
fn panic_message(thrown: &(dyn Any + Send)) -> &str {
    let text = thrown.downcast_ref::<&str>().copied();
    text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("an error")
}

impl<'a> Scheduler<'a> {
    pub(super) fn slot(&self, index: u32) -> &'a Slot {
        self.shared.jobs.slot(index)
    }

    pub(super) fn lane(&self, index: u32) -> &'a Lane {
        &self.shared.lanes[index as usize]
    }

    pub(super) fn lane_of(&self, worker: u32) -> &'a Lane {
        self.lane(load(&self.shared.workers[worker as usize].lane))
    }

    pub(super) fn activity(&self, worker: u32) -> Activity {
        self.shared.workers[worker as usize].word.load().activity()
    }

    /// Key of the lane that a worker slot belongs to.
    #[must_use]
    pub fn lane_key(&self, worker: u32) -> LaneKey {
        self.lane_of(worker).key()
    }

    /// The job that has the slot with this index.
    pub(super) fn job_in(&self, index: u32) -> JobId {
        let generation = self.slot(index).word.load().generation();
        JobId { index, generation }
    }

    /// Puts a queued job at the end of its lane's list.
    pub(super) fn push_back(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        lane.queue.push_back(self.shared.jobs.slots(), index);
        add(&self.shared.totals.queued, 1);
        self.file(load(&self.slot(index).lane));
    }

    /// Puts a queued job at the head of its lane's list.
    pub(super) fn push_front(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        lane.queue.push_front(self.shared.jobs.slots(), index);
        add(&self.shared.totals.queued, 1);
        self.file(load(&self.slot(index).lane));
    }

    /// Takes a job off its lane's list, wherever it is in the list.
    pub(super) fn unlink(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        lane.queue.remove(self.shared.jobs.slots(), index);
        subtract(&self.shared.totals.queued, 1);
        self.file(load(&self.slot(index).lane));
    }

    /// Takes the first job that the process `pid` may run off a lane's list. `fresh`: it has run none.
    pub(super) fn pop(&mut self, lane: u32, pid: u32, fresh: bool) -> Option<JobId> {
        let slots = self.shared.jobs.slots();
        let index = self.lane(lane).queue.first_for(slots, pid, fresh)?;
        self.unlink(index);
        let taken = &self.lane(lane).taken;
        taken.store(load(taken).wrapping_add(1), Ordering::Relaxed);
        Some(self.job_in(index))
    }

    /// Takes a worker for which `may` is true off a lane's idle list: the one that went idle last. Looks only at the
    /// [`IDLE_LOOKS`] that went idle last: no job excludes all of these, and those that are awake are among them.
    pub(super) fn take_idle(&mut self, lane: u32, may: impl Fn(ProcRef) -> bool) -> Option<u32> {
        let idle = &self.lane(lane).idle;
        let allowed = |&index: &u32| self.shared.workers[index as usize].proc().is_some_and(&may);
        let index = idle
            .iter(self.shared.workers)
            .take(IDLE_LOOKS)
            .find(allowed)?;
        self.unlist_idle(index);
        Some(index)
    }

    /// Takes an idle worker of any lane off its idle list, one whose turn is over if there is one. Returns it and its
    /// process.
    pub(super) fn take_any_idle(&mut self) -> Option<(u32, ProcRef)> {
        let worker = self.shared.totals.idle.first()?;
        self.unlist_idle(worker);
        Some((worker, self.proc_of(worker)))
    }

    /// Puts an idle worker on the list of its lane, and on that of all. `has_looked`: its turn is over, or has not begun,
    /// and there was no lane in need. Otherwise it looks at its turn's end. The caller has looked at the clock; a second
    /// look could find that the turn is over, and nobody would have looked.
    pub(super) fn list_idle(&mut self, worker: u32, has_looked: bool) {
        let workers = self.shared.workers;
        let entry = &workers[worker as usize];
        self.lane_of(worker).idle.push_front(workers, worker);
        let looks_later = checked!("turn-end-forgotten", !has_looked);
        let look_at = if looks_later {
            self.shared.totals.idle.push_back(workers, worker);
            entry.turn_end()
        } else {
            self.shared.totals.idle.push_front(workers, worker);
            0
        };
        entry.look_at.store(look_at, Ordering::Relaxed);
    }

    /// Takes an idle worker off both lists.
    pub(super) fn unlist_idle(&mut self, worker: u32) {
        let workers = self.shared.workers;
        self.lane_of(worker).idle.remove(workers, worker);
        self.shared.totals.idle.remove(workers, worker);
    }

    /// The process of an idle worker.
    pub(super) fn proc_of(&self, worker: u32) -> ProcRef {
        let entry = &self.shared.workers[worker as usize];
        entry.proc().expect("idle, so it is there")
    }
}
