//! The pool: lanes, their queues, the workers, and who runs what next.
//!
//! | module | subject |
//! |---|---|
//! | here | the structures; placing a job, handing it to an idle worker, cancel |
//! | `list` | the list of a lane's queued jobs |
//! | `worker_slot` | a worker's place: a process reports in, takes jobs, rests, gives the place away, exits |
//! | `spawn` | seeing to it that every lane with queued jobs has workers on their way |
//! | `quota` | how many of a session's jobs may hold a worker |
//! | [`ends`] | how those of a session's jobs ended that it did not see end |
//! | [`gate`] | letting go of another session's finished jobs |
//! | [`usage`] | what each login role uses |
//! | [`slot_waiters`] | waiting for a slot of the job table, or for one of those that a role may have |
//! | `deferred_free` | finished jobs that their last holder could not free |
//! | [`handoff`] | fewer wake-ups for short jobs |
//!
//! # Words
//!
//! * A **lane** is one (database, authenticated login role). Its jobs run only on its workers, first in
//!   first out.
//! * A **worker** is a place for one process. It belongs to one lane; to serve another lane the place is
//!   given to a fresh process ([`Activity::Starting`] again), because no process ever serves two login
//!   roles.
//! * A lane is **short of workers** when it has more jobs queued than workers on their way.
//! * A session's **share** bounds how many of its jobs are in its lane or on a worker; what is over it is
//!   held back outside the lane (`pool/share.rs`).
//! * A launch that finds the job table full, or its login role at its limit, can wait ([`slot_waiters`]).
//! * A lane may have a **limit** of workers: at it the lane is served by those that it has.
//!
//! # The lock
//!
//! Lists change under one lock for the whole pool ([`PoolLock`]); everything else (claiming a slot,
//! cancel, finish, detach, waiting) needs only the words. A lock, because three things have to change
//! together: membership in a list, the job word, the worker word. It is held for some tens of
//! nanoseconds, twice per job, with no call in between that could fail, allocate or sleep, and the holder
//! cannot be interrupted. Should something fail there all the same, which would be a defect, nobody goes on with lists
//! that are half changed ([`PoolLock::broken`]). What it buys: first in first out to the letter, a canceled job leaves its queue
//! at once, a job whose worker died goes back to the *head*, and the race between "enqueue, then look for
//! an idle worker" and "look for a job, then go idle" cannot happen at all. What it costs is measured in
//! `docs/architecture.md`.
//!
//! # Who may touch what
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | everything in [`Lane`] | holder of the lock | nobody |
//! | `Worker::word` | holder of the lock | the worker itself |
//! | `Worker::party` | the worker itself, under the lock, when it reports in; cleared by who vacates the place | nobody |
//! | `Worker::lane`, `idle_next`, `claimed_at`, `connected`, `charge` | holder of the lock | nobody |
//! | everything in [`Leader`] | holder of the lock | the session itself, whether the entry is its own |
//! | `Totals` | holder of the lock | anyone, for a count; the number of launches that wait for a slot, after a fence |
//! | `Worker::registrar` | holder of the lock: who registers, or has registered, the process that the place awaits; of a place that is given on the process that leaves it, from that moment on | nobody |
//! | `Worker::registration`, `registration_generation` | holder of the lock: the server's name of that process, until it reports in | nobody |
//!
//! # Invariants (checked by the property test in `pool/tests.rs`)
//!
//! * A job is on its lane's list, or held back on its leader's, exactly when its word says `Queued`.
//! * A worker is on its lane's idle list exactly when its word says `Idle`.
//! * `lane.starting` counts the lane's workers in `Starting`, `lane.workers` all that are not `Vacant`.
//! * While a lane has an idle worker, its queue holds only jobs that this worker must not run.
//! * While jobs are queued, some process is on its way, at work, or leaving, and looks for a lane that is
//!   short before it rests or goes; unless the server refused to start one.
//!
//! A launch looks for a worker that need not be woken first: see [`handoff`].
//!
//! # Hazards
//!
//! * **A worker that leaves** does so under the lock: either a leader handed it a job before, then it is
//!   not `Idle` any more and does not leave, or the leader finds it gone and takes another.
//! * **A lane without workers** whose leaders have gone is an orphan. Every launch, every worker that
//!   runs out of work and every worker that exits looks for a lane that is short ([`Scheduler::staff`]).
//! * **A lane that never runs dry** could keep every place for itself. A worker that finished a job
//!   therefore gives its place to a lane that has work and nobody at all, before its own lane's next job.
//!   It takes the first such lane *after its own*, in a ring: whatever the others do, no lane is passed
//!   over twice by the same place.
//! * **A worker that is counted as on its way** and turns out not to take its lane's job (it dies, or must
//!   not run that one) must not count itself when it looks whether the lane is short, or the job would be
//!   left with nobody.
//! * **A process that never reports in** (the server could not start it, or its library is gone) would
//!   be counted as on its way for ever. The place says how the server calls the process that it awaits
//!   ([`Registration`]), so that any session can ask the server what has become of it; whoever finds that it has
//!   ended takes the place back ([`Scheduler::lost`]), and in any case after [`START_LIMIT`]. If a process
//!   turns up after all, its generation is stale and it leaves. The same goes for an idle process that was
//!   told to make room and did not look for so long: it proves its generation when it does.
//! * **A process that gives its place on** registers the next one itself, and may find the server's table full, because
//!   its own entry is in use until it has gone. It gives the place back then, and tells whoever waits for the lane
//!   ([`Scheduler::pass_on`]).
//! * **A place that is given on again** while the process that gave it on before has not gone yet, and is told to exit:
//!   its exit gives the place on as well. All processes of a registered place have one generation, so it is the registrar
//!   that tells them apart; a second process in the place of one that has not noticed yet would have both run one job.
//! * **A lane's entry that is used again** while somebody outside the lock still means the lane before: what is to be
//!   done to a lane names it by its key ([`Scheduler::take_to_fail`]).
//! * **Signals.** Nobody signals a worker but under the lock, after looking at its `party`; a worker
//!   clears that under the lock before it exits. So no signal goes to a recycled pid.

