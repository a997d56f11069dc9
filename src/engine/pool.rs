//! The pool: lanes, their queues, the workers, and who runs what next.
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
//! * A launch that finds the job table full can wait for **room** (`pool/room.rs`).
//!
//! # The lock
//!
//! Lists change under one lock for the whole pool ([`PoolLock`]); everything else (claiming a slot,
//! cancel, finish, detach, waiting) needs only the words. A lock, because three things have to change
//! together: membership in a list, the job word, the worker word. It is held for some tens of
//! nanoseconds, twice per job, with no call in between that could fail, allocate or sleep, and the holder
//! cannot be interrupted. What it buys: first in first out to the letter, a canceled job leaves its queue
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
//! | `Worker::party` | the worker itself, under the lock, when it reports in; cleared by who vacates the place | [`Pool::likely_process`] |
//! | `Worker::lane`, `idle_next`, `claimed_at`, `connected`, `charge` | holder of the lock | nobody |
//! | everything in [`Leader`] | holder of the lock | the session itself, whether the entry is its own |
//! | `Totals` | holder of the lock | anyone, for a count; the number of launches that wait for room, after a fence |
//! | `Worker::registrar` | holder of the lock: who registered the place, while it sleeps until a process reports in | nobody |
//! | `Worker::seen` | holder of the lock: 1 when the first process of a registration reports in, 0 when the place is claimed | who registered it |
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
//! A launch looks for a worker that need not be woken first: see [`soon`].
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
//!   be counted as on its way for ever. After [`START_LIMIT`] its place is taken back; if the process
//!   turns up after all, its generation is stale and it leaves. The same goes for an idle process that was
//!   told to make room and did not look for so long: it proves its generation when it does.
//! * **Signals.** Nobody signals a worker but under the lock, after looking at its `party`; a worker
//!   clears that under the lock before it exits. So no signal goes to a recycled pid.

pub mod soon;

use super::job::{Cancel, Phase, Release, Unbind};
use super::party::Party;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::table::{JobId, JobTable, Link, Slot};
use super::wait::Micros;
use super::worker::{Activity, WorkerWord};
use share::Charge;
pub use share::Leader;

mod room;
mod share;

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
    seen: AtomicU32,
}

/// Totals over all lanes, in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Totals {
    queued: AtomicU32,
    held: AtomicU32,
    live: AtomicU32,
    room: room::Queue,
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
    /// Runs `body` with the lock held.
    fn with<R>(&self, body: impl FnOnce() -> R) -> R;
}

/// A process's handle on the pool.
#[derive(Clone, Copy)]
pub struct Pool<'a, L> {
    jobs: JobTable<'a>,
    lanes: &'a [Lane],
    workers: &'a [Worker],
    leaders: &'a [Leader],
    totals: &'a Totals,
    lock: &'a L,
}

