//! What a process does to shared words, as DEBUG lines.
//!
//! * **Events** are for people, at DEBUG1: what was asked of a job and how it ended
//!   (`pg_background: job INDEX/GENERATION ...`).
//! * **Transitions** are for the server's log, at DEBUG2: each change of a job word, a worker word, a gate or a usage
//!   ([`engine::transitions`]), in the form of [`protocol_kit::line`]. No client sees them: a process changes words that
//!   other users' jobs share with it.
//!
//! A transition is made in the middle of a protocol, often under the pool lock, where no line can be written. So the
//! process remembers it ([`remember`]) and writes it later ([`write_transitions`]). The lines of one process are in the
//! order of its transitions; those of several processes may come in any order. Each line has the states before and after,
//! so that `tests/trace` can put them in order.
//!
//! The end of a job is written as an event before other processes can see it, so it comes before the events of what the
//! leader does next.
//!
//! A line that is not logged costs a comparison of levels: nothing is formatted. A line can be written anywhere outside
//! the pool lock, because it never throws and processes no interrupt. But it may end the process, as any line may (the
//! log hook of another library can raise a FATAL), and in a process that exits, an error in it is another exit. So a
//! line is written only while the rest of the work is noted for the exit callbacks, or when there is no more work.

use crate::cluster::attach::attached;
use crate::cluster::job::Job;
use crate::pg::local::Local;
use crate::pg::shim;
use arrayvec::ArrayString;
use engine::job::End;
use engine::pool::index_of;
use engine::transitions::{GATE, Gate};
use protocol_kit::line::Line;
use protocol_kit::observe::{self, Made};
use std::fmt;
use std::fmt::Write as _;

/// Something that is worth a line at DEBUG1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The job waits for a worker.
    Queued,
    /// It was dispatched to the idle worker with this pid.
    Dispatched(u32),
    /// Its worker exits and had not begun it.
    Returned,
    /// Its worker was asked to cancel it.
    Canceling,
    /// Its worker was asked to exit.
    Terminating,
    /// It had finished, so there was nothing to cancel.
    TooLate,
    /// It has ended; other processes see that next.
    Ended(End),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "is queued",
            Self::Dispatched(pid) => {
                return write!(f, "is dispatched to the worker with PID {pid}");
            }
            Self::Returned => "is returned by a worker that had not begun it",
            Self::Canceling => "has a cancel requested",
            Self::Terminating => "has its worker terminated",
            Self::TooLate => "had finished before it was canceled",
            Self::Ended(End::Completed) => "is completed",
            Self::Ended(End::Failed) => "has failed",
            Self::Ended(End::Canceled) => "is canceled",
        })
    }
}

/// A zero-terminated line. One that is longer than any line of ours is cut.
fn line_of(text: fmt::Arguments<'_>) -> ArrayString<251> {
    let mut words = ArrayString::<250>::new();
    let _ = words.write_fmt(text);
    let mut line = ArrayString::new();
    line.push_str(&words);
    line.push('\0');
    line
}

fn write_event(text: fmt::Arguments<'_>) {
    write_transitions();
    // SAFETY: neither throws; the text is zero-terminated.
    unsafe {
        if shim::pgb_events_are_read() {
            shim::pgb_write_event(line_of(text).as_ptr().cast());
        }
    }
}

fn write_transition(text: fmt::Arguments<'_>, is_first: bool) {
    // SAFETY: never throws; the text is zero-terminated.
    unsafe { shim::pgb_write_transition(line_of(text).as_ptr().cast(), is_first) };
}

/// Writes the line of an event, after the transitions that led to it. Not under the pool lock.
pub fn event(job: Job, event: Event) {
    let (index, generation) = (job.id.index, job.id.generation.get());
    write_event(format_args!("job {index}/{generation} {event}"));
}

/// More than a process makes between two calls of [`write_transitions`].
const CAPACITY: usize = 1024;

/// Transitions that are not written yet: a circular buffer.
struct Remembered {
    first: usize,
    len: usize,
    /// How many had no room.
    lost: usize,
    made: [Option<Made>; CAPACITY],
}

impl Remembered {
    fn push(&mut self, made: &Made) {
        if self.len > 0 && is_round_trip(self.last(), made) {
            self.len -= 1;
            return;
        }
        if self.len == CAPACITY {
            self.lost += 1;
            return;
        }
        self.made[(self.first + self.len) % CAPACITY] = Some(*made);
        self.len += 1;
    }

    fn last(&self) -> &Made {
        let last = &self.made[(self.first + self.len - 1) % CAPACITY];
        last.as_ref().expect("it was remembered")
    }

    fn pop(&mut self) -> Option<Made> {
        if self.len == 0 {
            self.first = 0;
            return None;
        }
        let made = self.made[self.first];
        self.first = (self.first + 1) % CAPACITY;
        self.len -= 1;
        made
    }
}

/// A session that has entered its gate, and left it having done nothing, has changed nothing. Most calls are such, and
/// their lines would be nine in ten of all.
fn is_round_trip(last: &Made, made: &Made) -> bool {
    std::ptr::eq(made.table, &GATE)
        && last.address == made.address
        && last.transition == Gate::Enter as usize
        && made.transition == Gate::Leave as usize
        && last.before == made.after
        && last.after == made.before
}

static REMEMBERED: Local<Remembered> = Local::new(Remembered {
    first: 0,
    len: 0,
    lost: 0,
    made: [None; CAPACITY],
});

/// Has each transition of this process remembered from now on.
pub fn begin() {
    observe::set(remember);
}

fn remember(made: &Made) {
    REMEMBERED.with(|remembered| remembered.push(made));
}

/// Writes the transitions that this process has made since the last call. Not under the pool lock.
pub fn write_transitions() {
    if REMEMBERED.with(|remembered| remembered.len == 0) {
        return;
    }
    // SAFETY: compares levels.
    let is_read = unsafe { shim::pgb_transitions_are_read() };
    let Some(cluster) = attached().filter(|_| is_read) else {
        REMEMBERED.with(|remembered| {
            (remembered.first, remembered.len, remembered.lost) = (0, 0, 0);
        });
        return;
    };
    let mut is_first = true;
    // One at a time: a line may end the process, whose exit then writes the others.
    while let Some(made) = REMEMBERED.with(Remembered::pop) {
        let decode = made.table.decode;
        let line = Line {
            table: made.table,
            index: index_of(&cluster.pool().shared().words(), &made),
            transition: made.transition,
            before: decode(made.before),
            after: decode(made.after),
        };
        write_transition(format_args!("{line}"), is_first);
        is_first = false;
    }
    let lost = REMEMBERED.with(|remembered| std::mem::take(&mut remembered.lost));
    if lost > 0 {
        write_transition(
            format_args!("{lost} transitions could not be remembered"),
            false,
        );
    }
}

/// Writes that this worker exits, and how.
pub fn worker_exits(how: &str) {
    write_event(format_args!("worker exits: {how}"));
}

/// Writes to the log why this process does not become a worker.
pub fn not_attached(why: &str) {
    // SAFETY: never throws; `why` has so many bytes.
    unsafe { shim::pgb_log_unattached(why.as_ptr().cast(), why.len()) };
}
