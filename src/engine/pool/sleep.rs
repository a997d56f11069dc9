//! What sessions sleep on, for a process that looks for a deadlock.
//!
//! A job's word says whether its leader sleeps on it. But whoever wants to know on which jobs one session sleeps would
//! have to look at all slots of the table. So a session that is about to sleep *chains* these jobs: its entry names one
//! of them, and each slot the next.
//!
//! [`Sleepers::sleep_of`] follows a chain past the jobs that have a worker, of which there are no more than worker slots,
//! up to the first that is queued. That one is enough, because all jobs of a session are in one lane:
//!
//! * If it is in the lane's queue, it waits for any process that could serve the lane. The processes that have other
//!   jobs of the session are among these.
//! * If it is throttled, it waits for the session's jobs that have a permit. If one of those is in the lane's queue, it
//!   waits for the same as that one; otherwise none of the session's is there (jobs without a permit, those of a
//!   fan-out, are in no wait together with others).
//!
//! So the cost depends on how many processes wait, and not on how many jobs there are. The lock is taken once for each
//! lane of which a queued job is waited for.
//!
//! # Slots
//!
//! A session that waits for a slot ([`super::slot_waiters`]) sleeps on those who can free one: the leaders of the jobs
//! that have one, and the workers of jobs that no leader has any more. This costs a look at the table. What can free one
//! without any of these ends the look: a job that nobody runs yet, or a launch that has a slot of its role only.
//!
//! # Hazard
//!
//! **A session sleeps again while its chain is followed.** Part of the old chain and part of the new one could be taken
//! for a wait that there never was, without a job that could go on. So a session counts its sleeps. The count is in its
//! entry and in each slot of the chain, in one word with the link. Who finds another count in a slot than in the entry
//! knows that the session was awake meanwhile: it is not stuck. So each word can be trusted by itself, in whichever order
//! they become visible. The count also tells a session that it has a job in the chain already. A new job's slot has count
//! 0, which no sleep has.
//!
//! What is found is not of one moment, except for what is looked at under the lock. A circle of waits does not go away,
//! so who has found one looks again.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Leader::sleep` | the session itself, without the lock | anyone |
//! | `Slot::chained` | the leader, without the lock | anyone |

#![allow(
    clippy::disallowed_methods,
    reason = "as many as there are worker slots"
)]

use super::entries::{Leader, Permit};
use super::scheduler::{Pool, PoolLock, Scheduler};
use super::slot_waiters::Resource;
use crate::chain::ChainLink;
use crate::deadlock::{Pid, Sleep};
use crate::job::Phase;
use crate::list::Link;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::JobId;
use crate::worker::Activity;
use std::collections::BTreeMap;
use std::rc::Rc;

impl<'a, L: PoolLock> Pool<'a, L> {
    /// The session `proc` is about to sleep on these jobs, which it holds. Only itself calls this.
    pub fn begin_sleep(&self, proc: ProcRef, jobs: impl Iterator<Item = JobId>) {
        let Some(leader) = self.leader(proc) else {
            return;
        };
        let (before, _) = leader.sleep.load();
        let count = ChainLink::next_count(before);
        let mut first = Link::NONE;
        for job in jobs {
            let chained = &self.shared.jobs.slot(job.index).chained;
            let (chained_in, _) = chained.load();
            if chained_in != count {
                chained.store(count, first);
                first = Link::to(job.index);
            }
        }
        leader.sleep.store(count, first);
    }

    /// It sleeps on no job any more.
    pub fn end_sleep(&self, proc: ProcRef) {
        if let Some(leader) = self.leader(proc) {
            let (count, _) = leader.sleep.load();
            leader.sleep.store(count, Link::NONE);
        }
    }

    fn session_with(&self, pid: Pid) -> Option<(ProcRef, &'a Leader)> {
        let leaders = self.shared.leaders.iter();
        let mut sessions = leaders.filter_map(|leader| Some((leader.proc()?, leader)));
        sessions.find(|(proc, _)| proc.pid() == pid)
    }
}

/// Tells what sessions sleep on. For one look at the waits: it remembers what it has found out about lanes.
pub struct Sleepers<'a, L, S> {
    pool: Pool<'a, L>,
    /// Starts workers for a lane, if they can be had. Whether they can.
    serve: S,
    /// By lane: the processes that could serve it. `None`: it will have a worker.
    in_worker_slots: BTreeMap<u32, Option<Rc<Vec<Pid>>>>,
}

impl<'a, L: PoolLock, S: FnMut(u32) -> bool> Sleepers<'a, L, S> {
    /// `serve` starts workers for the queued jobs of a lane. It returns whether the lane has enough of them now.
    pub fn new(pool: Pool<'a, L>, serve: S) -> Self {
        Self {
            pool,
            serve,
            in_worker_slots: BTreeMap::new(),
        }
    }

