//! Letting go of another session's finished jobs.
//!
//! A session holds the jobs that it launched until it has read them or let go of them. An administrator may let go
//! for it ([`Pool::purge_one`]), while the session does something else. What the session must never find is that a
//! job goes while it looks at it. So each session has a **gate** in its entry:
//!
//! * The session **enters** before it looks at any of its jobs, and **leaves** when it has done with all of them: one
//!   call of a function of the extension, however long, is one stay.
//! * A **purge** has the gate while it lets go of one job of the session's. It is short, and cannot be interrupted;
//!   a session that wants to enter meanwhile sleeps until it is over. It holds the pool's lock: of two purges at once
//!   each finds the gate open, and a session that makes an entry its own does so before a purge or after it.
//! * A purge that finds the session within asks it: the session purges itself when it leaves.
//!
//! A result that is being read (a cursor may stay open between two calls) is not purged: the slot says so
//! ([`Slot::set_being_read`]), which the session changes within.
//!
//! A session that enters looks at the number of **purges** of its jobs, and forgets those that it does not hold any
//! more, if that has grown.
//!
//! | transition | who | from → to |
//! |---|---|---|
//! | [`enter`](Leader::enter) | the session | any without PURGES → +WITHIN; refused while PURGES |
//! | [`await_entry`](Leader::await_entry) | the session | PURGES → +WAITS |
//! | [`leave`](Leader::leave) | the session | WITHIN → 0; refused with ASKED, which is cleared |
//! | begin of a purge | any process | 0 → PURGES; WITHIN → +ASKED; refused while PURGES |
//! | end of a purge | that process | PURGES, WAITS → 0 |
//!
//! # Hazards
//!
//! * **The session ends.** It lets go of its jobs without the gate: `detach` gives up a hold once, whoever does it,
//!   and a purge touches nothing of a job but through that.
//! * **Another session has the PGPROC by now.** A purge compares the entry's proc with the slot's before it takes the
//!   gate, under the lock: the next session is neither kept out nor asked to purge its jobs for those of another.

use super::entries::Leader;
use super::scheduler::{Pool, PoolLock};
use crate::job::Release;
use crate::sync::Ordering;
use crate::table::{JobId, Slot};

const WITHIN: u32 = 1;
const PURGES: u32 = 2;
const WAITS: u32 = 4;
const ASKED: u32 = 8;

/// What became of a job that was to be purged.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purged {
    /// The session's hold is given up. `Release::LastOut`: the caller frees the job.
    Detached(Release),
    /// The session is within; it purges itself when it leaves.
    Asked,
    /// Not now: it has not finished, is being read, or is nobody's any more.
    Kept,
}

impl Leader {
    /// The session is about to look at its jobs. `false`: one of them is being purged; see
    /// [`await_entry`](Self::await_entry).
    #[must_use]
    pub fn enter(&self) -> bool {
        let within = |now: u32| (now & PURGES == 0).then_some(now | WITHIN);
        // Acquire: what a purge has changed is visible.
        self.gate
            .word
            .fetch_update(
                weakened!("gate-entered-relaxed", Ordering::Acquire),
                Ordering::Relaxed,
                within,
            )
            .is_ok()
    }

    /// Has the purge wake the session when it is over. To be followed by another attempt to enter.
    pub fn await_entry(&self) {
        let waits = |now: u32| (now & PURGES != 0).then_some(now | WAITS);
        let _ = self
            .gate
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, waits);
    }

    /// The session has done with its jobs. `false`: it was asked to purge its finished ones; it is still within, and
    /// leaves again afterwards.
    #[must_use]
    pub fn leave(&self) -> bool {
        // Release: what the session did within comes before a purge.
        let release = weakened!("gate-left-relaxed", Ordering::Release);
        let left = self
            .gate
            .word
            .compare_exchange(WITHIN, 0, release, Ordering::Relaxed);
        if left.is_err() {
            self.gate.word.fetch_and(!ASKED, Ordering::Relaxed);
        }
        left.is_ok()
    }

    /// The session ends within, or not: nobody is.
    pub fn abandon_gate(&self) {
        self.gate
            .word
            .fetch_and(!(WITHIN | ASKED), Ordering::Release);
    }

    /// How often jobs of the entry were purged.
    #[must_use]
    pub fn purges(&self) -> u32 {
        self.gate.purges.load(Ordering::Relaxed)
    }

    /// `None`: it has the gate. Otherwise what is to be told.
    fn begin_purge(&self) -> Option<Purged> {
        let mut now = self.gate.word.load(Ordering::Relaxed);
        loop {
            let wanted = if now & PURGES != 0 {
                return Some(Purged::Kept);
            } else if checked!("purge-ignores-the-gate", now & WITHIN != 0) {
                now | ASKED
            } else {
                now | PURGES
            };
            match self.gate.word.compare_exchange_weak(
                now,
                wanted,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return (wanted & PURGES == 0).then_some(Purged::Asked),
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether the session waits to enter.
    fn end_purge(&self) -> bool {
        let before = self
            .gate
            .word
            .fetch_and(!(PURGES | WAITS), Ordering::Release);
        before & WAITS != 0
    }
}

impl<L: PoolLock> Pool<'_, L> {
    /// Gives up the session's hold of a finished job whose result nobody is reading. The caller holds interrupts off
    /// and frees the job if it is told `LastOut`.
    pub fn purge_one(&self, job: JobId) -> Purged {
        let slot = self.shared.jobs.slot(job.index);
        let may_be_purged = || {
            let now = slot.word.load_if(job.generation)?;
            let may = now.phase().is_finished() && now.leader() && !slot.is_being_read();
            may.then(|| slot.leader()).flatten()
        };
        let Some((proc, session)) =
            may_be_purged().and_then(|proc| Some((proc, self.leader(proc)?)))
        else {
            return Purged::Kept;
        };
        let purge = || {
            // The next session in the entry is not asked on behalf of this one.
            if !session.is_of(proc) {
                return Purged::Kept;
            }
            if let Some(told) = session.begin_purge() {
                return told;
            }
            let purged = match may_be_purged().map(|_| slot.word.detach(job.generation)) {
                // The session ends, and has let go of it itself.
                None | Some(Release::Stale) => Purged::Kept,
                Some(release) => Purged::Detached(release),
            };
            if purged != Purged::Kept {
                session.gate.purges.fetch_add(1, Ordering::Relaxed);
            }
            if session.end_purge()
                && let Some(waiter) = mutant!("purge-wakes-nobody", session.proc() => None)
            {
                self.lock.wake(waiter);
            }
            purged
        };
        mutant!("purge-outside-the-lock" => return purge());
        self.locked(|_| purge())
    }
}

impl Slot {
    /// The session reads the result, or has ended that. By the session, within its gate; to end it, also without.
    pub fn set_being_read(&self, is_read: bool) {
        self.being_read.store(is_read.into(), Ordering::Release);
    }

    /// Whether the session reads the result.
    fn is_being_read(&self) -> bool {
        self.being_read.load(Ordering::Acquire) != 0
    }
}
