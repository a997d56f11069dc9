//! The pool against a sequential model, and single tests of fairness and of passing worker slots on.

use super::entries::{JobQueue, Permit};
use super::slot_waiters::Resource;
use super::turns::Standing;
use super::*;
use crate::job::{Begin, Demand, End, Phase, Release};
use crate::list::List;
use crate::locked::{add, load, subtract};
use crate::models;
use crate::process_ref::ProcRef;
use crate::sync::{AtomicU32, Ordering};
use crate::table::{JobId, Options};
use crate::wait::Micros;
use crate::worker::Activity;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod deferred;
mod failing_lane;
mod gate;
mod handoff;
mod keep;
mod lanes;
mod model;
mod roles;
mod session_call;
mod sleep;
mod slot_claim;
mod turn_order;
mod views;
mod worker_exit;
mod worker_slot;
mod worker_start;

/// The tests are sequential: nothing to lock. Remembers which processes the pool woke.
#[derive(Default)]
struct Unlocked {
    woken: std::cell::RefCell<Vec<ProcRef>>,
    broken: std::cell::RefCell<Vec<String>>,
    clock: std::cell::Cell<Micros>,
    tick: Tick,
}

/// How much later it is at each look at the clock. At first so much that every turn is over.
struct Tick(std::cell::Cell<Micros>);

impl Default for Tick {
    fn default() -> Self {
        Self(std::cell::Cell::new(turns::LONGEST_TURN))
    }
}

/// The time of day, which does not go on.
const TIMESTAMP: u64 = 1_000;

impl Waker for Unlocked {
    fn wake(&self, proc: ProcRef) {
        self.woken.borrow_mut().push(proc);
    }

    fn timestamp(&self) -> u64 {
        TIMESTAMP
    }

    fn now(&self) -> Micros {
        self.clock.set(self.clock.get() + self.tick.0.get());
        self.clock.get()
    }
}

impl PoolLock for Unlocked {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        body()
    }

    fn broken(&self, why: &str) {
        self.broken.borrow_mut().push(String::from(why));
    }
}

/// Number of sessions.
const LEADERS: usize = 4;
/// A quota that is never used up.
const AMPLE: u32 = 1000;
const HOUR: Micros = 3_600_000_000;
const A: LaneKey = LaneKey {
    database: 1,
    role: 10,
};
const B: LaneKey = LaneKey {
    database: 1,
    role: 20,
};
const C: LaneKey = LaneKey {
    database: 2,
    role: 10,
};

type Memory = models::Memory<Unlocked>;

impl Memory {
    fn with_room(jobs: usize, lanes: usize, workers: usize) -> Self {
        let room = models::Capacity {
            jobs,
            lanes,
            workers,
            leaders: LEADERS,
            roles: 2,
        };
        Self::new(room, Unlocked::default())
    }

    fn locked<'a, R>(&'a self, body: impl FnOnce(&mut Scheduler<'a>) -> R) -> R {
        self.pool().locked(body)
    }

    fn word(&self, job: JobId) -> &crate::job::JobWord {
        &self.slot(job).word
    }

    /// A reserved job with its request filled in.
    fn claim(&self, options: Options, excluded: &[u32]) -> Option<JobId> {
        self.claim_for(ProcRef::new(0, 1), options, excluded)
    }

    /// The jobs on a list, whose links are checked.
    fn list(&self, list: &List) -> Vec<u32> {
        let jobs: Vec<_> = list.iter(&self.slots).take(self.slots.len() + 1).collect();
        assert_eq!(list.backwards(&self.slots), jobs, "the links back");
        assert_eq!(list.len() as usize, jobs.len());
        jobs
    }

    /// The jobs of a queue, whose second list is checked.
    fn queued_in(&self, queue: &JobQueue) -> Vec<u32> {
        let jobs = self.list(&queue.all);
        let reusing: Vec<_> = queue.reusing.iter(&self.slots).collect();
        assert_eq!(queue.reusing.backwards(&self.slots), reusing);
        assert_eq!(queue.reusing.len() as usize, reusing.len());
        let is_for_any = |job: &u32| !self.slots[*job as usize].options().fresh_only;
        let for_any: Vec<_> = jobs.iter().copied().filter(is_for_any).collect();
        assert_eq!(
            reusing, for_any,
            "jobs that need no fresh process, in their order"
        );
        jobs
    }

    /// Compares what each session has admitted and throttled with its jobs and with the workers' permits.
    fn check_quotas(&self, on_list: &mut [bool]) {
        let mut total_throttled = 0;
        for (procno, leader) in (0..).zip(&self.leaders) {
            let throttled = self.queued_in(&leader.throttled);
            for &job in &throttled {
                let slot = &self.slots[job as usize];
                assert!(!on_list[job as usize], "job {job} is on two lists");
                on_list[job as usize] = true;
                assert_eq!(load(&slot.throttled), 1);
                assert!(slot.options().bounded);
            }
            total_throttled += throttled.len() as u32;
            let own = leader.current_permit(procno);
            let is_own = |permit: Option<Permit>| permit.is_some() && permit == own;
            let queued = self.slots.iter().filter(|slot| {
                slot.word.load().phase() == Phase::Queued
                    && is_own(Permit::of(slot))
                    && load(&slot.throttled) == 0
            });
            let bound = self
                .workers
                .iter()
                .filter(|entry| is_own(Permit::load(&entry.permit)));
            let (admitted, limit) = leader.admitted_of();
            assert_eq!(admitted as usize, queued.count() + bound.count());
            assert!(
                throttled.is_empty() || admitted >= limit.max(1),
                "throttled although {admitted} of {limit} are admitted"
            );
        }
        assert_eq!(load(&self.totals.throttled), total_throttled);
    }

    fn dispatch(&self, key: LaneKey) -> (JobId, Dispatched, u32) {
        let job = self.claim(Options::default(), &[]).expect("a free slot");
        let (dispatched, lane) = self.locked(|scheduler| scheduler.dispatch(job, key, 0, AMPLE));
        (job, dispatched, lane)
    }

