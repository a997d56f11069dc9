//! Purpose the postmaster for worker processes.
//!
//! Each registration is for one process: the postmaster never starts it again (`BGW_NEVER_RESTART`), whatever becomes
//! of it and whoever is there to see. A place that is given to a fresh process is registered anew, by the process
//! that leaves it ([`respawn`]).
//!
//! **Who watches.** How the postmaster calls the process is in the place, in shared memory, until the process reports
//! in: so every session can ask what has become of it ([`settle`]), and one that waits for a job of the lane does.
//! The postmaster wakes who has registered the process when it starts or ends. A process that does not come up (the
//! server cannot fork, the library was removed or replaced) loses its place. If it did run, or the library is not
//! what it was, another would end likewise: the lane's jobs fail with an error that says so. Otherwise they stay
//! queued, and whoever waits for one of them tries again, at the intervals of the liveness net.
//!
//! A session that exits, and a process that gives its place on, wait until what they have registered has reported in:
//! nobody else may be there to look.
//!
//! **The server's table is full** as long as a process that leaves has its own entry in it. It gives the place back
//! then and exits, after it has told a leader that waits ([`Scheduler::pass_on`]), which tries again within
//! milliseconds. If there is neither a leader that waits nor another worker, it stays for a moment and tries itself.

#![allow(
    clippy::disallowed_methods,
    reason = "at most as many as there are places for workers"
)]

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::job_end::{fail_lane, not_started_message};
use crate::cluster::latch::ProcessLatch;
use crate::cluster::layout::WORKER_ENTRY;
use crate::pg::library::LIBRARY;
use crate::pg::local::Local;
use crate::pg::process::{own_proc, wake};
use crate::pg::{exit, process, shim};
use engine::pool::{
    Dispatched, LaneKey, Limits, PendingStart, Registration, START_LIMIT, Scheduler, SpawnDecision,
};
use engine::wait::{Condition, Latch, Micros, condition, wait_for};
use pgrx::pg_sys;
use std::ffi::{CStr, c_char, c_int};

/// What is registered with the postmaster: place and generation in one Datum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerSlotRef {
    /// Index of the place.
    pub worker: u32,
    /// Its generation.
    pub generation: u32,
}

impl WorkerSlotRef {
    fn to_datum(self) -> pg_sys::Datum {
        pg_sys::Datum::from((u64::from(self.worker) << 32) | u64::from(self.generation))
    }

