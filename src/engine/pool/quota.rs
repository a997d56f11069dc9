//! A session's share of the pool: how many of its jobs may hold a worker, and those held back meanwhile.
//!
//! # Words
//!
//! * A **leader's entry** is found by the number of its PGPROC. It belongs to a session from its first
//!   launch until it ends; its generation tells one session's entry from the next one's.
//! * A job is **admitted** when it is on its lane's list or bound to a worker, and **charged** for as long
//!   to the entry of its leader. (Jobs launched as `uncounted`, those of a fan-out, are charged to nobody.)
//! * A `bounded` job that would be one more than the **limit** is **held back**: its word says `Queued`, and
//!   it is on its leader's list instead of its lane's. Nobody starts workers for it.
//!
//! # Why a list of its own
//!
//! Were a job over the limit left in its lane, every worker of the lane would have to walk past it, and with
//! ten thousand of them the walk would be the pool's work. So the lane's list holds only jobs that may run,
//! and each step here costs the same however many are held back.
//!
//! # Who carries the charge
//!
//! | the job is | the charge is in | given back by |
//! |---|---|---|
//! | on its lane's list | `slot.charge` | who takes it off to end it: `cancel_queued`, `take_to_fail` |
//! | bound | `Worker::charge` of the place as well: when the job has finished, its slot may be another job's | the worker, when it next asks what to do ([`super::Scheduler::next`]) or exits |
//! | given back by its worker | `slot.charge` again | as above |
//!
//! Giving back a charge admits the first job held back, in the same stretch under the lock: to the end of the
//! lane's list, where the worker that gave it back looks next; if it does not take the job, an idle one is
//! handed it. So while jobs are held back, as many as the limit
//! are admitted; in particular there is at least one, and the lane cannot be taken for unused.
//!
//! A session that ends ([`super::Scheduler::depart`]) leaves nobody to bound: what it held back is appended
//! to its lane in one step, and the generation of its entry changes, by which `held` in those slots means
//! nothing any more and the charges that are still out are given back to nobody.

use super::{Lane, Link, Scheduler, add, load, subtract};
use crate::process_ref::Party;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::Slot;

/// A session in shared memory. All fields are written by the holder of the pool's lock; `party` is read
/// without it by its own session.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Leader {
    party: AtomicU64,
    generation: AtomicU32,
    limit: AtomicU32,
    admitted: AtomicU32,
    held: AtomicU32,
    head: AtomicU32,
    tail: AtomicU32,
    pub(super) waiter: super::slot_waiters::Waiter,
    pub(super) gate: super::Gate,
    pub(super) ends: super::ends::SharedEnds,
}

/// Whom an admitted job counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Charge {
    procno: u32,
    /// Never 0.
    generation: u32,
}

impl Charge {
    pub(super) fn store(charge: Option<Self>, into: &AtomicU64) {
        let bits = charge.map_or(0, |charge| {
            u64::from(charge.procno) << 32 | u64::from(charge.generation)
        });
        into.store(bits, Ordering::Relaxed);
    }

    pub(super) fn load(from: &AtomicU64) -> Option<Self> {
        let bits = from.load(Ordering::Relaxed);
        let (procno, generation) = ((bits >> 32) as u32, bits as u32);
        (generation != 0).then_some(Self { procno, generation })
    }

    /// That of a job which is not finished.
    pub(super) fn of(slot: &Slot) -> Option<Self> {
        let generation = load(&slot.charge);
        let procno = slot.leader()?.procno();
        (generation != 0).then_some(Self { procno, generation })
    }
}

impl Leader {
    /// Whether the entry is this session's.
    #[must_use]
    pub fn is_of(&self, party: Party) -> bool {
        self.party.load(Ordering::Relaxed) == party.to_bits()
    }

    pub(super) fn enrol(&self, party: Party) -> u32 {
        if !self.is_of(party) {
            self.party.store(party.to_bits(), Ordering::Relaxed);
            self.next_generation();
        }
        load(&self.generation)
    }

    pub(super) fn party(&self) -> Option<Party> {
        Party::from_bits(self.party.load(Ordering::Relaxed))
    }

    /// That of the session whose entry it is now.
    pub(super) fn generation(&self) -> u32 {
        load(&self.generation)
    }