pub mod ends;
pub mod gate;
pub mod handoff;
pub mod slot_waiters;
pub mod usage;

use crate::job::{Cancel, Demand, Phase, Release, Unbind};
use crate::process_ref::Party;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::{JobId, JobTable, Link, Slot};
use crate::wait::Micros;
use crate::worker::{Activity, WorkerWord};
use gate::Gate;
use quota::Charge;
pub use quota::Leader;
use slot_waiters::{Queue, Resource};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use usage::Usage;

mod deferred_free;
mod list;
pub mod private_memory;
mod quota;
mod spawn;
mod worker_slot;

/// A process that has not reported in so long after its place was claimed is taken for lost. Generous:
/// forking takes milliseconds, and being wrong costs only a process that leaves at once.
pub const START_LIMIT: Micros = 10_000_000;

/// In a slot's `worker`: bound to no place, only to be failed.
const NOBODY: u32 = u32::MAX;

/// In `Worker::claimed_at`: nobody looked at the clock yet.
const UNKNOWN: Micros = 0;

/// Database and authenticated login role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneKey {
    /// Object id of the database.
    pub database: u32,
    /// Object id of the role.
    pub role: u32,
}

impl LaneKey {
    fn to_bits(self) -> u64 {
        u64::from(self.database) << 32 | u64::from(self.role)
    }

    fn from_bits(bits: u64) -> Self {
        Self {
            database: (bits >> 32) as u32,
            role: bits as u32,
        }
    }
}

/// A lane in shared memory. See the module documentation.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Lane {
    /// 0: never used.
    key: AtomicU64,
    head: AtomicU32,
    tail: AtomicU32,
    idle: AtomicU32,
    queued: AtomicU32,
    starting: AtomicU32,
    workers: AtomicU32,
    run_time: AtomicU32,
    latest: AtomicU32,
    /// Workers at most; 0: no limit.
    limit: AtomicU32,
}

