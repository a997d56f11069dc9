//! A worker: the processes of one registration, one after the other, in the steps of `src/worker/`.

use crate::leader::SLEEPS;
use crate::world::{Failing, World, below, cut_short, may_be_cut_short, once_in};
use engine::job::{Delivery, End, JobWord, Release};
use engine::pool::failing_lane;
use engine::pool::worker_exit::{self, Ending, Leaver, Place};
use engine::pool::{LaneKey, NextStep, Pool, Returned};
use engine::process_ref::ProcRef;
use engine::steps::Ender as _;
use engine::steps::Watchers;
use engine::table::{JobId, Slot};
use engine::wait::{condition, wait_for};
use engine::worker::Activity;
use engine::{mutant, steps};
use loom_tests::memory::Lock;
use shuttle::sync::Arc;
use shuttle::sync::atomic::Ordering;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Lanes that a process leaves to sessions: to the next launch, or the periodic check of one that waits.
pub struct LeftBehind {
    pub proc: ProcRef,
    /// The lane in which its start failed although the lane works. The process does not repeat it, and the lane's
    /// connected workers may not run all of its jobs.
    pub failed_in: Option<u32>,
    /// The lane for which it has tried to register its successor.
    pub not_respawned_in: Option<u32>,
}

/// A process that was registered for a worker slot, from its fork to its end.
pub fn process(world: &Arc<World>, worker: u32, generation: u32) -> LeftBehind {
    let process = Process {
        world,
        worker,
        generation,
        proc: world.fork(),
        current: Cell::new(None),
        pending: Cell::new(false),
        open: Cell::new(false),
        must_refuse: Cell::new(false),
        failing: Failing::new(world),
        failed_in: Cell::new(None),
        not_respawned_in: Cell::new(None),
        kept: Cell::new(false),
    };
    process.live();
    world.exit(process.proc);
    LeftBehind {
        proc: process.proc,
        failed_in: process.failed_in.get(),
        not_respawned_in: process.not_respawned_in.get(),
    }
}

struct Process<'a> {
    world: &'a Arc<World>,
    worker: u32,
    generation: u32,
    proc: ProcRef,
    /// The job that it has to end. The signal handler looks at it.
    current: Cell<Option<JobId>>,
    /// PostgreSQL's `QueryCancelPending`.
    pending: Cell<bool>,
    /// Whether what it prints goes into the block of the job that it runs.
    open: Cell<bool>,
    /// Whether the noted job was canceled before it could begin.
    must_refuse: Cell<bool>,
    /// What it fails when its start was hopeless.
    failing: Failing<'a>,
    failed_in: Cell<Option<u32>>,
    not_respawned_in: Cell<Option<u32>>,
    /// It is idle and stays beyond its idle limit.
    kept: Cell<bool>,
}

/// The payload of the panic by which a process exits.
struct Death;

