//! Starting workers, in their steps: for a lane that is short of them, and for a worker slot whose process leaves it.
//!
//! They are written once, for any [`Starter`]: the server's sessions and workers take them, and so do those of the
//! schedules. What is decided is in [`spawn`](super::spawn).
//!
//! # Words
//!
//! * A worker slot is **claimed** when it awaits a process, and nobody has registered one for it yet. The process that
//!   has claimed it, or leaves it, registers it; no other does.
//! * A process **spawns** for a lane when it does what the pool decides, until there is nothing left to do.
//! * A process **respawns** when it leaves its worker slot to a fresh process, of its lane or another, and looks after
//!   the start of that one.
//! * The **note** is what a process has in its own memory of the spawn that it is in the middle of ([`Note`]).
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | a session launches a job | under one lock: dispatch it, and if it has to wait in its lane, decide about a spawn; then wake the worker that got it, or spawn |
//! | a process spawns | note it; give up starts that have failed; decide and do what was decided, until the lane has workers enough or none can be had; drop the note |
//! | to start a process | the worker slot is claimed: note it; register the process with the server; tell how the server names it; drop the worker slot from the note |
//! | the server has no room for the process | give the worker slot back, drop it from the note; decide again, without starts |
//! | an idle worker makes room | wake it |
//! | a process respawns | note the worker slot; register as above; wait until the fresh process has reported in |
//! | it respawns, and the server has no room | give the worker slot back and pass the lane on, under one lock; if nobody is there to look after the lane, spawn for it from time to time, until somebody is |
//! | a process is cut short, by an error or by its exit | give back the worker slot that is noted, and pass on what it was spawning for, under one lock; drop the note ([`resume`]) |
//!
//! This order has the following effects:
//!
//! * **No worker slot is left claimed.** A process that was cut short would look as if it were still starting, until
//!   [`START_LIMIT`](super::START_LIMIT). So the worker slot is noted as soon as the process has it, until the server
//!   has a process for it.
//! * **No lane is forgotten.** The process that ends a session, or leaves its worker slot, may be the only one that knows
//!   of a lane in need. If it cannot start a worker, somebody is told who can: a session that waits for the lane, or an
//!   idle worker.
//! * **What is cut short is not repeated.** What has failed for lack of memory would fail again at each repetition of the
//!   exit.
//!
//! The server may have registered the process although it raises an error. That process reports in with a generation that
//! is stale, and leaves.

use super::dispatch::{Dispatched, Limits};
use super::entries::{LaneKey, Registration};
use super::scheduler::{Pool, PoolLock, Scheduler, Waker as _};
use super::spawn::SpawnDecision;
use crate::process_ref::ProcRef;
use crate::table::JobId;
use crate::wait::{Condition, Latch, Micros, wait_for};

/// Whether every lane that needs workers has them pending.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spawned {
    /// Yes.
    Enough,
    /// No: every worker slot has a worker with work, or the server has none left.
    Full,
}

/// What a process has in its own memory of the spawn that it is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// It spawns, and has no worker slot.
    Spawning,
    /// It has claimed this worker slot, or is leaving it, and has registered no process for it.
    Claimed {
        /// Index of the worker slot.
        worker: u32,
        /// Generation to register it with.
        generation: u32,
    },
}

/// The process that takes the steps.
pub trait Starter {
    /// The pool's lock.
    type Lock: PoolLock;

    /// The process.
    fn proc(&self) -> ProcRef;
    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// How many workers there may be in all.
    fn worker_cap(&self) -> u32;
    /// What it sleeps on while it waits for its successor. A sleep may unwind, or end the process.
    fn latch(&self) -> &impl Latch;
    /// Its note.
    fn noted(&self) -> Option<Note>;
    /// Replaces its note. Does not unwind.
    fn set_noted(&self, note: Option<Note>);
    /// Gives up the starts of processes that were registered and will not report in, whoever has registered them
    /// ([`give_up_start`](super::failing_lane::give_up_start)). Does not unwind, but may end the process.
    fn check_registrations(&self);
    /// The same for the processes that this process has registered. Returns whether some have not reported in yet.
    fn awaits_registered(&self) -> bool;
    /// It has dispatched a job, and holds the pool's lock. Does not unwind.
    fn after_dispatch(&self);
    /// It has claimed a worker slot, and noted it. May unwind.
    fn after_claim(&self);
    /// Registers a process with the server. `None`: the server has no room for it. May unwind, and may end the process.
    fn register(&self, worker: u32, generation: u32) -> Option<Registration>;
    /// Whether the process is exiting.
    fn is_exiting(&self) -> bool;
}

