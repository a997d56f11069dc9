//! The wait loop. There is one, used by leaders and by workers alike.
//!
//! # Why no wake-up is lost
//!
//! A waker publishes the word, then sets the latch. A waiter *arms* (says in shared memory that it is
//! about to sleep: the WATCHED flag, the ring's `reader` word, the worker word's `Idle`), looks at the
//! word again, and only then sleeps on the latch. [`Latch::sleep`] returns when the latch is set, resets
//! it, processes interrupts; the loop then looks at the word once more. Two cases:
//!
//! * The word changes before the look that follows arming: the waiter sees it and does not sleep.
//! * It changes later: the waker sees the waiter armed (the two are ordered by a read-modify-write on one
//!   word, or by a sequentially consistent fence on each side) and sets the latch. A latch that is set
//!   before the sleep begins makes the sleep return at once.
//!
//! The latch is reset *after* a sleep and *before* the next look. Were it reset before the sleep, a
//! doorbell between the look and the reset would be lost.
//!
//! A doorbell carries nothing. One that comes late, or was meant for somebody who had this process's
//! place before, costs one look.
//!
//! # Time
//!
//! A sleep ends by itself only at a moment that somebody asked for: the caller's deadline, or the next
//! moment at which the [`Condition`] asks for a periodic check (the deadlock check, the liveness net). Before
//! the first sleep the waiter may spin on the word for [`Latch::spin_limit`]; that never replaces the latch.
//! [`AdaptiveSpin`] tells how long a spin is worth it.
//!
//! [`linger`] is such a spin with nothing after it: for something that will happen within microseconds, or
//! else need not be waited for.

use crate::sync::spin_hint;

/// Microseconds on the latch's clock. In a server that is one clock for all processes, which nobody sets: so moments can
/// be compared across processes. The time that users see is of another type.
pub type Micros = u64;

/// The longest wait that can be asked for, milliseconds: a day.
const TIMEOUT_LIMIT: i32 = 86_400_000;

/// The longest grace that can be asked for, milliseconds: an hour.
const GRACE_LIMIT: i32 = 3_600_000;

/// The time limit of a wait, in milliseconds, from what was asked for.
#[must_use]
pub fn timeout(asked: i32) -> i32 {
    asked.clamp(0, TIMEOUT_LIMIT)
}

/// How long a cancel waits before it escalates, in milliseconds, from what was asked for.
#[must_use]
pub fn grace(asked: i32) -> i32 {
    asked.clamp(0, GRACE_LIMIT)
}

/// What a process sleeps on.
pub trait Latch {
    /// The clock: monotonic, in microseconds.
    fn now(&self) -> Micros;

    /// How long this wait may spin before its first sleep; 0 for not at all. Followed by
    /// [`spun`](Self::spun) unless it returned 0.
    fn spin_limit(&self) -> Micros;

    /// Whether a processor is to spare for a [`linger`].
    fn may_linger(&self) -> bool {
        false
    }

    /// Called between the looks of a spin: gives way to whoever the waiter waits for, if need be.
    fn pace(&self) {}

    /// The spin that [`spin_limit`](Self::spin_limit) allowed has ended; whether it found what it looked for.
    fn spun(&self, _found: bool) {}

    /// Interrupts are pending: stop spinning, go to [`sleep`](Self::sleep), which processes them.
    fn interrupted(&self) -> bool;

    /// Sleeps until the latch is set or `until` has come (`None`: no such moment); then resets the latch
    /// and processes interrupts. May not return: an interrupt may unwind the stack or end the process.
    fn sleep(&self, until: Option<Micros>);
}

/// What a wait is for, and what is checked meanwhile.
pub trait Condition {
    /// What the wait ends with.
    type Found;

    /// Says in shared memory that the waiter is about to sleep. Called before each look that may be followed by a
    /// sleep.
    fn arm(&mut self);

    /// Looks whether the wait is over. May unwind.
    fn look(&mut self) -> Option<Self::Found>;

