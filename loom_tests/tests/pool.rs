//! The pool: no job stranded, none run twice, no wake-up lost.
#![cfg(loom)]

use engine::job::{Begin, End, Release};
use engine::pool::{Dispatched, NextStep, SpawnDecision};
use engine::process_ref::ProcRef;
use engine::table::JobId;
use engine::wait::{condition, wait_for};
use engine::worker::Activity;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use loom_tests::memory::{LANE, Memory, process};

const LEADER: u32 = 0;
const WORKER: u32 = 1;
const FRESH: u32 = 2;

/// A worker's process in its place.
#[derive(Clone, Copy)]
struct Place {
    worker: u32,
    generation: u32,
    proc: ProcRef,
}

/// How often the second job ran.
type Runs = Arc<AtomicU32>;

fn run(memory: &Memory, job: JobId, runs: &Runs) {
    let word = &memory.slot(job).word;
    assert!(matches!(word.begin(job.generation), Begin::Running { .. }));
    runs.fetch_add(1, Ordering::Relaxed);
    if let Release::Held { watched: true } = word.finish(job.generation, End::Completed) {
        memory.wake(memory.slot(job).leader());
    }
}

/// Registers and reports in, as the fresh process of a claimed place.
fn arrive(memory: &Memory, worker: u32, generation: u32, number: u32) -> Place {
    let proc = process(number);
    let known = memory
        .pool()
        .locked(|scheduler| scheduler.report_in(worker, generation, proc));
    assert!(known);
    Place {
        worker,
        generation,
        proc,
    }
}

fn start(memory: &Memory, number: u32) -> Option<Place> {
    let decision = memory
        .pool()
        .locked(|scheduler| scheduler.spawn_decision(0, 8, true, 1));
    match decision {
        SpawnDecision::Start { worker, generation } => {
            Some(arrive(memory, worker, generation, number))
        }
        SpawnDecision::Enough => None,
        other => panic!("{other:?}"),
    }
}

/// A pool whose worker has just finished its first job and has not looked for the next.
fn with_a_finishing_worker(memory: &Memory) -> Place {
    let job = memory.claim(process(LEADER));
    let (dispatched, _) = memory
        .pool()
        .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1000));
    assert_eq!(dispatched, Dispatched::Queued);
    let place = start(memory, WORKER).expect("a process is wanted");
    let next = memory
        .pool()
        .locked(|scheduler| scheduler.next(place.worker, false));
    assert!(matches!(next, NextStep::Run { .. }));
    let runs = Runs::new(AtomicU32::new(0));
    run(memory, job, &runs);
    place
}

/// What a leader does: enqueue, ring or start what is needed. Returns the process it started.
fn launch(memory: &Memory) -> (JobId, Option<Place>) {
    let job = memory.claim(process(LEADER));
    let (dispatched, _) = memory
        .pool()
        .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1000));
    match dispatched {
        Dispatched::Handed(worker) => {
            memory.wake(Some(worker));
            (job, None)
        }
        Dispatched::Queued => (job, start(memory, FRESH)),
        Dispatched::NoLane | Dispatched::Refused => panic!("there is a lane"),
    }
}

/// What a worker does from then on: run what it is given; when there is nothing, publish Idle and wait,
/// or leave at the idle limit if `impatient`. Ends when it leaves, or when the second job has run.
fn work(memory: &Memory, place: Place, runs: &Runs, impatient: bool) {
    let pool = memory.pool();
    let mut next = pool.locked(|scheduler| scheduler.next(place.worker, false));
    loop {
        match next {
            NextStep::Run { job, leader } => {
                memory.wake(leader);
                run(memory, job, runs);
                return;
            }
            NextStep::Idle => {
                if impatient {
                    let limit = pool
                        .locked(|scheduler| scheduler.idle_limit(place.worker, place.generation));
                    if let Some(leave) = limit {
                        next = leave;
                        continue;
                    }
                }
                let word = &memory.worker(place.worker).word;
                wait_for(
                    memory.latch(place.proc),
                    None,
                    &mut condition(
                        || {},
                        || (word.load().activity() != Activity::Idle).then_some(()),
                    ),
                );
                next = pool
                    .locked(|scheduler| scheduler.awakened(place.worker, place.generation))
                    .unwrap_or(NextStep::Idle);
            }
            NextStep::Retire => return,
            NextStep::Restart => {
                // The postmaster starts a fresh process in the place.
                let fresh = arrive(memory, place.worker, place.generation, place.proc.procno());
                work(memory, fresh, runs, impatient);
                return;
            }
        }
    }
}

