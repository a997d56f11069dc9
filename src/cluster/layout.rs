//! How shared memory is laid out, and how large its parts are.
//!
//! What many processes write has a cache line of its own ([`Line`]), apart from other such words and from what
//! everybody only reads. A table in `docs/architecture.md` lists the lines that a launch writes.
//!
//! | field of the root | written by | when, or what it contains |
//! |---|---|---|
//! | `processors` | the process that makes the root | before others see it |
//! | `create_lock`, `pool_lock`, `tranche` | the first process that attaches | once, under a lock of the server that each process takes before it looks |
//! | `control`, `arena` | the process that makes the segments, under `create_lock` | once; 0 before. `control` is written last and is also read without the lock: a process that finds it finds all else |
//! | `idle_spinning` | every process | counts the idle workers that spin now |
//! | `spill_number` | every process | grows with every spill file |
//! | `spill_files` | every process | counts the spill files |
//! | `blocks` | every process | counts the blocks in each segment of the arena |
//! | `segment_bytes`, `segments` | every process | counts the segments with one block each; claimed before one is made |
//! | `published` | processes that have read the configuration | the values of a few settings ([`crate::settings::published`]) |
//! | `arena_limit` | every process | the limit that the arena was last given |
//! | `area_size` | the process that makes the segments | the offset at which the arena keeps its size |

use crate::settings;
use crate::settings::published::PublishedValues;
use engine::block_ref::ARENA_SEGMENTS;
use engine::pool::usage::Usage;
use engine::pool::{Lane, Leader, Totals, WorkerSlot};
use engine::sync::{AtomicU32, AtomicU64};
use engine::table::{FreeList, Slot};
use pgrx::pg_sys;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};

/// The version of the layout of shared memory. A change of any structure there, or of a worker's argument, needs a new
/// version. It is a macro because names are made from it at compile time.
macro_rules! layout_version {
    () => {
        6
    };
}

/// Name of the workers' entry function. It contains the layout version: after an upgrade of the library, a session that
/// still has the old one cannot start a worker with another layout.
macro_rules! worker_entry {
    () => {
        concat!(
            "pg_background_worker_layout_",
            $crate::cluster::layout::layout_version!()
        )
    };
}

pub(crate) use {layout_version, worker_entry};

/// Name of the root.
pub(super) const ROOT_NAME: &CStr =
    zero_terminated(concat!("pg_background 3 layout ", layout_version!(), "\0"));

/// [`worker_entry`], as it is passed to the server.
pub const WORKER_ENTRY: &CStr = zero_terminated(concat!(worker_entry!(), "\0"));

const fn zero_terminated(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("one zero byte, at the end"),
    }
}

/// How many lanes can have jobs or workers at a time. A lane that has neither makes room for another.
pub(super) const LANES: usize = 1024;

/// How many login roles can have jobs at a time. Each has at least one lane.
pub(super) const ROLES: usize = LANES;

