//! The transitions of one run, with who made each, to be read by people.

use engine::pool::{Shared, Words, index_of};
use protocol_kit::line::Line;
use protocol_kit::observe::{self, Made};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the run is noted in, while one is.
struct Trace {
    /// Where its words are.
    words: Vec<Words>,
    lines: Vec<String>,
}

static TRACE: Mutex<Option<Trace>> = Mutex::new(None);

fn trace() -> MutexGuard<'static, Option<Trace>> {
    TRACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next run is noted.
pub fn begin() {
    let (words, lines) = (Vec::new(), Vec::new());
    *trace() = Some(Trace { words, lines });
    observe::set(note);
}

/// Tells where the words of the run are.
pub fn of(shared: &Shared<'_>) {
    if let Some(trace) = &mut *trace() {
        trace.words = shared.words().to_vec();
    }
}

/// What was noted.
pub fn end() -> Vec<String> {
    trace().take().map_or_else(Vec::new, |trace| trace.lines)
}

fn note(made: &Made) {
    let Some(trace) = &mut *trace() else {
        return;
    };
    let decode = made.table.decode;
    let line = Line {
        table: made.table,
        index: index_of(&trace.words, made),
        transition: made.transition,
        before: decode(made.before),
        after: decode(made.after),
    };
    let thread = shuttle::thread::current();
    let name = thread.name().unwrap_or("server");
    trace.lines.push(format!("{name:<16} {line}"));
}
