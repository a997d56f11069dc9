//! The extension's own settings.
//!
//! None has context POSTMASTER: a library that is not preloaded could not define it.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum, pg_sys};

/// What a launch does when no worker is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum OnExhaustion {
    /// Waits on the latch, up to `launch_timeout`.
    #[name = c"wait"]
    Wait,
    /// Raises 53000 at once.
    #[name = c"error"]
    Error,
    /// Returns a handle at once; the job waits in its lane.
    #[name = c"queue"]
    Queue,
}

/// Largest size of a result ring, bytes.
pub const MAX_QUEUE_SIZE: i32 = 256 * 1024 * 1024;
/// The default spin, microseconds: longer than a warm job and its wake-up take, shorter than what a
/// waiter could do with the processor. Measured; see `docs/architecture.md`.
const DEFAULT_SPIN: i32 = 100;

static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(16);
static DEFAULT_QUEUE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static WORKER_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static WORKER_IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(3000);
static WORKER_MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static MAX_POOL_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(-1);
static MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4096);
static MAX_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(-1);
static ON_EXHAUSTION: GucSetting<OnExhaustion> =
    GucSetting::<OnExhaustion>::new(OnExhaustion::Wait);
static LAUNCH_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static SPIN: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_SPIN);

/// `pg_background.max_workers`: handles that a session may track.
pub fn max_workers() -> usize {
    MAX_WORKERS.get() as usize
}

/// `pg_background.default_queue_size`, bytes.
pub fn default_queue_size() -> i32 {
    DEFAULT_QUEUE_SIZE.get()
}

/// Smallest size of a result ring that can be asked for, bytes.
pub fn min_queue_size() -> i32 {
    // SAFETY: a constant of the server.
    unsafe { pg_sys::shm_mq_minimum_size as i32 }
}

/// `pg_background.worker_timeout`, milliseconds; 0: the leader's `statement_timeout` holds.
pub fn worker_timeout() -> i32 {
    WORKER_TIMEOUT.get()
}

/// `pg_background.enabled`.
pub fn enabled() -> bool {
    ENABLED.get()
}

/// `pg_background.worker_idle_timeout`, milliseconds; 0: one process per job.
pub fn worker_idle_timeout() -> i32 {
    WORKER_IDLE_TIMEOUT.get()
}

/// `pg_background.worker_max_jobs`.
pub fn worker_max_jobs() -> u32 {
    WORKER_MAX_JOBS.get() as u32
}

/// `pg_background.max_pool_workers`, or what the server allows.
pub fn max_pool_workers() -> u32 {
    match MAX_POOL_WORKERS.get() {
        -1 => u32::MAX,
        limit => limit as u32,
    }
}

/// `pg_background.max_jobs`.
pub fn max_jobs() -> usize {
    MAX_JOBS.get() as usize
}

/// `pg_background.max_memory`, bytes; `None`: no limit.
pub fn max_memory() -> Option<usize> {
    match MAX_MEMORY.get() {
        -1 => None,
        kilobytes => Some(kilobytes as usize * 1024),
    }
}

/// `pg_background.on_exhaustion`.
pub fn on_exhaustion() -> OnExhaustion {
    ON_EXHAUSTION.get()
}

/// `pg_background.launch_timeout`, milliseconds.
pub fn launch_timeout() -> i32 {
    LAUNCH_TIMEOUT.get()
}

/// `pg_background.spin`, microseconds.
pub fn spin() -> u64 {
    SPIN.get() as u64
}

/// Defines them all. Once per process, when the library is loaded.
pub fn define() {
    let none = GucFlags::default();
    GucRegistry::define_int_guc(
        c"pg_background.max_workers",
        c"Background jobs that this session may have at a time.",
        c"Counts every job the session still tracks, finished ones whose result was not read included.",
        &MAX_WORKERS,
        1,
        1000,
        GucContext::Userset,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.default_queue_size",
        c"Size of a job's result queue when the launch names none.",
        c"Also used for a queue_size of 0 or less.",
        &DEFAULT_QUEUE_SIZE,
        min_queue_size(),
        MAX_QUEUE_SIZE,
        GucContext::Userset,
        GucFlags::UNIT_BYTE,
    );
    GucRegistry::define_int_guc(
        c"pg_background.worker_timeout",
        c"Statement timeout of background jobs.",
        c"0 means that the statement_timeout of the launching session applies.",
        &WORKER_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"pg_background.enabled",
        c"Whether background jobs may be launched.",
        c"When off, launches are refused; jobs that run end normally.",
        &ENABLED,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.worker_idle_timeout",
        c"How long a worker without a job stays.",
        c"0 means one process per job. DROP DATABASE waits 5 seconds for other sessions to leave, so keep this below.",
        &WORKER_IDLE_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pg_background.worker_max_jobs",
        c"Jobs after which a worker is replaced by a fresh process.",
        c"Bounds the growth of a worker's caches.",
        &WORKER_MAX_JOBS,
        1,
        i32::MAX,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.max_pool_workers",
        c"Workers in the whole cluster at most.",
        c"-1 means as many as max_worker_processes leaves.",
        &MAX_POOL_WORKERS,
        -1,
        i32::from(u16::MAX),
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.max_jobs",
        c"Capacity of the job table, for the whole cluster.",
        c"Takes effect when the first job after a server start is launched.",
        &MAX_JOBS,
        16,
        crate::engine::handle::MAX_JOBS as i32,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.max_memory",
        c"Shared memory for requests, outcomes and result queues at most.",
        c"-1 means no limit. Takes effect when the first job after a server start is launched.",
        &MAX_MEMORY,
        -1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_enum_guc(
        c"pg_background.on_exhaustion",
        c"What a launch does when no worker is free.",
        c"wait: up to launch_timeout; error: raise an error at once; queue: return at once, the job runs when a worker is free.",
        &ON_EXHAUSTION,
        GucContext::Userset,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.launch_timeout",
        c"How long a launch waits for a free worker.",
        c"Applies when on_exhaustion is wait.",
        &LAUNCH_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pg_background.spin",
        c"Microseconds a wait looks at shared memory before it sleeps.",
        c"0 turns it off. It is off by itself on one processor and when all processors but one are spinning already.",
        &SPIN,
        0,
        10_000,
        GucContext::Suset,
        none,
    );
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a zero-terminated constant.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(c"pg_background".as_ptr());
    }
    #[cfg(feature = "pg14")]
    // SAFETY: a zero-terminated constant.
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(c"pg_background".as_ptr());
    }
}
