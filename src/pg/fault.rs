//! Fault points: points in the protocols at which a test can make a process fail.
//!
//! `fault!("name")` (in C `PGB_FAULT("name")`) marks a point between two steps of a protocol. In ordinary builds it
//! compiles to nothing. A build with the feature `faults` looks there into a table in shared memory, in which a test
//! can arm the point: for leaders, workers or both, and for the n-th time that it is passed. A fault strikes once:
//!
//! | fault | what happens |
//! |---|---|
//! | `error` | an ERROR is raised, as by any call into the server |
//! | `exit` | a FATAL: the process runs its exit callbacks and does not unwind |
//! | `stall` | the process sleeps until the test lifts the fault, or until an interrupt ends the wait, if the section processes interrupts |
//!
//! A point admits only the faults that can happen in its section of code: an error where the code relies on none proves
//! nothing. The table of all points is `fault/points.rs`. It names the section of each point, and the occasions of the
//! driver (`tests/faults`) in which leaders and workers pass it. The driver goes through that table, so no point can be
//! forgotten. A point that is not in the table does not compile (in C, it raises an error when it is passed).
//!
//! The SQL functions are in `api/fault.rs`. The states of an entry:
//!
//! | state | set by | when |
//! |---|---|---|
//! | `IDLE` | the test | when it lifts the fault |
//! | `ARMED` | the test | when the other fields are filled in |
//! | `STRUCK` | the process that was struck | before it fails |
//! | `STALLED` | the process that was struck | before it sleeps; `struck` says whose latch to set |

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "in builds for tests only"
)]

#[cfg(feature = "faults")]
pub use armed::*;

#[cfg(feature = "faults")]
macro_rules! fault {
    ($name:literal) => {
        $crate::pg::fault::pass(const { $crate::pg::fault::points::index_of($name) })
    };
}

#[cfg(not(feature = "faults"))]
macro_rules! fault {
    ($name:literal) => {};
}

#[cfg(feature = "faults")]
pub mod points;

#[cfg(feature = "faults")]
mod armed {
    use super::points::{self, POINTS, Section, Sides};
    use crate::pg::boundary;
    use crate::pg::error::Error;
    use crate::pg::local::Local;
    use crate::pg::process::{own_proc, wake};
    use crate::pg::wait_event::WaitEvent;
    use crate::pg::{error, exit, library, process, shim};
    use engine::process_ref::ProcRef;
    use engine::sync::{AtomicU32, AtomicU64, Ordering};
    use engine::wait::{Latch, Micros, condition, wait_for};
    use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_SYSTEM_ERROR;
    use pgrx::{PgLogLevel, pg_sys};
    use std::ffi::{CStr, c_char, c_void};

    const IDLE: u32 = 0;
    const ARMED: u32 = 1;
    const STRUCK: u32 = 2;
    const STALLED: u32 = 3;

