//! Purging another session's finished jobs: never while the session looks at them, never twice; and the session
//! that waits to look is woken.
#![cfg(loom)]

use engine::job::{End, Phase, Release};
use engine::models::Transitions as _;
use engine::pool::Pool;
use engine::pool::gate::Purged;
use engine::pool::session_call::{self, Notes, Session};
use engine::process_ref::ProcRef;
use engine::table::{JobId, Options, Slot};
use engine::wait::{Latch, Micros};
use loom::sync::Arc;
use loom::thread;
use loom_tests::block::Block;
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::{Lock, Memory, process};
use std::cell::{Cell, RefCell};

const SESSION: u32 = 0;

/// Sessions that hold finished jobs, and what the jobs own.
struct World {
    memory: Arc<Memory>,
    jobs: Vec<JobId>,
    blocks: Vec<Block>,
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
    })
}

impl World {
    fn job(&self, index: usize) -> JobId {
        self.jobs[index]
    }

    /// Frees it, as the process does that is told that it is the last one out.
    fn free(&self, index: usize) {
        self.blocks[index].free();
        self.memory.pool().count_end(self.job(index));
        self.memory.pool().free(self.job(index));
    }

    /// Jobs that are in the statistics of the session, and that it has not counted itself.
    fn unseen(&self, own: ProcRef) -> u64 {
        let pool = self.memory.pool();
        pool.locked(|scheduler| scheduler.ends_of(own)).total()
    }

    /// Purges one job, as an administrator does.
    fn purge(&self, index: usize) -> Purged {
        let purged = self.memory.pool().purge_one(self.job(index));
        if purged == Purged::Detached(Release::LastOut) {
            self.free(index);
        }
        purged
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

/// A session that takes the engine's steps.
struct Caller {
    world: Arc<World>,
    proc: ProcRef,
    notes: Cell<Notes>,
    tracked: RefCell<Vec<JobId>>,
    /// Jobs that it has counted.
    counted: Cell<u64>,
    /// How many jobs were in its statistics when it ended.
    at_end: Cell<Option<u64>>,
}

impl Caller {
    /// The session that has launched all jobs.
    fn new(world: &Arc<World>) -> Self {
        Self::with_jobs(world, process(SESSION), world.jobs.clone())
    }

    fn with_jobs(world: &Arc<World>, proc: ProcRef, tracked: Vec<JobId>) -> Self {
        Self {
            world: world.clone(),
            proc,
            notes: Cell::new(Notes::NONE),
            tracked: RefCell::new(tracked),
            counted: Cell::new(0),
            at_end: Cell::new(None),
        }
    }

    /// The job, if the session has not given it up and has not forgotten it.
    fn tracks(&self, index: usize) -> Option<JobId> {
        let job = self.world.job(index);
        self.tracked.borrow().contains(&job).then_some(job)
    }

    /// Jobs that are in its statistics.
    fn in_statistics(&self) -> u64 {
        self.counted.get() + self.world.unseen(self.proc)
    }

    /// Looks at a job as long as it has it.
    fn look_at(&self, index: usize) {
        if let Some(job) = self.tracks(index) {
            let _ = self.world.blocks[index].read();
            let _ = session_call::count_if_finished(self, job);
        }
    }
}

impl Session for Caller {
    type Lock = Lock;

    fn proc(&self) -> ProcRef {
        self.proc
    }

    fn pool(&self) -> Pool<'_, Lock> {
        self.world.memory.pool()
    }

    fn latch(&self) -> &impl Latch {
        self.world.memory.latch(self.proc)
    }

    fn slot(&self, job: JobId) -> &Slot {
        self.world.memory.slot(job)
    }

    fn notes(&self) -> Notes {
        self.notes.get()
    }

    fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }

    fn next_tracked(&self, from: u32) -> Option<JobId> {
        let tracked = self.tracked.borrow();
        let following = tracked.iter().filter(|job| job.index >= from);
        following.min_by_key(|job| job.index).copied()
    }

    fn is_given(&self, _job: JobId) -> bool {
        true
    }

    fn is_being_read(&self, _job: JobId) -> bool {
        false
    }

