//! How long this process has waited for a processor, as Linux counts it for each process.

use crate::pg::local::Local;
use engine::spin::RunDelayTotals;
use pgrx::pg_sys;
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
    if SOURCE.with(|source| matches!(source, Source::Unopened)) {
        let opened = open().map_or(Source::Missing, Source::Open);
        SOURCE.with(|source| *source = opened);
    }
    SOURCE.with(|source| match source {
        Source::Open(file) => read(file),
        Source::Unopened | Source::Missing => None,
    })
}

/// Opens the file, and counts its descriptor among those that the server does not close. `None` also when the process has
/// too many of them.
fn open() -> Option<File> {
    // SAFETY: counts only.
    if !unsafe { pg_sys::AcquireExternalFD() } {
        return None;
    }
    let file = File::open(FILE).ok();
    if file.is_none() {
        // SAFETY: as above.
        unsafe { pg_sys::ReleaseExternalFD() };
    }
    file
}

fn read(file: &File) -> Option<RunDelayTotals> {
    use std::os::unix::fs::FileExt;
    // Three numbers of 64 bits, and what separates them.
    let mut bytes = [0; 64];
    let length = file.read_at(&mut bytes, 0).ok()?;
    RunDelayTotals::parse(bytes.get(..length)?)
}
