//! A server: shared memory, processes with latches and signals, and the postmaster.

use crate::leader::LIMIT;
use crate::ledger::Ledger;
use crate::scale::Scale;
use crate::{leader, trace, worker};
use engine::job::{Demand, End, JobWord, Phase, Release};
use engine::pool::failing_lane::{self, Failer};
use engine::pool::release::{self, Releaser};
use engine::pool::turns::LONGEST_TURN;
use engine::pool::worker_start::{self, Note, Placed, Starter};
use engine::pool::{
    Canceling, Dispatched, LaneKey, Limits, PendingStart, Pool, Registration, Scheduler,
    WorkerCounts,
};
use engine::process_ref::ProcRef;
use engine::steps::{Ender, Watchers};
use engine::table::JobId;
use engine::wait::{Latch, Micros};
use loom_tests::memory::{Lock, Memory};
use shuttle::rand::{RngCore, thread_rng};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// See the module documentation.
pub struct World {
    pub scale: Scale,
    pub memory: Arc<Memory>,
    pub ledger: Ledger,
    /// The server shuts down: idle workers leave.
    pub closing: AtomicBool,
    /// The processes that are alive, by PGPROC number. Behind a lock that shuttle does not know.
    living: Mutex<Vec<Option<u32>>>,
    last_pid: Mutex<u32>,
    /// How many processes are registered with the postmaster, or have not exited yet.
    entries: Mutex<usize>,
    /// Whether `SIGUSR2` is pending, by PGPROC number.
    signals: Vec<AtomicBool>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// A number below `n`, at random. The highest is the plain one: of a run that fails, those stay others than that which
/// matter.
pub fn below(n: usize) -> usize {
    let random = u128::from(thread_rng().next_u64());
    ((random * n as u128) >> 64) as usize
}

/// A process, as it releases jobs.
struct Releasing<'a> {
    world: &'a World,
    noted: Cell<Option<release::Releasing>>,
    /// What of the jobs that it releases is out of reach for it.
    lacks: Lack,
}

/// What is out of reach for a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// Nothing.
    Nothing,
    /// Now and then, what a job owns of which it is the last one out.
    Some,
    /// All that was out of reach for others.
    WhatOthersLacked,
}

/// The payload of the panic by which a process is cut short.
struct CutShort;

/// `None`: the process was cut short.
pub fn cut_short<T>(act: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Some(done),
        Err(cut) if cut.is::<CutShort>() => None,
        Err(failure) => resume_unwind(failure),
    }
}

/// The process may be cut short here while it starts another.
fn may_fail_to_start() {
    if once_in(64) {
        resume_unwind(Box::new(CutShort));
    }
}

/// The process may be cut short here.
pub fn may_be_cut_short() {
    if once_in(16) {
        resume_unwind(Box::new(CutShort));
    }
}

impl Releaser for Releasing<'_> {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn word(&self, job: JobId) -> &JobWord {
        &self.world.memory.slot(job).word
    }

    fn noted(&self) -> Option<release::Releasing> {
        self.noted.get()
    }

    fn set_noted(&self, note: Option<release::Releasing>) {
        self.noted.set(note);
    }

    fn report(&self) {
        may_be_cut_short();
    }

    fn after_detach(&self) {}

    fn before_release(&self) {}

    fn free_owned(&self, job: JobId) -> bool {
        may_be_cut_short();
        let ledger = &self.world.ledger;
        if !ledger.is_freed(job) {
            match self.lacks {
                Lack::Some if once_in(8) => {
                    ledger.left(job);
                    return false;
                }
                Lack::WhatOthersLacked => return false,
                Lack::Some | Lack::Nothing => {}
            }
        }
        ledger.freed(job);
        may_be_cut_short();
        true
    }
}

/// A process, as it fails jobs for which no process can be started.
pub struct Failing<'a> {
    world: &'a World,
    noted: Cell<Option<JobId>>,
}

impl<'a> Failing<'a> {
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            noted: Cell::new(None),
        }
    }
}

impl Ender for Failing<'_> {
    fn word(&self, job: JobId) -> &JobWord {
        &self.world.memory.slot(job).word
    }

    fn noted(&self) -> Option<JobId> {
        self.noted.get()
    }

    fn before_end(&self, job: JobId, end: End) -> Watchers {
        may_be_cut_short();
        self.world.ledger.used(job);
        self.world.ledger.ended(job, end);
        Watchers::of(self.world.memory.slot(job))
    }

    fn take(&self) {
        self.noted.set(None);
    }

    fn after_end(&self, job: JobId, watchers: Watchers, release: Release) {
        self.world.complete_end(job, watchers, release);
        may_be_cut_short();
    }
}

