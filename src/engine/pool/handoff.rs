//! Fewer wake-ups for short jobs.
//!
//! Waking a process that sleeps takes longer than a small job. A session that launches small jobs one after the
//! other would wake one worker for each. All of them would then compete for the processors, although the worker
//! that ran the job before is free again before any of them is awake. So a launch does the following:
//!
//! 1. It gives the job to an idle worker that is **awake** (it still spins, or is about to sleep). That needs
//!    no wake-up, and the worker need not be the one that went idle last. (It is one of the last few: a worker spins for
//!    less than a millisecond after it went idle.)
//! 2. If all idle workers sleep, and the worker that got the lane's latest job is likely to be free in a moment
//!    ([`BusyWorker`]), it spins for that moment and looks again.
//! 3. It wakes a sleeping worker ([`Scheduler::dispatch`]).
//!
//! While the launch waits, the job is still `Reserved`: it is on no list, and every invariant of the pool
//! holds. The wait is a guess. A wrong one costs the launch [`BusyWorker::within`], at most [`LONGEST`]. A
//! launch in a lane whose jobs are not short never waits: the jobs run side by side at once.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Lane::run_time`: how long its workers take for a job, a moving mean in microseconds | holder of the lock | nobody |
//! | `Lane::latest`: the worker to which its latest job was bound | holder of the lock | nobody |

use super::dispatch::Limits;
use super::entries::LaneKey;
use super::scheduler::Scheduler;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;
use crate::wait::Micros;
use crate::worker::Activity;

/// A worker that takes at most this long for a job is waited for. About as long as waking a process on another
/// virtual processor takes.
const SHORT: u32 = 25;

/// Added to the mean: a job that takes a little longer than the others is still worth waiting for.
const SLACK: u32 = 5;

/// The longest wait.
pub const LONGEST: Micros = (2 * SHORT + SLACK) as Micros;

/// A single long job counts as no more than this, so the mean soon falls again when short ones follow.
const COUNTED: u32 = 8 * SHORT;

/// A job that took longer than the mean moves it by one part in this many of the difference; a shorter job by
/// half. When a small job takes long, the cause is mostly the machine, which is no reason to wake more
/// processes.
const RELUCTANCE: u32 = 8;

/// A worker that will be free in a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusyWorker {
    /// Index of the worker.
    pub worker: u32,
    /// What its word says until then.
    pub busy: Activity,
    /// How long to wait for it, at most.
    pub within: Micros,
}

/// What became of a job when an idle worker that is awake was looked for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awake {
    /// It was handed to one, in the lane with this index. The worker must still be woken: it may be about to
    /// sleep.
    Handed(ProcRef, u32),
    /// No idle worker is awake, but a busy one will be free in a moment. The job is still reserved.
    Wait(BusyWorker),
    /// Neither. The job is still reserved.
    None,
}

impl Scheduler<'_> {
    /// Gives a reserved job to an idle worker of the lane `key` for which `is_awake` is true, if there is one.
    /// `hint` and `limits` are as in [`dispatch`](Self::dispatch).
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
        match self.worker_to_wait_for(index) {
            Some((soon, proc)) if may(proc) => Awake::Wait(soon),
            _ => Awake::None,
        }
    }

    /// The lane's latest worker, if it will soon have done its job and waiting for it could save a wake-up.
    fn worker_to_wait_for(&self, index: u32) -> Option<(BusyWorker, ProcRef)> {
        let lane = self.lane(index);
        let (worker, run_time) = (load(&lane.latest), load(&lane.run_time));
        let entry = self.shared.workers.get(worker as usize)?;
        let somebody_sleeps = !lane.idle.is_empty();
        let busy = entry.word.load().activity();
        let is_busy = matches!(busy, Activity::Busy(_));
        if run_time == 0 || run_time > SHORT || !somebody_sleeps || !is_busy {
            return None;
        }
        let soon = BusyWorker {
            worker,
            busy,
            within: Micros::from(2 * run_time + SLACK),
        };
        (load(&entry.lane) == index).then_some((soon, entry.proc()?))
    }

    /// Notes how long a worker took for a job, from getting it to being ready for another.
    pub fn note_run_time(&mut self, worker: u32, run_time: Micros) {
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
