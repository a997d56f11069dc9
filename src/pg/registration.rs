//! Asking the postmaster for worker processes.
//!
//! A place in the pool is registered once; the registration names the place and its generation. The
//! postmaster restarts it when the process exits with code 1 (restart time 0), which is how a place is
//! given to a fresh process without anyone having to ask; exit code 0 ends the registration.
//!
//! A process whose library cannot be loaded (it was removed, or replaced by one of another layout) exits with
//! code 1 before any code of ours runs, and would be restarted for ever. So the session that registered it
//! keeps the handle until the first process of the registration has reported in. The postmaster rings that
//! session when a process starts or ends; if one ends, or another follows it, and none has reported in, the
//! registration is ended and its lane's jobs fail with an error that says so ([`settle`]). A session that
//! exits sees to it before it goes ([`settle_at_exit`]).

#![allow(
    clippy::disallowed_methods,
    reason = "at most as many as there are places for workers"
)]

use crate::engine::job::End;
use crate::engine::message;
use crate::engine::pool::{LaneKey, Limits, Placement, START_LIMIT, Scheduler, Staffing};
use crate::engine::table::JobId;
use crate::engine::wait::{Latch, Micros, NoVigil, wait_for};
use crate::pg::block::{self, Block};
use crate::pg::cluster::{Cluster, WORKER_ENTRY};
use crate::pg::error::Error;
use crate::pg::latch::{ProcessLatch, own_party, ring, shared_now};
use crate::pg::local::Local;
use crate::pg::shim;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE;
use smallvec::SmallVec;
use std::ffi::{CStr, c_char};

/// The library whose entry function the workers run.
pub const LIBRARY: &CStr = c"$libdir/pg_background";

/// What is registered with the postmaster: place and generation in one Datum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index of the place.
    pub worker: u32,
    /// Its generation.
    pub generation: u32,
}

impl Place {
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

/// A registration whose process has not been seen yet.
struct Pending {
    place: Place,
    handle: *mut pg_sys::BackgroundWorkerHandle,
    since: Micros,
    /// The first process that was seen to run for it; 0: none yet.
    pid: pg_sys::pid_t,
}

static PENDING: Local<Vec<Pending>> = Local::new(Vec::new());

fn fill<const N: usize>(into: &mut [c_char; N], text: &CStr) {
    let bytes = text.to_bytes_with_nul();
    for (place, &byte) in into.iter_mut().zip(bytes) {
        *place = byte as c_char;
    }
}

/// Registers a process for `place`. `false`: the postmaster has no room.
fn register(place: Place) -> bool {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut worker: pg_sys::BackgroundWorker = unsafe { std::mem::zeroed() };
    fill(&mut worker.bgw_name, c"pg_background");
    fill(&mut worker.bgw_type, c"pg_background");
    fill(&mut worker.bgw_library_name, LIBRARY);
    fill(&mut worker.bgw_function_name, WORKER_ENTRY);
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState;
    worker.bgw_restart_time = 0;
    worker.bgw_main_arg = place.to_datum();
    // SAFETY: a plain global of this process.
    worker.bgw_notify_pid = unsafe { pg_sys::MyProcPid };
    // SAFETY: called outside the pool lock; the handle is allocated where it outlives the transaction.
    let handle = unsafe {
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let mut handle = std::ptr::null_mut();
        let registered = pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle);
        fault!("place-registered");
        pg_sys::CurrentMemoryContext = context;
        registered.then_some(handle)
    };
    let Some(handle) = handle else {
        return false;
    };
    let since = shared_now();
    PENDING.with(|pending| {
        pending.push(Pending {
            place,
            handle,
            since,
            pid: 0,
        });
    });
    true
}

/// Whether every short lane has workers on their way.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staffed {
    /// Yes.
    Enough,
    /// No: every place is taken by a worker that has work, or by others.
    Full,
}