/// Where a job is after its dispatch, and what is to be done for it ([`serve`]).
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// What has become of the job.
    pub dispatched: Dispatched,
    /// Index of its lane.
    pub lane: u32,
    first: Option<SpawnDecision>,
}

impl Placed {
    /// An idle worker of the lane has it.
    pub fn handed(worker: ProcRef, lane: u32) -> Self {
        Self {
            dispatched: Dispatched::Handed(worker),
            lane,
            first: None,
        }
    }
}

/// Dispatches a job. If it has to wait in its lane, decides about a spawn under the same lock: so no job waits in a lane
/// for which nobody has decided. The arguments are those of [`Scheduler::dispatch`].
pub fn dispatch(
    starter: &impl Starter,
    scheduler: &mut Scheduler<'_>,
    job: JobId,
    key: LaneKey,
    hint: u32,
    limits: Limits,
) -> Placed {
    let (dispatched, lane) = scheduler.dispatch(job, key, hint, limits);
    starter.after_dispatch();
    let first = (dispatched == Dispatched::Queued)
        .then(|| scheduler.spawn_decision(lane, starter.worker_cap(), true));
    Placed {
        dispatched,
        lane,
        first,
    }
}

/// Wakes the worker that has the job, or spawns for the lane in which it waits. `None`: the job needs no worker to be
/// started. May unwind, as [`spawn_workers`].
pub fn serve(starter: &impl Starter, placed: Placed) -> Option<Spawned> {
    match placed.dispatched {
        Dispatched::Handed(worker) => {
            starter.pool().lock.wake(worker);
            None
        }
        Dispatched::Queued => Some(spawn_workers(starter, placed.lane, placed.first)),
        Dispatched::NoLane | Dispatched::Refused => None,
    }
}

/// Does what the pool decides ([`Scheduler::spawn_decision`](super::Scheduler::spawn_decision)) until there is nothing to
/// do. `first` is the first decision, if the caller has it already. May unwind; the caller then calls [`resume`]. So does
/// the exit, if the process ends.
pub fn spawn_workers(starter: &impl Starter, lane: u32, first: Option<SpawnDecision>) -> Spawned {
    starter.set_noted(Some(match first {
        Some(SpawnDecision::Start { worker, generation }) => Note::Claimed { worker, generation },
        _ => Note::Spawning,
    }));
    starter.check_registrations();
    let (pool, cap) = (starter.pool(), starter.worker_cap());
    let mut can_start = true;
    let mut next = first;
    let spawned = loop {
        let decision = next.take().unwrap_or_else(|| {
            pool.locked(|scheduler| scheduler.spawn_decision(lane, cap, can_start))
        });
        match decision {
            SpawnDecision::Enough => break Spawned::Enough,
            SpawnDecision::Full => break Spawned::Full,
            SpawnDecision::Recycle(proc) => pool.lock.wake(proc),
            SpawnDecision::Start { worker, generation } => {
                can_start = start(starter, worker, generation);
            }
        }
    };
    starter.set_noted(None);
    spawned
}

/// Starts workers of the lane `key` until `wanted` are idle or pending, as far as there are vacant worker slots and the
/// lane may have them. Returns how many are idle or pending. Otherwise as [`spawn_workers`].
pub fn prewarm(starter: &impl Starter, key: LaneKey, wanted: u32, lane_workers: u32) -> u32 {
    starter.set_noted(Some(Note::Spawning));
    starter.check_registrations();
    let (pool, cap) = (starter.pool(), starter.worker_cap());
    let ready = loop {
        let (ready, claimed) =
            pool.locked(|scheduler| scheduler.prewarm(key, wanted, lane_workers, cap));
        let is_started =
            claimed.is_some_and(|(worker, generation)| start(starter, worker, generation));
        if !is_started {
            break ready;
        }
    };
    starter.set_noted(None);
    ready
}

/// Registers a process for a claimed worker slot. `false`: the server has no room for it, and the worker slot was given
/// back.
fn start(starter: &impl Starter, worker: u32, generation: u32) -> bool {
    starter.set_noted(Some(Note::Claimed { worker, generation }));
    starter.after_claim();
    let is_registered = register(starter, worker, generation);
    if !is_registered {
        let pool = starter.pool();
        let _ = pool.locked(|scheduler| scheduler.start_failed(worker, generation));
    }
    starter.set_noted(Some(Note::Spawning));
    is_registered
}

