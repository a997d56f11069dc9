//! Claiming a slot of the job table, and waiting for one.
//!
//! The engine has the steps (`src/engine/pool/slot_claim.rs`), and the queues (`src/engine/pool/slot_waiters.rs`). This
//! module is the session's side: what it may claim, where its notes are, on what it sleeps, and what the user reads when
//! there is no slot. An exit does not unwind the stack, so the exit callback gives up for it ([`give_up`]).

use crate::cluster::attach::{Cluster, PoolLwLock};
use crate::cluster::job::Job;
use crate::cluster::job_end;
use crate::cluster::latch::ProcessLatch;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::{self, own_proc};
use crate::pg::server;
use crate::pg::shim::Identity;
use crate::pg::text;
use crate::session::wait::deadlock::DeadlockChecks;
use crate::settings;
use engine::pool::Pool;
use engine::pool::slot_claim::{self, Ask, Claimant, Notes};
use engine::process_ref::ProcRef;
use engine::sync::Ordering;
use engine::table::Slot;
use engine::wait::{Latch, Micros};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, ERRCODE_INSUFFICIENT_RESOURCES,
};
use std::cell::RefCell;

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
            server::superuser_arg(identity.authenticated)
                && (identity.sec_context == 0 || server::superuser_arg(identity.current))
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
pub struct NoSlot {
    why: slot_claim::NoSlot,
    role: u32,
    limit: u32,
}

impl NoSlot {
    /// The error that the user sees.
    pub fn error(self) -> Error {
        let Self { why, role, limit } = self;
        match why {
            slot_claim::NoSlot::TableFull => no_slot(),
            slot_claim::NoSlot::TooManyRoles => Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "too many roles have background jobs",
            ),
            slot_claim::NoSlot::RoleLimit => {
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

/// What this session has of an unfinished claim.
static NOTES: Local<Notes> = Local::new(Notes::NONE);

/// This session, as the engine's steps see it.
struct Session {
    cluster: &'static Cluster,
    latch: ProcessLatch<'static>,
    /// `None`: never.
    deadlock_checks: Option<RefCell<DeadlockChecks>>,
}

impl Session {
    fn new(cluster: &'static Cluster) -> Self {
        Self {
            cluster,
            latch: ProcessLatch::new(cluster),
            deadlock_checks: None,
        }
    }

    /// Looks for a deadlock while it waits. Of no use for a wait that ends anyway.
    fn checking_for_deadlocks(self) -> Self {
        let checks = DeadlockChecks::begin(process::now());
        Self {
            deadlock_checks: Some(RefCell::new(checks)),
            ..self
        }
    }
}

impl Claimant for Session {
    type Lock = PoolLwLock;

    fn proc(&self) -> ProcRef {
        own_proc()
    }

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.cluster.pool()
    }

    fn latch(&self) -> &impl Latch {
        &self.latch
    }

    fn notes(&self) -> Notes {
        NOTES.get()
    }

    fn set_notes(&self, notes: Notes) {
        NOTES.set(notes);
    }

    fn after_join(&self) {
        fault!("slot-waiter-listed");
    }

    fn release_deferred(&self) {
        job_end::release_deferred(self.cluster);
    }

    fn next_check(&self) -> Option<Micros> {
        let checks = self.deadlock_checks.as_ref()?;
        Some(checks.borrow().due())
    }

    fn check(&self, now: Micros) {
        if let Some(checks) = &self.deadlock_checks {
            checks.borrow_mut().check_slot_wait(self.cluster, now);
        }
    }
}

/// How long a launch waits for a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotWait {
    /// Not at all.
    No,
    /// Up to this moment.
    Until(Micros),
    /// As long as it takes: the wait ends by an interrupt, or as a deadlock.
    Forever,
}

impl SlotWait {
    /// Up to this moment if there is one, otherwise for `pg_background.launch_timeout`.
    pub fn until_or_launch_timeout(deadline: Option<Micros>) -> Self {
        Self::Until(deadline.unwrap_or_else(|| process::in_ms(settings::launch_timeout())))
    }

    fn deadline(self) -> Option<Micros> {
        match self {
            Self::No => None,
            Self::Until(deadline) => Some(deadline),
            Self::Forever => Some(process::in_ms(i32::MAX)),
        }
    }
}

/// Claims a slot and passes the job to `claimed` before an interrupt can be processed. May raise 40P01.
///
/// # Errors
/// [`NoSlot`] says why there was none.
pub fn claim(
    cluster: &'static Cluster,
    limits: &RoleLimits,
    wait: SlotWait,
    mut claimed: impl FnMut(Job),
) -> Result<Job, NoSlot> {
    let ask = Ask {
        role: limits.role,
        role_slots: limits.slots,
        table_slots: limits.table,
    };
    let session = match wait {
        SlotWait::Forever => Session::new(cluster).checking_for_deadlocks(),
        SlotWait::No | SlotWait::Until(_) => Session::new(cluster),
    };
    let job = slot_claim::claim(&session, ask, wait.deadline(), |id| {
        claimed(cluster.job(id));
    });
    job.map(|id| cluster.job(id)).map_err(|why| NoSlot {
        why,
        role: limits.role,
        limit: limits.slots,
    })
}

/// Gives up what this session waits for or has half claimed: the session ends.
pub fn give_up(cluster: &'static Cluster) {
    slot_claim::give_up(&Session::new(cluster));
}

/// The job table is full.
fn no_slot() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_RESOURCES,
        "too many background jobs in the cluster",
    )
    .hint("Read or detach finished jobs, or raise pg_background.max_jobs and restart the server.")
}
