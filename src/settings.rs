//! The extension's own settings.
//!
//! None has context POSTMASTER: a library that is not preloaded could not define it.
//!
//! # A worker defines them late
//!
//! Before 16 the server sorts its table of settings after each definition: defining a dozen takes a sixth of the time
//! that a process needs to start, and the first job of a lane waits for that. A worker itself needs only a few of them.
//! So if the library was not preloaded, a worker defines none at its start ([`define_at_load`]). It reads those few as
//! they are configured ([`read_configured`]), once, before it connects. When it has connected, it reads those that the
//! database or the role may have set ([`read_defaults`]), before any job can change them. All settings are defined
//! ([`define`])
//!
//! * when a function of the extension is called in the process, before it does anything;
//! * before a job whose text contains the name of the extension or asks for all settings ([`define_for`]);
//! * before the worker adopts a leader's settings that contain one of the extension's;
//! * when the configuration is read again.
//!
//! Until then a job sees the settings as a session does that has not loaded the library: a configured or set value is a
//! placeholder, which the definition takes over and checks. A job can notice the difference only if it reads such a
//! setting by a name that is not in its text (it is in the body of a function) and calls no function of the extension.

pub mod published;

use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::server;
use crate::pg::{library, shim};
use arrayvec::ArrayVec;
use engine::table::LABEL_LIMIT;
use pgrx::guc::GucEnum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE;
use pgrx::{GucContext, GucFlags, GucSetting, PostgresGucEnum, pg_sys};
use published::Published;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::RangeInclusive;
use std::ptr::null_mut;

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

/// Which forms a new install has of the names that versions 1.8 and 2.0 declare differently. Only the script reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum Forms {
    /// Those of 1.8.
    #[name = c"1.8"]
    OfVersion1,
    /// Those of 2.0.
    #[name = c"2.0"]
    OfVersion2,
}

/// Largest size of a result ring, bytes.
pub const MAX_QUEUE_SIZE: i32 = 256 * 1024 * 1024;

/// The default spin, microseconds: longer than a warm job and its wake-up take, and so short that another process would
/// hardly gain from the processor. Measured; see `docs/architecture.md`.
const DEFAULT_SPIN: i32 = 200;

/// The largest number of slots that the job table can have.
const MAX_TABLE_SIZE: i32 = engine::cookie::MAX_JOBS as i32;

/// When a worker needs a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// Not before all are defined.
    Later,
    /// At its start.
    AtStart,
    /// At its start, and again once it has connected: the database and the role may set it.
    Connected,
}

/// A row of the table.
trait Setting: Sync {
    fn row(&self) -> &Row;

    /// Reads it before it is defined. An invalid value counts as not configured, as in a definition.
    fn read(&self);

    fn define(&'static self);
}

/// The properties that all settings have.
struct Row {
    name: &'static CStr,
    context: fn() -> GucContext,
    needed: Needed,
    short: &'static CStr,
    long: &'static CStr,
}

impl Row {
    /// The configured value; null: it is not configured.
    fn text(&self) -> *const c_char {
        // SAFETY: a zero-terminated name.
        unsafe { server::GetConfigOption(self.name.as_ptr(), true, false) }
    }

    /// Who may change it, for the server.
    fn context(&self) -> pg_sys::GucContext::Type {
        (self.context)() as isize as pg_sys::GucContext::Type
    }

    /// Whether it is defined, and not only named in the configuration.
    fn is_defined(&self) -> bool {
        // SAFETY: one call of the shim, with a zero-terminated name.
        unsafe { shim::pgb_is_defined(self.name.as_ptr()) }
    }
}

/// A setting that is a number.
struct Number {
    row: Row,
    default: i32,
    /// The smallest and the largest value.
    bounds: fn() -> RangeInclusive<i32>,
    unit: GucFlags,
    defined: GucSetting<i32>,
    /// The value until it is defined.
    read: Local<i32>,
}

impl Number {
    const fn new(
        row: Row,
        default: i32,
        bounds: fn() -> RangeInclusive<i32>,
        unit: GucFlags,
    ) -> Self {
        Self {
            row,
            default,
            bounds,
            unit,
            defined: GucSetting::<i32>::new(default),
            read: Local::new(default),
        }
    }

    fn get(&self) -> i32 {
        if DEFINED.get() {
            self.defined.get()
        } else {
            self.read.get()
        }
    }

