//! What the processes of the cluster share, and this process's handle on it.
//!
//! * The **root**, a few hundred bytes in main shared memory, found or made under the server's own lock.
//!   Its name carries the layout version, so two libraries of different layout never meet.
//! * The **control segment**: job table, lanes, workers, sessions. One dynamic segment, pinned, made on first use.
//! * The **arena**: one pinned area for what comes in all sizes.
//!
//! | field of the root | written by | when |
//! |---|---|---|
//! | `create_lock`, `pool_lock`, `tranche`, `processors` | who makes the root | before anyone sees it |
//! | `control`, `arena` | who makes the segments, under `create_lock` | once; 0 before |
//! | `idle_spinning` | everyone | counts the idle workers that spin now |
//! | `spill_number` | everyone | grows with every spill file |
//! | `spill_files`, `spill_bytes` | everyone | counts the spill files and what is in them |
//! | `arena_bytes`, `blocks` | everyone | counts what is allocated, in all and by segment |
//!
//! A crash of the server takes all of it away, and every process with it; so a process may keep what it
//! attached for as long as it lives.

use crate::engine::party::Party;
use crate::engine::pool::{Doorbells, Lane, Leader, Pool, PoolLock, Totals, Worker};
use crate::engine::sync::{AtomicU32, AtomicU64, Ordering};
use crate::engine::table::{FreeList, JobId, JobTable, Slot};
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim::guarded;
use crate::pg::{exit, settings, shim, wait_event};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_OUT_OF_MEMORY,
};
use std::ffi::{CStr, c_void};

/// Name of the root: the number is the version of everything laid out in shared memory. A change of any
/// structure there, or of what a worker is given, takes a new one; [`WORKER_ENTRY`] likewise.
const ROOT_NAME: &CStr = c"pg_background 3 layout 1";

/// Name of the workers' entry function, with the layout version: after an upgrade of the library a
/// session that still has the old one cannot start a worker that speaks another layout.
pub const WORKER_ENTRY: &CStr = c"pg_background_worker_layout_1";

/// Lanes with jobs or workers at a time. A lane without either makes room for another.
const LANES: usize = 1024;

#[repr(C)]
struct Root {
    create_lock: pg_sys::LWLock,
    pool_lock: pg_sys::LWLock,
    tranche: i32,
    control: u32,
    arena: u32,
    idle_spinning: AtomicU32,
    processors: u32,
    spill_number: AtomicU64,
    spill_files: AtomicU64,
    spill_bytes: AtomicU64,
    arena_bytes: AtomicU64,
    blocks: [AtomicU32; SEGMENTS],
}

/// Segments that an arena has at most (`DSA_MAX_SEGMENTS` of dsa.c).
const SEGMENTS: usize = 1024;
/// Where the segment's number is in an arena pointer (`DSA_OFFSET_WIDTH` of dsa.c, 64-bit).
const SEGMENT_SHIFT: u32 = 40;

/// The server's slack for libraries that are not preloaded is small and shared with others.
const ROOT_LIMIT: usize = 16 * 1024;
static_assertions::const_assert!(size_of::<Root>() <= ROOT_LIMIT);

/// First bytes of the control segment.
#[repr(C, align(64))]
struct Control {
    jobs: u32,
    lanes: u32,
    workers: u32,
    leaders: u32,
    free: FreeList,
    totals: Totals,
}

// What other processes map must look the same to all of them.
static_assertions::const_assert_eq!(size_of::<Slot>() % 64, 0);
static_assertions::const_assert!(size_of::<Slot>() <= 512);
static_assertions::const_assert_eq!(size_of::<Lane>(), 64);
static_assertions::const_assert_eq!(size_of::<Worker>(), 64);
static_assertions::const_assert_eq!(size_of::<Leader>(), 64);
static_assertions::const_assert_eq!(size_of::<FreeList>(), 64);
static_assertions::const_assert_eq!(size_of::<Totals>(), 64);
static_assertions::const_assert_eq!(size_of::<Control>(), 192);
static_assertions::const_assert_eq!(size_of::<crate::engine::job::JobWord>(), 8);
static_assertions::const_assert_eq!(size_of::<crate::engine::worker::WorkerWord>(), 8);

impl Control {
    fn size(jobs: usize, workers: usize, leaders: usize) -> usize {
        size_of::<Self>()
            + jobs * size_of::<Slot>()
            + LANES * size_of::<Lane>()
            + workers * size_of::<Worker>()
            + leaders * size_of::<Leader>()
    }
}

