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
use loom_tests::bound::checked;
use loom_tests::memory::{Memory, process};

const SESSION: u32 = 0;

/// Sessions that hold finished jobs, and what the jobs own.
struct World {
    memory: Arc<Memory>,
    jobs: Vec<JobId>,
    blocks: Vec<Block>,
    /// Jobs that the session has counted itself.
    counted: std::sync::atomic::AtomicU64,
}

/// A session with this many finished, unread jobs.
fn with_finished(count: usize) -> Arc<World> {
    let world = with_bound(count);
    for &job in &world.jobs {
        let word = &world.memory.slot(job).word;
        let _ = word.finish(job.generation, End::Failed);
    }
    world
}

/// A session with this many jobs that have workers.
fn with_bound(count: usize) -> Arc<World> {
    let memory = Memory::new(count, 1, 3);
    let own = process(SESSION);
    memory.pool().locked(|scheduler| scheduler.enroll(own));
    let jobs: Vec<_> = (0..count)
        .map(|_| {
            let job = memory
                .claim_for(own, Options::default(), &[])
                .expect("a slot");
            let slot = memory.slot(job);
            slot.set_account(memory.pool().leader(own).expect("its entry"));
            slot.word.publish(job.generation);
            let _ = slot.word.bind(job.generation);
            job
        })
        .collect();
    let blocks = jobs.iter().map(|_| Block::default()).collect();
    Arc::new(World {
        memory,
        jobs,
        blocks,
        counted: std::sync::atomic::AtomicU64::new(0),
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
        self.memory.pool().count_end(self.job(index));
        self.memory.pool().free(self.job(index));
    }

    /// The session counts a finished job that it holds, within its gate.
    fn count(&self, index: usize) {
        if self.memory.slot(self.job(index)).take_account() {
            self.counted
                .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Jobs that are in the statistics of the session.
    fn counted(&self, own: ProcRef) -> u64 {
        let unseen = self
            .memory
            .pool()
            .locked(|scheduler| scheduler.ends_of(own));
        self.counted.load(std::sync::atomic::Ordering::SeqCst) + unseen.total()
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
                &mut condition(|| {}, || entry.enter().then_some(())),
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
                    self.count(index);
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
/// nobody looks at it afterwards. It is in the session's statistics once.
///
/// Two threads, every interleaving. With two calls the purge may come before, within, between and after them. Two
/// who purge are in the next models.
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
                        world.count(0);
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
        assert_eq!(world.counted(own), 1);
        world.assert_freed();
    });
}

/// A session that finds its jobs being purged, one after the other, sleeps, and is woken when a purge is over. Between
/// two looks of the session one purge may end and the next begin.
///
/// Two threads, every interleaving. What a third purge does between two looks the second one has done. Nobody else waits
/// at the gate of this session.
#[test]
fn a_session_that_waits_to_enter_is_woken() {
    loom::model(|| {
        let world = with_finished(2);
        let own = process(SESSION);
        let administrator = {
            let world = world.clone();
            thread::spawn(move || [0, 1].map(|index| world.purge(index)))
        };
        let _ = world.enter(own, 0);
        let _ = world.leave(own);
        let _ = administrator.join().unwrap();
        world.assert_freed();
    });
}

/// Two administrators purge both jobs of a session, in opposite order. No job is left, and each is freed once.
///
/// Three threads, at most three preemptions: both purges of both administrators can be interrupted, but for one.
/// All is done under the lock, so a third administrator comes before or after the others.
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

/// Two administrators purge a job each of a session, which looks at both in one call. The session is asked by one of
/// them, or by both, and purges both; or what was purged before or after its call is not there any more. Each job is
/// freed once, and is in the session's statistics once.
///
/// Three threads, at most three preemptions: each of the three is interrupted once. With two of them this model has not
/// seen that a session was forgotten which was refused by both purges. A third administrator would do what the second
/// does.
#[test]
fn two_who_purge_while_the_session_looks_leave_nothing() {
    checked(3, || {
        let world = with_finished(2);
        let own = process(SESSION);
        let purges = [0, 1].map(|index| {
            let world = world.clone();
            thread::spawn(move || world.purge(index))
        });
        let _ = world.enter(own, 0);
        for index in 0..2 {
            if world.holds(index) {
                let _ = world.blocks[index].read();
                world.count(index);
            }
        }
        let asked = world.leave(own);
        let purged = purges.map(|purge| purge.join().unwrap());
        let asks = purged.iter().filter(|told| **told == Purged::Asked).count();
        assert_eq!(asked > 0, asks > 0, "{asked}, {purged:?}");
        assert_eq!(world.counted(own), 2);
        // A purge that came after the session had purged all of its jobs found nothing.
        assert!(asked > 0 || !purged.contains(&Purged::Kept), "{purged:?}");
        world.assert_freed();
    });
}

/// The worker finishes the job, the session ends and detaches it, and an administrator purges it, all at once. One of
/// them is the last one out, and frees it.
///
/// Three threads, at most three preemptions: as many as there are transitions that give up a hold.
#[test]
fn an_end_a_purge_and_the_sessions_end_free_the_job_once() {
    checked(3, || {
        let world = with_bound(1);
        let own = process(SESSION);
        let administrator = {
            let world = world.clone();
            thread::spawn(move || world.purge(0))
        };
        let worker = {
            let world = world.clone();
            thread::spawn(move || {
                let job = world.job(0);
                let word = &world.memory.slot(job).word;
                if word.finish(job.generation, End::Failed) == Release::LastOut {
                    world.free(0);
                }
            })
        };
        world.detach(0);
        world.entry(own).abandon_gate();
        let pool = world.memory.pool();
        let counted = world.counted(own);
        pool.locked(|scheduler| scheduler.depart(own));
        let purged = administrator.join().unwrap();
        worker.join().unwrap();
        assert_ne!(purged, Purged::Asked, "nobody is within");
        assert!(counted <= 1);
        world.assert_freed();
    });
}

/// The session ends while its job is purged, in the middle of a call or between two. The next session in its PGPROC
/// begins, enters and leaves. The job is detached and freed once. The purge that was meant for the former session
/// neither keeps the next one out nor asks it, and the job is not in the next one's statistics.
///
/// Two threads, every interleaving. An entry has one session after another; a purge that lasts over a third session
/// compares the entry's owner as for the second.
#[test]
fn a_session_that_ends_leaves_the_gate_to_the_next() {
    for within in [true, false] {
        loom::model(move || {
            let world = with_finished(1);
            let (own, next) = (process(SESSION), ProcRef::new(SESSION, 100));
            let administrator = {
                let world = world.clone();
                thread::spawn(move || world.purge(0))
            };
            if within {
                let _ = world.enter(own, 0);
            }
            world.detach(0);
            world.entry(own).abandon_gate();
            let pool = world.memory.pool();
            pool.locked(|scheduler| scheduler.depart(own));
            pool.locked(|scheduler| scheduler.enroll(next));
            let _ = world.enter(next, 0);
            let asked = world.leave(next);
            let purged = administrator.join().unwrap();
            assert_eq!(asked, 0, "asked to purge for another, which was {purged:?}");
            assert_eq!(world.counted(next), 0);
            world.assert_freed();
        });
    }
}
