//! The job table: claiming a slot and giving it back.

use criterion::Criterion;
use engine::models::Slots as _;
use engine::table::{FreeList, JobTable, Slot};
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub fn bench(c: &mut Criterion) {
    let slots: Vec<Slot> = std::iter::repeat_with(Slot::default).take(4096).collect();
    let free = FreeList::default();
    let table = JobTable::new(&slots, &free);
    table.initialize();

    let mut group = c.benchmark_group("slot");
    group.bench_function("claim, give back", |b| {
        b.iter(|| claim_and_give_back(table))
    });
    // Both change the head of the free list all the time: worse than in any server.
    group.bench_function("claim, give back, two threads", |b| {
        b.iter_custom(|rounds| both(|| (0..rounds).for_each(|_| claim_and_give_back(table))));
    });
    group.finish();
}

fn claim_and_give_back(table: JobTable<'_>) {
    let job = table.claim().expect("there are more slots than threads");
    table.abandon(job);
}

/// The time until two threads that begin together have both finished.
fn both(work: impl Fn() + Sync) -> Duration {
    let together = Barrier::new(2);
    let timed = || {
        together.wait();
        let start = Instant::now();
        work();
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(timed);
        let own = timed();
        own.max(other.join().expect("the other thread does not panic"))
    })
}
