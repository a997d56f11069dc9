//! The wait loop. Leaders and workers use the same one.
//!
//! # Why no wake-up is lost
//!
//! A waker writes the word, then sets the latch. A waiter *arms*: it says in shared memory that it is about to
//! sleep (the WATCHED flag, the ring's `reader` word, the worker word's `Idle`). Then it looks at the word
//! again, and only then sleeps on the latch. [`Latch::sleep`] returns when the latch is set, resets it, and
//! processes interrupts. Then the loop looks at the word once more. There are two cases:
//!
//! * The word changes before the look that follows arming: the waiter sees it and does not sleep.
//! * It changes later: the waker sees the waiter armed (the two are ordered by a read-modify-write on one
//!   word, or by a sequentially consistent fence on each side) and sets the latch. A latch that is set
//!   before the sleep begins makes the sleep return at once.
//!
//! The latch is reset *after* a sleep and *before* the next look. If it were reset before the sleep, a wake-up
//! between the look and the reset would be lost.
//!
//! A wake-up carries no information. A late one, or one that was meant for a process that had the same PGPROC
//! before, costs one look.
//!
//! # Time
//!
//! A sleep ends by itself only at a moment that was asked for: the caller's deadline, or the next moment at
//! which the [`Condition`] wants a periodic check (for deadlocks and lost processes). Before the first sleep
//! the waiter may spin on the word for [`Latch::spin_limit`]; a spin never replaces the latch. [`AdaptiveSpin`]
//! tells how long a spin pays.
//!
//! [`linger`] is such a spin without a sleep: for something that will happen within microseconds, or need not
//! be waited for.

use crate::sync::spin_hint;

/// Microseconds on the latch's clock. In a server all processes have the same clock, and nobody sets it:
/// moments can be compared across processes. The times that users see have another type.
pub type Micros = u64;

/// The longest wait that can be asked for, milliseconds: a day.
const TIMEOUT_LIMIT: i32 = 86_400_000;

/// The longest grace that can be asked for, milliseconds: an hour.
const GRACE_LIMIT: i32 = 3_600_000;

/// The time limit of a wait, in milliseconds, for what a user asked for.
#[must_use]
pub fn timeout(asked: i32) -> i32 {
    asked.clamp(0, TIMEOUT_LIMIT)
}

/// How long a cancel waits before it escalates, in milliseconds, for what a user asked for.
#[must_use]
pub fn grace(asked: i32) -> i32 {
    asked.clamp(0, GRACE_LIMIT)
}

/// What a process sleeps on.
pub trait Latch {
    /// The clock: monotonic, in microseconds.
    fn now(&self) -> Micros;

    /// How long this wait may spin before its first sleep; 0: not at all. Unless it is 0, the caller calls
    /// [`note_spin`](Self::note_spin) afterwards.
    fn spin_limit(&self) -> Micros;

    /// Whether a processor is idle that a [`linger`] may use.
    fn may_linger(&self) -> bool {
        false
    }

    /// Called between the looks of a spin. Yields the processor if the awaited process may need it.
    fn pace(&self) {}

    /// The spin that [`spin_limit`](Self::spin_limit) allowed has ended. `found`: it found what it looked for.
    fn note_spin(&self, _found: bool) {}

    /// Whether interrupts are pending: the waiter then stops spinning and calls [`sleep`](Self::sleep), which
    /// processes them.
    fn is_interrupted(&self) -> bool;

    /// Sleeps until the latch is set or `until` has come (`None`: no limit). Then resets the latch and
    /// processes interrupts. May not return: an interrupt may unwind the stack or end the process.
    fn sleep(&self, until: Option<Micros>);
}

/// What a process waits for, and what it checks meanwhile.
pub trait Condition {
    /// What the wait returns.
    type Found;

    /// Says in shared memory that the waiter is about to sleep. Called before each look that may be followed by a
    /// sleep.
    fn arm(&mut self);

    /// Looks whether the wait is over. May unwind.
    fn look(&mut self) -> Option<Self::Found>;

    /// The time of the next periodic check; `None`: there is none. Asked before every sleep.
    fn next_check(&mut self) -> Option<Micros> {
        None
    }

    /// Does the periodic check, whose time has come. May unwind.
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

/// A condition without a periodic check, from a function that arms and one that looks.
pub fn condition<T>(
    arm: impl FnMut(),
    look: impl FnMut() -> Option<T>,
) -> impl Condition<Found = T> {
    Unchecked { arm, look }
}

/// What a process has learned about its spins.
///
/// A spin fails when what it waits for takes long. It also fails when the awaited process cannot run, because
/// other processes have every processor, or because it was put on the processor of the one that spins. Then it
/// is quicker to sleep at once, and costs other processes nothing. So each failed spin halves the next one.
/// After `MAX_FAILURES` of them a process no longer spins; but one wait in `TRIAL` spins again, to find out
/// whether that has changed. A spin that succeeds restores the full length.
#[derive(Clone, Copy, Default, Debug)]
pub struct AdaptiveSpin {
    /// Failed spins since one succeeded, at most `MAX_FAILURES`.
    failures: u32,
    /// Waits without a spin since then.
    skipped: u32,
}

impl AdaptiveSpin {
    /// After this many failed spins in a row a process does not spin.
    const MAX_FAILURES: u32 = 4;

