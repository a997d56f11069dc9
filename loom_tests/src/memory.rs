//! A small pool in "shared memory", its lock, and the processes' doorbells.

use crate::latch::Bell;
use crate::sync::{Arc, Mutex};
use pg_background::engine::handle::Cookie;
use pg_background::engine::job::Phase;
use pg_background::engine::party::Party;
use pg_background::engine::pool::{
    Doorbells, Lane, LaneKey, Leader, Pool, PoolLock, Totals, Worker,
};
use pg_background::engine::table::{FreeList, JobId, JobTable, Options, Slot};

/// The spinlock of the pool. The scheduler can be had only while it is held.
pub struct Lock {
    held: Mutex<()>,
    bells: Vec<Bell>,
}

impl Doorbells for Lock {
    fn ring(&self, party: Party) {
        self.bells[party.procno() as usize].ring();
    }
}

impl PoolLock for Lock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.held.lock().expect("nobody panics under the lock");
        body()
    }
}

/// The lane of every model.
pub const LANE: LaneKey = LaneKey {
    database: 1,
    role: 1,
};

/// Everything in shared memory, and one doorbell for each process by its number.
pub struct Memory {
    slots: Vec<Slot>,
    free: FreeList,
    lanes: Vec<Lane>,
    workers: Vec<Worker>,
    leaders: Vec<Leader>,
    totals: Totals,
    lock: Lock,
}

impl Memory {
    /// With this much room, and one lane; the processes are numbered from 0.
    #[must_use]
    pub fn new(jobs: usize, workers: usize, processes: usize) -> Arc<Self> {
        Self::with_lanes(jobs, 1, workers, processes)
    }

    /// With this much room; the processes are numbered from 0.
    #[must_use]
    pub fn with_lanes(jobs: usize, lanes: usize, workers: usize, processes: usize) -> Arc<Self> {
        let memory = Self {
            slots: (0..jobs).map(|_| Slot::default()).collect(),
            free: FreeList::default(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            leaders: (0..processes).map(|_| Leader::default()).collect(),
            totals: Totals::default(),
            lock: Lock {
                held: Mutex::new(()),
                bells: (0..processes).map(|_| Bell::default()).collect(),
            },
        };
        memory.jobs().initialize();
        Arc::new(memory)
    }

    /// The job table.
    #[must_use]
    pub fn jobs(&self) -> JobTable<'_> {
        JobTable::new(&self.slots, &self.free)
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> Pool<'_, Lock> {
        Pool::new(
            self.jobs(),
            &self.lanes,
            &self.workers,
            &self.leaders,
            &self.totals,
            &self.lock,
        )
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

    /// Claims a slot for `leader` and fills it in.
    #[must_use]
    pub fn claim(&self, leader: Party) -> JobId {
        self.claim_with(leader, Options::default())
    }

    /// Likewise; the job is held back when the leader's share is used up.
    #[must_use]
    pub fn claim_bounded(&self, leader: Party) -> JobId {
        let bounded = true;
        let options = Options::default();
        self.claim_with(leader, Options { bounded, ..options })
    }

    fn claim_with(&self, leader: Party, options: Options) -> JobId {
        let job = self.jobs().claim().expect("there is a free slot");
        let cookie = Cookie::new(job.index, job.generation, 1);
        self.slot(job).prepare(cookie, leader, options, &[]);
        job
    }

    /// The doorbell of a process.
    #[must_use]
    pub fn bell(&self, of: Party) -> &Bell {
        &self.lock.bells[of.procno() as usize]
    }

    /// Rings it, if there is somebody to ring.
    pub fn ring(&self, whom: Option<Party>) {
        if let Some(party) = whom {
            self.bell(party).ring();
        }
    }
}

/// The process with this number.
#[must_use]
pub fn process(number: u32) -> Party {
    Party::new(number, number + 1)
}
