//! A small pool in "shared memory", its lock, and the latches of the processes.

use crate::latch::MockLatch;
use crate::sync::{Arc, Mutex};
use engine::models::{self, Capacity};
use engine::pool::turns::LONGEST_TURN;
use engine::pool::{LaneKey, PoolLock, Waker};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use engine::wait::Micros;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// The pool's lock. There is a scheduler only while it is held.
pub struct Lock {
    held: Mutex<()>,
    latches: Vec<MockLatch>,
    /// What the latches' clock said last. It is no part of the protocol, so the explorer need not know it.
    clock: AtomicU64,
    tick: Micros,
}

impl Lock {
    /// It is this time now, or later.
    pub fn advance_to(&self, time: Micros) {
        self.clock.fetch_max(time, Ordering::Relaxed);
    }
}

impl Waker for Lock {
    fn wake(&self, proc: ProcRef) {
        self.latches[proc.procno() as usize].set();
    }

    fn timestamp(&self) -> u64 {
        0
    }

    /// It is later at each look.
    fn now(&self) -> Micros {
        self.clock.fetch_add(self.tick, Ordering::Relaxed) + self.tick
    }
}

impl PoolLock for Lock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.held.lock().expect("nobody panics under the lock");
        body()
    }

    /// Under loom the lock is not released by unwinding: some models catch a panic, for a process that dies. Under
    /// shuttle the run ends with the panic, whoever catches it: it has to be reported, and made smaller.
    fn broken(&self, why: &str) {
        #[cfg(loom)]
        {
            eprintln!("failed under the pool's lock: {why}");
            std::process::abort();
        }
        #[cfg(shuttle)]
        let _ = why;
    }
}

/// The lane of every model.
pub const LANE: LaneKey = LaneKey {
    database: 1,
    role: 1,
};

/// Everything in shared memory, and one latch for each process by its number.
pub struct Memory(models::Memory<Lock>);

impl Deref for Memory {
    type Target = models::Memory<Lock>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Memory {
    /// With this many of each, and one lane. The processes are numbered from 0.
    #[must_use]
    pub fn new(jobs: usize, workers: usize, processes: usize) -> Arc<Self> {
        Self::with_lanes(jobs, 1, workers, processes)
    }

    /// With this many of each. The processes are numbered from 0. Whoever looks at the clock finds that every turn is
    /// over.
    #[must_use]
    pub fn with_lanes(jobs: usize, lanes: usize, workers: usize, processes: usize) -> Arc<Self> {
        Self::with_clock(jobs, lanes, workers, processes, LONGEST_TURN)
    }

    /// The same; at each look at the clock it is later by `tick`.
    #[must_use]
    pub fn with_clock(
        jobs: usize,
        lanes: usize,
        workers: usize,
        processes: usize,
        tick: Micros,
    ) -> Arc<Self> {
        let room = Capacity {
            jobs,
            lanes,
            workers,
            leaders: processes,
            roles: lanes,
        };
        let lock = Lock {
            held: Mutex::new(()),
            latches: (0..processes).map(|_| MockLatch::default()).collect(),
            clock: AtomicU64::new(0),
            tick,
        };
        Arc::new(Self(models::Memory::new(room, lock)))
    }

    /// Claims a slot for `leader` and fills it in.
    #[must_use]
    pub fn claim(&self, leader: ProcRef) -> JobId {
        self.claim_with(leader, Options::default())
    }

    /// The same; the job is throttled when the leader's quota is used up.
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

    /// The latch of a process.
    #[must_use]
    pub fn latch(&self, of: ProcRef) -> &MockLatch {
        &self.lock.latches[of.procno() as usize]
    }

    /// Wakes the process, if there is one.
    pub fn wake(&self, whom: Option<ProcRef>) {
        if let Some(proc) = whom {
            self.latch(proc).set();
        }
    }
}

/// The process with this number.
#[must_use]
pub fn process(number: u32) -> ProcRef {
    ProcRef::new(number, number + 1)
}
