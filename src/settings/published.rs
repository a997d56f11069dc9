//! What the configuration says now, in whichever process asks.
//!
//! A session reads its configuration again only between two commands, a worker between two jobs. One that
//! launches jobs in a loop, in one long command, would go by what was configured when that began. So a few
//! settings, with which an administrator stops or bounds everybody's jobs, are also **published** in the root of
//! shared memory, by processes that have just read them; one that knows that it is behind goes by those.
//!
//! # Who publishes, and when
//!
//! A process is **behind** from the signal that tells it to read the configuration again until it has. The
//! postmaster sends that signal to all; sessions of clients and our workers note it at once, whatever they do.
//! (Other background workers may ignore it: they publish nothing, and go by what is published.)
//!
//! * Whoever looks at such a setting and is not behind goes by its own value, and publishes it if another is there.
//! * A worker does the same before each job, having read the configuration if it was behind. So a launch that
//!   was allowed on the word of an old value brings the new one: at most one job later everybody knows.
//! * A worker that has just started has what the postmaster had when it forked. A signal since then may have
//!   been lost before the process could note it, so it publishes only what nobody has published; if it differs
//!   from what is published it reads the configuration itself.
//!
//! # Order
//!
//! The words are independent of each other, and of everything else in shared memory: no order is needed between
//! them. While the signal is on its way, a process that has not received it may publish an old value over a new
//! one. It will receive it; the next process that looks without being behind publishes the new value again, and
//! that is the next worker to take a job at the latest. There is no clock in this: what counts is what a process
//! has read, not when.

use crate::pg::library;
use crate::pg::local::Local;
use engine::sync::{AtomicU64, Ordering};
use pgrx::pg_sys;

/// A setting that is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// `pg_background.enabled`, 0 or 1.
    Enabled,
    /// `pg_background.max_pool_workers`.
    MaxPoolWorkers,
    /// `pg_background.max_memory`.
    MaxMemory,
}

/// All of them.
const ALL: [Published; 3] = [
    Published::Enabled,
    Published::MaxPoolWorkers,
    Published::MaxMemory,
];

/// What is published, in the root. 0: nothing yet.
#[repr(C)]
pub struct PublishedValues([AtomicU64; ALL.len()]);

/// Set in a word that says something.
const KNOWN: u64 = 1 << 32;

impl PublishedValues {
    fn read(&self, which: Published) -> Option<i32> {
        let word = self.0[which as usize].load(Ordering::Relaxed);
        (word & KNOWN != 0).then_some(word as u32 as i32)
    }

    fn write(&self, which: Published, value: i32) {
        let word = KNOWN | u64::from(value as u32);
        let at = &self.0[which as usize];
        // Read first: it is nearly always the same, and everybody looks at it.
        if at.load(Ordering::Relaxed) != word {
            at.store(word, Ordering::Relaxed);
        }
    }
}

/// Where the board is, once this process is attached to shared memory.
static VALUES: Local<Option<&'static PublishedValues>> = Local::new(None);

/// This process has attached to shared memory, and this is the board there.
pub fn attach(values: &'static PublishedValues) {
    VALUES.set(Some(values));
}

/// This process notes each signal to read the configuration again, and does so as soon as it may.
fn notes_reloads() -> bool {
    // SAFETY: plain globals of this process.
    let is_client = unsafe { pg_sys::MyBackendType == pg_sys::BackendType::B_BACKEND };
    is_client || library::is_own_worker()
}

/// This process knows that its configuration is old, or cannot know it.
fn is_behind() -> bool {
    // SAFETY: a volatile flag that a signal handler sets.
    !notes_reloads() || unsafe { (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 }
}

/// What the configuration says now. `own`: what this process has read of it.
pub fn current(which: Published, own: i32) -> i32 {
    let Some(values) = VALUES.get() else {
        return own;
    };
    if is_behind() {
        return values.read(which).unwrap_or(own);
    }
    values.write(which, own);
    own
}

/// Publishes what this process has read, which `own` tells. In a worker, before a job.
pub fn publish(own_value: fn(Published) -> i32) {
    if let Some(values) = VALUES.get()
        && !is_behind()
    {
        for which in ALL {
            values.write(which, own_value(which));
        }
    }
}

/// In a worker that has just started: publishes what nobody has; reads the configuration again if it differs from
/// what `own` tells.
pub fn publish_at_start(own_value: fn(Published) -> i32) {
    let Some(values) = VALUES.get() else { return };
    for which in ALL {
        match values.read(which) {
            None => values.write(which, own_value(which)),
            Some(published) if published == own_value(which) => {}
            // SAFETY: the flag that a signal handler sets, and that an idle worker looks at.
            Some(_) => unsafe { (&raw mut pg_sys::ConfigReloadPending).write_volatile(1) },
        }
    }
}