    /// Then one wait in this many spins.
    const TRIAL: u32 = 32;

    /// Nothing learned yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            failures: 0,
            skipped: 0,
        }
    }

    /// How long the next wait may spin, at most `limit`; 0: not at all.
    pub fn next(&mut self, limit: Micros) -> Micros {
        if self.failures < Self::MAX_FAILURES {
            return limit >> self.failures;
        }
        self.skipped = (self.skipped + 1) % Self::TRIAL;
        if self.skipped == 0 { limit } else { 0 }
    }

    /// Notes how a spin ended.
    pub fn learn(&mut self, found: bool) {
        if found {
            *self = Self::new();
        } else if self.failures < Self::MAX_FAILURES {
            self.failures += 1;
        }
    }
}

/// While spinning: looks at the word between two looks at the clock.
const SPINS_PER_CLOCK: u32 = 16;

/// Waits until the condition finds what it looks for. `None`: `deadline` came first. Looks once more after the
/// deadline.
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
        if let Some(found) = mutant!("wait-without-second-look", condition.look() => None) {
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
    latch.note_spin(found.is_some());
    found
}

/// Looks until `look` finds what it looks for, at most for `limit`. Never sleeps. Returns `None` at once when
/// no processor is idle.
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
    while latch.now() < end && !latch.is_interrupted() {
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
        fn is_interrupted(&self) -> bool {
            false
        }
        fn sleep(&self, until: Option<Micros>) {
            self.sleeps.set(self.sleeps.get() + 1);
            self.now.set(until.expect("would sleep forever"));
        }
    }

    /// A processor is idle, and each look at the clock takes a microsecond.
    #[derive(Default)]
    struct Spinner {
        now: Cell<Micros>,
        limit: Micros,
        lingers: bool,
        interrupted_at: Option<Micros>,
        paces: Cell<u32>,
        noted: Cell<Option<bool>>,
    }

    impl Latch for Spinner {
        fn now(&self) -> Micros {
            self.now.replace(self.now.get() + 1)
        }
        fn spin_limit(&self) -> Micros {
            self.limit
        }
        fn may_linger(&self) -> bool {
            self.lingers
        }
        fn pace(&self) {
            self.paces.set(self.paces.get() + 1);
        }
        fn note_spin(&self, found: bool) {
            self.noted.set(Some(found));
        }
        fn is_interrupted(&self) -> bool {
            self.interrupted_at.is_some_and(|at| at <= self.now.get())
        }
        fn sleep(&self, until: Option<Micros>) {
            self.now.set(until.expect("would sleep forever"));
        }
    }

    #[test]
    fn a_spin_finds_what_comes_in_its_time() {
        let latch = Spinner {
            limit: 10,
            ..Spinner::default()
        };
        let mut looks = 0;
        let look = || {
            looks += 1;
            (looks == 50).then_some(looks)
        };
        let armed = Cell::new(false);
        let mut late = condition(|| armed.set(true), look);
        assert_eq!(wait_for(&latch, None, &mut late), Some(50));
        assert_eq!((latch.noted.get(), armed.get()), (Some(true), false));
        // One look, then sixteen for each look at the clock.
        assert_eq!(latch.paces.get(), 4);
    }

    #[test]
    fn a_spin_ends_at_its_limit_or_the_deadline_or_an_interrupt() {
        let spinner = |limit, interrupted_at| Spinner {
            limit,
            interrupted_at,
            ..Spinner::default()
        };
        // The look at the clock that finds its end takes a microsecond too.
        for (latch, deadline, paces) in [
            (spinner(10, None), 1000, 9),
            (spinner(1000, None), 7, 6),
            (spinner(1000, Some(5)), 1000, 3),
        ] {
            let found: Option<()> =
                wait_for(&latch, Some(deadline), &mut condition(|| {}, || None));
            assert_eq!(found, None);
            assert_eq!((latch.paces.get(), latch.noted.get()), (paces, Some(false)));
        }
    }

    #[test]
    fn a_process_lingers_only_where_a_processor_is_idle() {
        let idle = Spinner {
            lingers: true,
            ..Spinner::default()
        };
        let mut looks = 0;
        let found: Option<()> = linger(&idle, 5, || {
            looks += 1;
            None
        });
        assert_eq!(
            (found, looks, idle.paces.get()),
            (None, 4 * SPINS_PER_CLOCK, 4)
        );
        assert_eq!(linger(&idle, 5, || Some(1)), Some(1));
        let busy = Spinner::default();
        assert_eq!(linger(&busy, 5, || Some(1)), None);
        assert!(!Clock::default().may_linger(), "unless it is known");
    }

    #[test]
    fn failed_spins_become_shorter_and_then_rare() {
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