    /// When the next periodic check is due; `None`: there is none. Asked before every sleep.
    fn next_check(&mut self) -> Option<Micros> {
        None
    }

    /// Checks: that moment has come. May unwind.
    fn check(&mut self, _now: Micros) {}
}

/// A condition without a periodic check.
struct Unchecked<A, L> {
    arm: A,
    look: L,
}

impl<T, A: FnMut(), L: FnMut() -> Option<T>> Condition for Unchecked<A, L> {
    type Found = T;

    fn arm(&mut self) {
        (self.arm)();
    }

    fn look(&mut self) -> Option<T> {
        (self.look)()
    }
}

/// A condition without a periodic check: what arms it, and what looks.
pub fn condition<T>(
    arm: impl FnMut(),
    look: impl FnMut() -> Option<T>,
) -> impl Condition<Found = T> {
    Unchecked { arm, look }
}

/// What a process has learned about its spins.
///
/// A spin is in vain when what is waited for takes long, and also when whoever does it is kept from running:
/// by other processes on every processor, or because it was put on the processor of the one that spins. Then
/// sleeping at once is quicker, and costs others nothing. So each spin in vain halves the next, after
/// `LESSONS` of them there is none, and one wait in `TRIAL` finds out whether
/// that has changed. A spin that finds what it looks for restores them all.
#[derive(Clone, Copy, Default, Debug)]
pub struct AdaptiveSpin {
    /// Spins in vain since one found something; no further than `LESSONS`.
    in_vain: u32,
    /// Waits without a spin since then.
    skipped: u32,
}

impl AdaptiveSpin {
    /// So many spins in vain, one after the other, and there is none.
    const LESSONS: u32 = 4;

    /// Then one wait of so many spins.
    const TRIAL: u32 = 32;

    /// Nothing learned yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            in_vain: 0,
            skipped: 0,
        }
    }

    /// How long the next wait may spin, of `limit` at most; 0: not at all.
    pub fn next(&mut self, limit: Micros) -> Micros {
        if self.in_vain < Self::LESSONS {
            return limit >> self.in_vain;
        }
        self.skipped = (self.skipped + 1) % Self::TRIAL;
        if self.skipped == 0 { limit } else { 0 }
    }

    /// A spin has ended.
    pub fn learn(&mut self, found: bool) {
        if found {
            *self = Self::new();
        } else if self.in_vain < Self::LESSONS {
            self.in_vain += 1;
        }
    }
}

/// How many looks at the word there are between two looks at the clock while spinning.
const SPINS_PER_CLOCK: u32 = 16;

