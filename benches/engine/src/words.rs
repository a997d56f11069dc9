//! The words of the wake protocol: what it costs to say that a process sleeps, and to see whether one does.

use crate::memory::{Memory, leader};
use crate::ring;
use criterion::Criterion;
use engine::job::{End, Release};
use engine::models::Transitions as _;
use engine::ring::{Reader, RingShared, Writer};
use engine::wait::{Latch, Micros, condition, wait_for};
use std::cell::Cell;
use std::hint::black_box;

/// A latch that is always set when a process sleeps on it, with a clock that stands still.
struct Awake(Cell<u64>);

impl Latch for Awake {
    fn now(&self) -> Micros {
        0
    }
    fn spin_limit(&self) -> Micros {
        0
    }
    fn is_interrupted(&self) -> bool {
        false
    }
    fn sleep(&self, _until: Option<Micros>) {
        self.0.set(black_box(self.0.get() + 1));
    }
}

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("wake");

    let memory = Memory::new(64, 1);
    let (_, job) = memory.start_worker();
    let jobs = memory.jobs();
    let word = &jobs.slot(job.index).word;
    group.bench_function("job word: watch, unwatch", |b| {
        b.iter(|| {
            let seen = word.watch(black_box(job.generation));
            word.unwatch(job.generation);
            seen
        });
    });
    // This includes claiming and freeing, because a job ends only once.
    group.bench_function(
        "job word: from claim to free, with a leader that waits",
        |b| {
            let memory = Memory::new(64, 1);
            let jobs = memory.jobs();
            b.iter(|| {
                let job = memory.claim();
                let word = &jobs.slot(job.index).word;
                word.publish(job.generation);
                let _ = word.bind(job.generation);
                let _ = word.begin(job.generation);
                let _ = word.await_end(job.generation);
                let release = word.finish(job.generation, End::Completed);
                assert_eq!(release, Release::Held { watched: true });
                memory.detach(job);
            });
        },
    );

    let (shared, memory) = (RingShared::default(), ring::Memory::new(1024));
    let mut reader = Reader::new(&shared, memory.attach());
    let mut writer = Writer::new(&shared, memory.attach());
    let own = leader();
    group.bench_function("ring: flush, nobody waits", |b| b.iter(|| writer.flush()));
    group.bench_function("ring: arm, flush finds the reader, disarm", |b| {
        b.iter(|| {
            reader.arm(own);
            let found = writer.flush();
            reader.disarm();
            assert_eq!(found, Some(own));
        });
    });

    let latch = Awake(Cell::new(0));
    group.bench_function("wait: what is there already", |b| {
        b.iter(|| wait_for(&latch, None, &mut condition(|| {}, || black_box(Some(1)))));
    });
    group.bench_function("wait: one sleep", |b| {
        b.iter(|| {
            let before = latch.0.get();
            let look = || (latch.0.get() > before).then_some(1);
            wait_for(&latch, None, &mut condition(|| {}, look))
        });
    });
    group.finish();
}
