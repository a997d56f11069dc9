//! The extension's own settings.
//!
//! None has context POSTMASTER: a library that is not preloaded could not define it.
//!
//! # A worker defines them late
//!
//! Before 16 the server sorts its table of settings after each definition: a dozen take as long as a
//! sixth of a process's start, which the first job of a lane waits for. A worker itself needs a few of
//! them, so when the library was not preloaded it defines none at its start ([`loaded`]). It reads those
//! few as they are configured ([`read_configured`]), once, before it connects, and what the database and the
//! role may say otherwise when it has ([`read_defaults`]), before any job could have changed it. All are defined
//! ([`define`])
//!
//! * when a function of the extension is called in the process, before it does anything;
//! * before a job whose text names the extension or asks for all settings ([`define_for`]);
//! * before one of ours is made for a job because its leader's session has it otherwise than configured;
//! * when the configuration is read again.
//!
//! Until then a job sees what a session sees that has not loaded the library: what is configured or set
//! is a placeholder, which the definition takes over and checks. A job that reads one of ours by a name that
//! its text does not hold (in the body of a function) and calls nothing of ours can tell.

use crate::pg::configuration::{self, Published};
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim::{self, guarded};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum, pg_sys};
use std::ffi::CStr;

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
const DEFAULT_SPIN: i32 = 200;

/// A number that a worker needs before the settings are defined.
struct Number {
    name: &'static CStr,
    default: i32,
    least: i32,
    most: i32,
    unit: GucFlags,
}

const WORKER_IDLE_TIMEOUT_IS: Number = Number {
    name: c"pg_background.worker_idle_timeout",
    default: 3000,
    least: 0,
    most: i32::MAX,
    unit: GucFlags::UNIT_MS,
};

const WORKER_MAX_JOBS_IS: Number = Number {
    name: c"pg_background.worker_max_jobs",
    default: 10_000,
    least: 1,
    most: i32::MAX,
    unit: GucFlags::empty(),
};

const SPIN_IS: Number = Number {
    name: c"pg_background.spin",
    default: DEFAULT_SPIN,
    least: 0,
    most: 10_000,
    unit: GucFlags::empty(),
};

const MAX_POOL_WORKERS_IS: Number = Number {
    name: c"pg_background.max_pool_workers",
    default: -1,
    least: -1,
    most: u16::MAX as i32,
    unit: GucFlags::empty(),
};

const MAX_MEMORY_IS: Number = Number {
    name: c"pg_background.max_memory",
    default: -1,
    least: -1,
    most: i32::MAX,
    unit: GucFlags::UNIT_KB,
};

const ENABLED_NAME: &CStr = c"pg_background.enabled";

/// What a worker goes by while the settings are not defined.
#[derive(Clone, Copy)]
struct Configured {
    worker_idle_timeout: i32,
    worker_max_jobs: i32,
    spin: i32,
    max_pool_workers: i32,
    max_memory: i32,
    enabled: bool,
}

static CONFIGURED: Local<Configured> = Local::new(Configured {
    worker_idle_timeout: WORKER_IDLE_TIMEOUT_IS.default,
    worker_max_jobs: WORKER_MAX_JOBS_IS.default,
    spin: SPIN_IS.default,
    max_pool_workers: MAX_POOL_WORKERS_IS.default,
    max_memory: MAX_MEMORY_IS.default,
    enabled: true,
});

/// This process has defined the settings, or the postmaster had before it forked.
static DEFINED: Local<bool> = Local::new(false);

static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(16);
static DEFAULT_QUEUE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static WORKER_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static WORKER_IDLE_TIMEOUT: GucSetting<i32> =
    GucSetting::<i32>::new(WORKER_IDLE_TIMEOUT_IS.default);
static WORKER_MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(WORKER_MAX_JOBS_IS.default);
static MAX_POOL_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(MAX_POOL_WORKERS_IS.default);
static MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4096);
static MAX_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(MAX_MEMORY_IS.default);
static ON_EXHAUSTION: GucSetting<OnExhaustion> =
    GucSetting::<OnExhaustion>::new(OnExhaustion::Wait);
static ROLE_MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(-1);
static ROLE_MAX_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(-1);
static ROLE_MAX_DISK: GucSetting<i32> = GucSetting::<i32>::new(-1);
static LANE_MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(-1);
static WORKER_REUSE: GucSetting<bool> = GucSetting::<bool>::new(true);
static LAUNCH_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static SPIN: GucSetting<i32> = GucSetting::<i32>::new(SPIN_IS.default);

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