    fn queue(&self, key: LaneKey) -> JobId {
        let (job, dispatched, _) = self.dispatch(key);
        assert_eq!(dispatched, Dispatched::Queued);
        job
    }

    fn spawn_decision(&self, lane: u32, cap: u32) -> SpawnDecision {
        self.locked(|scheduler| scheduler.spawn_decision(lane, cap, true))
    }

    /// So much time passes.
    fn pass(&self, time: Micros) {
        self.lock.clock.set(self.lock.clock.get() + time);
    }

    /// From now on, time passes only by [`pass`](Self::pass).
    fn stop_the_clock(&self) {
        self.lock.tick.0.set(0);
    }

    /// The process of `worker` begins and completes `job`. Returns what it does next.
    fn complete(&self, worker: u32, job: JobId) -> NextStep {
        self.run(job);
        self.locked(|scheduler| scheduler.next(worker, false))
    }

    fn run(&self, job: JobId) {
        let begun = self.word(job).begin(job.generation);
        assert!(matches!(begun, Begin::Running { .. }), "{begun:?}");
        let _ = self.word(job).finish(job.generation, End::Completed);
    }

    /// Starts a process in the worker slot that `decision` names. Returns the worker slot, its generation, and
    /// what the process does first.
    fn start(&self, decision: SpawnDecision, proc: ProcRef) -> (u32, u32, NextStep) {
        let SpawnDecision::Start { worker, generation } = decision else {
            panic!("expected a start, got {decision:?}");
        };
        let next = self.report_in(worker, generation, proc);
        (worker, generation, next.expect("the registration is ours"))
    }

    fn report_in(&self, worker: u32, generation: u32, proc: ProcRef) -> Option<NextStep> {
        self.locked(|scheduler| {
            if !scheduler.report_in(worker, generation, proc) {
                return None;
            }
            scheduler.note_connected(worker, proc);
            Some(scheduler.next(worker, false))
        })
    }

    fn activity(&self, worker: u32) -> Activity {
        self.workers[worker as usize].word.load().activity()
    }

    /// Checks the invariants of the module documentation against the lists.
    fn check(&self) {
        let mut on_list = vec![false; self.slots.len()];
        let mut total_queued = 0;
        let mut idle_somewhere = vec![false; self.workers.len()];
        for (index, lane) in (0..).zip(&self.lanes) {
            let jobs = self.queued_in(&lane.queue);
            for &job in &jobs {
                assert!(!on_list[job as usize], "job {job} is on two lists");
                on_list[job as usize] = true;
                assert_eq!(load(&self.slots[job as usize].lane), index);
            }
            total_queued += jobs.len() as u32;

            for worker in lane.idle.iter(&self.workers) {
                let entry = &self.workers[worker as usize];
                assert!(!idle_somewhere[worker as usize], "worker {worker} twice");
                idle_somewhere[worker as usize] = true;
                assert_eq!(load(&entry.lane), index);
                let pid = entry.proc().expect("idle, so it is there").pid();
                for (job, slot) in self.slots.iter().enumerate() {
                    let waits_here = on_list[job] && load(&slot.lane) == index;
                    assert!(
                        !waits_here || !slot.may_run_on(pid, false),
                        "job {job} waits while worker {worker}, which may run it, is idle"
                    );
                }
            }

            let members = |wanted: fn(Activity) -> bool| {
                self.workers
                    .iter()
                    .filter(|entry| load(&entry.lane) == index)
                    .filter(|entry| wanted(entry.word.load().activity()))
                    .count() as u32
            };
            assert_eq!(
                load(&lane.starting),
                members(|activity| activity == Activity::Starting)
            );
            assert_eq!(
                load(&lane.workers),
                members(|activity| activity != Activity::Vacant)
            );
        }
        self.check_lists();
        self.check_quotas(&mut on_list);
        for (index, slot) in self.slots.iter().enumerate() {
            let queued = slot.word.load().phase() == Phase::Queued;
            assert_eq!(
                on_list[index],
                queued,
                "job {index}: {:?}",
                slot.word.load()
            );
        }
        for (index, entry) in self.workers.iter().enumerate() {
            let activity = entry.word.load().activity();
            assert_eq!(
                idle_somewhere[index],
                activity == Activity::Idle,
                "worker {index} is {activity:?}"
            );
            if let Activity::Busy(job) = activity {
                assert!(entry.proc().is_some());
                assert_eq!(self.slots[job as usize].worker() as usize, index);
            }
        }
        assert_eq!(load(&self.totals.queued), total_queued);
        let live = (0..self.workers.len() as u32)
            .filter(|&worker| self.activity(worker) != Activity::Vacant)
            .count();
        assert_eq!(load(&self.totals.live) as usize, live);
    }

