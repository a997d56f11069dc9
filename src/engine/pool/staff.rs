//! Seeing to it that every lane with queued jobs has workers on their way, and taking them back.
//!
//! A place is claimed here and registered outside the lock; [`Scheduler::start_failed`] gives it back when that
//! fails. With no place left an idle worker of another lane makes room.

use super::{
    Activity, Lane, LaneKey, Link, Micros, Ordering, Party, Phase, START_LIMIT, Scheduler,
    Staffing, UNKNOWN, add, load,
};

impl<'a> Scheduler<'a> {
    /// Finds what has to be done so that every lane with queued jobs gets workers: first the lane `first`,
    /// then any. At most `cap` workers in all; `can_start`: registering one has not just failed.
    pub fn staff(&mut self, first: u32, cap: u32, can_start: bool, now: Micros) -> Staffing {
        if load(&self.totals.queued) == 0 {
            return Staffing::Enough;
        }
        // Before anything else: a lost process makes its lane look served, and holds a place that
        // another lane may need.
        self.take_back_lost(now);
        let lanes = std::iter::once(first).chain(0..self.used_lanes().len() as u32);
        let needs_more = |&index: &u32| {
            let lane = self.lane(index);
            lane.is_short() && load(&lane.queued) > load(&lane.starting) + self.finishing(index)
        };
        // At its limit a lane can get a fresh process only in the place of an idle worker of its own.
        let has_idle = |lane: &Lane| Link::load(&lane.idle).index().is_some();
        let may_change = |&index: &u32| {
            let lane = self.lane(index);
            lane.may_grow(0) || has_idle(lane)
        };
        let Some(short) = lanes.into_iter().filter(needs_more).find(may_change) else {
            // A lane at its limit is served by the workers that it has, when they are free.
            return if needs_more(&first) {
                Staffing::Full
            } else {
                Staffing::Enough
            };
        };
        let may_grow = self.lane(short).may_grow(0);
        if can_start
            && may_grow
            && load(&self.totals.live) < cap
            && let Some((worker, generation)) = self.claim(short, now)
        {
            return Staffing::Start { worker, generation };
        }
        // An idle worker of a lane that has nothing queued, or of this lane if its jobs must not run on
        // it: otherwise it would have been handed one.
        let (lanes, workers) = (self.used_lanes(), self.workers);
        for index in 0..lanes.len() as u32 {
            if !may_grow && index != short {
                continue;
            }
            let Some(worker) = self.take_idle(index, |_| true) else {
                continue;
            };
            let party = workers[worker as usize]
                .party()
                .expect("idle, so it is there");
            self.move_to(worker, short);
            return Staffing::Recycle(party);
        }
        Staffing::Full
    }

    /// Workers of a lane whose job has finished: each looks for its next one in a moment.
    pub(super) fn finishing(&self, lane: u32) -> u32 {
        let is_finishing = |worker: &u32| {
            let place = &self.workers[*worker as usize];
            let Activity::Busy(index) = place.word.load().activity() else {
                return false;
            };
            let slot = self.slot(index);
            let runs = matches!(slot.word.load().phase(), Phase::Starting | Phase::Running);
            load(&place.lane) == lane && !(runs && slot.worker() == *worker)
        };
        (0..self.workers.len() as u32).filter(is_finishing).count() as u32
    }

    pub(super) fn claim(&mut self, lane: u32, now: Micros) -> Option<(u32, u32)> {
        let worker = self
            .workers
            .iter()
            .position(|place| place.word.load().activity() == Activity::Vacant)?;
        let place = &self.workers[worker];
        let generation = place.word.claim();
        place.lane.store(lane, Ordering::Relaxed);
        place.party.store(0, Ordering::Relaxed);
        place.connected.store(0, Ordering::Relaxed);
        place.seen.store(0, Ordering::Relaxed);
        place.registrar.store(0, Ordering::Relaxed);
        place.claimed_at.store(now, Ordering::Relaxed);
        add(&self.lane(lane).starting, 1);
        add(&self.lane(lane).workers, 1);
        add(&self.totals.live, 1);
        Some((worker as u32, generation))
    }

    /// The process for a place that [`staff`](Self::staff) claimed could not be registered, or was, and is
    /// lost before it reported in. Returns the lane that it was for; `None`: the place is not waiting for
    /// that process (any more).
    pub fn start_failed(&mut self, worker: u32, generation: u32) -> Option<u32> {
        let place = &self.workers[worker as usize];
        let waits = self.is_place_of(worker, generation)
            && self.activity(worker) == Activity::Starting
            && place.party().is_none();
        waits.then(|| {
            self.vacate(worker);
            load(&place.lane)
        })
    }

    /// Takes back the places of processes that never reported in. Returns whether there were any.
    pub(super) fn take_back_lost(&mut self, now: Micros) -> bool {
        let mut found = false;
        for (worker, place) in (0..).zip(self.workers) {
            if self.activity(worker) != Activity::Starting || place.party().is_some() {
                continue;
            }
            match place.claimed_at.load(Ordering::Relaxed) {
                UNKNOWN => place.claimed_at.store(now, Ordering::Relaxed),
                claimed_at if now.saturating_sub(claimed_at) > START_LIMIT => {
                    self.vacate(worker);
                    found = true;
                }
                _ => {}
            }
        }
        found
    }

    /// Sends up to `limit` idle workers home, of the lane `key` or of all; `ring` is called for each.
    pub fn dismiss_idle(&mut self, key: Option<LaneKey>, limit: u32, ring: impl Fn(Party)) -> u32 {
        let (lanes, workers) = (self.used_lanes(), self.workers);
        let mut sent = 0;
        for (index, lane) in (0..).zip(lanes) {
            if key.is_some_and(|key| lane.key.load(Ordering::Relaxed) != key.to_bits()) {
                continue;
            }
            while sent < limit
                && let Some(worker) = self.take_idle(index, |_| true)
            {
                let place = &workers[worker as usize];
                let party = place.party().expect("idle, so it is there");
                place.word.dismiss();
                ring(party);
                sent += 1;
            }
        }
        sent
    }

    /// Claims a place for one more worker of the lane `key`, unless `wanted` are idle or on their way, or it has
    /// `lane_limit` workers (0: any number may be there).
    /// The number of those there are, and the place to register a process for.
    pub fn prewarm(
        &mut self,
        key: LaneKey,
        wanted: u32,
        lane_limit: u32,
        cap: u32,
        now: Micros,
    ) -> (u32, Option<(u32, u32)>) {
        let Some(lane) = self.find_lane(key, u32::MAX) else {
            return (0, None);
        };
        self.lane(lane).limit.store(lane_limit, Ordering::Relaxed);
        let ready = (0..self.workers.len() as u32)
            .filter(|&worker| load(&self.workers[worker as usize].lane) == lane)
            .filter(|&worker| matches!(self.activity(worker), Activity::Idle | Activity::Starting))
            .count() as u32;
        if ready >= wanted || load(&self.totals.live) >= cap || !self.lane(lane).may_grow(0) {
            return (ready, None);
        }
        (ready, self.claim(lane, now))
    }
}