    /// The value to which `RESET` returns: nothing that was set in the session counts.
    fn get_reset(&self) -> i32 {
        if !DEFINED.get() {
            return self.read.get();
        }
        // SAFETY: the name of a setting that is defined; the text is used at once.
        unsafe { self.parse(server::GetConfigOptionResetString(self.row.name.as_ptr())) }
    }

    /// # Safety
    /// `text` is zero-terminated, or null: then it is the default, as for an invalid one.
    unsafe fn parse(&self, text: *const c_char) -> i32 {
        let mut value = self.default;
        // SAFETY: by the caller.
        let is_number = !text.is_null()
            && unsafe { server::parse_int(text, &raw mut value, self.unit.bits(), null_mut()) };
        let is_valid = is_number && (self.bounds)().contains(&value);
        if is_valid { value } else { self.default }
    }
}

impl Setting for Number {
    fn row(&self) -> &Row {
        &self.row
    }

    fn read(&self) {
        // SAFETY: a zero-terminated text, or null.
        self.read.set(unsafe { self.parse(self.row.text()) });
    }

    fn define(&'static self) {
        let row = &self.row;
        let (least, most) = (self.bounds)().into_inner();
        // SAFETY: static texts, and a static place for the value.
        unsafe {
            server::DefineCustomIntVariable(
                row.name.as_ptr(),
                row.short.as_ptr(),
                row.long.as_ptr(),
                self.defined.as_ptr(),
                self.default,
                least,
                most,
                row.context(),
                self.unit.bits(),
                None,
                None,
                None,
            );
        }
    }
}

/// A setting that is on or off.
struct Switch {
    row: Row,
    default: bool,
    defined: GucSetting<bool>,
    /// The value until it is defined.
    read: Local<bool>,
}

impl Switch {
    const fn new(row: Row, default: bool) -> Self {
        Self {
            row,
            default,
            defined: GucSetting::<bool>::new(default),
            read: Local::new(default),
        }
    }

    fn get(&self) -> bool {
        if DEFINED.get() {
            self.defined.get()
        } else {
            self.read.get()
        }
    }
}

impl Setting for Switch {
    fn row(&self) -> &Row {
        &self.row
    }

    fn read(&self) {
        let (text, mut value) = (self.row.text(), self.default);
        // SAFETY: a zero-terminated text.
        let is_valid = !text.is_null() && unsafe { server::parse_bool(text, &raw mut value) };
        self.read.set(if is_valid { value } else { self.default });
    }

    fn define(&'static self) {
        let row = &self.row;
        // SAFETY: static texts, and a static place for the value.
        unsafe {
            server::DefineCustomBoolVariable(
                row.name.as_ptr(),
                row.short.as_ptr(),
                row.long.as_ptr(),
                self.defined.as_ptr(),
                self.default,
                row.context(),
                0,
                None,
                None,
                None,
            );
        }
    }
}

/// A setting with one of several words. A worker does not need it before it is defined.
struct Mode<T: GucEnum + Copy + 'static> {
    row: Row,
    default: T,
    defined: GucSetting<T>,
}

impl<T: GucEnum + Copy + 'static> Mode<T> {
    const fn new(row: Row, default: T) -> Self {
        assert!(
            matches!(row.needed, Needed::Later),
            "nobody reads it before"
        );
        Self {
            row,
            default,
            defined: GucSetting::<T>::new(default),
        }
    }
}

impl<T: GucEnum + Copy + 'static> Setting for Mode<T>
where
    GucSetting<T>: Sync,
{
    fn row(&self) -> &Row {
        &self.row
    }

    fn read(&self) {}

    fn define(&'static self) {
        let row = &self.row;
        // SAFETY: static texts and words, and a static place for the value.
        unsafe {
            *self.defined.as_ptr() = self.default.to_ordinal();
            server::DefineCustomEnumVariable(
                row.name.as_ptr(),
                row.short.as_ptr(),
                row.long.as_ptr(),
                self.defined.as_ptr(),
                self.default.to_ordinal(),
                T::CONFIG_ENUM_ENTRY,
                row.context(),
                0,
                None,
                None,
                None,
            );
        }
    }
}

/// A setting that is a label of jobs. A worker does not need it before it is defined.
struct Label {
    row: Row,
    default: &'static CStr,
    defined: GucSetting<Option<CString>>,
}

