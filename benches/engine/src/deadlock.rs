//! A deadlock check of a session that sleeps on queued jobs: it must not cost more with more jobs. The server's part (who
//! is blocked by whom) is not in it.

use crate::memory::{Memory, leader};
use crate::scheduling::{JOBS, WORKER_SLOTS, crowd, short};
use criterion::{BenchmarkId, Criterion};
use engine::deadlock::{Needs, Wait, find_circle};
use engine::job::Phase;
use engine::pool::sleep::Sleepers;
use engine::process_ref::ProcRef;
use engine::table::JobId;

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
    short(&mut group);
    for (workers, queued) in WORKER_SLOTS
        .into_iter()
        .flat_map(|workers| JOBS.map(|queued| (workers, queued)))
    {
        let size = format!("{workers} worker slots, 1 lanes, {queued} jobs");
        let (memory, ..) = crowd(workers, 1, queued);
        let own = leader();
        memory.pool().locked(|scheduler| scheduler.enroll(own));
        sleep_on_all(&memory);
        for (what, is_blocked) in [
            ("deadlock check, one goes on", false),
            ("deadlock check, nobody does", true),
        ] {
            group.bench_function(BenchmarkId::new(what, &size), |b| {
                b.iter(|| check(&memory, own, is_blocked));
            });
        }
    }
    group.finish();
}
