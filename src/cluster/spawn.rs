//! Asking the postmaster for worker processes.
//!
//! The engine has the steps (`src/engine/pool/worker_start.rs`). This module is the process's side: how a process is
//! registered with the postmaster, how one finds out what has become of it, and where the note is of a spawn that may be
//! cut short.
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

use crate::cluster::attach::{Cluster, PoolLwLock};
use crate::cluster::job::Job;
use crate::cluster::job_end;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::layout::WORKER_ENTRY;
use crate::pg::library;
use crate::pg::local::Local;
use crate::pg::process::own_proc;
use crate::pg::server;
use crate::pg::{exit, process, shim};
use engine::pool::worker_start::{self, Note, Placed, Spawned, Starter};
use engine::pool::{LaneKey, Limits, PendingStart, Pool, Registration, START_LIMIT, Scheduler};
use engine::process_ref::ProcRef;
use engine::wait::{Latch, Micros, condition, wait_for};
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

/// Registers a process for `worker_slot` with the postmaster. `None`: its table is full.
fn register(worker_slot: WorkerSlotRef) -> Option<Registration> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut request: pg_sys::BackgroundWorker = unsafe { std::mem::zeroed() };
    fill(&mut request.bgw_name, library::NAME);
    fill(&mut request.bgw_type, library::NAME);
    let limit = request.bgw_library_name.len();
    fill(&mut request.bgw_library_name, library::of_workers(limit));
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
        let registered = server::RegisterDynamicBackgroundWorker(&raw mut request, &raw mut handle);
        fault!("worker-registered");
        registered.then(|| {
            let registration = RegistrationHandle::read(handle);
            server::pfree(handle.cast());
            registration
        })
    };
    if registration.is_some() {
        REGISTERED.set(true);
    }
    registration
}

/// The spawn that this process is in the middle of.
static SPAWNING: Local<Option<Note>> = Local::new(None);

/// This process, as the engine's steps see it. When it is dropped, it gives back what a spawn had claimed that was cut
/// short: by an error that unwinds the stack, or earlier.
struct Starting {
    cluster: &'static Cluster,
    latch: ProcessLatch<'static>,
}

impl Starting {
    fn new(cluster: &'static Cluster) -> Self {
        Self {
            cluster,
            latch: ProcessLatch::without_spin(cluster),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        worker_start::resume(self);
    }
}

impl Starter for Starting {
    type Lock = PoolLwLock;

    fn proc(&self) -> ProcRef {
        own_proc()
    }

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.cluster.pool()
    }

    fn worker_cap(&self) -> u32 {
        self.cluster.worker_cap()
    }

    fn latch(&self) -> &impl Latch {
        &self.latch
    }

    fn noted(&self) -> Option<Note> {
        SPAWNING.get()
    }

    fn set_noted(&self, note: Option<Note>) {
        SPAWNING.set(note);
    }

    fn check_registrations(&self) {
        check_registrations(self.cluster);
    }

    fn awaits_registered(&self) -> bool {
        check_own_registrations(self.cluster)
    }

    fn after_dispatch(&self) {
        fault!("job-dispatched");
    }

    fn after_claim(&self) {
        fault!("worker-slot-claimed");
    }

    fn register(&self, worker: u32, generation: u32) -> Option<Registration> {
        register(WorkerSlotRef { worker, generation })
    }

    fn is_exiting(&self) -> bool {
        exit::in_progress()
    }
}

/// Does what the pool decides about workers, until there is nothing to do.
pub fn spawn_workers(cluster: &'static Cluster, lane: u32) -> Spawned {
    worker_start::spawn_workers(&Starting::new(cluster), lane, None)
}

/// At the exit of a process, which does not unwind: gives back what a spawn that the exit has cut short had claimed, and
/// passes its lane on. Does not throw.
pub fn finish_spawn(cluster: &'static Cluster) {
    drop(Starting::new(cluster));
}

/// Has the postmaster check again whether it has to start a process: it may have missed the end of a process whose
/// entry another needs. For periodic checks only.
pub fn nudge_postmaster() {
    // SAFETY: sends a signal to the postmaster.
    unsafe { shim::pgb_nudge_postmaster() };
}

/// Starts workers of the lane `key` until `wanted` are idle or pending, as far as there are vacant worker slots.
/// Returns how many are idle or pending.
pub fn prewarm(cluster: &'static Cluster, key: LaneKey, wanted: u32, lane_workers: u32) -> u32 {
    worker_start::prewarm(&Starting::new(cluster), key, wanted, lane_workers)
}

/// Dispatches a reserved job ([`worker_start::dispatch`]). `limits`: what its session allows.
pub fn dispatch(
    scheduler: &mut Scheduler<'_>,
    job: Job,
    key: LaneKey,
    hint: u32,
    limits: Limits,
) -> Placed {
    let starting = Starting::new(job.cluster);
    worker_start::dispatch(&starting, scheduler, job.id, key, hint, limits)
}

/// Wakes the worker that has the job, or spawns for its lane ([`worker_start::serve`]).
pub fn serve(cluster: &'static Cluster, placed: Placed) -> Option<Spawned> {
    worker_start::serve(&Starting::new(cluster), placed)
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
    let status = unsafe { server::GetBackgroundWorkerPid(handle.as_server(), &raw mut pid) };
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
            unsafe { server::TerminateBackgroundWorker(handle.as_server()) };
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

/// This process leaves `worker_slot` to a fresh process, of this lane or another: it registers that process, and stays
/// until the process has reported in. If the server's table is full, it leaves the spawn to a session that waits for
/// the lane. Only if there is none it tries again, for a moment.
pub fn respawn(cluster: &'static Cluster, worker_slot: WorkerSlotRef) {
    let WorkerSlotRef { worker, generation } = worker_slot;
    worker_start::respawn(&Starting::new(cluster), worker, generation);
}
