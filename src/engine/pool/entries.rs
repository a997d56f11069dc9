//! What the pool has in shared memory: lanes, worker slots, the entries of sessions, totals.
//!
//! The rules of who may touch what are in the documentation of [the pool](super).

use super::tally::{Ends, SharedEnds};
use crate::chain::ChainLink;
use crate::list::{Linked, Links, List, Second};
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::Slot;
use crate::wait::Micros;
use crate::worker::{Activity, WorkerWord};

/// A process that has not reported in this long after its worker slot was claimed is taken for lost. The limit
/// is generous: forking takes milliseconds. If it is wrong, a process leaves at once; that is all.
pub const START_LIMIT: Micros = 10_000_000;

/// In a slot's `worker`: the job is bound to no worker slot, only to be failed.
pub(super) const NOBODY: u32 = u32::MAX;

/// Database and authenticated login role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneKey {
    /// Object id of the database.
    pub database: u32,
    /// Object id of the role.
    pub role: u32,
}

impl LaneKey {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.database) << 32 | u64::from(self.role)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            database: (bits >> 32) as u32,
            role: bits as u32,
        }
    }
}

/// Queued jobs, in their order. A process that has run none may take any of them. Others must not take those that need a
/// fresh process, and there may be thousands: so the others are on a second list as well, in the same order.
#[repr(C)]
#[derive(Default)]
pub(super) struct JobQueue {
    pub(super) all: List,
    /// Without those that need a fresh process.
    pub(super) reusing: List<Second>,
}

impl JobQueue {
    pub(super) fn len(&self) -> u32 {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.all.first()
    }

    pub(super) fn push_back(&self, slots: &[Slot], index: u32) {
        self.all.push_back(slots, index);
        if !slots[index as usize].options().fresh_only {
            self.reusing.push_back(slots, index);
        }
    }

    pub(super) fn push_front(&self, slots: &[Slot], index: u32) {
        self.all.push_front(slots, index);
        if !slots[index as usize].options().fresh_only {
            self.reusing.push_front(slots, index);
        }
    }

    pub(super) fn remove(&self, slots: &[Slot], index: u32) {
        self.all.remove(slots, index);
        if !slots[index as usize].options().fresh_only {
            self.reusing.remove(slots, index);
        }
    }

    pub(super) fn append(&self, slots: &[Slot], other: &Self) {
        self.all.append(slots, &other.all);
        self.reusing.append(slots, &other.reusing);
    }

    pub(super) fn clear(&self) {
        self.all.clear();
        self.reusing.clear();
    }

    /// The first job that the process may take. `fresh`: it has run none.
    pub(super) fn first_for(&self, slots: &[Slot], pid: u32, fresh: bool) -> Option<u32> {
        let may = |&index: &u32| slots[index as usize].may_run_on(pid, fresh);
        if fresh {
            self.all.iter(slots).find(may)
        } else {
            self.reusing.iter(slots).find(may)
        }
    }
}

/// A lane in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Lane {
    /// Database and role; 0: never used.
    pub(super) key: AtomicU64,
    /// Its jobs that wait for a worker.
    pub(super) queue: JobQueue,
    /// Its workers that have nothing to do, the latest to go idle first.
    pub(super) idle: List,
    pub(super) starting: AtomicU32,
    pub(super) workers: AtomicU32,
    pub(super) run_time: AtomicU32,
    pub(super) latest: AtomicU32,
    /// Workers at most; 0: no limit.
    pub(super) limit: AtomicU32,
    /// Of its workers, those that have connected.
    pub(super) connected: AtomicU32,
    /// Of its workers, those that have (nearly) finished their job and will ask for another in a moment.
    pub(super) finishing: AtomicU32,
    /// See [`super::turns`].
    pub(super) standing: AtomicU32,
    /// Of its workers, those that wait for a job.
    pub(super) waiting: AtomicU32,
    /// How many jobs were taken from its queue to be run. Wraps.
    pub(super) taken: AtomicU32,
    /// What `taken` was at `needy_since`.
    pub(super) taken_then: AtomicU32,
    /// Its database is about to be dropped ([`super::keep`]).
    pub(super) released: AtomicU32,
    /// The last of its starts that ended has failed ([`Lane::is_stalled`]).
    pub(super) start_failed: AtomicU32,
    /// Since when it is in need, or when it was served last while it is.
    pub(super) needy_since: AtomicU64,
    /// For the list of its standing.
    links: Links,
    /// Head of a chain of keys; see [`super::lanes`].
    pub(super) chain: AtomicU32,
    /// The next entry in the chain of its key.
    pub(super) chain_next: AtomicU32,
}

