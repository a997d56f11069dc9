//! Deadlocks: waits that lead back to the waiter.
//!
//! A session that waits for a job sleeps on its latch, which PostgreSQL's deadlock detector does not see. The job may
//! wait for a lock that this session holds, or for a worker while all workers wait for jobs. Then neither would ever go
//! on. So a waiting leader explores who waits for whom, after `deadlock_timeout` and then at doubling intervals. It
//! begins with its own wait, and stops as soon as that can go on ([`engine::deadlock`]):
//!
//! | who | waits for | goes on when |
//! |---|---|---|
//! | a process that is blocked in the lock manager | the processes that block it (`pg_blocking_pids`); for a command with CONCURRENTLY, whose transactions have to end | all of them can |
//! | a process that needs a safe snapshot | the transactions that prevent one (`pg_safe_snapshot_blocking_pids`) | all of them can |
//! | a process that needs a page for itself alone (VACUUM) | this session, if it has pinned the page (`shim/pin.c`) | this session can |
//! | a leader that sleeps on jobs ([`engine::pool::sleep`]) | these jobs | any of them can |
//! | a session that waits for a slot of the job table | the leaders of the jobs that have one, or their workers if they have no leader | any of them can |
//! | a job on a worker | the worker's process | that process can |
//! | a queued job | a worker slot, if none can be had | a process in any worker slot can; if its lane may have no more workers, a process in one of the lane's |
//! | a throttled job | the session's jobs that have a permit | any of them can |
//!
//! A worker that waits for the reader of its rows is not part of this: it does not wait for a reader that sleeps
//! (`engine/channel.rs`), so such a wait ends by itself. Neither are waits that cannot be seen from here: for a page
//! that another process of the circle has pinned (a process knows only its own pins, and checks for itself if it waits
//! for a job), through a connection to a server, and by code that polls.
//!
//! A leader that is stuck and whose wait leads back to itself raises 40P01.
//!
//! What this module reads is not of one moment. But a circle of real waits does not go away by itself, so it is looked
//! for twice. Of several leaders in a circle, the one with the highest pid raises the error at once. The others raise
//! it if their next check still finds a circle ([`DeadlockChecks`]).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "as many as there are processes"
)]

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::spawn;
use crate::pg::array;
use crate::pg::error::Error;
use crate::pg::process;
use crate::pg::server;
use crate::pg::shim;
use engine::deadlock::{Awaited, Circle, Needs, Pid, Wait, find_circle};
use engine::pool::sleep::Sleepers;
use engine::pool::worker_start::Spawned;
use engine::wait::Micros;
use pgrx::{PgSqlErrorCode, pg_sys};

/// `pg_blocking_pids(int4)`.
const BLOCKING_PIDS: u32 = 2561;

/// `pg_safe_snapshot_blocking_pids(int4)`.
const SAFE_SNAPSHOT_BLOCKING_PIDS: u32 = 3376;

/// The checks of one wait for a deadlock, at doubling intervals from `deadlock_timeout` on.
pub struct DeadlockChecks {
    due: Micros,
    interval: Micros,
    /// How many have found a circle.
    circles: u32,
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
    // SAFETY: reads the state of the process; throws nothing.
    if !blockers.is_empty() && unsafe { shim::pgb_waits_for_transaction(pid.cast_signed()) } {
        let locks = blockers
            .iter_mut()
            .filter(|(_, needs)| *needs == Needs::Lock);
        locks.for_each(|(_, needs)| *needs = Needs::End);
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
        let datum = server::OidFunctionCall1Coll(
            pg_sys::Oid::from(function),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(pid.cast_signed()),
        );
        array::elements(datum)
    };
    // 0 stands for a prepared transaction, which no process will end.
    pids.flatten()
        .map(|pid| pid.value() as i32)
        .filter(|&pid| pid > 0)
        .map(i32::cast_unsigned)
}

/// The circle of waits from the process `own` back to it.
fn find(cluster: &'static Cluster, own: Pid) -> Option<Circle> {
    let serve = |lane| spawn::spawn_workers(cluster, lane) == Spawned::Enough;
    let mut sleepers = Sleepers::new(*cluster.pool(), serve);
    find_circle(own, |pid| {
        server::check_for_interrupts();
        Wait {
            blocked_by: blockers(pid, own),
            sleep: sleepers.sleep_of(pid),
        }
    })
}

impl DeadlockChecks {
    /// For a wait that begins now.
    pub fn begin(now: Micros) -> Self {
        let interval = process::deadlock_timeout();
        Self {
            due: now + interval,
            interval,
            circles: 0,
        }
    }

    /// When the next one is due.
    pub fn due(&self) -> Micros {
        self.due
    }

    /// If it is due, raises 40P01 if this session, which sleeps on `jobs`, waits for itself through any chain of waits.
    pub fn check(
        &mut self,
        cluster: &'static Cluster,
        now: Micros,
        jobs: impl Iterator<Item = Job>,
    ) {
        self.check_for(cluster, now, || {
            let worker = jobs.map(Job::pid).find(|&pid| pid != 0);
            worker.map_or(Awaited::QueuedJob, Awaited::JobIn)
        });
    }

    /// The same for a session that waits for a slot.
    pub fn check_slot_wait(&mut self, cluster: &'static Cluster, now: Micros) {
        self.check_for(cluster, now, || Awaited::Slot);
    }

    fn check_for(
        &mut self,
        cluster: &'static Cluster,
        now: Micros,
        awaited: impl FnOnce() -> Awaited,
    ) {
        if now < self.due {
            return;
        }
        self.interval = self.interval.saturating_mul(2);
        self.due = now.saturating_add(self.interval);
        // SAFETY: a plain global of this process.
        let own = unsafe { pg_sys::MyProcPid }.cast_unsigned();
        // Outside a transaction (during exit) the lock manager cannot be asked.
        // SAFETY: reads the state of the transaction.
        if !unsafe { server::IsTransactionState() } {
            return;
        }
        if find(cluster, own).is_none() {
            return;
        }
        let Some(circle) = find(cluster, own) else {
            return;
        };
        self.circles += 1;
        if self.circles == 1 && circle.first_to_give_up != own {
            return;
        }
        raise(own, awaited(), &circle);
    }
}

fn raise(own: Pid, awaited: Awaited, circle: &Circle) -> ! {
    Error::new(
        PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
        "deadlock detected between this session and its background job",
    )
    .detail(circle.detail(own, awaited))
    .hint(circle.hint())
    .raise()
}
