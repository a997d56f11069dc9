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
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::{LANE, Memory, process};

const LEADER: u32 = 0;
const WORKER: u32 = 1;
const FRESH: u32 = 2;
const OTHER_FRESH: u32 = 3;

/// A worker's process in its worker slot.
#[derive(Clone, Copy)]
struct WorkerProcess {
    worker: u32,
    generation: u32,
    proc: ProcRef,
}

/// How often the second job ran.
type Runs = Arc<AtomicU32>;

fn run(memory: &Memory, job: JobId, runs: &Runs) {
    let slot = memory.slot(job);
    let (word, worker) = (&slot.word, slot.worker());
    assert!(matches!(word.begin(job.generation), Begin::Running { .. }));
    runs.fetch_add(1, Ordering::Relaxed);
    memory.pool().note_finishing(worker);
    if let Release::Held { watched: true } = word.finish(job.generation, End::Completed) {
        memory.wake(memory.slot(job).leader());
    }
}

/// Registers a process for a claimed worker slot, and reports in as that process.
fn arrive(memory: &Memory, worker: u32, generation: u32, number: u32) -> WorkerProcess {
    let proc = process(number);
    let known = memory
        .pool()
        .locked(|scheduler| scheduler.report_in(worker, generation, proc));
    assert!(known);
    WorkerProcess {
        worker,
        generation,
        proc,
    }
}

fn start(memory: &Memory, number: u32) -> Option<WorkerProcess> {
    let decision = memory
        .pool()
        .locked(|scheduler| scheduler.spawn_decision(0, 8, true));
    match decision {
        SpawnDecision::Start { worker, generation } => {
            Some(arrive(memory, worker, generation, number))
        }
        SpawnDecision::Enough => None,
        other => panic!("{other:?}"),
    }
}

/// Workers with these numbers have just finished a job each and have not looked for the next.
fn with_finishing_workers<const N: usize>(
    memory: &Memory,
    numbers: [u32; N],
) -> [WorkerProcess; N] {
    let jobs = numbers.map(|_| {
        let job = memory.claim(process(LEADER));
        let (dispatched, _) = memory
            .pool()
            .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1000));
        assert_eq!(dispatched, Dispatched::Queued);
        job
    });
    let processes = numbers.map(|number| start(memory, number).expect("a process is wanted"));
    for process in processes {
        let next = memory
            .pool()
            .locked(|scheduler| scheduler.next(process.worker, false));
        assert!(matches!(next, NextStep::Run { .. }));
    }
    for job in jobs {
        run(memory, job, &Runs::new(AtomicU32::new(0)));
    }
    processes
}

fn with_a_finishing_worker(memory: &Memory) -> WorkerProcess {
    let [process] = with_finishing_workers(memory, [WORKER]);
    process
}

