//! When a wait spins before it sleeps, and how long.
//!
//! A spin saves the two switches of a sleep and the wake-up, which on another virtual processor takes longer than a small
//! job. It costs the processor meanwhile. Three things decide:
//!
//! * the limit (`pg_background.spin`): no spin is longer;
//! * [`AdaptiveSpin`]: how long waits of this kind took, and how spins ended;
//! * [`RunDelay`]: whether processors are short. Where other processes wait for a processor, the one that spins takes it
//!   from them, and among them may be the process that is waited for.
//!
//! A spin does not yield the processor. A yield would also tell whether somebody else wants it. But what it costs depends
//! on the kernel: on Linux 6.18 a process that yields beside another one that is ready to run gets the processor back
//! milliseconds later.

use crate::wait::Micros;

/// What a process has learned from its waits of one kind: whether a spin pays, and how long it may be.
///
/// A spin pays when it is over sooner than the process could have been put to sleep and woken. So it is tried only if
/// waits take no longer than the limit, by the moving mean of all of them: those that slept count too, so that a process
/// that does not spin learns when waits become short. A spin is as long as some such waits.
///
/// A spin fails if the wait takes longer than others, and also if the awaited process cannot run: because other processes
/// have every processor, or because it was put on the processor of the one that spins. Then it is quicker to sleep at
/// once, and costs other processes nothing. So after a failed spin some waits do without; twice as many after each
/// further failure. A spin that pays ends that.
#[derive(Clone, Copy, Default, Debug)]
pub struct AdaptiveSpin {
    /// The moving mean of what waits took.
    mean: Micros,
    /// Spins that failed since one found what it looked for, at most `MAX_FAILURES`.
    failures: u32,
    /// Waits yet to come that do not spin.
    without: u32,
}

impl AdaptiveSpin {
    /// A wait moves the mean by one part in this many of the difference.
    const WEIGHT: Micros = 4;

    /// A wait counts as no longer than this: else a single long one would outweigh many short ones.
    const COUNTED: Micros = 800;

    /// A spin is as long as this many waits of mean length.
    const WAITS: Micros = 4;

    /// Added to that: about what it takes to wake a process that sleeps on another virtual processor. A spin that is not
    /// longer costs no more than the sleep that it saves.
    const SLACK: Micros = 50;

    /// More failures in a row count as so many: 2 to the power of it is how many waits do without at most.
    const MAX_FAILURES: u32 = 5;

    /// Nothing learned yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            mean: 0,
            failures: 0,
            without: 0,
        }
    }

    /// Whether the next wait spins, if it may spin for `limit`.
    #[must_use]
    pub fn pays(&self, limit: Micros) -> bool {
        self.without == 0 && self.mean <= limit
    }

    /// How long the next wait may spin, at most `limit`; 0: not at all.
    pub fn next(&mut self, limit: Micros) -> Micros {
        let pays = self.pays(limit);
        self.without = self.without.saturating_sub(1);
        if !pays {
            return 0;
        }
        match self.mean {
            0 => limit,
            mean => limit.min(Self::WAITS * mean + Self::SLACK),
        }
    }

    /// Notes how a spin ended.
    pub fn note_spin(&mut self, found: bool) {
        if found {
            self.failures = 0;
        } else {
            self.without = 1 << self.failures;
            self.failures = (self.failures + 1).min(Self::MAX_FAILURES);
        }
    }

    /// Notes how long a wait took.
    pub fn note_wait(&mut self, took: Micros) {
        let took = took.clamp(1, Self::COUNTED);
        self.mean = match self.mean {
            0 => took,
            mean if took > mean => mean + (took - mean).div_ceil(Self::WEIGHT),
            mean => mean - (mean - took).div_ceil(Self::WEIGHT),
        };
    }
}

/// How long a process has been ready to run without a processor, in all, and how often it got one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunDelayTotals {
    /// Nanoseconds ready to run without a processor.
    pub nanoseconds: u64,
    /// How often the process was given a processor.
    pub runs: u64,
}

impl RunDelayTotals {
    /// From the text of Linux's `/proc/PID/schedstat`: time on a processor and time ready to run, both in nanoseconds, and
    /// how often the process was given a processor. `None`: it is something else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        let (_on_a_processor, nanoseconds, runs): (u64, _, _) = (next()?, next()?, next()?);
        Some(Self { nanoseconds, runs })
    }
}

/// Whether processors are short, as this process feels it: by its mean delay from ready to running, over its last waits.
#[derive(Clone, Copy, Default, Debug)]
pub struct RunDelay {
    /// Waits until the next measurement.
    waits: u32,
    /// At the last measurement.
    before: Option<RunDelayTotals>,
    is_long: bool,
}

impl RunDelay {
    /// From one measurement to the next.
    const WAITS: u32 = 16;

    /// Processors are short if it takes longer, nanoseconds. An idle processor takes a process in a few microseconds. Four
    /// sessions on two processors, with their clients and workers, wait some tens of microseconds for one, and still gain
    /// by spins; sixteen wait some hundreds, and lose.
    const LONG: u64 = 50_000;

