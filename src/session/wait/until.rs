//! Waiting for jobs, and what is looked at meanwhile.
//!
//! All waits of a session for jobs go through [`until_any`]: for one to be bound to a worker, to finish, to
//! have rows; for the first of many to finish. Meanwhile a [`LeaderVigil`] looks, at growing intervals, for
//! a deadlock that comes back to this session, and while a job has no worker, at intervals of
//! [`LIVENESS_NET`] at most, whether one is really on its way. Who waits for rows looks for them once more
//! after [`PROMPT`].

use crate::cluster::attach::Cluster;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::spawn;
use crate::pg::error::Failure;
use crate::pg::process;
use crate::session::jobs;
use crate::session::jobs::{Asking, Name};
use crate::session::wait::deadlock;
use engine::channel::PROMPT;
use engine::job::Phase;
use engine::table::JobId;
use engine::wait::{Micros, Vigil, timeout, wait_for};
use std::cell::Cell;

/// A job that waits for a worker has its lane looked at again, after [`NET_FIRST`], then at doubling intervals
/// up to this: a process may have failed to start after it was registered, or the postmaster may have missed
/// that a place waits for its next process ([`spawn::nudge`]). The one place where time stands in for
/// an event; everything else works without.
pub const LIVENESS_NET: Micros = 1_000_000;
/// Several times what starting a process takes.
const NET_FIRST: Micros = 16_000;
/// About what the exit of a process takes.
const NET_AFTER_ONE_HAS_LEFT: Micros = 1_000;

/// Whether the wait loop is to look once more soon after it went to sleep.
#[derive(Clone, Copy)]
enum SecondLook {
    No,
    /// [`PROMPT`] after the first sleep begins.
    Wanted,
    At(Micros),
}

/// See the module documentation.
struct LeaderVigil<'a> {
    cluster: &'static Cluster,
    jobs: &'a [JobId],
    interval: Micros,
    deadlock_due: Micros,
    net_interval: Cell<Micros>,
    net_due: Cell<Micros>,
    second_look: Cell<SecondLook>,
    /// [`engine::pool::Pool::passed_on`] as it was last seen.
    passed_on: Cell<u32>,
    patience: deadlock::Patience,
}

impl<'a> LeaderVigil<'a> {
    fn new(cluster: &'static Cluster, jobs: &'a [JobId], now: Micros) -> Self {
        let interval = process::deadlock_timeout();
        Self {
            cluster,
            jobs,
            interval,
            deadlock_due: now + interval,
            net_interval: Cell::new(NET_FIRST),
            net_due: Cell::new(now + NET_FIRST),
            passed_on: Cell::new(cluster.pool().passed_on()),
            second_look: Cell::new(SecondLook::No),
            patience: deadlock::Patience::default(),
        }
    }

    /// A worker that leaves has found the server's table full, because of its own entry in it, and left the lane to
    /// who waits: the entry is free within milliseconds.
    fn look_soon_if_passed_on(&self) {
        let passed_on = self.cluster.pool().passed_on();
        if self.passed_on.replace(passed_on) != passed_on {
            self.net_interval.set(NET_AFTER_ONE_HAS_LEFT);
            let soon = process::now() + NET_AFTER_ONE_HAS_LEFT;
            self.net_due.set(self.net_due.get().min(soon));
        }
    }

    /// A job that waits for a worker. All jobs of a session are of one lane.
    fn without_worker(&self) -> Option<JobId> {
        let waits = |job: &JobId| {
            let phase = self.cluster.slot(*job).word.load().phase();
            matches!(phase, Phase::Queued | Phase::Starting)
        };
        self.jobs.iter().copied().find(waits)
    }
}

impl Vigil for LeaderVigil<'_> {
    fn due(&self) -> Option<Micros> {
        let due = if self.without_worker().is_some() {
            self.look_soon_if_passed_on();
            self.net_due.get().min(self.deadlock_due)
        } else {
            self.deadlock_due
        };
        if matches!(self.second_look.get(), SecondLook::Wanted) {
            self.second_look
                .set(SecondLook::At(process::now() + PROMPT));
        }
        Some(match self.second_look.get() {
            SecondLook::At(moment) => moment.min(due),
            SecondLook::No | SecondLook::Wanted => due,
        })
    }

    fn look(&mut self, now: Micros) {
        // The look itself is the wait loop's, which has just had it.
        if matches!(self.second_look.get(), SecondLook::At(moment) if moment <= now) {
            self.second_look.set(SecondLook::No);
        }
        if self.net_due.get() <= now {
            self.net_interval
                .set((2 * self.net_interval.get()).min(LIVENESS_NET));
            self.net_due.set(now + self.net_interval.get());
            if let Some(job) = self.without_worker() {
                let lane = self.cluster.slot(job).lane();
                let _ = spawn::staff(self.cluster, lane, None);
                spawn::nudge();
            }
        }
        if self.deadlock_due <= now {
            self.interval = self.interval.saturating_mul(2);
            self.deadlock_due = now.saturating_add(self.interval);
            deadlock::check(self.cluster, self.jobs, &mut self.patience);
        }
    }
}