impl Label {
    const fn new(row: Row, default: &'static CStr) -> Self {
        assert!(
            matches!(row.needed, Needed::Later),
            "nobody reads it before"
        );
        Self {
            row,
            default,
            defined: GucSetting::<Option<CString>>::new(Some(default)),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "an array of its own size")]
    fn get(&self) -> ArrayVec<u8, LABEL_LIMIT> {
        // SAFETY: the server keeps a zero-terminated text there, or null; it is copied at once.
        let text = unsafe {
            let text = *self.defined.as_ptr();
            if text.is_null() {
                c""
            } else {
                CStr::from_ptr(text)
            }
        };
        text.to_bytes().iter().copied().take(LABEL_LIMIT).collect()
    }
}

/// Whether a value is a label: not too long, and a text in the encoding of the database (an option of the client need
/// not be one).
unsafe extern "C-unwind" fn is_label(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the server passes a zero-terminated text, or null. Neither call throws; the detail is a constant.
    unsafe {
        if (*value).is_null() {
            return true;
        }
        let len = CStr::from_ptr(*value).count_bytes();
        if len > LABEL_LIMIT {
            pg_sys::GUC_check_errdetail_string = LABEL_TOO_LONG.as_ptr().cast_mut();
            return false;
        }
        server::pg_verifymbstr(*value, len as i32, true)
    }
}

/// [`LABEL_LIMIT`] in words.
const LABEL_TOO_LONG: &CStr = c"A label has at most 64 bytes.";
const _: () = assert!(LABEL_LIMIT == 64);

impl Setting for Label {
    fn row(&self) -> &Row {
        &self.row
    }

    fn read(&self) {}

    fn define(&'static self) {
        let row = &self.row;
        // SAFETY: static texts, and a static place for the value; the hook does not panic.
        unsafe {
            server::DefineCustomStringVariable(
                row.name.as_ptr(),
                row.short.as_ptr(),
                row.long.as_ptr(),
                self.defined.as_ptr(),
                self.default.as_ptr(),
                row.context(),
                0,
                Some(is_label),
                None,
                None,
            );
        }
    }
}

type ExhaustionMode = Mode<OnExhaustion>;
type FormsMode = Mode<Forms>;

/// Makes a static for each row, and the table of all rows, in the order of their definition.
macro_rules! settings {
    ($(
        $setting:ident: $kind:ident($($value:expr),+), $context:ident, $needed:ident,
        $name:literal, $short:literal, $long:literal;
    )+) => {
        $(static $setting: $kind = $kind::new(
            Row {
                name: $name,
                context: || GucContext::$context,
                needed: Needed::$needed,
                short: $short,
                long: $long,
            },
            $($value),+
        );)+

        static TABLE: &[&dyn Setting] = &[$(&$setting),+];
    };
}

const NO_UNIT: GucFlags = GucFlags::empty();
const BYTES: GucFlags = GucFlags::UNIT_BYTE;
const KILOBYTES: GucFlags = GucFlags::UNIT_KB;
const MILLISECONDS: GucFlags = GucFlags::UNIT_MS;