/// Registers a process for a worker slot that this process has claimed, or leaves. Does nothing if the worker slot awaits
/// no process, or one that is registered already or by somebody else. `false`: the server has no room for it.
fn register(starter: &impl Starter, worker: u32, generation: u32) -> bool {
    let (pool, own) = (starter.pool(), starter.proc());
    if !pool.locked(|scheduler| scheduler.begin_registration(worker, generation, own)) {
        return true;
    }
    starter.set_noted(Some(Note::Claimed { worker, generation }));
    let Some(registration) = starter.register(worker, generation) else {
        return false;
    };
    pool.locked(|scheduler| scheduler.note_registered(worker, generation, own, registration));
    true
}

/// The process leaves its worker slot to a fresh process, of this lane or another: it registers that process, and waits
/// until the process has reported in. May unwind, as [`spawn_workers`]. If it is cut short, it is called again.
pub fn respawn(starter: &impl Starter, worker: u32, generation: u32) {
    let pool = starter.pool();
    let lane = pool.locked(|scheduler| scheduler.lane_index(worker));
    let is_registered = register(starter, worker, generation);
    let is_passed_on = !is_registered && give_back_and_pass_on(&pool, worker, generation);
    starter.set_noted(None);
    if is_passed_on {
        return;
    }
    let latch = starter.latch();
    let now = latch.now();
    let mut successor = Successor {
        starter,
        worker,
        generation,
        lane,
        next_try: now + RESPAWN_FIRST,
        interval: RESPAWN_FIRST,
        looks: 0,
    };
    let _ = wait_for(latch, Some(now + RESPAWN_LIMIT), &mut successor);
}

fn give_back_and_pass_on<L: PoolLock>(pool: &Pool<'_, L>, worker: u32, generation: u32) -> bool {
    pool.locked(|scheduler| {
        let _ = scheduler.start_failed(worker, generation);
        mutant!("refused-respawn-passed-on-to-nobody", scheduler.pass_on() => true)
    })
}

/// The process was cut short while it spawned, or an error unwinds its stack: gives back what it had claimed, and passes
/// the lane on. Does nothing if the process was not spawning. Does not unwind.
pub fn resume(starter: &impl Starter) {
    mutant!("claimed-worker-slot-forgotten-at-exit" => return starter.set_noted(None));
    let Some(note) = starter.noted() else {
        return;
    };
    let pool = starter.pool();
    let _ = match note {
        Note::Claimed { worker, generation } => give_back_and_pass_on(&pool, worker, generation),
        Note::Spawning => pool.locked(|scheduler| scheduler.pass_on()),
    };
    starter.set_noted(None);
}

/// How long a process that respawns waits for the fresh process.
const RESPAWN_LIMIT: Micros = 1_000_000;

/// The first interval between its tries. Each interval is twice the one before.
const RESPAWN_FIRST: Micros = 1_000;

/// How often it looks for somebody to look after the lane when it exits for another reason.
const RESPAWN_LOOKS_AT_EXIT: u32 = 4;

/// Waits until the fresh process has reported in, or somebody else looks after the lane; meanwhile spawns for the lane.
struct Successor<'a, S> {
    starter: &'a S,
    worker: u32,
    generation: u32,
    lane: u32,
    next_try: Micros,
    interval: Micros,
    looks: u32,
}

impl<S: Starter> Condition for Successor<'_, S> {
    type Found = ();

    fn arm(&mut self) {}

    fn look(&mut self) -> Option<()> {
        if self.starter.awaits_registered() {
            return None;
        }
        let pool = self.starter.pool();
        let has_reported_in =
            || pool.worker(self.worker).word.load().generation() == self.generation;
        // A server that shuts down starts no process, and must not wait for this one.
        self.looks += 1;
        let is_over = self.starter.is_exiting() && self.looks > RESPAWN_LOOKS_AT_EXIT;
        let is_passed_on = || pool.locked(|scheduler| scheduler.pass_on());
        (has_reported_in() || is_over || is_passed_on()).then_some(())
    }

    fn next_check(&mut self) -> Option<Micros> {
        Some(self.next_try)
    }

    fn check(&mut self, now: Micros) {
        self.interval *= 2;
        self.next_try = now + self.interval;
        let _ = spawn_workers(self.starter, self.lane, None);
    }
}