/// A worker's place in shared memory. See the module documentation.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Worker {
    /// The worker word.
    pub word: WorkerWord,
    party: AtomicU64,
    registrar: AtomicU64,
    claimed_at: AtomicU64,
    charge: AtomicU64,
    lane: AtomicU32,
    idle_next: AtomicU32,
    connected: AtomicU32,
    /// 0: none; else the slot of the server's table and one, and [`STARTED`].
    registration: AtomicU32,
    registration_generation: AtomicU64,
}

/// In `Worker::registration`: its process was seen to run.
const STARTED: u32 = 1 << 31;

/// How the server calls a process that was registered with it: a slot of its table, and how often that was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The slot.
    pub slot: u32,
    /// Which use of it.
    pub generation: u64,
}

/// A place whose process was registered and has not reported in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnItsWay {
    /// Generation of the place.
    pub generation: u32,
    /// The process.
    pub registration: Registration,
    /// It was seen to run.
    pub started: bool,
    /// When it was registered.
    pub since: Micros,
}

/// Totals over all lanes, in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Totals {
    queued: AtomicU32,
    held: AtomicU32,
    live: AtomicU32,
    /// Launches that wait for a slot of the job table.
    waiters: Queue,
    left: AtomicU32,
    /// How often a place could not be given to a lane that needs it; see [`Scheduler::pass_on`].
    passed_on: AtomicU32,
    /// Lanes ever used; those beyond have a zero key.
    lanes: AtomicU32,
}

/// Rings a process.
pub trait Doorbells {
    /// Whoever `party` is looks at its words again. Does not fail or sleep; also called under the lock, for
    /// what happens seldom.
    fn ring(&self, party: Party);
}

/// The lock of the module documentation.
pub trait PoolLock: Doorbells {
    /// Runs `body`, which does not unwind, with the lock held.
    fn with<R>(&self, body: impl FnOnce() -> R) -> R;

    /// Something under the lock has failed that cannot (an assertion, a count, an index), and may have left the lists
    /// half changed; `why` says what. Nobody may ever look at them again: this does not return, in a server or a model.
    fn broken(&self, why: &str);
}

/// A process's handle on the pool.
#[derive(Clone, Copy)]
pub struct Pool<'a, L> {
    jobs: JobTable<'a>,
    lanes: &'a [Lane],
    workers: &'a [Worker],
    leaders: &'a [Leader],
    usages: &'a [Usage],
    totals: &'a Totals,
    lock: &'a L,
}

/// The right to change the lists: exists only while the lock is held.
pub struct Scheduler<'a> {
    jobs: JobTable<'a>,
    lanes: &'a [Lane],
    workers: &'a [Worker],
    leaders: &'a [Leader],
    usages: &'a [Usage],
    totals: &'a Totals,
    doorbells: &'a dyn Doorbells,
}

/// What has to be done, outside the lock, so that a lane gets a worker.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staffing {
    /// Nothing: enough are on their way.
    Enough,
    /// Register a process for this place; call [`Scheduler::start_failed`] if that fails.
    Start {
        /// Index of the place.
        worker: u32,
        /// Generation to register it with.
        generation: u32,
    },
    /// An idle worker was told to make room for a fresh process: ring its doorbell.
    Recycle(Party),
    /// There is no place to be had now.
    Full,
}

/// What a launch's session allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Jobs of the session that may be in its lane or on a worker.
    pub session_jobs: u32,
    /// Workers of the lane; 0: any number.
    pub lane_workers: u32,
}

impl From<u32> for Limits {
    /// So many jobs of the session, and any number of workers.
    fn from(session_jobs: u32) -> Self {
        Self {
            session_jobs,
            lane_workers: 0,
        }
    }
}

/// What became of a job that was placed.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// An idle worker has it: ring its doorbell.
    Handed(Party),
    /// It waits in its lane. Now [`Scheduler::staff`] the lane.
    Queued,
    /// There is no room for another lane. The job is still reserved.
    NoLane,
    /// New jobs of its login role are refused. The job is still reserved.
    Refused,
}

