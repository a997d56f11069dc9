//! What the processes of the cluster share, and this process's handle on it.
//!
//! * The **root**, a few hundred bytes in main shared memory, found or made under the server's own lock.
//!   Its name carries the layout version, so two libraries of different layout never meet.
//! * The **control segment**: job table, lanes, workers, sessions. One dynamic segment, pinned, made on first use.
//! * The **arena**: one pinned area for what comes in all sizes.
//! * **Segments** of their own for what is larger than [`LARGE`]: the area never gives back what it has grown to.
//!
//! | field of the root | written by | when |
//! |---|---|---|
//! | `create_lock`, `pool_lock`, `tranche`, `processors` | who makes the root | before anyone sees it |
//! | `control`, `arena` | who makes the segments, under `create_lock` | once; 0 before. `control` last, and read also without the lock: whoever finds it has all else |
//! | `idle_spinning` | everyone | counts the idle workers that spin now |
//! | `spill_number` | everyone | grows with every spill file |
//! | `spill_files`, `spill_bytes` | everyone | counts the spill files and what is in them |
//! | `arena_bytes`, `blocks` | everyone | counts what is allocated, in all and by segment of the arena |
//! | `segment_bytes`, `segments` | everyone | counts the segments of their own; claimed before one is made |
//! | `board` | processes that have read the configuration | what it says of a few settings ([`crate::pg::configuration`]) |
//! | `arena_limit` | everyone | what the arena has been told of `pg_background.max_memory` |
//! | `area_size` | who makes the segments | where the arena says how large it is |
//!
//! # The limit
//!
//! `max_memory` bounds what is taken from the server: the arena may grow to one half of it, the segments together
//! take the other at most. A half that one of them has taken the other never gets; so neither launches with small
//! requests nor those with large ones can shut the others out, and no sum has to be looked at that
//! changes at both ends. A block that finds no room in the arena gets a segment, whatever its size; a large one
//! never goes into the arena.
//!
//! A crash of the server takes all of it away, and every process with it; so a process may keep what it
//! attached for as long as it lives.

use crate::engine::block_ref::{ARENA_SEGMENTS, ArenaPointer, BlockRef};
use crate::engine::party::Party;
use crate::engine::pool::usage::Usage;
use crate::engine::pool::{Doorbells, Lane, Leader, Pool, PoolLock, Totals, Worker};
use crate::engine::sync::{AtomicU32, AtomicU64, Ordering};
use crate::engine::table::{FreeList, JobId, JobTable, Slot};
use crate::pg::configuration::Board;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim::guarded;
use crate::pg::{exit, segment, settings, shim, text, wait_event};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_OUT_OF_MEMORY,
};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};

/// The version of everything laid out in shared memory. A change of any structure there, or of what a worker is given,
/// takes a new one. A macro, because names are made of it when the library is compiled.
macro_rules! layout_version {
    () => {
        3
    };
}

/// Name of the workers' entry function, with the layout version: after an upgrade of the library a
/// session that still has the old one cannot start a worker that speaks another layout.
macro_rules! worker_entry {
    () => {
        concat!(
            "pg_background_worker_layout_",
            $crate::pg::cluster::layout_version!()
        )
    };
}

pub(crate) use {layout_version, worker_entry};

/// Name of the root.
const ROOT_NAME: &CStr =
    zero_terminated(concat!("pg_background 3 layout ", layout_version!(), "\0"));

/// [`worker_entry`], as the server is told it.
pub const WORKER_ENTRY: &CStr = zero_terminated(concat!(worker_entry!(), "\0"));

const fn zero_terminated(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("one zero byte, at the end"),
    }
}

/// Lanes with jobs or workers at a time. A lane without either makes room for another.
const LANES: usize = 1024;

/// Login roles with jobs at a time; each has a lane at least.
const ROLES: usize = LANES;

#[repr(C)]
struct Root {
    create_lock: SharedLock,
    pool_lock: SharedLock,
    tranche: i32,
    control: AtomicU32,
    arena: u32,
    idle_spinning: AtomicU32,
    processors: u32,
    spill_number: AtomicU64,
    spill_files: AtomicU64,
    spill_bytes: AtomicU64,
    arena_bytes: AtomicU64,
    segment_bytes: AtomicU64,
    segments: AtomicU32,
    board: Board,
    arena_limit: AtomicU64,
    area_size: usize,
    blocks: [AtomicU32; ARENA_SEGMENTS],
}

