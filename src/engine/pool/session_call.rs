//! A session's steps with the jobs that it tracks: a call of one of its functions, a job that it gives up, its end.
//!
//! They are written once, for any [`Session`]: the server's sessions take them, and so do the sessions of the models.
//! What the gate is, and what a purge does, is said in [`gate`](super::gate); what is counted, in
//! [`ends`](super::ends).
//!
//! # Words
//!
//! * A session **tracks** a job from its claim until it gives it up, in its own memory. While it does, it holds the job,
//!   unless an administrator has purged it.
//! * A **call** is one of a function of the extension. Calls can be nested. From the first to the last the session is
//!   **within** its gate.
//! * The **notes** are what the session knows of its gate ([`Notes`]): whether it is within, and how many purges it has
//!   noticed.
//! * A job is **given** when the user has its handle. Others end with their call, and are not purged.
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | a call begins | if the session has an entry, and is not within: enter the gate, or wait until it is open; note; if there was a purge, forget the jobs that are purged |
//! | a job is about to be launched | enroll, so that there is an entry; then as above |
//! | a job is purged | unmap, forget |
//! | a call ends | leave the gate; if asked to purge: purge own jobs, leave again; drop the note |
//! | the session purges its own jobs | give up each that is given, has finished and is not being read |
//! | a job is given up | count it if it has finished, forget, give up the hold |
//! | a finished job is counted | only within, or while it is being read, and if the session holds it |
//! | the session ends, within or not | give up each job, one that is not given is withdrawn; end the statistics; abandon the gate; drop the note; depart from the entry; start workers for the jobs that were throttled |
//!
//! This order has the following effects:
//!
//! * **No purged job is looked at.** Within, no job is purged, and those that were purged before are forgotten before
//!   the call does anything else.
//! * **No purge is forgotten.** A session that was asked does not get out before it has purged.
//! * **A job is counted once, and as it ended.** Outside, a purge may give up the hold at any moment. The slot may then
//!   be another job's.
//! * **The next session finds an open gate.** The entry is left when nobody is within: after that the session could not
//!   tell that the gate is still its own.
//!
//! If the end is cut short (a line in the log can do that), it is called again: what was given up is not tracked any
//! more.

use super::entries::Leader;
use super::scheduler::{Pool, PoolLock};
use crate::job::{Phase, Snapshot};
use crate::process_ref::ProcRef;
use crate::table::{JobId, Slot};
use crate::wait::{Latch, Micros, condition, wait_for};

/// What a session has in its own memory of its gate.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    is_within: bool,
    /// How many purges of its jobs it has noticed.
    purges: u32,
}

impl Notes {
    /// Those of a process that was in no gate yet.
    pub const NONE: Self = Self {
        is_within: false,
        purges: 0,
    };

    /// Whether the session is within its gate: nobody else purges its jobs.
    #[must_use]
    pub fn is_within(self) -> bool {
        self.is_within
    }
}

/// The session that takes the steps.
pub trait Session {
    /// The pool's lock.
    type Lock: PoolLock;

    /// Its process.
    fn proc(&self) -> ProcRef;
    /// The pool.
    fn pool(&self) -> Pool<'_, Self::Lock>;
    /// What it sleeps on. A sleep may unwind, or end the process.
    fn latch(&self) -> &impl Latch;
    /// The slot of a job that it tracks.
    fn slot(&self, job: JobId) -> &Slot;
    /// Its notes.
    fn notes(&self) -> Notes;
    /// Replaces its notes. Does not unwind.
    fn set_notes(&self, notes: Notes);
    /// The first job that it tracks in a slot with this index or a higher one.
    fn next_tracked(&self, from: u32) -> Option<JobId>;
    /// Whether the user has the job's handle.
    fn is_given(&self, job: JobId) -> bool;
    /// Whether the job's result is being read.
    fn is_being_read(&self, job: JobId) -> bool;
    /// Adds a job to the session's statistics.
    fn count(&self, phase: Phase, run_time: Micros);
    /// Unmaps what the job owns. Does not unwind.
    fn unmap(&self, job: JobId);
    /// Tracks the job no more. Does not unwind.
    fn forget(&self, job: JobId);
    /// Gives up the hold of a job that it has forgotten; of one that is being read, when the read ends. Does not unwind,
    /// but may end the process.
    fn give_up_hold(&self, job: JobId);
    /// The session has given up its jobs and ends, and so do its statistics. Does not unwind.
    fn end_statistics(&self);
    /// Starts workers for the lane, if it needs any. It may unwind for lack of memory: the session has given up all by then.
    fn start_workers(&self, lane: u32);
}

fn note_within(session: &impl Session, is_within: bool) {
    let notes = session.notes();
    session.set_notes(Notes { is_within, ..notes });
}