    /// Compares the lists of lanes and worker slots, and the counts, with what lanes and worker slots are.
    fn check_lists(&self) {
        let lanes = |list: &List| -> Vec<u32> {
            assert_eq!(list.backwards(&self.lanes).len() as u32, list.len());
            list.iter(&self.lanes).collect()
        };
        let used = load(&self.totals.lanes);
        for (standing, list) in [
            (Standing::Unused, &self.totals.unused),
            (Standing::Nobody, &self.totals.nobody),
            (Standing::Somebody, &self.totals.somebody),
        ] {
            let mut listed = lanes(list);
            listed.sort_unstable();
            let of_standing: Vec<u32> = (0..used)
                .filter(|&lane| self.lanes[lane as usize].standing_now() == standing)
                .collect();
            assert_eq!(listed, of_standing, "{standing:?}");
        }
        for (index, lane) in (0..used).zip(&self.lanes) {
            let key = LaneKey::from_bits(lane.key.load(Ordering::Relaxed));
            let found = self.locked(|scheduler| scheduler.lane_with(key));
            assert_eq!(found, Some(index), "the chain of its key");
            let own = |entry: &&WorkerSlot| load(&entry.lane) == index;
            let count = |is: fn(&WorkerSlot) -> bool| {
                self.workers
                    .iter()
                    .filter(own)
                    .filter(|entry| is(entry))
                    .count() as u32
            };
            assert_eq!(load(&lane.connected), count(WorkerSlot::has_connected));
            assert_eq!(load(&lane.waiting), count(WorkerSlot::waits));
            let finishing = count(|entry| load(&entry.finishing) != 0);
            assert_eq!(load(&lane.finishing), finishing);
        }
        let workers = |list: Vec<u32>| {
            let mut list = list;
            list.sort_unstable();
            list
        };
        let that = |is: &dyn Fn(&WorkerSlot) -> bool| -> Vec<u32> {
            let entries = (0..).zip(&self.workers);
            entries
                .filter(|(_, entry)| is(entry))
                .map(|(index, _)| index)
                .collect()
        };
        let is = |entry: &WorkerSlot, activity: Activity| entry.word.load().activity() == activity;
        let totals = &self.totals;
        assert_eq!(
            workers(totals.idle.backwards(&self.workers)),
            that(&|entry| is(entry, Activity::Idle))
        );
        assert_eq!(
            workers(totals.awaited.backwards(&self.workers)),
            that(&WorkerSlot::awaits_any)
        );
        let never_used = load(&totals.worker_slots)..self.workers.len() as u32;
        let vacant = totals
            .vacant
            .iter(&self.workers)
            .chain(never_used)
            .collect();
        assert_eq!(workers(vacant), that(&|entry| is(entry, Activity::Vacant)));
        let exiting = that(&|entry| is(entry, Activity::Exiting)).len();
        assert_eq!(load(&totals.exiting) as usize, exiting);
    }

    /// Whether some process is starting, at work or leaving, and will look for a lane that is short.
    fn some_process_will_look(&self) -> bool {
        (0..self.workers.len() as u32)
            .any(|worker| !matches!(self.activity(worker), Activity::Vacant | Activity::Idle))
    }
}

fn proc(pid: u32) -> ProcRef {
    ProcRef::new(pid, pid)
}

fn running(next: NextStep) -> JobId {
    match next {
        NextStep::Run { job, .. } => job,
        other => panic!("expected a job, got {other:?}"),
    }
}

#[test]
fn jobs_of_a_lane_run_first_in_first_out() {
    let memory = Memory::with_room(8, 2, 2);
    let jobs: Vec<_> = (0..4).map(|_| memory.queue(A)).collect();
    let (worker, _, mut next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    for job in jobs {
        assert_eq!(running(next), job);
        next = memory.complete(worker, job);
        memory.check();
    }
    assert_eq!(next, NextStep::Idle);
}

#[test]
fn an_idle_worker_is_handed_the_job_at_once() {
    let memory = Memory::with_room(8, 2, 2);
    let first = memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    assert_eq!(memory.phase(first), Some(Phase::Completed));
    let (job, dispatched, _) = memory.dispatch(A);
    assert_eq!(dispatched, Dispatched::Handed(proc(100)));
    let told = memory.locked(|scheduler| scheduler.awakened(worker, generation));
    assert_eq!(told, Some(NextStep::Run { job, leader: None }));
    memory.check();
}

#[test]
fn a_worker_that_was_handed_a_job_stays_at_its_idle_limit() {
    let memory = Memory::with_room(8, 2, 2);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let (job, _, _) = memory.dispatch(A);
    assert_eq!(
        memory.locked(|scheduler| scheduler.idle_limit(worker, generation, 0)),
        None
    );
    let told = memory.locked(|scheduler| scheduler.awakened(worker, generation));
    assert_eq!(told, Some(NextStep::Run { job, leader: None }));
}

#[test]
fn a_lane_that_floods_cannot_starve_another() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    let other = memory.queue(B);
    assert_eq!(memory.spawn_decision(1, 1), SpawnDecision::Full);
    memory.queue(A);
    assert_eq!(memory.complete(worker, running(next)), NextStep::Restart);
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), other);
    memory.check();
}

#[test]
fn no_lane_starves_between_two_that_flood() {
    let memory = Memory::with_room(16, 3, 1);
    for key in [A, B, C] {
        memory.queue(key);
        memory.queue(key);
    }
    let (worker, generation, mut next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    let mut served = Vec::new();
    for pid in 101..107 {
        let key = memory.locked(|scheduler| scheduler.lane_key(worker));
        served.push(key);
        let job = running(next);
        memory.queue(key);
        assert_eq!(memory.complete(worker, job), NextStep::Restart);
        next = memory.report_in(worker, generation, proc(pid)).unwrap();
        memory.check();
        // The leader takes its result: otherwise the table fills up.
        assert_eq!(memory.word(job).detach(job.generation), Release::LastOut);
        memory.pool().free(job);
    }
    assert_eq!(served, [A, B, C, A, B, C]);
}

#[test]
fn an_idle_worker_of_another_lane_makes_room() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let job = memory.queue(B);
    assert_eq!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Recycle(proc(100))
    );
    memory.check();
    let told = memory.locked(|scheduler| scheduler.awakened(worker, generation));
    assert_eq!(told, Some(NextStep::Restart));
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_worker_without_jobs_serves_a_lane_that_is_short() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    let job = memory.queue(B);
    assert_eq!(memory.complete(worker, running(next)), NextStep::Restart);
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_job_whose_worker_died_goes_back_to_the_head() {
    let memory = Memory::with_room(8, 2, 1);
    let first = memory.queue(A);
    let second = memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(running(next), first);
    let returned = memory.locked(|scheduler| scheduler.give_back(first));
    assert_eq!(returned, Returned::Requeued);
    memory.check();
    let left =
        memory.locked(|scheduler| scheduler.exit(worker, generation, proc(100), Heir::Anyone));
    assert_eq!(left, Some(NextStep::Restart));
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), first);
    assert_eq!(running(memory.complete(worker, first)), second);
}

