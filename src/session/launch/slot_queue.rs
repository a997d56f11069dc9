//! Claiming a slot of the job table, and waiting for one.
//!
//! A launch claims twice: one of the slots that its login role may have, then one of the table. It may have to wait
//! for either; the queues, and why nobody is forgotten in them, are the engine's (`src/engine/pool/waiters.rs`). Here
//! is the session's side: it joins, sleeps, and leaves, however its wait ends. An exit does not unwind, so the exit
//! callback gives up for it ([`give_up`]).

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::job_end;
use crate::cluster::latch::ProcessLatch;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::own_proc;
use crate::pg::shim::Identity;
use crate::pg::text;
use crate::settings;
use engine::pool::slot_waiters::Resource;
use engine::pool::usage::Claimed;
use engine::sync::Ordering;
use engine::table::Slot;
use engine::wait::{Latch, Micros, condition, wait_for};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, ERRCODE_INSUFFICIENT_RESOURCES,
};

/// What this session's login role may have: by the session's settings, which a superuser sets.
#[derive(Clone, Copy)]
pub struct RoleLimits {
    role: u32,
    /// Slots of the job table.
    slots: u32,
    /// Slots that may be in use in all for this session to claim one more.
    table: u32,
    /// Bytes of blocks.
    memory: u64,
    /// Bytes of files.
    files: u64,
    /// Workers of the lane; 0: any number.
    pub lane_workers: u32,
}

impl RoleLimits {
    /// Of this session, now. Who logged in as a superuser has no limit; to be one for the moment (in a function, by
    /// SET ROLE) is not enough. Nor has a function of somebody else that a superuser calls, whose jobs could launch
    /// others for ever.
    pub fn capture(cluster: &'static Cluster, identity: &Identity) -> Self {
        let role = identity.authenticated.to_u32();
        let capacity = cluster.jobs().capacity() as u32;
        // SAFETY: a catalog lookup, in the transaction of the calling function.
        let is_free = unsafe {
            pg_sys::superuser_arg(identity.authenticated)
                && (identity.sec_context == 0 || pg_sys::superuser_arg(identity.current))
        };
        if is_free {
            return Self {
                role,
                slots: u32::MAX,
                table: capacity,
                memory: u64::MAX,
                files: u64::MAX,
                lane_workers: 0,
            };
        }
        Self {
            role,
            slots: settings::role_max_jobs().unwrap_or(capacity / 2),
            table: cluster.jobs().ordinary_limit(),
            memory: settings::role_max_memory().unwrap_or_else(|| cluster.memory_limit() / 2),
            files: settings::role_max_disk().unwrap_or(u64::MAX),
            lane_workers: settings::lane_max_workers(),
        }
    }

    /// Notes in a reserved slot what is looked at later.
    pub fn note(&self, slot: &Slot) {
        slot.memory_limit.store(self.memory, Ordering::Relaxed);
        slot.file_limit.store(self.files, Ordering::Relaxed);
    }
}

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSlot {
    /// The role has as many as it may have.
    RoleLimit(RoleSlots),
    /// The table is full.
    TableFull,
    /// Too many roles have jobs.
    TooManyRoles,
}

/// How many a role may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleSlots {
    role: u32,
    limit: u32,
}

impl NoSlot {
    /// As the user sees it.
    pub fn error(self) -> Error {
        match self {
            Self::TableFull => no_slot(),
            Self::TooManyRoles => Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "too many roles have background jobs",
            ),
            Self::RoleLimit(RoleSlots { role, limit }) => {
                let role = text::role_name(role);
                Error::new(
                    ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                    format_args!("too many background jobs of role {role}"),
                )
                .detail(format_args!(
                    "It may have {limit} in all sessions and databases: queued, running and unread ones."
                ))
                .hint(format_args!(
                    "Read or detach finished jobs, or have a superuser raise pg_background.role_max_jobs (ALTER ROLE {role} SET ...)."
                ))
            }
        }
    }
}

/// What this session is in the queue for, or was called for and has not answered.
static WAITING: Local<Option<Resource>> = Local::new(None);

