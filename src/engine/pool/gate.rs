//! Purging another session's finished jobs.
//!
//! A session holds the jobs that it launched until it has read or detached them. An administrator may detach a
//! finished job for it ([`Pool::purge_one`]) while the session does something else. A job must never go away
//! while its session looks at it. So each session has a **gate** in its entry:
//!
//! * The session **enters** before it looks at any of its jobs, and **leaves** when it has done with all of
//!   them. It stays inside for one whole call of a function of the extension, however long.
//! * A **purge** closes the gate while it gives up the session's hold of one job. It is short and cannot be
//!   interrupted. A session that wants to enter meanwhile says in the gate that it waits, and sleeps until the
//!   purge is over. The purge holds the pool's lock. So two purges at once both find the gate open, and a session
//!   takes an entry over before a purge or after it.
//! * A purge that finds the session inside asks it to purge: the session does so when it leaves.
//!
//! A result that is being read is not purged: a cursor may stay open between two calls. The slot says so
//! ([`Slot::set_being_read`]); the session changes that while it is inside.
//!
//! A session that enters looks at the number of **purges** of its jobs. If it has grown, the session forgets
//! the jobs that it no longer holds.
//!
//! The transitions are data: [`GATE`](crate::transitions::GATE), printed in `docs/transitions.md`. No other change is
//! made: tests and models check each one against the table.
//!
//! # Hazards
//!
//! * **The session ends.** It detaches its jobs without the gate. `detach` gives up a hold only once, whoever
//!   calls it, and a purge touches a job only through `detach`.
//! * **Another session has the PGPROC by now.** A purge compares the entry's proc with the slot's before it
//!   closes the gate, under the lock. So the next session is neither kept out nor asked to purge on behalf of
//!   another.

use super::entries::Leader;
use super::scheduler::{Pool, PoolLock};
use super::words::{ASKED, PURGES, WAITS, WITHIN};
use crate::job::Release;
use crate::sync::Ordering;
use crate::table::{JobId, Slot};
use crate::transitions::{self, Named as _};

/// What became of a job that was to be purged.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purged {
    /// The session's hold was given up. `Release::LastOut`: the caller frees the job.
    Detached(Release),
    /// The session is inside; it purges when it leaves.
    Asked,
    /// Not now: the job has not finished, is being read, or its session holds it no more.
    Kept,
}

impl Leader {
    /// The session is about to look at its jobs. `false`: one of them is being purged. The purge wakes the session
    /// when it is over; the session then tries again.
    ///
    /// To be refused and to wait for the purge is one step. With two of them, the purge could end after the first,
    /// so that there is nothing to wait for in the second, and another purge refuse the session's next attempt: it
    /// would sleep, and neither purge would wake it.
    #[must_use]
    pub fn enter(&self) -> bool {
        mutant!("refused-and-waits-in-two-steps" => return mutants::enter_in_two_steps(self));
        let next = |now: u32| now | if now & PURGES == 0 { WITHIN } else { WAITS };
        self.try_to_enter(|now| Some(next(now)))
            .is_some_and(|now| now & WITHIN != 0)
    }

    /// Returns the gate after the step, if it was made.
    fn try_to_enter(&self, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let mut wanted = 0;
        // Acquire: the session sees what a purge has changed.
        let stepped = self.gate.word.fetch_update(
            weakened!("gate-entered-relaxed", Ordering::Acquire),
            Ordering::Relaxed,
            |now| {
                wanted = next(now)?;
                Some(wanted)
            },
        );
        let before = stepped.ok()?;
        let transition = if wanted & WITHIN != 0 {
            transitions::Gate::Enter
        } else {
            transitions::Gate::AwaitEntry
        };
        self.made(transition, before, wanted);
        Some(wanted)
    }

    fn made(&self, transition: transitions::Gate, before: u32, after: u32) {
        transition.made(&self.gate, before.into(), after.into());
    }

    /// The session has done with its jobs. `false`: it was asked to purge its finished jobs. It is still
    /// inside, and leaves again afterwards.
    #[must_use]
    pub fn leave(&self) -> bool {
        // Release: a purge sees what the session did inside.
        let release = weakened!("gate-left-relaxed", Ordering::Release);
        let left = self
            .gate
            .word
            .compare_exchange(WITHIN, 0, release, Ordering::Relaxed);
        match left {
            Ok(before) => self.made(transitions::Gate::Leave, before, 0),
            Err(_) => {
                let before = self.gate.word.fetch_and(!ASKED, Ordering::Relaxed);
                self.made(transitions::Gate::Leave, before, before & !ASKED);
            }
        }
        left.is_ok()
    }

    /// The session ends, inside or not.
    pub fn abandon_gate(&self) {
        let left = WITHIN | ASKED;
        let before = self.gate.word.fetch_and(!left, Ordering::Release);
        self.made(transitions::Gate::AbandonGate, before, before & !left);
    }

    /// How often jobs of the entry were purged.
    #[must_use]
    pub fn purges(&self) -> u32 {
        self.gate.purges.load(Ordering::Relaxed)
    }

    /// `None`: the purge has closed the gate. Otherwise what to return.
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
                Ok(_) => {
                    self.made(transitions::Gate::BeginPurge, now, wanted);
                    return (wanted & PURGES == 0).then_some(Purged::Asked);
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// Opens the gate. Returns whether the session waits to enter.
    fn end_purge(&self) -> bool {
        let before = self
            .gate
            .word
            .fetch_and(!(PURGES | WAITS), Ordering::Release);
        self.made(
            transitions::Gate::EndPurge,
            before,
            before & !(PURGES | WAITS),
        );
        before & WAITS != 0
    }
}

impl<L: PoolLock> Pool<'_, L> {
    /// Gives up the session's hold of a finished job whose result nobody is reading. The caller holds
    /// interrupts off, and frees the job if it is told `LastOut`.
    pub fn purge_one(&self, job: JobId) -> Purged {
        let slot = self.shared.jobs.slot(job.index);
        let may_be_purged = || {
            let now = slot.word.load_if(job.generation)?;
            let may = now.phase().is_finished() && now.has_leader() && !slot.is_being_read();
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
                // The session ends, and has detached the job itself.
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
    /// The session begins or stops reading the result. Called by the session, inside its gate; to stop, also
    /// outside.
    pub fn set_being_read(&self, is_read: bool) {
        self.being_read.store(is_read.into(), Ordering::Release);
    }

    /// Whether the session is reading the result.
    fn is_being_read(&self) -> bool {
        self.being_read.load(Ordering::Acquire) != 0
    }
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{Leader, PURGES, WAITS, WITHIN};

    pub(super) fn enter_in_two_steps(session: &Leader) -> bool {
        let may_enter = |now: u32| (now & PURGES == 0).then_some(now | WITHIN);
        let must_wait = |now: u32| (now & PURGES != 0).then_some(now | WAITS);
        let entered = session.try_to_enter(may_enter).is_some();
        if !entered {
            session.try_to_enter(must_wait);
        }
        entered
    }
}
