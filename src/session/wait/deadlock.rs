//! Deadlocks: waits that lead back to the waiter.
//!
//! A session that waits for a job sleeps on its latch, which PostgreSQL's deadlock detector does not see. The job may
//! wait for a lock that this session holds, or for a worker while all workers wait for jobs. Then neither would ever go
//! on. So a waiting leader explores who waits for whom, after `deadlock_timeout` and then at doubling intervals:
//!
//! | who | waits for | goes on when |
//! |---|---|---|
//! | a process that is blocked in the lock manager | the processes that block it (`pg_blocking_pids`) | all of them can |
//! | a process that needs a safe snapshot | the transactions that prevent one (`pg_safe_snapshot_blocking_pids`) | all of them can |
//! | a process that needs a page for itself alone (VACUUM) | this session, if it has pinned the page (`shim/pin.c`) | this session can |
//! | a leader that sleeps on jobs (their words say WATCHED) | these jobs | any of them can |
//! | a job on a worker | the worker's process | that process can |
//! | a queued job | a worker slot, if none can be had | a process in any worker slot can; if its lane may have no more workers, a process in one of the lane's |
//! | a throttled job | the session's jobs that have a permit | any of them can |
//!
//! A worker that waits for the reader of its rows is not part of this: it does not wait for a reader that sleeps
//! (`engine/channel.rs`), so such a wait ends by itself. Neither are waits that cannot be seen from here: for a page
//! that another process of the circle has pinned (a process knows only its own pins, and checks for itself if it waits
//! for a job), through a connection to a server, and by code that polls.
//!
//! [`engine::deadlock`] decides from this who is stuck. A leader that is stuck and whose wait leads back to itself
//! raises 40P01.
//!
//! What this module reads is not of one moment. But a circle of real waits does not go away by itself, so it is looked
//! for twice. Of several leaders in a circle, the one with the highest pid raises the error at once. The others raise
//! it if their next check still finds a circle ([`CirclesSeen`]).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "as many as there are processes; lists of jobs are grown by `memory::try_push`"
)]

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::spawn;
use crate::cluster::spawn::Spawned;
use crate::pg::error::Error;
use crate::pg::shim;
use engine::deadlock::{Circle, Graph, Needs, Pid, Wait};
use engine::job::Phase;
use engine::memory;
use engine::memory::OutOfMemory;
use engine::pool::Awaited;
use engine::process_ref::ProcRef;
use engine::sync::Ordering;
use engine::table::JobId;
use pgrx::{FromDatum, PgLogLevel, PgSqlErrorCode, pg_sys};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Limit on the number of processes that are followed.
const LIMIT: usize = 1000;

/// `pg_blocking_pids(int4)`.
const BLOCKING_PIDS: u32 = 2561;

/// `pg_safe_snapshot_blocking_pids(int4)`.
const SAFE_SNAPSHOT_BLOCKING_PIDS: u32 = 3376;

/// How many checks of the present wait have found a circle.
#[derive(Default)]
pub struct CirclesSeen {
    count: u32,
}

/// The processes that block `pid`, and what it needs of them. Does not include jobs.
fn blockers(pid: Pid, own: Pid) -> Vec<(Pid, Needs)> {
    let mut blockers = Vec::new();
    for (function, needs) in [
        (BLOCKING_PIDS, Needs::Lock),
        (SAFE_SNAPSHOT_BLOCKING_PIDS, Needs::SafeSnapshot),
    ] {
        blockers.extend(pids_by(function, pid).map(|pid| (pid, needs)));
    }
    // SAFETY: reads process and buffer state; throws nothing.
    if pid != own && unsafe { shim::pgb_waits_for_own_pin(pid.cast_signed()) } {
        blockers.push((own, Needs::Page));
    }
    blockers
}

