//! The SQL-callable functions: decode arguments, check, call the leader, encode.
//!
//! The scripts in `sql/` name these functions; nothing is generated. Each is a C function of PostgreSQL's
//! version 1 calling convention, made by [`sql_function!`]. An error of our own becomes an `ereport` in
//! [`call`], and nowhere else. An error of a *job* is raised there too, by the shim, after every Rust frame
//! with something to destroy has been left: so it keeps all its fields.

pub mod functions;

use crate::engine::handle::Cookie;
use crate::pg::error::{Error, Failure};
use crate::pg::{settings, shim};
use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::panic::{ErrorReport, pgrx_extern_c_guard};

/// The arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments(pg_sys::FunctionCallInfo);

impl Arguments {
    /// For functions that need the call itself.
    pub fn call_info(self) -> pg_sys::FunctionCallInfo {
        self.0
    }

    fn raw(self, index: usize) -> Option<Datum> {
        // SAFETY: the server passes `nargs` arguments in line after the struct.
        unsafe {
            if index >= (*self.0).nargs as usize {
                return None;
            }
            let argument = (&raw const (*self.0).args)
                .cast::<pg_sys::NullableDatum>()
                .add(index)
                .read();
            (!argument.isnull).then_some(argument.value)
        }
    }

    /// An `int4`; `None` for NULL.
    pub fn int4(self, index: usize) -> Option<i32> {
        self.raw(index).map(|datum| datum.value() as i32)
    }

    /// A cookie; `None` for NULL.
    pub fn cookie(self, index: usize) -> Option<Cookie> {
        self.raw(index)
            .map(|datum| Cookie::from_sql(datum.value() as i64))
    }

    /// A `text`, in the server's encoding; `None` for NULL. Lives as long as the call.
    pub fn text<'a>(self, index: usize) -> Option<&'a [u8]> {
        let datum = self.raw(index)?;
        // SAFETY: the script declares this argument as text. Detoasted into the memory context of the call.
        unsafe {
            let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            let start = pgrx::varlena::vardata_any(value).cast();
            Some(std::slice::from_raw_parts(
                start,
                pgrx::varlena::varsize_any_exhdr(value),
            ))
        }
    }

    /// Makes the result NULL.
    pub fn null(self) -> Datum {
        // SAFETY: a field of the call that the function may set.
        unsafe { (*self.0).isnull = true };
        Datum::null()
    }
}

/// What the body of a function returns.
pub type Result = std::result::Result<Datum, Failure>;

/// What a function came to. No destructors: it is looked at after everything else was left.
#[derive(Clone, Copy)]
enum Outcome {
    Value(Datum),
    JobFailed {
        message: *const std::ffi::c_char,
        len: i32,
        pid: i32,
    },
}

fn raise(error: Error) -> ! {
    let mut report = ErrorReport::new(error.code, error.message, "pg_background");
    if let Some(detail) = error.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an error report of level ERROR does not return")
}

/// elog.h's ERROR.
const ERROR_LEVEL: i32 = PgLogLevel::ERROR as i32;

/// The body of every SQL-callable function.
///
/// # Safety
/// `fcinfo` is the argument of a call by the server.
pub unsafe fn call(fcinfo: pg_sys::FunctionCallInfo, body: fn(Arguments) -> Result) -> Datum {
    // SAFETY: nothing above this frame but the server. The guard turns a panic into an error.
    let outcome = unsafe {
        pgrx_extern_c_guard(move || {
            settings::define();
            match body(Arguments(fcinfo)) {
                Ok(value) => Outcome::Value(value),
                Err(Failure::Own(error)) => raise(error),
                Err(Failure::Job { message, pid }) => {
                    let copy = pg_sys::palloc(message.len()).cast::<u8>();
                    copy.copy_from_nonoverlapping(message.as_ptr(), message.len());
                    Outcome::JobFailed {
                        message: copy.cast(),
                        len: message.len() as i32,
                        pid,
                    }
                }
            }
        })
    };
    match outcome {
        Outcome::Value(value) => value,
        // SAFETY: jumps out of this frame and that of the SQL function, which hold nothing to destroy.
        Outcome::JobFailed { message, len, pid } => unsafe {
            shim::pgb_raise_message(message, len, ERROR_LEVEL, pid);
            unreachable!("an error was raised")
        },
    }
}

/// Makes a function callable from SQL under its own name.
macro_rules! sql_function {
    ($(#[$meta:meta])* $name:ident, $info:ident, $body:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            static RECORD: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }

        $(#[$meta])*
        ///
        /// # Safety
        /// Called by the server with the arguments that the script declares.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            const BODY: fn(Arguments) -> $crate::api::Result = $body;
            // SAFETY: by the caller.
            unsafe { $crate::api::call(fcinfo, BODY) }
        }
    };
}
pub(crate) use sql_function;
