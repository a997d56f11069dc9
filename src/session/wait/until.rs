//! A session's waits for jobs, and what it checks meanwhile.
//!
//! Every wait of a session for jobs is a [`JobWait`]: until a job is bound to a worker, has finished or has rows, or
//! until the first of many has finished. Meanwhile the session checks, at growing intervals, for a deadlock that leads
//! back to itself. While a job has no worker, it also checks whether a worker is really starting, at intervals of at
//! most [`SPAWN_CHECK_MAX`]. A wait for rows looks for them once more after [`PROMPT`].

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::spawn;
use crate::pg::error::Failure;
use crate::pg::{process, transaction};
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose};
use crate::session::wait::deadlock::DeadlockChecks;
use engine::channel::PROMPT;
use engine::job::Phase;
use engine::wait::{Condition, Micros, condition, timeout, wait_for};

/// A session that waits for a worker spawns again for the job's lane after [`SPAWN_CHECK_FIRST`], then at doubling
/// intervals up to this. A process may have failed to start after it was registered, or the postmaster may have missed
/// that a worker slot waits for its next process ([`spawn::nudge_postmaster`]). No event tells of either, so time replaces
/// it here, and in a process that leaves its worker slot to another ([`spawn::respawn`]).
const SPAWN_CHECK_MAX: Micros = 1_000_000;
/// Several times what it takes to start a process.
const SPAWN_CHECK_FIRST: Micros = 16_000;
/// About what it takes a process to exit.
const SPAWN_CHECK_AFTER_EXIT: Micros = 1_000;

/// Whether the wait loop looks once more a short time after it went to sleep.
#[derive(Clone, Copy)]
enum SecondLook {
    No,
    /// [`PROMPT`] after the first sleep begins
    Wanted,
    At(Micros),
}

/// What a waiting session checks periodically; see the module documentation.
struct WaitChecks {
    /// `None`: never. A wait with a time limit of its own ends anyway.
    deadlock_checks: Option<DeadlockChecks>,
    spawn_check_interval: Micros,
    spawn_check_at: Micros,
    second_look: SecondLook,
    /// The value of [`engine::pool::Pool::passed_on`] when last read.
    passed_on: u32,
}

/// What a session sleeps for: which changes of its jobs' words set its latch.
#[derive(Clone, Copy)]
enum Until {
    /// The next change of one of the words.
    Change,
    /// The end of one of the jobs.
    End,
}

/// A wait for jobs. The jobs' words say that the leader sleeps, its entry says on which jobs ([`engine::pool::sleep`]),
/// and if the leader is the session of a job itself, its worker slot says so as well ([`engine::pool::turns`]). All that
/// is withdrawn when the wait ends, also by an interrupt: [`super::deadlock`] takes a watched job for one whose leader waits.
struct JobWait<J: Iterator<Item = Job> + Clone, C> {
    cluster: &'static Cluster,
    jobs: J,
    until: Until,
    watching: bool,
    /// Whether the transaction holds up nobody, and each look for a deadlock needs one of its own ([`super::outside`]).
    outside: bool,
    checks: WaitChecks,
    condition: C,
}

impl<J: Iterator<Item = Job> + Clone, C: Condition> JobWait<J, C> {
    /// `None`: there are no jobs to wait for.
    fn new(jobs: J, until: Until, condition: C) -> Option<Self> {
        let cluster = jobs.clone().next()?.cluster;
        let now = process::now();
        Some(Self {
            cluster,
            jobs,
            until,
            watching: false,
            outside: false,
            checks: WaitChecks {
                deadlock_checks: Some(DeadlockChecks::begin(now)),
                spawn_check_interval: SPAWN_CHECK_FIRST,
                spawn_check_at: now + SPAWN_CHECK_FIRST,
                second_look: SecondLook::No,
                passed_on: cluster.pool().passed_on(),
            },
            condition,
        })
    }

    fn wait(mut self, deadline: Option<Micros>) -> Option<C::Found> {
        wait_for(&ProcessLatch::new(self.cluster), deadline, &mut self)
    }

    /// A worker that exits may find the server's table of background workers full because of its own entry. It then
    /// leaves its lane to the waiting sessions; the entry becomes free within milliseconds.
    fn check_sooner_if_passed_on(&mut self) {
        let passed_on = self.cluster.pool().passed_on();
        let checks = &mut self.checks;
        if std::mem::replace(&mut checks.passed_on, passed_on) != passed_on {
            checks.spawn_check_interval = SPAWN_CHECK_AFTER_EXIT;
            let sooner = process::now() + SPAWN_CHECK_AFTER_EXIT;
            checks.spawn_check_at = checks.spawn_check_at.min(sooner);
        }
    }

    /// A job that waits for a worker. All jobs of a session are of one lane, so one job is enough.
    fn without_worker(&self) -> Option<Job> {
        let waits = |job: &Job| {
            let phase = job.word().load().phase();
            matches!(phase, Phase::Queued | Phase::Starting)
        };
        self.jobs.clone().find(waits)
    }
}