/// What a leader does: enqueue, then wake or start what is needed. Returns the process that it started.
fn launch(memory: &Memory) -> (JobId, Option<WorkerProcess>) {
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

/// What a worker does from then on. It runs what it is given. When there is nothing, it publishes Idle and
/// waits; or its idle limit comes, if it is told how many workers are kept, and it leaves or is kept. Ends when it
/// leaves, or when the second job has run.
fn work(memory: &Memory, process: WorkerProcess, runs: &Runs, at_limit: Option<u32>) {
    let pool = memory.pool();
    let mut next = pool.locked(|scheduler| scheduler.next(process.worker, false));
    loop {
        match next {
            NextStep::Run { job, leader } => {
                memory.wake(leader);
                run(memory, job, runs);
                return;
            }
            NextStep::Idle => {
                if let Some(keep) = at_limit {
                    let limit = pool.locked(|scheduler| {
                        scheduler.idle_limit(process.worker, process.generation, keep)
                    });
                    if let Some(leave) = limit.filter(|&limit| limit != NextStep::Idle) {
                        next = leave;
                        continue;
                    }
                }
                let word = &memory.worker(process.worker).word;
                wait_for(
                    memory.latch(process.proc),
                    None,
                    &mut condition(
                        || {},
                        || (word.load().activity() != Activity::Idle).then_some(()),
                    ),
                );
                next = pool
                    .locked(|scheduler| scheduler.awakened(process.worker, process.generation))
                    .unwrap_or(NextStep::Idle);
            }
            NextStep::Retire => return,
            NextStep::Restart => {
                // The postmaster starts a fresh process in the worker slot.
                let fresh = arrive(
                    memory,
                    process.worker,
                    process.generation,
                    process.proc.procno(),
                );
                work(memory, fresh, runs, at_limit);
                return;
            }
        }
    }
}

/// A process that the leader started finds the job, or finds that it is not needed.
fn work_once(memory: &Memory, fresh: WorkerProcess, runs: &Runs) {
    let next = memory
        .pool()
        .locked(|scheduler| scheduler.next(fresh.worker, false));
    match next {
        NextStep::Run { job, .. } => {
            run(memory, job, runs);
            // The other worker may be idle now for good: dismiss it.
            memory.pool().locked(|scheduler| {
                scheduler.dismiss_idle(None, 1, |proc| memory.wake(Some(proc)))
            });
        }
        NextStep::Idle | NextStep::Retire => {}
        NextStep::Restart => panic!("no other lane is short"),
    }
}

/// A process that takes jobs until `total` have run. The one that has run the last dismisses those that are idle.
fn work_all(memory: &Memory, process: WorkerProcess, runs: &Runs, total: u32) {
    let pool = memory.pool();
    let has_done = || runs.load(Ordering::Relaxed) == total;
    let mut next = pool.locked(|scheduler| scheduler.next(process.worker, false));
    loop {
        next = match next {
            NextStep::Run { job, leader } => {
                memory.wake(leader);
                run(memory, job, runs);
                if has_done() {
                    pool.locked(|scheduler| {
                        scheduler.dismiss_idle(None, 8, |proc| memory.wake(Some(proc)));
                    });
                }
                pool.locked(|scheduler| scheduler.next(process.worker, false))
            }
            NextStep::Idle if has_done() => return,
            NextStep::Idle => {
                let word = &memory.worker(process.worker).word;
                let told = wait_for(
                    memory.latch(process.proc),
                    None,
                    &mut condition(
                        || {},
                        || (word.load().activity() != Activity::Idle).then_some(()),
                    ),
                );
                assert_eq!(told, Some(()));
                pool.locked(|scheduler| scheduler.awakened(process.worker, process.generation))
                    .unwrap_or(NextStep::Idle)
            }
            NextStep::Retire => return,
            NextStep::Restart => panic!("there is no other lane"),
        };
    }
}

/// What a leader does, and the process that it starts, if it does.
fn launch_and_work(memory: &Memory, fresh: u32, runs: &Runs, total: u32) {
    let job = memory.claim(process(LEADER));
    let (dispatched, _) = memory
        .pool()
        .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1000));
    match dispatched {
        Dispatched::Handed(worker) => memory.wake(Some(worker)),
        Dispatched::Queued => {
            if let Some(started) = start(memory, fresh) {
                work_all(memory, started, runs, total);
            }
        }
        Dispatched::NoLane | Dispatched::Refused => panic!("there is a lane"),
    }
}

/// Two leaders enqueue a job each while the lane's worker, which has finished one, looks for another or goes idle. Each
/// job is run once, by that worker or by one that a leader starts, and none is left in the lane.
///
/// Three threads, at most two preemptions: all that they do to the lists is done under the lock, and with two of them
/// each can be interrupted between any two of its turns with the lock.
#[test]
fn two_jobs_enqueued_while_the_worker_goes_idle_are_run_once_each() {
    checked(2, || {
        let memory = Memory::new(3, 3, 4);
        let runs = Runs::new(AtomicU32::new(0));
        let finishing = with_a_finishing_worker(&memory);
        let worker = {
            let (memory, runs) = (memory.clone(), runs.clone());
            thread::spawn(move || work_all(&memory, finishing, &runs, 2))
        };
        let other = {
            let (memory, runs) = (memory.clone(), runs.clone());
            thread::spawn(move || launch_and_work(&memory, FRESH, &runs, 2))
        };
        launch_and_work(&memory, OTHER_FRESH, &runs, 2);
        other.join().unwrap();
        worker.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 2, "runs of the jobs");
        assert_eq!(memory.pool().queued(), 0);
    });
}