/// The pool lock: an LWLock. The server lets go of it when an error passes; nothing that holds it throws.
pub struct PoolLwLock(*mut pg_sys::LWLock);

impl Doorbells for PoolLwLock {
    fn ring(&self, party: Party) {
        crate::pg::latch::ring(party);
    }
}

impl PoolLock for PoolLwLock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        // SAFETY: the lock lives in main shared memory for as long as the process is attached to it.
        // Holding it holds off interrupts, so `body` cannot be jumped out of.
        unsafe { pg_sys::LWLockAcquire(self.0, pg_sys::LWLockMode::LW_EXCLUSIVE) };
        let result = body();
        // SAFETY: acquired above.
        unsafe { pg_sys::LWLockRelease(self.0) };
        result
    }
}

/// This process's handle on what the cluster shares.
pub struct Cluster {
    root: &'static Root,
    pool: Pool<'static, PoolLwLock>,
    area: *mut pg_sys::dsa_area,
    workers: u32,
}

// SAFETY: used on the main thread only, like everything here (see `Local`).
unsafe impl Sync for Cluster {}
// SAFETY: as above.
unsafe impl Send for Cluster {}

static ATTACHED: Local<Option<&'static Cluster>> = Local::new(None);

unsafe extern "C-unwind" fn initialize_root(root: *mut c_void) {
    let root = root.cast::<Root>();
    // SAFETY: fresh memory of the root's size that nobody else sees yet; none of the calls throws.
    unsafe {
        let tranche = pg_sys::LWLockNewTrancheId();
        (*root).tranche = tranche;
        // Once for all processes: finding out takes a dozen system calls.
        (*root).processors =
            std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        pg_sys::LWLockInitialize(&raw mut (*root).create_lock, tranche);
        pg_sys::LWLockInitialize(&raw mut (*root).pool_lock, tranche);
    }
}

/// The cluster's shared state, attached (and made) on first use.
///
/// # Errors
/// 53200 when shared memory is exhausted; the server's own error when main shared memory is.
pub fn cluster() -> Result<&'static Cluster, Error> {
    match ATTACHED.get() {
        Some(cluster) => Ok(cluster),
        None => attach(),
    }
}

/// As [`cluster`], but only if this process is attached already.
pub fn attached() -> Option<&'static Cluster> {
    ATTACHED.get()
}

fn attach() -> Result<&'static Cluster, Error> {
    exit::register();
    wait_event::define();
    // SAFETY: the root stays where it is until the server ends; `initialize_root` keeps its contract.
    let root = unsafe {
        guarded(|| shim::pgb_root(ROOT_NAME.as_ptr(), size_of::<Root>(), initialize_root))
            .cast::<Root>()
    };
    // SAFETY: as above. The control segment is never taken away, so whoever will make it sees 0 here.
    if unsafe { (*root).control } == 0 {
        settings::define();
    }
    // SAFETY: the tranche was set before anyone could see the root. What is palloc'ed or mapped here must
    // outlive the transaction: hence the top memory context, and the pins.
    unsafe {
        pg_sys::LWLockRegisterTranche((*root).tranche, c"pg_background".as_ptr());
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        pg_sys::LWLockAcquire(
            &raw mut (*root).create_lock,
            pg_sys::LWLockMode::LW_EXCLUSIVE,
        );
        let attached = attach_segments(root);
        pg_sys::LWLockRelease(&raw mut (*root).create_lock);
        pg_sys::CurrentMemoryContext = context;
        let cluster: &'static Cluster = Box::leak(Box::new(attached?));
        ATTACHED.set(Some(cluster));
        Ok(cluster)
    }
}

fn out_of_shared_memory() -> Error {
    Error::new(
        ERRCODE_OUT_OF_MEMORY,
        "out of shared memory for background jobs",
    )
    .hint("Free dynamic shared memory, or lower pg_background.max_jobs.")
}