// Kind (default; of a number also its bounds and its unit), who may change it, when a worker needs it before all are
// defined; name, short and long description.
settings! {
    MAX_WORKERS: Number(16, || 1..=1000, NO_UNIT), Userset, Later,
        c"pg_background.max_workers",
        c"Maximum number of background jobs that this session may track at a time.",
        c"Counts every job that the session still tracks, including finished jobs with unread results.";
    DEFAULT_QUEUE_SIZE: Number(64 * 1024, || min_queue_size()..=MAX_QUEUE_SIZE, BYTES), Userset, Later,
        c"pg_background.default_queue_size",
        c"Size of a job's result buffer when the launch gives none.",
        c"Also used for a queue_size of 0 or less.";
    WORKER_TIMEOUT: Number(0, || 0..=i32::MAX, MILLISECONDS), Userset, Later,
        c"pg_background.worker_timeout",
        c"Maximum time that a background job may take, for all of its statements together.",
        c"0 means that the statement_timeout of the launching session applies to each statement.";
    ENABLED: Switch(true), Sighup, AtStart,
        c"pg_background.enabled",
        c"Whether background jobs may be launched.",
        c"When off, launches are refused; running jobs end normally.";
    WORKER_IDLE_TIMEOUT: Number(3000, || 0..=i32::MAX, MILLISECONDS), Sighup, AtStart,
        c"pg_background.worker_idle_timeout",
        c"Time after which a worker without a job exits.",
        c"0 means one process per job. DROP DATABASE waits 5 seconds for other sessions to exit, so keep this below 5 seconds.";
    WORKER_MAX_JOBS: Number(10_000, || 1..=i32::MAX, NO_UNIT), Sighup, AtStart,
        c"pg_background.worker_max_jobs",
        c"Number of jobs after which a worker is replaced by a fresh process.",
        c"Bounds the growth of a worker's caches.";
    PLAN_CACHE_SIZE: Number(8192, || 0..=i32::MAX, KILOBYTES), Sighup, AtStart,
        c"pg_background.plan_cache_size",
        c"Maximum memory that a worker uses for the plans of statements that it may run again.",
        c"0 means that each job is analyzed and planned.";
    MAX_POOL_WORKERS: Number(-1, || -1..=i32::from(u16::MAX), NO_UNIT), Sighup, AtStart,
        c"pg_background.max_pool_workers",
        c"Maximum number of workers in the whole cluster.",
        c"-1 means three quarters of max_worker_processes.";
    MAX_JOBS: Number(4096, || 16..=MAX_TABLE_SIZE, NO_UNIT), Sighup, Later,
        c"pg_background.max_jobs",
        c"Capacity of the job table, for the whole cluster.",
        c"Takes effect when the first job after a server start is launched.";
    MAX_MEMORY: Number(-1, || -1..=i32::MAX, KILOBYTES), Sighup, AtStart,
        c"pg_background.max_memory",
        c"Maximum shared memory for requests, outcomes and result buffers.",
        c"One half is for requests and results larger than 4 MB. -1 means 160 kB for each job of max_jobs, at least 640 MB.";
    ROLE_MAX_JOBS: Number(-1, || -1..=MAX_TABLE_SIZE, NO_UNIT), Suset, Later,
        c"pg_background.role_max_jobs",
        c"Maximum number of background jobs that the login role may have at a time, in all sessions and databases.",
        c"Counts queued, running and unread jobs. -1 means half of max_jobs. Login roles that are superusers have no limit.";
    ROLE_MAX_MEMORY: Number(-1, || -1..=i32::MAX, KILOBYTES), Suset, Later,
        c"pg_background.role_max_memory",
        c"Maximum shared memory that the background jobs of the login role may use at a time.",
        c"-1 means half of max_memory.";
    ROLE_MAX_DISK: Number(-1, || -1..=i32::MAX, KILOBYTES), Suset, Later,
        c"pg_background.role_max_disk",
        c"Maximum disk space that the unread results of the login role may use at a time.",
        c"-1 means the session's temp_file_limit, for all of these results together.";
    LANE_MAX_WORKERS: Number(-1, || -1..=i32::from(u16::MAX), NO_UNIT), Suset, Later,
        c"pg_background.lane_max_workers",
        c"Maximum number of workers that the login role may have at a time in this database.",
        c"-1 means no limit. Further jobs wait in their queue.";
    KEEP_WORKERS: Number(0, || 0..=i32::from(u16::MAX), NO_UNIT), Suset, Connected,
        c"pg_background.keep_workers",
        c"Number of idle workers of the login role in this database that stay beyond worker_idle_timeout.",
        c"They stay unless another role or database needs their slots, and hold up DROP DATABASE.";
    ON_EXHAUSTION: ExhaustionMode(OnExhaustion::Wait), Userset, Later,
        c"pg_background.on_exhaustion",
        c"What a launch does when no worker is free.",
        c"wait: up to launch_timeout; error: raise an error at once; queue: return at once, the job runs when a worker is free.";
    FORMS: FormsMode(Forms::OfVersion1), Userset, Later,
        c"pg_background.forms",
        c"Which forms CREATE EXTENSION makes of the names that versions 1.8 and 2.0 declare differently.",
        c"Later values have no effect on a database that has the extension.";
    WORKER_REUSE: Switch(true), Userset, Later,
        c"pg_background.worker_reuse",
        c"Whether a job may run in a process that has run other jobs.",
        c"When off, each job of the session gets a fresh process, which ends with it.";
    LABEL: Label(c""), Userset, Later,
        c"pg_background.label",
        c"Label of the jobs of this session.",
        c"A label that a function is given takes its place. At most 64 bytes; empty means none.";
    LAUNCH_TIMEOUT: Number(10_000, || 0..=i32::MAX, MILLISECONDS), Userset, Later,
        c"pg_background.launch_timeout",
        c"Maximum time that a launch waits for a free worker.",
        c"Applies when on_exhaustion is wait.";
    SPIN: Number(DEFAULT_SPIN, || 0..=10_000, NO_UNIT), Suset, Connected,
        c"pg_background.spin",
        c"Microseconds for which a wait checks shared memory before it sleeps.",
        c"0 turns spinning off. It is always off on a machine with one processor, and in an idle worker when other idle workers spin on all processors but one.";
}

