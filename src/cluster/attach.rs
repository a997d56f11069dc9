//! The memory that the processes of the cluster share, and this process's handle on it.
//!
//! * The **root**, a small struct in main shared memory, found or made under the server's own lock. A preloaded library
//!   makes it when the server starts. Its name contains the layout version, so libraries of different layouts never share
//!   a root.
//! * The **control segment**: job table, lanes, worker slots, sessions, usages. One dynamic segment, pinned, made on
//!   first use.
//! * The **arena**: one pinned area for blocks, whatever their size.
//! * **Segments** with one block each, for blocks larger than [`LARGE`](crate::cluster::layout::LARGE): the arena never
//!   returns memory to which it has grown.
//!
//! A crash of the server removes all of it, and ends every process. So a process keeps what it has attached until it
//! exits.

use crate::cluster::layout::{
    Control, ROOT_NAME, Root, SharedLock, half_of, initialize_control, initialize_root,
    memory_limit_for, parts,
};
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::server;
use crate::pg::{exit, shim, wait_event};
use crate::settings;
use crate::settings::published;
use engine::pool::{Pool, PoolLock, Shared, Waker};
use engine::process_ref::ProcRef;
use engine::sync::{AtomicU32, AtomicU64, Ordering};
use engine::table::{JobId, JobTable, Slot};
use engine::wait::Micros;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;

/// The pool lock: an LWLock. The server releases it on an error, but nothing that holds it throws.
#[derive(Clone, Copy)]
pub struct PoolLwLock(&'static SharedLock);

impl Waker for PoolLwLock {
    fn wake(&self, proc: ProcRef) {
        crate::pg::process::wake(proc);
    }

    fn timestamp(&self) -> u64 {
        crate::pg::process::timestamp().cast_unsigned()
    }

    fn now(&self) -> Micros {
        crate::pg::process::now()
    }
}

impl PoolLock for PoolLwLock {
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        // SAFETY: the lock lives in main shared memory for as long as the process is attached to it.
        // Holding it holds off interrupts, so `body` cannot be jumped out of.
        unsafe { server::LWLockAcquire(self.0.get(), pg_sys::LWLockMode::LW_EXCLUSIVE) };
        let result = body();
        // SAFETY: acquired above.
        unsafe { server::LWLockRelease(self.0.get()) };
        result
    }

    /// An error would release the lock, and all processes would go on with broken lists. A PANIC restarts the server,
    /// which makes the lists anew.
    fn broken(&self, why: &str) {
        // SAFETY: does not return.
        unsafe { shim::pgb_panic(why.as_ptr().cast(), why.len()) }
    }
}

/// This process's handle on what the cluster shares.
pub struct Cluster {
    pub(super) root: &'static Root,
    pub(super) pool: Pool<'static, PoolLwLock>,
    pub(super) area: *mut pg_sys::dsa_area,
    workers: u32,
}

// SAFETY: used on the main thread only, like everything here (see `Local`).
unsafe impl Sync for Cluster {}

// SAFETY: as above.
unsafe impl Send for Cluster {}

static ATTACHED: Local<Option<&'static Cluster>> = Local::new(None);

/// The cluster's shared state. The first use attaches it, and makes it if necessary.
///
/// # Errors
/// 53200 when dynamic shared memory is exhausted; the server's own error when main shared memory is.
pub fn cluster() -> Result<&'static Cluster, Error> {
    match ATTACHED.get() {
        Some(cluster) => Ok(cluster),
        None => attach(),
    }
}

/// As [`cluster`]; `None`: this process is not attached.
pub fn attached() -> Option<&'static Cluster> {
    ATTACHED.get()
}

/// As [`cluster`], but makes nothing; `None`: no process has made the shared state yet.
///
/// # Errors
/// As [`cluster`].
pub fn existing() -> Result<Option<&'static Cluster>, Error> {
    // SAFETY: the root stays where it is until the server ends.
    let is_made = attached().is_some() || unsafe { (*root()).control.load(Ordering::Relaxed) } != 0;
    is_made.then(cluster).transpose()
}

/// Called once, when the library is loaded: a preloaded one has the root's memory for sure.
pub fn reserve() {
    // SAFETY: `initialize_root` keeps its contract; both arguments are constants.
    unsafe { shim::pgb_reserve_root(ROOT_NAME.as_ptr(), size_of::<Root>(), initialize_root) };
}

