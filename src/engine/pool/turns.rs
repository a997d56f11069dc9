//! Turns: which lane gets a worker slot when there are fewer worker slots than lanes with jobs.
//!
//! Starting a process takes milliseconds, a small job some microseconds. If a worker slot went to another lane after
//! each job, nearly all time would go into starting processes. So a process keeps its worker slot for a while,
//! whoever else needs it.
//!
//! # Words
//!
//! * A lane is **in need** while it is short of workers and may have one more.
//! * A worker **waits for a job** while the job that it runs sleeps until another job's word changes. (One whose job waits
//!   for a slot of the job table, or for the reader of its rows, does not count.) A lane has
//!   **nobody** when it has no worker, or when all its workers wait for jobs. What they wait for may be queued in
//!   this very lane.
//! * A **turn** begins when a process has connected. It lasts [`STARTS`] times what it takes to start a process (a
//!   moving mean of what was measured), but at most [`LONGEST_TURN`]. It includes the moments in which the worker is
//!   idle; otherwise two clients that go back and forth would have a process started for each job.
//!
//! # Who gets a worker slot
//!
//! A turn does not interrupt a job. After its end, the worker slot is free to go whenever its worker has finished a
//! job, or is idle, and another lane is in need. An idle worker sleeps until its turn's end at most, and looks then.
//! The lane is found in constant time, from two lists in the order in which lanes came to be in need
//! ([`Totals`]); a lane that changes from one to the other is put last, or first if it is the oldest. It is the first of these that exists:
//!
//! 1. the first lane with nobody;
//! 2. the first lane with somebody, if it is **overdue**: for [`PATIENCE`] no worker has taken a job of its queue. Of
//!    this lane and the one of 1, the one that has waited longer comes first;
//! 3. if the worker slot's own lane has jobs queued: a lane that would still have fewer workers than the own lane, of
//!    the first [`LOOKS`] with somebody. Otherwise: the first lane with somebody.
//!
//! If there is none, the worker stays with its lane. A lane that was given a worker slot goes to the end of its list.
//! A process that replaces another one of its lane, because that one must not run a job, has what is left of the other's
//! turn. Any other process that has not connected yet has no turn. If its lane has no job for it, its worker slot goes to the first
//! lane in need at once.
//!
//! # How long a lane can wait
//!
//! Let *n* be the number of worker slots, *L* that of the lanes in need, *J* the longest job, *T* a turn and *S* the
//! start of a process. Every lane with nobody is served before any lane is served twice, except for lanes that are
//! overdue, which by then have waited longer. A worker slot is given on at most *S + T + J* after it was given. So a
//! lane that has nobody has a worker within ⌈*L / n*⌉ · (*S + T + J*).
//!
//! Each decision looks at the first lane with nobody only. That is enough: such a lane can always use the worker slot (none
//! of its workers is about to be free, or it would have somebody), and goes to the end when it is given one. Whenever a
//! worker slot can be given on, somebody decides: a worker that finishes, rests, leaves or fails to start, the launch or
//! wait that finds a worker slot vacant or an idle worker whose turn is over. (One that fails to start passes over lanes
//! whose starts fail as well, see [`Scheduler::exit`]; these have somebody.) A lane with somebody may be passed over: by 3,
//! if more than [`LOOKS`] lanes before it have as few workers, or when it is behind one whose worker will be free in a
//! moment. It has a worker, and gets another one at the latest when it is first and overdue; the lanes before it go to
//! the end as they are served.
//!
//! Lanes whose jobs take long can hold as many worker slots as `lane_max_workers` allows them. If *k* lanes do so, and
//! each may have *m* workers, the others share *n − k · m* worker slots; *J* is then the longest job of those others.
//! That is why a shared server sets `lane_max_workers` below the number of worker slots. A job that waits for a job does
//! not make its lane wait longer: the lane counts as one with nobody.
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | `Lane::standing`, `needy_since`, `taken`, `taken_then`, `waiting` | holder of the lock | nobody |
//! | `WorkerSlot::turn_end` | holder of the lock | nobody |
//! | `WorkerSlot::look_at` | holder of the lock | the worker itself, to know until when it may sleep |
//! | `WorkerSlot::waits` | holder of the lock | nobody |
//! | `Totals::start_time` | holder of the lock | nobody |