impl Linked for Lane {
    fn links(&self) -> &Links {
        &self.links
    }
}

impl Lane {
    pub(super) fn key(&self) -> LaneKey {
        LaneKey::from_bits(self.key.load(Ordering::Relaxed))
    }

    pub(super) fn has_key(&self, bits: u64) -> bool {
        self.key.load(Ordering::Relaxed) == bits
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short_without(0)
    }

    /// Whether it is short when `uncounted` of its starting workers do not count.
    pub(super) fn is_short_without(&self, uncounted: u32) -> bool {
        self.queue.len() + uncounted > load(&self.starting) && !self.queue.is_empty()
    }

    /// Whether a start in it has failed although it works, and none has succeeded since. A worker slot that is vacant
    /// because of a failed start does not go there: see [`super::Scheduler::exit`].
    pub(super) fn is_stalled(&self) -> bool {
        load(&self.start_failed) != 0 && load(&self.connected) > 0
    }

    /// Whether it may have one more worker when `leaving` of its workers go.
    pub(super) fn may_grow(&self, leaving: u32) -> bool {
        let limit = load(&self.limit);
        limit == 0 || load(&self.workers) - leaving < limit
    }

    /// Whether it has more workers than it may have.
    pub(super) fn is_over_limit(&self) -> bool {
        let limit = load(&self.limit);
        limit != 0 && load(&self.workers) > limit
    }
}

/// A worker slot in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct WorkerSlot {
    /// The worker word.
    pub word: WorkerWord,
    pub(super) proc: AtomicU64,
    pub(super) registrar: AtomicU64,
    pub(super) claimed_at: AtomicU64,
    pub(super) permit: AtomicU64,
    registration_generation: AtomicU64,
    /// When the turn of its process is over ([`super::turns`]); 0: it has not begun.
    pub(super) turn_end: AtomicU64,
    /// When its process, which is idle, has to look for a lane in need; 0: it has looked.
    pub(super) look_at: AtomicU64,
    pub(super) lane: AtomicU32,
    /// Whether the job that it runs waits for a job.
    pub(super) waits: AtomicU32,
    /// Whether it counts in `Lane::finishing`.
    pub(super) finishing: AtomicU32,
    /// 0: nothing is known of the process; or [`CONNECTED`]; or one plus the slot of the server's table, with
    /// [`STARTED`].
    registration: AtomicU32,
    /// For the list of what it is: vacant, awaiting a process, or idle in its lane. At other times it is on none.
    links: Links,
    /// For the list of all idle workers.
    idle_links: Links,
}

impl Linked for WorkerSlot {
    fn links(&self) -> &Links {
        &self.links
    }
}

impl Linked<Second> for WorkerSlot {
    #[allow(clippy::misnamed_getters, reason = "the links of that list")]
    fn links(&self) -> &Links {
        &self.idle_links
    }
}

/// In `WorkerSlot::registration`: its process was seen to run.
const STARTED: u32 = 1 << 31;

/// In `WorkerSlot::registration`: its process has connected to the lane's database.
const CONNECTED: u32 = 1 << 30;

/// How the server names a process that was registered with it: a slot of the server's table, and its
/// generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The slot.
    pub slot: u32,
    /// Which use of the slot.
    pub generation: u64,
}

/// A worker slot whose process was registered and has not reported in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingStart {
    /// Generation of the worker slot.
    pub generation: u32,
    /// The process.
    pub registration: Registration,
    /// Whether it was seen to run.
    pub started: bool,
    /// When it was registered.
    pub since: Micros,
}

impl WorkerSlot {
    /// Whether the worker slot waits for a process that was registered for it. A hint, without the lock.
    #[must_use]
    pub fn is_start_pending(&self) -> bool {
        self.registration().is_some()
    }