/// What is larger has a segment of its own. The server has 64 segments and 5 for each connection, some 600 with the
/// default of 100 connections, and needs one for each parallel query. With segments from this size on, the default
/// `max_memory` is used up by 80 of them.
pub const LARGE: usize = 4 * 1024 * 1024;

/// What a segment's size is counted in: pages of the system.
const PAGE: u64 = 4096;

/// Memory for each slot of the job table, in the default limit. A job with a default request and result queue has
/// a block of less than 80 kB; so the arena's half is enough for a full table of them.
const MEMORY_PER_JOB: u64 = 160 * 1024;

/// The least default limit: with half of it a job can have the largest result queue, 256 MB.
const LEAST_MEMORY: u64 = 640 * 1024 * 1024;

/// The server's slack for libraries that are not preloaded is small and shared with others.
const ROOT_LIMIT: usize = 16 * 1024;
static_assertions::const_assert!(size_of::<Root>() <= ROOT_LIMIT);
// Others change what is in it while there is a reference to it; what has no cell around it the compiler may take for
// unchanged.
static_assertions::assert_not_impl_any!(SharedLock: std::panic::RefUnwindSafe);
static_assertions::const_assert_eq!(size_of::<SharedLock>(), size_of::<pg_sys::LWLock>());

/// First bytes of the control segment.
#[repr(C, align(64))]
struct Control {
    jobs: u32,
    lanes: u32,
    workers: u32,
    leaders: u32,
    roles: u32,
    free: FreeList,
    totals: Totals,
}

// What other processes map must look the same to all of them.
static_assertions::const_assert_eq!(size_of::<Slot>() % 64, 0);
static_assertions::const_assert!(size_of::<Slot>() <= 512);
static_assertions::const_assert_eq!(size_of::<Lane>(), 64);
static_assertions::const_assert_eq!(size_of::<Worker>(), 64);
static_assertions::const_assert_eq!(size_of::<Leader>(), 128);
static_assertions::const_assert_eq!(size_of::<Usage>(), 64);
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
            + ROLES * size_of::<Usage>()
    }
}

/// A lock in shared memory. The server changes it while others have references to what it is part of.
#[repr(transparent)]
struct SharedLock(UnsafeCell<pg_sys::LWLock>);

// SAFETY: only the server's functions look into it, which are made for that.
unsafe impl Sync for SharedLock {}

impl SharedLock {
    fn get(&self) -> *mut pg_sys::LWLock {
        self.0.get()
    }
}