use super::entries::{Lane, Totals};
use super::scheduler::{Scheduler, Shared};
use super::worker_slot::NextStep;
use crate::list::List;
use crate::locked::{add, load, subtract};
use crate::sync::Ordering;
use crate::wait::Micros;
use crate::worker::Activity;

/// A turn lasts as long as this many starts of a process.
const STARTS: u64 = 8;

/// The longest turn.
pub const LONGEST_TURN: Micros = 50_000;

/// A lane with somebody of which no job has been taken for this long comes before others.
pub const PATIENCE: Micros = 1_000_000;

/// How many lanes with somebody are looked at. A constant, so that a step under the lock takes as long with many lanes
/// as with few.
const LOOKS: usize = 4;

/// A start counts as no more than this in the mean.
const LONGEST_START: Micros = 100_000;

/// A start moves the mean by one part in this many of the difference.
const WEIGHT: u32 = 8;

/// Where a lane stands among the lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Standing {
    /// It has no jobs and no workers, and was never used, or is being given a key. On no list.
    New = 0,
    /// It has no jobs and no workers: its entry can be used for another lane.
    Unused,
    /// It has jobs or workers, and is not in need. On no list.
    Served,
    /// It is in need and has nobody.
    Nobody,
    /// It is in need and has somebody.
    Somebody,
}

impl Standing {
    fn is_in_need(self) -> bool {
        matches!(self, Self::Nobody | Self::Somebody)
    }
}

impl Lane {
    /// Where it stands, as it was filed last.
    pub(super) fn standing(&self) -> Standing {
        const ALL: [Standing; 5] = [
            Standing::New,
            Standing::Unused,
            Standing::Served,
            Standing::Nobody,
            Standing::Somebody,
        ];
        ALL[load(&self.standing) as usize]
    }

    /// Where it should stand.
    pub(super) fn standing_now(&self) -> Standing {
        let workers = load(&self.workers);
        if workers == 0 && self.queue.is_empty() {
            Standing::Unused
        } else if !self.is_short() || !self.may_grow(0) {
            Standing::Served
        } else if workers == load(&self.waiting) {
            Standing::Nobody
        } else {
            Standing::Somebody
        }
    }
}

impl Totals {
    /// The list of the lanes that stand there.
    fn list_of(&self, standing: Standing) -> Option<&List> {
        match standing {
            Standing::New | Standing::Served => None,
            Standing::Unused => Some(&self.unused),
            Standing::Nobody => Some(&self.nobody),
            Standing::Somebody => Some(&self.somebody),
        }
    }
}