/// # Safety
/// With `create_lock` held, in the top memory context.
unsafe fn attach_segments(root: *mut Root) -> Result<Cluster, Error> {
    // SAFETY: the caller holds the lock, so no one else makes or reads the handles. An error thrown by the
    // server lets go of the lock; a segment made before it is not pinned yet and goes with its owner.
    unsafe {
        let fresh = (*root).control == 0;
        let jobs = settings::max_jobs();
        let workers = pg_sys::max_worker_processes as usize;
        let leaders = (*pg_sys::ProcGlobal).allProcCount as usize;
        let segment = if fresh {
            pg_sys::dsm_create(Control::size(jobs, workers, leaders), 0)
        } else {
            pg_sys::dsm_attach((*root).control)
        };
        if segment.is_null() {
            return Err(out_of_shared_memory());
        }
        let control = pg_sys::dsm_segment_address(segment).cast::<Control>();
        fault!("control-mapped");

        let area = if fresh {
            let tranche = (*root).tranche;
            let area = guarded(|| shim::pgb_create_area(tranche));
            pg_sys::dsa_pin_mapping(area);
            if let Some(limit) = settings::max_memory() {
                pg_sys::dsa_set_size_limit(area, limit);
            }
            initialize_control(control, jobs, workers, leaders);
            fault!("segments-made");
            pg_sys::dsa_pin(area);
            pg_sys::dsm_pin_segment(segment);
            (*root).arena = pg_sys::dsa_get_handle(area);
            (*root).control = pg_sys::dsm_segment_handle(segment);
            area
        } else {
            let area = pg_sys::dsa_attach((*root).arena);
            pg_sys::dsa_pin_mapping(area);
            area
        };
        fault!("segments-mapped");
        // Last: an error above unmaps the segment, so that the session can attach it another time.
        pg_sys::dsm_pin_mapping(segment);

        let (slots, lanes, worker_places, leaders) = parts(control);
        let control = &*control;
        let lock = Box::leak(Box::new(PoolLwLock(&raw mut (*root).pool_lock)));
        let table = JobTable::new(slots, &control.free);
        if fresh {
            table.initialize();
        }
        Ok(Cluster {
            root: &*root,
            pool: Pool::new(table, lanes, worker_places, leaders, &control.totals, lock),
            area,
            workers: control.workers,
        })
    }
}

