//! The functions and structs of the C shim (`src/shim/shim.h`).
//!
//! `throwing!` and `not_throwing!` are those of [`guard`](crate::pg::guard): an error unwinds from a function of the
//! former, and none may leave one of the latter.

use crate::pg::guard::{not_throwing, throwing};
use pgrx::pg_sys;
use std::ffi::{c_char, c_void};

/// The identity of a session, or as which a job runs. As in `shim.h`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The login role, which is the lane's role.
    pub authenticated: pg_sys::Oid,
    /// After SET SESSION AUTHORIZATION.
    pub session: pg_sys::Oid,
    /// After SET ROLE.
    pub outer: pg_sys::Oid,
    /// The user whose privileges apply.
    pub current: pg_sys::Oid,
    /// `SECURITY_*` bits.
    pub sec_context: i32,
    /// Whether SET ROLE is in effect.
    pub role_active: bool,
}

/// What is reported. As in `shim.h`.
#[repr(C)]
pub struct Report {
    /// SQLSTATE, as elog.h packs it.
    pub code: i32,
    /// Line in `file`.
    pub line: i32,
    /// The source file.
    pub file: *const c_char,
    /// Primary message.
    pub message: *const c_char,
    /// `DETAIL`, or null.
    pub detail: *const c_char,
    /// `HINT`, or null.
    pub hint: *const c_char,
}

/// A leader's settings. As in `shim.h`.
#[repr(C)]
pub struct Settings {
    /// As [`crate::pg::guc_state`] serializes them.
    pub bytes: *const c_char,
    /// How many bytes.
    pub size: usize,
}

impl Settings {
    /// These settings, as long as `bytes` are there.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.as_ptr().cast(),
            size: bytes.len(),
        }
    }
}

/// One job to execute. As in `shim.h`.
#[repr(C)]
pub struct Run {
    /// Zero-terminated SQL text.
    pub sql: *const c_char,
    /// The identity as which it runs.
    pub identity: *const Identity,
    /// Milliseconds for the whole job; -1: no limit.
    pub time_limit: i32,
    /// Whether somebody wants the rows of the last statement, or the tags.
    pub send_rows: bool,
    /// As `pgb_params` made them; null: none.
    pub params: *const c_char,
    /// The label.
    pub label: *const c_char,
    /// Its length in bytes; 0: no label.
    pub label_len: i32,
    /// With `send_rows`: the type of the only value that is sent; invalid: all rows are sent.
    pub wanted: pg_sys::Oid,
    /// With `wanted`: its shape, as the leader sees the type.
    pub wanted_shape: *const Shape,
    /// The leader's settings, which were adopted.
    pub settings: *const Settings,
    /// Bytes that saved plans may need; 0: none is saved.
    pub plan_memory: usize,
}

/// The constants of `shared.h`, and assertions on the structs that are here and in C.
mod shared {
    use super::{
        Attempt as PgbAttempt, Identity as PgbIdentity, Run as PgbRun, Settings as PgbSettings,
        ShapeOfType as PgbShape,
    };
    use std::mem::offset_of;

    const fn member_size<T, M>(_: fn(&T) -> &M) -> u32 {
        size_of::<M>() as u32
    }

    include!(concat!(env!("OUT_DIR"), "/shared.rs"));
}

/// Kinds of frames in the result ring.
pub mod frame {
    use super::shared;

    /// A `MinimalTuple`.
    pub const ROW: u8 = shared::PGB_FRAME_ROW as u8;
    /// Length (int32) and descriptions of anonymous row types, padding to [`ALIGNMENT`], a `MinimalTuple`.
    pub const RECORDS_ROW: u8 = shared::PGB_FRAME_RECORDS_ROW as u8;
    /// Command tag of one statement.
    pub const TAG: u8 = shared::PGB_FRAME_TAG as u8;
    /// Body of a `NoticeResponse` message.
    pub const NOTICE: u8 = shared::PGB_FRAME_NOTICE as u8;
    /// Alignment of the `MinimalTuple` after the descriptions.
    pub const ALIGNMENT: usize = shared::PGB_FRAME_ALIGNMENT as usize;
}

/// How an element was bound.
pub mod binding {
    use super::shared;

    /// Its parameters were serialized.
    pub const BOUND: u32 = shared::PGB_BOUND;
    /// A row type in it was altered.
    pub const TYPE_ALTERED: u32 = shared::PGB_TYPE_ALTERED;
    /// A type of a parameter was dropped.
    pub const TYPE_DROPPED: u32 = shared::PGB_TYPE_DROPPED;
}

/// The prefix of the names of the server's temporary files.
pub use shared::PGB_TEMP_FILE_PREFIX as TEMP_FILE_PREFIX;

