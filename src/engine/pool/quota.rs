//! A session's quota: how many of its jobs may have a worker, and the jobs that are throttled meanwhile.
//!
//! # Words
//!
//! * A **leader's entry** is found by its PGPROC number. It belongs to a session from its first launch until it
//!   ends. Its generation tells one session's entry from the next one's.
//! * A job is **admitted** when it is on its lane's list or bound to a worker. While it is admitted it has a
//!   **permit** of its leader's entry. (Jobs launched as `uncounted`, those of a fan-out, need no permit.)
//! * A `bounded` job beyond the **limit** is **throttled**: its word says `Queued`, and it is on its leader's
//!   list instead of its lane's. No workers are started for it.
//!
//! # Why a list of its own
//!
//! If a throttled job were in its lane, every worker of the lane would have to walk past it. With ten thousand
//! such jobs the pool would do little else. So the lane's list holds only jobs that may run, and each step here
//! costs the same however many jobs are throttled.
//!
//! # Where the permit is
//!
//! | the job is | the permit is in | given back by |
//! |---|---|---|
//! | on its lane's list | `slot.permit` | the process that takes it off the list to end it: `cancel_queued`, `take_to_fail` |
//! | bound | `WorkerSlot::permit` as well: when the job has finished, its slot may be another job's | the worker, when it asks what to do next ([`super::Scheduler::next`]) or exits |
//! | given back by its worker | `slot.permit` again | as above |
//!
//! Giving back a permit admits the first throttled job, while the lock is still held. The job goes to the end
//! of the lane's list, where the worker that gave the permit back looks next. If that worker does not take the
//! job, an idle one gets it. So while jobs are throttled, as many as the limit are admitted. At least one is,
//! so the lane cannot be taken for unused.
//!
//! A session that ends ([`super::Scheduler::depart`]) has no quota any more. Its throttled jobs are appended to
//! its lane in one step. The generation of its entry changes: `throttled` in those slots then means nothing,
//! and the permits that are still in use are given back to nobody.

use super::entries::{Leader, Permit};
use super::scheduler::Scheduler;
use crate::locked::{add, load, subtract};
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::Slot;

impl<'a> Scheduler<'a> {
    /// The entry that a permit belongs to, if its session is still there.
    fn leader_of_permit(&self, permit: Permit) -> Option<&'a Leader> {
        let leader = self.shared.leaders.get(permit.procno as usize)?;
        (load(&leader.generation) == permit.generation).then_some(leader)
    }

    /// The leader on whose list of throttled jobs a queued job is. `None`: the job is on its lane's list.
    pub(super) fn throttled_by(&self, slot: &Slot) -> Option<&'a Leader> {
        if load(&slot.throttled) == 0 {
            return None;
        }
        self.leader_of_permit(Permit::of(slot)?)
    }

    /// Whether a job would be admitted now, and no throttled job is before it.
    pub(super) fn may_admit(&self, slot: &Slot, limit: u32) -> bool {
        if !slot.options().bounded {
            return true;
        }
        let entry = slot.leader().and_then(|proc| {
            let leader = self.shared.leaders.get(proc.procno() as usize)?;
            leader.is_of(proc).then_some(leader)
        });
        entry.is_none_or(|leader| {
            leader.throttled.is_empty() && load(&leader.admitted) < limit.max(1)
        })
    }

    /// Admits a job that was just published, or throttles it. `true`: it may go to its lane now. `limit`: what
    /// its leader's session allows now. Admits throttled jobs first, if the limit was lower before.
    pub(super) fn admit_new(&mut self, index: u32, limit: u32) -> bool {
        let slot = self.slot(index);
        let options = slot.options();
        slot.permit.store(0, Ordering::Relaxed);
        slot.throttled.store(0, Ordering::Relaxed);
        let Some(proc) = slot.leader().filter(|_| !options.uncounted) else {
            return true;
        };
        let Some(leader) = self.shared.leaders.get(proc.procno() as usize) else {
            return true;
        };
        slot.permit.store(leader.enroll(proc), Ordering::Relaxed);
        leader.limit.store(limit.max(1), Ordering::Relaxed);
        self.admit_throttled(leader);
        if options.bounded && !leader.has_room() {
            self.throttle(leader, index);
            return false;
        }
        add(&leader.admitted, 1);
        true
    }

    fn throttle(&mut self, leader: &Leader, index: u32) {
        let slot = self.slot(index);
        slot.throttled.store(1, Ordering::Relaxed);
        leader.throttled.push_back(self.shared.jobs.slots(), index);
        add(&self.shared.totals.throttled, 1);
    }

    /// Takes a throttled job off its leader's list.
    pub(super) fn unthrottle(&mut self, leader: &Leader, index: u32) {
        self.slot(index).throttled.store(0, Ordering::Relaxed);
        leader.throttled.remove(self.shared.jobs.slots(), index);
        subtract(&self.shared.totals.throttled, 1);
    }

    /// Admits throttled jobs, as far as the limit allows, to the end of their lane's list.
    fn admit_throttled(&mut self, leader: &'a Leader) {
        while leader.has_room()
            && let Some(index) = leader.throttled.first()
        {
            self.unthrottle(leader, index);
            add(&leader.admitted, 1);
            self.push_back(index);
        }
    }

    /// Gives back a permit, which admits the first throttled job. The caller then calls
    /// [`hand_out`](Self::hand_out) for the lane.
    pub(super) fn return_permit(&mut self, permit: Option<Permit>) {
        let Some(leader) = permit.and_then(|permit| self.leader_of_permit(permit)) else {
            return;
        };
        subtract(&leader.admitted, 1);
        mutant!("permit-returned-to-nobody" => return);
        self.admit_throttled(leader);
    }

    /// Gives back the permit of the job that a worker ran last.
    pub fn return_permit_of_worker(&mut self, worker: u32) {
        let permit = &self.shared.workers[worker as usize].permit;
        let permitted = Permit::load(permit);
        Permit::store(None, permit);
        self.return_permit(permitted);
    }

    /// The session takes its entry over, before it has jobs.
    pub fn enroll(&mut self, proc: ProcRef) {
        if let Some(leader) = self.shared.leaders.get(proc.procno() as usize) {
            leader.enroll(proc);
        }
    }

    /// The session ends. Its jobs go on, and its throttled jobs join their lane. Returns that lane if there are any: it may
    /// need more workers now, and the caller decides that ([`Scheduler::spawn_decision`]).
    #[must_use]
    pub fn depart(&mut self, proc: ProcRef) -> Option<u32> {
        let leader = self.shared.leaders.get(proc.procno() as usize)?;
        if !leader.is_of(proc) {
            return None;
        }
        let first = leader.throttled.first();
        let lane = first.map(|first| load(&self.slot(first).lane));
        if let Some(lane) = lane {
            let count = leader.throttled.len();
            // All jobs of a session are in one lane.
            let queue = &self.lane(lane).queue;
            queue.append(self.shared.jobs.slots(), &leader.throttled);
            add(&self.shared.totals.queued, count);
            subtract(&self.shared.totals.throttled, count);
            self.file(lane);
            self.hand_out(lane);
        }
        leader.next_generation();
        leader.proc.store(0, Ordering::Relaxed);
        lane
    }
}