/// A process that the leader started finds the job, or finds that it is not needed.
fn work_once(memory: &Memory, fresh: Place, runs: &Runs) {
    let next = memory
        .pool()
        .locked(|scheduler| scheduler.next(fresh.worker, false));
    match next {
        NextStep::Run { job, .. } => {
            run(memory, job, runs);
            // The other may be idle now, and for good: send it home.
            memory.pool().locked(|scheduler| {
                scheduler.dismiss_idle(None, 1, |proc| memory.wake(Some(proc)))
            });
        }
        NextStep::Idle | NextStep::Retire => {}
        NextStep::Restart => panic!("nobody else is short"),
    }
}

fn launch_against(impatient: bool) {
    loom::model(move || {
        let memory = Memory::new(2, 2, 3);
        let runs = Runs::new(AtomicU32::new(0));
        let place = with_a_finishing_worker(&memory);
        let worker = {
            let (memory, runs) = (memory.clone(), runs.clone());
            thread::spawn(move || work(&memory, place, &runs, impatient))
        };
        let (job, started) = launch(&memory);
        if let Some(fresh) = started {
            work_once(&memory, fresh, &runs);
        }
        while memory.phase(job).is_some_and(|phase| !phase.is_finished()) {
            thread::yield_now();
        }
        // Whoever rests has nothing more to do.
        memory
            .pool()
            .locked(|scheduler| scheduler.dismiss_idle(None, 8, |proc| memory.wake(Some(proc))));
        worker.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1, "runs of the job");
    });
}

/// A leader enqueues and looks for an idle worker, while the lane's worker looks for a job and goes idle.
/// Both sides do it in one stretch under the lock: either the leader finds the worker idle and rings it, or
/// the worker finds the job. A wake-up that was lost would be a deadlock.
///
/// Two threads, unbounded.
#[test]
fn a_job_enqueued_while_the_worker_goes_idle_is_run_once() {
    launch_against(false);
}

/// Likewise, while the worker leaves at its idle limit in that moment: it leaves only if it is still idle
/// under the lock, and then the leader finds nobody and starts a process.
///
/// Two threads, unbounded.
#[test]
fn a_job_enqueued_while_the_worker_leaves_is_run_once() {
    launch_against(true);
}

/// A session's only admitted job ends, and with it its worker goes idle or leaves, while the session launches
/// another over its share of one: it is held back and admitted by the worker, or finds room. Either way it
/// is run once.
///
/// Two threads, unbounded.
#[test]
fn a_job_held_back_while_the_one_before_it_ends_is_run_once() {
    for impatient in [false, true] {
        loom::model(move || {
            let memory = Memory::new(2, 2, 3);
            let runs = Runs::new(AtomicU32::new(0));
            let place = with_a_finishing_worker(&memory);
            let worker = {
                let (memory, runs) = (memory.clone(), runs.clone());
                thread::spawn(move || work(&memory, place, &runs, impatient))
            };
            let job = memory.claim_bounded(process(LEADER));
            let (dispatched, _) = memory
                .pool()
                .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1));
            let started = match dispatched {
                Dispatched::Handed(worker) => {
                    memory.wake(Some(worker));
                    None
                }
                Dispatched::Queued => start(&memory, FRESH),
                Dispatched::NoLane | Dispatched::Refused => panic!("there is a lane"),
            };
            if let Some(fresh) = started {
                work_once(&memory, fresh, &runs);
            }
            while memory.phase(job).is_some_and(|phase| !phase.is_finished()) {
                thread::yield_now();
            }
            memory.pool().locked(|scheduler| {
                scheduler.dismiss_idle(None, 8, |proc| memory.wake(Some(proc)))
            });
            worker.join().unwrap();
            assert_eq!(runs.load(Ordering::Relaxed), 1, "runs of the job");
        });
    }
}