#[test]
fn a_job_given_back_goes_to_a_worker_that_is_idle() {
    let memory = Memory::with_room(8, 2, 2);
    let idle_first = memory.queue(A);
    let (idle, _, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(running(next), idle_first);
    let job = memory.queue(A);
    let (_, _, next) = memory.start(memory.spawn_decision(0, 2), proc(101));
    assert_eq!(running(next), job);
    assert_eq!(memory.complete(idle, idle_first), NextStep::Idle);
    let returned = memory.locked(|scheduler| scheduler.give_back(job));
    assert_eq!(returned, Returned::Handed(proc(100)));
    assert_eq!(memory.slots[job.index as usize].worker(), idle);
}

#[test]
fn a_job_canceled_before_its_worker_died_does_not_go_back() {
    let memory = Memory::with_room(8, 2, 1);
    let job = memory.queue(A);
    let _ = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(
        memory.pool().cancel(job, Demand::Cancel, |_| {}),
        Canceling::Asked
    );
    let returned = memory.locked(|scheduler| scheduler.give_back(job));
    assert_eq!(
        returned,
        Returned::Canceled(Release::Held { watched: false })
    );
    assert_eq!(memory.pool().queued(), 0);
}

#[test]
fn a_process_that_dies_before_it_takes_its_job_is_replaced() {
    let memory = Memory::with_room(8, 2, 1);
    let job = memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    let at_home = memory.locked(|scheduler| scheduler.report_in(worker, generation, proc(100)));
    assert!(at_home);
    // It counts as starting, but is not: some process must be left to run the job.
    let left =
        memory.locked(|scheduler| scheduler.exit(worker, generation, proc(100), Heir::Anyone));
    assert_eq!(left, Some(NextStep::Restart));
    memory.check();
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_process_that_must_not_run_its_lanes_only_job_makes_room_for_another() {
    let memory = Memory::with_room(8, 2, 1);
    let job = memory.claim(Options::default(), &[100]).unwrap();
    let (dispatched, lane) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Queued);
    let (worker, generation, next) = memory.start(memory.spawn_decision(lane, 1), proc(100));
    assert_eq!(next, NextStep::Restart);
    memory.check();
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_job_for_a_fresh_process_is_not_given_to_an_old_one() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    let options = Options {
        fresh_only: true,
        ..Options::default()
    };
    let job = memory.claim(options, &[]).unwrap();
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Queued);
    assert_eq!(memory.complete(worker, running(next)), NextStep::Restart);
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_process_that_never_reports_in_is_replaced() {
    let memory = Memory::with_room(8, 2, 2);
    memory.stop_the_clock();
    let job = memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 2) else {
        panic!("a worker slot is vacant");
    };
    memory.pass(START_LIMIT);
    assert_eq!(memory.spawn_decision(0, 2), SpawnDecision::Enough);
    memory.pass(1);
    let (again, _, next) = memory.start(memory.spawn_decision(0, 2), proc(101));
    assert_eq!(running(next), job);
    assert_eq!(
        again, worker,
        "the worker slot of the lost process is used again"
    );
    let late = memory.locked(|scheduler| scheduler.report_in(worker, generation, proc(100)));
    assert!(!late, "it reports in late and has to leave");
    memory.check();
}

#[test]
fn a_lost_process_does_not_keep_its_worker_slot_from_another_lane() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    assert!(matches!(
        memory.spawn_decision(0, 1),
        SpawnDecision::Start { .. }
    ));
    memory.queue(B);
    assert_eq!(memory.spawn_decision(1, 1), SpawnDecision::Full);
    // Both lanes are short of workers forever unless the worker slot is taken back.
    memory.pass(HOUR);
    assert!(matches!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Start { .. }
    ));
    memory.check();
}

#[test]
fn a_process_that_slept_through_its_dismissal_has_lost_its_worker_slot() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let job = memory.queue(B);
    assert_eq!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Recycle(proc(100))
    );
    // It does not run for so long that it is taken for lost. Another process has its worker slot and a job.
    assert_eq!(memory.spawn_decision(1, 1), SpawnDecision::Enough);
    memory.pass(HOUR);
    let (again, fresh, next) = memory.start(memory.spawn_decision(1, 1), proc(101));
    assert_eq!((again, running(next)), (worker, job));
    let told = memory.locked(|scheduler| scheduler.awakened(worker, generation));
    assert_eq!(
        told,
        Some(NextStep::Retire),
        "it must not run the other's job"
    );
    assert_eq!(memory.complete(worker, job), NextStep::Idle);
    let limit = memory.locked(|scheduler| scheduler.idle_limit(worker, generation, 0));
    assert_eq!(limit, None, "it must not take the other off the idle list");
    let limit = memory.locked(|scheduler| scheduler.idle_limit(worker, fresh, 0));
    assert_eq!(limit, Some(NextStep::Retire));
}

#[test]
fn a_registration_that_fails_gives_the_worker_slot_back() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    let lane = memory.locked(|scheduler| scheduler.start_failed(worker, generation));
    assert_eq!(lane, Some(0));
    memory.check();
    let again = memory.locked(|scheduler| scheduler.start_failed(worker, generation));
    assert_eq!(again, None);
    let full = memory.locked(|scheduler| scheduler.spawn_decision(0, 1, false));
    assert_eq!(full, SpawnDecision::Full);
    assert!(matches!(
        memory.spawn_decision(0, 1),
        SpawnDecision::Start { .. }
    ));
}

const REGISTRATION: Registration = Registration {
    slot: 3,
    generation: 70,
};