/// Bytes of a [`Shape`].
pub const SHAPE_SIZE: usize = shared::PGB_SHAPE_SIZE as usize;

/// A hash of the columns of all named row types in a type (`shape.c`); all zero: there is none.
pub type Shape = [u8; SHAPE_SIZE];

/// A [`Shape`] as C returns it.
#[repr(C)]
pub struct ShapeOfType {
    /// The shape.
    pub hash: Shape,
}

/// The types of one result, which may be altered meanwhile (`shape.c`).
#[repr(C)]
pub struct TypeWatch {
    _opaque: [u8; 0],
}

/// The elements of an array, each as the parameters of a job (`elements.c`).
#[repr(C)]
pub struct Elements {
    _opaque: [u8; 0],
}

/// Anonymous row types of one result (`record.c`).
#[repr(C)]
pub struct Records {
    _opaque: [u8; 0],
}

/// The state of a conversion of rows to JSON (`json.c`).
#[repr(C)]
pub struct Json {
    _opaque: [u8; 0],
}

/// What a subtransaction restores at its end (`error.c`).
#[repr(C)]
pub struct Attempt {
    /// The memory context at its beginning.
    pub context: pg_sys::MemoryContext,
    /// The resource owner at its beginning.
    pub owner: pg_sys::ResourceOwner,
}

/// Bits of `pgb_current_flags`.
pub mod flag {
    use super::shared;

    /// A cancel of the running job is pending.
    pub const CANCEL: u32 = shared::PGB_JOB_CANCEL;
    /// Its worker was asked to exit.
    pub const TERMINATE: u32 = shared::PGB_JOB_TERMINATE;
    /// The cancel stays pending until the job ends.
    pub const INSISTS: u32 = shared::PGB_JOB_INSISTS;
}