    /// A way in which a process fails.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Fault {
        /// An ERROR.
        Error,
        /// A FATAL.
        Exit,
        /// A sleep.
        Stall,
    }

    impl Fault {
        const ALL: [Self; 3] = [Self::Error, Self::Exit, Self::Stall];

        /// Its name in SQL.
        pub fn name(self) -> &'static str {
            match self {
                Self::Error => "error",
                Self::Exit => "exit",
                Self::Stall => "stall",
            }
        }

        /// The fault of that name.
        pub fn named(name: &[u8]) -> Option<Self> {
            Self::ALL
                .into_iter()
                .find(|fault| fault.name().as_bytes() == name)
        }
    }

    #[repr(C)]
    #[derive(Default)]
    struct Entry {
        state: AtomicU32,
        fault: AtomicU32,
        sides: AtomicU32,
        /// How often the point is still passed until the fault strikes.
        passings_left: AtomicU32,
        /// The process that armed the fault, which does not strike it.
        armed_by: AtomicU64,
        /// The process that the fault has struck.
        struck: AtomicU64,
    }

    #[repr(C)]
    struct Table([Entry; POINTS.len()]);

    const TABLE_NAME: &CStr = c"pg_background faults";

    static TABLE: Local<Option<&'static Table>> = Local::new(None);

    unsafe extern "C-unwind" fn all_idle(_table: *mut c_void) {}

    fn entry(point: usize) -> &'static Entry {
        let table = TABLE.get().unwrap_or_else(|| {
            // SAFETY: the table exists, or is made zeroed, which is a valid table; it stays until the server ends.
            let table = unsafe {
                let size = size_of::<Table>();
                let start = shim::pgb_root(TABLE_NAME.as_ptr(), size, all_idle);
                &*start.cast::<Table>()
            };
            TABLE.set(Some(table));
            table
        });
        &table.0[point]
    }

    fn own_side() -> Sides {
        if library::is_own_worker() {
            Sides::Worker
        } else {
            Sides::Leader
        }
    }

    /// Called when a process passes a point.
    pub fn pass(point: usize) {
        let entry = entry(point);
        if entry.state.load(Ordering::Acquire) != ARMED
            || !Sides::from_bits(entry.sides.load(Ordering::Relaxed)).include(own_side())
            || entry.armed_by.load(Ordering::Relaxed) == own_proc().to_bits()
            || entry.passings_left.fetch_sub(1, Ordering::AcqRel) != 1
        {
            return;
        }
        entry.struck.store(own_proc().to_bits(), Ordering::Relaxed);
        let name = POINTS[point].name;
        match Fault::ALL[entry.fault.load(Ordering::Relaxed) as usize] {
            Fault::Stall => stall(entry, POINTS[point].section),
            Fault::Error if !exit::in_progress() => {
                entry.state.store(STRUCK, Ordering::Release);
                Error::new(ERRCODE_SYSTEM_ERROR, format!("fault at \"{name}\"")).raise();
            }
            // An error during an exit is another exit.
            Fault::Error | Fault::Exit => {
                entry.state.store(STRUCK, Ordering::Release);
                let fault = Error::new(
                    ERRCODE_SYSTEM_ERROR,
                    format_args!("fatal fault at \"{name}\""),
                );
                error::report(PgLogLevel::FATAL, fault);
            }
        }
    }

    /// The process's latch, without the cluster: the process may not have attached yet.
    struct FaultLatch;

    impl Latch for FaultLatch {
        fn now(&self) -> Micros {
            process::now()
        }

        fn spin_limit(&self) -> Micros {
            0
        }

        fn is_interrupted(&self) -> bool {
            false
        }

        fn sleep(&self, until: Option<Micros>) {
            process::sleep(WaitEvent::Wait, until);
        }
    }

    fn stall(entry: &Entry, section: Section) {
        let uninterruptible = u32::from(!section.processes_interrupts());
        // SAFETY: the server's counter; restored below, because nothing is thrown while interrupts are held off.
        unsafe { pg_sys::InterruptHoldoffCount += uninterruptible };
        entry.state.store(STALLED, Ordering::Release);
        let look = || (entry.state.load(Ordering::Acquire) != STALLED).then_some(());
        let _ = wait_for(&FaultLatch, None, &mut condition(|| {}, look));
        // SAFETY: as above.
        unsafe { pg_sys::InterruptHoldoffCount -= uninterruptible };
    }

    /// Arms a point: the fault strikes when a process on one of `sides`, other than this process, passes the point for
    /// the `passing`-th time, counted from 1.
    pub fn arm(point: usize, sides: Sides, fault: Fault, passing: u32) {
        let entry = entry(point);
        entry.sides.store(sides.to_bits(), Ordering::Relaxed);
        entry.fault.store(fault as u32, Ordering::Relaxed);
        entry.passings_left.store(passing, Ordering::Relaxed);
        entry
            .armed_by
            .store(own_proc().to_bits(), Ordering::Relaxed);
        entry.state.store(ARMED, Ordering::Release);
    }

    /// Lifts a fault: it does not strike any more, and a stalled process goes on.
    pub fn lift(point: usize) {
        let entry = entry(point);
        if entry.state.swap(IDLE, Ordering::AcqRel) == STALLED
            && let Some(stalled) = ProcRef::from_bits(entry.struck.load(Ordering::Relaxed))
        {
            wake(stalled);
        }
    }

    /// The state of a fault, and the pid of the process that it has struck, if any.
    pub fn state(point: usize) -> (&'static str, Option<u32>) {
        let entry = entry(point);
        let pid = || ProcRef::from_bits(entry.struck.load(Ordering::Relaxed)).map(ProcRef::pid);
        match entry.state.load(Ordering::Acquire) {
            ARMED => ("armed", None),
            STRUCK => ("struck", pid()),
            STALLED => ("stalled", pid()),
            _ => ("idle", None),
        }
    }

    /// Called when C code passes a point.
    ///
    /// # Safety
    /// `name` is zero-terminated.
    #[unsafe(no_mangle)]
    unsafe extern "C-unwind" fn pgb_fault(name: *const c_char) {
        let body = move || {
            // SAFETY: by the caller.
            let name = unsafe { CStr::from_ptr(name) }.to_bytes();
            match points::named(name) {
                Some(point) => pass(point),
                None => panic!("there is no fault point {}", String::from_utf8_lossy(name)),
            }
        };
        // SAFETY: only C is above this frame, which has nothing to drop.
        unsafe { boundary::enter(body) }
    }
}
