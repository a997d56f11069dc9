//! The jobs of login roles, for administrators: showing them and ending them.
//!
//! Everything here goes by the login role. The current user of a session and its database make no difference. This
//! module reads slots that it does not hold: the fields of a slot count only if its word is the same before and after
//! they were read ([`look`]).

use crate::cluster::attach::{Cluster, cluster};
use crate::cluster::job::Job;
use crate::cluster::job_end;
use crate::cluster::latch::ProcessLatch;
use crate::pg::error::{Error, warn};
use crate::pg::process::own_proc;
use crate::pg::server;
use crate::pg::text;
use crate::session::wait::until;
use crate::session::{cancel, jobs};
use engine::job::{Demand, Phase};
use engine::memory;
use engine::pool::Canceling;
use engine::pool::gate::Purged;
use engine::pool::refusal::Refusal;
use engine::pool::usage::Usage;
use engine::sync::{AtomicU32, Ordering};
use engine::table::{JobId, Slot};
use engine::wait::{condition, grace, wait_for};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;

/// `pg_monitor`, which may see all roles.
const PG_MONITOR: u32 = 3373;

/// A job at one moment.
#[derive(Clone, Copy)]
pub struct JobView {
    job: Job,
    phase: Phase,
    throttled: bool,
    database: u32,
    user: u32,
    login_role: u32,
    bytes: u64,
    file_bytes: u64,
}

/// Reads a slot that this process does not hold. `None`: there is no published job, or it changed meanwhile.
fn look(cluster: &'static Cluster, index: u32, slot: &Slot) -> Option<JobView> {
    let number = |word: &AtomicU32| word.load(Ordering::Relaxed);
    slot.look(|now| JobView {
        job: cluster.job(JobId {
            index,
            generation: now.generation(),
        }),
        phase: now.phase(),
        throttled: now.phase() == Phase::Queued && slot.is_throttled(),
        database: number(&slot.database),
        user: number(&slot.user),
        // A usage entry goes to another role only when the first role has no slots. So this job has ended by then.
        login_role: cluster.pool().usage(slot.usage()).role(),
        bytes: slot.bytes.load(Ordering::Relaxed),
        file_bytes: slot.file_bytes.load(Ordering::Relaxed),
    })
}

fn jobs(cluster: &'static Cluster) -> impl Iterator<Item = JobView> {
    let jobs = cluster.jobs().iter();
    jobs.filter_map(move |(index, slot)| look(cluster, index, slot))
}

/// Checks that the current user may end the jobs of a login role: the rules of `pg_terminate_backend`.
fn check_privileges(role: pg_sys::Oid) -> Result<(), Error> {
    // SAFETY: catalog lookups, in the transaction of the calling function.
    let (is_super, may) = unsafe {
        let user = server::GetUserId();
        let is_super = server::superuser_arg(role);
        let own_super = server::superuser_arg(user);
        let may = own_super || (!is_super && server::has_privs_of_role(user, role));
        (is_super, may)
    };
    if may {
        return Ok(());
    }
    let name = text::role_name(role.to_u32());
    let error = Error::new(
        ERRCODE_INSUFFICIENT_PRIVILEGE,
        format_args!("permission denied to end background jobs of role {name}"),
    );
    Err(if is_super {
        error.detail("Only superusers may end the jobs of a superuser.")
    } else {
        error.detail(format_args!(
            "Only roles with the privileges of role {name} may end its jobs."
        ))
    })
}

/// Refuses new jobs of a role until dropped.
struct Refusing {
    cluster: &'static Cluster,
    refusal: Refusal,
}

impl Refusing {
    /// `None`: the role has no jobs.
    fn begin(cluster: &'static Cluster, role: u32) -> Option<Self> {
        let refusal = cluster.pool().begin_refusal(role)?;
        Some(Self { cluster, refusal })
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        let pool = self.cluster.pool();
        pool.usage(self.refusal.usage()).unwatch(own_proc());
        // A job that still runs might launch a successor, which is refused. The role's next launch checks again.
        pool.end_refusal(self.refusal);
    }
}

/// Ends all queued and running jobs of a login role in all databases, and refuses new ones meanwhile. Jobs that have
/// not ended after `grace_ms` are terminated. After the same time again, a WARNING names each that still runs. Returns
/// how many jobs there were.
///
/// # Errors
/// 42501 the current user lacks the role's privileges, or the role is a superuser
pub fn cancel(role: pg_sys::Oid, grace_ms: i32) -> Result<i32, Error> {
    check_privileges(role)?;
    let cluster = cluster()?;
    let role = role.to_u32();
    let Some(refusing) = Refusing::begin(cluster, role) else {
        return Ok(0);
    };
    let usage = refusing.refusal.usage();
    let mut active = Vec::new();
    for seen in jobs(cluster).filter(|seen| seen.login_role == role && seen.phase.is_active()) {
        if cancel::request(seen.job, Demand::Insist) != Canceling::TooLate {
            memory::try_push(&mut active, seen.job)?;
        }
    }
    let count = active.len();
    let grace_ms = grace(grace_ms);
    await_end(cluster, usage, &mut active, grace_ms);
    for job in &active {
        let _ = cancel::request(*job, Demand::Terminate);
    }
    await_end(cluster, usage, &mut active, grace_ms);
    for job in &active {
        let pid = job.pid();
        warn(format_args!(
            "background job with PID {pid} still runs after it was asked to terminate"
        ));
    }
    Ok(count as i32)
}

