//! Purging another session's finished jobs: never while the session looks at them, never twice; and the session
//! that waits to look is woken.
#![cfg(loom)]

use engine::job::{End, Release};
use engine::models::Transitions as _;
use engine::pool::Leader;
use engine::pool::gate::Purged;
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options};
use engine::wait::{condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::memory::{Memory, process};

const SESSION: u32 = 0;

/// Sessions that hold finished jobs, and what the jobs own.
struct World {
    memory: Arc<Memory>,
    jobs: Vec<JobId>,
    blocks: Vec<Block>,
}

fn checked(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

/// A session with this many finished, unread jobs.
fn with_finished(count: usize) -> Arc<World> {
    let memory = Memory::new(count, 1, 3);
    let own = process(SESSION);
    memory.pool().locked(|scheduler| scheduler.enroll(own));
    let jobs: Vec<_> = (0..count)
        .map(|_| {
            let job = memory
                .claim_for(own, Options::default(), &[])
                .expect("a slot");
            let word = &memory.slot(job).word;
            word.publish(job.generation);
            let _ = word.bind(job.generation);
            let _ = word.finish(job.generation, End::Failed);
            job
        })
        .collect();
    let blocks = jobs.iter().map(|_| Block::default()).collect();
    Arc::new(World {
        memory,
        jobs,
        blocks,
    })
}

impl World {
    fn entry(&self, of: ProcRef) -> &Leader {
        self.memory.pool().leader(of).expect("it has an entry")
    }

    fn job(&self, index: usize) -> JobId {
        self.jobs[index]
    }

    /// Frees it, as the process does that is told that it is the last one out.
    fn free(&self, index: usize) {
        self.blocks[index].free();
        self.memory.pool().free(self.job(index));
    }

    /// Purges one job, as an administrator does.
    fn purge(&self, index: usize) -> Purged {
        let purged = self.memory.pool().purge_one(self.job(index));
        if purged == Purged::Detached(Release::LastOut) {
            self.free(index);
        }
        purged
    }

    /// A call of the session begins. Returns whether it still holds its first job. It looks only when jobs were
    /// purged.
    fn enter(&self, own: ProcRef, known: u32) -> bool {
        let entry = self.entry(own);
        if !entry.enter() {
            let entered = wait_for(
                self.memory.latch(own),
                None,
                &mut condition(|| entry.await_entry(), || entry.enter().then_some(())),
            );
            assert_eq!(entered, Some(()));
        }
        entry.purges() == known || self.holds(0)
    }

    fn holds(&self, index: usize) -> bool {
        let job = self.job(index);
        let now = self.memory.slot(job).word.load_if(job.generation);
        now.is_some_and(|now| now.has_leader())
    }

    /// The call ends. Returns how often the session was asked to purge its own jobs.
    fn leave(&self, own: ProcRef) -> u32 {
        let mut asked = 0;
        while !self.entry(own).leave() {
            asked += 1;
            for index in 0..self.jobs.len() {
                if self.holds(index) {
                    self.detach(index);
                }
            }
        }
        asked
    }

    /// The session detaches a job.
    fn detach(&self, index: usize) {
        let job = self.job(index);
        if self.memory.slot(job).word.detach(job.generation) == Release::LastOut {
            self.free(index);
        }
    }

    fn assert_freed(&self) {
        for block in &self.blocks {
            assert_eq!(block.frees(), 1);
        }
        assert_eq!(self.memory.jobs().used(), 0);
    }
}

/// A session looks at its job, in one call and in another, while an administrator purges it. The job is purged
/// before or after a call, or by the session itself, which was asked, when it leaves. It is freed once, and
/// nobody looks at it afterwards.
///
/// Two threads, every interleaving.
#[test]
fn a_job_is_not_purged_while_its_session_looks_at_it() {
    loom::model(|| {
        let world = with_finished(1);
        let own = process(SESSION);
        let known = world.entry(own).purges();
        let session = {
            let world = world.clone();
            thread::spawn(move || {
                let mut asked = 0;
                for _ in 0..2 {
                    if world.enter(own, known) && asked == 0 {
                        let _ = world.blocks[0].read();
                    }
                    asked += world.leave(own);
                }
                asked
            })
        };
        let purged = world.purge(0);
        let asked = session.join().unwrap();
        match purged {
            Purged::Detached(release) => assert_eq!((release, asked), (Release::LastOut, 0)),
            Purged::Asked => assert_eq!(asked, 1),
            Purged::Kept => panic!("it could have been purged"),
        }
        world.assert_freed();
    });
}

/// A session that finds its job being purged sleeps, and is woken when the purge is over.
///
/// Two threads, every interleaving.
#[test]
fn a_session_that_waits_to_enter_is_woken() {
    loom::model(|| {
        let world = with_finished(1);
        let own = process(SESSION);
        let administrator = {
            let world = world.clone();
            thread::spawn(move || world.purge(0))
        };
        let _ = world.enter(own, 0);
        let _ = world.leave(own);
        let _ = administrator.join().unwrap();
        world.assert_freed();
    });
}

/// Two administrators purge both jobs of a session, in opposite order. No job is left, and each is freed once.
///
/// Three threads, at most three preemptions.
#[test]
fn two_purges_at_once_leave_nothing() {
    checked(3, || {
        let world = with_finished(2);
        let purges = [[0, 1], [1, 0]].map(|order| {
            let world = world.clone();
            thread::spawn(move || {
                let told = order.map(|index| world.purge(index));
                told.iter().filter(|told| **told != Purged::Kept).count()
            })
        });
        let [one, other] = purges.map(|purge| purge.join().unwrap());
        assert_eq!(one + other, 2, "a purge is told of once");
        world.assert_freed();
    });
}

/// The session ends while its job is purged. The next session in its PGPROC begins, enters and leaves. The job
/// is detached and freed once. The purge that was meant for the former session neither keeps the next one out
/// nor asks it.
///
/// Two threads, every interleaving.
#[test]
fn a_session_that_ends_leaves_the_gate_to_the_next() {
    loom::model(|| {
        let world = with_finished(1);
        let (own, next) = (process(SESSION), ProcRef::new(SESSION, 100));
        let administrator = {
            let world = world.clone();
            thread::spawn(move || world.purge(0))
        };
        // In the middle of a call.
        let _ = world.enter(own, 0);
        world.detach(0);
        world.entry(own).abandon_gate();
        let pool = world.memory.pool();
        pool.locked(|scheduler| scheduler.depart(own));
        pool.locked(|scheduler| scheduler.enroll(next));
        let _ = world.enter(next, 0);
        let asked = world.leave(next);
        let purged = administrator.join().unwrap();
        assert_eq!(asked, 0, "asked to purge for another, which was {purged:?}");
        world.assert_freed();
    });
}