/// What a worker does next.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run this job. `wake`: its leader sleeps until it has a worker.
    Run {
        /// The job, now `Starting`.
        job: JobId,
        /// Doorbell of a leader that waits for the job to be bound.
        wake: Option<Party>,
    },
    /// Sleep until the worker word says otherwise.
    Idle,
    /// Leave: exit and let a fresh process take the place.
    Restart,
    /// Leave: exit for good.
    Retire,
}

/// What became of a job that its worker gave back.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// At the head of its lane again.
    Requeued,
    /// Another worker of the lane was idle and has it now: ring its doorbell.
    Handed(Party),
    /// It had been canceled: it is finished.
    Canceled(Release),
}

/// What became of a cancel.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canceling {
    /// The flag is set and `signal` was called for the worker.
    Asked,
    /// It had not begun; it is finished now.
    Finished(Release),
    /// It had finished before, or is another job by now. Nothing changed.
    TooLate,
}

/// What a job that has no worker waits for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// It is not queued (any more).
    Nothing,
    /// Any place in the pool.
    Place,
    /// One of the jobs that are admitted for this session to end.
    Share(Party),
}

/// How many workers are doing what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Census {
    /// On their way.
    pub starting: u32,
    /// With nothing to do.
    pub idle: u32,
    /// Running a job.
    pub busy: u32,
    /// Leaving.
    pub exiting: u32,
}

impl<'a, L: PoolLock> Pool<'a, L> {
    /// The pool over these parts of shared memory.
    #[must_use]
    pub fn new(
        jobs: JobTable<'a>,
        lanes: &'a [Lane],
        workers: &'a [Worker],
        leaders: &'a [Leader],
        usages: &'a [Usage],
        totals: &'a Totals,
        lock: &'a L,
    ) -> Self {
        Self {
            jobs,
            lanes,
            workers,
            leaders,
            usages,
            totals,
            lock,
        }
    }

    /// The job table.
    #[must_use]
    pub fn jobs(&self) -> JobTable<'a> {
        self.jobs
    }

    /// A worker's place.
    #[must_use]
    pub fn worker(&self, index: u32) -> &'a Worker {
        &self.workers[index as usize]
    }

    /// The entry of the session with this PGPROC.
    #[must_use]
    pub fn leader(&self, party: Party) -> Option<&'a Leader> {
        self.leaders.get(party.procno() as usize)
    }

    /// Jobs queued in all lanes, and held back.
    #[must_use]
    pub fn queued(&self) -> u32 {
        load(&self.totals.queued) + load(&self.totals.held)
    }

    /// Changes each time a lane that needs a worker was left to whoever waits for it. A hint, without the lock.
    #[must_use]
    pub fn passed_on(&self) -> u32 {
        load(&self.totals.passed_on)
    }

    /// Runs `body` with the right to change the lists. It must not fail, allocate or sleep.
    pub fn locked<R>(&self, body: impl FnOnce(&mut Scheduler<'a>) -> R) -> R {
        self.lock.with(|| {
            let mut scheduler = Scheduler {
                jobs: self.jobs,
                lanes: self.lanes,
                workers: self.workers,
                leaders: self.leaders,
                usages: self.usages,
                totals: self.totals,
                doorbells: self.lock,
            };
            catch_unwind(AssertUnwindSafe(|| body(&mut scheduler))).unwrap_or_else(|thrown| {
                self.lock.broken(words_of(&*thrown));
                resume_unwind(thrown)
            })
        })
    }

    /// Cancels a job wherever it is. `signal` is called with the worker's process while that cannot exit; it must
    /// only send the signal.
    pub fn cancel(&self, job: JobId, demand: Demand, signal: impl Fn(Party)) -> Canceling {
        let slot = self.jobs.slot(job.index);
        loop {
            match slot.word.cancel(job.generation, demand) {
                Cancel::Asked => {
                    if mutant!("cancel-signals-outside-the-lock") {
                        let worker = self.locked(|scheduler| scheduler.worker_of(job));
                        worker.map(&signal);
                        return Canceling::Asked;
                    }
                    self.locked(|scheduler| {
                        if let Some(worker) = scheduler.worker_of(job)
                            && !mutant!("cancel-does-not-signal")
                        {
                            signal(worker);
                        }
                    });
                    return Canceling::Asked;
                }
                Cancel::Queued => {
                    if let Some(release) = self.locked(|scheduler| scheduler.cancel_queued(job)) {
                        return Canceling::Finished(release);
                    }
                }
                Cancel::Finished | Cancel::Stale => return Canceling::TooLate,
            }
        }
    }
}