    /// Nothing measured yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waits: 0,
            before: None,
            is_long: false,
        }
    }

    /// Counts a wait. Whether it is time for the next measurement ([`note`](Self::note)).
    pub fn is_due(&mut self) -> bool {
        let is_due = self.waits == 0;
        self.waits = if is_due {
            Self::WAITS - 1
        } else {
            self.waits - 1
        };
        is_due
    }

    /// Notes a measurement. `None`: the system does not tell, and processors are not short.
    pub fn note(&mut self, totals: Option<RunDelayTotals>) {
        let before = std::mem::replace(&mut self.before, totals);
        self.is_long = before.zip(totals).is_some_and(|(before, now)| {
            let delay = now.nanoseconds.saturating_sub(before.nanoseconds);
            delay > Self::LONG * now.runs.saturating_sub(before.runs)
        });
    }

    /// Whether processors are short.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.is_long
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMIT: Micros = 200;

    fn after_waits(took: Micros, count: u32) -> AdaptiveSpin {
        let mut spin = AdaptiveSpin::new();
        for _ in 0..count {
            spin.note_wait(took);
        }
        spin
    }

    #[test]
    fn a_spin_is_some_usual_waits_long() {
        assert_eq!(AdaptiveSpin::new().next(LIMIT), LIMIT, "nothing is known");
        assert_eq!(after_waits(10, 50).next(LIMIT), 90);
        assert_eq!(after_waits(100, 50).next(LIMIT), LIMIT);
        assert_eq!(after_waits(10, 50).next(30), 30);
        assert_eq!(after_waits(0, 50).next(LIMIT), 54, "it took less than one");
    }

    #[test]
    fn a_wait_moves_the_mean_by_a_quarter_of_the_difference() {
        for (took, spin_is) in [(200, 4 * 125 + 50), (60, 4 * 90 + 50), (100, 450)] {
            let mut spin = after_waits(100, 1);
            spin.note_wait(took);
            assert_eq!(spin.next(Micros::MAX), spin_is, "{took}");
        }
    }

    #[test]
    fn where_waits_take_longer_than_the_limit_nothing_spins() {
        let mut spin = after_waits(LIMIT, 50);
        assert!(spin.pays(LIMIT));
        spin.note_wait(LIMIT + 1);
        assert!(!spin.pays(LIMIT));
        assert_eq!(spin.next(LIMIT), 0);
    }

    #[test]
    fn one_long_wait_does_not_outweigh_the_short_ones_for_long() {
        let mut spin = after_waits(10, 50);
        spin.note_wait(Micros::MAX);
        assert_eq!(spin.next(LIMIT), 0);
        spin.note_wait(10);
        assert!(spin.next(LIMIT) > 0, "{spin:?}");
    }

    #[test]
    fn waits_that_become_short_are_seen_without_a_spin() {
        let mut spin = after_waits(5000, 50);
        let waits = (1..100).find(|_| {
            spin.note_wait(20);
            spin.next(LIMIT) > 0
        });
        assert_eq!(waits, Some(6));
    }

    #[test]
    fn after_failed_spins_waits_do_without_twice_as_many_each_time() {
        let mut spin = after_waits(10, 50);
        let mut gaps = Vec::new();
        for _ in 0..8 {
            assert!(spin.next(LIMIT) > 0);
            spin.note_spin(false);
            assert!(!spin.pays(LIMIT));
            let gap = (1..100).find(|_| spin.next(LIMIT) == 0 && spin.pays(LIMIT));
            gaps.push(gap.unwrap());
        }
        assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert!(spin.next(LIMIT) > 0);
        spin.note_spin(true);
        assert!(spin.next(LIMIT) > 0);
        spin.note_spin(false);
        assert_eq!((spin.next(LIMIT), spin.pays(LIMIT)), (0, true));
    }

    #[test]
    fn the_kernels_text_is_read() {
        let totals = |nanoseconds, runs| Some(RunDelayTotals { nanoseconds, runs });
        assert_eq!(RunDelayTotals::parse(b"17 54882 3\n"), totals(54_882, 3));
        let most = b"18446744073709551615 18446744073709551615 18446744073709551615\n";
        assert_eq!(RunDelayTotals::parse(most), totals(u64::MAX, u64::MAX));
        assert!(most.len() < 64);
        for wrong in [&b""[..], b"1 2", b"1 2 x", b"1 2 -3", b"\xff 1 2"] {
            assert_eq!(RunDelayTotals::parse(wrong), None);
        }
    }

    #[test]
    fn processors_are_short_if_a_process_waits_long_for_one() {
        let mut delay = RunDelay::new();
        let mut measure = |nanoseconds, runs| {
            delay.note(Some(RunDelayTotals { nanoseconds, runs }));
            delay.is_long()
        };
        assert!(!measure(1_000_000_000, 10), "before it was looked at");
        assert!(!measure(1_000_050_000, 11), "50 µs in one run");
        assert!(measure(1_000_100_001, 12), "more than that");
        assert!(!measure(1_000_200_001, 14), "two runs");
        assert!(!measure(1_000_200_001, 14), "it did not sleep");
        assert!(
            measure(1_000_200_002, 14),
            "it sleeps, and still waits for its first run"
        );
        delay.note(None);
        assert!(!delay.is_long(), "nobody tells");
    }

    #[test]
    fn run_delay_is_measured_at_the_first_wait_and_then_every_sixteenth() {
        let mut delay = RunDelay::new();
        let due: Vec<_> = (0..40).filter(|_| delay.is_due()).collect();
        assert_eq!(due, [0, 16, 32]);
    }
}
