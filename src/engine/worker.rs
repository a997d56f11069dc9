//! The worker word: what a worker is doing, in one 64-bit word.
//!
//! # Words
//!
//! * **phase** – `Vacant → Starting → Idle ⇄ Busy → Exiting → Vacant`, and from any live phase back to
//!   `Starting` when a fresh process has to take the worker slot.
//! * **generation** – 32 bits, one more each time the worker slot becomes `Vacant`. A process is given the
//!   generation with its registration. It leaves at once when the word has another one: its
//!   worker slot was taken back meanwhile, and may await another process.
//! * **job** – index of the slot of the job with which it is `Busy`.
//!
//! # Transitions
//!
//! All are made under the pool lock. Each is one compare-exchange all the same, so the worker can watch its own
//! word without the lock. The lock orders them; the word tells a sleeping worker what was decided.
//!
//! The transitions are data: [`WORKER`](crate::transitions::WORKER), printed in `docs/transitions.md`. No other change is
//! made: tests and models check each one against the table.

use crate::sync::{AtomicU64, Ordering};
use crate::transitions::{Named as _, Worker};

pub(crate) mod state;

use state::GENERATION_SHIFT;
pub use state::{Activity, State};

/// The worker word in shared memory. See the module documentation.
#[repr(transparent)]
pub struct WorkerWord(AtomicU64);

impl Default for WorkerWord {
    fn default() -> Self {
        Self(AtomicU64::new(1 << GENERATION_SHIFT))
    }
}

impl WorkerWord {
    /// The word now.
    #[must_use]
    pub fn load(&self) -> State {
        State(self.0.load(Ordering::Acquire))
    }

    fn update(&self, transition: Worker, mut next: impl FnMut(State) -> State) -> State {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let wanted = next(State(now));
            match self
                .0
                .compare_exchange_weak(now, wanted.0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    transition.made(self, now, wanted.0);
                    return State(now);
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// Vacant → Starting. Returns the generation to register the process with.
    ///
    /// # Panics
    /// When the worker slot is in use.
    pub(crate) fn claim(&self) -> u32 {
        self.update(Worker::Claim, |now| {
            assert_eq!(now.activity(), Activity::Vacant, "claimed {now:?}");
            now.to(Activity::Starting)
        })
        .generation()
    }

    /// Starting, Idle or Busy → Busy with the job in `slot`.
    ///
    /// # Panics
    /// When the worker is not alive.
    pub(crate) fn assign(&self, slot: u32) {
        self.update(Worker::Assign, |now| {
            assert!(
                !matches!(now.activity(), Activity::Vacant | Activity::Exiting),
                "assigned to {now:?}"
            );
            now.to(Activity::Busy(slot))
        });
    }

    /// Starting or Busy → Idle.
    ///
    /// # Panics
    /// When the worker is in another phase.
    pub(crate) fn rest(&self) {
        self.update(Worker::Rest, |now| {
            assert!(
                matches!(now.activity(), Activity::Starting | Activity::Busy(_)),
                "rested {now:?}"
            );
            now.to(Activity::Idle)
        });
    }

    /// Idle → Exiting.
    ///
    /// # Panics
    /// When the worker is not idle.
    pub(crate) fn dismiss(&self) {
        self.update(Worker::Dismiss, |now| {
            assert_eq!(now.activity(), Activity::Idle, "dismissed {now:?}");
            now.to(Activity::Exiting)
        });
    }

    /// Any live phase → Starting: a fresh process takes the worker slot.
    ///
    /// # Panics
    /// When the worker slot is vacant.
    pub(crate) fn restart(&self) {
        self.update(Worker::Restart, |now| {
            assert_ne!(now.activity(), Activity::Vacant, "restarted {now:?}");
            now.to(Activity::Starting)
        });
    }

    /// Any live phase → Vacant, generation + 1.
    ///
    /// # Panics
    /// When the worker slot is vacant already.
    pub(crate) fn vacate(&self) {
        self.update(Worker::Vacate, |now| {
            assert_ne!(now.activity(), Activity::Vacant, "vacated {now:?}");
            State(u64::from(now.generation().wrapping_add(1)) << GENERATION_SHIFT)
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_life() {
        let word = WorkerWord::default();
        let generation = word.claim();
        word.rest();
        word.assign(77);
        assert_eq!(word.load().activity(), Activity::Busy(77));
        word.rest();
        word.dismiss();
        assert_eq!(word.load().generation(), generation);
        word.vacate();
        assert_eq!(word.load().activity(), Activity::Vacant);
        assert_eq!(word.load().generation(), generation + 1);
    }

    #[test]
    fn a_transition_out_of_turn_is_a_panic() {
        use Activity::*;
        use std::panic::{AssertUnwindSafe, catch_unwind};
        type Transition = (&'static str, [bool; 5], fn(&WorkerWord));
        let all = [Vacant, Starting, Idle, Busy(1), Exiting];
        let transitions: [Transition; 6] = [
            ("claim", [true, false, false, false, false], |word| {
                word.claim();
            }),
            ("assign", [false, true, true, true, false], |word| {
                word.assign(2)
            }),
            ("rest", [false, true, false, true, false], |word| {
                word.rest()
            }),
            ("dismiss", [false, false, true, false, false], |word| {
                word.dismiss()
            }),
            ("restart", [false, true, true, true, true], |word| {
                word.restart()
            }),
            ("vacate", [false, true, true, true, true], |word| {
                word.vacate()
            }),
        ];
        for (name, from, transition) in transitions {
            for (activity, may) in all.into_iter().zip(from) {
                let word = WorkerWord::default();
                word.0.store(word.load().to(activity).0, Ordering::Relaxed);
                assert_eq!(word.load().activity(), activity);
                let made = catch_unwind(AssertUnwindSafe(|| transition(&word))).is_ok();
                assert_eq!(made, may, "{name} from {activity:?}");
            }
        }
    }

    #[test]
    fn a_busy_worker_is_shown_with_its_job() {
        let word = WorkerWord::default();
        word.claim();
        let shown = || State::decode(word.load().0);
        let starting = shown();
        assert_eq!((starting.owner, starting.number), (1, 0));
        word.assign(77);
        let busy = shown();
        assert_eq!((busy.owner, busy.number), (1, 77));
        assert_ne!(busy.phase, starting.phase);
    }

    #[test]
    fn a_restart_keeps_the_generation() {
        let word = WorkerWord::default();
        let generation = word.claim();
        word.rest();
        word.restart();
        assert_eq!(word.load().generation(), generation);
        assert_eq!(word.load().activity(), Activity::Starting);
    }
}