fn pids_by(function: u32, pid: Pid) -> impl Iterator<Item = Pid> {
    // SAFETY: a built-in function of one int4 that returns an int4 array.
    let pids = unsafe {
        let datum = pg_sys::OidFunctionCall1Coll(
            pg_sys::Oid::from(function),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(pid.cast_signed()),
        );
        Vec::<i32>::from_datum(datum, false).unwrap_or_default()
    };
    // 0 stands for a prepared transaction, which no process will end.
    pids.into_iter()
        .filter(|&pid| pid > 0)
        .map(i32::cast_unsigned)
}

/// The jobs of the whole cluster on which a leader or a deadlock may depend.
struct JobsByLeader {
    /// The watched jobs, by the pid of the leader that sleeps on them.
    watched: BTreeMap<Pid, Vec<Job>>,
    /// By the leader's pid: the processes that run its jobs, and whether one of its jobs is queued in its lane.
    admitted: BTreeMap<Pid, (BTreeSet<Pid>, bool)>,
    /// The processes in the worker slots that could serve a lane, by lane, filled on demand. `None`: a worker slot can
    /// be had.
    in_worker_slots: BTreeMap<u32, Option<Rc<BTreeSet<Pid>>>>,
    /// What a leader's throttled jobs wait for, by the leader's pid, filled on demand.
    quotas: BTreeMap<Pid, Option<Rc<BTreeSet<Pid>>>>,
}

impl JobsByLeader {
    fn look(cluster: &'static Cluster) -> Result<Self, OutOfMemory> {
        let mut jobs = Self {
            watched: BTreeMap::new(),
            admitted: BTreeMap::new(),
            in_worker_slots: BTreeMap::new(),
            quotas: BTreeMap::new(),
        };
        for (index, slot) in cluster.jobs().iter() {
            let now = slot.word.load();
            if !matches!(
                now.phase(),
                Phase::Queued | Phase::Starting | Phase::Running
            ) {
                continue;
            }
            let Some(leader) = slot.leader().map(ProcRef::pid) else {
                continue;
            };
            let generation = now.generation();
            let job = cluster.job(JobId { index, generation });
            if now.is_watched() {
                memory::try_push(jobs.watched.entry(leader).or_default(), job)?;
            }
            let admitted = jobs.admitted.entry(leader).or_default();
            if now.phase() != Phase::Queued {
                admitted.0.insert(slot.pid.load(Ordering::Relaxed));
            } else if cluster
                .pool()
                .locked(|scheduler| scheduler.awaited_by(job.id) == Awaited::WorkerSlot)
            {
                admitted.1 = true;
            }
        }
        Ok(jobs)
    }
}

/// All waits on which the wait of the process `own` depends.
fn explore(cluster: &'static Cluster, own: Pid) -> Result<Graph, OutOfMemory> {
    let mut jobs = JobsByLeader::look(cluster)?;
    let mut graph = Graph::default();
    let mut open = vec![own];
    while let Some(pid) = open.pop() {
        if graph.waits.contains_key(&pid) || graph.waits.len() >= LIMIT {
            continue;
        }
        let mut wait = Wait {
            blocked_by: blockers(pid, own),
            ..Wait::default()
        };
        for job in jobs.watched.remove(&pid).into_iter().flatten() {
            pgrx::check_for_interrupts!();
            match processes(&mut jobs, job, &mut graph.over_worker_slots) {
                Some(pids) => _ = wait.jobs.insert(pids),
                None => wait.served = true,
            }
        }
        // The loop skips those it has already explored.
        for next in wait.all().filter(|next| !graph.waits.contains_key(next)) {
            memory::try_push(&mut open, next)?;
        }
        graph.waits.insert(pid, wait);
    }
    Ok(graph)
}

