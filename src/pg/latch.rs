//! Sleeping on the latch, ringing another process's doorbell.

use crate::engine::party::Party;
use crate::engine::sync::Ordering;
use crate::engine::wait::{Latch, Micros, Patience};
use crate::pg::cluster::Cluster;
use crate::pg::local::Local;
use crate::pg::settings;
use crate::pg::shim::{self, guarded};
use crate::pg::wait_event::WaitEvent;
use pgrx::pg_sys;
use std::cell::Cell;

/// This process.
pub fn own_party() -> Party {
    // SAFETY: set before any extension code runs, constant for the life of the process.
    unsafe { Party::new(own_procno(), pg_sys::MyProcPid as u32) }
}

#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
unsafe fn own_procno() -> u32 {
    // SAFETY: `MyProc` points at this process's PGPROC for as long as extension code runs.
    unsafe { (*pg_sys::MyProc).pgprocno as u32 }
}

#[cfg(any(feature = "pg17", feature = "pg18"))]
unsafe fn own_procno() -> u32 {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::MyProcNumber as u32 }
}

fn proc_of(party: Party) -> *mut pg_sys::PGPROC {
    // SAFETY: PGPROCs live as long as the postmaster, and the number came from one.
    unsafe { (*pg_sys::ProcGlobal).allProcs.add(party.procno() as usize) }
}

/// Rings a doorbell: the process looks at its words again. If it has gone, whoever has its PGPROC now
/// wakes up once for nothing.
pub fn ring(party: Party) {
    // SAFETY: a latch of a PGPROC.
    unsafe { pg_sys::SetLatch(&raw mut (*proc_of(party)).procLatch) };
}

/// Whether a process is not asleep on its latch: ringing it then costs no system call, and it sees its
/// words without being woken. A guess by the time it is used.
pub fn is_awake(party: Party) -> bool {
    // SAFETY: of a PGPROC; a volatile flag that its owner sets before it sleeps.
    unsafe { (&raw const (*proc_of(party)).procLatch.maybe_sleeping).read_volatile() == 0 }
}

/// Whether a process waits for something that may be another's to give: a lock, a message, its client, a job. Not for
/// what ends by itself in a moment: a disk, an LWLock. A guess by the time it is used.
pub fn waits_for_others(party: Party) -> bool {
    // SAFETY: of a PGPROC; a number that its owner stores.
    let wait_event = unsafe { (&raw const (*proc_of(party)).wait_event_info).read_volatile() };
    !matches!(
        wait_event & WAIT_CLASS_MASK,
        WAITS_FOR_NOTHING | pg_sys::PG_WAIT_LWLOCK | pg_sys::PG_WAIT_IO
    )
}

/// The bits that say of which class it is what a process waits for (`wait_event.h`).
const WAIT_CLASS_MASK: u32 = 0xFF00_0000;
const WAITS_FOR_NOTHING: u32 = 0;

/// `deadlock_timeout`.
pub fn deadlock_timeout() -> Micros {
    // SAFETY: a plain setting.
    unsafe { pg_sys::DeadlockTimeout as Micros * 1000 }
}

/// Now, on a clock that all processes share and nobody sets: for everything that is compared.
pub fn now() -> Micros {
    // SAFETY: reads the clock.
    unsafe { shim::pgb_now() }
}

/// Now, on the clock that users see and that can be set: for what is shown. The type keeps it apart from [`Micros`].
pub fn timestamp() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Absorbs what a process may absorb between two statements only: invalidations that it is behind with, a
/// reload of the configuration. `true`: the configuration was read again.
pub fn absorb() -> bool {
    // SAFETY: one call of the shim, outside a transaction.
    unsafe { guarded(|| shim::pgb_idle_interrupts()) }
}

/// Sleeps until the latch is set or `until` has come; then resets it and processes interrupts, one of which may
/// unwind from here.
pub fn sleep(wait_event: WaitEvent, until: Option<Micros>) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH;
    let mut timeout = -1;
    if let Some(until) = until {
        events |= pg_sys::WL_TIMEOUT;
        let millis = until.saturating_sub(now()).div_ceil(1000);
        timeout = millis.min(i32::MAX as u64) as i64;
    }
    // SAFETY: the latch of this process.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, timeout, wait_event.number());
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// What this process has learned about its spins.
static PATIENCE: Local<Patience> = Local::new(Patience::new());

/// The latch of this process, for leaders and workers alike.
pub struct ProcessLatch<'a> {
    cluster: &'static Cluster,
    wait_event: WaitEvent,
    /// An idle worker's: set when the configuration was read again.
    reloaded: Option<&'a Cell<bool>>,
    may_spin: bool,
}

impl ProcessLatch<'static> {
    /// For a session that waits for its jobs.
    pub fn new(cluster: &'static Cluster) -> Self {
        Self {
            cluster,
            wait_event: WaitEvent::Wait,
            reloaded: None,
            may_spin: true,
        }
    }

    /// For a process that leaves, and waits for another to come up: that takes long.
    pub fn without_spin(cluster: &'static Cluster) -> Self {
        Self {
            may_spin: false,
            ..Self::new(cluster)
        }
    }

    /// For a worker that waits for the reader of its job.
    pub fn for_sending(cluster: &'static Cluster) -> Self {
        Self {
            wait_event: WaitEvent::Send,
            ..Self::new(cluster)
        }
    }
}

impl<'a> ProcessLatch<'a> {
    /// For a worker without a job: each sleep also absorbs what only an idle process may.
    pub fn for_idle_worker(cluster: &'static Cluster, reloaded: &'a Cell<bool>) -> Self {
        Self {
            cluster,
            wait_event: WaitEvent::Idle,
            reloaded: Some(reloaded),
            may_spin: true,
        }
    }
}

impl Latch for ProcessLatch<'_> {
    fn now(&self) -> Micros {
        now()
    }

    /// A session spins while its job runs, but of the idle workers only as many as leave a processor to
    /// others: they spin for work that may never come.
    fn spin_limit(&self) -> Micros {
        let limit = settings::spin();
        let processors = self.cluster.processors();
        if processors < 2 || !self.may_spin {
            return 0;
        }
        let limit = PATIENCE.with(|patience| patience.next(limit));
        if limit > 0 && self.reloaded.is_some() {
            let spinning = self.cluster.idle_spinning();
            if spinning.fetch_add(1, Ordering::Relaxed) >= processors - 1 {
                spinning.fetch_sub(1, Ordering::Relaxed);
                return 0;
            }
        }
        limit
    }

    fn may_linger(&self) -> bool {
        settings::spin() > 0 && self.cluster.processors() > 1
    }

    /// Whoever does what is waited for may have been put on this very processor, and others want to run too.
    /// Giving way costs a fraction of a microsecond when nobody does.
    fn pace(&self) {
        std::thread::yield_now();
    }

    fn spun(&self, found: bool) {
        PATIENCE.with(|patience| patience.learn(found));
        if self.reloaded.is_some() {
            self.cluster.idle_spinning().fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn interrupted(&self) -> bool {
        // SAFETY: a volatile flag that signal handlers set.
        unsafe { (&raw const pg_sys::InterruptPending).read_volatile() != 0 }
    }

    fn sleep(&self, until: Option<Micros>) {
        sleep(self.wait_event, until);
        if let Some(reloaded) = self.reloaded
            && absorb()
        {
            reloaded.set(true);
        }
    }
}