    /// On which processes the jobs depend on which this process sleeps. `None`: it sleeps on none, or one of them goes
    /// on, or has changed.
    pub fn sleep_of(&mut self, pid: Pid) -> Option<Sleep> {
        let (proc, leader) = self.pool.session_with(pid)?;
        if let Some(what) = leader.waiter.awaited() {
            return self.sleep_on_slots(what);
        }
        let (count, first) = leader.sleep.load();
        let mut next = first.index();
        let mut workers = Vec::new();
        while let Some(index) = next {
            let slot = self.pool.shared.jobs.slot(index);
            let (chained, after) = slot.chained.load();
            let now = slot.word.load();
            let is_of_another_sleep = checked!("chain-of-another-sleep", chained != count);
            if is_of_another_sleep || slot.leader() != Some(proc) || !now.is_watched() {
                return None;
            }
            match now.phase() {
                Phase::Queued => {
                    let generation = now.generation();
                    return self.sleep_on_queued(JobId { index, generation }, workers);
                }
                Phase::Starting | Phase::Running => {
                    workers.push(slot.pid.load(Ordering::Relaxed));
                }
                _ => return None,
            }
            next = after.index();
        }
        let sleeps = !workers.is_empty();
        sleeps.then(|| Sleep {
            processes: Rc::new(workers),
            over_worker_slots: false,
            over_slots: false,
        })
    }

    /// The same for a session that waits for a slot.
    fn sleep_on_slots(&self, what: Resource) -> Option<Sleep> {
        let mut processes = Vec::new();
        let mut counted = 0;
        for (_, slot) in self.pool.jobs().iter() {
            let now = slot.word.load();
            let counts = match what {
                Resource::Slots => true,
                Resource::RoleSlots(usage) => slot.usage() == usage,
            };
            if now.phase() == Phase::Free || !counts {
                continue;
            }
            counted += 1;
            let holder = match now.phase() {
                _ if now.has_leader() => slot.leader()?.pid(),
                Phase::Starting | Phase::Running => slot.pid.load(Ordering::Relaxed),
                _ => return None,
            };
            processes.push(holder);
        }
        let all = match what {
            Resource::Slots => self.pool.jobs().used(),
            Resource::RoleSlots(usage) => self.pool.usage(usage).slots(),
        };
        (counted == all).then(|| Sleep {
            processes: Rc::new(processes),
            over_worker_slots: false,
            over_slots: true,
        })
    }

    /// The same for a session that sleeps on this job, and on others that these processes have.
    fn sleep_on_queued(&mut self, job: JobId, mut workers: Vec<Pid>) -> Option<Sleep> {
        let lane = self.pool.shared.jobs.slot(job.index).lane();
        let known = self.in_worker_slots.get(&lane).cloned();
        let is_served = known.is_none() && (self.serve)(lane);
        let worker_slots = self.pool.shared.workers.len();
        workers.reserve(worker_slots);
        let mut occupants = Vec::with_capacity(worker_slots);
        let (awaited, all_are_busy) = self.pool.locked(|scheduler| {
            let awaited = scheduler.awaited_by(job, |proc| workers.push(proc.pid()));
            let look = known.is_none() && !is_served;
            let all_are_busy = look
                && scheduler.occupants(lane).all(|proc| {
                    occupants.extend(proc.map(ProcRef::pid));
                    proc.is_some()
                });
            (awaited, all_are_busy)
        });
        let in_worker_slots = known.unwrap_or_else(|| all_are_busy.then(|| Rc::new(occupants)));
        self.in_worker_slots.insert(lane, in_worker_slots.clone());
        let over_worker_slots = match awaited {
            Awaited::Nothing => return None,
            Awaited::WorkerSlot => true,
            Awaited::Permit { behind_queued } => behind_queued,
        };
        let mut processes = Rc::new(workers);
        if over_worker_slots {
            let all = in_worker_slots?;
            if processes.iter().all(|pid| all.contains(pid)) {
                processes = all;
            } else {
                Rc::make_mut(&mut processes).extend(all.iter());
            }
        }
        Some(Sleep {
            processes,
            over_worker_slots,
            over_slots: false,
        })
    }
}

/// What a job that has no worker waits for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// It is not queued, or not any more.
    Nothing,
    /// Any worker slot of the pool.
    WorkerSlot,
    /// A permit of its session: one of the admitted jobs has to end.
    Permit {
        /// One of these is itself queued, and waits for a worker slot.
        behind_queued: bool,
    },
}

impl<'a> Scheduler<'a> {
    /// What a queued job waits for. If it is throttled, calls `holder` for each process that has a job with a permit of
    /// its session.
    pub fn awaited_by(&self, job: JobId, mut holder: impl FnMut(ProcRef)) -> Awaited {
        let slot = self.slot(job.index);
        let is_queued = slot
            .word
            .load_if(job.generation)
            .is_some_and(|now| now.phase() == Phase::Queued);
        if !is_queued {
            return Awaited::Nothing;
        }
        let Some(leader) = self.throttled_by(slot) else {
            return Awaited::WorkerSlot;
        };
        let permit = Permit::of(slot);
        let workers = self.shared.workers.iter();
        let holders = workers.filter(|entry| Permit::load(&entry.permit) == permit);
        let mut at_work = 0;
        for proc in holders.filter_map(|entry| entry.proc()) {
            at_work += 1;
            holder(proc);
        }
        Awaited::Permit {
            behind_queued: load(&leader.admitted) > at_work,
        }
    }

    /// The process in each worker slot that is in use, if it has a job now. `None`: it has no job and will look
    /// for one. When the lane is at its limit, only its own worker slots: no other one comes to serve it.
    pub fn occupants(&self, lane: u32) -> impl Iterator<Item = Option<ProcRef>> + use<'a> {
        let only_own = !self.lane(lane).may_grow(0);
        self.shared
            .workers
            .iter()
            .filter(move |entry| !only_own || load(&entry.lane) == lane)
            .filter(|entry| entry.word.load().activity() != Activity::Vacant)
            .map(|entry| match entry.word.load().activity() {
                Activity::Busy(_) => entry.proc(),
                _ => None,
            })
    }
}