    fn next_generation(&self) {
        let next = load(&self.generation).wrapping_add(1).max(1);
        self.generation.store(next, Ordering::Relaxed);
        self.admitted.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        self.ends.store(super::ends::Ends::default());
        Link::NONE.store(&self.head);
        Link::NONE.store(&self.tail);
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn ends(&self) -> (&AtomicU32, &AtomicU32) {
        (&self.head, &self.tail)
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn admitted_of(&self) -> (u32, u32) {
        (load(&self.admitted), load(&self.limit))
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn current_charge(&self, procno: u32) -> Option<Charge> {
        let generation = load(&self.generation);
        (generation != 0 && self.party().is_some()).then_some(Charge { procno, generation })
    }

    fn has_room(&self) -> bool {
        load(&self.admitted) < load(&self.limit)
    }
}

impl<'a> Scheduler<'a> {
    /// The entry a charge was made to, if its session is still there.
    fn charged(&self, charge: Charge) -> Option<&'a Leader> {
        let leader = self.leaders.get(charge.procno as usize)?;
        (load(&leader.generation) == charge.generation).then_some(leader)
    }

    /// Whether a queued job is on its leader's list, not on its lane's.
    pub(super) fn holder_of(&self, slot: &Slot) -> Option<&'a Leader> {
        if load(&slot.held) == 0 {
            return None;
        }
        self.charged(Charge::of(slot)?)
    }

    /// Whether a job would be admitted now, with none of those held back before it.
    pub(super) fn may_admit(&self, slot: &Slot, limit: u32) -> bool {
        if !slot.options().bounded {
            return true;
        }
        let entry = slot.leader().and_then(|party| {
            let leader = self.leaders.get(party.procno() as usize)?;
            leader.is_of(party).then_some(leader)
        });
        entry.is_none_or(|leader| load(&leader.held) == 0 && load(&leader.admitted) < limit.max(1))
    }

    /// Charges a job that was just published, or holds it back. `true`: it may go to its lane now.
    /// `limit`: what its leader's session allows; jobs that were held back under a lower one are admitted.
    pub(super) fn admit_new(&mut self, index: u32, limit: u32) -> bool {
        let slot = self.slot(index);
        let options = slot.options();
        slot.charge.store(0, Ordering::Relaxed);
        slot.held.store(0, Ordering::Relaxed);
        let Some(party) = slot.leader().filter(|_| !options.uncounted) else {
            return true;
        };
        let Some(leader) = self.leaders.get(party.procno() as usize) else {
            return true;
        };
        slot.charge.store(leader.enrol(party), Ordering::Relaxed);
        leader.limit.store(limit.max(1), Ordering::Relaxed);
        self.admit_held(leader);
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
        self.append(&leader.head, &leader.tail, index);
        add(&leader.held, 1);
        add(&self.totals.held, 1);
    }

    /// Takes a job off its leader's list.
    pub(super) fn unhold(&mut self, leader: &Leader, index: u32) {
        self.slot(index).held.store(0, Ordering::Relaxed);
        self.remove(&leader.head, &leader.tail, index);
        subtract(&leader.held, 1);
        subtract(&self.totals.held, 1);
    }

    /// Admits what was held back, as far as the limit allows, to the end of its lane's list.
    fn admit_held(&mut self, leader: &'a Leader) {
        while leader.has_room()
            && let Some(index) = Link::load(&leader.head).index()
        {
            self.unhold(leader, index);
            add(&leader.admitted, 1);
            self.push_back(index);
        }
    }

    /// Gives back a charge: the first job that was held back for it is admitted. The caller then calls
    /// [`hand_out`](Self::hand_out) for the lane.
    pub(super) fn discharge(&mut self, charge: Option<Charge>) {
        let Some(leader) = charge.and_then(|charge| self.charged(charge)) else {
            return;
        };
        subtract(&leader.admitted, 1);
        if !mutant!("share-given-back-to-nobody") {
            self.admit_held(leader);
        }
    }

    /// Gives back the charge of the job that a worker ran last.
    pub(super) fn discharge_worker(&mut self, worker: u32) {
        let charge = &self.workers[worker as usize].charge;
        let charged = Charge::load(charge);
        Charge::store(None, charge);
        self.discharge(charged);
    }

    /// The session makes its entry its own, before it has jobs.
    pub fn enrol(&mut self, party: Party) {
        if let Some(leader) = self.leaders.get(party.procno() as usize) {
            leader.enrol(party);
        }
    }

    /// The session ends. Its jobs go on, and those held back join their lane.
    pub fn depart(&mut self, party: Party) {
        let Some(leader) = self.leaders.get(party.procno() as usize) else {
            return;
        };
        if !leader.is_of(party) {
            return;
        }
        if let Some(first) = Link::load(&leader.head).index() {
            let lane = load(&self.slot(first).lane);
            self.splice(leader, self.lane(lane), first);
            self.hand_out(lane);
        }
        leader.next_generation();
        leader.party.store(0, Ordering::Relaxed);
    }

    /// Appends all that was held back to the lane. All of a session's jobs are of one lane.
    fn splice(&mut self, leader: &Leader, lane: &Lane, first: u32) {
        let last = Link::load(&lane.tail);
        last.store(&self.slot(first).prev);
        Link::to(first).store(
            last.index()
                .map_or(&lane.head, |last| &self.slot(last).next),
        );
        Link::load(&leader.tail).store(&lane.tail);
        let count = load(&leader.held);
        add(&lane.queued, count);
        add(&self.totals.queued, count);
        subtract(&self.totals.held, count);
    }

    /// Gives jobs of a lane to its idle workers until there is no pair left.
    pub(super) fn hand_out(&mut self, lane: u32) {
        let mut from = &self.lane(lane).idle;
        while load(&self.lane(lane).queued) > 0
            && let Some(index) = Link::load(from).index()
        {
            let worker = &self.workers[index as usize];
            let pid = worker.party().map_or(0, Party::pid);
            let Some(job) = self.pop(lane, |slot| slot.may_run_on(pid, false)) else {
                from = &worker.idle_next;
                continue;
            };
            Link::load(&worker.idle_next).store(from);
            let (party, leader) = self.bind(job, index);
            self.doorbells.ring(party);
            if let Some(leader) = leader {
                self.doorbells.ring(leader);
            }
        }
    }
}