/// The session's entry. The pool has it for longer than the session lasts.
fn entry<'a, L: PoolLock>(pool: &Pool<'a, L>, proc: ProcRef) -> Option<&'a Leader> {
    pool.leader(proc).filter(|entry| entry.is_of(proc))
}

fn each_tracked<S: Session>(session: &S) -> impl Iterator<Item = JobId> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let job = session.next_tracked(from)?;
        from = job.index + 1;
        Some(job)
    })
}

/// A call begins. A session without an entry has no jobs, and no gate. May unwind while it waits for a purge.
pub fn enter(session: &impl Session) {
    if session.notes().is_within {
        return;
    }
    let Some(entry) = entry(&session.pool(), session.proc()) else {
        return;
    };
    if !entry.enter() {
        let look = || entry.enter().then_some(());
        let _ = wait_for(session.latch(), None, &mut condition(|| {}, look));
    }
    let before = session.notes().purges;
    let purges = entry.purges();
    session.set_notes(Notes {
        is_within: true,
        purges,
    });
    if purges != before {
        mutant!("purged-jobs-not-forgotten", forget_purged(session) => ());
    }
}

/// The session is about to have its first job, perhaps. May unwind, as [`enter`].
pub fn enter_first(session: &impl Session) {
    if !session.notes().is_within {
        let proc = session.proc();
        session.pool().locked(|scheduler| scheduler.enroll(proc));
        enter(session);
    }
}

fn forget_purged(session: &impl Session) {
    for job in each_tracked(session) {
        let now = session.slot(job).word.load_if(job.generation);
        if !now.is_some_and(|now| now.has_leader()) {
            session.unmap(job);
            session.forget(job);
        }
    }
}

/// The last call ends. Returns how often the session was asked to purge its own jobs. Does not unwind, but may end the
/// process.
pub fn leave(session: &impl Session) -> u32 {
    let mut asked = 0;
    if session.notes().is_within {
        if let Some(entry) = entry(&session.pool(), session.proc()) {
            while !entry.leave() {
                asked += 1;
                mutant!("session-asked-in-vain" => continue);
                purge_own(session);
            }
        }
        note_within(session, false);
    }
    asked
}

/// Gives up the finished jobs that the user has and nobody is reading. Returns their number. Does not unwind, but may
/// end the process.
pub fn purge_own(session: &impl Session) -> u32 {
    let mut count = 0;
    for job in each_tracked(session) {
        let may = session.is_given(job) && !session.is_being_read(job);
        if may && count_if_finished(session, job).phase().is_finished() {
            give_up(session, job);
            count += 1;
        }
    }
    count
}

/// Counts a finished job in the statistics unless it was counted before. Returns the job's word.
pub fn count_if_finished(session: &impl Session, job: JobId) -> Snapshot {
    let slot = session.slot(job);
    let now = slot.word.load();
    let is_held = now.generation() == job.generation && now.has_leader();
    let may_be_purged = !session.notes().is_within && !session.is_being_read(job);
    let is_kept = !checked!("job-counted-outside-the-gate", may_be_purged);
    if is_held && is_kept && now.phase().is_finished() && slot.take_account() {
        session.count(now.phase(), slot.run_time());
    }
    now
}

/// Gives up a job: counts it if it has finished, tracks it no more, and gives up the hold. Does not unwind, but may end
/// the process.
pub fn give_up(session: &impl Session, job: JobId) {
    count_if_finished(session, job);
    session.forget(job);
    session.give_up_hold(job);
}

/// The session ends. `withdraw` asks for the cancel of a job that is not given. Does not unwind, but may end the
/// process; its exit then calls this again.
pub fn end<S: Session>(session: &S, withdraw: impl Fn(JobId)) {
    while let Some(job) = session.next_tracked(0) {
        if !session.is_given(job) {
            withdraw(job);
        }
        give_up(session, job);
    }
    session.end_statistics();
    let (pool, proc) = (session.pool(), session.proc());
    mutant!("session-departs-within" => return mutants::depart_then_abandon(session));
    if let Some(entry) = entry(&pool, proc) {
        entry.abandon_gate();
        note_within(session, false);
        if let Some(lane) = pool.locked(|scheduler| scheduler.depart(proc)) {
            session.start_workers(lane);
        }
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Session, entry, note_within};

    pub(super) fn depart_then_abandon(session: &impl Session) {
        let (pool, proc) = (session.pool(), session.proc());
        let _ = pool.locked(|scheduler| scheduler.depart(proc));
        if let Some(entry) = entry(&pool, proc) {
            entry.abandon_gate();
        }
        note_within(session, false);
    }
}