/// Whether this process has defined the settings, or the postmaster had before it forked.
static DEFINED: Local<bool> = Local::new(false);

/// `pg_background.max_workers`: how many jobs a session may track.
pub fn max_workers() -> usize {
    MAX_WORKERS.get() as usize
}

/// `pg_background.default_queue_size`, bytes.
pub fn default_queue_size() -> i32 {
    DEFAULT_QUEUE_SIZE.get()
}

/// The smallest size of a result ring that a launch can request, bytes.
pub fn min_queue_size() -> i32 {
    // SAFETY: a constant of the server.
    unsafe { pg_sys::shm_mq_minimum_size as i32 }
}

/// `pg_background.worker_timeout`, milliseconds; 0: the leader's `statement_timeout` applies.
pub fn worker_timeout() -> i32 {
    WORKER_TIMEOUT.get()
}

/// `pg_background.enabled`, as it is configured now.
pub fn is_enabled() -> bool {
    published::current(Published::Enabled, own_value(Published::Enabled)) != 0
}

/// The value that this process has read of a setting that is published.
fn own_value(which: Published) -> i32 {
    match which {
        Published::Enabled => ENABLED.get().into(),
        Published::MaxPoolWorkers => MAX_POOL_WORKERS.get(),
        Published::MaxMemory => MAX_MEMORY.get(),
    }
}

/// Publishes the values that this process has read. In a worker, before a job.
pub fn publish() {
    published::publish(own_value);
}

/// In a worker that has just started; see [`published::publish_at_start`].
pub fn publish_at_start() {
    published::publish_at_start(own_value);
}

/// `pg_background.worker_idle_timeout`, milliseconds; 0: one process per job.
pub fn worker_idle_timeout() -> i32 {
    WORKER_IDLE_TIMEOUT.get()
}

/// `pg_background.keep_workers`, whatever a job's session has set. 0 while no jobs may be launched.
pub fn keep_workers() -> u32 {
    if is_enabled() {
        KEEP_WORKERS.get_reset().cast_unsigned()
    } else {
        0
    }
}

/// `pg_background.worker_max_jobs`.
pub fn worker_max_jobs() -> u32 {
    WORKER_MAX_JOBS.get() as u32
}

/// `pg_background.plan_cache_size`, bytes; 0: no plans are saved.
pub fn plan_cache_size() -> usize {
    PLAN_CACHE_SIZE.get() as usize * 1024
}

/// `pg_background.max_pool_workers` as it is configured now; `None`: the default.
pub fn max_pool_workers() -> Option<u32> {
    u32::try_from(published::current(
        Published::MaxPoolWorkers,
        own_value(Published::MaxPoolWorkers),
    ))
    .ok()
}

/// `pg_background.max_jobs`.
pub fn max_jobs() -> usize {
    MAX_JOBS.get() as usize
}

