//! Deciding for which lane with queued jobs a worker is started, and taking back worker slots whose process did not
//! start.
//!
//! A worker slot is claimed here; its process is registered outside the lock ([`worker_start`](super::worker_start)).
//! [`Scheduler::start_failed`] gives the worker slot back when the registration fails. If no worker slot is left, an
//! idle worker of another lane makes room.

use super::dispatch::Limits;
use super::entries::{LaneKey, PendingStart, Registration, START_LIMIT};
use super::scheduler::Scheduler;
use crate::locked::{add, load};
use crate::process_ref::ProcRef;
use crate::sync::Ordering;

/// What the caller has to do, outside the lock, to get a worker for a lane.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnDecision {
    /// Nothing: enough workers are starting.
    Enough,
    /// Register a process for this worker slot. Call [`Scheduler::start_failed`] if that fails.
    Start {
        /// Index of the worker slot.
        worker: u32,
        /// Generation to register it with.
        generation: u32,
    },
    /// An idle worker was told to make room for a fresh process: wake it.
    Recycle(ProcRef),
    /// The lane needs more workers, and no worker slot can be had now.
    Full,
}

impl<'a> Scheduler<'a> {
    /// Decides how lanes with queued jobs get workers: first those that are urgent ([`super::turns`]), then the lane
    /// `first`, then any other. Allows at most `cap` workers in all. `can_start`: the registration of a process has not
    /// just failed.
    pub fn spawn_decision(&mut self, first: u32, cap: u32, can_start: bool) -> SpawnDecision {
        if load(&self.shared.totals.queued) == 0 {
            return SpawnDecision::Enough;
        }
        // This comes first: a lost process makes its lane look served, and has a worker slot that another lane
        // may need.
        self.reclaim_overdue();
        let short = self.lane_to_serve(first);
        if let Some(short) = short {
            let may_grow = self.lane(short).may_grow(0);
            if can_start
                && may_grow
                && load(&self.shared.totals.live) < cap
                && let Some((worker, generation)) = self.claim(short)
            {
                return SpawnDecision::Start { worker, generation };
            }
            if let Some(worker) = self.take_idle_for(short, may_grow) {
                return self.recycle(worker, short);
            }
        }
        // The urgent lane has to wait. If this lane's idle workers must not run its jobs, one of them makes room for a
        // process that may: that takes nothing from the other.
        if short != Some(first)
            && self.needs_more(first)
            && let Some(worker) = self.take_idle(first, |_| true)
        {
            return self.recycle(worker, first);
        }
        // What other lanes lack is not the caller's. A lane at its limit has to wait until one of its workers is free.
        if self.needs_more(first) {
            SpawnDecision::Full
        } else {
            SpawnDecision::Enough
        }
    }

    /// An idle worker, on no list, makes room for a process in this lane.
    fn recycle(&mut self, worker: u32, lane: u32) -> SpawnDecision {
        let proc = self.proc_of(worker);
        if lane == self.lane_index(worker) {
            self.replace_process(worker);
        } else {
            self.move_to(worker, lane);
        }
        SpawnDecision::Recycle(proc)
    }

    /// The lane that gets the next worker slot: the most urgent one, or else `first`, or else the next in need. Otherwise a
    /// lane that launches all the time would take each worker slot that becomes vacant before the others.
    fn lane_to_serve(&mut self, first: u32) -> Option<u32> {
        if let Some(urgent) = self.most_urgent()
            && self.needs_more(urgent)
        {
            return Some(urgent);
        }
        let lane = self.lane(first);
        // A lane at its limit can get a fresh process only in the worker slot of an idle worker of its own.
        if self.needs_more(first) && (lane.may_grow(0) || !lane.idle.is_empty()) {
            return Some(first);
        }
        let next = self.shared.totals.somebody.first();
        next.filter(|&next| self.needs_more(next))
    }

    /// Whether a lane has more queued jobs than workers that start for them, or will be free in a moment.
    fn needs_more(&self, lane: u32) -> bool {
        let lane = self.lane(lane);
        lane.is_short() && lane.queue.len() > load(&lane.starting) + load(&lane.finishing)
    }