/// The pool lock: an LWLock. The server lets go of it when an error passes; nothing that holds it throws.
pub struct PoolLwLock(&'static SharedLock);

impl Doorbells for PoolLwLock {
    fn ring(&self, party: Party) {
        crate::pg::latch::ring(party);
    }
}

impl PoolLock for PoolLwLock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        // SAFETY: the lock lives in main shared memory for as long as the process is attached to it.
        // Holding it holds off interrupts, so `body` cannot be jumped out of.
        unsafe { pg_sys::LWLockAcquire(self.0.get(), pg_sys::LWLockMode::LW_EXCLUSIVE) };
        let result = body();
        // SAFETY: acquired above.
        unsafe { pg_sys::LWLockRelease(self.0.get()) };
        result
    }

    /// As an error it would let go of the lock, and all would go on with the lists as they are. The server makes them
    /// anew.
    fn broken(&self, why: &str) {
        // SAFETY: does not return.
        unsafe { shim::pgb_panic(why.as_ptr().cast(), why.len()) }
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
        pg_sys::LWLockInitialize((*root).create_lock.get(), tranche);
        pg_sys::LWLockInitialize((*root).pool_lock.get(), tranche);
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
    if unsafe { (*root).control.load(Ordering::Relaxed) } == 0 {
        settings::define();
    }
    // SAFETY: the tranche was set before anyone could see the root. What is palloc'ed or mapped here must
    // outlive the transaction: hence the top memory context, and the pins.
    unsafe {
        pg_sys::LWLockRegisterTranche((*root).tranche, c"pg_background".as_ptr());
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        pg_sys::LWLockAcquire((*root).create_lock.get(), pg_sys::LWLockMode::LW_EXCLUSIVE);
        let attached = attach_segments(root);
        pg_sys::LWLockRelease((*root).create_lock.get());
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
        let control = (*root).control.load(Ordering::Relaxed);
        let fresh = control == 0;
        let jobs = settings::max_jobs();
        let workers = pg_sys::max_worker_processes as usize;
        let leaders = (*pg_sys::ProcGlobal).allProcCount as usize;
        let segment = if fresh {
            pg_sys::dsm_create(Control::size(jobs, workers, leaders), 0)
        } else {
            pg_sys::dsm_attach(control)
        };
        if segment.is_null() {
            return Err(out_of_shared_memory());
        }
        let control = pg_sys::dsm_segment_address(segment).cast::<Control>();
        fault!("control-mapped");

        let area = if fresh {
            let tranche = (*root).tranche;
            let limit = memory_limit_for(jobs);
            let area_size = &raw mut (*root).area_size;
            let area =
                guarded(|| shim::pgb_create_area(tranche, half_of(limit) as usize, area_size));
            pg_sys::dsa_pin_mapping(area);
            (*root).arena_limit.store(half_of(limit), Ordering::Relaxed);
            initialize_control(control, jobs, workers, leaders);
            fault!("segments-made");
            pg_sys::dsa_pin(area);
            pg_sys::dsm_pin_segment(segment);
            (*root).arena = pg_sys::dsa_get_handle(area);
            let handle = pg_sys::dsm_segment_handle(segment);
            (*root).control.store(handle, Ordering::Relaxed);
            area
        } else {
            let area = pg_sys::dsa_attach((*root).arena);
            pg_sys::dsa_pin_mapping(area);
            area
        };
        fault!("segments-mapped");
        // Last: an error above unmaps the segment, so that the session can attach it another time.
        pg_sys::dsm_pin_mapping(segment);

        let parts = parts(control);
        let control = &*control;
        let lock = Box::leak(Box::new(PoolLwLock(&(*root).pool_lock)));
        let table = JobTable::new(parts.slots, &control.free);
        if fresh {
            table.initialize();
        }
        Ok(Cluster {
            root: &*root,
            pool: Pool::new(
                table,
                parts.lanes,
                parts.workers,
                parts.leaders,
                parts.usages,
                &control.totals,
                lock,
            ),
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
        let places = lanes.add(LANES).cast::<Worker>();
        for index in 0..workers {
            places.add(index).write(Worker::default());
        }
        let entries = places.add(workers).cast::<Leader>();
        for index in 0..leaders {
            entries.add(index).write(Leader::default());
        }
        let usages = entries.add(leaders).cast::<Usage>();
        for index in 0..ROLES {
            usages.add(index).write(Usage::default());
        }
    }
}

/// What the control segment has behind its head.
struct Parts {
    slots: &'static [Slot],
    lanes: &'static [Lane],
    workers: &'static [Worker],
    leaders: &'static [Leader],
    usages: &'static [Usage],
}

/// # Safety
/// `control` points at an initialized control segment whose mapping is pinned.
unsafe fn parts(control: *const Control) -> Parts {
    // SAFETY: laid out by `initialize_control`; only atomics inside, so shared references are sound while
    // other processes write.
    unsafe {
        let slots = control.add(1).cast::<Slot>();
        let lanes = slots.add((*control).jobs as usize).cast::<Lane>();
        let workers = lanes.add((*control).lanes as usize).cast::<Worker>();
        let leaders = workers.add((*control).workers as usize).cast::<Leader>();
        let usages = leaders.add((*control).leaders as usize).cast::<Usage>();
        Parts {
            slots: std::slice::from_raw_parts(slots, (*control).jobs as usize),
            lanes: std::slice::from_raw_parts(lanes, (*control).lanes as usize),
            workers: std::slice::from_raw_parts(workers, (*control).workers as usize),
            leaders: std::slice::from_raw_parts(leaders, (*control).leaders as usize),
            usages: std::slice::from_raw_parts(usages, (*control).roles as usize),
        }
    }
}

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

    /// What the configuration says of a few settings.
    pub fn board(&self) -> &'static Board {
        &self.root.board
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

    /// Workers in all lanes at most. By default a quarter of the server's places stays free for parallel queries,
    /// logical replication and others.
    pub fn worker_cap(&self) -> u32 {
        let default = (self.workers - self.workers / 4).max(1);
        settings::max_pool_workers()
            .unwrap_or(default)
            .min(self.workers)
    }

    /// `pg_background.max_memory` as it is configured now, bytes.
    pub fn memory_limit(&self) -> u64 {
        memory_limit_for(self.jobs().capacity())
    }

    /// Allocates `size` bytes for a job that this process holds. Beside [`store`](Self::store) and
    /// [`try_store`](Self::try_store) the only way to memory; [`deallocate`](Self::deallocate) gives back what any of
    /// them has given.
    ///
    /// # Errors
    /// 53200 when there is no memory, or `pg_background.max_memory` is reached.
    pub fn allocate(&self, job: JobId, size: usize) -> Result<BlockRef, Error> {
        let charge = self
            .charge(job, size)
            .ok_or_else(|| self.over_role_limit(job, size))?;
        let found = if size <= LARGE {
            self.find_in_arena(size)
        } else {
            None
        };
        let block = match found {
            Some(pointer) => BlockRef::Arena(pointer),
            None => self.make_segment(job, size)?,
        };
        charge.keep();
        Ok(block)
    }

    /// As [`allocate`](Self::allocate), in the arena, where it can always be found without mapping what is large.
    ///
    /// # Errors
    /// 53200 when the arena is full.
    pub fn allocate_in_arena(&self, job: JobId, size: usize) -> Result<ArenaPointer, Error> {
        let charge = self
            .charge(job, size)
            .ok_or_else(|| self.over_role_limit(job, size))?;
        let pointer = self.find_in_arena(size).ok_or_else(|| {
            self.out_of_memory(format_args!(
                "Failed on a request of {size} bytes; the area for requests and small results is full."
            ))
        })?;
        charge.keep();
        Ok(pointer)
    }

    /// Charges a job's role with memory for it: the one place in which a role's bytes grow. `None`: the role is at its
    /// limit.
    fn charge(&self, job: JobId, size: usize) -> Option<Charge<'_>> {
        let slot = self.slot(job);
        let limit = slot.memory_limit.load(Ordering::Relaxed);
        let usage = self.pool.usage(slot.usage());
        usage.claim_bytes(size as u64, limit).then(|| {
            slot.bytes.fetch_add(size as u64, Ordering::Relaxed);
            Charge {
                usage,
                slot,
                size: size as u64,
            }
        })
    }

    fn over_role_limit(&self, job: JobId, size: usize) -> Error {
        let slot = self.slot(job);
        let limit = slot.memory_limit.load(Ordering::Relaxed) / 1024;
        let role = text::role_name(self.pool.usage(slot.usage()).role());
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            format_args!("background jobs of role {role} have too much shared memory"),
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; the jobs of a role may have {limit} kB together, unread results included."
        ))
        .hint(format_args!(
            "Read or detach finished jobs, or have a superuser raise pg_background.role_max_memory (ALTER ROLE {role} SET ...)."
        ))
    }

    /// Allocates memory for these bytes and puts them there.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn store(&self, job: JobId, bytes: &[u8]) -> Result<BlockRef, Error> {
        let block = self.allocate(job, bytes.len())?;
        let into = self.address(job, block);
        // SAFETY: fresh memory of that size, which nobody else knows.
        unsafe { into.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(block)
    }

    /// As [`store`](Self::store), without throwing. `None` also during the process's exit.
    pub fn try_store(&self, job: JobId, bytes: &[u8]) -> Option<BlockRef> {
        if exit::in_progress() {
            return None;
        }
        let charge = self.charge(job, bytes.len())?;
        if bytes.len() <= LARGE
            && let Some(pointer) = self.try_arena(bytes.len())
        {
            let Some(into) = self.reach(pointer) else {
                self.give_to_arena(pointer, bytes.len());
                return None;
            };
            // SAFETY: fresh memory of that size, which nobody else knows.
            unsafe { into.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            charge.keep();
            return Some(BlockRef::Arena(pointer));
        }
        let claim = self.claim_segment(bytes.len()).ok()?;
        let handle = segment::try_store(bytes)?;
        claim.keep();
        charge.keep();
        Some(BlockRef::Segment(handle))
    }

    fn find_in_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.bound_arena();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe {
            pg_sys::dsa_allocate_extended(self.area, size, pg_sys::DSA_ALLOC_NO_OOM as i32)
        };
        self.counted(pointer, size)
    }

    fn try_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.bound_arena();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe { shim::pgb_try_allocate(self.area, size) };
        self.counted(pointer, size)
    }

    /// Tells the arena how large it may be. It looks at that when it grows.
    fn bound_arena(&self) {
        let limit = half_of(self.memory_limit());
        if self.root.arena_limit.load(Ordering::Relaxed) != limit {
            // SAFETY: the area is attached for the life of the process.
            unsafe { pg_sys::dsa_set_size_limit(self.area, limit as usize) };
            self.root.arena_limit.store(limit, Ordering::Relaxed);
        }
    }

    fn counted(&self, pointer: pg_sys::dsa_pointer, size: usize) -> Option<ArenaPointer> {
        let pointer = ArenaPointer::new(pointer)?;
        self.root
            .arena_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_add(1, Ordering::Relaxed);
        Some(pointer)
    }

    fn make_segment(&self, job: JobId, size: usize) -> Result<BlockRef, Error> {
        let claim = self.claim_segment(size)?;
        let handle = segment::create(job, size)?.ok_or_else(|| self.no_segment(size))?;
        claim.keep();
        Ok(BlockRef::Segment(handle))
    }

    /// Claims the memory for a segment before it is made, so that processes that do it at the same time stay below the
    /// limits together.
    fn claim_segment(&self, size: usize) -> Result<Claim<'_>, Error> {
        let limit = half_of(self.memory_limit());
        let bytes = size_of_segment(size);
        let add = |claimed: u64| claimed.checked_add(bytes).filter(|sum| *sum <= limit);
        if self
            .root
            .segment_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_err()
        {
            return Err(self.out_of_memory(format_args!(
                "Failed on a request of {size} bytes; segments of shared memory may have {limit} bytes together."
            )));
        }
        let most = most_segments();
        let one_more = |count: u32| (count < most).then_some(count + 1);
        if self
            .root
            .segments
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_err()
        {
            self.root.segment_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.no_segment(size));
        }
        self.root
            .arena_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        Ok(Claim {
            root: self.root,
            size,
        })
    }

    fn out_of_memory(&self, detail: impl std::fmt::Display) -> Error {
        let limit = self.memory_limit() / 1024;
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            "out of shared memory for background jobs",
        )
        .detail(detail)
        .hint(format_args!(
            "Read or detach finished jobs, or raise pg_background.max_memory, which is {limit} kB."
        ))
    }

    fn no_segment(&self, size: usize) -> Error {
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            "out of shared memory segments for background jobs",
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; background jobs have {} segments of the server's at most.",
            most_segments()
        ))
        .hint("Read or detach finished jobs, use a smaller queue_size, or raise max_connections.")
    }

    fn blocks_beside(&self, pointer: ArenaPointer) -> &'static AtomicU32 {
        &self.root.blocks[pointer.segment()]
    }

    /// Bytes of all blocks, long descriptions and long errors.
    pub fn arena_bytes(&self) -> u64 {
        self.root.arena_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are taken from the server: the arena as it has grown, and segments. `None`: the size of the arena is
    /// not known.
    pub fn memory_taken(&self) -> Option<u64> {
        // SAFETY: the area is attached for the life of the process; the offset was found in its own first segment.
        let area = unsafe { shim::pgb_area_size(self.area, self.root.area_size) };
        let segments = self.root.segment_bytes.load(Ordering::Relaxed);
        (area != 0).then_some(area as u64 + segments)
    }

    /// Segments in which there is something: of the arena, and of their own.
    pub fn segments_in_use(&self) -> usize {
        let in_use = |blocks: &&AtomicU32| blocks.load(Ordering::Relaxed) != 0;
        let own = self.root.segments.load(Ordering::Relaxed) as usize;
        self.root.blocks.iter().filter(in_use).count() + own
    }

    /// Frees the `size` bytes that were allocated. Only by the last that knows them. Does not throw. This process has
    /// not mapped a segment any more, or unmaps it next.
    pub fn deallocate(&self, job: JobId, block: BlockRef, size: usize) {
        let slot = self.slot(job);
        drop(Charge {
            usage: self.pool.usage(slot.usage()),
            slot,
            size: size as u64,
        });
        match block {
            BlockRef::Arena(pointer) => self.give_to_arena(pointer, size),
            BlockRef::Segment(handle) => {
                segment::free(handle);
                drop(Claim {
                    root: self.root,
                    size,
                });
            }
        }
    }

    fn give_to_arena(&self, pointer: ArenaPointer, size: usize) {
        self.root
            .arena_bytes
            .fetch_sub(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_sub(1, Ordering::Relaxed);
        // SAFETY: by law 3 the caller is the last that knows the pointer.
        unsafe { shim::pgb_free(self.area, pointer.get()) };
    }

    /// Where memory of a job that this process holds is in this process. Maps it if need be, and throws if that cannot
    /// be.
    pub fn address(&self, job: JobId, block: BlockRef) -> *mut u8 {
        match block {
            BlockRef::Arena(pointer) => self.in_arena(pointer.get()),
            BlockRef::Segment(handle) => segment::address(job, handle),
        }
    }

    /// Where an arena pointer is in this process. As [`address`](Self::address).
    pub fn in_arena(&self, pointer: pg_sys::dsa_pointer) -> *mut u8 {
        // SAFETY: a pointer into the area, which maps the segment if this process has not yet.
        unsafe { pg_sys::dsa_get_address(self.area, pointer) }.cast()
    }

    /// As [`in_arena`](Self::in_arena), where nothing may be thrown; `None`: this process cannot map it.
    pub fn reach(&self, pointer: ArenaPointer) -> Option<*mut u8> {
        let pointer = pointer.get();
        // SAFETY: as in `in_arena`.
        let map = || unsafe { shim::pgb_reach(self.area, pointer) }.cast::<u8>();
        Some(exit::attempt(pointer, map)).filter(|address| !address.is_null())
    }
}

/// What a piece of memory counts for a job and its role; taken back when dropped, on an error too. The slot is the
/// job's until all of its memory is freed.
struct Charge<'a> {
    usage: &'a Usage,
    slot: &'a Slot,
    size: u64,
}