/// What a panic says.
fn words_of(thrown: &(dyn Any + Send)) -> &str {
    let text = thrown.downcast_ref::<&str>().copied();
    text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("an error")
}

fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Relaxed)
}

fn add(word: &AtomicU32, count: u32) {
    word.store(load(word) + count, Ordering::Relaxed);
}

fn subtract(word: &AtomicU32, count: u32) {
    word.store(
        load(word)
            .checked_sub(count)
            .expect("a count of the pool went below zero"),
        Ordering::Relaxed,
    );
}

impl Lane {
    fn key(&self) -> LaneKey {
        LaneKey::from_bits(self.key.load(Ordering::Relaxed))
    }

    fn is_free(&self) -> bool {
        load(&self.queued) == 0 && load(&self.workers) == 0
    }

    fn is_short(&self) -> bool {
        self.is_short_without(0)
    }

    /// Whether it is short when `uncounted` of the workers on their way do not count.
    fn is_short_without(&self, uncounted: u32) -> bool {
        load(&self.queued) + uncounted > load(&self.starting) && load(&self.queued) > 0
    }

    fn has_nobody(&self) -> bool {
        load(&self.workers) == 0
    }

    /// Whether it may have one more worker when `leaving` of those that it has go.
    fn may_grow(&self, leaving: u32) -> bool {
        let limit = load(&self.limit);
        limit == 0 || load(&self.workers) - leaving < limit
    }

    /// Whether it has more workers than it may have.
    fn is_over_limit(&self) -> bool {
        let limit = load(&self.limit);
        limit != 0 && load(&self.workers) > limit
    }
}