    /// From the argument of the worker's entry function.
    pub fn from_datum(datum: pg_sys::Datum) -> Self {
        let bits = datum.value() as u64;
        Self {
            worker: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

/// What the server's opaque handle is, from 14 on: it can be kept where all processes find it.
#[repr(C)]
#[derive(Clone, Copy)]
struct RegistrationHandle {
    slot: c_int,
    generation: u64,
}

impl RegistrationHandle {
    fn of(registration: Registration) -> Self {
        Self {
            slot: registration.slot as c_int,
            generation: registration.generation,
        }
    }

    /// # Safety
    /// `handle` is one that the server has made.
    unsafe fn read(handle: *mut pg_sys::BackgroundWorkerHandle) -> Registration {
        // SAFETY: by the caller, and as `RegistrationHandle` says.
        let Self { slot, generation } = unsafe { *handle.cast::<Self>() };
        Registration {
            slot: slot.cast_unsigned(),
            generation,
        }
    }

    fn as_server(&mut self) -> *mut pg_sys::BackgroundWorkerHandle {
        (&raw mut *self).cast()
    }
}

/// Whether this process has registered one that may not have reported in.
static REGISTERED: Local<bool> = Local::new(false);

fn fill<const N: usize>(into: &mut [c_char; N], text: &CStr) {
    let bytes = text.to_bytes_with_nul();
    for (worker_slot, &byte) in into.iter_mut().zip(bytes) {
        *worker_slot = byte as c_char;
    }
}

/// Registers a process for `place`, which waits for one. `false`: the postmaster has no room.
fn register(cluster: &'static Cluster, worker_slot: WorkerSlotRef) -> bool {
    let WorkerSlotRef { worker, generation } = worker_slot;
    let own = own_proc();
    let begun = cluster
        .pool()
        .locked(|scheduler| scheduler.begin_registration(worker, generation, own));
    if !begun {
        return true;
    }
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut request: pg_sys::BackgroundWorker = unsafe { std::mem::zeroed() };
    fill(&mut request.bgw_name, c"pg_background");
    fill(&mut request.bgw_type, c"pg_background");
    fill(&mut request.bgw_library_name, LIBRARY);
    fill(&mut request.bgw_function_name, WORKER_ENTRY);
    request.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    request.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState;
    request.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    request.bgw_main_arg = worker_slot.to_datum();
    // SAFETY: a plain global of this process.
    request.bgw_notify_pid = unsafe { pg_sys::MyProcPid };
    // SAFETY: called outside the pool lock; the handle is the server's and nobody else's.
    let registration = unsafe {
        let mut handle = std::ptr::null_mut();
        let registered = pg_sys::RegisterDynamicBackgroundWorker(&raw mut request, &raw mut handle);
        fault!("worker-registered");
        registered.then(|| {
            let registration = RegistrationHandle::read(handle);
            pg_sys::pfree(handle.cast());
            registration
        })
    };
    let Some(registration) = registration else {
        return false;
    };
    REGISTERED.set(true);
    let now = process::now();
    cluster
        .pool()
        .locked(|scheduler| scheduler.note_registered(worker, generation, own, registration, now));
    true
}

/// Whether every short lane has workers on their way.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spawned {
    /// Yes.
    Enough,
    /// No: every place is taken by a worker that has work, or by others.
    Full,
}

/// Carries out what [`Scheduler::spawn_decision`] finds, until there is no more to do. `first` is what it found
/// already, if it was asked.
pub fn spawn_workers(
    cluster: &'static Cluster,
    lane: u32,
    first: Option<SpawnDecision>,
) -> Spawned {
    settle(cluster);
    let cap = cluster.worker_cap();
    let mut can_start = true;
    let mut next = first;
    loop {
        let decision = next.take().unwrap_or_else(|| {
            let now = process::now();
            cluster
                .pool()
                .locked(|scheduler| scheduler.spawn_decision(lane, cap, can_start, now))
        });
        match decision {
            SpawnDecision::Enough => return Spawned::Enough,
            SpawnDecision::Full => return Spawned::Full,
            SpawnDecision::Recycle(proc) => wake(proc),
            SpawnDecision::Start { worker, generation } => {
                let claim = WorkerSlotClaim {
                    cluster,
                    worker_slot: WorkerSlotRef { worker, generation },
                };
                fault!("worker-slot-claimed");
                if register(cluster, claim.worker_slot) {
                    std::mem::forget(claim);
                } else {
                    can_start = false;
                }
            }
        }
    }
}

/// Has the postmaster look once more whether a process is to be started: it may have missed that one ended
/// whose place is to be taken by another. For the liveness net only.
pub fn nudge() {
    // SAFETY: sends a signal to the postmaster.
    unsafe { shim::pgb_nudge_postmaster() };
}

/// A claimed place for which no process is registered yet; given back unless forgotten. Interrupts are
/// processed nowhere between the claim and the registration, so unwinding is the only other way out.
struct WorkerSlotClaim {
    cluster: &'static Cluster,
    worker_slot: WorkerSlotRef,
}

impl Drop for WorkerSlotClaim {
    fn drop(&mut self) {
        let WorkerSlotRef { worker, generation } = self.worker_slot;
        let _ = self
            .cluster
            .pool()
            .locked(|scheduler| scheduler.start_failed(worker, generation));
    }
}

/// Starts workers of the lane `key` until `wanted` are idle or on their way, as far as there are places.
/// Returns how many there are.
pub fn prewarm(cluster: &'static Cluster, key: LaneKey, wanted: u32, lane_workers: u32) -> u32 {
    settle(cluster);
    let cap = cluster.worker_cap();
    loop {
        let now = process::now();
        let (ready, worker_slot) = cluster
            .pool()
            .locked(|scheduler| scheduler.prewarm(key, wanted, lane_workers, cap, now));
        let Some((worker, generation)) = worker_slot else {
            return ready;
        };
        let claim = WorkerSlotClaim {
            cluster,
            worker_slot: WorkerSlotRef { worker, generation },
        };
        if !register(cluster, claim.worker_slot) {
            return ready;
        }
        std::mem::forget(claim);
    }
}

/// Places a reserved job in its lane and, if it has to wait there, finds the first thing to do about it.
/// `limits`: what its session allows.
pub fn dispatch(
    scheduler: &mut Scheduler<'_>,
    job: Job,
    key: LaneKey,
    hint: u32,
    limits: Limits,
    now: Micros,
) -> (Dispatched, u32, Option<SpawnDecision>) {
    let (dispatched, lane) = scheduler.dispatch(job.id, key, hint, limits);
    fault!("job-placed");
    let decision = (dispatched == Dispatched::Queued)
        .then(|| scheduler.spawn_decision(lane, job.cluster.worker_cap(), true, now));
    (dispatched, lane, decision)
}

/// Asks what has become of the process that a place awaits, if one is registered. One that will not report in loses
/// the place; the jobs of its lane fail if another would not come up either. Does not throw.
fn check_registration(cluster: &'static Cluster, worker: u32) {
    if !cluster.pool().worker(worker).is_start_pending() {
        return;
    }
    let found = cluster
        .pool()
        .locked(|scheduler| scheduler.pending_start(worker));
    let Some(found) = found else {
        return;
    };
    let mut handle = RegistrationHandle::of(found.registration);
    let mut pid = 0;
    // SAFETY: as the server has made it; the call throws nothing.
    let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle.as_server(), &raw mut pid) };
    let runs = status == pg_sys::BgwHandleStatus::BGWH_STARTED;
    let is_late = process::now().saturating_sub(found.since) > START_LIMIT;
    if !is_late && (runs || status == pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED) {
        if runs && !found.started {
            cluster
                .pool()
                .locked(|scheduler| scheduler.note_running(worker, found));
        }
        return;
    }
    lost(cluster, worker, found, is_late);
}

