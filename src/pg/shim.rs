//! What the C shim offers (`src/shim/shim.h`).
//!
//! A function that can throw is reached through [`guarded`], so that the jump becomes an unwinding of the
//! Rust frames above it.

use pgrx::pg_sys;
use std::ffi::{c_char, c_void};

/// Who a session is, or a job runs as. Layout as in `shim.h`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Who logged in; the lane's role.
    pub authenticated: pg_sys::Oid,
    /// After SET SESSION AUTHORIZATION.
    pub session: pg_sys::Oid,
    /// After SET ROLE.
    pub outer: pg_sys::Oid,
    /// The user whose rights count.
    pub current: pg_sys::Oid,
    /// `SECURITY_*` bits.
    pub sec_context: i32,
    /// SET ROLE is in effect.
    pub role_active: bool,
}

/// A setting to be made. Layout as in `shim.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Zero-terminated name.
    pub name: *const c_char,
    /// Zero-terminated value.
    pub value: *const c_char,
    /// Where it comes from: a `GucSource`.
    pub source: u32,
    /// Who may change it: a `GucContext`.
    pub scope: u32,
    /// Role that set it, from 15 on.
    pub role: pg_sys::Oid,
}

/// How to come to the leader's settings. Layout as in `shim.h`.
#[repr(C)]
pub struct GucTarget {
    /// All of them, as serialized by the leader.
    pub state: *const c_char,
    /// Only these have to be made; null: put on `state` as a whole.
    pub changes: *const Setting,
    /// How many `changes` there are.
    pub count: i32,
}

/// One job to execute. Layout as in `shim.h`.
#[repr(C)]
pub struct Run {
    /// Zero-terminated SQL text.
    pub sql: *const c_char,
    /// Who it runs as.
    pub identity: *const Identity,
    /// Milliseconds; -1: the session's `statement_timeout`.
    pub statement_timeout: i32,
    /// There is a result ring.
    pub send_rows: bool,
}

/// Kinds of frames in the result ring, as in `shim.h`.
pub mod frame {
    /// A `MinimalTuple`.
    pub const ROW: u8 = 1;
    /// Count (int32), then type oid and typmod of each column.
    pub const DESCRIPTION: u8 = 2;
    /// Description of an anonymous row type.
    pub const RECORD: u8 = 3;
    /// Command tag of one statement.
    pub const TAG: u8 = 4;
    /// Body of a `NoticeResponse` message.
    pub const NOTICE: u8 = 5;
}

/// Bits of `pgb_current_flags`.
pub mod flag {
    /// The running job was asked to be canceled.
    pub const CANCEL: u32 = 1;
    /// Its worker was asked to exit.
    pub const TERMINATE: u32 = 2;
}

unsafe extern "C-unwind" {
    pub fn pgb_root(
        name: *const c_char,
        size: usize,
        init: unsafe extern "C-unwind" fn(*mut c_void),
    ) -> *mut c_void;
    pub fn pgb_create_area(tranche: i32) -> *mut pg_sys::dsa_area;
    pub fn pgb_run(run: *const Run) -> bool;
    pub fn pgb_adopt(identity: *const Identity, settings: *const GucTarget) -> bool;
    pub fn pgb_forget_job();
    pub fn pgb_committed() -> bool;
    pub fn pgb_worker_loop(step: unsafe extern "C-unwind" fn());
    pub fn pgb_capture_identity(identity: *mut Identity);
    pub fn pgb_release_session_locks();
    pub fn pgb_reset_session() -> bool;
    pub fn pgb_session_init();
    pub fn pgb_idle_interrupts() -> bool;
    pub fn pgb_report_idle();
    pub fn pgb_install_signals();
    pub fn pgb_ignore_doorbell();
    pub fn pgb_clear_cancel();
    pub fn pgb_rearm_cancel();
    pub fn pgb_redirect_messages();
    pub fn pgb_raise_message(message: *const c_char, len: i32, max_level: i32, pid: i32);
    pub fn pgb_may_hold_record(type_oid: pg_sys::Oid) -> bool;
    pub fn pgb_remember_record(description: *const c_char, len: i32);
    pub fn pgb_forget_records();
    pub fn pgb_localize_record(type_oid: pg_sys::Oid, value: pg_sys::Datum) -> pg_sys::Datum;
}

/// Calls the shim; an error thrown in there unwinds from here.
///
/// # Safety
/// `call` must do nothing but call one function of the shim or of the server: a frame with a destructor
/// inside it would be jumped over.
pub unsafe fn guarded<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: on the main thread, and by the caller's promise there is nothing to be destroyed.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
