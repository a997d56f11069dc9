//! Detaching a job: the last one out frees its block and its slot, once.
#![cfg(loom)]

use engine::job::{Begin, Demand, End, Generation, JobWord, Phase, Release};
use engine::models::Transitions as _;
use engine::pool::release::{self, Releaser, Releasing};
use engine::pool::{Canceling, Pool};
use engine::steps::Watchers;
use engine::sync::Ordering;
use engine::table::JobId;
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::bound::unbounded;
use loom_tests::latch::MockLatch;
use loom_tests::memory::{LANE, Lock, Memory, process};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const OUTCOME: u32 = 42;

struct Job {
    word: JobWord,
    generation: Generation,
    block: Block,
    leader: MockLatch,
}

impl Job {
    fn running() -> Arc<Self> {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.bind(generation);
        assert_eq!(word.begin(generation), Begin::Running { watched: false });
        Arc::new(Self {
            word,
            generation,
            block: Block::default(),
            leader: MockLatch::default(),
        })
    }

    fn released(&self, release: Release) {
        if release == Release::LastOut {
            self.block.free();
            self.word.free(self.generation);
        }
    }

    /// The worker's end of the job. After `finish` it touches nothing of the job unless it is the last one out.
    fn finish(&self) {
        self.block.write(OUTCOME);
        let release = self.word.finish(self.generation, End::Completed);
        if release == (Release::Held { watched: true }) {
            self.leader.set();
        }
        self.released(release);
    }

    fn assert_freed_once(&self) {
        assert_eq!(self.block.frees(), 1);
        let now = self.word.load();
        assert_eq!(now.phase(), Phase::Free);
        assert_eq!(now.generation(), self.generation.next());
    }
}

/// A process that holds a job in a pool. It may be cut short.
struct Holder {
    memory: Arc<Memory>,
    block: Arc<Block>,
    noted: Cell<Option<Releasing>>,
    /// The steps that it still takes before it is cut short.
    steps: Cell<u32>,
}

/// The payload of the panic.
struct CutShort;

/// The job has a block.
const BLOCK: u64 = 1;

impl Holder {
    fn new(memory: &Arc<Memory>, block: &Arc<Block>, steps: u32) -> Self {
        Self {
            memory: memory.clone(),
            block: block.clone(),
            noted: Cell::new(None),
            steps: Cell::new(steps),
        }
    }

    fn step(&self) {
        let left = self.steps.get();
        self.steps.set(left.wrapping_sub(1));
        if left == 0 {
            resume_unwind(Box::new(CutShort));
        }
    }

    /// Does something by which it may become the last one out. If it is cut short, its exit goes on.
    fn act<T>(&self, act: impl FnOnce(&Self) -> T) -> Option<T> {
        let done = match catch_unwind(AssertUnwindSafe(|| act(self))) {
            Ok(done) => Some(done),
            Err(cut) if cut.is::<CutShort>() => {
                let _ = release::finish(self);
                None
            }
            Err(failure) => resume_unwind(failure),
        };
        assert_eq!(self.noted.get(), None);
        done
    }

    fn complete_end(&self, job: JobId, release: Release) {
        let watchers = Watchers {
            leader: Some(process(0)),
            usage: 0,
        };
        self.act(|own| release::complete_end(own, job, watchers, release, || own.step()));
    }
}

impl Releaser for Holder {
    type Lock = Lock;

    fn pool(&self) -> Pool<'_, Lock> {
        self.memory.pool()
    }

    fn word(&self, job: JobId) -> &JobWord {
        &self.memory.slot(job).word
    }

    fn noted(&self) -> Option<Releasing> {
        self.noted.get()
    }

    fn set_noted(&self, note: Option<Releasing>) {
        self.noted.set(note);
    }

    fn report(&self) {
        self.step();
    }

    fn after_detach(&self) {}

    fn before_release(&self) {}

    fn free_owned(&self, job: JobId) -> bool {
        self.step();
        let slot = self.memory.slot(job);
        if slot.block.load(Ordering::Relaxed) != 0 {
            self.block.free();
            slot.block.store(0, Ordering::Relaxed);
        }
        self.step();
        true
    }
}

