//! A step of scheduling, in pools of all sizes: it must cost the same in each.

use crate::memory::Memory;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use engine::job::Demand;
use engine::pool::{Dispatched, NextStep, SpawnDecision};
use std::time::Duration;

pub const WORKER_SLOTS: [u32; 3] = [8, 128, 1_024];
const LANES: [u32; 3] = [1, 100, 1_000];
/// That are queued, in all lanes.
pub const JOBS: [u32; 3] = [0, 1_000, 100_000];

/// There are many sizes, and each step is the same again and again.
pub fn short(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(30);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
}

/// Worker slots, lanes, jobs.
fn sizes() -> impl Iterator<Item = (u32, u32, u32)> {
    let with_lanes = WORKER_SLOTS.map(|workers| LANES.map(|lanes| (workers, lanes)));
    with_lanes
        .into_iter()
        .flatten()
        .flat_map(|(workers, lanes)| JOBS.map(|queued| (workers, lanes, queued)))
}

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
    short(&mut group);
    for (workers, lanes, queued) in sizes() {
        let size = format!("{workers} worker slots, {lanes} lanes, {queued} jobs");
        let (memory, worker, first) = crowd(workers, lanes, queued);

        // The session does not know where its lane is.
        let id = BenchmarkId::new("place, cancel", &size);
        group.bench_function(id, |b| {
            b.iter(|| {
                let job = memory.claim();
                let dispatched = memory.dispatch_to(job, lanes - 1, u32::MAX);
                assert_eq!(dispatched, Dispatched::Queued);
                let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
                memory.detach(job);
            });
        });

        let id = BenchmarkId::new("decide about a start", &size);
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

        let id = BenchmarkId::new("place, finish, take the next", &size);
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
