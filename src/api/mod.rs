//! The SQL-callable functions: they decode arguments, call [`crate::session`] and encode the result.
//!
//! The scripts in `sql/` name these functions; they are not generated (`cargo pgrx` writes the installing script
//! itself, from ours, see below). Each function is a C function of PostgreSQL's version 1 calling convention, made by
//! [`sql_function!`]. [`call`] is the only place where an error of the extension becomes an `ereport`. The shim raises
//! a *job's* error there too, after all Rust frames with destructors have returned, so the error keeps all its fields.
//! Errors of the server, and of users' code that a function calls (casts, domains, output functions), are raised in the
//! same way.
//!
//! Several SQL functions share a C function: names of different versions, and overloads. Where they differ, the C
//! function checks the number of arguments and the declared result type. Some composite types differ between versions,
//! and an upgrade keeps the type that the database has. They are filled by attribute name.
//!
//! | module | subject |
//! |---|---|
//! | [`launch`] | launch and submit |
//! | [`autonomous`] | one statement in a transaction of its own |
//! | [`result`] | results, and jobs run from launch to end in one call |
//! | [`control`] | detach, cancel, wait |
//! | [`many`] | waiting for many jobs |
//! | [`fanout`] | fan-out |
//! | [`view`] | lists, statistics, progress, outcomes |
//! | [`roles`] | the jobs of login roles, for administrators |
//! | [`pool`] | the workers and resources of the cluster |
//! | `fault` | arming fault points, in builds for tests |
//! | [`old_names`] | C functions that only catalogs of older versions name |

mod autonomous;
mod control;
mod fanout;
#[cfg(feature = "faults")]
mod fault;
mod launch;
mod many;
mod old_names;
pub mod pool;
mod result;
mod roles;
mod view;

use crate::pg::error::{Error, Failure};
use crate::pg::rows::Caller;
use crate::pg::server;
use crate::pg::tuple::{Value, composite, composite_by_name};
use crate::pg::{allocator, array, boundary, shim};
use crate::session::jobs;
use crate::session::jobs::JobName;
use crate::session::wait::many::Handle;
use crate::settings;
use engine::cookie::Cookie;
use engine::memory;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

// `cargo pgrx install` and `package` do not copy the installing script. They write one from a section of the library,
// into which this puts ours. (These 50 kB of the file are never read by a process.)
pgrx::extension_sql_file!(
    "../../sql/pg_background--3.0.sql",
    name = "pg_background",
    finalize
);

/// What a function of type void returns.
const VOID: Datum = Datum::null();

/// Most functions are strict, so their arguments are not NULL.
const STRICT: &str = "declared strict";

/// The arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments(pg_sys::FunctionCallInfo);