throwing! {
    fn pgb_install_signals();
    fn pgb_prepare_runs();
    fn pgb_root(
        name: *const c_char,
        size: usize,
        init: unsafe extern "C-unwind" fn(*mut c_void),
    ) -> *mut c_void;
    fn pgb_init_locks(tranche: *mut i32, locks: *const *mut pg_sys::LWLock, count: i32);
    fn pgb_create_area(
        tranche: i32,
        limit: usize,
        total_size: *mut usize,
    ) -> *mut pg_sys::dsa_area;
    fn pgb_create_segment(size: usize, address: *mut *mut c_void) -> u32;
    fn pgb_map_segment(handle: u32) -> *mut c_void;
    fn pgb_run(run: *const Run) -> bool;
    fn pgb_adopt(identity: *const Identity, settings: *const Settings) -> bool;
    fn pgb_reset_session() -> bool;
    fn pgb_session_init();
    fn pgb_settings_to_send(state: *const c_char, bytes: *mut c_char, size: usize) -> usize;
    fn pgb_hides_configuration(prefix: *const c_char) -> bool;
    fn pgb_is_defined(name: *const c_char) -> bool;
    fn pgb_hides_catalog(prefix: *const c_char) -> bool;
    fn pgb_read_files(prefix: *const c_char);
    fn pgb_read_catalog(prefix: *const c_char);
    fn pgb_note_configuration();
    fn pgb_idle_interrupts() -> bool;
    fn pgb_report_idle();
    fn pgb_be_the_only_copy();
    fn pgb_can_connect_again() -> bool;
    fn pgb_next_transaction();
    fn pgb_port_without_client();
    fn pgb_raise_message(message: *const c_char, len: i32, max_level: i32, pid: i32);
    fn pgb_report(level: i32, report: *const Report);
    fn pgb_begin_attempt(attempt: *mut Attempt) -> bool;
    fn pgb_end_attempt(attempt: *const Attempt, succeeded: bool);
    fn pgb_text_of(output: pg_sys::Oid, value: pg_sys::Datum) -> pg_sys::Datum;
    fn pgb_coerce_length(
        coercion: pg_sys::Oid,
        value: pg_sys::Datum,
        typmod: i32,
    ) -> pg_sys::Datum;
    fn pgb_check_domain(domain: pg_sys::Oid, row: pg_sys::Datum);
    fn pgb_parse_type(name: *const c_char, type_oid: *mut pg_sys::Oid, typmod: *mut i32);
    fn pgb_shape(type_oid: pg_sys::Oid) -> ShapeOfType;
    fn pgb_has_shape(type_oid: pg_sys::Oid, expected: *const Shape) -> bool;
    fn pgb_watch_type(watch: *mut TypeWatch, type_oid: pg_sys::Oid, shape: *const Shape);
    fn pgb_check_watched(watch: *mut TypeWatch);
    fn pgb_records(context: pg_sys::MemoryContext) -> *mut Records;
    fn pgb_remember_records(records: *mut Records, descriptions: *const c_char, len: i32);
    fn pgb_localize_record(
        records: *mut Records,
        type_oid: pg_sys::Oid,
        value: pg_sys::Datum,
    ) -> pg_sys::Datum;
    fn pgb_params(fcinfo: pg_sys::FunctionCallInfo, first: i32, len: *mut i32) -> *const c_char;
    fn pgb_elements(context: pg_sys::MemoryContext, array: pg_sys::Datum) -> *mut Elements;
    fn pgb_bind_element(
        elements: *mut Elements,
        bytes: *mut *const c_char,
        len: *mut i32,
    ) -> u32;
    fn pgb_spill_tablespace() -> pg_sys::Oid;
    fn pgb_spill_write(
        path: *const c_char,
        directory: *const c_char,
        offset: i64,
        bytes: *const c_char,
        len: i32,
    );
    fn pgb_spill_empty(path: *const c_char);
    fn pgb_spill_open(path: *const c_char) -> i32;
    fn pgb_spill_read(file: i32, offset: i64, into: *mut c_char, len: i32);
    fn pgb_put_tuples(
        store: *mut pg_sys::Tuplestorestate,
        tuples: *const *const u8,
        count: i32,
    );
    fn pgb_json(desc: pg_sys::TupleDesc, is_binary: bool) -> *mut Json;
    fn pgb_json_row(
        json: *mut Json,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> pg_sys::Datum;
    fn pgb_json_tag(tag: *const c_char, len: i32, is_binary: bool) -> pg_sys::Datum;
    fn pgb_json_array_push(array: *mut c_void, element: pg_sys::Datum) -> *mut c_void;
    fn pgb_json_array_end(array: *mut c_void) -> pg_sys::Datum;
}

not_throwing! {
    fn pgb_reserve_root(
        name: *const c_char,
        size: usize,
        init: unsafe extern "C-unwind" fn(*mut c_void),
    );
    fn pgb_area_size(area: *mut pg_sys::dsa_area, total_size: usize) -> usize;
    fn pgb_reach(area: *mut pg_sys::dsa_area, pointer: pg_sys::dsa_pointer) -> *mut c_void;
    fn pgb_try_allocate(area: *mut pg_sys::dsa_area, size: usize) -> pg_sys::dsa_pointer;
    fn pgb_free(area: *mut pg_sys::dsa_area, pointer: pg_sys::dsa_pointer);
    fn pgb_try_store(bytes: *const c_char, size: usize) -> u32;
    fn pgb_unmap_segment(handle: u32);
    fn pgb_free_segment(handle: u32);
    fn pgb_completion(row_count: *mut i64) -> *const c_char;
    fn pgb_forget_job();
    fn pgb_committed() -> bool;
    fn pgb_worker_loop(step: unsafe extern "C-unwind" fn());
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    fn pgb_settings_image(bytes: *mut c_char, size: usize) -> usize;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    fn pgb_role_image(bytes: *mut c_char, size: usize) -> usize;
    fn pgb_ignore_signal();
    fn pgb_raise_cancel();
    fn pgb_is_cancel(message: *const c_char) -> bool;
    fn pgb_signal_worker(pid: i32, terminate: bool);
    fn pgb_nudge_postmaster();
    fn pgb_library_path() -> *const c_char;
    fn pgb_library_is_in_place() -> bool;
    fn pgb_now() -> u64;
    fn pgb_events_are_read() -> bool;
    fn pgb_write_event(text: *const c_char);
    fn pgb_transitions_are_read() -> bool;
    fn pgb_write_transition(text: *const c_char, is_first: bool);
    fn pgb_log_unattached(why: *const c_char, len: usize);
    fn pgb_watch_drops();
    fn pgb_waits_for_own_pin(pid: i32) -> bool;
    fn pgb_may_end_transaction(fcinfo: pg_sys::FunctionCallInfo) -> bool;
    fn pgb_waits_for_transaction(pid: i32) -> bool;
    fn pgb_redirect_messages();
    fn pgb_raise_error(note: *mut pg_sys::ErrorData) -> !;
    fn pgb_cancels_statement(message: *const c_char) -> bool;
    fn pgb_end_session_without_memory(size: usize) -> !;
    fn pgb_panic(why: *const c_char, len: usize) -> !;
    fn pgb_may_hold_record(type_oid: pg_sys::Oid) -> bool;
    fn pgb_watch_of(records: *mut Records) -> *mut TypeWatch;
    fn pgb_count_elements(elements: *const Elements) -> i32;
    fn pgb_pass_element(elements: *mut Elements);
    fn pgb_spill_open_rest(path: *const c_char, directory: *const c_char) -> i32;
    fn pgb_spill_close(file: i32);
}
