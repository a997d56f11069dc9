//! A pool in this process's memory.

use engine::job::{Begin, End, Release};
use engine::models::{self, Capacity, Slots as _};
use engine::pool::{Dispatched, LaneKey, NextStep, PoolLock, Scheduler, SpawnDecision, Waker};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use engine::wait::Micros;
use std::ops::Deref;
use std::sync::Mutex;
use std::time::Instant;

/// Stands for the server's LWLock. Its waker wakes nobody.
pub struct Lock(Mutex<()>, Instant);

impl Default for Lock {
    fn default() -> Self {
        Self(Mutex::default(), Instant::now())
    }
}

impl Waker for Lock {
    fn wake(&self, _proc: ProcRef) {}

    fn timestamp(&self) -> u64 {
        0
    }

    fn now(&self) -> Micros {
        self.1.elapsed().as_micros() as Micros
    }
}

impl PoolLock for Lock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.0.lock().expect("nobody panics under the lock");
        body()
    }

    fn broken(&self, why: &str) {
        panic!("failed under the pool's lock: {why}");
    }
}

/// The key of the lane with this number.
pub fn lane(number: u32) -> LaneKey {
    LaneKey {
        database: 1,
        role: 1 + number,
    }
}

/// A quota that is never used up.
const AMPLE: u32 = u32::MAX;

/// The session that launches.
pub fn leader() -> ProcRef {
    ProcRef::new(0, 1)
}

/// What is in shared memory.
pub struct Memory(models::Memory<Lock>);

impl Deref for Memory {
    type Target = models::Memory<Lock>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Memory {
    /// With room for this many jobs and workers, in one lane.
    pub fn new(jobs: usize, workers: usize) -> Self {
        Self::with_lanes(jobs, workers, 1)
    }

    /// With room for this many jobs, workers and lanes.
    pub fn with_lanes(jobs: usize, workers: usize, lanes: usize) -> Self {
        let room = Capacity {
            jobs,
            lanes,
            workers,
            leaders: 4,
            roles: 1,
        };
        Self(models::Memory::new(room, Lock::default()))
    }

    /// A reserved job, filled in except for what the server writes into its block.
    pub fn claim(&self) -> JobId {
        let job = self.claim_for(leader(), Options::default(), &[]);
        job.expect("there is a free slot")
    }

    /// Dispatches it: to an idle worker, or to the end of the queue.
    pub fn dispatch(&self, job: JobId) -> Dispatched {
        self.dispatch_to(job, 0, 0)
    }

    /// The same in the lane with this number, whose place the session takes to be `hint`.
    pub fn dispatch_to(&self, job: JobId, number: u32, hint: u32) -> Dispatched {
        self.pool()
            .locked(|scheduler| scheduler.dispatch(job, lane(number), hint, AMPLE))
            .0
    }

    /// Starts a worker, which finds one queued job. Returns its worker slot and that job.
    pub fn start_worker(&self) -> (u32, JobId) {
        self.start_worker_in(0)
    }

    /// The same in the lane with this number.
    pub fn start_worker_in(&self, number: u32) -> (u32, JobId) {
        let job = self.claim();
        assert_eq!(self.dispatch_to(job, number, 0), Dispatched::Queued);
        let lane = self.slot(job).lane();
        self.pool().locked(|scheduler| {
            let decision = scheduler.spawn_decision(lane, u32::MAX, true);
            let SpawnDecision::Start { worker, generation } = decision else {
                panic!("expected a start, got {decision:?}");
            };
            (worker, begin(scheduler, worker, generation))
        })
    }

    /// The worker slot was passed to another lane: its next process starts. Returns the process's job.
    pub fn restart_worker(&self, worker: u32) -> JobId {
        let generation = self.worker(worker).word.load().generation();
        self.pool()
            .locked(|scheduler| begin(scheduler, worker, generation))
    }

    /// The number of the lane that a worker slot belongs to.
    pub fn lane_of(&self, worker: u32) -> u32 {
        let key = self.pool().locked(|scheduler| scheduler.lane_key(worker));
        key.role - 1
    }

    /// The worker runs its job to the end and looks for the next.
    pub fn complete(&self, worker: u32, job: JobId) -> NextStep {
        let word = &self.slot(job).word;
        let begun = word.begin(job.generation);
        assert!(matches!(begun, Begin::Running { .. }), "{begun:?}");
        let _ = word.finish(job.generation, End::Completed);
        self.pool()
            .locked(|scheduler| scheduler.next(worker, false))
    }

    /// The leader detaches a finished job.
    pub fn detach(&self, job: JobId) {
        let word = &self.slot(job).word;
        assert_eq!(word.detach(job.generation), Release::LastOut);
        self.jobs().free(job);
    }
}

/// A process starts in a worker slot and takes a job.
fn begin(scheduler: &mut Scheduler<'_>, worker: u32, generation: u32) -> JobId {
    let proc = ProcRef::new(1, 1000 + worker);
    assert!(scheduler.report_in(worker, generation, proc));
    scheduler.note_connected(worker, proc);
    match scheduler.next(worker, false) {
        NextStep::Run { job, .. } => job,
        other => panic!("expected a job, got {other:?}"),
    }
}