impl Failer for Failing<'_> {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn note(&self, job: JobId) {
        self.noted.set(Some(job));
    }

    fn after_note(&self) {
        may_be_cut_short();
    }

    fn note_error(&self, job: JobId) {
        self.world.ledger.used(job);
        self.world.ledger.died(job);
    }
}

/// A process, as it starts workers.
struct Starting<'a> {
    world: &'a Arc<World>,
    proc: ProcRef,
    clock: Clock,
    noted: Cell<Option<Note>>,
    /// Whether the server had no room for a process, or this process was cut short.
    has_failed: Cell<bool>,
    /// Whether a process did not start.
    has_lost: Cell<bool>,
    /// Worker slots with the processes that this process has registered, and that end before they report in.
    lost: RefCell<Vec<(u32, PendingStart)>>,
}

/// Its latch. Nothing relies on its wake-ups: it looks again from time to time, and for a while only.
#[derive(Default)]
struct Clock(Cell<Micros>);

impl Latch for Clock {
    fn now(&self) -> Micros {
        self.0.get()
    }

    fn spin_limit(&self) -> Micros {
        0
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn sleep(&self, until: Option<Micros>) {
        if !once_in(4) {
            self.0.set(until.expect("it checks from time to time"));
        }
        thread::yield_now();
    }
}

impl<'a> Starting<'a> {
    fn new(world: &'a Arc<World>, proc: ProcRef) -> Self {
        Self {
            world,
            proc,
            clock: Clock::default(),
            noted: Cell::new(None),
            has_failed: Cell::new(false),
            has_lost: Cell::new(false),
            lost: RefCell::default(),
        }
    }

    /// Takes steps. `false`: the process was cut short, and has gone on as its exit does.
    fn run(&self, steps: impl FnOnce()) -> bool {
        let done = cut_short(steps).is_some();
        if !done {
            self.has_failed.set(true);
            worker_start::resume(self);
        }
        assert_eq!(self.noted.get(), None, "a spawn was not finished");
        done
    }

    /// Afterwards: finds out what has become of the processes that it has registered. After a start that has failed, and
    /// if nobody is left to look after the lane because a process could not be registered, for this lane or another, the
    /// next launch does so, or the periodic check of a session that waits, or an idle worker at its limit. Here an idle
    /// worker may have no limit, so this process does it in its place.
    fn look_after(&self, lane: u32) {
        loop {
            self.check_registrations();
            let pool = self.world.memory.pool();
            let nobody = || {
                let counts = pool.locked(|scheduler| scheduler.worker_counts());
                WorkerCounts { idle: 0, ..counts } == WorkerCounts::default()
            };
            let is_left = self.has_failed.replace(false) && nobody();
            if !self.has_lost.replace(false) && !is_left {
                return;
            }
            thread::yield_now();
            self.run(|| {
                let _ = worker_start::spawn_workers(self, lane, None);
            });
        }
    }

    /// The process that was registered has ended, as the next one would.
    fn give_up(&self, worker: u32, start: PendingStart) {
        let failing = Failing::new(self.world);
        let give_up = || failing_lane::give_up_start(&failing, worker, start, || (), || true);
        if cut_short(give_up).is_none() {
            while cut_short(|| failing_lane::resume(&failing)).is_none() {}
        }
    }
}

impl Starter for Starting<'_> {
    type Lock = Lock;

    fn proc(&self) -> ProcRef {
        self.proc
    }

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn worker_cap(&self) -> u32 {
        self.world.scale.places as u32
    }

    fn latch(&self) -> &impl Latch {
        &self.clock
    }

    fn noted(&self) -> Option<Note> {
        self.noted.get()
    }

    fn set_noted(&self, note: Option<Note>) {
        self.noted.set(note);
    }

    /// Others than its own are given up by those that have registered them.
    fn check_registrations(&self) {
        loop {
            let Some((worker, start)) = self.lost.borrow_mut().pop() else {
                return;
            };
            self.has_lost.set(true);
            self.give_up(worker, start);
        }
    }

    fn awaits_registered(&self) -> bool {
        self.check_registrations();
        let awaits = |worker| {
            let pool = self.pool();
            pool.locked(|scheduler| scheduler.awaits_start_by(worker, self.proc))
        };
        (0..self.worker_cap()).any(awaits)
    }

