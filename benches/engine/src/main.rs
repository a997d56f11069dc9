//! Micro-benchmarks of the engine: what each of its steps costs by itself, without a server.
//!
//! `ci/bench engine` runs them. `ci/bench engine ring` runs those whose names contain "ring", and `ci/bench
//! engine --quick` runs all of them in a few seconds. What the server has in shared memory is in this process
//! here, and no other thread wants the pool's lock. `benches/server` measures what the server adds.

mod deadlock;
mod handle;
mod memory;
mod pool;
mod ring;
mod scheduling;
mod slots;
mod words;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    slots::bench,
    pool::bench,
    scheduling::bench,
    deadlock::bench,
    ring::bench,
    handle::bench,
    words::bench
);
criterion_main!(benches);