/// The right to change the lists: exists only while the lock is held.
pub struct Scheduler<'a> {
    jobs: JobTable<'a>,
    lanes: &'a [Lane],
    workers: &'a [Worker],
    leaders: &'a [Leader],
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
        totals: &'a Totals,
        lock: &'a L,
    ) -> Self {
        Self {
            jobs,
            lanes,
            workers,
            leaders,
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

    /// The process that a job was bound to last, for want of the lock a guess; `None`: none yet.
    #[must_use]
    pub fn likely_process(&self, job: JobId) -> Option<Party> {
        let worker = self.jobs.slot(job.index).worker();
        self.workers.get(worker as usize)?.party()
    }

    /// Jobs queued in all lanes, and held back.
    #[must_use]
    pub fn queued(&self) -> u32 {
        load(&self.totals.queued) + load(&self.totals.held)
    }

    /// Runs `body` with the right to change the lists. It must not fail, allocate or sleep.
    pub fn locked<R>(&self, body: impl FnOnce(&mut Scheduler<'a>) -> R) -> R {
        self.lock.with(|| {
            body(&mut Scheduler {
                jobs: self.jobs,
                lanes: self.lanes,
                workers: self.workers,
                leaders: self.leaders,
                totals: self.totals,
                doorbells: self.lock,
            })
        })
    }

    /// Cancels a job wherever it is, and asks its worker to exit if `terminate`. `signal` is called with
    /// the worker's process while that cannot exit; it must only send the signal.
    pub fn cancel(&self, job: JobId, terminate: bool, signal: impl Fn(Party)) -> Canceling {
        let slot = self.jobs.slot(job.index);
        loop {
            match slot.word.cancel(job.generation, terminate) {
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
        Some(index as u32)
    }

    /// Key of the lane that a worker's place belongs to.
    #[must_use]
    pub fn lane_key(&self, worker: u32) -> LaneKey {
        LaneKey::from_bits(self.lane_of(worker).key.load(Ordering::Relaxed))
    }

    /// Publishes a reserved job in the lane `key` and gives it to an idle worker if there is one that may
    /// run it, else puts it at the end of the lane's queue; a job over its leader's share, which is
    /// `limit`, is held back. `hint` is the lane's index if the caller knows it; the right index is returned.
    pub fn place(&mut self, job: JobId, key: LaneKey, hint: u32, limit: u32) -> (Placement, u32) {
        let Some(index) = self.find_lane(key, hint) else {
            return (Placement::NoLane, hint);
        };
        let slot = self.slot(job.index);
        slot.lane.store(index, Ordering::Relaxed);
        slot.word.publish(job.generation);
        let admitted = self.admit_new(job.index, limit);
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

    /// Appends a slot to a list.
    fn append(&self, head: &AtomicU32, tail: &AtomicU32, index: u32) {
        let slot = self.slot(index);
        let last = Link::load(tail);
        Link::NONE.store(&slot.next);
        last.store(&slot.prev);
        Link::to(index).store(last.index().map_or(head, |last| &self.slot(last).next));
        Link::to(index).store(tail);
    }

    /// Takes a slot off a list.
    fn remove(&self, head: &AtomicU32, tail: &AtomicU32, index: u32) {
        let slot = self.slot(index);
        let (before, after) = (Link::load(&slot.prev), Link::load(&slot.next));
        after.store(
            before
                .index()
                .map_or(head, |before| &self.slot(before).next),
        );
        before.store(after.index().map_or(tail, |after| &self.slot(after).prev));
    }

    fn push_back(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        self.append(&lane.head, &lane.tail, index);
        add(&lane.queued, 1);
        add(&self.totals.queued, 1);
    }

    fn push_front(&mut self, index: u32) {
        let slot = self.slot(index);
        let lane = self.lane(load(&slot.lane));
        let first = Link::load(&lane.head);
        Link::NONE.store(&slot.prev);
        first.store(&slot.next);
        Link::to(index).store(
            first
                .index()
                .map_or(&lane.tail, |first| &self.slot(first).prev),
        );
        Link::to(index).store(&lane.head);
        add(&lane.queued, 1);
        add(&self.totals.queued, 1);
    }

    fn unlink(&mut self, index: u32) {
        let lane = self.lane(load(&self.slot(index).lane));
        self.remove(&lane.head, &lane.tail, index);
        subtract(&lane.queued, 1);
        subtract(&self.totals.queued, 1);
    }

    fn queued_job(&self, index: u32) -> JobId {
        let generation = self.slot(index).word.load().generation();
        JobId { index, generation }
    }

    /// Takes the first job that `may` allows off a lane's queue.
    fn pop(&mut self, lane: u32, may: impl Fn(&Slot) -> bool) -> Option<JobId> {
        let mut next = Link::load(&self.lane(lane).head);
        while let Some(index) = next.index() {
            let slot = self.slot(index);
            if may(slot) {
                self.unlink(index);
                return Some(self.queued_job(index));
            }
            next = Link::load(&slot.next);
        }
        None
    }

    /// A process reports in for a place. `false`: its registration is stale, it must leave with exit
    /// code 0 and touch nothing.
    #[must_use]
    pub fn report_in(&mut self, worker: u32, generation: u32, party: Party) -> bool {
        let Some(place) = self.workers.get(worker as usize) else {
            return false;
        };
        let now = place.word.load();
        if now.generation() != generation
            || now.activity() != Activity::Starting
            || place.party().is_some()
        {
            return false;
        }
        place.party.store(party.to_bits(), Ordering::Relaxed);
        place.seen.store(1, Ordering::Relaxed);
        true
    }

    /// Who registered the place and sleeps until a process reports in: to be rung when one has. Once.
    pub fn take_registrar(&mut self, worker: u32) -> Option<Party> {
        let registrar = &self.workers[worker as usize].registrar;
        let party = Party::from_bits(registrar.load(Ordering::Relaxed));
        registrar.store(0, Ordering::Relaxed);
        party
    }

    /// `registrar` is going to sleep until the first process of a registration reports in. `false`: it has.
    #[must_use]
    pub fn await_first(&mut self, worker: u32, generation: u32, registrar: Party) -> bool {
        let place = &self.workers[worker as usize];
        let awaits = place.awaits_first(generation);
        if awaits {
            place
                .registrar
                .store(registrar.to_bits(), Ordering::Relaxed);
        }
        awaits
    }

    /// The worker has connected to its lane's database: from now on its exit says nothing about whether
    /// others could start.
    pub fn connected(&mut self, worker: u32) {
        self.workers[worker as usize]
            .connected
            .store(1, Ordering::Relaxed);
    }

    /// What the worker, in `Starting` or `Busy` (with a job that is finished), does next. `leaving`: it
    /// shall not run another job.
    pub fn next(&mut self, worker: u32, leaving: bool) -> Next {
        let lane = load(&self.workers[worker as usize].lane);
        self.discharge_worker(worker);
        let next = self.decide(worker, leaving);
        // What was admitted and is not for this one may be for one that is idle.
        if !mutant!("worker-rests-without-looking") {
            self.hand_out(lane);
        }
        next
    }

    fn decide(&mut self, worker: u32, leaving: bool) -> Next {
        let place = &self.workers[worker as usize];
        let pid = place.party().map_or(0, Party::pid);
        let lane_index = load(&place.lane);
        let lane = self.lane(lane_index);
        let fresh = self.activity(worker) == Activity::Starting;
        let others_wait = load(&self.totals.queued) > load(&lane.queued);
        // A fresh process runs one job first, so that a place does not change hands for nothing.
        let starving = if fresh || !others_wait {
            None
        } else {
            self.find_short(lane_index, 0, Lane::has_nobody)
        };
        if leaving || starving.is_some() {
            // First, or the lane looks short of workers that it has.
            self.hand_out(lane_index);
            return self.leave(worker, starving);
        }
        let looks = fresh || !mutant!("worker-rests-without-looking");
        if let Some(job) = self.pop(lane_index, |slot| looks && slot.may_run_on(pid, fresh)) {
            if fresh {
                subtract(&lane.starting, 1);
            }
            let (_, wake) = self.bind(job, worker);
            return Next::Run { job, wake };
        }
        if let Some(short) = self.find_short(lane_index, fresh.into(), |_| looks) {
            return self.leave(worker, Some(short));
        }
        if fresh {
            subtract(&lane.starting, 1);
        }
        place.word.rest();
        if mutant!("idle-worker-on-no-list") {
            return Next::Idle;
        }
        Link::load(&lane.idle).store(&place.idle_next);
        Link::to(worker).store(&lane.idle);
        Next::Idle
    }

    /// The first lane that is short and that `also` accepts, in a ring that begins after `lane` and ends
    /// with it. Of the workers on their way to `lane`, `uncounted` do not count.
    fn find_short(&self, lane: u32, uncounted: u32, also: impl Fn(&Lane) -> bool) -> Option<u32> {
        if load(&self.totals.queued) == 0 || mutant!("nobody-looks-at-other-lanes") {
            return None;
        }
        let used = self.used_lanes().len() as u32;
        (lane + 1..used).chain(0..=lane).find(|&index| {
            let candidate = self.lane(index);
            let uncounted = if index == lane { uncounted } else { 0 };
            candidate.is_short_without(uncounted) && also(candidate)
        })
    }

    /// The worker (any live phase, on no list, bound to no job) leaves: for a fresh process in lane `to`
    /// or, if none is given, in whichever lane is short; else for good.
    fn leave(&mut self, worker: u32, to: Option<u32>) -> Next {
        let lane = load(&self.workers[worker as usize].lane);
        let counts_itself = mutant!("leaver-counts-itself");
        let uncounted = u32::from(self.activity(worker) == Activity::Starting && !counts_itself);
        let to = to
            .or_else(|| self.find_short(lane, uncounted, Lane::has_nobody))
            .or_else(|| self.find_short(lane, uncounted, |_| true));
        match to {
            Some(lane) => {
                self.move_to(worker, lane);
                Next::Restart
            }
            None => {
                self.vacate(worker);
                Next::Retire
            }
        }
    }

    /// Gives the place to a fresh process in `lane`.
    fn move_to(&mut self, worker: u32, lane: u32) {
        let place = &self.workers[worker as usize];
        let from = self.lane_of(worker);
        if self.activity(worker) == Activity::Starting {
            subtract(&from.starting, 1);
        }
        subtract(&from.workers, 1);
        place.word.restart();
        place.claimed_at.store(UNKNOWN, Ordering::Relaxed);
        place.lane.store(lane, Ordering::Relaxed);
        place.party.store(0, Ordering::Relaxed);
        place.connected.store(0, Ordering::Relaxed);
        add(&self.lane(lane).starting, 1);
        add(&self.lane(lane).workers, 1);
    }

    fn vacate(&mut self, worker: u32) {
        let place = &self.workers[worker as usize];
        let lane = self.lane_of(worker);
        if self.activity(worker) == Activity::Starting {
            subtract(&lane.starting, 1);
        }
        subtract(&lane.workers, 1);
        subtract(&self.totals.live, 1);
        place.party.store(0, Ordering::Relaxed);
        place.connected.store(0, Ordering::Relaxed);
        place.word.vacate();
    }

    /// The idle limit has come, or the worker has another reason to go. `None`: it is not idle any more,
    /// call [`awakened`](Self::awakened). Otherwise `Restart` or `Retire`.
    pub fn idle_limit(&mut self, worker: u32, generation: u32) -> Option<Next> {
        let idle =
            self.activity(worker) == Activity::Idle || mutant!("idle-limit-ignores-the-word");
        if !self.is_place_of(worker, generation) || !idle {
            return None;
        }
        let lane = load(&self.workers[worker as usize].lane);
        let own = self.workers[worker as usize].party();
        let taken = self.take_idle(lane, |party| Some(party) == own);
        assert_eq!(
            taken,
            Some(worker),
            "an idle worker was not on the idle list"
        );
        Some(self.leave(worker, None))
    }

    /// Whether the place still belongs to the registration with this generation. A process that was told
    /// to make room, and then did not run for [`START_LIMIT`], may find another one there.
    fn is_place_of(&self, worker: u32, generation: u32) -> bool {
        self.workers[worker as usize].word.load().generation() == generation
    }

    /// What the word of a worker that was idle tells it to do; `None` while it is still idle.
    pub fn awakened(&mut self, worker: u32, generation: u32) -> Option<Next> {
        if !self.is_place_of(worker, generation) {
            return Some(Next::Retire);
        }
        match self.activity(worker) {
            Activity::Idle => None,
            Activity::Busy(index) => Some(Next::Run {
                job: self.queued_job(index),
                wake: None,
            }),
            Activity::Starting => Some(Next::Restart),
            Activity::Exiting => Some(self.leave(worker, None)),
            Activity::Vacant => Some(Next::Retire),
        }
    }

    /// The worker gives back the job it was bound to and has not begun. The caller then leaves.
    pub fn give_back(&mut self, job: JobId) -> Returned {
        let slot = self.slot(job.index);
        let worker = slot.worker();
        let charge = &self.workers[worker as usize].charge;
        match slot.word.unbind(job.generation) {
            Unbind::Requeued => {
                // The job carries its charge itself again.
                Charge::store(None, charge);
                slot.pid.store(0, Ordering::Relaxed);
                match self.hand_over(job) {
                    Some((party, leader)) => {
                        if let Some(leader) = leader {
                            self.doorbells.ring(leader);
                        }
                        Returned::Handed(party)
                    }
                    None if mutant!("give-back-puts-last") => {
                        self.push_back(job.index);
                        Returned::Requeued
                    }
                    None => {
                        self.push_front(job.index);
                        Returned::Requeued
                    }
                }
            }
            Unbind::Canceled(release) => {
                let lane = load(&self.workers[worker as usize].lane);
                self.discharge_worker(worker);
                self.hand_out(lane);
                Returned::Canceled(release)
            }
        }
    }

    /// The worker's process begins to exit. `false`: the place is not its own any more (it was told to make
    /// room, or was taken for lost), and it must touch nothing in the pool. Otherwise nobody hands it
    /// anything from now on.
    #[must_use]
    pub fn begin_exit(&mut self, worker: u32, generation: u32, party: Party) -> bool {
        let place = &self.workers[worker as usize];
        if !self.is_place_of(worker, generation) || place.party() != Some(party) {
            return false;
        }
        if self.activity(worker) == Activity::Idle {
            let taken = self.take_idle(load(&place.lane), |idle| idle == party);
            assert_eq!(
                taken,
                Some(worker),
                "an idle worker was not on the idle list"
            );
            place.word.dismiss();
        }
        true
    }

    /// The worker's process exits, whatever it was doing; its job was finished or given back before.
    /// `restartable`: the server starts the registration again. `Restart` or `Retire` tells which it
    /// has to be; `None`: the place is not this process's any more.
    ///
    /// A process that could not start although its lane works ([`lane_works`](Self::lane_works)) says
    /// that it is not restartable: the lane's other workers look after the queue, and trying again at
    /// once could fork without end.
    pub fn exit(
        &mut self,
        worker: u32,
        generation: u32,
        party: Party,
        restartable: bool,
    ) -> Option<Next> {
        let place = &self.workers[worker as usize];
        if place.word.load().generation() != generation || place.party() != Some(party) {
            return None;
        }
        match self.activity(worker) {
            Activity::Vacant => return None,
            Activity::Idle => {
                let taken = self.take_idle(load(&place.lane), |idle| idle == party);
                assert_eq!(
                    taken,
                    Some(worker),
                    "an idle worker was not on the idle list"
                );
            }
            Activity::Starting | Activity::Busy(_) | Activity::Exiting => {}
        }
        let lane = load(&place.lane);
        self.discharge_worker(worker);
        self.hand_out(lane);
        if restartable {
            return Some(self.leave(worker, None));
        }
        self.vacate(worker);
        Some(Next::Retire)
    }

    /// The job that an exiting worker had is over: what it counted against has room for another.
    pub fn job_is_over(&mut self, worker: u32) {
        self.discharge_worker(worker);
    }

    /// Index of the lane that a worker's place belongs to.
    #[must_use]
    pub fn lane_index(&self, worker: u32) -> u32 {
        load(&self.workers[worker as usize].lane)
    }

    /// Whether anybody in the lane has connected: then a failed start is not the lane's fault.
    #[must_use]
    pub fn lane_works(&self, lane: u32) -> bool {
        self.workers.iter().any(|place| {
            load(&place.lane) == lane
                && load(&place.connected) != 0
                && place.word.load().activity() != Activity::Vacant
        })
    }

    /// Takes the first queued job of a lane for which no process can be started, whatever it is: to fail
    /// it. The job is `Starting` and the caller's. `pid`: the process that could not start, 0 if it has
    /// none. What was held back for it is admitted, and so fails in its turn.
    pub fn take_to_fail(&mut self, lane: u32, pid: u32) -> Option<JobId> {
        let job = self.pop(lane, |_| true)?;
        let slot = self.slot(job.index);
        slot.worker.store(NOBODY, Ordering::Relaxed);
        slot.pid.store(pid, Ordering::Relaxed);
        let charge = Charge::of(slot);
        let _ = slot.word.bind(job.generation);
        self.discharge(charge);
        Some(job)
    }

    /// Finds what has to be done so that every lane with queued jobs gets workers: first the lane `first`,
    /// then any. At most `cap` workers in all; `can_start`: registering one has not just failed.
    pub fn staff(&mut self, first: u32, cap: u32, can_start: bool, now: Micros) -> Staffing {
        if load(&self.totals.queued) == 0 {
            return Staffing::Enough;
        }
        // Before anything else: a lost process makes its lane look served, and holds a place that
        // another lane may need.
        self.take_back_lost(now);
        let lanes = std::iter::once(first).chain(0..self.used_lanes().len() as u32);
        let needs_more = |&index: &u32| {
            let lane = self.lane(index);
            lane.is_short() && load(&lane.queued) > load(&lane.starting) + self.finishing(index)
        };
        let Some(short) = lanes.into_iter().find(needs_more) else {
            return Staffing::Enough;
        };
        if can_start
            && load(&self.totals.live) < cap
            && let Some((worker, generation)) = self.claim(short, now)
        {
            return Staffing::Start { worker, generation };
        }
        // An idle worker of a lane that has nothing queued, or of this lane if its jobs must not run on
        // it: otherwise it would have been handed one.
        let (lanes, workers) = (self.used_lanes(), self.workers);
        for index in 0..lanes.len() as u32 {
            let Some(worker) = self.take_idle(index, |_| true) else {
                continue;
            };
            let party = workers[worker as usize]
                .party()
                .expect("idle, so it is there");
            self.move_to(worker, short);
            return Staffing::Recycle(party);
        }
        Staffing::Full
    }

    /// Workers of a lane whose job has finished: each looks for its next one in a moment.
    fn finishing(&self, lane: u32) -> u32 {
        let is_finishing = |worker: &u32| {
            let place = &self.workers[*worker as usize];
            let Activity::Busy(index) = place.word.load().activity() else {
                return false;
            };
            let slot = self.slot(index);
            let runs = matches!(slot.word.load().phase(), Phase::Starting | Phase::Running);
            load(&place.lane) == lane && !(runs && slot.worker() == *worker)
        };
        (0..self.workers.len() as u32).filter(is_finishing).count() as u32
    }

    fn claim(&mut self, lane: u32, now: Micros) -> Option<(u32, u32)> {
        let worker = self
            .workers
            .iter()
            .position(|place| place.word.load().activity() == Activity::Vacant)?;
        let place = &self.workers[worker];
        let generation = place.word.claim();
        place.lane.store(lane, Ordering::Relaxed);
        place.party.store(0, Ordering::Relaxed);
        place.connected.store(0, Ordering::Relaxed);
        place.seen.store(0, Ordering::Relaxed);
        place.registrar.store(0, Ordering::Relaxed);
        place.claimed_at.store(now, Ordering::Relaxed);
        add(&self.lane(lane).starting, 1);
        add(&self.lane(lane).workers, 1);
        add(&self.totals.live, 1);
        Some((worker as u32, generation))
    }

    /// The process for a place that [`staff`](Self::staff) claimed could not be registered, or was, and is
    /// lost before it reported in. Returns the lane that it was for; `None`: the place is not waiting for
    /// that process (any more).
    pub fn start_failed(&mut self, worker: u32, generation: u32) -> Option<u32> {
        let place = &self.workers[worker as usize];
        let waits = self.is_place_of(worker, generation)
            && self.activity(worker) == Activity::Starting
            && place.party().is_none();
        waits.then(|| {
            self.vacate(worker);
            load(&place.lane)
        })
    }

    /// Takes back the places of processes that never reported in. Returns whether there were any.
    fn take_back_lost(&mut self, now: Micros) -> bool {
        let mut found = false;
        for (worker, place) in (0..).zip(self.workers) {
            if self.activity(worker) != Activity::Starting || place.party().is_some() {
                continue;
            }
            match place.claimed_at.load(Ordering::Relaxed) {
                UNKNOWN => place.claimed_at.store(now, Ordering::Relaxed),
                claimed_at if now.saturating_sub(claimed_at) > START_LIMIT => {
                    self.vacate(worker);
                    found = true;
                }
                _ => {}
            }
        }
        found
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

    /// Sends up to `limit` idle workers home, of the lane `key` or of all; `ring` is called for each.
    pub fn dismiss_idle(&mut self, key: Option<LaneKey>, limit: u32, ring: impl Fn(Party)) -> u32 {
        let (lanes, workers) = (self.used_lanes(), self.workers);
        let mut sent = 0;
        for (index, lane) in (0..).zip(lanes) {
            if key.is_some_and(|key| lane.key.load(Ordering::Relaxed) != key.to_bits()) {
                continue;
            }
            while sent < limit
                && let Some(worker) = self.take_idle(index, |_| true)
            {
                let place = &workers[worker as usize];
                let party = place.party().expect("idle, so it is there");
                place.word.dismiss();
                ring(party);
                sent += 1;
            }
        }
        sent
    }

    /// Claims a place for one more worker of the lane `key`, unless `wanted` are idle or on their way.
    /// The number of those there are, and the place to register a process for.
    pub fn prewarm(
        &mut self,
        key: LaneKey,
        wanted: u32,
        cap: u32,
        now: Micros,
    ) -> (u32, Option<(u32, u32)>) {
        let Some(lane) = self.find_lane(key, u32::MAX) else {
            return (0, None);
        };
        let ready = (0..self.workers.len() as u32)
            .filter(|&worker| load(&self.workers[worker as usize].lane) == lane)
            .filter(|&worker| matches!(self.activity(worker), Activity::Idle | Activity::Starting))
            .count() as u32;
        if ready >= wanted || load(&self.totals.live) >= cap {
            return (ready, None);
        }
        (ready, self.claim(lane, now))
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

    /// The process in each place that has a job now; `None`: a place without one, which will look for work.
    pub fn occupants(&self) -> impl Iterator<Item = Option<Party>> + use<'a> {
        self.workers
            .iter()
            .filter(|place| place.word.load().activity() != Activity::Vacant)
            .map(|place| match place.word.load().activity() {
                Activity::Busy(_) => place.party(),
                _ => None,
            })
    }

    /// The job that a worker is bound to and has not begun.
    #[must_use]
    pub fn assigned(&self, worker: u32) -> Option<JobId> {
        let Activity::Busy(index) = self.activity(worker) else {
            return None;
        };
        let slot = self.slot(index);
        (slot.word.load().phase() == Phase::Starting && slot.worker() == worker)
            .then(|| self.queued_job(index))
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
    /// Whether the registration `generation` still waits for its first process: none has reported in.
    /// May be asked without the lock: the word tells whose answer it is, and both were written under the
    /// lock before the word changed again.
    #[must_use]
    pub fn awaits_first(&self, generation: u32) -> bool {
        let now = self.word.load();
        now.generation() == generation
            && now.activity() == Activity::Starting
            && self.seen.load(Ordering::Relaxed) == 0
    }

    fn party(&self) -> Option<Party> {
        Party::from_bits(self.party.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