fn root() -> *mut Root {
    // SAFETY: `initialize_root` keeps its contract.
    let root = unsafe { shim::pgb_root(ROOT_NAME.as_ptr(), size_of::<Root>(), initialize_root) };
    let root = root.cast::<Root>();
    assert!(
        root.is_aligned(),
        "the server aligns shared memory to cache lines"
    );
    root
}

fn attach() -> Result<&'static Cluster, Error> {
    exit::register();
    wait_event::define();
    let root = root();
    // SAFETY: the root stays where it is until the server ends. The control segment is never removed, so the process that
    // makes it sees 0 here. It needs the settings, which say how large to make it.
    if unsafe { (*root).control.load(Ordering::Relaxed) } == 0 {
        settings::define();
    }
    // SAFETY: the tranche and the locks are only changed here, by the first process. What is palloc'ed or mapped here must
    // outlive the transaction: hence the top memory context, and the pins.
    unsafe {
        let locks = [(*root).create_lock.get(), (*root).pool_lock.get()];
        let tranche = &raw mut (*root).tranche;
        shim::pgb_init_locks(tranche, locks.as_ptr(), locks.len() as i32);
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        server::LWLockAcquire((*root).create_lock.get(), pg_sys::LWLockMode::LW_EXCLUSIVE);
        let attached = attach_segments(root);
        server::LWLockRelease((*root).create_lock.get());
        pg_sys::CurrentMemoryContext = context;
        let cluster: &'static Cluster = Box::leak(Box::new(attached?));
        published::attach(&cluster.root.published);
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
    // SAFETY: the caller holds the lock, so no other process makes or reads the handles. An error thrown by the server
    // releases the lock; a segment made before it is not pinned yet, and its resource owner frees it.
    unsafe {
        let control = (*root).control.load(Ordering::Relaxed);
        let fresh = control == 0;
        let jobs = settings::max_jobs();
        let workers = pg_sys::max_worker_processes as usize;
        let leaders = (*pg_sys::ProcGlobal).allProcCount as usize;
        let segment = if fresh {
            server::dsm_create(Control::size(jobs, workers, leaders), 0)
        } else {
            server::dsm_attach(control)
        };
        if segment.is_null() {
            return Err(out_of_shared_memory());
        }
        let control = server::dsm_segment_address(segment).cast::<Control>();
        fault!("control-mapped");

        let area = if fresh {
            let tranche = (*root).tranche;
            let limit = memory_limit_for(jobs);
            let area_size = &raw mut (*root).area_size;
            let area = shim::pgb_create_area(tranche, half_of(limit) as usize, area_size);
            server::dsa_pin_mapping(area);
            (*root).arena_limit.store(half_of(limit), Ordering::Relaxed);
            initialize_control(control, jobs, workers, leaders);
            fault!("segments-made");
            server::dsa_pin(area);
            server::dsm_pin_segment(segment);
            (*root).arena = server::dsa_get_handle(area);
            let handle = server::dsm_segment_handle(segment);
            (*root).control.store(handle, Ordering::Relaxed);
            area
        } else {
            let area = server::dsa_attach((*root).arena);
            server::dsa_pin_mapping(area);
            area
        };
        fault!("segments-mapped");
        // Last: an error above unmaps the segment, so that the session can attach it later.
        server::dsm_pin_mapping(segment);

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
                Shared {
                    jobs: table,
                    lanes: parts.lanes,
                    workers: parts.workers,
                    leaders: parts.leaders,
                    usages: parts.usages,
                    totals: &control.totals,
                },
                lock,
            ),
            area,
            workers: control.workers,
        })
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

    /// How many worker slots there are, whatever the settings allow.
    pub fn worker_slots(&self) -> usize {
        self.workers as usize
    }

    /// A number that no spill file has had since the start of the server.
    pub fn next_spill_number(&self) -> u64 {
        self.root.spill_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many spill files there are.
    pub fn spill_files(&self) -> &'static AtomicU64 {
        &self.root.spill_files
    }

    /// The maximum number of workers in all lanes. By default a quarter of `max_worker_processes` stays free for
    /// parallel queries, logical replication and others.
    pub fn worker_cap(&self) -> u32 {
        let default = (self.workers - self.workers / 4).max(1);
        settings::max_pool_workers()
            .unwrap_or(default)
            .min(self.workers)
    }
}