impl Arguments {
    /// An argument of any type; `None` for NULL.
    pub fn raw(self, index: usize) -> Option<Datum> {
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

    /// A `bool`; `None` for NULL.
    pub fn bool(self, index: usize) -> Option<bool> {
        self.raw(index).map(|datum| datum.value() as u8 != 0)
    }

    /// A cookie; `None` for NULL.
    pub fn cookie(self, index: usize) -> Option<Cookie> {
        self.raw(index)
            .map(|datum| Cookie::from_sql(datum.value() as i64))
    }

    /// A `text`, in the server's encoding; `None` for NULL. Lives as long as the call.
    pub fn text<'a>(self, index: usize) -> Option<&'a [u8]> {
        let datum = self.raw(index)?;
        // SAFETY: the script declares this argument as text.
        Some(unsafe { array::text_bytes(datum) })
    }

    /// The arguments from the one with this index on, as parameters of a job; none if there is no such argument. They
    /// live as long as the call.
    ///
    /// # Safety
    /// The script declares them as VARIADIC "any".
    pub unsafe fn params<'a>(self, first: i32) -> &'a [u8] {
        if self.count() as i32 <= first {
            return &[];
        }
        let mut len = 0;
        let into = &raw mut len;
        // SAFETY: by the caller.
        unsafe {
            let start = shim::pgb_params(self.0, first, into);
            std::slice::from_raw_parts(start.cast::<u8>(), len as usize)
        }
    }

    /// The type of an argument in the calling query.
    pub fn type_of(self, index: i32) -> pg_sys::Oid {
        // SAFETY: looks at the expression of the call.
        unsafe { server::get_fn_expr_argtype((*self.0).flinfo, index) }
    }

    /// The number of arguments.
    pub fn count(self) -> usize {
        // SAFETY: a field of the call.
        unsafe { (*self.0).nargs as usize }
    }

    /// The result type that the function is declared with.
    pub fn result_type(self) -> pg_sys::Oid {
        // SAFETY: a catalog lookup of the function that is being called.
        unsafe { server::get_func_rettype((*(*self.0).flinfo).fn_oid) }
    }

    /// The job that a version 1 function names: its only argument is a pid.
    pub fn pid(self) -> JobName {
        JobName::Pid(self.int4(0).expect(STRICT))
    }

    /// The job that a function with pid and cookie names: its first two arguments.
    pub fn handle(self) -> JobName {
        JobName::Handle(self.int4(0).expect(STRICT), self.cookie(1).expect(STRICT))
    }

    /// The same for a function that is not strict; `None` if the pid or the cookie is NULL.
    ///
    /// # Errors
    /// As [`jobs::check_no_cookie`].
    pub fn handle_or_null(self) -> std::result::Result<Option<JobName>, Error> {
        match (self.int4(0), self.cookie(1)) {
            (Some(pid), Some(cookie)) => Ok(Some(JobName::Handle(pid, cookie))),
            (pid, None) => jobs::check_no_cookie(pid).map(|()| None),
            (None, Some(_)) => Ok(None),
        }
    }

    /// The elements of an array of handles; none for NULL. An element that is NULL is a handle of NULLs.
    ///
    /// # Errors
    /// 53200 out of memory
    pub fn handles(self, index: usize) -> std::result::Result<Vec<Handle>, Error> {
        let Some(array) = self.raw(index) else {
            return Ok(Vec::new());
        };
        // SAFETY: the script declares this argument as an array of handles: pid, then cookie.
        let elements = unsafe { array::elements(array) };
        let mut found = Vec::new();
        memory::try_reserve_exact(&mut found, elements.len())?;
        for element in elements {
            server::check_for_interrupts();
            // SAFETY: as above.
            let part = |number| element.and_then(|row| unsafe { array::attribute(row, number) });
            let handle = Handle {
                pid: part(1).map(|pid| pid.value() as i32),
                cookie: part(2).map(|cookie| Cookie::from_sql(cookie.value() as i64)),
            };
            memory::try_push(&mut found, handle)?;
        }
        Ok(found)
    }

    /// A row of the declared result type.
    pub fn row<const N: usize>(self, values: [Value; N]) -> Datum {
        // SAFETY: the script declares the result as a composite type of these attributes.
        unsafe { composite(self.0, values) }
    }

    /// A row of the declared result type, where that type differs between versions: each value goes into the attribute
    /// of its name.
    pub fn row_by_name<const N: usize>(self, names: [&str; N], values: [Value; N]) -> Datum {
        // SAFETY: the scripts declare the result as a composite type in which these names have these types.
        unsafe { composite_by_name(self.0, names, values) }
    }

    /// What the calling query expects of a set-returning function.
    ///
    /// # Errors
    /// 0A000 it cannot take a set, or has no column list
    pub fn caller(self) -> std::result::Result<Caller, Error> {
        // SAFETY: the script declares that the function returns a set.
        unsafe { Caller::of(self.0) }
    }

    /// The call itself.
    pub fn call_info(self) -> pg_sys::FunctionCallInfo {
        self.0
    }

    /// Makes the result NULL.
    pub fn null(self) -> Datum {
        // SAFETY: a field of the call that the function may set.
        unsafe { (*self.0).isnull = true };
        Datum::null()
    }
}

/// The result of a function body.
pub type Result = std::result::Result<Datum, Failure>;

/// How the body of a function ended. Has no destructors, because it is handled after all other frames have returned.
#[derive(Clone, Copy)]
enum CallEnd {
    Value(Datum),
    JobFailed {
        message: *const std::ffi::c_char,
        len: i32,
        pid: i32,
    },
}

/// The body of every SQL-callable function.
///
/// # Safety
/// `fcinfo` is the argument of a call by the server.
pub unsafe fn call(fcinfo: pg_sys::FunctionCallInfo, body: fn(Arguments) -> Result) -> Datum {
    // SAFETY: only the server is above this frame, which has nothing to drop.
    let outcome = unsafe {
        boundary::enter(move || {
            if allocator::check().is_err() {
                Error::out_of_memory().raise();
            }
            settings::define();
            let _call = jobs::SessionCall::begin();
            match body(Arguments(fcinfo)) {
                Ok(value) => CallEnd::Value(value),
                Err(Failure::Own(error)) => error.raise(),
                Err(Failure::Job { message, pid }) => CallEnd::JobFailed {
                    message: message.start().cast(),
                    len: message.len() as i32,
                    pid,
                },
            }
        })
    };
    match outcome {
        CallEnd::Value(value) => value,
        // SAFETY: jumps out of this frame and that of the SQL function, which hold nothing to drop.
        CallEnd::JobFailed { message, len, pid } => unsafe {
            boundary::raise_error_of_job(message, len, pid)
        },
    }
}

/// Tells the server which calling convention the function of that name has.
macro_rules! function_record {
    ($info:ident) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            static RECORD: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }
    };
}
pub(crate) use function_record;

/// Makes a function callable from SQL under its own name.
macro_rules! sql_function {
    ($(#[$meta:meta])* $name:ident, $info:ident, $body:expr) => {
        $crate::api::function_record!($info);

        $(#[$meta])*
        ///
        /// # Safety
        /// Called by the server with the arguments that the script declares.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            const BODY: fn($crate::api::Arguments) -> $crate::api::Result = $body;
            // SAFETY: by the caller.
            unsafe { $crate::api::call(fcinfo, BODY) }
        }
    };
}
pub(crate) use sql_function;