impl<J: Iterator<Item = Job> + Clone, C: Condition> Condition for JobWait<J, C> {
    type Found = C::Found;

    fn arm(&mut self) {
        if !std::mem::replace(&mut self.watching, true) {
            spawn::note_waiting(self.cluster, true);
        }
        let jobs = self.jobs.clone().map(|job| job.id);
        self.cluster.pool().begin_sleep(process::own_proc(), jobs);
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
        let spawn_check_at = self.without_worker().is_some().then(|| {
            self.check_sooner_if_passed_on();
            self.checks.spawn_check_at
        });
        let second_look = &mut self.checks.second_look;
        if matches!(second_look, SecondLook::Wanted) {
            *second_look = SecondLook::At(process::now() + PROMPT);
        }
        let second_look_at = match *second_look {
            SecondLook::At(moment) => Some(moment),
            SecondLook::No | SecondLook::Wanted => None,
        };
        [
            self.checks
                .deadlock_checks
                .as_ref()
                .map(DeadlockChecks::due),
            spawn_check_at,
            second_look_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn check(&mut self, now: Micros) {
        let checks = &mut self.checks;
        // The wait loop itself has just looked.
        if matches!(checks.second_look, SecondLook::At(moment) if moment <= now) {
            checks.second_look = SecondLook::No;
        }
        if checks.spawn_check_at <= now {
            checks.spawn_check_interval = (2 * checks.spawn_check_interval).min(SPAWN_CHECK_MAX);
            checks.spawn_check_at = now + checks.spawn_check_interval;
            if let Some(job) = self.without_worker() {
                let lane = job.slot().lane();
                let _ = spawn::spawn_workers(self.cluster, lane);
                spawn::nudge_postmaster();
            }
        }
        if let Some(checks) = &mut self.checks.deadlock_checks
            && checks.due() <= now
        {
            if self.outside {
                transaction::next();
            }
            checks.check(self.cluster, now, self.jobs.clone());
            if self.outside {
                transaction::next();
            }
        }
    }
}

impl<J: Iterator<Item = Job> + Clone, C> Drop for JobWait<J, C> {
    fn drop(&mut self) {
        if self.watching {
            spawn::note_waiting(self.cluster, false);
            self.cluster.pool().end_sleep(process::own_proc());
            for job in self.jobs.clone() {
                job.word().unwatch(job.id.generation);
            }
        }
    }
}

/// When a time limit in milliseconds ends; 0 or less: never.
pub fn deadline(timeout_ms: i32) -> Option<Micros> {
    (timeout_ms > 0).then(|| process::in_ms(timeout(timeout_ms)))
}

/// Waits until the condition finds rows of a job. Arming it asks the worker to wake this session for them.
pub fn for_rows<C: Condition>(job: Job, condition: C) -> Option<C::Found> {
    let mut wait = JobWait::new([job].into_iter(), Until::Change, condition)?;
    wait.checks.second_look = SecondLook::Wanted;
    wait.wait(None)
}

/// Waits until `look` finds something, or the deadline. It looks whenever the job's word changes.
pub fn found<T>(job: Job, deadline: Micros, look: impl FnMut() -> Option<T>) -> Option<T> {
    let condition = condition(|| {}, look);
    JobWait::new([job].into_iter(), Until::Change, condition)?.wait(Some(deadline))
}

/// Waits until the first of several jobs has finished and returns its position. `None`: none finished before
/// `deadline`, or there are no jobs. The session waits for *any* of them: it is not deadlocked while one can go on. With
/// a deadline the wait ends by itself, and no deadlock is looked for.
pub fn first_finished(
    jobs: impl Iterator<Item = Job> + Clone,
    deadline: Option<Micros>,
) -> Option<usize> {
    let look = || jobs.clone().position(Job::is_finished);
    let mut wait = JobWait::new(jobs.clone(), Until::End, condition(|| {}, look))?;
    if deadline.is_some() {
        wait.checks.deadlock_checks = None;
    }
    wait.wait(deadline)
}

/// Waits until the job has finished, in a transaction that holds up nobody ([`super::outside`]).
pub fn finished_outside(job: Job) {
    let is_finished = || job.is_finished().then_some(());
    let condition = condition(|| {}, is_finished);
    if let Some(mut wait) = JobWait::new([job].into_iter(), Until::End, condition) {
        wait.outside = true;
        let _ = wait.wait(None);
    }
    jobs::count_if_finished(job);
}

/// Waits until the job has finished. `false`: it did not within the timeout.
fn finished(job: Job, timeout_ms: Option<i32>) -> bool {
    let deadline = timeout_ms.map(process::in_ms);
    let found = first_finished([job].into_iter(), deadline);
    jobs::count_if_finished(job);
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