/// The usage of which this session has claimed a slot that it has none of the table for.
static ROLE_SLOT: Local<Option<u32>> = Local::new(None);

/// Where the usage of this session's login role was last.
static USAGE: Local<Option<u32>> = Local::new(None);

/// Gives up what was not finished, when dropped.
struct WaiterGuard(&'static Cluster);

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        give_up(self.0);
    }
}

/// Claims a slot, and tells `claimed` in the same stretch without interrupts. Waits for `timeout_ms` at most; `None`:
/// not at all.
///
/// # Errors
/// [`NoSlot`] says why there was none.
pub fn claim(
    cluster: &'static Cluster,
    limits: &RoleLimits,
    timeout_ms: Option<i32>,
    mut claimed: impl FnMut(Job),
) -> Result<Job, NoSlot> {
    let unfinished = WaiterGuard(cluster);
    let deadline =
        timeout_ms.map(|timeout_ms| ProcessLatch::new(cluster).now() + timeout_ms as Micros * 1000);
    let usage = claim_of_role(cluster, limits, deadline)?;
    let job = wait(cluster, Resource::Slots, limits.table, deadline, || {
        let job = cluster.job(cluster.pool().claim(usage, limits.table)?);
        ROLE_SLOT.set(None);
        claimed(job);
        Some(job)
    });
    drop(unfinished);
    job.ok_or(NoSlot::TableFull)
}

fn claim_of_role(
    cluster: &'static Cluster,
    limits: &RoleLimits,
    deadline: Option<Micros>,
) -> Result<u32, NoSlot> {
    let &RoleLimits { role, slots, .. } = limits;
    loop {
        let known = USAGE.get().or_else(|| cluster.pool().usage_of(role));
        let usage = known.ok_or(NoSlot::TooManyRoles)?;
        USAGE.set(Some(usage));
        let what = Resource::RoleSlots(usage);
        let claimed = wait(cluster, what, slots, deadline, || {
            match cluster.pool().usage(usage).claim_slot(role, slots) {
                Claimed::AtLimit => None,
                Claimed::Gone => Some(false),
                Claimed::Yes => {
                    ROLE_SLOT.set(Some(usage));
                    Some(true)
                }
            }
        });
        match claimed {
            Some(true) => return Ok(usage),
            // Its entry serves another role by now: nobody of this one had a job.
            Some(false) => USAGE.set(None),
            None => return Err(NoSlot::RoleLimit(RoleSlots { role, limit: slots })),
        }
    }
}

/// Looks, and waits until the deadline if there is one.
fn wait<T>(
    cluster: &'static Cluster,
    what: Resource,
    limit: u32,
    deadline: Option<Micros>,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    if deadline.is_none() {
        return look();
    }
    let own = own_proc();
    let arm = || {
        let was_waiting = WAITING.get().is_some();
        WAITING.set(Some(what));
        cluster.pool().join_waiters(own, what, limit, was_waiting);
        fault!("slot-waiter-listed");
    };
    let latch = ProcessLatch::new(cluster);
    let found = wait_for(
        &latch,
        deadline,
        &mut condition(arm, || {
            // The slot that is waited for may be one of these.
            job_end::release_deferred(cluster);
            look()
        }),
    );
    stop_waiting(cluster);
    found
}

fn stop_waiting(cluster: &'static Cluster) {
    if let Some(what) = WAITING.get() {
        cluster.pool().leave_waiters(own_proc(), what);
        WAITING.set(None);
    }
}

/// The session ends, or its launch has failed.
pub fn give_up(cluster: &'static Cluster) {
    stop_waiting(cluster);
    if let Some(usage) = ROLE_SLOT.get() {
        cluster.pool().release_role_slot(usage);
        ROLE_SLOT.set(None);
    }
}

/// The job table is full.
fn no_slot() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_RESOURCES,
        "too many background jobs in the cluster",
    )
    .hint("Read or detach finished jobs, or raise pg_background.max_jobs and restart the server.")
}