/// A leader enqueues a job while two workers of the lane, which have finished one each, look for another or go idle.
/// One of them runs it, once.
///
/// Three threads, at most two preemptions, as above.
#[test]
fn a_job_enqueued_while_two_workers_go_idle_is_run_once() {
    checked(2, || {
        let memory = Memory::new(3, 3, 4);
        let runs = Runs::new(AtomicU32::new(0));
        let finishing = with_finishing_workers(&memory, [WORKER, OTHER_FRESH]);
        let workers = finishing.map(|finishing| {
            let (memory, runs) = (memory.clone(), runs.clone());
            thread::spawn(move || work_all(&memory, finishing, &runs, 1))
        });
        launch_and_work(&memory, FRESH, &runs, 1);
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1, "runs of the job");
        assert_eq!(memory.pool().queued(), 0);
    });
}

fn launch_against(at_limit: Option<u32>) {
    unbounded(move || {
        let memory = Memory::new(2, 2, 3);
        let runs = Runs::new(AtomicU32::new(0));
        let finishing = with_a_finishing_worker(&memory);
        let worker = {
            let (memory, runs) = (memory.clone(), runs.clone());
            thread::spawn(move || work(&memory, finishing, &runs, at_limit))
        };
        let (job, started) = launch(&memory);
        if let Some(fresh) = started {
            work_once(&memory, fresh, &runs);
        }
        while memory.phase(job).is_some_and(|phase| !phase.is_finished()) {
            thread::yield_now();
        }
        // A worker that is idle has nothing more to do.
        memory
            .pool()
            .locked(|scheduler| scheduler.dismiss_idle(None, 8, |proc| memory.wake(Some(proc))));
        worker.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1, "runs of the job");
    });
}

/// A leader enqueues a job and looks for an idle worker, while the lane's worker looks for a job and goes idle.
/// Each does both under the lock. So either the leader finds the worker idle and wakes it, or the worker finds
/// the job. A lost wake-up would be a deadlock.
///
/// Two threads, unbounded. Two leaders, and two workers of the lane, are in the models above.
#[test]
fn a_job_enqueued_while_the_worker_goes_idle_is_run_once() {
    launch_against(None);
}

/// The same, while the worker leaves at its idle limit. It leaves only if it is still idle under the lock. Then
/// the leader finds no worker and starts a process.
///
/// Two threads, unbounded. Lanes that need each other's worker slots are in the schedules (one worker slot, two
/// lanes).
#[test]
fn a_job_enqueued_while_the_worker_leaves_is_run_once() {
    launch_against(Some(0));
}

/// The same, while the worker is kept at its idle limit. The leader finds it, and afterwards it is sent home like any
/// other that is idle.
///
/// Two threads, unbounded. Several workers that are kept, and a lane that needs their worker slots, are in the schedules.
#[test]
fn a_job_enqueued_while_the_worker_is_kept_is_run_once() {
    launch_against(Some(1));
}

/// A session's only admitted job ends, and its worker goes idle or leaves. Meanwhile the session launches
/// another job beyond its quota of one. The worker admits the throttled job, or the job finds its quota free.
/// Either way it is run once.
///
/// Two threads, unbounded. A quota is one session's, which launches one job after another. Several workers that
/// return permits do so one after another, under the lock.
#[test]
fn a_job_throttled_while_the_one_before_it_ends_is_run_once() {
    for at_limit in [None, Some(0)] {
        unbounded(move || {
            let memory = Memory::new(2, 2, 3);
            let runs = Runs::new(AtomicU32::new(0));
            let finishing = with_a_finishing_worker(&memory);
            let worker = {
                let (memory, runs) = (memory.clone(), runs.clone());
                thread::spawn(move || work(&memory, finishing, &runs, at_limit))
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
