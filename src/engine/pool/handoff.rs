//! Fewer wake-ups for short jobs.
//!
//! Waking a process that sleeps takes longer than a small job. A session that launches small jobs one after
//! the other would wake one worker for each, all of which then compete for the processors, while the one
//! that ran the job before is free again before any of them is awake. So a launch first
//!
//! 1. gives the job to an idle worker that is **awake** (it still spins, or is on its way to sleep): that
//!    needs no wake-up, whichever worker went idle last;
//! 2. if all that are idle sleep, and the lane's latest job was given to a worker that by experience will be
//!    free **soon** ([`Soon`]), waits that moment, spinning, and looks again;
//! 3. wakes a sleeping one ([`Scheduler::dispatch`]).
//!
//! Nothing is published until the job has its place: while the launch waits the job is still `Reserved`, no
//! list has it, and every invariant of the pool holds. What is waited for is a guess; a wrong one costs the
//! launch [`Soon::within`], at most [`LONGEST`]. A lane whose jobs are not short is never waited for: its
//! jobs run side by side at once, as they did before.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Lane::run_time`: what its workers take for a job, a moving mean, microseconds | holder of the lock | nobody |
//! | `Lane::latest`: the worker that a job of it was bound to last | holder of the lock | nobody |

use super::dispatch::Limits;
use super::entries::LaneKey;
use super::scheduler::Scheduler;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;
use crate::wait::Micros;
use crate::worker::Activity;

/// A worker that takes so long for a job, or less, is waited for. About what waking a process on another
/// virtual processor takes.
const SHORT: u32 = 25;

/// More than the mean: a job that takes a little longer than the others is still worth waiting for.
const SLACK: u32 = 5;

/// The longest wait.
pub const LONGEST: Micros = (2 * SHORT + SLACK) as Micros;

/// A single long job counts as no more than this, so that the short ones after it are soon known as short.
const COUNTED: u32 = 8 * SHORT;

/// A job that took longer than the mean moves it by so small a part of the difference; a shorter one by half.
/// What makes a small job take long is mostly the machine, and that is no reason to wake more processes.
const RELUCTANCE: u32 = 8;

/// A worker that will be free in a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Soon {
    /// Index of the worker.
    pub worker: u32,
    /// What its word says until then.
    pub busy: Activity,
    /// How long to wait for it, at most.
    pub within: Micros,
}

/// What became of a job for which an idle worker that is awake was looked for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awake {
    /// It has one, in the lane with this index. Its doorbell must still be rung: it may be just about to
    /// sleep.
    Handed(ProcRef, u32),
    /// It has none, but one will be free in a moment. The job is still reserved.
    Soon(Soon),
    /// It has none. The job is still reserved.
    None,
}

impl Scheduler<'_> {
    /// Gives a reserved job to an idle worker of the lane `key` of which `is_awake` holds, if there is one.
    /// `hint` and `limits` are as in [`place`](Self::dispatch).
    pub fn dispatch_awake(
        &mut self,
        job: JobId,
        key: LaneKey,
        hint: u32,
        limits: impl Into<Limits>,
        is_awake: impl Fn(ProcRef) -> bool,
    ) -> Awake {
        let limits = limits.into();
        let slot = self.slot(job.index);
        if self.refuses(load(&slot.usage)) {
            return Awake::None;
        }
        let Some(index) = self.find_lane(key, hint) else {
            return Awake::None;
        };
        if !self.may_admit(slot, limits.session_jobs) {
            return Awake::None;
        }
        let may = |idle: ProcRef| slot.may_run_on(idle.pid(), false);
        if let Some(worker) = self.take_idle(index, |idle| may(idle) && is_awake(idle)) {
            slot.lane.store(index, Ordering::Relaxed);
            self.limit_lane(index, limits);
            slot.word.publish(job.generation);
            let admitted = self.admit_new(job.index, limits.session_jobs);
            debug_assert!(admitted, "it was asked for above");
            return Awake::Handed(self.bind(job, worker).0, index);
        }
        match self.soon(index) {
            Some((soon, proc)) if may(proc) => Awake::Soon(soon),
            _ => Awake::None,
        }
    }

    /// The lane's latest worker, if it has a job and will have done it soon, and waiting for it could spare a
    /// wake-up.
    fn soon(&self, index: u32) -> Option<(Soon, ProcRef)> {
        let lane = self.lane(index);
        let (worker, run_time) = (load(&lane.latest), load(&lane.run_time));
        let entry = self.shared.workers.get(worker as usize)?;
        let somebody_sleeps = !lane.idle.is_empty();
        let busy = entry.word.load().activity();
        let is_busy = matches!(busy, Activity::Busy(_));
        if run_time == 0 || run_time > SHORT || !somebody_sleeps || !is_busy {
            return None;
        }
        let soon = Soon {
            worker,
            busy,
            within: Micros::from(2 * run_time + SLACK),
        };
        (load(&entry.lane) == index).then_some((soon, entry.proc()?))
    }

    /// A worker took so long for a job, from being given it to being ready for another.
    pub fn took(&mut self, worker: u32, run_time: Micros) {
        let lane = self.lane_of(worker);
        let latest = run_time.clamp(1, COUNTED.into()) as u32;
        let mean = match load(&lane.run_time) {
            0 => latest,
            mean if latest > mean => mean + (latest - mean).div_ceil(RELUCTANCE),
            mean => latest.midpoint(mean),
        };
        lane.run_time.store(mean, Ordering::Relaxed);
    }
}