    fn after_dispatch(&self) {}

    fn after_claim(&self) {
        may_fail_to_start();
    }

    fn register(&self, worker: u32, generation: u32) -> Option<Registration> {
        may_fail_to_start();
        if once_in(8) || !self.world.take_entry() {
            self.has_failed.set(true);
            return None;
        }
        let registration = Registration {
            slot: worker,
            generation: generation.into(),
        };
        if once_in(16) {
            self.world.free_entry();
            self.lost.borrow_mut().push((
                worker,
                PendingStart {
                    generation,
                    registration,
                    started: false,
                    since: 0,
                },
            ));
        } else {
            let world = self.world.clone();
            let handle = spawn(format!("worker {worker}"), move || {
                let left = worker::process(&world, worker, generation);
                world.free_entry();
                world.look_after(&left);
            });
            self.world.threads.lock().unwrap().push(handle);
            // It raises an error although the process is there.
            may_fail_to_start();
        }
        Some(registration)
    }

    fn is_exiting(&self) -> bool {
        false
    }
}

/// True once in `n` calls, at random.
pub fn once_in(n: u32) -> bool {
    below(n as usize) == 0
}

/// How many entries of the server's table there are for each worker slot: that of a process that leaves, and that of
/// its successor.
const ENTRIES: usize = 2;

impl World {
    fn new(scale: Scale) -> Arc<Self> {
        // The last one frees what the others have left.
        let others = scale.leaders + scale.cancelers + scale.administrators + 1;
        let processes = others + ENTRIES * scale.places;
        // A turn lasts for a few looks at the clock.
        let tick = LONGEST_TURN / 4;
        let memory = Memory::with_clock(scale.slots, scale.lanes, scale.places, processes, tick);
        trace::of(&memory.pool().shared());
        Arc::new(Self {
            scale,
            memory,
            ledger: Ledger::default(),
            closing: AtomicBool::new(false),
            living: Mutex::new(vec![None; processes]),
            last_pid: Mutex::new(0),
            entries: Mutex::new(0),
            signals: (0..processes).map(|_| AtomicBool::new(false)).collect(),
            threads: Mutex::new(Vec::new()),
        })
    }

    /// Forks a process: its PGPROC may have been another's, its pid is new.
    pub fn fork(&self) -> ProcRef {
        let pid = {
            let mut last = self.last_pid.lock().unwrap();
            *last += 1;
            *last
        };
        let procno = {
            let mut living = self.living.lock().unwrap();
            let free = living.iter().position(Option::is_none);
            let procno = free.expect("there are PGPROCs enough");
            living[procno] = Some(pid);
            procno
        };
        self.signals[procno].store(false, Ordering::SeqCst);
        ProcRef::new(procno as u32, pid)
    }

    /// Takes an entry of the server's table of processes. `false`: all are in use.
    fn take_entry(&self) -> bool {
        let mut entries = self.entries.lock().unwrap();
        let is_free = *entries < ENTRIES * self.scale.places;
        *entries += usize::from(is_free);
        is_free
    }

    fn free_entry(&self) {
        *self.entries.lock().unwrap() -= 1;
    }

    /// The process is gone.
    pub fn exit(&self, proc: ProcRef) {
        let before = self.living.lock().unwrap()[proc.procno() as usize].take();
        assert_eq!(before, Some(proc.pid()), "a process ended twice");
    }

    /// `kill(pid, SIGUSR2)`.
    fn kill(&self, proc: ProcRef) {
        let pid = self.living.lock().unwrap()[proc.procno() as usize];
        assert_eq!(pid, Some(proc.pid()), "signaled a pid that is gone");
        self.signals[proc.procno() as usize].store(true, Ordering::SeqCst);
        self.memory.latch(proc).set();
    }

    /// Whether a signal has arrived; takes it.
    pub fn takes_signal(&self, proc: ProcRef) -> bool {
        self.signals[proc.procno() as usize].swap(false, Ordering::SeqCst)
    }

    pub fn key(&self, lane: u32) -> LaneKey {
        LaneKey {
            database: 1,
            role: lane + 1,
        }
    }

    /// The process `own` dispatches a job.
    pub fn dispatch(
        self: &Arc<Self>,
        own: ProcRef,
        scheduler: &mut Scheduler<'_>,
        job: JobId,
        lane: u32,
    ) -> Placed {
        let limits = Limits {
            session_jobs: LIMIT,
            lane_workers: self.scale.lane_limit,
        };
        let starting = Starting::new(self, own);
        worker_start::dispatch(&starting, scheduler, job, self.key(lane), lane, limits)
    }

