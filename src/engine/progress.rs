//! Progress of a running job: a percentage and a message, read without tearing.
//!
//! A sequence lock. The worker that runs the job is the only writer. The sequence is odd while it writes. A
//! reader that sees an odd sequence, or a changed one after reading, reads again. The writer never waits. It
//! holds off interrupts while it writes, so the sequence cannot stay odd.
//!
//! | field | written by | when |
//! |---|---|---|
//! | sequence | the worker | odd before, even after; 0 while nothing was reported for this job |
//! | percent, message | the worker | between |
//!
//! The leader that claims the slot resets everything while the job is `Reserved`, when nobody reads.

use crate::sync::{AtomicU32, Ordering, spin_hint};
use crate::text::SharedText;

/// Bytes of a progress message at most (63, as documented for SQL, rounded up to a word).
const MESSAGE_WORDS: usize = 8;
/// Bytes of a progress message at most, as documented for SQL.
pub const MESSAGE_LIMIT: usize = 63;

/// See the module documentation.
pub struct Progress {
    sequence: AtomicU32,
    percent: AtomicU32,
    message: SharedText<MESSAGE_WORDS>,
}

/// What a job reported last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// 0 to 100.
    pub percent: u32,
    /// At most [`MESSAGE_LIMIT`] bytes.
    pub message: Option<Vec<u8>>,
}

/// Stored instead of a length of bytes: no message.
const NO_MESSAGE_BIT: u32 = 1 << 31;

impl Default for Progress {
    fn default() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            percent: AtomicU32::new(0),
            message: SharedText::default(),
        }
    }
}

impl Progress {
    /// Nothing is reported yet. Only while the job is `Reserved`.
    pub(crate) fn reset(&self) {
        self.sequence.store(0, Ordering::Relaxed);
    }

    /// Publishes a report. Only by the worker that runs the job, with interrupts held.
    pub fn report(&self, percent: u32, message: Option<&[u8]>) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        let odd = mutant!("progress-never-odd", sequence.wrapping_add(1) => sequence);
        self.sequence.store(odd, Ordering::Relaxed);
        // The odd sequence must be visible before any part of the new report.
        fenced!("progress-begins-without-fence", Ordering::Release);
        let flag = if message.is_none() { NO_MESSAGE_BIT } else { 0 };
        self.percent.store(percent | flag, Ordering::Relaxed);
        self.message.store(message.unwrap_or_default());
        // Even again, and never 0, which means that nothing was reported.
        let even = sequence.wrapping_add(2).max(2);
        self.sequence
            .store(even, weakened!("progress-ends-relaxed", Ordering::Release));
    }

    /// The latest report, whole; `None` before the first.
    pub fn read(&self) -> Option<Report> {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let percent = self.percent.load(Ordering::Relaxed);
            let message = self.message.load();
            // What was read above must not be read after the second look at the sequence.
            fenced!("progress-read-without-fence", Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return Some(Report {
                    percent: percent & !NO_MESSAGE_BIT,
                    message: (percent & NO_MESSAGE_BIT == 0).then_some(message),
                });
            }
            spin_hint();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_before_the_first_report() {
        let progress = Progress::default();
        assert_eq!(progress.read(), None);
        progress.report(40, Some(b"half"));
        assert_eq!(
            progress.read(),
            Some(Report {
                percent: 40,
                message: Some(b"half".to_vec())
            })
        );
        progress.report(50, None);
        assert_eq!(progress.read().unwrap().message, None);
        progress.reset();
        assert_eq!(progress.read(), None);
    }
}