/// A pool whose job runs, and its block.
fn running_in_a_pool() -> (Arc<Memory>, Arc<Block>, JobId) {
    let memory = Memory::new(1, 1, 1);
    memory
        .pool()
        .locked(|scheduler| scheduler.enroll(process(0)));
    let job = memory.claim(process(0));
    let slot = memory.slot(job);
    slot.block.store(BLOCK, Ordering::Relaxed);
    slot.word.publish(job.generation);
    let _ = slot.word.bind(job.generation);
    let begun = slot.word.begin(job.generation);
    assert_eq!(begun, Begin::Running { watched: false });
    (memory, Arc::new(Block::default()), job)
}

/// More steps than there are.
const ALL: u32 = u32::MAX;

/// The leader detaches while the worker finishes. One of the two is cut short after so many steps, and its exit
/// goes on. What the job owned is freed once, and its slot after that, once.
fn one_is_cut_short(leader_steps: u32, worker_steps: u32) {
    unbounded(move || {
        let (memory, block, job) = running_in_a_pool();
        let leader = {
            let holder = Holder::new(&memory, &block, leader_steps);
            thread::spawn(move || holder.act(|own| release::detach(own, job)))
        };
        let release = memory.slot(job).word.finish(job.generation, End::Completed);
        Holder::new(&memory, &block, worker_steps).complete_end(job, release);
        leader.join().unwrap();
        assert_eq!(block.frees(), 1);
        assert_eq!(memory.jobs().used(), 0);
        assert_eq!(memory.pool().usage(0).slots(), 0);
        assert!(memory.claim_slot().is_some(), "its slot is free");
    });
}

/// Two threads, unbounded, for each of the steps. There is one last one out, and one release at a time in a
/// process.
#[test]
fn a_release_that_is_cut_short_goes_on() {
    for steps in 0..4 {
        one_is_cut_short(steps, ALL);
        one_is_cut_short(ALL, steps);
    }
}

/// The leader detaches while the worker finishes. Each clears its own hold, and looks at the other's, in the
/// same compare-exchange. So exactly one of them sees that the other is gone. Its exchange acquires what the
/// other did with the block before, so the free comes after every use.
///
/// Two threads, unbounded. A job has two holds. Who else may give one up, a purge for the leader, is in `gate.rs`,
/// also all three at once.
#[test]
fn a_detach_while_the_worker_finishes_frees_once() {
    unbounded(|| {
        let job = Job::running();
        let worker = {
            let job = job.clone();
            thread::spawn(move || job.finish())
        };
        job.released(job.word.detach(job.generation));
        worker.join().unwrap();
        job.assert_freed_once();
    });
}

/// The leader waits for the end, reads the outcome and detaches, while the worker is still in its last steps.
/// The outcome was written before the transition that the leader saw, and the worker does not touch the block
/// after it.
///
/// Two threads, unbounded: only who has a hold touches the block, and there are two holds.
#[test]
fn a_leader_reads_the_outcome_before_anyone_frees_it() {
    unbounded(|| {
        let job = Job::running();
        let worker = {
            let job = job.clone();
            thread::spawn(move || job.finish())
        };
        let finished = wait_for(
            &job.leader,
            None,
            &mut condition(
                || {
                    let _ = job.word.watch(job.generation);
                },
                || job.word.load().phase().is_finished().then_some(()),
            ),
        );
        assert!(finished.is_some());
        assert_eq!(job.block.read(), OUTCOME);
        job.released(job.word.detach(job.generation));
        worker.join().unwrap();
        job.assert_freed_once();
    });
}

/// A leader that does not wait: it looks once, reads the outcome if the job has finished, and detaches (an
/// error in the middle of a fetch, or the end of the session).
///
/// Two threads, unbounded: there are two holds. The leader is the second thread: as the first, loom would not try
/// its look after the worker's end (see `docs/models.md`).
#[test]
fn a_leader_that_looks_once_and_leaves_reads_all_or_nothing() {
    unbounded(|| {
        let job = Job::running();
        let leader = {
            let job = job.clone();
            thread::spawn(move || {
                if job.word.load().phase().is_finished() {
                    assert_eq!(job.block.read(), OUTCOME);
                }
                job.released(job.word.detach(job.generation));
            })
        };
        job.finish();
        leader.join().unwrap();
        job.assert_freed_once();
    });
}