    /// It wakes the worker that has the job, or starts workers for the lane in which the job waits.
    pub fn serve(self: &Arc<Self>, own: ProcRef, placed: Placed) {
        let starting = Starting::new(self, own);
        starting.run(|| {
            let _ = worker_start::serve(&starting, placed);
        });
        if !matches!(placed.dispatched, Dispatched::Handed(_)) {
            starting.look_after(placed.lane);
        }
    }

    /// The process `own` starts workers for the lane, if it needs any.
    pub fn spawn_workers(self: &Arc<Self>, own: ProcRef, lane: u32) {
        let starting = Starting::new(self, own);
        starting.run(|| {
            let _ = worker_start::spawn_workers(&starting, lane, None);
        });
        starting.look_after(lane);
    }

    /// The process `own` starts workers before there are jobs for them.
    pub fn prewarm(self: &Arc<Self>, own: ProcRef, lane: u32) {
        let starting = Starting::new(self, own);
        let lane_workers = self.scale.lane_limit;
        starting.run(|| {
            let _ = worker_start::prewarm(&starting, self.key(lane), 2, lane_workers);
        });
        starting.look_after(lane);
    }

    /// The process `own` leaves its worker slot to another. Returns the lane for which it could not register one.
    pub fn respawn(self: &Arc<Self>, own: ProcRef, worker: u32, generation: u32) -> Option<u32> {
        let starting = Starting::new(self, own);
        let lane = (self.memory.pool()).locked(|scheduler| scheduler.lane_index(worker));
        while !starting.run(|| worker_start::respawn(&starting, worker, generation)) {}
        starting.check_registrations();
        let is_left = starting.has_failed.get() || starting.has_lost.get();
        is_left.then_some(lane)
    }

    /// What sessions do about the lanes that a process has left behind.
    fn look_after(self: &Arc<Self>, left: &worker::LeftBehind) {
        if let Some(lane) = left.failed_in {
            self.spawn_workers(left.proc, lane);
        }
        if let Some(lane) = left.not_respawned_in {
            let starting = Starting::new(self, left.proc);
            starting.has_failed.set(true);
            starting.look_after(lane);
        }
    }