    /// Takes an idle worker that makes room for a process in lane `short`: one of any lane whose turn is over, if
    /// `may_grow`; or else one of the lane itself. Such a one must not run the lane's jobs; it would have been given one.
    fn take_idle_for(&mut self, short: u32, may_grow: bool) -> Option<u32> {
        if may_grow
            && let Some(first) = self.shared.totals.idle.first()
            && self.is_turn_over(first)
        {
            self.unlist_idle(first);
            return Some(first);
        }
        self.take_idle(short, |_| true)
    }

    /// Claims a vacant worker slot for a process of this lane. Returns it and its generation.
    pub(super) fn claim(&mut self, lane: u32) -> Option<(u32, u32)> {
        let totals = self.shared.totals;
        let worker = match totals.vacant.first() {
            Some(worker) => {
                totals.vacant.remove(self.shared.workers, worker);
                worker
            }
            None if (load(&totals.worker_slots) as usize) < self.shared.workers.len() => {
                add(&totals.worker_slots, 1);
                load(&totals.worker_slots) - 1
            }
            None => return None,
        };
        let generation = self.shared.workers[worker as usize].word.claim();
        add(&totals.live, 1);
        self.join_lane(worker, lane);
        Some((worker, generation))
    }

    /// `registrar` is about to register a process for a worker slot that it claimed or passes on. `false`: the
    /// worker slot awaits no process, or its process is already registered, or another process registers it.
    #[must_use]
    pub fn begin_registration(&mut self, worker: u32, generation: u32, registrar: ProcRef) -> bool {
        let entry = &self.shared.workers[worker as usize];
        let is_own = entry.registrar().is_none_or(|other| other == registrar);
        let may = entry.awaits(generation) && entry.registration().is_none() && is_own;
        if may {
            entry
                .registrar
                .store(registrar.to_bits(), Ordering::Relaxed);
        }
        may
    }

    /// The registrar has registered this process. Changes nothing if that process has reported in already.
    pub fn note_registered(
        &mut self,
        worker: u32,
        generation: u32,
        registrar: ProcRef,
        registration: Registration,
    ) {
        let entry = &self.shared.workers[worker as usize];
        if entry.awaits(generation) && entry.registrar() == Some(registrar) {
            entry.note_registration(registration, false);
            let now = self.waker.now();
            entry.claimed_at.store(now, Ordering::Relaxed);
            let awaited = &self.shared.totals.awaited;
            awaited.remove(self.shared.workers, worker);
            awaited.push_back(self.shared.workers, worker);
        }
    }

    /// The process that was registered for a worker slot and has not reported in. `None`: there is none.
    #[must_use]
    pub fn pending_start(&self, worker: u32) -> Option<PendingStart> {
        let entry = self.shared.workers.get(worker as usize)?;
        let generation = entry.word.load().generation();
        let (registration, started) = entry.registration().filter(|_| entry.awaits(generation))?;
        Some(PendingStart {
            generation,
            registration,
            started,
            since: entry.claimed_at.load(Ordering::Relaxed),
        })
    }

    /// Whether this registrar has registered a process for the worker slot that has not reported in.
    #[must_use]
    pub fn awaits_start_by(&self, worker: u32, registrar: ProcRef) -> bool {
        let is_own = self.shared.workers[worker as usize].registrar() == Some(registrar);
        is_own && self.pending_start(worker).is_some()
    }

    /// The process was seen to run.
    pub fn note_running(&mut self, worker: u32, seen: PendingStart) {
        if self.is_same_start(worker, seen) {
            self.shared.workers[worker as usize].note_registration(seen.registration, true);
        }
    }

    fn is_same_start(&self, worker: u32, seen: PendingStart) -> bool {
        self.pending_start(worker).is_some_and(|now| {
            (now.generation, now.registration) == (seen.generation, seen.registration)
        })
    }

    /// The process that was registered will not report in: takes its worker slot back, and wakes its registrar.
    /// Returns the lane that the process was for. `None`: the worker slot does not await that process, or not
    /// any more.
    pub fn give_up_start(&mut self, worker: u32, seen: PendingStart) -> Option<(u32, LaneKey)> {
        if !self.is_same_start(worker, seen) {
            return None;
        }
        let entry = &self.shared.workers[worker as usize];
        if let Some(registrar) = entry.registrar() {
            self.waker.wake(registrar);
        }
        let lane = load(&entry.lane);
        self.vacate(worker);
        Some((lane, self.lane(lane).key()))
    }

