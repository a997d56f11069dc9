//! A step of scheduling, in pools of all sizes: it must cost the same in each.

use crate::memory::Memory;
use criterion::{BenchmarkId, Criterion};
use engine::job::Demand;
use engine::pool::{Dispatched, NextStep, SpawnDecision};

/// Worker slots, lanes, and jobs that are queued in all lanes.
const SIZES: [(u32, u32, u32); 7] = [
    (8, 1, 0),
    (8, 1, 100_000),
    (8, 1_000, 100_000),
    (128, 100, 1_000),
    (1_024, 1, 100_000),
    (1_024, 1_000, 0),
    (1_024, 1_000, 100_000),
];

/// All worker slots are busy, with jobs of the lanes in turn, and so many jobs are queued in the lanes in turn. Returns a
/// busy worker of the first lane, and its job.
pub fn crowd(workers: u32, lanes: u32, queued: u32) -> (Memory, u32, engine::table::JobId) {
    let jobs = (workers + queued + 2) as usize;
    let memory = Memory::with_lanes(jobs, workers as usize, lanes as usize);
    let (worker, job) = memory.start_worker();
    for number in 1..workers {
        memory.start_worker_in(number % lanes);
    }
    for number in 0..queued {
        let job = memory.claim();
        assert_eq!(
            memory.dispatch_to(job, number % lanes, 0),
            Dispatched::Queued
        );
    }
    (memory, worker, job)
}

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduling");
    for (workers, lanes, queued) in SIZES {
        let size = format!("{workers} worker slots, {lanes} lanes, {queued} jobs");
        let (memory, worker, first) = crowd(workers, lanes, queued);

        // The session does not know where its lane is.
        let id = BenchmarkId::new("place a job, and cancel it", &size);
        group.bench_function(id, |b| {
            b.iter(|| {
                let job = memory.claim();
                let dispatched = memory.dispatch_to(job, lanes - 1, u32::MAX);
                assert_eq!(dispatched, Dispatched::Queued);
                let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
                memory.detach(job);
            });
        });

        let id = BenchmarkId::new("decide whether to start a worker", &size);
        group.bench_function(id, |b| {
            b.iter(|| {
                memory.pool().locked(|scheduler| {
                    let decision = scheduler.spawn_decision(0, workers, true);
                    assert!(matches!(
                        decision,
                        SpawnDecision::Full | SpawnDecision::Enough
                    ));
                });
            });
        });

        let id = BenchmarkId::new("place a job, finish one, take the next", &size);
        let mut running = first;
        group.bench_function(id, |b| {
            b.iter(|| {
                let (lane, hint) = (memory.lane_of(worker), memory.slot(running).lane());
                let dispatched = memory.dispatch_to(memory.claim(), lane, hint);
                assert_eq!(dispatched, Dispatched::Queued);
                let next = match memory.complete(worker, running) {
                    NextStep::Run { job, .. } => job,
                    // Its turn was over, and another lane in need.
                    NextStep::Restart => memory.restart_worker(worker),
                    other => panic!("{other:?}, although there are jobs"),
                };
                memory.detach(running);
                running = next;
            });
        });
    }
    group.finish();
}
