//! Waiting for a job, and what is looked at meanwhile.
//!
//! All waits of a session go through [`until`]: for a job to be bound to a worker, to finish, to have
//! rows. Meanwhile a [`LeaderVigil`] looks, at growing intervals, for a deadlock that comes back to this
//! session, and while the job has no worker, every [`LIVENESS_NET`], whether one is really on its way.

use crate::engine::job::{Phase, Snapshot};
use crate::engine::table::JobId;
use crate::engine::wait::{Latch, Micros, Vigil, wait_for};
use crate::leader::deadlock;
use crate::leader::session::{self, Asking, Name};
use crate::pg::cluster::Cluster;
use crate::pg::error::Failure;
use crate::pg::latch::ProcessLatch;
use crate::pg::registration;
use pgrx::pg_sys;
use std::cell::Cell;

/// The longest wait that can be asked for, milliseconds.
pub const MAX_TIMEOUT: i32 = 86_400_000;

/// A job that waits for a worker longer than this has its lane looked at again: a process may have failed
/// to start after it was registered. The one place where time stands in for an event; everything else
/// works without.
pub const LIVENESS_NET: Micros = 1_000_000;

/// See the module documentation.
struct LeaderVigil {
    cluster: &'static Cluster,
    job: JobId,
    lane: u32,
    interval: Micros,
    deadlock_due: Micros,
    net_due: Micros,
}

impl LeaderVigil {
    fn new(cluster: &'static Cluster, job: JobId, now: Micros) -> Self {
        // SAFETY: a plain setting.
        let interval = unsafe { pg_sys::DeadlockTimeout } as Micros * 1000;
        Self {
            cluster,
            job,
            lane: cluster.slot(job).lane(),
            interval,
            deadlock_due: now + interval,
            net_due: now + LIVENESS_NET,
        }
    }

    fn has_no_worker(&self) -> bool {
        let phase = self.cluster.slot(self.job).word.load().phase();
        matches!(phase, Phase::Queued | Phase::Starting)
    }
}

impl Vigil for LeaderVigil {
    fn due(&self) -> Option<Micros> {
        Some(if self.has_no_worker() {
            self.net_due.min(self.deadlock_due)
        } else {
            self.deadlock_due
        })
    }

    fn look(&mut self, now: Micros) {
        if self.net_due <= now {
            self.net_due = now + LIVENESS_NET;
            if self.has_no_worker() {
                let _ = registration::staff(self.cluster, self.lane, None);
            }
        }
        if self.deadlock_due <= now {
            self.interval = self.interval.saturating_mul(2);
            self.deadlock_due = now.saturating_add(self.interval);
            deadlock::check(self.cluster, self.job);
        }
    }
}

/// A wait that says in the job's word that it sleeps; unsaid when it ends, by an interrupt too, because
/// [`deadlock`] takes a watched job for one whose leader waits.
struct Watch {
    cluster: &'static Cluster,
    job: JobId,
    watching: Cell<bool>,
}

impl Watch {
    fn arm(&self) {
        self.watching.set(true);
        let _ = self.cluster.slot(self.job).word.watch(self.job.generation);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.watching.get() {
            self.cluster
                .slot(self.job)
                .word
                .unwatch(self.job.generation);
        }
    }
}

/// Waits until `look` finds what it looks for, or `timeout_ms` have passed (`None`: for ever). The leader's
/// doorbell is rung when the job's word changes; `arm` says what else shall ring it.
pub fn until<T>(
    cluster: &'static Cluster,
    job: JobId,
    timeout_ms: Option<i32>,
    arm: impl Fn(),
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let worker = cluster.pool().likely_process(job);
    let latch = ProcessLatch::with_partner(cluster, worker);
    let now = latch.now();
    let deadline = timeout_ms.map(|limit| now + limit as Micros * 1000);
    let mut vigil = LeaderVigil::new(cluster, job, now);
    let watch = Watch {
        cluster,
        job,
        watching: Cell::new(false),
    };
    let arm = || {
        watch.arm();
        arm();
    };
    wait_for(&latch, deadline, &mut vigil, arm, look)
}

/// Waits until the job's word satisfies `wanted`. Returns the word, or `None` at the timeout.
pub fn for_word(
    cluster: &'static Cluster,
    job: JobId,
    timeout_ms: Option<i32>,
    wanted: impl Fn(Snapshot) -> bool,
) -> Option<Snapshot> {
    let word = &cluster.slot(job).word;
    until(
        cluster,
        job,
        timeout_ms,
        || {},
        || Some(word.load()).filter(|now| wanted(*now)),
    )
}

/// Waits until the job has finished. `false`: not within the timeout.
///
/// # Errors
/// None of its own; interrupts and deadlocks are raised from inside.
pub fn finished(
    cluster: &'static Cluster,
    job: JobId,
    timeout_ms: Option<i32>,
) -> Result<bool, Failure> {
    let found = for_word(cluster, job, timeout_ms, |now| now.phase().is_finished());
    session::notice(cluster, job);
    Ok(found.is_some())
}

/// Waits for a job by name.
///
/// # Errors
/// As [`session::find`].
pub fn by_name(name: Name, timeout_ms: Option<i32>) -> Result<bool, Failure> {
    let (cluster, tracked) = session::find(name, Asking::ForControl)?;
    let timeout = timeout_ms.map(|limit| limit.clamp(0, MAX_TIMEOUT));
    finished(cluster, tracked.job, timeout)
}