    /// Whether the worker slot, with this generation, awaits a process: none has reported in.
    pub(super) fn awaits(&self, generation: u32) -> bool {
        self.word.load().generation() == generation && self.awaits_any()
    }

    /// Whether the worker slot awaits a process, with whichever generation.
    pub(super) fn awaits_any(&self) -> bool {
        self.word.load().activity() == Activity::Starting && self.proc().is_none()
    }

    pub(super) fn turn_end(&self) -> Micros {
        self.turn_end.load(Ordering::Relaxed)
    }

    /// When its process, which is idle, has to call [`end_turn`](super::Scheduler::end_turn). `None`: it need not. Only
    /// that process may ask, without the lock.
    #[must_use]
    pub fn look_at(&self) -> Option<Micros> {
        let look_at = self.look_at.load(Ordering::Relaxed);
        (look_at != 0).then_some(look_at)
    }

    pub(super) fn waits(&self) -> bool {
        load(&self.waits) != 0
    }

    /// The process that was registered and has not reported in, and whether it was seen to run.
    pub(super) fn registration(&self) -> Option<(Registration, bool)> {
        let word = load(&self.registration);
        let slot = (word & !(STARTED | CONNECTED)).checked_sub(1)?;
        let generation = self.registration_generation.load(Ordering::Relaxed);
        Some((Registration { slot, generation }, word & STARTED != 0))
    }

    pub(super) fn note_registration(&self, registration: Registration, started: bool) {
        self.registration_generation
            .store(registration.generation, Ordering::Relaxed);
        let started = if started { STARTED } else { 0 };
        self.registration
            .store((registration.slot + 1) | started, Ordering::Relaxed);
    }

    /// The process that was registered has reported in.
    pub(super) fn note_arrival(&self, proc: ProcRef) {
        self.proc.store(proc.to_bits(), Ordering::Relaxed);
        self.registration.store(0, Ordering::Relaxed);
    }

    /// The process has connected to its lane's database.
    pub(super) fn note_connection(&self) {
        self.registration.store(CONNECTED, Ordering::Relaxed);
    }

    pub(super) fn has_connected(&self) -> bool {
        load(&self.registration) == CONNECTED
    }

    /// The worker slot has no process, and none was registered for it.
    pub(super) fn forget_process(&self) {
        self.proc.store(0, Ordering::Relaxed);
        self.registrar.store(0, Ordering::Relaxed);
        self.registration.store(0, Ordering::Relaxed);
        self.turn_end.store(0, Ordering::Relaxed);
    }

    pub(super) fn proc(&self) -> Option<ProcRef> {
        ProcRef::from_bits(self.proc.load(Ordering::Relaxed))
    }

    pub(super) fn registrar(&self) -> Option<ProcRef> {
        ProcRef::from_bits(self.registrar.load(Ordering::Relaxed))
    }
}

/// A session in shared memory. The holder of the pool's lock writes all fields but the gate and the sleep. `proc` is read
/// without the lock.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Leader {
    pub(super) proc: AtomicU64,
    pub(super) generation: AtomicU32,
    pub(super) limit: AtomicU32,
    pub(super) admitted: AtomicU32,
    /// Its throttled jobs.
    pub(super) throttled: JobQueue,
    pub(super) waiter: Waiter,
    pub(super) gate: Gate,
    /// The last of the jobs on which it sleeps ([`super::sleep`]).
    pub(super) sleep: ChainLink,
    pub(super) ends: SharedEnds,
}

/// For the queue in which it waits.
impl Linked for Leader {
    fn links(&self) -> &Links {
        &self.waiter.links
    }
}

/// A session that waits for a slot ([`super::slot_waiters`]).
#[derive(Default)]
pub(super) struct Waiter {
    /// What it waits for; 0: nothing.
    pub(super) queue: AtomicU32,
    pub(super) limit: AtomicU32,
    /// Another process was passing through the deferred jobs when it would have ([`super::deferred_free`]).
    pub(super) missed_pass: AtomicU32,
    links: Links,
}

/// See [`super::gate`].
#[derive(Default)]
pub(super) struct Gate {
    pub(super) word: AtomicU32,
    pub(super) purges: AtomicU32,
}