impl Process<'_> {
    /// Handles a signal that has arrived, now or a little later.
    fn step(&self) {
        if !once_in(2) {
            self.handle_signal();
        }
    }

    fn handle_signal(&self) {
        if !self.world.takes_signal(self.proc) {
            return;
        }
        let Some(job) = self.current.get() else {
            return;
        };
        let word = &self.world.memory.slot(job).word;
        let asked = word
            .load_if(job.generation)
            .is_some_and(|now| now.is_pending() || now.must_terminate());
        if asked || mutant::is("handler-ignores-the-word") {
            self.pending.set(true);
        }
    }

    fn live(&self) {
        let pool = self.world.memory.pool();
        let known = pool.locked(|pool| {
            let known = pool.report_in(self.worker, self.generation, self.proc);
            known.then(|| pool.take_registrar(self.worker))
        });
        let Some(registrar) = known else {
            return;
        };
        if once_in(16) {
            return self.die_as(once_in(2));
        }
        let mut next = self.look_for_next(false);
        self.world.memory.wake(registrar);
        if once_in(8) {
            return self.die_as(once_in(2));
        }
        pool.locked(|pool| pool.note_connected(self.worker, self.proc));
        loop {
            next = match next {
                NextStep::Run { job, leader } => {
                    self.kept.set(false);
                    self.world.memory.wake(leader);
                    if once_in(8) || !self.run(job) {
                        return self.die();
                    }
                    self.look_for_next(once_in(8))
                }
                NextStep::Idle if once_in(16) => return self.die(),
                NextStep::Idle => self.rest(),
                NextStep::Restart => return self.respawn(),
                NextStep::Retire => return,
            };
        }
    }

    fn look_for_next(&self, leaving: bool) -> NextStep {
        self.world.memory.pool().locked(|pool| {
            // The pool is made smaller now and then. The next launch may make it larger again.
            let cap = if once_in(8) { 1 } else { u32::MAX };
            let shrunk = pool.shrink(self.worker, cap);
            let next = shrunk.unwrap_or_else(|| pool.next(self.worker, leaving));
            if let NextStep::Run { job, .. } = next {
                let lane = pool.lane_index(self.worker);
                let before = self.world.ledger.taken(lane, job);
                self.world.assert_none_queued(&before, job);
            }
            next
        })
    }

    /// Sleeps until the worker word says otherwise. Now and then its idle limit comes, at which it leaves or is kept.
    fn rest(&self) -> NextStep {
        let world = self.world;
        let word = &world.memory.worker(self.worker).word;
        let closing = || world.closing.load(Ordering::SeqCst);
        let look_at = world.memory.worker(self.worker).look_at();
        let told = if let Some(turn_end) = look_at {
            // The end of its turn comes at any time.
            let steps = below(4);
            let told = (0..steps).any(|_| {
                self.handle_signal();
                word.load().activity() != Activity::Idle
            });
            world.memory.lock.advance_to(turn_end);
            told.then_some(())
        } else if once_in(4) && (!self.kept.get() || once_in(4)) {
            // Its idle time is over; or it was kept, and its configuration has changed.
            None
        } else {
            wait_for(
                world.memory.latch(self.proc),
                None,
                &mut condition(
                    || {},
                    || {
                        self.handle_signal();
                        let told = word.load().activity() != Activity::Idle;
                        (told || closing()).then_some(())
                    },
                ),
            )
        };
        let next = world.memory.pool().locked(|pool| {
            let awakened = |pool: &mut engine::pool::Scheduler<'_>| {
                pool.awakened(self.worker, self.generation)
            };
            if told.is_some() && !closing() {
                awakened(pool)
            } else if look_at.is_some() && !closing() {
                pool.end_turn(self.worker, self.generation)
                    .or_else(|| awakened(pool))
            } else {
                let keep = if closing() { 0 } else { below(3) as u32 };
                let limit = pool.idle_limit(self.worker, self.generation, keep);
                self.kept.set(limit == Some(NextStep::Idle));
                limit.or_else(|| awakened(pool))
            }
        });
        next.unwrap_or(NextStep::Idle)
    }

    /// Runs a job. `false`: the process dies with it.
    fn run(&self, job: JobId) -> bool {
        match catch_unwind(AssertUnwindSafe(|| steps::run(self, job))) {
            Ok(_) => true,
            Err(death) if death.is::<Death>() => false,
            Err(failure) => resume_unwind(failure),
        }
    }

    /// The process may exit here.
    fn may_die(&self) {
        if once_in(16) {
            resume_unwind(Box::new(Death));
        }
    }

    /// Returns whether it was interrupted.
    fn execute(&self, sleeps: bool) -> bool {
        if sleeps {
            let interrupted = wait_for(
                self.world.memory.latch(self.proc),
                None,
                &mut condition(
                    || {},
                    || {
                        self.handle_signal();
                        self.is_thrown().then_some(())
                    },
                ),
            );
            return interrupted.is_some();
        }
        for _ in 0..below(3) {
            self.step();
            // Now and then it catches the error of a cancel, and goes on.
            if self.is_thrown() && !once_in(2) {
                return true;
            }
        }
        false
    }

    /// Checks for interrupts. Returns whether the error of a cancel, or of an exit, is thrown.
    fn is_thrown(&self) -> bool {
        if !self.pending.replace(false) {
            return false;
        }
        self.step();
        let job = self.current.get().expect("it runs one");
        let before = self.world.memory.slot(job).word.load();
        let delivery = steps::deliver(self);
        assert!(
            delivery != Delivery::None
                || before.must_terminate()
                || mutant::is("handler-ignores-the-word"),
            "it was given a cancel that was not due"
        );
        true
    }

    /// The exit callback of a process that ends at any point (`src/worker/exit.rs`). It may be cut short, and is then
    /// called again.
    fn die(&self) {
        self.die_as(false);
    }

    /// `failed_start`: it has not connected.
    fn die_as(&self, failed_start: bool) {
        let place = Place {
            worker: self.worker,
            generation: self.generation,
            proc: self.proc,
        };
        let ending = Ending {
            failed_start,
            is_error: true,
        };
        if failed_start {
            let pool = self.world.memory.pool();
            let lane = pool.locked(|pool| pool.lane_index(self.worker));
            self.failed_in.set(Some(lane));
        }
        steps::exit(self);
        let leave = || {
            failing_lane::resume(&self.failing);
            worker_exit::leave(self, place, ending);
        };
        while cut_short(leave).is_none() {}
        assert_eq!(self.failing.noted(), None, "a job was not failed");
    }
}

