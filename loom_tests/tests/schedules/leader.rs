//! A session that launches jobs.

use crate::world::{World, below, once_in};
use engine::job::{Phase, Release, Snapshot};
use engine::models::NEVER;
use engine::pool::ends::Ends;
use engine::pool::session_call::{self, Session};
use engine::pool::slot_claim::{self, Ask, Claimant, Notes};
use engine::pool::{Dispatched, Pool};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options, Slot};
use engine::wait::{Latch, Micros, condition, wait_for};
use loom_tests::latch::MockLatch;
use loom_tests::memory::Lock;
use shuttle::sync::Arc;
use shuttle::thread;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A job that this session holds.
#[derive(Clone, Copy)]
struct Held {
    job: JobId,
    /// It sleeps until it is canceled. Its leader cancels it before it waits or leaves.
    sleeps: bool,
    /// The pid by which alone its leader knows it; 0: the leader has a handle.
    pid: u32,
}

/// Jobs that a session may have in its lane or on a worker before bounded ones are throttled.
pub const LIMIT: u32 = 1;

/// In a slot's `queue_size`: the job sleeps until it is canceled.
pub const SLEEPS: u32 = 1;

/// From the first launch to the end of the session.
pub fn session(world: &Arc<World>) {
    let own = world.fork();
    // All jobs of a session are in one lane.
    let lane = below(world.scale.lanes) as u32;
    let caller = Caller::new(world, own);
    let claiming = Claiming::new(world, own);
    for _ in 0..world.scale.jobs_each {
        caller.enter();
        if once_in(16) {
            world.prewarm(own, lane);
        }
        let job = launch(world, &claiming, lane, &caller.held.borrow());
        if claiming.exits() {
            break;
        }
        if let Some(job) = job {
            caller.note_launched(job);
        }
        match below(4) {
            0 => {}
            1 => {
                if let Some(job) = caller.any() {
                    world.cancel(job.job);
                }
            }
            _ => {
                if let Some(job) = caller.any() {
                    caller.end(job);
                }
            }
        }
        let _ = session_call::leave(&caller);
    }
    if claiming.exits() {
        claiming.exit();
    } else if once_in(2) {
        caller.enter();
        while let Some(job) = caller.any() {
            caller.end(job);
        }
    }
    // The jobs that are left are detached as they are, perhaps outside the gate: the session exits.
    session_call::end(&caller, |job| world.cancel(job));
    // Once more, as for a session that ends in the middle of a call: nothing of this belongs to it any more.
    for job in caller.launched.take() {
        let release = world.memory.slot(job).word.detach(job.generation);
        assert_eq!(release, Release::Stale, "a stale handle detached a job");
    }
    world.exit(own);
}

/// A session, as it calls functions of the extension.
struct Caller<'a> {
    world: &'a Arc<World>,
    own: ProcRef,
    notes: Cell<session_call::Notes>,
    held: RefCell<Vec<Held>>,
    launched: RefCell<Vec<JobId>>,
    counts: Cell<Ends>,
}

impl<'a> Caller<'a> {
    fn new(world: &'a Arc<World>, own: ProcRef) -> Self {
        Self {
            world,
            own,
            notes: Cell::new(session_call::Notes::NONE),
            held: RefCell::default(),
            launched: RefCell::default(),
            counts: Cell::default(),
        }
    }

    /// After a while outside, a call begins.
    fn enter(&self) {
        for _ in 0..below(8) {
            thread::yield_now();
        }
        session_call::enter_first(self);
    }

    fn note_launched(&self, job: Held) {
        self.held.borrow_mut().push(job);
        self.launched.borrow_mut().push(job.job);
        let pool = self.world.memory.pool();
        let entry = pool.leader(self.own).expect("it has an entry");
        self.slot(job.job).set_account(entry);
    }

    fn any(&self) -> Option<Held> {
        let held = self.held.borrow();
        (!held.is_empty()).then(|| held[below(held.len())])
    }

    fn find(&self, job: JobId) -> Held {
        let held = self.held.borrow();
        let found = held.iter().find(|held| held.job == job);
        *found.expect("it is tracked")
    }

