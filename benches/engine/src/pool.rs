//! A job's way through the pool, from its launch until the last hold is given up.

use crate::memory::Memory;
use criterion::{BenchmarkId, Criterion};
use engine::job::Demand;
use engine::pool::{Dispatched, NextStep};
use std::collections::VecDeque;

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool");

    group.bench_function("publish to an idle worker, run, detach", |b| {
        let memory = Memory::new(64, 4);
        let (worker, first) = memory.start_worker();
        assert_eq!(memory.complete(worker, first), NextStep::Idle);
        memory.detach(first);
        b.iter(|| {
            let job = memory.claim();
            assert!(matches!(memory.dispatch(job), Dispatched::Handed(_)));
            assert_eq!(memory.complete(worker, job), NextStep::Idle);
            memory.detach(job);
        });
    });

    // This many jobs are always waiting before it: the cost must be the same.
    for waiting in [1, 1_000, 100_000] {
        let id = BenchmarkId::new("publish to the queue, take, run, detach", waiting);
        group.bench_function(id, |b| {
            let memory = Memory::new(waiting + 2, 1);
            let (worker, mut running) = memory.start_worker();
            let launch = || {
                let job = memory.claim();
                assert_eq!(memory.dispatch(job), Dispatched::Queued);
                job
            };
            let mut queued: VecDeque<_> = std::iter::repeat_with(launch).take(waiting).collect();
            b.iter(|| {
                queued.push_back(launch());
                let NextStep::Run { job, .. } = memory.complete(worker, running) else {
                    panic!("there are jobs in the queue");
                };
                memory.detach(running);
                assert_eq!(Some(job), queued.pop_front());
                running = job;
            });
        });
    }

    group.bench_function("publish, cancel while queued, detach", |b| {
        let memory = Memory::new(64, 1);
        let _busy = memory.start_worker();
        b.iter(|| {
            let job = memory.claim();
            assert_eq!(memory.dispatch(job), Dispatched::Queued);
            let _ = memory.pool().cancel(job, Demand::Cancel, |_| {});
            memory.detach(job);
        });
    });
    group.finish();
}
