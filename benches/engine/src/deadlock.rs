//! A deadlock check of a session that sleeps on queued jobs: it must not cost more with more jobs. The server's part (who
//! is blocked by whom) is not in it.

use crate::memory::{Memory, leader};
use crate::scheduling::crowd;
use criterion::{BenchmarkId, Criterion};
use engine::deadlock::{Needs, Wait, find_circle};
use engine::job::Phase;
use engine::pool::sleep::Sleepers;
use engine::process_ref::ProcRef;
use engine::table::JobId;

/// Worker slots, and jobs that are queued in one lane.
const SIZES: [(u32, u32); 9] = [
    (8, 0),
    (8, 1_000),
    (8, 100_000),
    (128, 0),
    (128, 1_000),
    (128, 100_000),
    (1_024, 0),
    (1_024, 1_000),
    (1_024, 100_000),
];

/// All unfinished jobs of the session, on which it sleeps from now on.
fn sleep_on_all(memory: &Memory) {
    let jobs: Vec<JobId> = memory
        .jobs()
        .iter()
        .filter(|(_, slot)| matches!(slot.word.load().phase(), Phase::Queued | Phase::Starting))
        .map(|(index, slot)| {
            let generation = slot.word.load().generation();
            let _ = slot.word.await_end(generation);
            JobId { index, generation }
        })
        .collect();
    memory.pool().begin_sleep(leader(), jobs.into_iter());
}

/// One check. `is_blocked`: whether each worker waits for a lock of the session.
fn check(memory: &Memory, own: ProcRef, is_blocked: bool) {
    let mut sleepers = Sleepers::new(memory.pool(), |_| false);
    let found = find_circle(own.pid(), |pid| Wait {
        blocked_by: Vec::from_iter(
            (is_blocked && pid != own.pid()).then_some((own.pid(), Needs::Lock)),
        ),
        sleep: sleepers.sleep_of(pid),
    });
    assert_eq!(found.is_some(), is_blocked);
}

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("deadlock");
    for (workers, queued) in SIZES {
        let size = format!("{workers} worker slots, {queued} jobs");
        let (memory, ..) = crowd(workers, 1, queued);
        let own = leader();
        memory.pool().locked(|scheduler| scheduler.enroll(own));
        sleep_on_all(&memory);
        for (what, is_blocked) in [
            ("a worker goes on", false),
            ("all wait for the session", true),
        ] {
            group.bench_function(BenchmarkId::new(what, &size), |b| {
                b.iter(|| check(&memory, own, is_blocked));
            });
        }
    }
    group.finish();
}
