//! Waits that come back to the waiter.
//!
//! A session that waits for a job sleeps on its latch, which PostgreSQL's deadlock detector does not see.
//! If the job waits for a lock that this session holds, directly or through a chain of other processes,
//! neither would ever go on. So a waiting leader looks, after `deadlock_timeout` and then at doubling
//! intervals, along two kinds of edges:
//!
//! * a process waits for those that block it in the lock manager (`pg_blocking_pids`);
//! * a leader waits for the workers of the jobs it sleeps on (their words say WATCHED).
//!
//! If a path from its job's worker leads back to itself, it raises 40P01. What is read is not one moment's
//! truth; but a cycle of real waits does not go away by itself, and a path seen in passing that is none
//! needs every one of its waits to have ended and begun again while it was followed. To be sure, the
//! path is followed twice and must be found both times.

use crate::engine::job::Phase;
use crate::engine::sync::Ordering;
use crate::engine::table::JobId;
use crate::pg::cluster::Cluster;
use pgrx::pg_sys;
use pgrx::{FromDatum, PgLogLevel, PgSqlErrorCode};
use smallvec::SmallVec;

/// Chains longer than this many processes are not followed.
const LIMIT: usize = 1000;

/// `pg_blocking_pids(int4)`.
const BLOCKING_PIDS: u32 = 2561;

struct Edge {
    from: u32,
    to: u32,
}

fn blockers(pid: u32) -> Vec<i32> {
    // SAFETY: a built-in function of one int4 that returns an int4 array.
    unsafe {
        let datum = pg_sys::OidFunctionCall1Coll(
            pg_sys::Oid::from(BLOCKING_PIDS),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(pid.cast_signed()),
        );
        Vec::<i32>::from_datum(datum, false).unwrap_or_default()
    }
}

/// The processes that run jobs on which the process `pid` sleeps.
fn awaited(cluster: &'static Cluster, pid: u32) -> SmallVec<[u32; 4]> {
    cluster
        .jobs()
        .iter()
        .filter(|(_, slot)| {
            let now = slot.word.load();
            now.watched()
                && matches!(now.phase(), Phase::Starting | Phase::Running)
                && slot.leader().is_some_and(|leader| leader.pid() == pid)
        })
        .map(|(_, slot)| slot.pid.load(Ordering::Relaxed))
        .filter(|&worker| worker != 0)
        .collect()
}

/// A path from the process `from` to the process `to`, as the edges on it.
fn path(cluster: &'static Cluster, from: u32, to: u32) -> Option<Vec<Edge>> {
    let mut seen: Vec<Edge> = vec![Edge { from: to, to: from }];
    let mut next = 0;
    while next < seen.len() && seen.len() < LIMIT {
        let at = seen[next].to;
        next += 1;
        let neighbours = blockers(at)
            .into_iter()
            .filter(|&pid| pid > 0)
            .map(i32::cast_unsigned)
            .chain(awaited(cluster, at));
        for pid in neighbours {
            let known = seen.iter().any(|edge| edge.to == pid);
            if !known || pid == to {
                seen.push(Edge { from: at, to: pid });
            }
            if pid == to {
                return Some(seen);
            }
        }
    }
    None
}

/// Raises 40P01 if the worker of `job` waits, through whatever chain, for this session.
pub fn check(cluster: &'static Cluster, job: JobId) {
    let worker = cluster.slot(job).pid.load(Ordering::Relaxed);
    // SAFETY: a plain global of this process.
    let own = unsafe { pg_sys::MyProcPid }.cast_unsigned();
    // Outside a transaction (during exit) there is nothing to ask the lock manager with.
    // SAFETY: looks at the state of this process.
    if worker == 0 || !unsafe { pg_sys::IsTransactionState() } {
        return;
    }
    if path(cluster, worker, own).is_none() {
        return;
    }
    let Some(found) = path(cluster, worker, own) else {
        return;
    };
    let last = found.last().map_or(worker, |edge| edge.from);
    pgrx::pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
        "deadlock detected between this session and its background job",
        "check",
    )
    .set_detail(format!(
        "Process {own} waits for the background job in process {worker}; process {last} waits for a lock held by process {own}."
    ))
    .set_hint("Commit the transaction that holds the lock before waiting for the job, or launch and wait in separate statements.")
    .report(PgLogLevel::ERROR);
}