/// Carries out what [`Scheduler::staff`] finds, until there is no more to do. `first` is what it found
/// already, if it was asked.
pub fn staff(cluster: &'static Cluster, lane: u32, first: Option<Staffing>) -> Staffed {
    let _ = settle(cluster);
    let cap = cluster.worker_cap();
    let mut can_start = true;
    let mut next = first;
    loop {
        let staffing = next.take().unwrap_or_else(|| {
            let now = shared_now();
            cluster
                .pool()
                .locked(|scheduler| scheduler.staff(lane, cap, can_start, now))
        });
        match staffing {
            Staffing::Enough => return Staffed::Enough,
            Staffing::Full => return Staffed::Full,
            Staffing::Recycle(party) => ring(party),
            Staffing::Start { worker, generation } => {
                let claim = Claim {
                    cluster,
                    place: Place { worker, generation },
                };
                fault!("place-claimed");
                if register(claim.place) {
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
struct Claim {
    cluster: &'static Cluster,
    place: Place,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Place { worker, generation } = self.place;
        let _ = self
            .cluster
            .pool()
            .locked(|scheduler| scheduler.start_failed(worker, generation));
    }
}

/// Starts workers of the lane `key` until `wanted` are idle or on their way, as far as there are places.
/// Returns how many there are.
pub fn prewarm(cluster: &'static Cluster, key: LaneKey, wanted: u32, lane_workers: u32) -> u32 {
    let _ = settle(cluster);
    let cap = cluster.worker_cap();
    loop {
        let now = shared_now();
        let (ready, place) = cluster
            .pool()
            .locked(|scheduler| scheduler.prewarm(key, wanted, lane_workers, cap, now));
        let Some((worker, generation)) = place else {
            return ready;
        };
        let claim = Claim {
            cluster,
            place: Place { worker, generation },
        };
        if !register(claim.place) {
            return ready;
        }
        std::mem::forget(claim);
    }
}

/// Places a reserved job in its lane and, if it has to wait there, finds the first thing to do about it.
/// `limits`: what its session allows.
pub fn place(
    scheduler: &mut Scheduler<'_>,
    cluster: &'static Cluster,
    job: JobId,
    key: LaneKey,
    hint: u32,
    limits: Limits,
    now: Micros,
) -> (Placement, u32, Option<Staffing>) {
    let (placement, lane) = scheduler.place(job, key, hint, limits);
    fault!("job-placed");
    let staffing = (placement == Placement::Queued)
        .then(|| scheduler.staff(lane, cluster.worker_cap(), true, now));
    (placement, lane, staffing)
}

/// What is known of a registration whose process was not seen when last looked at.
enum Fate {
    Waiting,
    /// A process has reported in, or the place is another registration's by now.
    Seen,
    /// It will not report in.
    Lost,
}

impl Pending {
    fn fate(&mut self, cluster: &'static Cluster, now: Micros) -> Fate {
        let Place { worker, generation } = self.place;
        if !cluster.pool().worker(worker).awaits_first(generation) {
            return Fate::Seen;
        }
        let mut pid = 0;
        // SAFETY: a handle that this process got from its registration.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.handle, &raw mut pid) };
        let late = now.saturating_sub(self.since) > START_LIMIT;
        match status {
            pg_sys::BgwHandleStatus::BGWH_STARTED if self.pid == 0 || self.pid == pid => {
                self.pid = pid;
                if late { Fate::Lost } else { Fate::Waiting }
            }
            pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED if !late => Fate::Waiting,
            _ => Fate::Lost,
        }
    }

    /// Ends the registration, and fails the jobs of its lane unless others work there.
    fn end(self, cluster: &'static Cluster) {
        let Place { worker, generation } = self.place;
        // The place first: a process that comes up after all is then stale and leaves by itself.
        let lane = cluster
            .pool()
            .locked(|scheduler| scheduler.start_failed(worker, generation));
        if lane.is_some() {
            // SAFETY: as in `fate`.
            unsafe { pg_sys::TerminateBackgroundWorker(self.handle) };
        }
        self.forget();
        if let Some(lane) = lane {
            let works = cluster
                .pool()
                .locked(|scheduler| scheduler.lane_works(lane));
            if !works {
                let error = not_started();
                let body = message::compose("08006", &error.message, error.detail.as_deref());
                fail_lane(cluster, lane, 0, &body);
            }
        }
    }

    fn forget(self) {
        // SAFETY: as in `fate`; nobody has it any more.
        unsafe { pg_sys::pfree(self.handle.cast()) };
    }
}

/// A worker's process ended before it reported in.
pub fn not_started() -> Error {
    Error::new(
        ERRCODE_CONNECTION_FAILURE,
        "background worker process could not be started",
    )
    .detail("It ended before it could take a job; the server log says why.")
    .hint("If the library of the extension was replaced, reconnect.")
}

/// A job that this process has taken to fail it, and has not yet.
static FAILING: Local<Option<JobId>> = Local::new(None);

/// Fails every queued job of a lane for which no process can be started. `pid`: the process that could not,
/// 0 for none. Does not throw.
pub fn fail_lane(cluster: &'static Cluster, lane: u32, pid: u32, error: &[u8]) {
    let next = || {
        FAILING.get().or_else(|| {
            cluster
                .pool()
                .locked(|scheduler| scheduler.take_to_fail(lane, pid))
        })
    };
    while let Some(job) = next() {
        FAILING.set(Some(job));
        fault!("job-taken-to-fail");
        if let Some(block) = Block::reach(cluster, job) {
            block.note_error(error);
        }
        let watchers = block::ending(cluster, job, End::Failed);
        FAILING.set(None);
        let release = cluster.slot(job).word.finish(job.generation, End::Failed);
        block::ended(cluster, job, watchers, release);
    }
}

/// Looks after registrations whose process has not been seen: forgets those that have reported in or were
/// replaced, ends those that never will. `true`: some are still awaited. Does not throw.
pub fn settle(cluster: &'static Cluster) -> bool {
    if PENDING.with(|pending| pending.is_empty()) {
        return false;
    }
    let now = shared_now();
    let mut waiting = Vec::new();
    for mut pending in PENDING.with(std::mem::take) {
        match pending.fate(cluster, now) {
            Fate::Waiting => waiting.push(pending),
            Fate::Seen => pending.forget(),
            Fate::Lost => pending.end(cluster),
        }
    }
    let some = !waiting.is_empty();
    PENDING.with(|pending| pending.extend(waiting));
    some
}

/// How long a process that exits waits for those it registered. Generous: one that cannot load its library
/// is known after a few milliseconds; one that is merely slow is let be after that.
const EXIT_LIMIT: Micros = 2_000_000;

/// Before the process exits: nobody else could end its registrations. The postmaster rings when a process
/// of one starts or ends, and that process when it reports in.
pub fn settle_at_exit(cluster: &'static Cluster) {
    if !settle(cluster) {
        return;
    }
    let places: SmallVec<[Place; 4]> =
        PENDING.with(|pending| pending.iter().map(|pending| pending.place).collect());
    let arm = || {
        cluster.pool().locked(|scheduler| {
            for &Place { worker, generation } in &places {
                let _ = scheduler.await_first(worker, generation, own_party());
            }
        });
    };
    let latch = ProcessLatch::new(cluster);
    let deadline = Some(latch.now() + EXIT_LIMIT);
    let _ = wait_for(&latch, deadline, &mut NoVigil, arm, || {
        (!settle(cluster)).then_some(())
    });
}