    /// Waits for the job and reads how it ended, or detaches it as it is.
    fn end(&self, Held { job, sleeps, .. }: Held) {
        let world = self.world;
        if sleeps {
            world.cancel(job);
        }
        if once_in(2) {
            // A job that sleeps may have the worker slot that this job needs.
            for other in self.held.borrow().iter().filter(|other| other.sleeps) {
                world.cancel(other.job);
            }
            if let Some(now) = await_end(world, self.own, job) {
                assert_eq!(now.generation(), job.generation, "the job was freed");
                assert!(
                    !sleeps || now.phase() != Phase::Completed,
                    "a cancel was lost"
                );
                world.ledger.used(job);
            }
        }
        session_call::give_up(self, job);
    }
}

impl Session for Caller<'_> {
    type Lock = Lock;

    fn proc(&self) -> ProcRef {
        self.own
    }

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn latch(&self) -> &impl Latch {
        self.world.memory.latch(self.own)
    }

    fn slot(&self, job: JobId) -> &Slot {
        self.world.memory.slot(job)
    }

    fn notes(&self) -> session_call::Notes {
        self.notes.get()
    }

    fn set_notes(&self, notes: session_call::Notes) {
        self.notes.set(notes);
    }

    fn next_tracked(&self, from: u32) -> Option<JobId> {
        let held = self.held.borrow();
        let following = held
            .iter()
            .map(|held| held.job)
            .filter(|job| job.index >= from);
        following.min_by_key(|job| job.index)
    }

    /// Nobody has the handle of a job that sleeps: the session cancels it before it leaves it.
    fn is_given(&self, job: JobId) -> bool {
        !self.find(job).sleeps
    }

    fn is_being_read(&self, _job: JobId) -> bool {
        false
    }

    fn count(&self, phase: Phase, run_time: Micros) {
        let mut counts = self.counts.take();
        counts.count(phase, run_time);
        self.counts.set(counts);
    }

    fn unmap(&self, _job: JobId) {}

    fn forget(&self, job: JobId) {
        self.held.borrow_mut().retain(|held| held.job != job);
    }

    fn give_up_hold(&self, job: JobId) {
        let is_detached = self.world.detach(job);
        let may_be_purged = !self.notes.get().is_within();
        assert!(is_detached || may_be_purged, "a hold was lost");
    }

    /// Each job that nobody holds any more was counted once, as it ended.
    fn start_workers(&self, lane: u32) {
        self.world.spawn_workers(self.own, lane);
    }

    fn end_statistics(&self) {
        let launched = self.launched.borrow();
        let over = self.world.ledger.over(&launched);
        let unseen = self.pool().locked(|pool| pool.ends_of(self.own));
        let counted = self.counts.get().and(unseen);
        let by_end = [counted.completed, counted.failed, counted.canceled];
        for (over, counted) in over.iter().zip(by_end) {
            assert!(
                *over <= counted,
                "a job was not counted: {over} of {counted}"
            );
        }
        assert!(
            counted.total() <= launched.len() as u64,
            "a job was counted twice"
        );
    }
}

/// The payload of the panic by which a session exits.
struct Death;

/// A session, as it claims slots. It may exit between any two steps.
struct Claiming<'a> {
    world: &'a World,
    own: ProcRef,
    clock: Clock<'a>,
    notes: Cell<Notes>,
    /// The job of its own that it has not filled in.
    taken: Cell<Option<JobId>>,
    /// It exits. A process does so without unwinding its stack. The panic unwinds it all the same, so what is
    /// called then does nothing.
    exits: Cell<bool>,
}

/// Its latch, on which the deadline comes now and then.
struct Clock<'a> {
    latch: &'a MockLatch,
    now: Cell<Micros>,
    /// As in the scale.
    times_out: u32,
}

impl Latch for Clock<'_> {
    fn now(&self) -> Micros {
        self.now.get()
    }

    fn spin_limit(&self) -> Micros {
        0
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn sleep(&self, until: Option<Micros>) {
        if self.times_out > 0 && once_in(self.times_out) {
            self.now.set(until.expect("it has a deadline"));
        } else {
            self.latch.wait_and_reset();
        }
    }
}

