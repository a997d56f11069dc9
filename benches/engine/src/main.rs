//! Micro-benchmarks of the engine: what each of its steps costs by itself, without a server.
//!
//! `ci/bench engine` runs them; `ci/bench engine ring` those whose names contain "ring", `ci/bench engine --quick`
//! all of them in a few seconds. What is in shared memory in the server is in this process here, and the pool's
//! lock is one that nobody else wants; what the server adds is in `benches/server`.

mod handle;
mod memory;
mod pool;
mod ring;
mod slots;
mod words;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    slots::bench,
    pool::bench,
    ring::bench,
    handle::bench,
    words::bench
);
criterion_main!(benches);