/// `pg_background.max_memory` as it is configured now, bytes; `None`: the default depends on `max_jobs`.
pub fn max_memory() -> Option<usize> {
    match published::current(Published::MaxMemory, own_value(Published::MaxMemory)) {
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

/// `pg_background.lane_max_workers`; 0: no limit.
pub fn lane_max_workers() -> u32 {
    u32::try_from(LANE_MAX_WORKERS.get()).unwrap_or(0)
}

/// `pg_background.on_exhaustion`.
pub fn on_exhaustion() -> OnExhaustion {
    ON_EXHAUSTION.defined.get()
}

/// `pg_background.worker_reuse`: whether a job may run in a process that has run others.
pub fn worker_reuse() -> bool {
    WORKER_REUSE.get()
}

/// `pg_background.launch_timeout`, milliseconds.
pub fn launch_timeout() -> i32 {
    LAUNCH_TIMEOUT.get()
}

/// `pg_background.label`; empty: none.
pub fn label() -> ArrayVec<u8, LABEL_LIMIT> {
    LABEL.get()
}

/// `pg_background.spin`, microseconds.
pub fn spin() -> u64 {
    SPIN.get() as u64
}

/// Called when the library is loaded: every process except the extension's own workers defines the settings now.
pub fn define_at_load() {
    if !library::is_own_worker() {
        define();
    }
}

/// Reads the settings that a worker needs, as they are configured. Only before the worker connects: afterwards a value
/// of the database or the role would look like the configured one.
pub fn read_configured() {
    read_where(|needed| needed != Needed::Later);
}

/// Reads the settings that the database or the role may have set. Only in a worker that has connected and run nothing.
pub fn read_defaults() {
    read_where(|needed| needed == Needed::Connected);
}

fn read_where(is_wanted: impl Fn(Needed) -> bool) {
    if !DEFINED.get() {
        TABLE
            .iter()
            .filter(|setting| is_wanted(setting.row().needed))
            .for_each(|setting| setting.read());
    }
}

/// The prefix of the names of the settings.
const PREFIX: &CStr = c"pg_background.";

/// Whether `state`, settings as bytes, contains one of the extension's settings.
pub fn names_own_setting(state: &[u8]) -> bool {
    let prefix = PREFIX.to_bytes();
    state.windows(prefix.len()).any(|window| window == prefix)
}

/// Defines all settings if `sql`, the text of a job, may read one.
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

/// Defines all settings, if this process has not yet. Returns whether it had not. Raises 25000 in a parallel operation.
pub fn define() -> bool {
    let fresh = !DEFINED.get();
    if fresh {
        define_each();
    }
    // An interrupt may have ended this early the last time. No function goes on until it is done.
    if HIDDEN.get() != Hidden::default() {
        read_hidden();
    }
    fresh
}

/// Where a value of the client, which the definition may refuse, hides another: in the configuration or in the catalog.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Hidden {
    configuration: bool,
    catalog: bool,
}

static HIDDEN: Local<Hidden> = Local::new(Hidden {
    configuration: false,
    catalog: false,
});

/// Reads the values of the database and the role from the catalog again.
pub fn read_catalog() {
    // SAFETY: one call of the shim, with a zero-terminated constant.
    unsafe { shim::pgb_read_catalog(PREFIX.as_ptr()) };
}

fn read_hidden() {
    // SAFETY: one call of the shim each, with a zero-terminated constant.
    unsafe {
        if HIDDEN.get().configuration {
            shim::pgb_read_files(PREFIX.as_ptr());
        }
        if HIDDEN.get().catalog {
            read_catalog();
        }
    }
    HIDDEN.set(Hidden::default());
}

/// Raises 25000 in a parallel operation. The server changes no setting then, so newly defined settings would have their
/// compiled-in defaults, whatever is configured, and keep them for the session. Loading the library then fails. A
/// function of the extension is called in a parallel operation only by a function that is wrongly marked as parallel
/// safe.
fn check_may_define() {
    // SAFETY: reads the state of the transaction.
    if unsafe { server::IsInParallelMode() } {
        Error::new(
            ERRCODE_INVALID_TRANSACTION_STATE,
            "cannot use pg_background for the first time in a session during a parallel operation",
        )
        .detail("The settings of pg_background cannot be defined during a parallel operation.")
        .hint("Mark functions that call those of pg_background as PARALLEL UNSAFE.")
        .raise();
    }
}

/// Whether the definition was begun before, and ended by an error: no memory.
static BEGUN: Local<bool> = Local::new(false);

fn define_each() {
    check_may_define();
    let again = BEGUN.get();
    BEGUN.set(true);
    // What was hidden the first time cannot be seen any more.
    // SAFETY: one call of the shim each, with a zero-terminated constant.
    unsafe {
        let prefix = PREFIX.as_ptr();
        HIDDEN.set(Hidden {
            configuration: again || shim::pgb_hides_configuration(prefix),
            catalog: again || shim::pgb_hides_catalog(prefix),
        });
    }
    // An interrupt must not leave only some of them defined. An error allows interrupts again.
    // SAFETY: a plain counter of this process.
    unsafe { pg_sys::InterruptHoldoffCount += 1 };
    for setting in TABLE {
        // None can be defined twice.
        if !again || !setting.row().is_defined() {
            setting.define();
        }
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a zero-terminated constant.
    unsafe {
        server::MarkGUCPrefixReserved(c"pg_background".as_ptr());
    }
    #[cfg(feature = "pg14")]
    // SAFETY: a zero-terminated constant.
    unsafe {
        server::EmitWarningsOnPlaceholders(c"pg_background".as_ptr());
    }
    DEFINED.set(true);
    // SAFETY: as above.
    unsafe { pg_sys::InterruptHoldoffCount -= 1 };
}
