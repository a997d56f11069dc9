//! Asking the postmaster for worker processes.
//!
//! Each registration is for one process: the postmaster never restarts it (`BGW_NEVER_RESTART`), however it ends. A
//! process that leaves its worker slot to a fresh process registers that process ([`respawn`]).
//!
//! **Who watches.** The worker slot in shared memory has the registration until the process reports in. So every
//! session can ask the postmaster for its state ([`check_registrations`]), and a session that waits for a job of the
//! lane does. The postmaster wakes the process that made the registration when the worker starts or ends. A worker that
//! does not start (the server cannot fork, the library was removed or replaced) loses its worker slot. If it did run,
//! or the library has changed, another worker would end in the same way: the lane's jobs fail with an error that says
//! so. Otherwise they stay queued, and a session that waits for one of them tries again at each of its periodic checks.
//!
//! A session that exits, and a process that respawns, wait until the processes that they have registered have reported
//! in: no other process may be there to check them.
//!
//! **The server's table can be full**, because a process that exits still has its entry in it. Then the process frees
//! its worker slot and exits, after it has woken a waiting leader ([`Scheduler::pass_on`]), which tries again within
//! milliseconds. If there is neither a waiting leader nor another worker, the process stays for a moment and tries
//! again itself.

#![allow(
    clippy::disallowed_methods,
    reason = "at most as many as there are worker slots"
)]

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::job_end;
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

/// A worker slot for one process: index and generation. The worker's argument has both in one Datum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerSlotRef {
    /// Index of the worker slot.
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

/// The worker slot of this process; `None`: it is no worker.
static OWN_WORKER: Local<Option<u32>> = Local::new(None);

/// This process has this worker slot from now on, or has none any more.
pub fn set_own_worker(worker: Option<u32>) {
    OWN_WORKER.set(worker);
}

/// The session begins to sleep until a job changes, or has ended to. If it is that of a job, the job's lane counts this
/// worker as one that waits. Does not throw.
pub fn note_waiting(cluster: &'static Cluster, waits: bool) {
    if let Some(worker) = OWN_WORKER.get() {
        let own = own_proc();
        cluster
            .pool()
            .locked(|scheduler| scheduler.note_waiting(worker, own, waits));
    }
}

/// This worker's job is about to end. Does not throw.
pub fn note_finishing(cluster: &'static Cluster) {
    if let Some(worker) = OWN_WORKER.get() {
        cluster.pool().note_finishing(worker);
    }
}

/// The contents of the server's opaque handle, on 14 and later. So the handle can be kept in shared memory.
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

/// Whether this process has registered a worker that may not have reported in.
static REGISTERED: Local<bool> = Local::new(false);

fn fill<const N: usize>(into: &mut [c_char; N], text: &CStr) {
    let bytes = text.to_bytes_with_nul();
    for (target, &byte) in into.iter_mut().zip(bytes) {
        *target = byte as c_char;
    }
}

/// Registers a process for `worker_slot`, which waits for one. `false`: the postmaster's table is full.
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
    // SAFETY: called outside the pool lock; the handle is one that the server has just made.
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
    cluster
        .pool()
        .locked(|scheduler| scheduler.note_registered(worker, generation, own, registration));
    true
}

/// Whether every lane that needs workers has them pending.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spawned {
    /// Yes.
    Enough,
    /// No: every worker slot has a worker with work, or the server has none left.
    Full,
}