/// The processes of which one has to go on for the job to do so; `None`: the job needs none.
fn processes(
    jobs: &mut JobsByLeader,
    job: Job,
    over_worker_slots: &mut bool,
) -> Option<Rc<BTreeSet<Pid>>> {
    let (slot, cluster) = (job.slot(), job.cluster);
    let awaited = cluster
        .pool()
        .locked(|scheduler| scheduler.awaited_by(job.id));
    match awaited {
        Awaited::Nothing => match job.pid() {
            0 => None,
            pid => Some(Rc::new(BTreeSet::from([pid]))),
        },
        Awaited::WorkerSlot => worker_slots(cluster, jobs, slot.lane(), over_worker_slots),
        Awaited::Permit(leader) => match jobs.quotas.get(&leader.pid()) {
            Some(known) => known.clone(),
            None => {
                let found = quota(cluster, jobs, leader.pid(), slot.lane(), over_worker_slots);
                jobs.quotas.insert(leader.pid(), found.clone());
                found
            }
        },
    }
}

/// The processes of which one has to go on before a throttled job of the session `leader` gets a permit. All its jobs
/// are of one lane.
fn quota(
    cluster: &'static Cluster,
    jobs: &mut JobsByLeader,
    leader: Pid,
    lane: u32,
    over_worker_slots: &mut bool,
) -> Option<Rc<BTreeSet<Pid>>> {
    let (mut pids, queued) = jobs.admitted.get(&leader)?.clone();
    if queued {
        pids.extend(worker_slots(cluster, jobs, lane, over_worker_slots)?.iter());
    }
    Some(Rc::new(pids))
}

/// The processes in the worker slots that could serve the lane; `None`: a worker slot can be had, or a worker is
/// starting.
fn worker_slots(
    cluster: &'static Cluster,
    jobs: &mut JobsByLeader,
    lane: u32,
    over_worker_slots: &mut bool,
) -> Option<Rc<BTreeSet<Pid>>> {
    match jobs.in_worker_slots.get(&lane) {
        Some(known) => known.clone(),
        None => {
            let found = processes_in_worker_slots(cluster, lane, over_worker_slots).map(Rc::new);
            jobs.in_worker_slots.insert(lane, found.clone());
            found
        }
    }
}

fn processes_in_worker_slots(
    cluster: &'static Cluster,
    lane: u32,
    over_worker_slots: &mut bool,
) -> Option<BTreeSet<Pid>> {
    if spawn::spawn_workers(cluster, lane, None) == Spawned::Enough {
        return None;
    }
    *over_worker_slots = true;
    let mut pids = Vec::with_capacity(cluster.worker_slots());
    let all_busy = cluster.pool().locked(|scheduler| {
        scheduler.occupants(lane).all(|proc| {
            pids.extend(proc.map(ProcRef::pid));
            proc.is_some()
        })
    });
    all_busy.then(|| pids.into_iter().collect())
}

/// Raises 40P01 if this session, which sleeps on `jobs`, waits for itself through any chain of waits.
pub fn check(cluster: &'static Cluster, jobs: impl Iterator<Item = Job>, seen: &mut CirclesSeen) {
    // SAFETY: a plain global of this process.
    let own = unsafe { pg_sys::MyProcPid }.cast_unsigned();
    // Outside a transaction (during exit) the lock manager cannot be asked.
    // SAFETY: looks at the state of this process.
    if !unsafe { pg_sys::IsTransactionState() } {
        return;
    }
    let explored = || {
        let graph = explore(cluster, own);
        graph.unwrap_or_else(|_| Error::out_of_memory().raise())
    };
    if explored().circle(own).is_none() {
        return;
    }
    let Some(circle) = explored().circle(own) else {
        return;
    };
    seen.count += 1;
    if seen.count == 1 && circle.first_to_give_up != own {
        return;
    }
    let worker = jobs.map(Job::pid).find(|&pid| pid != 0);
    raise(own, worker, &circle);
}

fn raise(own: Pid, worker: Option<Pid>, circle: &Circle) {
    pgrx::pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
        "deadlock detected between this session and its background job",
        "check",
    )
    .set_detail(circle.detail(own, worker))
    .set_hint(circle.hint())
    .report(PgLogLevel::ERROR);
}
