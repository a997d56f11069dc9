//! The cookie: from a job to what SQL holds, and back to the job.

use crate::memory::Memory;
use criterion::Criterion;
use engine::cookie::Cookie;
use engine::job::Generation;
use std::hint::black_box;

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("handle");
    group.bench_function("encode, decode", |b| {
        let generation = Generation::from_bits(77);
        b.iter(|| {
            let cookie = Cookie::new(
                black_box(4095),
                black_box(generation),
                black_box(0xdead_beef),
            );
            Cookie::from_sql(black_box(cookie.to_sql())).index()
        });
    });

    let memory = Memory::new(4096, 1);
    let job = memory.claim();
    let cookie = Cookie::new(job.index, job.generation, 1);
    let _ = memory.place(job);
    group.bench_function("find its job", |b| {
        b.iter(|| memory.jobs().find(black_box(cookie)).expect("it is queued"));
    });
    // What a handle finds that outlived its job.
    let stale = Cookie::new(job.index, job.generation.next(), 1);
    group.bench_function("find that it is stale", |b| {
        b.iter(|| assert_eq!(memory.jobs().find(black_box(stale)), None));
    });
    group.finish();
}