impl<'a> Scheduler<'a> {
    fn slot(&self, index: u32) -> &'a Slot {
        self.jobs.slot(index)
    }

    fn lane(&self, index: u32) -> &'a Lane {
        &self.lanes[index as usize]
    }

    fn lane_of(&self, worker: u32) -> &'a Lane {
        self.lane(load(&self.workers[worker as usize].lane))
    }

    fn activity(&self, worker: u32) -> Activity {
        self.workers[worker as usize].word.load().activity()
    }

    fn used_lanes(&self) -> &'a [Lane] {
        &self.lanes[..load(&self.totals.lanes) as usize]
    }

    /// The lane with this key, made if need be. `hint` is looked at first.
    fn find_lane(&mut self, key: LaneKey, hint: u32) -> Option<u32> {
        let bits = key.to_bits();
        let holds = |lane: &Lane| lane.key.load(Ordering::Relaxed) == bits;
        if self.lanes.get(hint as usize).is_some_and(holds) {
            return Some(hint);
        }
        let used = self.used_lanes();
        if let Some(index) = used.iter().position(holds) {
            return Some(index as u32);
        }
        let index = match used.iter().position(Lane::is_free) {
            Some(index) => index,
            None if used.len() < self.lanes.len() => {
                add(&self.totals.lanes, 1);
                used.len()
            }
            None => return None,
        };
        self.lanes[index].key.store(bits, Ordering::Relaxed);
        self.lanes[index].run_time.store(0, Ordering::Relaxed);
        self.lanes[index].limit.store(0, Ordering::Relaxed);
        Some(index as u32)
    }

    /// Key of the lane that a worker's place belongs to.
    #[must_use]
    pub fn lane_key(&self, worker: u32) -> LaneKey {
        self.lane_of(worker).key()
    }

    /// Publishes a reserved job in the lane `key` and gives it to an idle worker if there is one that may
    /// run it, else puts it at the end of the lane's queue; a job over its leader's share is held back.
    /// `hint` is the lane's index if the caller knows it; the right index is returned.
    pub fn place(
        &mut self,
        job: JobId,
        key: LaneKey,
        hint: u32,
        limits: impl Into<Limits>,
    ) -> (Placement, u32) {
        let limits = limits.into();
        let slot = self.slot(job.index);
        if self.refuses(load(&slot.usage)) {
            return (Placement::Refused, hint);
        }
        let Some(index) = self.find_lane(key, hint) else {
            return (Placement::NoLane, hint);
        };
        slot.lane.store(index, Ordering::Relaxed);
        self.limit_lane(index, limits);
        slot.word.publish(job.generation);
        let admitted = self.admit_new(job.index, limits.session_jobs);
        self.hand_out(index);
        if !admitted {
            return (Placement::Queued, index);
        }
        match self.hand_over(job) {
            // Its leader is the caller, which does not sleep.
            Some((party, _)) => (Placement::Handed(party), index),
            None => {
                self.push_back(job.index);
                (Placement::Queued, index)
            }
        }
    }

    /// The lane's limit is that of whoever launched in it last.
    fn limit_lane(&mut self, index: u32, limits: Limits) {
        self.lane(index)
            .limit
            .store(limits.lane_workers, Ordering::Relaxed);
    }

    /// Binds a queued job that is on no list to an idle worker of its lane. An idle worker may run none
    /// of the jobs that wait in the queue, so this one overtakes nobody. Returns the worker's doorbell, and
    /// the leader's if that sleeps on the job.
    fn hand_over(&mut self, job: JobId) -> Option<(Party, Option<Party>)> {
        let slot = self.slot(job.index);
        let worker = self.take_idle(load(&slot.lane), |idle| slot.may_run_on(idle.pid(), false))?;
        Some(self.bind(job, worker))
    }

    /// Takes the most recently idle worker of a lane that `may` allows off the idle list.
    fn take_idle(&mut self, lane: u32, may: impl Fn(Party) -> bool) -> Option<u32> {
        let mut from = &self.lane(lane).idle;
        while let Some(index) = Link::load(from).index() {
            let worker = &self.workers[index as usize];
            if worker.party().is_some_and(&may) {
                Link::load(&worker.idle_next).store(from);
                return Some(index);
            }
            from = &worker.idle_next;
        }
        None
    }

    /// Binds a queued job (not on a list any more) to a worker. Returns the worker's doorbell, and the
    /// leader's if that sleeps on the job.
    fn bind(&mut self, job: JobId, worker: u32) -> (Party, Option<Party>) {
        let place = &self.workers[worker as usize];
        let party = place.party().expect("bound to a worker that is not there");
        let slot = self.slot(job.index);
        slot.worker.store(worker, Ordering::Relaxed);
        slot.pid.store(party.pid(), Ordering::Relaxed);
        Charge::store(Charge::of(slot), &place.charge);
        let watched = slot.word.bind(job.generation);
        place.word.assign(job.index);
        self.lane(load(&slot.lane))
            .latest
            .store(worker, Ordering::Relaxed);
        (party, slot.leader().filter(|_| watched))
    }

    fn cancel_queued(&mut self, job: JobId) -> Option<Release> {
        let slot = self.slot(job.index);
        let queued = slot.word.load_if(job.generation)?.phase() == Phase::Queued;
        if !queued && !mutant!("cancel-queued-ignores-the-phase") {
            return None;
        }
        if mutant!("cancel-queued-unlinks-late") {
            let release = slot.word.cancel_queued(job.generation)?;
            self.unlink(job.index);
            return Some(release);
        }
        // It stays queued while the lock is held. Off its list before it is over: from then on its leader
        // may free the slot, whose links are the free list's then.
        let charge = match self.holder_of(slot) {
            Some(leader) => {
                self.unhold(leader, job.index);
                None
            }
            None => {
                self.unlink(job.index);
                Charge::of(slot)
            }
        };
        let release = slot.word.cancel_queued(job.generation);
        self.discharge(charge);
        self.hand_out(load(&slot.lane));
        release
    }

    /// The process that has the job, if it is bound. It cannot exit while the lock is held.
    fn worker_of(&self, job: JobId) -> Option<Party> {
        let slot = self.slot(job.index);
        slot.word
            .load_if(job.generation)
            .filter(|now| now.worker())?;
        let place = self.workers.get(slot.worker() as usize)?;
        (place.word.load().activity() == Activity::Busy(job.index))
            .then(|| place.party())
            .flatten()
    }

    /// The process that a job is bound to, for its doorbell.
    #[must_use]
    pub fn doorbell_of(&self, job: JobId) -> Option<Party> {
        self.worker_of(job)
    }

    /// What a queued job waits for.
    pub fn awaited_by(&self, job: JobId) -> Awaited {
        let slot = self.slot(job.index);
        let is_queued = slot
            .word
            .load_if(job.generation)
            .is_some_and(|now| now.phase() == Phase::Queued);
        match (is_queued, self.holder_of(slot).and_then(Leader::party)) {
            (false, _) => Awaited::Nothing,
            (true, None) => Awaited::Place,
            (true, Some(leader)) => Awaited::Share(leader),
        }
    }

    /// The process in each place that has a job now; `None`: a place without one, which will look for work. Of a lane
    /// that may have no more workers its own places only: no other comes to serve it.
    pub fn occupants(&self, lane: u32) -> impl Iterator<Item = Option<Party>> + use<'a> {
        let only_own = !self.lane(lane).may_grow(0);
        self.workers
            .iter()
            .filter(move |place| !only_own || load(&place.lane) == lane)
            .filter(|place| place.word.load().activity() != Activity::Vacant)
            .map(|place| match place.word.load().activity() {
                Activity::Busy(_) => place.party(),
                _ => None,
            })
    }

    /// The lane of a worker that has no job; `None`: it has one, or there is none.
    #[must_use]
    pub fn without_job(&self, worker: u32) -> Option<LaneKey> {
        let activity = self.activity(worker);
        let has_none = !matches!(activity, Activity::Vacant | Activity::Busy(_));
        has_none.then(|| self.lane_key(worker))
    }

    /// How many workers are doing what.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for worker in 0..self.workers.len() as u32 {
            match self.activity(worker) {
                Activity::Vacant => {}
                Activity::Starting => census.starting += 1,
                Activity::Idle => census.idle += 1,
                Activity::Busy(_) => census.busy += 1,
                Activity::Exiting => census.exiting += 1,
            }
        }
        census
    }
}

