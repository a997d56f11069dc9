//! A small pool in "shared memory", its lock, and the processes' waker.

use crate::latch::Bell;
use crate::sync::{Arc, Mutex};
use engine::models::{self, Capacity};
use engine::pool::{Waker, LaneKey, PoolLock};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use std::ops::Deref;

/// The spinlock of the pool. The scheduler can be had only while it is held.
pub struct Lock {
    held: Mutex<()>,
    bells: Vec<Bell>,
}

impl Waker for Lock {
    fn ring(&self, party: ProcRef) {
        self.bells[party.procno() as usize].ring();
    }
}

impl PoolLock for Lock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.held.lock().expect("nobody panics under the lock");
        body()
    }

    /// Not by unwinding: some models catch what unwinds, for a process that dies.
    fn broken(&self, why: &str) {
        eprintln!("failed under the pool's lock: {why}");
        std::process::abort();
    }
}

/// The lane of every model.
pub const LANE: LaneKey = LaneKey {
    database: 1,
    role: 1,
};

/// Everything in shared memory, and one doorbell for each process by its number.
pub struct Memory(models::Memory<Lock>);

impl Deref for Memory {
    type Target = models::Memory<Lock>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
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
        let room = Capacity {
            jobs,
            lanes,
            workers,
            leaders: processes,
            roles: lanes,
        };
        let lock = Lock {
            held: Mutex::new(()),
            bells: (0..processes).map(|_| Bell::default()).collect(),
        };
        Arc::new(Self(models::Memory::new(room, lock)))
    }

    /// Claims a slot for `leader` and fills it in.
    #[must_use]
    pub fn claim(&self, leader: ProcRef) -> JobId {
        self.claim_with(leader, Options::default())
    }

    /// Likewise; the job is held back when the leader's share is used up.
    #[must_use]
    pub fn claim_bounded(&self, leader: ProcRef) -> JobId {
        let bounded = true;
        let options = Options::default();
        self.claim_with(leader, Options { bounded, ..options })
    }

    fn claim_with(&self, leader: ProcRef, options: Options) -> JobId {
        let job = self.claim_for(leader, options, &[]);
        job.expect("there is a free slot")
    }

    /// The doorbell of a process.
    #[must_use]
    pub fn bell(&self, of: ProcRef) -> &Bell {
        &self.lock.bells[of.procno() as usize]
    }

    /// Rings it, if there is somebody to ring.
    pub fn ring(&self, whom: Option<ProcRef>) {
        if let Some(party) = whom {
            self.bell(party).ring();
        }
    }
}

/// The process with this number.
#[must_use]
pub fn process(number: u32) -> ProcRef {
    ProcRef::new(number, number + 1)
}
