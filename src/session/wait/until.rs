//! Waiting for jobs, and what is looked at meanwhile.
//!
//! All waits of a session for jobs are a [`Wait`]: for one to be bound to a worker, to finish, to have rows; for
//! the first of many to finish. Meanwhile it checks, at growing intervals, for a deadlock that comes back to this
//! session, and while a job has no worker, at intervals of [`LIVENESS_NET`] at most, whether one is really on its
//! way. Who waits for rows looks for them once more after [`PROMPT`].

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::spawn;
use crate::pg::error::Failure;
use crate::pg::process;
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose};
use crate::session::wait::deadlock;
use engine::channel::PROMPT;
use engine::job::Phase;
use engine::wait::{Condition, Micros, condition, timeout, wait_for};

/// A job that waits for a worker has its lane looked at again, after [`NET_FIRST`], then at doubling intervals
/// up to this: a process may have failed to start after it was registered, or the postmaster may have missed
/// that a place waits for its next process ([`spawn::nudge_postmaster`]). The one place where time stands in for
/// an event; everything else works without.
const LIVENESS_NET: Micros = 1_000_000;
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

/// What a waiting session checks from time to time; see the module documentation.
struct PeriodicCheck {
    interval: Micros,
    deadlock_due: Micros,
    net_interval: Micros,
    net_due: Micros,
    second_look: SecondLook,
    /// [`engine::pool::Pool::passed_on`] as it was last seen.
    passed_on: u32,
    patience: deadlock::Patience,
}

/// What a session sleeps for; says which changes of its jobs' words ring its doorbell.
#[derive(Clone, Copy)]
enum Until {
    /// The next change of one of them.
    Change,
    /// The end of one of them.
    End,
}

/// A wait for jobs. It says in their words that it sleeps; unsaid when it ends, by an interrupt too, because
/// [`deadlock`] takes a watched job for one whose leader waits.
struct Wait<J: Iterator<Item = Job> + Clone, C> {
    cluster: &'static Cluster,
    jobs: J,
    until: Until,
    watching: bool,
    periodic: PeriodicCheck,
    condition: C,
}

impl<J: Iterator<Item = Job> + Clone, C: Condition> Wait<J, C> {
    /// `None`: there are no jobs to wait for.
    fn new(jobs: J, until: Until, condition: C) -> Option<Self> {
        let cluster = jobs.clone().next()?.cluster;
        let (interval, now) = (process::deadlock_timeout(), process::now());
        Some(Self {
            cluster,
            jobs,
            until,
            watching: false,
            periodic: PeriodicCheck {
                interval,
                deadlock_due: now + interval,
                net_interval: NET_FIRST,
                net_due: now + NET_FIRST,
                second_look: SecondLook::No,
                passed_on: cluster.pool().passed_on(),
                patience: deadlock::Patience::default(),
            },
            condition,
        })
    }

    fn wait(mut self, deadline: Option<Micros>) -> Option<C::Found> {
        wait_for(&ProcessLatch::new(self.cluster), deadline, &mut self)
    }

    /// A worker that leaves has found the server's table full, because of its own entry in it, and left the lane to
    /// who waits: the entry is free within milliseconds.
    fn look_soon_if_passed_on(&mut self) {
        let passed_on = self.cluster.pool().passed_on();
        let periodic = &mut self.periodic;
        if std::mem::replace(&mut periodic.passed_on, passed_on) != passed_on {
            periodic.net_interval = NET_AFTER_ONE_HAS_LEFT;
            let soon = process::now() + NET_AFTER_ONE_HAS_LEFT;
            periodic.net_due = periodic.net_due.min(soon);
        }
    }

    /// A job that waits for a worker. All jobs of a session are of one lane.
    fn without_worker(&self) -> Option<Job> {
        let waits = |job: &Job| {
            let phase = job.word().load().phase();
            matches!(phase, Phase::Queued | Phase::Starting)
        };
        self.jobs.clone().find(waits)
    }
}

impl<J: Iterator<Item = Job> + Clone, C: Condition> Condition for Wait<J, C> {
    type Found = C::Found;

