//! Refusing a login role's new jobs while its jobs are being ended, and publishing a job that may be refused: in steps.
//!
//! They are written once: the server's sessions and administrators take them, and so do those of the models. What a role
//! uses is said in [`usage`](super::usage).
//!
//! # Words
//!
//! * A job is **active** from its publication to its end.
//! * A **refusal** has a number. It stands until it is **lifted**, or replaced by another one.
//!
//! # Steps
//!
//! | case | steps |
//! |---|---|
//! | an administrator ends a role's jobs | refuse, look for the active ones; end and await them; lift the refusal if the role has no active job |
//! | a session publishes a job | dispatch; if the role's jobs are refused: read the number of the refusal, look for active jobs; if there is none, lift that refusal and dispatch again |
//!
//! This order has the following effects:
//!
//! * **A job is refused or found.** To refuse, and to dispatch unless that is refused, are done under the lock. So a job
//!   that is not refused was published before, and the administrator looks after that.
//! * **No job slips in between those that an administrator ends.** A refusal is lifted only when, after it began, the
//!   role had no active job. So its number is read before the look: otherwise it could be that of a refusal which began
//!   after the look.
//! * **A role is not refused forever.** An administrator who gives up waiting leaves the refusal there, because a job
//!   that still runs might launch its successor. The role's next launch after that job lifts it.

use super::dispatch::Dispatched;
use super::scheduler::{Pool, PoolLock};
use crate::table::JobId;

/// An administrator has the new jobs of a role refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The role.
    role: u32,
    /// Index of the role's usage.
    usage: u32,
    number: u32,
}

impl Refusal {
    /// Index of the role's usage.
    #[must_use]
    pub fn usage(self) -> u32 {
        self.usage
    }
}

impl<L: PoolLock> Pool<'_, L> {
    /// Has the new jobs of a role refused. `None`: the role has no jobs.
    #[must_use]
    pub fn begin_refusal(&self, role: u32) -> Option<Refusal> {
        loop {
            let usage = self.find_usage(role)?;
            // If the entry went to another role meanwhile, this role had no jobs for a moment.
            if let Some(number) = self.refuse(usage, role) {
                return Some(Refusal {
                    role,
                    usage,
                    number,
                });
            }
        }
    }

    /// Lifts the refusal if the role has no active job.
    pub fn end_refusal(&self, refusal: Refusal) {
        if !self.has_active(refusal.role) {
            self.accept_again(refusal.usage, refusal.number);
        }
    }

    /// Whether a job of the role is active. Looks at all slots.
    #[must_use]
    pub fn has_active(&self, role: u32) -> bool {
        self.shared.jobs.iter().any(|(_, slot)| {
            // A usage entry goes to another role only when the first role has no slots. So the job has ended by then.
            let seen = slot.look(|now| (now.phase(), self.usage(slot.usage()).role()));
            seen.is_some_and(|(phase, its)| its == role && phase.is_active())
        })
    }

    /// Publishes a reserved job. `dispatch` dispatches it, and is called again when a refusal was lifted.
    pub fn publish<T>(
        &self,
        job: JobId,
        mut dispatch: impl FnMut() -> (Dispatched, T),
    ) -> (Dispatched, T) {
        loop {
            let (dispatched, rest) = dispatch();
            if dispatched != Dispatched::Refused || !self.try_lift_refusal(job) {
                return (dispatched, rest);
            }
        }
    }

    /// For a job that was refused. Returns whether its role had no active job.
    fn try_lift_refusal(&self, job: JobId) -> bool {
        let usage = self.shared.jobs.slot(job.index).usage();
        let number = self.refusal(usage);
        let may = !self.has_active(self.usage(usage).role());
        if may {
            self.accept_again(
                usage,
                mutant!("refusal-read-after-the-look", number => self.refusal(usage)),
            );
        }
        may
    }
}
