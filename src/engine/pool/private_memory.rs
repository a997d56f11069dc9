//! What a pool needs of memory, for one process alone: for tests, models and benchmarks. In a server it is in shared
//! memory (`pg/cluster.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "for tests, models and benchmarks"
)]

use super::entries::{Lane, Leader, Totals, Worker};
use super::scheduler::{Pool, PoolLock, Shared};
use super::usage::{Claimed, Usage};
use crate::job::Phase;
use crate::process_ref::Party;
use crate::table::{FreeList, JobId, JobTable, Options, Slot};

/// How many there may be of each.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Slots of the job table.
    pub jobs: usize,
    /// Lanes.
    pub lanes: usize,
    /// Places of workers.
    pub workers: usize,
    /// Sessions, by their number.
    pub leaders: usize,
    /// Login roles.
    pub roles: usize,
}

/// See the module documentation.
pub struct Memory<L> {
    pub(super) slots: Vec<Slot>,
    free: FreeList,
    pub(super) lanes: Vec<Lane>,
    pub(super) workers: Vec<Worker>,
    pub(super) leaders: Vec<Leader>,
    usages: Vec<Usage>,
    pub(super) totals: Totals,
    /// What keeps others out, and rings.
    pub lock: L,
}

impl<L: PoolLock> Memory<L> {
    /// Empty.
    #[must_use]
    pub fn new(room: Room, lock: L) -> Self {
        let memory = Self {
            slots: (0..room.jobs).map(|_| Slot::default()).collect(),
            free: FreeList::default(),
            lanes: (0..room.lanes).map(|_| Lane::default()).collect(),
            workers: (0..room.workers).map(|_| Worker::default()).collect(),
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

    /// The place of a worker.
    #[must_use]
    pub fn worker(&self, index: u32) -> &Worker {
        &self.workers[index as usize]
    }

    /// Where the job is, if its slot is its own still.
    #[must_use]
    pub fn phase(&self, job: JobId) -> Option<Phase> {
        let now = self.slot(job).word.load_if(job.generation);
        now.map(|now| now.phase())
    }

    /// Claims a slot for the role 1, which may have any number.
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

    /// Reserves a slot and fills it in; `None`: all are taken.
    pub fn claim_for(&self, leader: Party, options: Options, excluded: &[u32]) -> Option<JobId> {
        let job = self.claim_slot()?;
        self.slot(job).prepare(leader, options, excluded);
        Some(job)
    }
}