/// The leader detaches twice (by the user's call and again at the end of the session) while the worker
/// finishes, and the slot goes to another job at once. The second detach finds its hold gone, or another
/// generation in the word. It changes nothing and frees nothing, least of all the next job.
///
/// Two threads, unbounded; two jobs in one slot. For a third one the generation differs as for the second.
#[test]
fn a_second_detach_changes_nothing() {
    unbounded(|| {
        let job = Job::running();
        let next = Arc::new(Block::default());
        let worker = {
            let (job, next) = (job.clone(), next.clone());
            thread::spawn(move || {
                job.finish();
                // The slot's next job, another leader's, if the slot is free by now.
                if job.word.load().phase() == Phase::Free {
                    let generation = job.word.reserve();
                    job.word.publish(generation);
                    next.write(1);
                    return Some(generation);
                }
                None
            })
        };
        job.released(job.word.detach(job.generation));
        assert_eq!(job.word.detach(job.generation), Release::Stale);
        let reused = worker.join().unwrap();
        assert_eq!(job.block.frees(), 1);
        match reused {
            Some(generation) => {
                let now = job.word.load_if(generation).expect("the next job's");
                assert!(
                    now.has_leader() && now.has_worker(),
                    "the next job lost a hold: {now:?}"
                );
                assert_eq!(next.frees(), 0);
            }
            None => job.assert_freed_once(),
        }
    });
}

/// A leader detaches a queued job while another session cancels it. Each gives up one hold, and the last one
/// out puts the slot back on the free list, once. By then the job has left its lane's list, whose links are in
/// the slot. The job behind it is still on the list.
///
/// Two threads, unbounded; two jobs in the lane. Two who cancel do so under the lock, one after the other
/// (`cancel.rs`).
#[test]
fn a_detach_against_a_cancel_of_a_queued_job_frees_once() {
    unbounded(|| {
        let memory = Memory::new(2, 1, 1);
        let block = Arc::new(Block::default());
        let [job, behind] = [(); 2].map(|()| {
            let job = memory.claim(process(0));
            let _ = memory
                .pool()
                .locked(|scheduler| scheduler.dispatch(job, LANE, 0, 1000));
            memory.slot(job).block.store(BLOCK, Ordering::Relaxed);
            job
        });
        let canceler = {
            let holder = Holder::new(&memory, &block, ALL);
            thread::spawn(
                move || match holder.memory.pool().cancel(job, Demand::Cancel, |_| {}) {
                    Canceling::Finished(release) => holder.complete_end(job, release),
                    other => panic!("a queued job that nobody runs: {other:?}"),
                },
            )
        };
        let _ = release::detach(&Holder::new(&memory, &block, ALL), job);
        canceler.join().unwrap();
        assert_eq!(block.frees(), 1);
        assert_eq!(memory.jobs().used(), 1);
        assert_eq!(memory.pool().queued(), 1);
        let first = memory
            .pool()
            .locked(|scheduler| scheduler.take_to_fail(0, LANE, 0));
        assert_eq!(first, Some(behind));
        assert!(memory.claim_slot().is_some());
    });
}

/// The leader counts the job in its statistics if it finds it finished, and detaches it, while the worker
/// finishes it. The leader counts it, or the last one out does, and only one of them. The leader wrote the
/// job's account before it detached, so a worker that is the last one out sees it.
///
/// Two threads, unbounded: one for each hold. A purge, which counts for the session, is in `gate.rs`. The leader is
/// the second thread (see `docs/models.md`).
#[test]
fn a_job_that_ends_while_it_is_detached_is_counted_once() {
    unbounded(|| {
        let (memory, block, job) = running_in_a_pool();
        let own = process(0);
        let leader = {
            let holder = Holder::new(&memory, &block, ALL);
            thread::spawn(move || {
                let slot = holder.memory.slot(job);
                slot.set_account(holder.memory.pool().leader(own).expect("its entry"));
                let mut counted = 0;
                if slot.word.load().phase().is_finished() && slot.take_account() {
                    counted += 1;
                }
                let _ = release::detach(&holder, job);
                counted
            })
        };
        let release = memory.slot(job).word.finish(job.generation, End::Completed);
        Holder::new(&memory, &block, ALL).complete_end(job, release);
        let counted = leader.join().unwrap();
        let unseen = memory.pool().locked(|scheduler| scheduler.ends_of(own));
        assert_eq!(counted + unseen.completed, 1);
        assert_eq!(unseen.total(), unseen.completed);
    });
}