/// A wait that says in the jobs' words that it sleeps; unsaid when it ends, by an interrupt too, because
/// [`deadlock`] takes a watched job for one whose leader waits.
struct Watch<'a> {
    cluster: &'static Cluster,
    jobs: &'a [JobId],
    until: Until,
    watching: Cell<bool>,
}

/// What a session sleeps for; says which changes of its jobs' words ring its doorbell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// The next change of one of them.
    Change,
    /// The end of one of them.
    End,
}

impl Watch<'_> {
    fn arm(&self) {
        self.watching.set(true);
        for job in self.jobs {
            let word = &self.cluster.slot(*job).word;
            let _ = match self.until {
                Until::Change => word.watch(job.generation),
                Until::End => word.await_end(job.generation),
            };
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.watching.get() {
            for job in self.jobs {
                self.cluster.slot(*job).word.unwatch(job.generation);
            }
        }
    }
}

/// When a time limit in milliseconds is over; 0 or less: never.
pub fn deadline(timeout_ms: i32) -> Option<Micros> {
    (timeout_ms > 0).then(|| process::now() + timeout(timeout_ms) as Micros * 1000)
}

/// Waits until `look` finds what it looks for, or `deadline` has come. The leader's doorbell is rung when one of
/// the jobs does what `until` says; `arm` says what else shall ring it. The session waits for *any* of them:
/// it is not taken for deadlocked while one can go on.
pub fn until_any<T>(
    cluster: &'static Cluster,
    jobs: &[JobId],
    until: Until,
    deadline: Option<Micros>,
    arm: impl Fn(),
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let vigil = LeaderVigil::new(cluster, jobs, process::now());
    keeping(vigil, until, deadline, arm, look)
}

fn keeping<T>(
    mut vigil: LeaderVigil<'_>,
    until: Until,
    deadline: Option<Micros>,
    arm: impl Fn(),
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let (cluster, jobs) = (vigil.cluster, vigil.jobs);
    let latch = ProcessLatch::new(cluster);
    let watch = Watch {
        cluster,
        jobs,
        until,
        watching: Cell::new(false),
    };
    let arm = || {
        watch.arm();
        arm();
    };
    wait_for(&latch, deadline, &mut vigil, arm, look)
}

/// Waits for rows of a job; `arm` says that its worker shall ring for them.
pub fn for_rows<T>(
    cluster: &'static Cluster,
    job: JobId,
    arm: impl Fn(),
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let (now, jobs) = (process::now(), [job]);
    let vigil = LeaderVigil {
        second_look: Cell::new(SecondLook::Wanted),
        ..LeaderVigil::new(cluster, &jobs, now)
    };
    keeping(vigil, Until::Change, None, arm, look)
}

/// As [`until_any`], for one job and so long at most.
pub fn until<T>(
    cluster: &'static Cluster,
    job: JobId,
    timeout_ms: i32,
    arm: impl Fn(),
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = process::now() + timeout_ms as Micros * 1000;
    until_any(cluster, &[job], Until::Change, Some(deadline), arm, look)
}

/// Waits until the first of several jobs has finished; `None`: none until `deadline`.
pub fn first_finished(
    cluster: &'static Cluster,
    jobs: &[JobId],
    deadline: Option<Micros>,
) -> Option<usize> {
    until_any(
        cluster,
        jobs,
        Until::End,
        deadline,
        || {},
        || {
            jobs.iter()
                .position(|job| cluster.slot(*job).word.load().phase().is_finished())
        },
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
    let deadline = timeout_ms.map(|limit| process::now() + limit as Micros * 1000);
    let found = first_finished(cluster, &[job], deadline);
    jobs::notice(cluster, job);
    Ok(found.is_some())
}

/// Waits for a job by name.
///
/// # Errors
/// As [`jobs::find`].
pub fn by_name(name: Name, timeout_ms: Option<i32>) -> Result<bool, Failure> {
    let (cluster, tracked) = jobs::find(name, Asking::ForControl)?;
    finished(cluster, tracked.job, timeout_ms.map(timeout))
}
