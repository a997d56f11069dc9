//! A session's share of the pool: how many of its jobs may hold a worker, and those held back meanwhile.
//!
//! # Words
//!
//! * A **leader's entry** is found by the number of its PGPROC. It belongs to a session from its first
//!   launch until it ends; its generation tells one session's entry from the next one's.
//! * A job is **admitted** when it is on its lane's list or bound to a worker, and **permitted** for as long
//!   to the entry of its leader. (Jobs launched as `uncounted`, those of a fan-out, are permitted to nobody.)
//! * A `bounded` job that would be one more than the **limit** is **held back**: its word says `Queued`, and
//!   it is on its leader's list instead of its lane's. Nobody starts workers for it.
//!
//! # Why a list of its own
//!
//! Were a job over the limit left in its lane, every worker of the lane would have to walk past it, and with
//! ten thousand of them the walk would be the pool's work. So the lane's list holds only jobs that may run,
//! and each step here costs the same however many are held back.
//!
//! # Who carries the permit
//!
//! | the job is | the permit is in | given back by |
//! |---|---|---|
//! | on its lane's list | `slot.permit` | who takes it off to end it: `cancel_queued`, `take_to_fail` |
//! | bound | `WorkerSlot::permit` of the place as well: when the job has finished, its slot may be another job's | the worker, when it next asks what to do ([`super::Scheduler::next`]) or exits |
//! | given back by its worker | `slot.permit` again | as above |
//!
//! Giving back a permit admits the first job held back, in the same stretch under the lock: to the end of the
//! lane's list, where the worker that gave it back looks next; if it does not take the job, an idle one is
//! handed it. So while jobs are held back, as many as the limit
//! are admitted; in particular there is at least one, and the lane cannot be taken for unused.
//!
//! A session that ends ([`super::Scheduler::depart`]) leaves nobody to bound: what it held back is appended
//! to its lane in one step, and the generation of its entry changes, by which `held` in those slots means
//! nothing any more and the permits that are still out are given back to nobody.

use super::entries::{Leader, Permit};
use super::scheduler::Scheduler;
use crate::locked::{add, load, subtract};
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::table::Slot;

impl<'a> Scheduler<'a> {
    /// The entry a permit was made to, if its session is still there.
    fn permitted(&self, permit: Permit) -> Option<&'a Leader> {
        let leader = self.shared.leaders.get(permit.procno as usize)?;
        (load(&leader.generation) == permit.generation).then_some(leader)
    }

    /// Whether a queued job is on its leader's list, not on its lane's.
    pub(super) fn holder_of(&self, slot: &Slot) -> Option<&'a Leader> {
        if load(&slot.held) == 0 {
            return None;
        }
        self.permitted(Permit::of(slot)?)
    }

    /// Whether a job would be admitted now, with none of those held back before it.
    pub(super) fn may_admit(&self, slot: &Slot, limit: u32) -> bool {
        if !slot.options().bounded {
            return true;
        }
        let entry = slot.leader().and_then(|proc| {
            let leader = self.shared.leaders.get(proc.procno() as usize)?;
            leader.is_of(proc).then_some(leader)
        });
        entry.is_none_or(|leader| leader.held.is_empty() && load(&leader.admitted) < limit.max(1))
    }

    /// Charges a job that was just published, or holds it back. `true`: it may go to its lane now.
    /// `limit`: what its leader's session allows; jobs that were held back under a lower one are admitted.
    pub(super) fn admit_new(&mut self, index: u32, limit: u32) -> bool {
        let slot = self.slot(index);
        let options = slot.options();
        slot.permit.store(0, Ordering::Relaxed);
        slot.held.store(0, Ordering::Relaxed);
        let Some(proc) = slot.leader().filter(|_| !options.uncounted) else {
            return true;
        };
        let Some(leader) = self.shared.leaders.get(proc.procno() as usize) else {
            return true;
        };
        slot.permit.store(leader.enrol(proc), Ordering::Relaxed);
        leader.limit.store(limit.max(1), Ordering::Relaxed);
        self.admit_throttled(leader);
        if options.bounded && !leader.has_room() {
            self.hold(leader, index);
            return false;
        }
        add(&leader.admitted, 1);
        true
    }

    fn hold(&mut self, leader: &Leader, index: u32) {
        let slot = self.slot(index);
        slot.held.store(1, Ordering::Relaxed);
        leader.held.push_back(self.shared.jobs.slots(), index);
        add(&self.shared.totals.held, 1);
    }

    /// Takes a job off its leader's list.
    pub(super) fn unhold(&mut self, leader: &Leader, index: u32) {
        self.slot(index).held.store(0, Ordering::Relaxed);
        leader.held.remove(self.shared.jobs.slots(), index);
        subtract(&self.shared.totals.held, 1);
    }

    /// Admits what was held back, as far as the limit allows, to the end of its lane's list.
    fn admit_throttled(&mut self, leader: &'a Leader) {
        while leader.has_room()
            && let Some(index) = leader.held.first()
        {
            self.unhold(leader, index);
            add(&leader.admitted, 1);
            self.push_back(index);
        }
    }

    /// Gives back a permit: the first job that was held back for it is admitted. The caller then calls
    /// [`hand_out`](Self::hand_out) for the lane.
    pub(super) fn return_permit(&mut self, permit: Option<Permit>) {
        let Some(leader) = permit.and_then(|permit| self.permitted(permit)) else {
            return;
        };
        subtract(&leader.admitted, 1);
        mutant!("share-given-back-to-nobody" => return);
        self.admit_throttled(leader);
    }

    /// Gives back the permit of the job that a worker ran last.
    pub(super) fn return_permit_of_worker(&mut self, worker: u32) {
        let permit = &self.shared.workers[worker as usize].permit;
        let permitted = Permit::load(permit);
        Permit::store(None, permit);
        self.return_permit(permitted);
    }

    /// The session makes its entry its own, before it has jobs.
    pub fn enrol(&mut self, proc: ProcRef) {
        if let Some(leader) = self.shared.leaders.get(proc.procno() as usize) {
            leader.enrol(proc);
        }
    }

    /// The session ends. Its jobs go on, and those held back join their lane.
    pub fn depart(&mut self, proc: ProcRef) {
        let Some(leader) = self.shared.leaders.get(proc.procno() as usize) else {
            return;
        };
        if !leader.is_of(proc) {
            return;
        }
        if let Some(first) = leader.held.first() {
            let lane = load(&self.slot(first).lane);
            let count = leader.held.len();
            // All of a session's jobs are of one lane.
            let queue = &self.lane(lane).queue;
            queue.append(self.shared.jobs.slots(), &leader.held);
            add(&self.shared.totals.queued, count);
            subtract(&self.shared.totals.held, count);
            self.hand_out(lane);
        }
        leader.next_generation();
        leader.proc.store(0, Ordering::Relaxed);
    }
}