/// Waits until the condition finds what it looks for; `None` when `deadline` came first (it looks once more after
/// that).
pub fn wait_for<C: Condition>(
    latch: &impl Latch,
    deadline: Option<Micros>,
    condition: &mut C,
) -> Option<C::Found> {
    if let Some(found) = condition.look() {
        return Some(found);
    }
    if let Some(found) = spin(latch, deadline, || condition.look()) {
        return Some(found);
    }
    loop {
        condition.arm();
        if !mutant!("wait-without-second-look")
            && let Some(found) = condition.look()
        {
            return Some(found);
        }
        let mut now = latch.now();
        if condition.next_check().is_some_and(|due| due <= now) {
            condition.check(now);
            now = latch.now();
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        let until = match (deadline, condition.next_check()) {
            (Some(deadline), Some(due)) => Some(deadline.min(due)),
            (one, other) => one.or(other),
        };
        latch.sleep(until);
    }
}

fn spin<T>(
    latch: &impl Latch,
    deadline: Option<Micros>,
    look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let limit = latch.spin_limit();
    if limit == 0 {
        return None;
    }
    let limit = latch.now() + limit;
    let end = deadline.map_or(limit, |deadline| deadline.min(limit));
    let found = spin_until(latch, end, look);
    latch.spun(found.is_some());
    found
}

/// Looks until `look` finds what it looks for, for `limit` at most; never sleeps. `None` at once when no
/// processor is to spare.
pub fn linger<T>(latch: &impl Latch, limit: Micros, look: impl FnMut() -> Option<T>) -> Option<T> {
    if !latch.may_linger() {
        return None;
    }
    spin_until(latch, latch.now() + limit, look)
}

fn spin_until<T>(
    latch: &impl Latch,
    end: Micros,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    while latch.now() < end && !latch.interrupted() {
        latch.pace();
        for _ in 0..SPINS_PER_CLOCK {
            spin_hint();
            let found = look();
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Default)]
    struct Clock {
        now: Cell<Micros>,
        sleeps: Cell<u32>,
    }

    impl Latch for Clock {
        fn now(&self) -> Micros {
            self.now.get()
        }
        fn spin_limit(&self) -> Micros {
            0
        }
        fn interrupted(&self) -> bool {
            false
        }
        fn sleep(&self, until: Option<Micros>) {
            self.sleeps.set(self.sleeps.get() + 1);
            self.now.set(until.expect("would sleep for ever"));
        }
    }

    #[test]
    fn spins_in_vain_become_shorter_and_then_rare() {
        let mut spin = AdaptiveSpin::new();
        let mut limits = Vec::new();
        for _ in 0..68 {
            let limit = spin.next(100);
            limits.push(limit);
            if limit > 0 {
                spin.learn(false);
            }
        }
        assert_eq!(limits[..5], [100, 50, 25, 12, 0]);
        let trials: Vec<_> = (4..68).filter(|&wait| limits[wait] > 0).collect();
        assert_eq!((trials.len(), limits[trials[0]]), (2, 100));
        spin.learn(true);
        assert_eq!(spin.next(100), 100);
    }

    #[test]
    fn a_grace_is_an_hour_at_most_and_a_wait_a_day() {
        assert_eq!(grace(i32::MAX), 60 * 60 * 1000);
        assert_eq!(grace(60 * 60 * 1000 + 1), 60 * 60 * 1000);
        assert_eq!(grace(1500), 1500);
        assert_eq!(grace(i32::MIN), 0);
        assert_eq!(timeout(i32::MAX), 24 * 60 * 60 * 1000);
        assert_eq!(timeout(-1), 0);
    }

    #[test]
    fn what_is_there_already_needs_no_sleep() {
        let clock = Clock::default();
        assert_eq!(
            wait_for(&clock, Some(0), &mut condition(|| {}, || Some(1))),
            Some(1)
        );
        assert_eq!(clock.sleeps.get(), 0);
    }

    #[test]
    fn a_deadline_ends_the_wait_and_is_slept_to_once() {
        let clock = Clock::default();
        let found: Option<()> = wait_for(&clock, Some(500), &mut condition(|| {}, || None));
        assert_eq!(found, None);
        assert_eq!((clock.now.get(), clock.sleeps.get()), (500, 1));
    }

    #[test]
    fn a_deadline_in_the_past_still_looks() {
        let clock = Clock::default();
        clock.now.set(10);
        let mut looks = 0;
        let look = || {
            looks += 1;
            None
        };
        let found: Option<()> = wait_for(&clock, Some(5), &mut condition(|| {}, look));
        assert_eq!((found, looks, clock.sleeps.get()), (None, 2, 0));
    }

    #[test]
    fn periodic_checks_come_at_their_moments() {
        struct Doubling(Micros, u32);
        impl Condition for Doubling {
            type Found = ();
            fn arm(&mut self) {}
            fn look(&mut self) -> Option<()> {
                None
            }
            fn next_check(&mut self) -> Option<Micros> {
                Some(self.0)
            }
            fn check(&mut self, _now: Micros) {
                self.0 *= 2;
                self.1 += 1;
            }
        }
        let clock = Clock::default();
        let mut doubling = Doubling(1, 0);
        let found = wait_for(&clock, Some(100), &mut doubling);
        assert_eq!((found, doubling.1), (None, 7));
    }
}