/// Shared memory that is in no cache line with anything else. The server places structures of shared memory at such a
/// boundary (`ShmemAllocRaw`), and some processors fetch lines in pairs.
#[repr(C, align(128))]
pub(super) struct Line<T>(pub(super) T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[repr(C)]
pub(super) struct Root {
    pub(super) create_lock: SharedLock,
    pub(super) tranche: i32,
    pub(super) control: AtomicU32,
    pub(super) arena: u32,
    pub(super) processors: u32,
    pub(super) published: PublishedValues,
    pub(super) arena_limit: AtomicU64,
    pub(super) area_size: usize,
    pub(super) spill_number: AtomicU64,
    pub(super) spill_files: AtomicU64,
    pub(super) segment_bytes: AtomicU64,
    pub(super) segments: AtomicU32,
    pub(super) pool_lock: Line<SharedLock>,
    pub(super) idle_spinning: Line<AtomicU32>,
    pub(super) blocks: Line<[AtomicU32; ARENA_SEGMENTS]>,
}

/// A larger block has a segment of its own. The server has 64 segments and 5 more for each connection, some 600 with
/// the default of 100 connections, and needs one for each parallel query. Because segments start at this size, 80 of
/// them use up the default `max_memory`.
pub const LARGE: usize = 4 * 1024 * 1024;

/// The size of a segment is rounded up to this: a page of the system.
pub(super) const PAGE: u64 = 4096;

/// The default limit has this much memory for each slot of the job table. A job with a usual request and the default
/// result ring has a block of less than 80 kB, so the arena's half is enough for a full table of such jobs.
pub(super) const MEMORY_PER_JOB: u64 = 160 * 1024;

/// The smallest default limit: half of it is enough for a job with the largest result ring, 256 MB.
pub(super) const MIN_DEFAULT_MEMORY: u64 = 640 * 1024 * 1024;

/// The server's spare memory for libraries that are not preloaded is small, and others use it too.
pub(super) const ROOT_LIMIT: usize = 16 * 1024;

static_assertions::const_assert!(size_of::<Root>() <= ROOT_LIMIT);

// Other processes change the lock while there is a reference to it. Without a cell around it the compiler could assume
// that it does not change.
static_assertions::assert_not_impl_any!(SharedLock: std::panic::RefUnwindSafe);

static_assertions::const_assert_eq!(size_of::<SharedLock>(), size_of::<pg_sys::LWLock>());

/// First bytes of the control segment.
#[repr(C, align(64))]
pub(super) struct Control {
    pub(super) jobs: u32,
    pub(super) lanes: u32,
    pub(super) workers: u32,
    pub(super) leaders: u32,
    pub(super) roles: u32,
    pub(super) free: FreeList,
    pub(super) totals: Totals,
}

// All processes must see the same layout.
static_assertions::const_assert_eq!(size_of::<Slot>() % 64, 0);

static_assertions::const_assert!(size_of::<Slot>() <= 512);

static_assertions::const_assert_eq!(size_of::<Lane>(), 128);

static_assertions::const_assert_eq!(size_of::<WorkerSlot>(), 128);

static_assertions::const_assert_eq!(size_of::<Leader>(), 128);

static_assertions::const_assert_eq!(size_of::<Usage>(), 64);

static_assertions::const_assert_eq!(size_of::<FreeList>(), 64);

static_assertions::const_assert_eq!(size_of::<Totals>(), 192);

static_assertions::const_assert_eq!(size_of::<Control>(), 320);

static_assertions::const_assert_eq!(size_of::<engine::job::JobWord>(), 8);

static_assertions::const_assert_eq!(size_of::<engine::worker::WorkerWord>(), 8);

impl Control {
    pub(super) fn size(jobs: usize, workers: usize, leaders: usize) -> usize {
        size_of::<Self>()
            + jobs * size_of::<Slot>()
            + LANES * size_of::<Lane>()
            + workers * size_of::<WorkerSlot>()
            + leaders * size_of::<Leader>()
            + ROLES * size_of::<Usage>()
    }
}

/// A lock in shared memory. The server changes it while there are references to the struct that contains it.
#[repr(transparent)]
pub(super) struct SharedLock(UnsafeCell<pg_sys::LWLock>);

// SAFETY: only the server's LWLock functions access its contents, and they are made for concurrent use.
unsafe impl Sync for SharedLock {}

impl SharedLock {
    pub(super) fn get(&self) -> *mut pg_sys::LWLock {
        self.0.get()
    }
}

pub(super) unsafe extern "C-unwind" fn initialize_root(root: *mut c_void) {
    let root = root.cast::<Root>();
    // Once for all processes: it takes a dozen system calls.
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    // SAFETY: fresh memory of the root's size that no other process sees yet.
    unsafe { (*root).processors = processors };
}

/// # Safety
/// `control` points at a fresh segment of the right size.
pub(super) unsafe fn initialize_control(
    control: *mut Control,
    jobs: usize,
    workers: usize,
    leaders: usize,
) {
    // SAFETY: by the caller; no other process has the segment's handle yet.
    unsafe {
        control.write(Control {
            jobs: jobs as u32,
            lanes: LANES as u32,
            workers: workers as u32,
            leaders: leaders as u32,
            roles: ROLES as u32,
            free: FreeList::default(),
            totals: Totals::default(),
        });
        let slots = control.add(1).cast::<Slot>();
        for index in 0..jobs {
            slots.add(index).write(Slot::default());
        }
        let lanes = slots.add(jobs).cast::<Lane>();
        for index in 0..LANES {
            lanes.add(index).write(Lane::default());
        }
        let worker_slots = lanes.add(LANES).cast::<WorkerSlot>();
        for index in 0..workers {
            worker_slots.add(index).write(WorkerSlot::default());
        }
        let leader_entries = worker_slots.add(workers).cast::<Leader>();
        for index in 0..leaders {
            leader_entries.add(index).write(Leader::default());
        }
        let usages = leader_entries.add(leaders).cast::<Usage>();
        for index in 0..ROLES {
            usages.add(index).write(Usage::default());
        }
    }
}

/// The arrays that follow the header of the control segment.
pub(super) struct ControlParts {
    pub(super) slots: &'static [Slot],
    pub(super) lanes: &'static [Lane],
    pub(super) workers: &'static [WorkerSlot],
    pub(super) leaders: &'static [Leader],
    pub(super) usages: &'static [Usage],
}

/// # Safety
/// `control` points at an initialized control segment whose mapping is pinned.
pub(super) unsafe fn parts(control: *const Control) -> ControlParts {
    // SAFETY: laid out by `initialize_control`; only atomics inside, so shared references are sound while
    // other processes write.
    unsafe {
        let slots = control.add(1).cast::<Slot>();
        let lanes = slots.add((*control).jobs as usize).cast::<Lane>();
        let workers = lanes.add((*control).lanes as usize).cast::<WorkerSlot>();
        let leaders = workers.add((*control).workers as usize).cast::<Leader>();
        let usages = leaders.add((*control).leaders as usize).cast::<Usage>();
        ControlParts {
            slots: std::slice::from_raw_parts(slots, (*control).jobs as usize),
            lanes: std::slice::from_raw_parts(lanes, (*control).lanes as usize),
            workers: std::slice::from_raw_parts(workers, (*control).workers as usize),
            leaders: std::slice::from_raw_parts(leaders, (*control).leaders as usize),
            usages: std::slice::from_raw_parts(usages, (*control).roles as usize),
        }
    }
}

/// `pg_background.max_memory` as this process knows it, in bytes, for a job table with `jobs` slots.
pub(super) fn memory_limit_for(jobs: usize) -> u64 {
    settings::max_memory().map_or_else(
        || (jobs as u64 * MEMORY_PER_JOB).max(MIN_DEFAULT_MEMORY),
        |limit| limit as u64,
    )
}

/// Half of the limit: the arena has one half, the segments have the other.
pub(super) fn half_of(limit: u64) -> u64 {
    limit / 2
}