#[test]
fn a_registration_is_known_to_all_until_its_process_reports_in() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let decision = memory.spawn_decision(0, 1);
    let SpawnDecision::Start { worker, generation } = decision else {
        panic!("a worker slot is vacant");
    };
    let registrar = proc(7);
    memory.locked(|scheduler| {
        assert!(scheduler.begin_registration(worker, generation, registrar));
        assert_eq!(scheduler.pending_start(worker), None);
        assert!(!memory.workers[worker as usize].is_start_pending());
        scheduler.note_registered(worker, generation, registrar, REGISTRATION);
        assert!(memory.workers[worker as usize].is_start_pending());
        assert!(!scheduler.begin_registration(worker, generation, proc(8)));
        let seen = scheduler.pending_start(worker).expect("it is registered");
        let expected = (generation, REGISTRATION, false, memory.lock.clock.get());
        assert_eq!(
            (seen.generation, seen.registration, seen.started, seen.since),
            expected
        );
        scheduler.note_running(worker, seen);
        let runs = PendingStart {
            started: true,
            ..seen
        };
        assert_eq!(scheduler.pending_start(worker), Some(runs));
        assert!(scheduler.awaits_start_by(worker, registrar));
        assert!(!scheduler.awaits_start_by(worker, proc(8)));
    });
    let (_, _, next) = memory.start(decision, proc(100));
    memory.locked(|scheduler| {
        assert_eq!(scheduler.pending_start(worker), None);
        assert!(!scheduler.awaits_start_by(worker, registrar));
        assert!(!memory.workers[worker as usize].is_start_pending());
        assert_eq!(scheduler.take_registrar(worker), Some(registrar));
        assert_eq!(scheduler.take_registrar(worker), None, "woken once");
    });
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    // Told to make room for another lane: it registers the next process itself.
    memory.queue(B);
    assert_eq!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Recycle(proc(100))
    );
    assert_eq!(memory.activity(worker), Activity::Starting);
    memory.locked(|scheduler| {
        // Late news of the registration before means nothing.
        scheduler.note_registered(worker, generation, registrar, REGISTRATION);
        assert_eq!(scheduler.pending_start(worker), None);
        assert!(scheduler.begin_registration(worker, generation, proc(100)));
    });
    memory.check();
}

#[test]
fn only_the_process_that_leaves_a_worker_slot_registers_the_next_one() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let decision = memory.spawn_decision(0, 1);
    let (worker, generation, next) = memory.start(decision, proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let begin = |registrar| {
        memory.locked(|scheduler| scheduler.begin_registration(worker, generation, proc(registrar)))
    };
    memory.queue(B);
    assert_eq!(
        memory.spawn_decision(1, 1),
        SpawnDecision::Recycle(proc(100))
    );
    assert!(!begin(99), "no other process");
    assert!(begin(100));
    let next = memory.locked(|scheduler| {
        scheduler.note_registered(worker, generation, proc(100), REGISTRATION);
        assert!(scheduler.report_in(worker, generation, proc(101)));
        assert_eq!(scheduler.take_registrar(worker), Some(proc(100)));
        scheduler.next(worker, false)
    });
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    // The second is told to make room and has not noticed. The first, still there, is told to exit.
    memory.queue(A);
    assert_eq!(
        memory.spawn_decision(0, 1),
        SpawnDecision::Recycle(proc(101))
    );
    assert!(!begin(100), "it would run the job of the process it starts");
    assert!(begin(101));
    memory.check();
}

#[test]
fn the_worker_slot_of_a_lost_process_is_taken_back_once() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    memory.locked(|scheduler| {
        assert!(scheduler.begin_registration(worker, generation, proc(7)));
        scheduler.note_registered(worker, generation, proc(7), REGISTRATION);
        let seen = scheduler.pending_start(worker).expect("it is registered");
        let another = PendingStart {
            registration: Registration {
                generation: 71,
                ..REGISTRATION
            },
            ..seen
        };
        assert_eq!(scheduler.give_up_start(worker, another), None);
        assert_eq!(scheduler.give_up_start(worker, seen), Some((0, A)));
        assert_eq!(scheduler.give_up_start(worker, seen), None);
        assert!(!scheduler.report_in(worker, generation, proc(100)));
    });
    memory.check();
    assert!(matches!(
        memory.spawn_decision(0, 1),
        SpawnDecision::Start { .. }
    ));
}

#[test]
fn a_reused_lane_entry_is_not_failed_for_the_former_lane() {
    let memory = Memory::with_room(8, 1, 1);
    let job = memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    let lost = memory.locked(|scheduler| {
        assert!(scheduler.begin_registration(worker, generation, proc(7)));
        scheduler.note_registered(worker, generation, proc(7), REGISTRATION);
        let seen = scheduler.pending_start(worker).expect("it is registered");
        scheduler.give_up_start(worker, seen)
    });
    let (lane, key) = lost.expect("it is lost");
    // Before the lane's jobs are failed, its only job is canceled, and another lane has the entry.
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
    let other = memory.queue(B);
    assert_eq!(memory.slot(other).lane(), lane, "the entry is reused");
    memory.locked(|scheduler| {
        assert_eq!(scheduler.take_to_fail(lane, key, 0), None);
        assert_eq!(scheduler.take_to_fail(lane, B, 0), Some(other));
    });
}