/// Carries out the decisions of [`Scheduler::spawn_decision`] until there is nothing to do. `first` is the first
/// decision, if the caller has it already.
pub fn spawn_workers(
    cluster: &'static Cluster,
    lane: u32,
    first: Option<SpawnDecision>,
) -> Spawned {
    check_registrations(cluster);
    let cap = cluster.worker_cap();
    let mut can_start = true;
    let mut next = first;
    loop {
        let decision = next.take().unwrap_or_else(|| {
            cluster
                .pool()
                .locked(|scheduler| scheduler.spawn_decision(lane, cap, can_start))
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

/// Has the postmaster check again whether it has to start a process: it may have missed the end of a process whose
/// entry another needs. For periodic checks only.
pub fn nudge_postmaster() {
    // SAFETY: sends a signal to the postmaster.
    unsafe { shim::pgb_nudge_postmaster() };
}

/// A claimed worker slot for which no process is registered yet; freed when dropped. No interrupt is processed between
/// the claim and the registration, so unwinding is the only other way out.
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

/// Starts workers of the lane `key` until `wanted` are idle or pending, as far as there are vacant worker slots.
/// Returns how many are idle or pending.
pub fn prewarm(cluster: &'static Cluster, key: LaneKey, wanted: u32, lane_workers: u32) -> u32 {
    check_registrations(cluster);
    let cap = cluster.worker_cap();
    loop {
        let (ready, worker_slot) = cluster
            .pool()
            .locked(|scheduler| scheduler.prewarm(key, wanted, lane_workers, cap));
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

/// Dispatches a reserved job. If the job has to wait in its lane, makes the first decision about a spawn. `limits`:
/// what its session allows.
pub fn dispatch(
    scheduler: &mut Scheduler<'_>,
    job: Job,
    key: LaneKey,
    hint: u32,
    limits: Limits,
) -> (Dispatched, u32, Option<SpawnDecision>) {
    let (dispatched, lane) = scheduler.dispatch(job.id, key, hint, limits);
    fault!("job-dispatched");
    let decision = (dispatched == Dispatched::Queued)
        .then(|| scheduler.spawn_decision(lane, job.cluster.worker_cap(), true));
    (dispatched, lane, decision)
}

/// Asks the postmaster about the process for which a worker slot waits, if one is registered. A process that will not
/// report in loses the worker slot. The jobs of its lane fail if another process would not start either. Does not
/// throw.
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
    // SAFETY: a handle with the contents that the server has made; the call does not throw.
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
    give_up_start(cluster, worker, found, is_late);
}

fn give_up_start(cluster: &'static Cluster, worker: u32, found: PendingStart, is_late: bool) {
    let terminate = || {
        if is_late {
            let mut handle = RegistrationHandle::of(found.registration);
            // SAFETY: as in `check_registration`.
            unsafe { pg_sys::TerminateBackgroundWorker(handle.as_server()) };
        }
    };
    // SAFETY: reads the state of a file.
    let is_hopeless = || found.started || is_late || !unsafe { shim::pgb_library_is_in_place() };
    job_end::give_up_start(cluster, worker, found, terminate, is_hopeless);
}

/// Checks all processes that were registered and have not reported in. Does not throw.
pub fn check_registrations(cluster: &'static Cluster) {
    for worker in 0..cluster.worker_slots() as u32 {
        check_registration(cluster, worker);
    }
}

/// As [`check_registrations`], only for the processes that this process has registered. `true`: some have not reported
/// in yet.
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

/// How long a process that exits waits for the processes that it has registered. One that cannot load its library ends
/// within milliseconds; one that is only slow reports in later.
const EXIT_LIMIT: Micros = 2_000_000;

/// Before the process exits: waits for the processes that it has registered, because no other process may be there to
/// check them. The postmaster wakes this process when one of them starts or ends, and a worker that reports in wakes
/// it.
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

/// How long a process that respawns waits for the fresh process.
const RESPAWN_LIMIT: Micros = 1_000_000;

/// The first interval between its tries. Each interval is twice the one before.
const RESPAWN_FIRST: Micros = 1_000;

/// How often it checks when it exits for another reason.
const RESPAWN_TRIES_AT_EXIT: u32 = 4;

/// Waits until the fresh process has reported in, and tries again to spawn what the lane needs.
struct Successor {
    cluster: &'static Cluster,
    worker_slot: WorkerSlotRef,
    lane: u32,
    next_try: Micros,
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
        let has_reported_in = || pool.worker(worker).word.load().generation() == generation;
        // A server that shuts down starts no process, and must not wait for this one.
        self.looks += 1;
        let is_over = exit::in_progress() && self.looks > RESPAWN_TRIES_AT_EXIT;
        let is_handed_on = || pool.locked(|scheduler| scheduler.pass_on());
        (has_reported_in() || is_over || is_handed_on()).then_some(())
    }

    fn next_check(&mut self) -> Option<Micros> {
        Some(self.next_try)
    }

    fn check(&mut self, now: Micros) {
        self.interval *= 2;
        self.next_try = now + self.interval;
        let _ = spawn_workers(self.cluster, self.lane, None);
    }
}

/// This process leaves `worker_slot` to a fresh process, of this lane or another: it registers that process, and stays
/// until the process has reported in. If the server's table is full, it leaves the spawn to a session that waits for
/// the lane. Only if there is none it tries again, for a moment.
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
        next_try: now + RESPAWN_FIRST,
        interval: RESPAWN_FIRST,
        looks: 0,
    };
    let _ = wait_for(&latch, Some(now + RESPAWN_LIMIT), &mut successor);
}