impl Scheduler<'_> {
    /// Puts a lane on the list where it belongs. Called after each change of its queue, its workers or its limit.
    pub(super) fn file(&mut self, index: u32) {
        let lane = self.lane(index);
        let (before, now) = (lane.standing(), lane.standing_now());
        if before == now {
            return;
        }
        let totals = self.shared.totals;
        if let Some(list) = totals.list_of(before) {
            list.remove(self.shared.lanes, index);
        }
        if let Some(list) = totals.list_of(now) {
            let changes = before.is_in_need() && now.is_in_need();
            if changes && self.is_older_than_first(index, list) {
                list.push_front(self.shared.lanes, index);
            } else {
                list.push_back(self.shared.lanes, index);
            }
        }
        lane.standing.store(now as u32, Ordering::Relaxed);
        if now.is_in_need() && !before.is_in_need() {
            self.begin_need(index);
        }
    }

    /// Whether the lane has been in need for as long as the first on the list. Such a lane is not put behind others when
    /// it has somebody, or nobody, from now on: a lane whose worker waits for short moments would always be last.
    fn is_older_than_first(&self, index: u32, list: &List) -> bool {
        let since = |lane: u32| self.lane(lane).needy_since.load(Ordering::Relaxed);
        list.first()
            .is_some_and(|first| since(index) <= since(first))
    }

    /// From now on the lane counts as in need.
    fn begin_need(&self, index: u32) {
        let lane = self.lane(index);
        let taken = load(&lane.taken);
        lane.taken_then.store(taken, Ordering::Relaxed);
        lane.needy_since.store(self.waker.now(), Ordering::Relaxed);
    }

    /// The lane was served. It comes after all others on its list.
    fn serve(&mut self, index: u32) {
        let lane = self.lane(index);
        let standing = lane.standing();
        if !standing.is_in_need() {
            return;
        }
        if let Some(list) = self.shared.totals.list_of(standing) {
            list.remove(self.shared.lanes, index);
            list.push_back(self.shared.lanes, index);
        }
        self.begin_need(index);
    }

    /// A process is started for the lane, which goes where it belongs now.
    pub(super) fn serve_with_start(&mut self, index: u32) {
        self.serve(index);
        self.file(index);
    }

    /// Whether a lane is in need, other than this one.
    fn is_another_in_need(&self, own: u32) -> bool {
        let totals = self.shared.totals;
        let own = u32::from(self.lane(own).standing().is_in_need());
        totals.nobody.len() + totals.somebody.len() > own
    }

    /// The first lane with somebody, if it is overdue. A lane of which a job was taken meanwhile is not.
    fn overdue(&mut self) -> Option<u32> {
        for _ in 0..LOOKS {
            let first = self.shared.totals.somebody.first()?;
            let lane = self.lane(first);
            let since = lane.needy_since.load(Ordering::Relaxed);
            if self.waker.now().saturating_sub(since) < PATIENCE {
                return None;
            }
            if load(&lane.taken) == load(&lane.taken_then) {
                return Some(first);
            }
            self.serve(first);
        }
        None
    }

    /// The lane that comes before all others that are in need, if there is one with nobody, or one that is overdue.
    pub(super) fn most_urgent(&mut self) -> Option<u32> {
        let since =
            |scheduler: &Self, lane: u32| scheduler.lane(lane).needy_since.load(Ordering::Relaxed);
        match (self.shared.totals.nobody.first(), self.overdue()) {
            (Some(nobody), Some(overdue)) if since(self, overdue) < since(self, nobody) => {
                Some(overdue)
            }
            (nobody, overdue) => nobody.or(overdue),
        }
    }

    /// The lane that comes first of those that are in need.
    pub(super) fn first_in_need(&mut self) -> Option<u32> {
        mutant!("nobody-looks-at-other-lanes" => return None);
        self.most_urgent()
            .or_else(|| self.shared.totals.somebody.first())
    }

    /// The lane that comes first of those that are in need and not stalled, of the first [`LOOKS`] of each list.
    pub(super) fn first_in_need_not_stalled(&mut self) -> Option<u32> {
        mutant!("nobody-looks-at-other-lanes" => return None);
        let Shared { totals, lanes, .. } = self.shared;
        let may = |&lane: &u32| !lanes[lane as usize].is_stalled();
        let urgent = self.most_urgent().filter(may);
        urgent.or_else(|| {
            let first = |list: &List| list.iter(lanes).take(LOOKS).find(may);
            first(&totals.nobody).or_else(|| first(&totals.somebody))
        })
    }

    /// The lane to which a worker leaves its worker slot when its turn is over and its own lane has jobs for it. `None`:
    /// it stays.
    pub(super) fn successor(&mut self, worker: u32) -> Option<u32> {
        mutant!("nobody-looks-at-other-lanes" => return None);
        let own = self.lane_index(worker);
        if !self.is_another_in_need(own) || !self.is_turn_over(worker) {
            return None;
        }
        match self.most_urgent() {
            Some(urgent) if urgent == own => {
                self.serve(own);
                self.begin_turn(worker);
                None
            }
            Some(urgent) => Some(urgent),
            None => {
                let own_workers = load(&self.lane(own).workers);
                let has_fewer = |&index: &u32| load(&self.lane(index).workers) + 1 < own_workers;
                let somebody = &self.shared.totals.somebody;
                somebody.iter(self.shared.lanes).take(LOOKS).find(has_fewer)
            }
        }
    }

    /// The lane to which a worker leaves its worker slot when it leaves for another reason. `None`: to nobody. If it is
    /// starting, its own lane must not count it.
    pub(super) fn successor_of_leaver(&mut self, worker: u32) -> Option<u32> {
        mutant!("nobody-looks-at-other-lanes" => return None);
        let own = self.lane_index(worker);
        let is_starting = self.activity(worker) == Activity::Starting;
        let uncounted = u32::from(checked!("leaver-counts-itself", is_starting));
        let lane = self.lane(own);
        let own_needs = lane.is_short_without(uncounted) && lane.may_grow(1);
        let is_alone = load(&lane.workers) == load(&lane.waiting) + 1;
        if own_needs && is_alone && self.shared.totals.nobody.is_empty() {
            return Some(own);
        }
        self.first_in_need().or(own_needs.then_some(own))
    }

    /// Whether the process in this worker slot has had its turn, or has none yet.
    pub(super) fn is_turn_over(&self, worker: u32) -> bool {
        let end = self.shared.workers[worker as usize].turn_end();
        end == 0 || end <= self.waker.now()
    }

    fn begin_turn(&mut self, worker: u32) {
        let start_time = Micros::from(load(&self.shared.totals.start_time));
        let turn = (STARTS * start_time).min(LONGEST_TURN);
        let end = self.waker.now() + turn.max(1);
        let entry = &self.shared.workers[worker as usize];
        entry.turn_end.store(end, Ordering::Relaxed);
    }

    /// The process has connected: notes what its start took, and its turn begins, unless it goes on with that of the
    /// process that it replaces.
    pub(super) fn note_start(&mut self, worker: u32) {
        let registered = self.shared.workers[worker as usize]
            .claimed_at
            .load(Ordering::Relaxed);
        let took = self.waker.now().saturating_sub(registered);
        let took = took.clamp(1, LONGEST_START) as u32;
        let mean = &self.shared.totals.start_time;
        let next = match load(mean) {
            0 => took,
            before => before - before / WEIGHT + took / WEIGHT,
        };
        mean.store(next, Ordering::Relaxed);
        if self.shared.workers[worker as usize].turn_end() != 0 {
            return;
        }
        let is_idle = self.activity(worker) == Activity::Idle;
        if is_idle {
            self.unlist_idle(worker);
        }
        self.begin_turn(worker);
        if is_idle {
            self.list_idle(worker, false);
        }
    }

    /// The turn of an idle worker is over. Returns `Restart` if another lane gets its worker slot. `None`: it stays
    /// idle, or is not idle any more; call [`awakened`](Self::awakened).
    pub fn end_turn(&mut self, worker: u32, generation: u32) -> Option<NextStep> {
        let is_idle =
            self.is_slot_of(worker, generation) && self.activity(worker) == Activity::Idle;
        if !is_idle || !self.is_turn_over(worker) {
            return None;
        }
        self.unlist_idle(worker);
        let to = self.successor_of_leaver(worker);
        if to.is_none() {
            self.list_idle(worker, true);
            return None;
        }
        Some(self.leave(worker, to))
    }

    /// The job that this worker runs begins to sleep until another job changes, or has ended to. `proc` is the worker's
    /// process: the worker slot may be another's by now.
    pub fn note_waiting(&mut self, worker: u32, proc: crate::process_ref::ProcRef, waits: bool) {
        let entry = &self.shared.workers[worker as usize];
        if entry.proc() != Some(proc) || entry.waits() == waits {
            return;
        }
        let index = self.lane_index(worker);
        let lane = self.lane(index);
        entry.waits.store(waits.into(), Ordering::Relaxed);
        if waits {
            add(&lane.waiting, 1);
        } else {
            subtract(&lane.waiting, 1);
        }
        self.file(index);
    }
}