#[test]
fn a_lane_that_works_by_now_is_not_failed() {
    let memory = Memory::with_room(8, 2, 2);
    let first = memory.queue(A);
    let (worker, _, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(running(next), first);
    memory.queue(A);
    memory.locked(|scheduler| scheduler.note_connected(worker, proc(100)));
    assert_eq!(
        memory.locked(|scheduler| scheduler.take_to_fail(0, A, 0)),
        None
    );
}

#[test]
fn a_worker_slot_that_cannot_be_passed_on_is_left_to_a_waiting_leader() {
    let memory = Memory::with_room(8, 2, 1);
    assert!(
        memory.locked(|scheduler| scheduler.pass_on()),
        "no lane is short"
    );
    let before = memory.pool().passed_on();
    let job = memory.queue(A);
    assert!(
        !memory.locked(|scheduler| scheduler.pass_on()),
        "no process is left"
    );
    assert_ne!(memory.pool().passed_on(), before);
    let _ = memory.slot(job).word.watch(job.generation);
    assert!(
        memory.locked(|scheduler| scheduler.pass_on()),
        "its leader waits"
    );
}

#[test]
fn a_worker_slot_that_cannot_be_passed_on_is_left_to_an_idle_worker() {
    let memory = Memory::with_room(8, 2, 2);
    let first = memory.queue(A);
    let (idle, _, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(memory.complete(idle, running(next)), NextStep::Idle);
    assert_eq!(memory.word(first).load().phase(), Phase::Completed);
    memory.queue(B);
    assert!(memory.locked(|scheduler| scheduler.pass_on()));
    assert_eq!(memory.activity(idle), Activity::Starting);
    assert_eq!(memory.lock.woken.borrow().last(), Some(&proc(100)));
    memory.check();
}

#[test]
fn a_process_that_has_reported_in_is_not_taken_for_lost() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    memory.locked(|scheduler| {
        assert!(scheduler.report_in(worker, generation, proc(100)));
        assert_eq!(scheduler.start_failed(worker, generation), None);
    });
    memory.check();
}

#[test]
fn a_start_that_fails_for_good_fails_every_queued_job() {
    let memory = Memory::with_room(8, 2, 1);
    let jobs: Vec<_> = (0..3).map(|_| memory.queue(A)).collect();
    let SpawnDecision::Start { worker, generation } = memory.spawn_decision(0, 1) else {
        panic!("a worker slot is vacant");
    };
    memory.locked(|scheduler| {
        assert!(scheduler.report_in(worker, generation, proc(100)));
        assert!(!scheduler.lane_works(scheduler.lane_index(worker)));
    });
    for expected in jobs {
        let job =
            memory.locked(|scheduler| scheduler.take_to_fail(scheduler.lane_index(worker), A, 1));
        assert_eq!(job, Some(expected));
        let _ = memory
            .word(expected)
            .finish(expected.generation, End::Failed);
        memory.check();
    }
    assert_eq!(
        memory.locked(|scheduler| scheduler.take_to_fail(scheduler.lane_index(worker), A, 1)),
        None
    );
    let left =
        memory.locked(|scheduler| scheduler.exit(worker, generation, proc(100), Heir::Anyone));
    assert_eq!(left, Some(NextStep::Retire));
    memory.check();
}

#[test]
fn a_queued_job_leaves_its_lane_when_canceled() {
    let memory = Memory::with_room(8, 2, 1);
    let jobs: Vec<_> = (0..3).map(|_| memory.queue(A)).collect();
    for job in [jobs[1], jobs[0], jobs[2]] {
        let canceled = memory
            .pool()
            .cancel(job, Demand::Cancel, |_| panic!("no worker has it"));
        assert_eq!(
            canceled,
            Canceling::Finished(Release::Held { watched: false })
        );
        memory.check();
    }
    assert_eq!(
        memory.pool().cancel(jobs[0], Demand::Cancel, |_| {}),
        Canceling::TooLate
    );
}

#[test]
fn a_dismissed_worker_exits() {
    let memory = Memory::with_room(8, 2, 2);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    assert_eq!(
        memory.locked(|scheduler| scheduler.dismiss_idle(Some(B), 9, |_| {})),
        0
    );
    assert_eq!(
        memory.locked(|scheduler| scheduler.dismiss_idle(Some(A), 9, |_| {})),
        1
    );
    memory.check();
    let (_, dispatched, _) = memory.dispatch(A);
    assert_eq!(
        dispatched,
        Dispatched::Queued,
        "it is not handed a job any more"
    );
    let told = memory.locked(|scheduler| scheduler.awakened(worker, generation));
    assert_eq!(
        told,
        Some(NextStep::Restart),
        "there is work, so a process is started"
    );
}

#[test]
fn there_are_no_more_lanes_than_entries() {
    let memory = Memory::with_room(8, 2, 1);
    memory.queue(A);
    let job = memory.queue(B);
    let (third, dispatched, _) = memory.dispatch(C);
    assert_eq!(dispatched, Dispatched::NoLane);
    memory.pool().abandon(third);
    let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
    memory.queue(C);
    memory.check();
}

/// Dispatches a job of a lane that may have this many workers.
fn dispatch_limited(memory: &Memory, key: LaneKey, lane_workers: u32) -> u32 {
    let job = memory.claim(Options::default(), &[]).expect("a free slot");
    let limits = Limits {
        session_jobs: AMPLE,
        lane_workers,
    };
    let (dispatched, lane) = memory.locked(|scheduler| scheduler.dispatch(job, key, 0, limits));
    assert_eq!(dispatched, Dispatched::Queued);
    lane
}

#[test]
fn a_lane_at_its_limit_gets_no_more_workers() {
    let memory = Memory::with_room(8, 2, 4);
    let lane = dispatch_limited(&memory, A, 2);
    for pid in [100, 101] {
        let _ = dispatch_limited(&memory, A, 2);
        let (_, _, next) = memory.start(memory.spawn_decision(lane, 4), proc(pid));
        running(next);
    }
    let _ = dispatch_limited(&memory, A, 2);
    assert_eq!(memory.spawn_decision(lane, 4), SpawnDecision::Full);
    // Another lane is not throttled by it.
    let other = dispatch_limited(&memory, B, 0);
    assert!(matches!(
        memory.spawn_decision(other, 4),
        SpawnDecision::Start { .. }
    ));
    memory.check();
}

#[test]
fn a_lane_over_a_lowered_limit_gives_workers_back() {
    let memory = Memory::with_room(8, 1, 2);
    let lane = dispatch_limited(&memory, A, 2);
    let _ = dispatch_limited(&memory, A, 2);
    let (first, _, next) = memory.start(memory.spawn_decision(lane, 2), proc(100));
    let (_, _, _) = memory.start(memory.spawn_decision(lane, 2), proc(101));
    let _ = dispatch_limited(&memory, A, 1);
    assert_eq!(memory.complete(first, running(next)), NextStep::Retire);
    memory.check();
}

#[test]
fn a_lane_at_its_limit_exchanges_an_idle_worker_for_a_fresh_one() {
    let memory = Memory::with_room(8, 1, 2);
    let lane = dispatch_limited(&memory, A, 1);
    let (worker, _, next) = memory.start(memory.spawn_decision(lane, 2), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let fresh_only = Options {
        fresh_only: true,
        ..Options::default()
    };
    let job = memory.claim(fresh_only, &[]).expect("a free slot");
    let limits = Limits {
        session_jobs: AMPLE,
        lane_workers: 1,
    };
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, limits));
    assert_eq!(dispatched, Dispatched::Queued);
    assert_eq!(
        memory.spawn_decision(lane, 2),
        SpawnDecision::Recycle(proc(100))
    );
    memory.check();
}