    fn count(&self, _phase: Phase, _run_time: Micros) {
        self.counted.set(self.counted.get() + 1);
    }

    fn unmap(&self, _job: JobId) {}

    fn forget(&self, job: JobId) {
        self.tracked.borrow_mut().retain(|tracked| *tracked != job);
    }

    fn give_up_hold(&self, job: JobId) {
        let index = self.world.jobs.iter().position(|other| *other == job);
        self.world.detach(index.expect("one of them"));
    }

    /// No job of these models is throttled.
    fn start_workers(&self, lane: u32) {
        unreachable!("nothing was queued in lane {lane}");
    }

    fn end_statistics(&self) {
        self.at_end.set(Some(self.in_statistics()));
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
    unbounded(|| {
        let world = with_finished(1);
        let session = {
            let world = world.clone();
            thread::spawn(move || {
                let session = Caller::new(&world);
                let mut asked = 0;
                for _ in 0..2 {
                    session_call::enter(&session);
                    session.look_at(0);
                    asked += session_call::leave(&session);
                }
                (asked, session.counted.get())
            })
        };
        let purged = world.purge(0);
        let (asked, counted) = session.join().unwrap();
        match purged {
            Purged::Detached(release) => assert_eq!((release, asked), (Release::LastOut, 0)),
            Purged::Asked => assert_eq!(asked, 1),
            Purged::Kept => panic!("it could have been purged"),
        }
        assert_eq!(counted + world.unseen(process(SESSION)), 1);
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
    unbounded(|| {
        let world = with_finished(2);
        let administrator = {
            let world = world.clone();
            thread::spawn(move || [0, 1].map(|index| world.purge(index)))
        };
        let session = Caller::new(&world);
        session_call::enter(&session);
        let _ = session_call::leave(&session);
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
        let purges = [0, 1].map(|index| {
            let world = world.clone();
            thread::spawn(move || world.purge(index))
        });
        let session = Caller::new(&world);
        session_call::enter(&session);
        session.look_at(0);
        session.look_at(1);
        let asked = session_call::leave(&session);
        let purged = purges.map(|purge| purge.join().unwrap());
        let asks = purged.iter().filter(|told| **told == Purged::Asked).count();
        assert_eq!(asked > 0, asks > 0, "{asked}, {purged:?}");
        assert_eq!(session.in_statistics(), 2);
        // A purge that came after the session had purged all of its jobs found nothing.
        assert!(asked > 0 || !purged.contains(&Purged::Kept), "{purged:?}");
        world.assert_freed();
    });
}

/// The worker finishes the job, the session ends and detaches it, and an administrator purges it, all at once. One of
/// them is the last one out, and frees it.
///
/// Three threads, at most three preemptions: as many as there are transitions that give up a hold. The session and the
/// administrator, who look before they change anything, are the spawned threads (see `docs/models.md`).
#[test]
fn an_end_a_purge_and_the_sessions_end_free_the_job_once() {
    checked(3, || {
        let world = with_bound(1);
        let session = {
            let world = world.clone();
            thread::spawn(move || {
                let session = Caller::new(&world);
                session_call::end(&session, |_| ());
                session.at_end.get().expect("it has ended")
            })
        };
        let administrator = {
            let world = world.clone();
            thread::spawn(move || world.purge(0))
        };
        let job = world.job(0);
        let word = &world.memory.slot(job).word;
        if word.finish(job.generation, End::Failed) == Release::LastOut {
            world.free(0);
        }
        let counted = session.join().unwrap();
        let purged = administrator.join().unwrap();
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
        unbounded(move || {
            let world = with_finished(1);
            let next = ProcRef::new(SESSION, 100);
            let administrator = {
                let world = world.clone();
                thread::spawn(move || world.purge(0))
            };
            let session = Caller::new(&world);
            if within {
                session_call::enter(&session);
            }
            session_call::end(&session, |_| ());
            let session = Caller::with_jobs(&world, next, Vec::new());
            session_call::enter_first(&session);
            let asked = session_call::leave(&session);
            let purged = administrator.join().unwrap();
            assert_eq!(asked, 0, "asked to purge for another, which was {purged:?}");
            assert_eq!(session.in_statistics(), 0);
            world.assert_freed();
        });
    }
}