/// `pg_background.enabled`, as it is configured now.
pub fn enabled() -> bool {
    configuration::now(Published::Enabled) != 0
}

/// What this process has read of a setting that is looked at as it is configured now.
pub fn own(which: Published) -> i32 {
    let configured = CONFIGURED.get();
    match (which, DEFINED.get()) {
        (Published::Enabled, true) => ENABLED.get().into(),
        (Published::Enabled, false) => configured.enabled.into(),
        (Published::MaxPoolWorkers, true) => MAX_POOL_WORKERS.get(),
        (Published::MaxPoolWorkers, false) => configured.max_pool_workers,
        (Published::MaxMemory, true) => MAX_MEMORY.get(),
        (Published::MaxMemory, false) => configured.max_memory,
    }
}

/// `pg_background.worker_idle_timeout`, milliseconds; 0: one process per job.
pub fn worker_idle_timeout() -> i32 {
    if DEFINED.get() {
        WORKER_IDLE_TIMEOUT.get()
    } else {
        CONFIGURED.get().worker_idle_timeout
    }
}

/// `pg_background.worker_max_jobs`.
pub fn worker_max_jobs() -> u32 {
    let limit = if DEFINED.get() {
        WORKER_MAX_JOBS.get()
    } else {
        CONFIGURED.get().worker_max_jobs
    };
    limit as u32
}

/// `pg_background.max_pool_workers` as it is configured now; `None`: the default.
pub fn max_pool_workers() -> Option<u32> {
    u32::try_from(configuration::now(Published::MaxPoolWorkers)).ok()
}

/// `pg_background.max_jobs`.
pub fn max_jobs() -> usize {
    MAX_JOBS.get() as usize
}

/// `pg_background.max_memory` as it is configured now, bytes; `None`: the default, see [`crate::pg::cluster`].
pub fn max_memory() -> Option<usize> {
    match configuration::now(Published::MaxMemory) {
        -1 => None,
        kilobytes => Some(kilobytes as usize * 1024),
    }
}

/// `pg_background.role_max_jobs`; `None`: the default.
pub fn role_max_jobs() -> Option<u32> {
    u32::try_from(ROLE_MAX_JOBS.get()).ok()
}