impl<'a> Claiming<'a> {
    fn new(world: &'a World, own: ProcRef) -> Self {
        Self {
            world,
            own,
            clock: Clock {
                latch: world.memory.latch(own),
                now: Cell::new(0),
                times_out: world.scale.times_out,
            },
            notes: Cell::new(Notes::NONE),
            taken: Cell::new(None),
            exits: Cell::new(false),
        }
    }

    fn may_exit(&self) {
        if !self.exits() && once_in(64) {
            self.exits.set(true);
            resume_unwind(Box::new(Death));
        }
    }

    fn exits(&self) -> bool {
        self.exits.get()
    }

    /// What the exit does about the claim.
    fn exit(&self) {
        let notes = self.notes.get();
        let exiting = Self::new(self.world, self.own);
        exiting.notes.set(notes);
        while let Err(death) = catch_unwind(AssertUnwindSafe(|| slot_claim::give_up(&exiting))) {
            if !death.is::<Death>() {
                resume_unwind(death);
            }
            // Cut short, it is called again.
            exiting.exits.set(false);
        }
        if let Some(job) = self.taken.take() {
            self.world.memory.pool().abandon(job);
        }
    }

    /// Claims a slot of the lane's role, and one of the table. An ordinary session leaves the reserved slots.
    /// `None`: there was none in time, or the session exits. One that must not wait is queued for a moment.
    fn claim(&self, lane: u32, may_wait: bool) -> Option<JobId> {
        let jobs = self.world.memory.jobs();
        let ask = Ask {
            role: self.world.key(lane).role,
            role_slots: self.world.scale.role_limit,
            table_slots: if once_in(4) {
                jobs.capacity() as u32
            } else {
                jobs.ordinary_limit()
            },
        };
        self.clock.now.set(0);
        let deadline = match may_wait {
            _ if once_in(3) => None,
            true => Some(NEVER),
            false => Some(0),
        };
        let take = |job| {
            self.taken.set(Some(job));
            self.may_exit();
        };
        let claimed = catch_unwind(AssertUnwindSafe(|| {
            slot_claim::claim(self, ask, deadline, take)
        }));
        match claimed {
            Ok(claimed) => {
                self.taken.set(None);
                claimed.ok()
            }
            Err(death) if death.is::<Death>() => None,
            Err(failure) => resume_unwind(failure),
        }
    }
}

impl Claimant for Claiming<'_> {
    type Lock = Lock;

    fn proc(&self) -> ProcRef {
        self.own
    }

    fn pool(&self) -> Pool<'_, Lock> {
        self.may_exit();
        self.world.memory.pool()
    }

    fn latch(&self) -> &impl Latch {
        &self.clock
    }

    fn notes(&self) -> Notes {
        if self.exits() {
            return Notes::NONE;
        }
        self.notes.get()
    }

    fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }

    fn after_join(&self) {
        self.may_exit();
    }

    fn release_deferred(&self) {
        self.may_exit();
        self.world.release_deferred(self.own, true);
    }
}

