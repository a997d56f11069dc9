//! How long this process has waited for a processor, as Linux counts it for each process.

use crate::pg::local::Local;
use engine::spin::RunDelayTotals;
use std::fs::File;

/// Source of the counts: `Documentation/scheduler/sched-stats.rst` of Linux.
const FILE: &str = "/proc/self/schedstat";

/// The file, which stays open: reading it again takes less than a microsecond.
enum Source {
    Unopened,
    Open(File),
    /// There is none: another system, or one that does not show it.
    Missing,
}

static SOURCE: Local<Source> = Local::new(Source::Unopened);

/// The counts of this process up to now. `None`: the system does not tell.
pub fn run_delay() -> Option<RunDelayTotals> {
    SOURCE.with(|source| {
        if matches!(source, Source::Unopened) {
            *source = File::open(FILE).map_or(Source::Missing, Source::Open);
        }
        match source {
            Source::Open(file) => read(file),
            _ => None,
        }
    })
}

fn read(file: &File) -> Option<RunDelayTotals> {
    use std::os::unix::fs::FileExt;
    // Three numbers of 64 bits, and what separates them.
    let mut bytes = [0; 64];
    let length = file.read_at(&mut bytes, 0).ok()?;
    RunDelayTotals::parse(bytes.get(..length)?)
}
