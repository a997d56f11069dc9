//! The cookie: from a job to what SQL holds, and back.

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
    group.finish();
}
