//! Claiming a slot of the job table, and waiting for one.
//!
//! A launch claims twice: first one of the slots that its login role may have, then one of the table. It may have to
//! wait for either. The engine has the queues, and says why no waiter is forgotten (`src/engine/pool/slot_waiters.rs`).
//! This module is the session's side: it joins, sleeps, and leaves however the wait ends. An exit does not unwind the
//! stack, so the exit callback leaves the queue for it ([`give_up`]).

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::job_end;
use crate::cluster::latch::ProcessLatch;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::{self, own_proc};
use crate::pg::shim::Identity;
use crate::pg::text;
use crate::settings;
use engine::pool::slot_waiters::Resource;
use engine::pool::usage::Claimed;
use engine::sync::Ordering;
use engine::table::Slot;
use engine::wait::{Micros, condition, wait_for};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, ERRCODE_INSUFFICIENT_RESOURCES,
};

/// Limits of this session's login role, from the session's settings, which only a superuser can set.
#[derive(Clone, Copy)]
pub struct RoleLimits {
    role: u32,
    /// Slots of the job table.
    slots: u32,
    /// Maximum number of slots in use in all, at which this session may still claim one.
    table: u32,
    /// Bytes of blocks in shared memory.
    memory: u64,
    /// Bytes of spill files.
    files: u64,
    /// Workers of the lane; 0 for any number.
    pub lane_workers: u32,
}

impl RoleLimits {
    /// The limits of this session now. A session that logged in as a superuser has none. Being a superuser for a moment
    /// (in a function, by SET ROLE) does not count. Neither does somebody else's function that a superuser calls: its
    /// jobs could launch others forever.
    pub fn capture(cluster: &'static Cluster, identity: &Identity) -> Self {
        let role = identity.authenticated.to_u32();
        let capacity = cluster.jobs().capacity() as u32;
        // SAFETY: a catalog lookup, in the transaction of the calling function.
        let is_unlimited = unsafe {
            pg_sys::superuser_arg(identity.authenticated)
                && (identity.sec_context == 0 || pg_sys::superuser_arg(identity.current))
        };
        if is_unlimited {
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

    /// Stores in a reserved slot the limits that apply later.
    pub fn note(&self, slot: &Slot) {
        slot.memory_limit.store(self.memory, Ordering::Relaxed);
        slot.file_limit.store(self.files, Ordering::Relaxed);
    }
}

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSlot {
    /// The role has reached its limit.
    RoleLimit(RoleSlots),
    /// The table is full.
    TableFull,
    /// Too many roles have jobs.
    TooManyRoles,
}

/// The limit that a role has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleSlots {
    role: u32,
    limit: u32,
}

impl NoSlot {
    /// The error that the user sees.
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
                    "The limit is {limit} jobs in all sessions and databases, counting queued, running and unread jobs."
                ))
                .hint(format_args!(
                    "Read or detach finished jobs, or have a superuser raise pg_background.role_max_jobs (ALTER ROLE {role} SET ...)."
                ))
            }
        }
    }
}

/// What this session is queued for, or was woken for and has not yet claimed or left.
static WAITING: Local<Option<Resource>> = Local::new(None);

/// The usage of which this session has claimed a slot without having one of the table yet.
static ROLE_SLOT: Local<Option<u32>> = Local::new(None);

/// Index of the usage that this session's login role had last.
static USAGE: Local<Option<u32>> = Local::new(None);

/// Gives up an unfinished claim when dropped.
struct WaiterGuard(&'static Cluster);

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        give_up(self.0);
    }
}

/// Claims a slot and passes the job to `claimed` before an interrupt can be processed. Waits up to `timeout_ms`;
/// `None`: not at all.
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
    let deadline = timeout_ms.map(process::in_ms);
    let usage = claim_role_slot(cluster, limits, deadline)?;
    let job = wait(cluster, Resource::Slots, limits.table, deadline, || {
        let job = cluster.job(cluster.pool().claim(usage, limits.table)?);
        ROLE_SLOT.set(None);
        claimed(job);
        Some(job)
    });
    drop(unfinished);
    job.ok_or(NoSlot::TableFull)
}

fn claim_role_slot(
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
            // The entry serves another role by now: this role had no jobs for a moment.
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
            // One of these frees may release the slot that this session waits for.
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

/// Gives up what this session waits for or has half claimed: the session ends, or its launch failed.
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