impl Leader {
    /// Whether the entry is this session's.
    #[must_use]
    pub fn is_of(&self, proc: ProcRef) -> bool {
        self.proc.load(Ordering::Relaxed) == proc.to_bits()
    }

    pub(super) fn enroll(&self, proc: ProcRef) -> u32 {
        if !self.is_of(proc) {
            self.proc.store(proc.to_bits(), Ordering::Relaxed);
            self.next_generation();
        }
        load(&self.generation)
    }

    pub(super) fn proc(&self) -> Option<ProcRef> {
        ProcRef::from_bits(self.proc.load(Ordering::Relaxed))
    }

    /// Generation of the session that has the entry now.
    pub(super) fn generation(&self) -> u32 {
        load(&self.generation)
    }

    pub(super) fn next_generation(&self) {
        let next = load(&self.generation).wrapping_add(1).max(1);
        self.generation.store(next, Ordering::Relaxed);
        self.admitted.store(0, Ordering::Relaxed);
        self.throttled.clear();
        self.ends.store(Ends::default());
    }

    pub(super) fn has_room(&self) -> bool {
        load(&self.admitted) < load(&self.limit)
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn admitted_of(&self) -> (u32, u32) {
        (load(&self.admitted), load(&self.limit))
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn current_permit(&self, procno: u32) -> Option<Permit> {
        let generation = load(&self.generation);
        (generation != 0 && self.proc().is_some()).then_some(Permit { procno, generation })
    }
}

/// Says whose quota an admitted job counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Permit {
    pub(super) procno: u32,
    /// Never 0.
    pub(super) generation: u32,
}

impl Permit {
    pub(super) fn store(permit: Option<Self>, into: &AtomicU64) {
        let bits = permit.map_or(0, |permit| {
            u64::from(permit.procno) << 32 | u64::from(permit.generation)
        });
        into.store(bits, Ordering::Relaxed);
    }

    pub(super) fn load(from: &AtomicU64) -> Option<Self> {
        let bits = from.load(Ordering::Relaxed);
        let (procno, generation) = ((bits >> 32) as u32, bits as u32);
        (generation != 0).then_some(Self { procno, generation })
    }

    /// The permit of a job that is not finished.
    pub(super) fn of(slot: &Slot) -> Option<Self> {
        let generation = load(&slot.permit);
        let procno = slot.leader()?.procno();
        (generation != 0).then_some(Self { procno, generation })
    }
}

/// Totals over all lanes, in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Totals {
    pub(super) queued: AtomicU32,
    pub(super) throttled: AtomicU32,
    /// Worker slots that are not vacant.
    pub(super) live: AtomicU32,
    /// Of these, those that are leaving.
    pub(super) exiting: AtomicU32,
    /// What it takes to start a process: a moving mean in microseconds; 0: not known.
    pub(super) start_time: AtomicU32,
    /// Worker slots ever used. Those beyond them are vacant as well.
    pub(super) worker_slots: AtomicU32,
    /// Worker slots that were used and are vacant.
    pub(super) vacant: List,
    /// Worker slots that await a process, in the order in which it was registered.
    pub(super) awaited: List,
    /// All idle workers. Those whose turn is over come first.
    pub(super) idle: List<Second>,
    /// Lanes with nobody that are in need ([`super::turns`]).
    pub(super) nobody: List,
    /// Lanes with somebody that are in need.
    pub(super) somebody: List,
    /// Lanes without jobs and workers, in the order in which they became so.
    pub(super) unused: List,
    /// Launches that wait for a slot of the job table.
    pub(super) waiters: List,
    /// Finished jobs that their last holder could not free.
    pub(super) deferred: List,
    /// The process that passes through them; 0: none.
    pub(super) passing: AtomicU64,
    /// Whether others have missed their pass meanwhile.
    pub(super) missed_passes: AtomicU32,
    /// How often a worker slot could not be passed to a lane that needs it; see [`super::Scheduler::pass_on`].
    pub(super) passed_on: AtomicU32,
    /// Lanes ever used; those beyond them have key 0.
    pub(super) lanes: AtomicU32,
}