impl Worker {
    /// Whether the place waits for a process that was registered for it. A hint, without the lock.
    #[must_use]
    pub fn has_one_on_its_way(&self) -> bool {
        load(&self.registration) != 0
    }

    /// Whether the place, with this generation, awaits a process: none has reported in.
    fn awaits(&self, generation: u32) -> bool {
        let now = self.word.load();
        now.generation() == generation
            && now.activity() == Activity::Starting
            && self.party().is_none()
    }

    fn registration(&self) -> Option<(Registration, bool)> {
        let word = load(&self.registration);
        let slot = (word & !STARTED).checked_sub(1)?;
        let generation = self.registration_generation.load(Ordering::Relaxed);
        Some((Registration { slot, generation }, word & STARTED != 0))
    }

    fn note_registration(&self, registration: Registration, started: bool) {
        self.registration_generation
            .store(registration.generation, Ordering::Relaxed);
        let started = if started { STARTED } else { 0 };
        self.registration
            .store((registration.slot + 1) | started, Ordering::Relaxed);
    }

    /// Nobody has registered a process for the place, or the one that was has reported in.
    fn forget_registration(&self) {
        self.registration.store(0, Ordering::Relaxed);
        self.registrar.store(0, Ordering::Relaxed);
    }

    fn party(&self) -> Option<Party> {
        Party::from_bits(self.party.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
