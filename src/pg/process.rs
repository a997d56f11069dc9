//! This process and others: process references, clocks, sleeping on the latch, waking another process.

use crate::pg::server;
use crate::pg::shim;
use crate::pg::wait_event::WaitEvent;
use engine::process_ref::ProcRef;
use engine::wait::Micros;
use pgrx::pg_sys;

/// This process.
pub fn own_proc() -> ProcRef {
    // SAFETY: set before any extension code runs, constant for the life of the process.
    unsafe { ProcRef::new(own_procno(), pg_sys::MyProcPid as u32) }
}

#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
unsafe fn own_procno() -> u32 {
    // SAFETY: `MyProc` points at this process's PGPROC for as long as extension code runs.
    unsafe { (*pg_sys::MyProc).pgprocno as u32 }
}

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
unsafe fn own_procno() -> u32 {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::MyProcNumber as u32 }
}

fn proc_of(proc: ProcRef) -> *mut pg_sys::PGPROC {
    // SAFETY: PGPROCs live as long as the postmaster, and the number is that of a PGPROC.
    unsafe { (*pg_sys::ProcGlobal).allProcs.add(proc.procno() as usize) }
}

/// Sets the latch of a process, which then checks its words again. If the process has exited, the process that has its
/// PGPROC now wakes up once for nothing.
pub fn wake(proc: ProcRef) {
    // SAFETY: the latch of a PGPROC.
    unsafe { server::SetLatch(&raw mut (*proc_of(proc)).procLatch) };
}

/// Whether a process is not sleeping on its latch. Setting the latch then costs no system call, and the process sees
/// its words without being woken. The result may be outdated when it is used.
pub fn is_awake(proc: ProcRef) -> bool {
    // SAFETY: the latch of a PGPROC; its owner sets this volatile flag before it sleeps.
    unsafe { (&raw const (*proc_of(proc)).procLatch.maybe_sleeping).read_volatile() == 0 }
}

/// Whether a process waits for something that another process or its client may have to do: a lock, a message, a job.
/// Waits that end by themselves, such as for a disk or an LWLock, do not count. The result may be outdated when it is
/// used.
pub fn waits_for_others(proc: ProcRef) -> bool {
    // SAFETY: a field of a PGPROC; a number that its owner stores.
    let wait_event = unsafe { (&raw const (*proc_of(proc)).wait_event_info).read_volatile() };
    // Since 19 a process waits in the same way for the content of a buffer, and for others to let go of it.
    #[cfg(feature = "pg19")]
    if wait_event & WAIT_CLASS_MASK == pg_sys::PG_WAIT_BUFFER {
        return wait_event == pg_sys::WaitEventBuffer::WAIT_EVENT_BUFFER_CLEANUP;
    }
    !matches!(
        wait_event & WAIT_CLASS_MASK,
        WAITS_FOR_NOTHING | pg_sys::PG_WAIT_LWLOCK | pg_sys::PG_WAIT_IO
    )
}

/// The bits of the class of a wait event (`wait_event.h`).
const WAIT_CLASS_MASK: u32 = 0xFF00_0000;

const WAITS_FOR_NOTHING: u32 = 0;

/// The moment so many milliseconds from now.
pub fn in_ms(milliseconds: i32) -> Micros {
    now() + milliseconds as Micros * 1000
}

/// `deadlock_timeout`.
pub fn deadlock_timeout() -> Micros {
    // SAFETY: a plain setting.
    unsafe { pg_sys::DeadlockTimeout as Micros * 1000 }
}

/// The time on a clock that all processes share and nobody can set: for all comparisons.
pub fn now() -> Micros {
    // SAFETY: reads the clock.
    unsafe { shim::pgb_now() }
}

/// The time on the clock that users see, which can be set: for display. Its type is not [`Micros`], so the two cannot
/// be confused.
pub fn timestamp() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { server::GetCurrentTimestamp() }
}

/// Processes what a process may process only between two statements: pending invalidation messages, a reload of the
/// configuration. `true`: the configuration was read again.
pub fn absorb_idle_interrupts() -> bool {
    // SAFETY: one call of the shim, outside a transaction.
    unsafe { shim::pgb_idle_interrupts() }
}

/// Sleeps until the latch is set or `until` has come. Then resets the latch and processes interrupts, one of which may
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
        server::WaitLatch(pg_sys::MyLatch, events as i32, timeout, wait_event.number());
        server::ResetLatch(pg_sys::MyLatch);
    }
    server::check_for_interrupts();
}