fn lost(cluster: &'static Cluster, worker: u32, found: PendingStart, is_late: bool) {
    // The place first: a process that comes up after all is then stale and leaves by itself.
    let lane = cluster
        .pool()
        .locked(|scheduler| scheduler.give_up_start(worker, found));
    let Some((lane, key)) = lane else {
        return;
    };
    if is_late {
        let mut handle = RegistrationHandle::of(found.registration);
        // SAFETY: as in `check_registration`.
        unsafe { pg_sys::TerminateBackgroundWorker(handle.as_server()) };
    }
    // SAFETY: asks for the state of a file.
    let in_place = unsafe { shim::pgb_library_is_in_place() };
    if found.started || is_late || !in_place {
        fail_lane(cluster, lane, key, 0, &not_started_message());
    }
}

/// Looks after all processes that were registered and have not reported in. Does not throw.
pub fn settle(cluster: &'static Cluster) {
    for worker in 0..cluster.worker_slots() as u32 {
        check_registration(cluster, worker);
    }
}

/// Likewise after those that this process has registered. `true`: some are still awaited.
pub fn check_own_registrations(cluster: &'static Cluster) -> bool {
    if !REGISTERED.get() {
        return false;
    }
    let own = own_proc();
    let mut awaited = false;
    for worker in 0..cluster.worker_slots() as u32 {
        let is_own = || {
            cluster.pool().worker(worker).is_start_pending()
                && cluster
                    .pool()
                    .locked(|scheduler| scheduler.awaits_start_by(worker, own))
        };
        if is_own() {
            check_registration(cluster, worker);
            awaited |= is_own();
        }
    }
    REGISTERED.set(awaited);
    awaited
}

/// How long a process that exits waits for those it registered. Generous: one that cannot load its library
/// is known after a few milliseconds; one that is merely slow is let be after that.
const EXIT_LIMIT: Micros = 2_000_000;

/// Before the process exits: nobody else may be there to look. The postmaster wakes this one when a process that it
/// has registered starts or ends, and that process when it reports in.
pub fn await_registrations(cluster: &'static Cluster) {
    if !check_own_registrations(cluster) {
        return;
    }
    let latch = ProcessLatch::without_spin(cluster);
    let deadline = Some(latch.now() + EXIT_LIMIT);
    let _ = wait_for(
        &latch,
        deadline,
        &mut condition(|| {}, || (!check_own_registrations(cluster)).then_some(())),
    );
}

/// How long a process stays to see to it that its place gets the next one.
const RESPAWN_LIMIT: Micros = 1_000_000;

/// The first interval at which it tries again; they double.
const RESPAWN_FIRST: Micros = 1_000;

/// How often it looks when it exits for another reason.
const RESPAWN_TRIES_AT_EXIT: u32 = 4;

/// Waits until the next process of a place has come, and tries again to start what is needed.
struct Successor {
    cluster: &'static Cluster,
    worker_slot: WorkerSlotRef,
    lane: u32,
    due: Micros,
    interval: Micros,
    looks: u32,
}

impl Condition for Successor {
    type Found = ();

    fn arm(&mut self) {}

    fn look(&mut self) -> Option<()> {
        if check_own_registrations(self.cluster) {
            return None;
        }
        let WorkerSlotRef { worker, generation } = self.worker_slot;
        let pool = self.cluster.pool();
        let has_come = || pool.worker(worker).word.load().generation() == generation;
        // A server that shuts down starts no process, and is not to wait for one that tries.
        self.looks += 1;
        let is_over = exit::in_progress() && self.looks > RESPAWN_TRIES_AT_EXIT;
        let looked_after = || pool.locked(|scheduler| scheduler.pass_on());
        (has_come() || is_over || looked_after()).then_some(())
    }

    fn next_check(&mut self) -> Option<Micros> {
        Some(self.due)
    }

    fn check(&mut self, now: Micros) {
        self.interval *= 2;
        self.due = now + self.interval;
        let _ = spawn_workers(self.cluster, self.lane, None);
    }
}

/// This process leaves `place`, which was given to another lane, or to a fresh process: registers that one, and stays
/// until it has reported in. Without room in the server's table it leaves the lane to who waits for it; only if there
/// is nobody it tries again, for a moment.
pub fn respawn(cluster: &'static Cluster, worker_slot: WorkerSlotRef) {
    let WorkerSlotRef { worker, generation } = worker_slot;
    let lane = cluster
        .pool()
        .locked(|scheduler| scheduler.lane_index(worker));
    if !register(cluster, worker_slot) {
        let _ = cluster
            .pool()
            .locked(|scheduler| scheduler.start_failed(worker, generation));
    }
    let latch = ProcessLatch::without_spin(cluster);
    let now = latch.now();
    let mut successor = Successor {
        cluster,
        worker_slot,
        lane,
        due: now + RESPAWN_FIRST,
        interval: RESPAWN_FIRST,
        looks: 0,
    };
    let _ = wait_for(&latch, Some(now + RESPAWN_LIMIT), &mut successor);
}