/// Jobs that any worker may run keep coming, behind a job that needs a fresh process.
#[test]
fn a_job_for_a_fresh_process_is_not_overtaken_forever() {
    let memory = Memory::with_room(8, 1, 2);
    let limits = Limits {
        session_jobs: AMPLE,
        lane_workers: 1,
    };
    let lane = dispatch_limited(&memory, A, 1);
    let (worker, generation, next) = memory.start(memory.spawn_decision(lane, 2), proc(100));
    let fresh_only = Options {
        fresh_only: true,
        ..Options::default()
    };
    let job = memory.claim(fresh_only, &[]).expect("a free slot");
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, limits));
    assert_eq!(dispatched, Dispatched::Queued);
    assert_eq!(memory.spawn_decision(lane, 2), SpawnDecision::Full);
    let _ = dispatch_limited(&memory, A, 1);
    assert_eq!(memory.complete(worker, running(next)), NextStep::Restart);
    memory.check();
    let next = memory.report_in(worker, generation, proc(101)).unwrap();
    assert_eq!(running(next), job);
}

#[test]
fn a_pool_that_must_shrink_dismisses_idle_workers_first() {
    let memory = Memory::with_room(8, 2, 2);
    let first = memory.queue(A);
    let (idle, generation, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(running(next), first);
    assert_eq!(memory.complete(idle, first), NextStep::Idle);
    let second = memory.queue(B);
    let (busy, _, next) = memory.start(memory.spawn_decision(1, 2), proc(101));
    assert_eq!(running(next), second);
    memory.run(second);
    assert_eq!(
        memory.locked(|scheduler| scheduler.shrink(busy, 1)),
        None,
        "the other one goes"
    );
    assert_eq!(*memory.lock.woken.borrow(), [proc(100)]);
    assert_eq!(
        memory.locked(|scheduler| scheduler.awakened(idle, generation)),
        Some(NextStep::Retire)
    );
    assert_eq!(memory.locked(|scheduler| scheduler.shrink(busy, 1)), None);
    assert_eq!(
        memory.locked(|scheduler| scheduler.shrink(busy, 0)),
        Some(NextStep::Retire)
    );
    memory.check();
}

#[test]
fn an_idle_worker_leaves_a_pool_that_must_shrink() {
    let memory = Memory::with_room(8, 1, 2);
    let first = memory.queue(A);
    let (idle, generation, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(running(next), first);
    let shrink = |cap| memory.locked(|scheduler| scheduler.shrink_idle(idle, generation, cap));
    assert_eq!(shrink(0), None, "it has a job");
    assert_eq!(memory.complete(idle, first), NextStep::Idle);
    assert_eq!(shrink(1), None, "the pool is not too large");
    assert_eq!(shrink(0), Some(NextStep::Retire));
    assert_eq!(memory.activity(idle), Activity::Vacant);
    memory.check();
}

#[test]
fn a_job_of_a_role_that_is_refused_is_not_published() {
    let memory = Memory::with_room(8, 1, 1);
    let job = memory.claim(Options::default(), &[]).expect("a free slot");
    let pool = memory.pool();
    assert_eq!(pool.refuse(0, 2), None, "the entry is not of that role");
    let refusal = pool.refuse(0, 1).expect("it is of this one");
    let (dispatched, _) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Refused);
    pool.abandon(job);
    pool.accept_again(0, refusal);
    let _ = memory.queue(A);
}

/// A session looks through the table and finds nothing. Meanwhile the role's jobs are accepted again, a job is
/// there, and jobs are refused once more. What the session saw says nothing about that job.
#[test]
fn an_earlier_look_does_not_take_back_a_refusal() {
    let memory = Memory::with_room(8, 1, 1);
    let pool = memory.pool();
    let _ = memory.claim(Options::default(), &[]).expect("a free slot");
    let before = pool.refuse(0, 1).expect("it is of this role");
    assert_eq!(pool.refusal(0), before);
    pool.accept_again(0, before);
    let later = pool.refuse(0, 1).expect("it is of this role");
    pool.accept_again(0, before);
    assert_eq!(pool.refusal(0), later);
    pool.accept_again(0, later);
    assert_eq!(pool.refusal(0), 0);
}

/// The worker that ended the job has not looked for a watcher yet, when the job is freed and its role's entry
/// goes to another role.
#[test]
fn a_watcher_is_woken_when_its_roles_entry_is_taken_over() {
    let memory = Memory::with_room(8, 1, 1);
    let pool = memory.pool();
    let job = memory.claim(Options::default(), &[]).expect("a free slot");
    let other = pool.usage_of(2).expect("an entry");
    assert_eq!(pool.usage(other).claim_slot(2, 1), usage::Claimed::Yes);
    let watcher = ProcRef::new(3, 3);
    pool.usage(0).watch(watcher);
    pool.abandon(job);
    assert_eq!(pool.usage_of(4), Some(0));
    assert_eq!(*memory.lock.woken.borrow(), [watcher]);
}

#[test]
fn an_entry_of_a_role_without_jobs_serves_another_role() {
    let memory = Memory::with_room(8, 1, 1);
    let pool = memory.pool();
    let roles: Vec<u32> = (0..2)
        .map(|number| pool.usage_of(10 + number).expect("an entry"))
        .collect();
    assert_eq!(pool.usage(roles[0]).claim_slot(10, 1), usage::Claimed::Yes);
    assert_eq!(
        pool.usage(roles[0]).claim_slot(10, 1),
        usage::Claimed::AtLimit
    );
    // The other role has no slot: its entry is taken over, and it finds out.
    assert_eq!(pool.usage_of(12), Some(roles[1]));
    assert_eq!(pool.usage(roles[1]).claim_slot(11, 1), usage::Claimed::Gone);
    assert_eq!(pool.usage(roles[1]).claim_slot(12, 1), usage::Claimed::Yes);
    assert_eq!(pool.usage_of(13), None, "both have slots");
    pool.release_role_slot(roles[1]);
    assert_eq!(pool.usage_of(13), Some(roles[1]));
}

/// Sessions of one role: for two of them the limit is 1, for two others 2. Two slots are given back, a session
/// that was called gives up, and a newcomer takes a slot. The two with the lower limit, called both, find none.
#[test]
fn a_waiter_that_cannot_claim_passes_its_call_on() {
    let memory = Memory::with_room(8, 2, 2);
    let pool = memory.pool();
    let usage = pool.usage_of(1).expect("there is room for a role");
    let what = Resource::RoleSlots(usage);
    let claim = |limit| pool.usage(usage).claim_slot(1, limit);
    let called = || std::mem::take(&mut *memory.lock.woken.borrow_mut());
    let [low, gives_up, low_too, high] =
        [0, 1, 2, 3].map(|procno| ProcRef::new(procno, procno + 1));
    assert_eq!([claim(2), claim(2)], [usage::Claimed::Yes; 2]);
    for (waiter, limit) in [(low, 1), (gives_up, 2), (low_too, 1), (high, 2)] {
        pool.join_waiters(waiter, what, limit, false);
    }
    pool.release_role_slot(usage);
    pool.release_role_slot(usage);
    assert_eq!(called(), [gives_up, low]);
    pool.leave_waiters(gives_up, what);
    assert_eq!(called(), [low_too]);
    assert_eq!(claim(2), usage::Claimed::Yes);
    for waiter in [low, low_too] {
        assert_eq!(claim(1), usage::Claimed::AtLimit);
        pool.join_waiters(waiter, what, 1, true);
    }
    assert_eq!(called(), [high]);
}

#[test]
fn a_failure_under_the_lock_is_reported_before_the_lock_is_free() {
    type Fails = fn(&mut Scheduler<'_>);
    let failures: [(&str, Fails); 4] = [
        ("asserted", |_| panic!("asserted")),
        ("went below zero", |_| subtract(&AtomicU32::new(0), 1)),
        ("overflow", |_| add(&AtomicU32::new(u32::MAX), 1)),
        ("out of bounds", |scheduler| _ = scheduler.lane(u32::MAX)),
    ];
    for (words, fails) in failures {
        let memory = Memory::with_room(8, 2, 1);
        let pool = memory.pool();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            pool.locked(|scheduler| fails(scheduler));
        }));
        assert!(unwound.is_err());
        let told = memory.lock.broken.take();
        assert!(
            told.len() == 1 && told[0].contains(words),
            "{words}: {told:?}"
        );
    }
}

