//! What only the models, the unit tests and the benchmarks use. None of it is built for a server.
//!
//! * [`Memory`] is the memory of a pool, in one process. In a server it is in shared memory (`src/cluster/`).
//! * [`Transitions`] and [`Slots`] let a model of one part make transitions that in a server only the engine
//!   makes: a model of the job word without a table, a model of the table without a pool.

#![allow(
    clippy::disallowed_methods,
    reason = "for tests, models and benchmarks"
)]

use crate::job::{Generation, JobWord, Phase, Release};
use crate::pool::usage::{Claimed, Usage};
use crate::pool::{Lane, Leader, Pool, PoolLock, Shared, Totals, WorkerSlot};
use crate::process_ref::ProcRef;
use crate::table::{FreeList, JobId, JobTable, Options, Slot};

/// How many there are of each.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Slots of the job table.
    pub jobs: usize,
    /// Lanes.
    pub lanes: usize,
    /// Worker slots.
    pub workers: usize,
    /// Sessions, by their number.
    pub leaders: usize,
    /// Login roles.
    pub roles: usize,
}

/// A pool's memory.
pub struct Memory<L> {
    pub(crate) slots: Vec<Slot>,
    free: FreeList,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) workers: Vec<WorkerSlot>,
    pub(crate) leaders: Vec<Leader>,
    usages: Vec<Usage>,
    pub(crate) totals: Totals,
    /// The lock, which also wakes processes.
    pub lock: L,
}

impl<L: PoolLock> Memory<L> {
    /// Empty.
    #[must_use]
    pub fn new(room: Capacity, lock: L) -> Self {
        let memory = Self {
            slots: (0..room.jobs).map(|_| Slot::default()).collect(),
            free: FreeList::default(),
            lanes: (0..room.lanes).map(|_| Lane::default()).collect(),
            workers: (0..room.workers).map(|_| WorkerSlot::default()).collect(),
            leaders: (0..room.leaders).map(|_| Leader::default()).collect(),
            usages: (0..room.roles).map(|_| Usage::default()).collect(),
            totals: Totals::default(),
            lock,
        };
        memory.jobs().initialize();
        memory
    }

    /// The job table.
    #[must_use]
    pub fn jobs(&self) -> JobTable<'_> {
        JobTable::new(&self.slots, &self.free)
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> Pool<'_, L> {
        let shared = Shared {
            jobs: self.jobs(),
            lanes: &self.lanes,
            workers: &self.workers,
            leaders: &self.leaders,
            usages: &self.usages,
            totals: &self.totals,
        };
        Pool::new(shared, &self.lock)
    }

    /// The slot of a job.
    #[must_use]
    pub fn slot(&self, job: JobId) -> &Slot {
        &self.slots[job.index as usize]
    }

    /// A worker slot.
    #[must_use]
    pub fn worker(&self, index: u32) -> &WorkerSlot {
        &self.workers[index as usize]
    }

    /// The job's phase, if the slot is still its own.
    #[must_use]
    pub fn phase(&self, job: JobId) -> Option<Phase> {
        let now = self.slot(job).word.load_if(job.generation);
        now.map(|now| now.phase())
    }

    /// Claims a slot for role 1, which may have any number of them.
    ///
    /// # Panics
    /// When there is no room for a role.
    pub fn claim_slot(&self) -> Option<JobId> {
        let pool = self.pool();
        let usage = pool.usage_of(1).expect("there is room for a role");
        let claimed = pool.usage(usage).claim_slot(1, u32::MAX);
        assert_eq!(claimed, Claimed::Yes, "it keeps its entry");
        let job = pool.claim(usage, u32::MAX);
        if job.is_none() {
            pool.release_role_slot(usage);
        }
        job
    }

    /// Reserves a slot and fills it in. `None`: none is free.
    pub fn claim_for(&self, leader: ProcRef, options: Options, excluded: &[u32]) -> Option<JobId> {
        let job = self.claim_slot()?;
        self.slot(job).prepare(leader, options, excluded);
        Some(job)
    }
}

/// The transitions of a job word that in a server only the job table and the pool make. For a model of the word
/// without them. [`JobWord`] describes them.
pub trait Transitions {
    /// Free → Reserved.
    fn reserve(&self) -> Generation;
    /// Reserved → Queued.
    fn publish(&self, generation: Generation);
    /// Queued → Starting.
    fn bind(&self, generation: Generation) -> bool;
    /// Queued → Canceled.
    fn cancel_queued(&self, generation: Generation) -> Option<Release>;
    /// Finished → Free.
    fn free(&self, generation: Generation);
}

impl Transitions for JobWord {
    fn reserve(&self) -> Generation {
        self.reserve()
    }

    fn publish(&self, generation: Generation) {
        self.publish(generation);
    }

    fn bind(&self, generation: Generation) -> bool {
        self.bind(generation)
    }

    fn cancel_queued(&self, generation: Generation) -> Option<Release> {
        self.cancel_queued(generation)
    }

    fn free(&self, generation: Generation) {
        self.free(generation);
    }
}

/// What in a server only the pool does with the job table. For a model of the table without a pool.
pub trait Slots {
    /// Claims a slot, if one is free.
    fn claim(&self) -> Option<JobId>;
    /// Gives back a reservation.
    fn abandon(&self, job: JobId);
    /// Frees the slot of a finished job that nobody holds.
    fn free(&self, job: JobId);
}

impl Slots for JobTable<'_> {
    fn claim(&self) -> Option<JobId> {
        self.claim_below(self.capacity() as u32)
    }

    fn abandon(&self, job: JobId) {
        self.abandon(job);
    }

    fn free(&self, job: JobId) {
        self.free(job);
    }
}

/// A deadline that does not come: the models have no time.
pub const NEVER: crate::wait::Micros = crate::wait::Micros::MAX;

/// The models' latch. They have no time, and spinning is not modeled: it only looks at the word more often.
#[cfg(any(loom, shuttle))]
impl crate::wait::Latch for protocol_kit::latch::MockLatch {
    fn now(&self) -> crate::wait::Micros {
        0
    }

    fn spin_limit(&self) -> crate::wait::Micros {
        0
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn sleep(&self, until: Option<crate::wait::Micros>) {
        let never = until.is_none_or(|until| until == NEVER);
        assert!(never, "the models have no time");
        self.wait_and_reset();
    }
}
