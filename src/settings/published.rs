//! Settings that take effect at a reload, in every process at once.
//!
//! A session reads its configuration again only between two commands, and a worker between two jobs. A session that
//! launches jobs in a loop, in one long command, would use the configuration from the start of the command. So a few
//! settings, with which an administrator stops or limits the jobs of all sessions, are also **published** in the root
//! of shared memory, by processes that have just read them. A process that knows that it is behind uses the published
//! values.
//!
//! # Which process publishes, and when
//!
//! A process is **behind** from the signal of a reload until it has read the configuration again. The postmaster sends
//! that signal to all processes. Client sessions and the extension's workers note it at once, whatever they are doing.
//! (Other background workers may ignore it: they publish nothing, and use the published values.)
//!
//! * A process that needs such a setting and is not behind uses its own value, and publishes it if a different one is
//!   published.
//! * A worker does the same before each job, after it has read the configuration if it was behind. So if an old value
//!   has permitted a launch, the worker of that job publishes the new value: at most one job later, all processes know
//!   it.
//! * A worker that has just started has the values that the postmaster had at the fork. A signal since then may have
//!   been lost before the process could note it. So it publishes a value only if none is published. If its value
//!   differs from the published one, it reads the configuration again.
//!
//! # Order
//!
//! The words are independent of each other, and of everything else in shared memory: no order is needed between them.
//! While the postmaster sends the signal, a process that has not received it may publish an old value over a new one.
//! It will receive the signal. The next process that needs the setting and is not behind publishes the new value again;
//! that is at the latest the next worker that takes a job. No clock is involved: what counts is what a process has
//! read, not when.

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

/// All published settings.
const ALL: [Published; 3] = [
    Published::Enabled,
    Published::MaxPoolWorkers,
    Published::MaxMemory,
];

/// The published values, in the root. 0: nothing is published yet.
#[repr(C)]
pub struct PublishedValues([AtomicU64; ALL.len()]);

/// Set in a word that has a value.
const KNOWN: u64 = 1 << 32;

impl PublishedValues {
    fn read(&self, which: Published) -> Option<i32> {
        let word = self.0[which as usize].load(Ordering::Relaxed);
        (word & KNOWN != 0).then_some(word as u32 as i32)
    }

    fn write(&self, which: Published, value: i32) {
        let word = KNOWN | u64::from(value as u32);
        let at = &self.0[which as usize];
        // Reads first: the value is nearly always the same, and all processes read it.
        if at.load(Ordering::Relaxed) != word {
            at.store(word, Ordering::Relaxed);
        }
    }
}

/// The published values, once this process has attached to shared memory.
static VALUES: Local<Option<&'static PublishedValues>> = Local::new(None);

/// Called when this process has attached to shared memory.
pub fn attach(values: &'static PublishedValues) {
    VALUES.set(Some(values));
}

/// Whether this process notes each signal of a reload, and reads the configuration again as soon as it may.
fn notes_reloads() -> bool {
    // SAFETY: plain globals of this process.
    let is_client = unsafe { pg_sys::MyBackendType == pg_sys::BackendType::B_BACKEND };
    is_client || library::is_own_worker()
}

/// Whether this process knows that its configuration is old, or cannot know whether it is.
fn is_behind() -> bool {
    // SAFETY: a volatile flag that a signal handler sets.
    !notes_reloads() || unsafe { (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 }
}

/// The present value. `own`: the value that this process has read.
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

/// Publishes the values that this process has read. In a worker, before a job.
pub fn publish(own_value: fn(Published) -> i32) {
    if let Some(values) = VALUES.get()
        && !is_behind()
    {
        for which in ALL {
            values.write(which, own_value(which));
        }
    }
}

/// In a worker that has just started: publishes the values that no process has published. If a published value differs
/// from the worker's own, requests that the worker reads the configuration again.
pub fn publish_at_start(own_value: fn(Published) -> i32) {
    let Some(values) = VALUES.get() else { return };
    for which in ALL {
        match values.read(which) {
            None => values.write(which, own_value(which)),
            Some(published) if published == own_value(which) => {}
            // SAFETY: a volatile flag that the signal handler also sets, and that a worker checks between two jobs.
            Some(_) => unsafe { (&raw mut pg_sys::ConfigReloadPending).write_volatile(1) },
        }
    }
}