impl Leaver for Process<'_> {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn slot(&self, job: JobId) -> &Slot {
        self.world.memory.slot(job)
    }

    fn after_announce(&self) {
        may_be_cut_short();
    }

    fn refuse(&self, job: JobId) {
        steps::finish(self, job, End::Canceled);
    }

    fn fail(&self, job: JobId, _hopeless: bool) {
        self.world.ledger.died(job);
        steps::finish(self, job, End::Failed);
    }

    fn unmap(&self, job: JobId) {
        self.world.ledger.used(job);
    }

    fn after_give_back(&self, job: JobId, returned: Returned) {
        let slot = self.world.memory.slot(job);
        let (lane, options) = (slot.lane(), slot.options());
        let ledger = &self.world.ledger;
        match returned {
            Returned::Requeued if !options.bounded && !options.fresh_only => {
                ledger.requeued(lane, job);
            }
            Returned::Requeued => {}
            Returned::Handed(_) => self.world.assert_none_queued(&ledger.waiting(lane), job),
            Returned::Canceled(_) => ledger.ended(job, End::Canceled),
        }
    }

    fn report_returned(&self, _job: JobId) {
        may_be_cut_short();
    }

    fn complete_cancel(&self, job: JobId, watchers: Watchers, release: Release) {
        self.world.complete_end(job, watchers, release);
        may_be_cut_short();
    }

    fn fail_lane(&self, lane: u32, key: LaneKey) {
        failing_lane::fail_lane(&self.failing, lane, key, self.proc.pid());
    }

    fn respawn(&self) {
        let lane = (self.world).respawn(self.proc, self.worker, self.generation);
        self.not_respawned_in.set(lane);
    }
}

impl steps::Ender for Process<'_> {
    fn word(&self, job: JobId) -> &JobWord {
        self.step();
        &self.world.memory.slot(job).word
    }

    fn noted(&self) -> Option<JobId> {
        self.current.get()
    }

    fn take(&self) {
        self.open.set(false);
        self.current.set(None);
        self.step();
    }

    fn before_end(&self, job: JobId, end: End) -> Watchers {
        self.world.ledger.used(job);
        self.world.ledger.ended(job, end);
        self.world.memory.pool().note_finishing(self.worker);
        Watchers::of(self.world.memory.slot(job))
    }

    fn after_end(&self, job: JobId, watchers: Watchers, release: Release) {
        self.world.complete_end(job, watchers, release);
        if self.open.get() {
            // The process can still print into the block.
            self.world.ledger.used(job);
        }
    }
}

impl steps::Process for Process<'_> {
    type Performed = bool;

    fn drop_cancel(&self) {
        self.step();
        self.pending.set(false);
        self.step();
    }

    fn note(&self, job: JobId) {
        self.world.ledger.used(job);
        self.current.set(Some(job));
        let word = &self.world.memory.slot(job).word;
        self.must_refuse.set(word.load().has_cancel());
        self.step();
        self.may_die();
    }

    fn after_begin(&self, job: JobId, _watched: bool) {
        self.world.ledger.begun(job);
        assert!(
            !self.must_refuse.get(),
            "{job:?} began although it was canceled"
        );
        self.step();
        self.may_die();
    }

    fn open(&self, job: JobId) {
        self.world.ledger.used(job);
        self.open.set(true);
    }

    fn raise_cancel(&self) {
        self.step();
        let now = self
            .current
            .get()
            .map(|job| self.world.memory.slot(job).word.load());
        if now.is_some_and(|now| now.is_pending() || now.must_terminate()) {
            self.pending.set(true);
        }
        self.step();
    }

    fn perform(&self, job: JobId) -> bool {
        let slot = self.world.memory.slot(job);
        let sleeps = slot.queue_size.load(Ordering::Relaxed) == SLEEPS;
        let canceled = self.execute(sleeps);
        self.may_die();
        canceled
    }

    fn close(&self, job: JobId) {
        self.world.ledger.used(job);
        self.open.set(false);
    }

    fn mute(&self) {
        self.open.set(false);
    }

    fn note_refusal(&self, job: JobId) {
        self.world.ledger.used(job);
    }

    fn note_outcome(&self, job: JobId, canceled: &bool) -> End {
        self.world.ledger.used(job);
        self.may_die();
        if *canceled {
            End::Canceled
        } else {
            End::Completed
        }
    }

    fn note_failure(&self, job: JobId) -> End {
        self.world.ledger.died(job);
        if self.world.memory.slot(job).word.load().has_cancel() {
            End::Canceled
        } else {
            End::Failed
        }
    }
}
