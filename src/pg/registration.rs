//! Asking the postmaster for worker processes.
//!
//! A place in the pool is registered once; the registration names the place and its generation. The
//! postmaster restarts it when the process exits with code 1 (restart time 0), which is how a place is
//! given to a fresh process without anyone having to ask; exit code 0 ends the registration.
//!
//! A process whose library cannot be loaded exits with code 1 before any code of ours runs, and would be
//! restarted for ever. So the session that registered it keeps the handle until the process has reported
//! in, and ends the registration if it has not when the session next looks ([`settle`]) or exits.

use crate::engine::pool::{LaneKey, Placement, START_LIMIT, Scheduler, Staffing};
use crate::engine::wait::Micros;
use crate::engine::worker::Activity;
use crate::pg::cluster::{Cluster, WORKER_ENTRY};
use crate::pg::latch::{ring, shared_now};
use crate::pg::local::Local;
use pgrx::pg_sys;
use smallvec::SmallVec;
use std::ffi::{CStr, c_char};

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
    fill(&mut worker.bgw_library_name, c"pg_background");
    fill(&mut worker.bgw_function_name, WORKER_ENTRY);
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState;
    worker.bgw_restart_time = 0;
    worker.bgw_main_arg = place.to_datum();
    // SAFETY: called outside the pool lock; the handle is allocated where it outlives the transaction.
    let handle = unsafe {
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let mut handle = std::ptr::null_mut();
        let registered = pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle);
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
    settle(cluster);
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
                if register(claim.place) {
                    std::mem::forget(claim);
                } else {
                    can_start = false;
                }
            }
        }
    }
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
        self.cluster
            .pool()
            .locked(|scheduler| scheduler.start_failed(worker, generation));
    }
}

/// Starts workers of the lane `key` until `wanted` are idle or on their way, as far as there are places.
/// Returns how many there are.
pub fn prewarm(cluster: &'static Cluster, key: LaneKey, wanted: u32) -> u32 {
    settle(cluster);
    let cap = cluster.worker_cap();
    loop {
        let now = shared_now();
        let (ready, place) = cluster
            .pool()
            .locked(|scheduler| scheduler.prewarm(key, wanted, cap, now));
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
/// `limit`: its session's share.
pub fn place(
    scheduler: &mut Scheduler<'_>,
    cluster: &'static Cluster,
    job: crate::engine::table::JobId,
    key: LaneKey,
    hint: u32,
    limit: u32,
    now: Micros,
) -> (Placement, u32, Option<Staffing>) {
    let (placement, lane) = scheduler.place(job, key, hint, limit);
    let staffing = (placement == Placement::Queued)
        .then(|| scheduler.staff(lane, cluster.worker_cap(), true, now));
    (placement, lane, staffing)
}

/// Looks after registrations whose process has not been seen: forgets those that have reported in or were
/// replaced, ends those that take too long.
pub fn settle(cluster: &'static Cluster) {
    let mut ended: SmallVec<[*mut pg_sys::BackgroundWorkerHandle; 4]> = SmallVec::new();
    let mut seen: SmallVec<[*mut pg_sys::BackgroundWorkerHandle; 4]> = SmallVec::new();
    let now = shared_now();
    PENDING.with(|pending| {
        pending.retain(|entry| {
            let place = cluster.pool().worker(entry.place.worker);
            let state = place.word.load();
            let on_its_way = state.generation() == entry.place.generation
                && state.activity() == Activity::Starting
                && !place.has_reported_in();
            if !on_its_way {
                seen.push(entry.handle);
            } else if now.saturating_sub(entry.since) > START_LIMIT {
                ended.push(entry.handle);
            } else {
                return true;
            }
            false
        });
    });
    for handle in ended {
        // SAFETY: a handle that this process got from its registration.
        unsafe {
            pg_sys::TerminateBackgroundWorker(handle);
            pg_sys::pfree(handle.cast());
        }
    }
    for handle in seen {
        // SAFETY: as above.
        unsafe { pg_sys::pfree(handle.cast()) };
    }
}