/// `held`: the session's jobs so far.
fn launch(world: &Arc<World>, claiming: &Claiming<'_>, lane: u32, held: &[Held]) -> Option<Held> {
    let (memory, own) = (&world.memory, claiming.own);
    world.release_deferred(own, false);
    let job = claiming.claim(lane, held.is_empty())?;
    if once_in(8) {
        // An error while the request is filled in.
        memory.pool().abandon(job);
        return None;
    }
    world.ledger.allocated(job);
    let slot = memory.slot(job);
    let by_pid = once_in(4);
    let options = Options {
        bounded: !by_pid && once_in(2),
        uncounted: once_in(4),
        fresh_only: once_in(8),
        by_pid,
        ..Options::default()
    };
    let excluded: Vec<u32> = if by_pid {
        held.iter()
            .map(|held| held.pid)
            .filter(|&pid| pid != 0)
            .collect()
    } else {
        Vec::new()
    };
    slot.prepare(own, options, &excluded);
    let sleeps = once_in(4);
    let mark = if sleeps { SLEEPS } else { 0 };
    slot.queue_size
        .store(mark, shuttle::sync::atomic::Ordering::Relaxed);
    world.ledger.accepted(job);
    let (dispatched, placed) = memory.pool().publish(job, || {
        memory.pool().locked(|pool| {
            let placed = world.dispatch(own, pool, job, lane);
            match placed.dispatched {
                Dispatched::Handed(_) => {
                    world.assert_none_queued(&world.ledger.waiting(lane), job);
                }
                Dispatched::Queued => {
                    // A bounded job may be throttled, and others overtake it. They may also do so while a fresh
                    // process is starting.
                    if !options.bounded && !options.fresh_only && excluded.is_empty() {
                        world.ledger.queued(lane, job);
                    }
                }
                Dispatched::NoLane => panic!("there are lanes enough"),
                Dispatched::Refused => {}
            }
            (placed.dispatched, placed)
        })
    });
    if dispatched == Dispatched::Refused {
        world.ledger.withdrawn(job);
        memory.pool().abandon(job);
        return None;
    }
    world.serve(own, placed);
    if !by_pid {
        return Some(Held {
            job,
            sleeps,
            pid: 0,
        });
    }
    // A job that sleeps may have the worker slot that this job needs.
    for other in held.iter().filter(|other| other.sleeps) {
        world.cancel(other.job);
    }
    await_worker(world, own, job);
    let pid = slot.pid.load(shuttle::sync::atomic::Ordering::Relaxed);
    assert!(!excluded.contains(&pid), "two jobs are known by one pid");
    Some(Held { job, sleeps, pid })
}

/// The periodic check of a session that waits for a job (`session/wait/`).
struct Net<'a> {
    world: &'a Arc<World>,
    own: ProcRef,
    job: JobId,
    passed_on: u32,
}

impl<'a> Net<'a> {
    /// From its first look on.
    fn new(world: &'a Arc<World>, own: ProcRef, job: JobId) -> Self {
        let passed_on = world.memory.pool().passed_on();
        world.spawn_workers(own, world.memory.slot(job).lane());
        Self {
            world,
            own,
            job,
            passed_on,
        }
    }

    /// A worker may have passed its lane on to the session that waits.
    fn look(&mut self) {
        let seen = self.world.memory.pool().passed_on();
        if std::mem::replace(&mut self.passed_on, seen) != seen {
            let lane = self.world.memory.slot(self.job).lane();
            self.world.spawn_workers(self.own, lane);
        }
    }
}

/// Waits until the job has a process, or has ended.
fn await_worker(world: &Arc<World>, own: ProcRef, job: JobId) {
    let word = &world.memory.slot(job).word;
    let mut net = Net::new(world, own, job);
    let is_bound = || {
        net.look();
        let phase = word.load().phase();
        (phase != Phase::Queued).then_some(())
    };
    let watch = || {
        let _ = word.watch(job.generation);
    };
    let latch = world.memory.latch(own);
    assert_eq!(
        wait_for(latch, None, &mut condition(watch, is_bound)),
        Some(())
    );
    word.unwatch(job.generation);
}

/// Waits until the job has finished. `None`: its time was up.
fn await_end(world: &Arc<World>, own: ProcRef, job: JobId) -> Option<Snapshot> {
    let word = &world.memory.slot(job).word;
    let mut net = Net::new(world, own, job);
    let is_armed = Cell::new(false);
    // Some are woken at each change, others at the end alone.
    let at_each_change = once_in(2);
    let arm = || {
        is_armed.set(true);
        let _ = if at_each_change {
            word.watch(job.generation)
        } else {
            word.await_end(job.generation)
        };
    };
    let look = || {
        net.look();
        let now = word.load();
        let times_out = world.scale.times_out;
        if now.phase().is_finished() {
            Some(Some(now))
        } else {
            (is_armed.get() && times_out > 0 && once_in(4 * times_out)).then_some(None)
        }
    };
    let found = wait_for(world.memory.latch(own), None, &mut condition(arm, look));
    word.unwatch(job.generation);
    found.expect("there is no deadline")
}
