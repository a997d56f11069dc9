//! Detaching a job: the last one out frees its block and its slot, once.
#![cfg(loom)]

use engine::job::{Begin, Demand, End, Generation, JobWord, Phase, Release};
use engine::models::Transitions as _;
use engine::table::JobId;
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::latch::MockLatch;
use loom_tests::memory::{Memory, process};

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

/// The leader detaches while the worker finishes. Each clears its own hold, and looks at the other's, in the
/// same compare-exchange. So exactly one of them sees that the other is gone. Its exchange acquires what the
/// other did with the block before, so the free comes after every use.
///
/// Two threads, unbounded. A job has two holds. Who else may give one up, a purge for the leader, is in `gate.rs`,
/// also all three at once.
#[test]
fn a_detach_while_the_worker_finishes_frees_once() {
    loom::model(|| {
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
    loom::model(|| {
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
    loom::model(|| {
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
    loom::model(|| {
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
    fn released(memory: &Memory, block: &Block, job: JobId, release: Release) {
        if release == Release::LastOut {
            block.free();
            memory.pool().free(job);
        }
    }
    loom::model(|| {
        let memory = Memory::new(2, 1, 1);
        let block = Arc::new(Block::default());
        let [job, behind] = [(); 2].map(|()| {
            let job = memory.claim(process(0));
            let _ = memory
                .pool()
                .locked(|scheduler| scheduler.dispatch(job, loom_tests::memory::LANE, 0, 1000));
            job
        });
        let canceler = {
            let (memory, block) = (memory.clone(), block.clone());
            thread::spawn(move || {
                use engine::pool::Canceling;
                match memory.pool().cancel(job, Demand::Cancel, |_| {}) {
                    Canceling::Finished(release) => released(&memory, &block, job, release),
                    other => panic!("a queued job that nobody runs: {other:?}"),
                }
            })
        };
        let release = memory.slot(job).word.detach(job.generation);
        released(&memory, &block, job, release);
        canceler.join().unwrap();
        assert_eq!(block.frees(), 1);
        assert_eq!(memory.jobs().used(), 1);
        assert_eq!(memory.pool().queued(), 1);
        let first = memory
            .pool()
            .locked(|scheduler| scheduler.take_to_fail(0, loom_tests::memory::LANE, 0));
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
    fn released(memory: &Memory, job: JobId, release: Release) {
        if release == Release::LastOut {
            memory.pool().count_end(job);
            memory.pool().free(job);
        }
    }
    loom::model(|| {
        let memory = Memory::new(1, 1, 1);
        let own = process(0);
        memory.pool().locked(|scheduler| scheduler.enroll(own));
        let job = memory.claim(own);
        let slot = memory.slot(job);
        slot.word.publish(job.generation);
        let _ = slot.word.bind(job.generation);
        assert_eq!(
            slot.word.begin(job.generation),
            Begin::Running { watched: false }
        );
        let leader = {
            let memory = memory.clone();
            thread::spawn(move || {
                let slot = memory.slot(job);
                slot.set_account(memory.pool().leader(own).expect("its entry"));
                let mut counted = 0;
                if slot.word.load().phase().is_finished() && slot.take_account() {
                    counted += 1;
                }
                released(&memory, job, slot.word.detach(job.generation));
                counted
            })
        };
        released(
            &memory,
            job,
            slot.word.finish(job.generation, End::Completed),
        );
        let counted = leader.join().unwrap();
        let unseen = memory.pool().locked(|scheduler| scheduler.ends_of(own));
        assert_eq!(counted + unseen.completed, 1);
        assert_eq!(unseen.total(), unseen.completed);
    });
}