#[test]
fn a_lane_at_its_limit_is_not_left_to_an_idle_worker_that_must_not_run_its_job() {
    let memory = Memory::with_room(8, 1, 2);
    memory.queue(A);
    let (idle, generation, next) = memory.start(memory.spawn_decision(0, 2), proc(100));
    assert_eq!(memory.complete(idle, running(next)), NextStep::Idle);
    let options = Options {
        fresh_only: true,
        ..Options::default()
    };
    let job = memory.claim(options, &[]).expect("a free slot");
    let (dispatched, lane) = memory.locked(|scheduler| scheduler.dispatch(job, A, 0, AMPLE));
    assert_eq!(dispatched, Dispatched::Queued);
    let SpawnDecision::Start {
        worker,
        generation: second,
    } = memory.spawn_decision(lane, 2)
    else {
        panic!("the idle worker must not run it");
    };
    // A session that allows the lane one worker launches meanwhile.
    memory.lanes[lane as usize]
        .limit
        .store(1, Ordering::Relaxed);
    let next = memory.report_in(worker, second, proc(102));
    assert_eq!(next, Some(NextStep::Retire));
    let told = memory.locked(|scheduler| scheduler.awakened(idle, generation));
    assert_eq!(told, Some(NextStep::Restart));
    let next = memory.report_in(idle, generation, proc(104));
    assert_eq!(next, Some(NextStep::Run { job, leader: None }));
    memory.lock.woken.borrow_mut().clear();
    memory.check();
}

#[test]
fn a_job_that_is_canceled_while_it_is_queued_has_an_end() {
    let memory = Memory::with_room(2, 1, 1);
    let job = memory.queue(A);
    let canceling = memory.pool().cancel(job, Demand::Cancel, |_| {});
    assert!(matches!(canceling, Canceling::Finished(_)));
    let slot = memory.pool().jobs().slot(job.index);
    assert_eq!(slot.finished_at.load(Ordering::Relaxed), TIMESTAMP);
    assert_eq!(slot.run_time(), 0);
}

#[test]
fn a_process_that_connects_late_leaves_the_next_registration_alone() {
    let memory = Memory::with_room(2, 1, 1);
    memory.queue(A);
    let (worker, generation, next) = memory.start(memory.spawn_decision(0, 1), proc(100));
    assert_eq!(memory.complete(worker, running(next)), NextStep::Idle);
    let _ = memory.locked(|scheduler| scheduler.exit(worker, generation, proc(100), Heir::Nobody));
    memory.queue(A);
    let SpawnDecision::Start {
        worker: again,
        generation,
    } = memory.spawn_decision(0, 1)
    else {
        panic!("the worker slot is vacant");
    };
    assert_eq!(again, worker);
    let registration = Registration {
        slot: 3,
        generation: 7,
    };
    memory.locked(|scheduler| {
        assert!(scheduler.begin_registration(worker, generation, proc(9)));
        scheduler.note_registered(worker, generation, proc(9), registration);
        scheduler.note_connected(worker, proc(100));
    });
    let pending = memory.locked(|scheduler| scheduler.pending_start(worker));
    assert_eq!(pending.map(|start| start.registration), Some(registration));
}
