//! Fault points: places in the protocols at which a test can make a process fail.
//!
//! `fault!("name")` (in C `PGB_FAULT("name")`) marks a place between two steps of a protocol. In every ordinary
//! build it is nothing at all. A build with the feature `faults` looks there into a table in shared memory,
//! in which a test has armed the point: for leaders, workers or both, and at which passing. It strikes once:
//!
//! | fault | what happens |
//! |---|---|
//! | `error` | an ERROR is raised, as by any call into the server |
//! | `exit` | a FATAL: the process runs its exit callbacks, nothing is unwound |
//! | `stall` | the process sleeps until the test lifts the fault, or an interrupt ends the wait, where one can |
//!
//! A point admits what can happen in its section of code, and nothing else: an error raised where the code relies
//! on there being none shows nothing. The table of all points is `fault/points.rs`; it says for each what the code
//! around it does, and in which occasion of the driver (`tests/faults`) either side passes it. The driver goes
//! through that table, so a point cannot be forgotten; one that is not in it does not compile (or, in C, raises an
//! error when it is passed).
//!
//! SQL reaches it through `api/fault.rs`. The words of an entry:
//!
//! | state | set by | when |
//! |---|---|---|
//! | `IDLE` | the test | it lifts the fault |
//! | `ARMED` | the test | the other words are filled in |
//! | `STRUCK` | the process that was struck | before it fails |
//! | `STALLED` | likewise | before it sleeps; `who` tells its doorbell |

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
    use crate::pg::error::Error;
    use crate::pg::local::Local;
    use crate::pg::process::{own_proc, wake};
    use crate::pg::shim::guarded;
    use crate::pg::wait_event::WaitEvent;
    use crate::pg::{exit, library, process, shim};
    use engine::process_ref::ProcRef;
    use engine::sync::{AtomicU32, AtomicU64, Ordering};
    use engine::wait::{Latch, Micros, condition, wait_for};
    use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_SYSTEM_ERROR;
    use pgrx::pg_sys::panic::ErrorReport;
    use pgrx::{PgLogLevel, pg_guard, pg_sys};
    use std::ffi::{CStr, c_char, c_void};

    const IDLE: u32 = 0;
    const ARMED: u32 = 1;
    const STRUCK: u32 = 2;
    const STALLED: u32 = 3;

    /// What can be done to a process.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Fault {
        /// An ERROR.
        Error,
        /// A FATAL.
        Exit,
        /// It sleeps.
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
        /// Passings until it strikes.
        passings_left: AtomicU32,
        /// Who armed it, and is spared.
        armed_by: AtomicU64,
        struck: AtomicU64,
    }

    #[repr(C)]
    struct Table([Entry; POINTS.len()]);

    const TABLE_NAME: &CStr = c"pg_background faults";

    static TABLE: Local<Option<&'static Table>> = Local::new(None);

    unsafe extern "C-unwind" fn all_idle(_table: *mut c_void) {}

    fn entry(point: usize) -> &'static Entry {
        let table = TABLE.get().unwrap_or_else(|| {
            // SAFETY: found or made zeroed, which is a valid table, and there until the server ends.
            let table = unsafe {
                let size = size_of::<Table>();
                let start = guarded(|| shim::pgb_root(TABLE_NAME.as_ptr(), size, all_idle));
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

    /// A process passes a point.
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
                ErrorReport::new(
                    ERRCODE_SYSTEM_ERROR,
                    format!("fatal fault at \"{name}\""),
                    "pg_background",
                )
                .report(PgLogLevel::FATAL);
            }
        }
    }

    /// Sleeps on the process's latch, wherever it is: there may be no cluster yet.
    struct FaultLatch;

    impl Latch for FaultLatch {
        fn now(&self) -> Micros {
            process::now()
        }

        fn spin_limit(&self) -> Micros {
            0
        }

        fn interrupted(&self) -> bool {
            false
        }

        fn sleep(&self, until: Option<Micros>) {
            process::sleep(WaitEvent::Wait, until);
        }
    }

    fn stall(entry: &Entry, section: Section) {
        let uninterruptible = u32::from(!section.processes_interrupts());
        // SAFETY: the server's count of holds; given back below, since nothing is thrown while it is held.
        unsafe { pg_sys::InterruptHoldoffCount += uninterruptible };
        entry.state.store(STALLED, Ordering::Release);
        let look = || (entry.state.load(Ordering::Acquire) != STALLED).then_some(());
        let _ = wait_for(&FaultLatch, None, &mut condition(|| {}, look));
        // SAFETY: as above.
        unsafe { pg_sys::InterruptHoldoffCount -= uninterruptible };
    }

    /// Arms a point: it strikes at the passing number `passing`, counted from 1, of a process on one of `sides`
    /// other than this one.
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

    /// Lifts a fault: it strikes no more, and who stalls goes on.
    pub fn lift(point: usize) {
        let entry = entry(point);
        if entry.state.swap(IDLE, Ordering::AcqRel) == STALLED
            && let Some(stalled) = ProcRef::from_bits(entry.struck.load(Ordering::Relaxed))
        {
            wake(stalled);
        }
    }

    /// What became of a fault, and the process that it struck, if it has.
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

    /// A point in C.
    ///
    /// # Safety
    /// `name` is zero-terminated.
    #[pg_guard]
    #[unsafe(no_mangle)]
    unsafe extern "C-unwind" fn pgb_fault(name: *const c_char) {
        // SAFETY: by the caller.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        match points::named(name) {
            Some(point) => pass(point),
            None => panic!("there is no fault point {}", String::from_utf8_lossy(name)),
        }
    }
}