    /// A process does something by which it may become the last one out of a job. It may be cut short in the middle
    /// of the release: then it goes on, as its exit does.
    fn releasing<T>(&self, act: impl FnOnce(&Releasing<'_>) -> T) -> Option<T> {
        let process = Releasing {
            world: self,
            noted: Cell::new(None),
            lacks: Lack::Some,
        };
        let done = cut_short(|| act(&process));
        if done.is_none() {
            while cut_short(|| release::finish(&process)).is_none() {}
        }
        assert_eq!(process.noted.get(), None, "a release was not finished");
        done
    }

    /// A job has ended.
    pub fn complete_end(&self, job: JobId, watchers: Watchers, release: Release) {
        self.releasing(|process| release::complete_end(process, job, watchers, release, || ()));
    }

    /// The leader gives up its hold of a job. Whether it had one.
    pub fn detach(&self, job: JobId) -> bool {
        let release = self.releasing(|process| release::detach(process, job));
        release != Some(Release::Stale)
    }

    /// A process frees the jobs whose freeing others have deferred, or is cut short in the middle: then it goes on with
    /// what it has begun, and, if it waits for what it frees, frees the others.
    pub fn release_deferred(&self, own: ProcRef, waits: bool) {
        let process = Releasing {
            world: self,
            noted: Cell::new(None),
            // If a launch that waits could not free a job either, it might wait for that job forever.
            lacks: if waits || once_in(2) {
                Lack::Nothing
            } else {
                Lack::WhatOthersLacked
            },
        };
        while cut_short(|| release::release_deferred(&process, own)).is_none() {
            while cut_short(|| release::resume(&process, own)).is_none() {}
            assert_eq!(process.noted.get(), None, "a release was not finished");
            if !waits {
                return;
            }
        }
    }

    /// Cancels a job, as any process may that has heard of it.
    pub fn cancel(&self, job: JobId) {
        self.ledger.asked(job);
        let demand = match below(3) {
            0 => Demand::Cancel,
            1 => Demand::Insist,
            _ => Demand::Terminate,
        };
        let watchers = Watchers::of(self.memory.slot(job));
        match self
            .memory
            .pool()
            .cancel(job, demand, |proc| self.kill(proc))
        {
            Canceling::Finished(release) => {
                self.ledger.ended(job, End::Canceled);
                self.complete_end(job, watchers, release);
            }
            Canceling::TooLate => {
                let phase = self.memory.phase(job);
                let missed = matches!(
                    phase,
                    Some(Phase::Queued | Phase::Starting | Phase::Running)
                );
                assert!(!missed, "a cancel was refused in {phase:?}");
            }
            Canceling::Asked => {}
        }
    }

    /// The jobs of a login role, queued, running or finished.
    fn jobs_of(&self, role: u32) -> Vec<(JobId, Phase)> {
        let usage = |index: u32| self.memory.pool().usage(index).role();
        let published = self.memory.jobs().iter().filter_map(|(index, slot)| {
            let now = slot.word.load();
            let generation = now.generation();
            let is_its = usage(slot.usage()) == role
                && !matches!(now.phase(), Phase::Free | Phase::Reserved);
            is_its.then_some((JobId { index, generation }, now.phase()))
        });
        published.collect()
    }

    /// An administrator purges a role's finished jobs.
    fn purge(&self, role: u32) {
        for (job, _) in self.jobs_of(role) {
            let _ = self.releasing(|process| release::purge(process, job));
        }
    }

    /// An administrator ends a role's jobs, and has new ones refused meanwhile.
    fn end_jobs(&self, role: u32) {
        let pool = self.memory.pool();
        let Some(refusal) = pool.begin_refusal(role) else {
            return;
        };
        for (job, phase) in self.jobs_of(role) {
            if phase.is_active() {
                self.cancel(job);
            }
        }
        pool.end_refusal(refusal);
    }

    /// Somebody wants to drop the database of all lanes.
    fn release_database(&self) {
        let wake = |proc| self.memory.latch(proc).set();
        let database = self.key(0).database;
        let pool = self.memory.pool();
        pool.locked(|pool| pool.release_database(database, wake));
    }

    /// Called under the pool lock: none of these jobs is queued.
    pub fn assert_none_queued(&self, jobs: &[JobId], overtaken_by: JobId) {
        for &job in jobs {
            let phase = self.memory.phase(job);
            assert_ne!(
                phase,
                Some(Phase::Queued),
                "{overtaken_by:?} overtook {job:?}"
            );
        }
    }

    fn next_thread(&self) -> Option<thread::JoinHandle<()>> {
        self.threads.lock().unwrap().pop()
    }
}

/// A thread that stands for processes: its name is in the trace.
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let thread = thread::Builder::new().name(name).spawn(body);
    thread.expect("a thread can be started")
}

/// Runs a server from its start to its end.
pub fn run(scale: Scale) {
    let world = World::new(scale);
    let mut sessions = Vec::new();
    for number in 0..scale.leaders {
        let world = world.clone();
        sessions.push(spawn(format!("leader {number}"), move || {
            leader::session(&world);
        }));
    }
    for number in 0..scale.cancelers {
        let world = world.clone();
        sessions.push(spawn(format!("canceler {number}"), move || {
            for _ in 0..world.scale.jobs_each {
                let number = below(64);
                if let Some(job) = world.ledger.heard_of(number) {
                    world.cancel(job);
                }
                thread::yield_now();
            }
        }));
    }
    for number in 0..scale.administrators {
        let world = world.clone();
        sessions.push(spawn(format!("administrator {number}"), move || {
            // Also when the sessions have finished jobs.
            for _ in 0..2 * world.scale.jobs_each {
                let role = world.key(below(world.scale.lanes) as u32).role;
                if once_in(4) {
                    world.end_jobs(role);
                } else if once_in(4) {
                    world.release_database();
                } else {
                    world.purge(role);
                }
                thread::yield_now();
            }
        }));
    }
    for session in sessions {
        session.join().unwrap();
    }
    // The jobs that were accepted run without any session. Idle workers are told to exit.
    world.closing.store(true, Ordering::SeqCst);
    world
        .memory
        .pool()
        .locked(|pool| pool.dismiss_idle(None, u32::MAX, |proc| world.memory.latch(proc).set()));
    while let Some(worker) = world.next_thread() {
        worker.join().unwrap();
    }
    world.release_deferred(world.fork(), true);
    world.ledger.close();
    assert_eq!(world.memory.jobs().used(), 0);
    assert_eq!(world.memory.pool().queued(), 0);
    let worker_counts = world.memory.pool().locked(|pool| pool.worker_counts());
    assert_eq!(worker_counts, WorkerCounts::default());
}