/// # Safety
/// `control` points at a fresh segment of the right size.
unsafe fn initialize_control(control: *mut Control, jobs: usize, workers: usize, leaders: usize) {
    // SAFETY: by the caller; nobody else has the segment's handle yet.
    unsafe {
        control.write(Control {
            jobs: jobs as u32,
            lanes: LANES as u32,
            workers: workers as u32,
            leaders: leaders as u32,
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
        let places = lanes.add(LANES).cast::<Worker>();
        for index in 0..workers {
            places.add(index).write(Worker::default());
        }
        let entries = places.add(workers).cast::<Leader>();
        for index in 0..leaders {
            entries.add(index).write(Leader::default());
        }
    }
}

/// # Safety
/// `control` points at an initialized control segment whose mapping is pinned.
unsafe fn parts(
    control: *const Control,
) -> (
    &'static [Slot],
    &'static [Lane],
    &'static [Worker],
    &'static [Leader],
) {
    // SAFETY: laid out by `initialize_control`; only atomics inside, so shared references are sound while
    // other processes write.
    unsafe {
        let slots = control.add(1).cast::<Slot>();
        let lanes = slots.add((*control).jobs as usize).cast::<Lane>();
        let places = lanes.add((*control).lanes as usize).cast::<Worker>();
        let leaders = places.add((*control).workers as usize).cast::<Leader>();
        (
            std::slice::from_raw_parts(slots, (*control).jobs as usize),
            std::slice::from_raw_parts(lanes, (*control).lanes as usize),
            std::slice::from_raw_parts(places, (*control).workers as usize),
            std::slice::from_raw_parts(leaders, (*control).leaders as usize),
        )
    }
}

/// Larger allocations have to be asked for specially (`MaxAllocSize` of memutils.h).
const MAX_ALLOC_SIZE: usize = 0x3fff_ffff;

impl Cluster {
    /// Lanes, workers, jobs.
    pub fn pool(&self) -> &Pool<'static, PoolLwLock> {
        &self.pool
    }

    /// The job table.
    pub fn jobs(&self) -> JobTable<'static> {
        self.pool.jobs()
    }

    /// A job's slot.
    pub fn slot(&self, job: JobId) -> &'static Slot {
        self.jobs().slot(job.index)
    }

    /// How many processors there are.
    pub fn processors(&self) -> u32 {
        self.root.processors
    }

    /// How many idle workers spin now.
    pub fn idle_spinning(&self) -> &'static AtomicU32 {
        &self.root.idle_spinning
    }

    /// Places for workers that there are, whatever the settings allow.
    pub fn places(&self) -> usize {
        self.workers as usize
    }

    /// A number that no spill file has had since the server started.
    pub fn next_spill_number(&self) -> u64 {
        self.root.spill_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many spill files there are.
    pub fn spill_files(&self) -> &'static AtomicU64 {
        &self.root.spill_files
    }

    /// How many bytes are in them.
    pub fn spill_bytes(&self) -> &'static AtomicU64 {
        &self.root.spill_bytes
    }

    /// Workers in all lanes at most.
    pub fn worker_cap(&self) -> u32 {
        settings::max_pool_workers().min(self.workers)
    }

    /// Allocates `size` bytes in the arena.
    ///
    /// # Errors
    /// 53200 when the arena is full or at `pg_background.max_memory`.
    pub fn allocate(&self, size: usize) -> Result<pg_sys::dsa_pointer, Error> {
        let mut flags = pg_sys::DSA_ALLOC_NO_OOM as i32;
        if size > MAX_ALLOC_SIZE {
            flags |= pg_sys::DSA_ALLOC_HUGE as i32;
        }
        // SAFETY: the area is attached for the life of the process.
        match unsafe { pg_sys::dsa_allocate_extended(self.area, size, flags) } {
            0 => Err(Error::new(
                ERRCODE_OUT_OF_MEMORY,
                "out of shared memory for background jobs",
            )
            .detail(format_args!("Failed on a request of {size} bytes."))
            .hint("Read or detach finished jobs, or raise pg_background.max_memory.")),
            pointer => {
                self.count(pointer, size);
                Ok(pointer)
            }
        }
    }

    /// As [`allocate`](Self::allocate), without throwing. `None` also during the process's exit.
    pub fn try_allocate(&self, size: usize) -> Option<pg_sys::dsa_pointer> {
        if exit::in_progress() || size > MAX_ALLOC_SIZE {
            return None;
        }
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe { shim::pgb_try_allocate(self.area, size) };
        (pointer != 0).then(|| {
            self.count(pointer, size);
            pointer
        })
    }

    fn count(&self, pointer: pg_sys::dsa_pointer, size: usize) {
        self.root
            .arena_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_add(1, Ordering::Relaxed);
    }

    fn blocks_beside(&self, pointer: pg_sys::dsa_pointer) -> &'static AtomicU32 {
        &self.root.blocks[(pointer >> SEGMENT_SHIFT) as usize % SEGMENTS]
    }

    /// Bytes of all blocks and long errors.
    pub fn arena_bytes(&self) -> u64 {
        self.root.arena_bytes.load(Ordering::Relaxed)
    }

    /// Segments of the arena in which there are blocks.
    pub fn segments_in_use(&self) -> usize {
        let in_use = |blocks: &&AtomicU32| blocks.load(Ordering::Relaxed) != 0;
        self.root.blocks.iter().filter(in_use).count()
    }

    /// Frees the `size` bytes that [`allocate`](Self::allocate) returned. Does not throw.
    pub fn deallocate(&self, pointer: pg_sys::dsa_pointer, size: usize) {
        self.root
            .arena_bytes
            .fetch_sub(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_sub(1, Ordering::Relaxed);
        // SAFETY: by law 3 the caller is the last that knows the pointer.
        unsafe { shim::pgb_free(self.area, pointer) };
    }

    /// Where an arena pointer is in this process.
    pub fn address(&self, pointer: pg_sys::dsa_pointer) -> *mut u8 {
        // SAFETY: a pointer into the area, which maps the segment if this process has not yet.
        unsafe { pg_sys::dsa_get_address(self.area, pointer) }.cast()
    }

    /// As [`address`](Self::address), where nothing may be thrown; `None`: this process cannot map it.
    pub fn reach(&self, pointer: pg_sys::dsa_pointer) -> Option<*mut u8> {
        // SAFETY: as in `address`.
        let map = || unsafe { shim::pgb_reach(self.area, pointer) }.cast::<u8>();
        Some(exit::attempt(pointer, map)).filter(|address| !address.is_null())
    }
}

/// The job table is full.
pub fn no_slot() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_RESOURCES,
        "too many background jobs in the cluster",
    )
    .hint("Read or detach finished jobs, or raise pg_background.max_jobs and restart the server.")
}