/// `pg_background.role_max_memory`, bytes; `None`: the default.
pub fn role_max_memory() -> Option<u64> {
    u64::try_from(ROLE_MAX_MEMORY.get())
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// `pg_background.role_max_disk`, bytes; by default `temp_file_limit`. `None`: no limit.
pub fn role_max_disk() -> Option<u64> {
    // SAFETY: a plain global of this process.
    let default = unsafe { pg_sys::temp_file_limit };
    let kilobytes = match ROLE_MAX_DISK.get() {
        -1 => default,
        limit => limit,
    };
    u64::try_from(kilobytes)
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// `pg_background.lane_max_workers`; 0: any number.
pub fn lane_max_workers() -> u32 {
    u32::try_from(LANE_MAX_WORKERS.get()).unwrap_or(0)
}

/// `pg_background.on_exhaustion`.
pub fn on_exhaustion() -> OnExhaustion {
    ON_EXHAUSTION.get()
}

/// `pg_background.worker_reuse`: jobs may run in a process that has run others.
pub fn worker_reuse() -> bool {
    WORKER_REUSE.get()
}

/// `pg_background.launch_timeout`, milliseconds.
pub fn launch_timeout() -> i32 {
    LAUNCH_TIMEOUT.get()
}

/// `pg_background.spin`, microseconds.
pub fn spin() -> u64 {
    let limit = if DEFINED.get() {
        SPIN.get()
    } else {
        CONFIGURED.get().spin
    };
    limit as u64
}

/// Whether this process is a worker of ours: the server knows that before it loads the library.
pub fn is_own_worker() -> bool {
    // SAFETY: null, or the registration of this process, whose texts are zero-terminated.
    unsafe {
        !pg_sys::MyBgworkerEntry.is_null()
            && CStr::from_ptr((&raw const (*pg_sys::MyBgworkerEntry).bgw_library_name).cast())
                == crate::pg::registration::LIBRARY
    }
}

/// The library was loaded: everyone but a worker of ours defines the settings now.
pub fn loaded() {
    if !is_own_worker() {
        define();
    }
}

/// Reads what a worker needs, as it is configured; anything invalid counts as not configured, like in a
/// definition. In a worker that has not connected: until the settings are defined a value of the database or
/// the role would be taken for the configuration's.
pub fn read_configured() {
    if DEFINED.get() {
        return;
    }
    CONFIGURED.set(Configured {
        worker_idle_timeout: WORKER_IDLE_TIMEOUT_IS.configured(),
        worker_max_jobs: WORKER_MAX_JOBS_IS.configured(),
        spin: SPIN_IS.configured(),
        max_pool_workers: MAX_POOL_WORKERS_IS.configured(),
        max_memory: MAX_MEMORY_IS.configured(),
        enabled: enabled_as_configured(),
    });
}

/// Reads what the database or the role may say otherwise. In a worker that has connected and run nothing.
pub fn read_defaults() {
    if !DEFINED.get() {
        CONFIGURED.set(Configured {
            spin: SPIN_IS.configured(),
            ..CONFIGURED.get()
        });
    }
}

fn enabled_as_configured() -> bool {
    let mut value = true;
    // SAFETY: a zero-terminated name; null when nobody has set it.
    unsafe {
        let text = pg_sys::GetConfigOption(ENABLED_NAME.as_ptr(), true, false);
        text.is_null() || !pg_sys::parse_bool(text, &raw mut value) || value
    }
}

impl Number {
    fn configured(&self) -> i32 {
        let mut value = self.default;
        // SAFETY: a zero-terminated name; null when nobody has set it.
        let is_number = unsafe {
            let text = pg_sys::GetConfigOption(self.name.as_ptr(), true, false);
            let unit = self.unit.bits();
            !text.is_null() && pg_sys::parse_int(text, &raw mut value, unit, std::ptr::null_mut())
        };
        if is_number && (self.least..=self.most).contains(&value) {
            value
        } else {
            self.default
        }
    }

    fn define(
        &self,
        setting: &'static GucSetting<i32>,
        short: &'static CStr,
        long: &'static CStr,
        context: GucContext,
    ) {
        let (least, most) = (self.least, self.most);
        GucRegistry::define_int_guc(
            self.name, short, long, setting, least, most, context, self.unit,
        );
    }
}

/// What the names of our settings begin with.
const PREFIX: &CStr = c"pg_background.";

/// Whether `state`, settings as bytes, names one of ours.
pub fn are_named_in(state: &[u8]) -> bool {
    let prefix = PREFIX.to_bytes();
    state.windows(prefix.len()).any(|window| window == prefix)
}

/// Defines them all if `sql`, the text of a job, may look at one.
pub fn define_for(sql: &[u8]) {
    const NEEDLES: [&[u8]; 3] = [b"pg_background", b"pg_settings", b"show all"];
    let names = |needle: &[u8]| {
        sql.windows(needle.len())
            .any(|window| window.eq_ignore_ascii_case(needle))
    };
    if !DEFINED.get() && NEEDLES.into_iter().any(names) {
        define();
    }
}

/// Defines them all, if this process has not yet. Whether it had not. Raises 25000 in a parallel operation.
pub fn define() -> bool {
    let fresh = !DEFINED.get();
    if fresh {
        define_each();
    }
    // An interrupt may have cut that short the last time: until it is done, no function goes on.
    if HIDDEN.get() != Hidden::default() {
        read_what_was_hidden();
    }
    fresh
}

/// What the client's values, which may be refused, have taken the place of.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Hidden {
    configuration: bool,
    catalog: bool,
}

static HIDDEN: Local<Hidden> = Local::new(Hidden {
    configuration: false,
    catalog: false,
});

fn read_what_was_hidden() {
    // SAFETY: one call of the shim each, with a zero-terminated constant.
    unsafe {
        if HIDDEN.get().configuration {
            guarded(|| shim::pgb_read_files(PREFIX.as_ptr()));
        }
        if HIDDEN.get().catalog {
            guarded(|| shim::pgb_read_catalog(PREFIX.as_ptr()));
        }
    }
    HIDDEN.set(Hidden::default());
}

/// Raises 25000 in a parallel operation, in which the server changes no setting: those that are defined would be as
/// they are compiled in, whatever is configured, and stay so in a session. Loading the library then fails; a
/// function of it is called in such an operation only by one that says of itself, wrongly, that it may be.
fn check_may_define() {
    // SAFETY: looks at the state of the transaction.
    if unsafe { pg_sys::IsInParallelMode() } {
        Error::new(
            ERRCODE_INVALID_TRANSACTION_STATE,
            "cannot use pg_background for the first time in a session during a parallel operation",
        )
        .detail("Its settings could not be defined.")
        .hint("Mark functions that call those of pg_background as PARALLEL UNSAFE.")
        .raise();
    }
}

fn define_each() {
    check_may_define();
    // SAFETY: one call of the shim each, with a zero-terminated constant.
    unsafe {
        let prefix = PREFIX.as_ptr();
        HIDDEN.set(Hidden {
            configuration: guarded(|| shim::pgb_hides_configuration(prefix)),
            catalog: guarded(|| shim::pgb_hides_catalog(prefix)),
        });
    }
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
        c"Time that a background job may take, all of its statements together.",
        c"0 means that the statement_timeout of the launching session applies, to each statement.",
        &WORKER_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        ENABLED_NAME,
        c"Whether background jobs may be launched.",
        c"When off, launches are refused; jobs that run end normally.",
        &ENABLED,
        GucContext::Sighup,
        none,
    );
    WORKER_IDLE_TIMEOUT_IS.define(
        &WORKER_IDLE_TIMEOUT,
        c"How long a worker without a job stays.",
        c"0 means one process per job. DROP DATABASE waits 5 seconds for other sessions to leave, so keep this below.",
        GucContext::Sighup,
    );
    WORKER_MAX_JOBS_IS.define(
        &WORKER_MAX_JOBS,
        c"Jobs after which a worker is replaced by a fresh process.",
        c"Bounds the growth of a worker's caches.",
        GucContext::Sighup,
    );
    MAX_POOL_WORKERS_IS.define(
        &MAX_POOL_WORKERS,
        c"Workers in the whole cluster at most.",
        c"-1 means three quarters of max_worker_processes.",
        GucContext::Sighup,
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
    MAX_MEMORY_IS.define(
        &MAX_MEMORY,
        c"Shared memory for requests, outcomes and result queues at most.",
        c"One half is for what is larger than 4 MB. -1 means 160 kB for each job of max_jobs, at least 640 MB.",
        GucContext::Sighup,
    );
    GucRegistry::define_int_guc(
        c"pg_background.role_max_jobs",
        c"Background jobs that the login role may have at a time, in all sessions and databases.",
        c"Queued, running and unread ones. -1 means half of max_jobs. Superusers who log in have no limit.",
        &ROLE_MAX_JOBS,
        -1,
        crate::engine::handle::MAX_JOBS as i32,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_int_guc(
        c"pg_background.role_max_memory",
        c"Shared memory that the background jobs of the login role may have at a time.",
        c"-1 means half of max_memory.",
        &ROLE_MAX_MEMORY,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"pg_background.role_max_disk",
        c"Disk space that the unread results of the login role may take up at a time.",
        c"-1 means the session's temp_file_limit, for all of them together.",
        &ROLE_MAX_DISK,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"pg_background.lane_max_workers",
        c"Workers that the login role may have at a time in this database.",
        c"-1 means any number; more jobs wait in their queue.",
        &LANE_MAX_WORKERS,
        -1,
        i32::from(u16::MAX),
        GucContext::Suset,
        none,
    );
    GucRegistry::define_enum_guc(
        c"pg_background.on_exhaustion",
        c"What a launch does when no worker is free.",
        c"wait: up to launch_timeout; error: raise an error at once; queue: return at once, the job runs when a worker is free.",
        &ON_EXHAUSTION,
        GucContext::Userset,
        none,
    );
    GucRegistry::define_bool_guc(
        c"pg_background.worker_reuse",
        c"Whether a job may run in a process that has run other jobs.",
        c"When off, each job of the session gets a fresh process, which ends with it.",
        &WORKER_REUSE,
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
    SPIN_IS.define(
        &SPIN,
        c"Microseconds a wait looks at shared memory before it sleeps.",
        c"0 turns it off. It is off by itself on one processor, and in an idle worker when other idle workers spin on all processors but one.",
        GucContext::Suset,
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
    DEFINED.set(true);
}