impl Charge<'_> {
    /// There is such memory now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.usage.release_bytes(self.size);
        self.slot.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a segment of its own counts for; taken back when dropped, on an error too.
struct Claim<'a> {
    root: &'a Root,
    size: usize,
}

impl Claim<'_> {
    /// There is such a segment now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let Self { root, size } = *self;
        root.arena_bytes.fetch_sub(size as u64, Ordering::Relaxed);
        root.segments.fetch_sub(1, Ordering::Relaxed);
        root.segment_bytes
            .fetch_sub(size_of_segment(size), Ordering::Relaxed);
    }
}

fn size_of_segment(size: usize) -> u64 {
    (size as u64).div_ceil(PAGE).saturating_mul(PAGE)
}

/// How many segments of their own there may be: a quarter of those that the server has places for (`dsm.c`), so that
/// parallel queries and others find some, whatever `max_memory` is.
fn most_segments() -> u32 {
    // SAFETY: a plain global of this process.
    let backends = unsafe { pg_sys::MaxBackends };
    (64 + 5 * backends.cast_unsigned()) / 4
}

/// `pg_background.max_memory` as this process knows it, with so many slots in the job table; bytes.
fn memory_limit_for(jobs: usize) -> u64 {
    settings::max_memory().map_or_else(
        || (jobs as u64 * MEMORY_PER_JOB).max(LEAST_MEMORY),
        |limit| limit as u64,
    )
}

/// Of the limit: for the arena, and as much for segments.
fn half_of(limit: u64) -> u64 {
    limit / 2
}

/// The job table is full.
pub fn no_slot() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_RESOURCES,
        "too many background jobs in the cluster",
    )
    .hint("Read or detach finished jobs, or raise pg_background.max_jobs and restart the server.")
}