    fn arm(&mut self) {
        self.watching = true;
        for job in self.jobs.clone() {
            let (word, generation) = (job.word(), job.id.generation);
            let _ = match self.until {
                Until::Change => word.watch(generation),
                Until::End => word.await_end(generation),
            };
        }
        self.condition.arm();
    }

    fn look(&mut self) -> Option<C::Found> {
        self.condition.look()
    }

    fn next_check(&mut self) -> Option<Micros> {
        let due = if self.without_worker().is_some() {
            self.look_soon_if_passed_on();
            self.periodic.net_due.min(self.periodic.deadlock_due)
        } else {
            self.periodic.deadlock_due
        };
        let second_look = &mut self.periodic.second_look;
        if matches!(second_look, SecondLook::Wanted) {
            *second_look = SecondLook::At(process::now() + PROMPT);
        }
        Some(match *second_look {
            SecondLook::At(moment) => moment.min(due),
            SecondLook::No | SecondLook::Wanted => due,
        })
    }

    fn check(&mut self, now: Micros) {
        let periodic = &mut self.periodic;
        // The look itself is the wait loop's, which has just had it.
        if matches!(periodic.second_look, SecondLook::At(moment) if moment <= now) {
            periodic.second_look = SecondLook::No;
        }
        if periodic.net_due <= now {
            periodic.net_interval = (2 * periodic.net_interval).min(LIVENESS_NET);
            periodic.net_due = now + periodic.net_interval;
            if let Some(job) = self.without_worker() {
                let lane = job.slot().lane();
                let _ = spawn::spawn_workers(self.cluster, lane, None);
                spawn::nudge_postmaster();
            }
        }
        let periodic = &mut self.periodic;
        if periodic.deadlock_due <= now {
            periodic.interval = periodic.interval.saturating_mul(2);
            periodic.deadlock_due = now.saturating_add(periodic.interval);
            deadlock::check(self.cluster, self.jobs.clone(), &mut periodic.patience);
        }
    }
}

impl<J: Iterator<Item = Job> + Clone, C> Drop for Wait<J, C> {
    fn drop(&mut self) {
        if self.watching {
            for job in self.jobs.clone() {
                job.word().unwatch(job.id.generation);
            }
        }
    }
}

/// When a time limit in milliseconds is over; 0 or less: never.
pub fn deadline(timeout_ms: i32) -> Option<Micros> {
    (timeout_ms > 0).then(|| process::now() + timeout(timeout_ms) as Micros * 1000)
}

/// Waits for rows of a job: until the condition finds some. Arming it says that the worker shall ring for them.
pub fn for_rows<C: Condition>(job: Job, condition: C) -> Option<C::Found> {
    let mut wait = Wait::new([job].into_iter(), Until::Change, condition)?;
    wait.periodic.second_look = SecondLook::Wanted;
    wait.wait(None)
}

/// Waits until `look` finds what it looks for, so long at most. It looks whenever the job's word changes.
pub fn until<T>(job: Job, timeout_ms: i32, look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = process::now() + timeout_ms as Micros * 1000;
    let condition = condition(|| {}, look);
    Wait::new([job].into_iter(), Until::Change, condition)?.wait(Some(deadline))
}

/// Waits until the first of several jobs has finished, and tells its position; `None`: none until `deadline`, or there
/// are none. The session waits for *any* of them: it is not taken for deadlocked while one can go on.
pub fn first_finished(
    jobs: impl Iterator<Item = Job> + Clone,
    deadline: Option<Micros>,
) -> Option<usize> {
    let look = || jobs.clone().position(Job::is_finished);
    Wait::new(jobs.clone(), Until::End, condition(|| {}, look))?.wait(deadline)
}

/// Waits until the job has finished. `false`: not within the timeout.
fn finished(job: Job, timeout_ms: Option<i32>) -> bool {
    let deadline = timeout_ms.map(|limit| process::now() + limit as Micros * 1000);
    let found = first_finished([job].into_iter(), deadline);
    jobs::notice(job);
    found.is_some()
}

/// Waits for a job by name.
///
/// # Errors
/// As [`jobs::find`]; interrupts and deadlocks are raised from inside.
pub fn by_name(name: JobName, timeout_ms: Option<i32>) -> Result<bool, Failure> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    Ok(finished(tracked.job, timeout_ms.map(timeout)))
}