/// Waits up to `grace_ms` until these jobs have ended. Those that have not stay in the list.
fn await_end(cluster: &'static Cluster, usage: u32, jobs: &mut Vec<Job>, grace_ms: i32) {
    if jobs.is_empty() || grace_ms == 0 {
        return;
    }
    let latch = ProcessLatch::new(cluster);
    let is_active = |job: &Job| job.load().is_some_and(|now| now.phase().is_active());
    let usage: &Usage = cluster.pool().usage(usage);
    let arm = || usage.watch(own_proc());
    let _ = wait_for(
        &latch,
        until::deadline(grace_ms),
        &mut condition(arm, || {
            jobs.retain(is_active);
            jobs.is_empty().then_some(())
        }),
    );
    usage.unwatch(own_proc());
}

/// Detaches the finished jobs of a login role, in all sessions and databases, whose results nobody is reading at this
/// moment. Returns their number.
///
/// # Errors
/// As [`fn@cancel`].
pub fn purge(role: pg_sys::Oid) -> Result<i32, Error> {
    check_privileges(role)?;
    let cluster = cluster()?;
    let own = own_proc();
    let mut count = 0;
    let is_finished_of_role =
        |seen: &JobView| seen.login_role == role.to_u32() && seen.phase.is_finished();
    for seen in jobs(cluster).filter(is_finished_of_role) {
        server::check_for_interrupts();
        let slot = seen.job.slot();
        // The jobs of a fan-out end with their call. This session's own jobs are in its gate.
        if !slot.options().uncounted && slot.leader() != Some(own) {
            count += i32::from(purge_one(seen.job));
        }
    }
    let is_own = own_lane_role() == role;
    Ok(count + if is_own { jobs::purge_own(cluster) } else { 0 })
}

fn own_lane_role() -> pg_sys::Oid {
    // SAFETY: looks at the state of this process.
    unsafe { server::GetAuthenticatedUserId() }
}

fn purge_one(job: Job) -> bool {
    // A warning that the server raises on the way would let an interrupt through.
    // SAFETY: a counter of this process, restored below; nothing in between throws.
    unsafe { pg_sys::InterruptHoldoffCount += 1 };
    let purged = job_end::purge(job);
    // SAFETY: as above.
    unsafe { pg_sys::InterruptHoldoffCount -= 1 };
    matches!(purged, Purged::Detached(_))
}

/// What the jobs of one user use, for one login role in one database.
#[derive(Clone, Copy, Default)]
pub struct RoleRow {
    /// Object id of the database.
    pub database: u32,
    /// Object id of the login role.
    pub login_role: u32,
    /// Object id of the user as whom the jobs run.
    pub user: u32,
    /// Jobs queued in their lane.
    pub queued: i32,
    /// Jobs beyond their session's quota, not yet in their lane.
    pub throttled: i32,
    /// Jobs on a worker.
    pub running: i32,
    /// Finished jobs with unread results.
    pub finished: i32,
    /// Workers. Those without a job count for the login role itself.
    pub workers: i32,
    /// Bytes of blocks in shared memory.
    pub bytes: u64,
    /// Bytes of spill files.
    pub file_bytes: u64,
}

/// Whether the current user may see what the jobs of a login role use.
fn may_see(login_role: u32) -> bool {
    // SAFETY: catalog lookups, in the transaction of the calling function.
    unsafe {
        let user = server::GetUserId();
        server::superuser_arg(user)
            || server::has_privs_of_role(user, pg_sys::Oid::from(PG_MONITOR))
            || server::has_privs_of_role(user, pg_sys::Oid::from(login_role))
    }
}

/// One row for each database, login role and user with jobs or workers that the current user may see.
///
/// # Errors
/// 53200 out of memory
pub fn resources() -> Result<Vec<RoleRow>, Error> {
    let mut rows: Vec<RoleRow> = Vec::new();
    let cluster = cluster()?;
    let mut row_of = |database: u32,
                      login_role: u32,
                      user: u32,
                      add: &dyn Fn(&mut RoleRow)|
     -> Result<(), Error> {
        let is_it = |row: &&mut RoleRow| {
            (row.database, row.login_role, row.user) == (database, login_role, user)
        };
        if let Some(row) = rows.iter_mut().find(is_it) {
            add(row);
        } else if may_see(login_role) {
            let mut row = RoleRow {
                database,
                login_role,
                user,
                ..RoleRow::default()
            };
            add(&mut row);
            memory::try_push(&mut rows, row)?;
        }
        Ok(())
    };
    for seen in jobs(cluster) {
        row_of(seen.database, seen.login_role, seen.user, &|row| {
            match seen.phase {
                Phase::Queued if seen.throttled => row.throttled += 1,
                Phase::Queued => row.queued += 1,
                Phase::Starting | Phase::Running => {
                    row.running += 1;
                    row.workers += 1;
                }
                _ => row.finished += 1,
            }
            row.bytes += seen.bytes;
            row.file_bytes += seen.file_bytes;
        })?;
    }
    for worker_slot in 0..cluster.worker_slots() as u32 {
        let idle = cluster
            .pool()
            .locked(|scheduler| scheduler.lane_of_jobless(worker_slot));
        if let Some(key) = idle {
            row_of(key.database, key.role, key.role, &|row| row.workers += 1)?;
        }
    }
    Ok(rows)
}