    /// The process for a worker slot that was claimed or passed on could not be registered: takes the worker
    /// slot back. Returns the lane that it was for. `None`: the worker slot does not wait for a registration,
    /// or not any more.
    pub fn start_failed(&mut self, worker: u32, generation: u32) -> Option<u32> {
        let entry = &self.shared.workers[worker as usize];
        let waits = entry.awaits(generation) && entry.registration().is_none();
        waits.then(|| {
            self.vacate(worker);
            load(&entry.lane)
        })
    }

    /// A worker slot that was to serve another lane was given back, because the server had no room for the
    /// process. Passes the task of serving a short lane on. A leader that waits for the first job of that lane
    /// is woken, and checks again after a short time. Or else an idle worker makes room. `false`: there is
    /// neither, and no worker is busy.
    #[must_use]
    pub fn pass_on(&mut self) -> bool {
        let Some(short) = self.first_in_need() else {
            return true;
        };
        let lane = self.lane(short);
        let passed_on = &self.shared.totals.passed_on;
        passed_on.store(load(passed_on).wrapping_add(1), Ordering::Relaxed);
        let waits = lane.queue.first().and_then(|index| {
            let slot = self.slot(index);
            slot.leader().filter(|_| slot.word.load().is_watched())
        });
        if let Some(leader) = waits {
            self.waker.wake(leader);
            return true;
        }
        // An idle worker whose turn is over would not look before its idle limit; another one looks at its turn's end.
        match self.shared.totals.idle.first() {
            Some(idle) if self.is_turn_over(idle) => {
                self.unlist_idle(idle);
                let proc = self.proc_of(idle);
                self.move_to(idle, short);
                self.waker.wake(proc);
                true
            }
            Some(_) => true,
            None => load(&self.shared.totals.live) > 0,
        }
    }

    /// Takes back the worker slots of processes that never reported in. Returns whether there were any.
    pub(super) fn reclaim_overdue(&mut self) -> bool {
        let mut found = false;
        while let Some(worker) = self.shared.totals.awaited.first() {
            let entry = &self.shared.workers[worker as usize];
            let claimed_at = entry.claimed_at.load(Ordering::Relaxed);
            if self.waker.now().saturating_sub(claimed_at) <= START_LIMIT {
                break;
            }
            self.vacate(worker);
            found = true;
        }
        found
    }

    /// Dismisses up to `limit` idle workers, of the lane `key` or of all lanes. Calls `wake` for each.
    pub fn dismiss_idle(
        &mut self,
        key: Option<LaneKey>,
        limit: u32,
        wake: impl Fn(ProcRef),
    ) -> u32 {
        let lane = match key {
            Some(key) => match self.lane_with(key) {
                Some(lane) => Some(lane),
                None => return 0,
            },
            None => None,
        };
        let mut sent = 0;
        while sent < limit {
            let found = match lane {
                Some(lane) => self.take_idle(lane, |_| true),
                None => self.take_any_idle().map(|(worker, _)| worker),
            };
            let Some(worker) = found else { break };
            self.dismiss(worker);
            wake(self.proc_of(worker));
            sent += 1;
        }
        sent
    }

    /// Claims a worker slot for one more worker of the lane `key`, unless `wanted` workers are idle or
    /// starting, or the lane has `lane_limit` workers (0: no limit). Returns how many are idle or starting, and
    /// the worker slot to register a process for.
    pub fn prewarm(
        &mut self,
        key: LaneKey,
        wanted: u32,
        lane_limit: u32,
        cap: u32,
    ) -> (u32, Option<(u32, u32)>) {
        let Some(lane) = self.find_lane(key, u32::MAX) else {
            return (0, None);
        };
        let limits = Limits {
            session_jobs: u32::MAX,
            lane_workers: lane_limit,
        };
        self.limit_lane(lane, limits);
        let ready = self.lane(lane).idle.len() + load(&self.lane(lane).starting);
        if ready >= wanted || load(&self.shared.totals.live) >= cap || !self.lane(lane).may_grow(0)
        {
            return (ready, None);
        }
        (ready, self.claim(lane))
    }
}
