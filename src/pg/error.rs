//! Errors as values, and how they are raised.
//!
//! Functions of the leader return [`Failure`], which becomes an `ereport` in one place, in [`crate::api`]. Code that C
//! calls in the middle of a query uses [`Error::raise`], which raises the error at once. The error of a *job* is raised
//! by the shim with all its fields.
//!
//! An error of the server, or of user code that the server calls, passes through the functions of the leader as a
//! panic ([`crate::pg::boundary`]).

use crate::pg::memory::Bytes;
use crate::pg::shim;
use arrayvec::ArrayVec;
use engine::error_message::{QUERY_CANCELED, Sqlstate};
use engine::memory::OutOfMemory;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::{PgLogLevel, pg_sys};
use std::any::Any;
use std::ffi::CStr;
use std::fmt::{Display, Write};

/// An error of this extension.
#[derive(Debug)]
pub struct Error {
    /// SQLSTATE.
    pub code: PgSqlErrorCode,
    /// Primary message.
    pub message: String,
    /// `DETAIL`.
    pub detail: Option<String>,
    /// `HINT`.
    pub hint: Option<String>,
}

/// Why a function has failed.
#[derive(Debug)]
pub enum Failure {
    /// An error of this extension.
    Own(Error),
    /// The error of a job, which is raised unchanged.
    Job {
        /// Body of an `ErrorResponse` message.
        message: Bytes,
        /// Pid of the worker it came from.
        pid: i32,
    },
}

/// The maximum length of each text of an [`Error`]. The names in them are normally short; a longer text is cut.
const TEXT_LIMIT: usize = 1024;

struct Text(String);

impl Write for Text {
    #[allow(clippy::disallowed_methods, reason = "at most `TEXT_LIMIT` bytes")]
    fn write_str(&mut self, words: &str) -> std::fmt::Result {
        let kept = words.floor_char_boundary(TEXT_LIMIT - self.0.len());
        self.0.push_str(&words[..kept]);
        Ok(())
    }
}

fn text(words: impl Display) -> String {
    let mut text = Text(String::new());
    // Writing into it never fails.
    let _ = write!(text, "{words}");
    text.0
}

impl Error {
    /// An error without detail and hint.
    pub fn new(code: PgSqlErrorCode, message: impl Display) -> Self {
        Self {
            code,
            message: text(message),
            detail: None,
            hint: None,
        }
    }

    /// This process has no memory for a user's request.
    pub fn out_of_memory() -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
    }

    /// Its SQLSTATE as five characters.
    pub fn sqlstate(&self) -> [u8; 5] {
        sqlstate(self.code as i32)
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Display) -> Self {
        self.detail = Some(text(detail));
        self
    }

    /// Raises it.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.code, self.message, "pg_background");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an error report of level ERROR does not return")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(text(hint));
        self
    }
}

/// An SQLSTATE as five characters, unpacked as elog.h packs it: six bits each, from the lowest.
fn sqlstate(code: i32) -> Sqlstate {
    std::array::from_fn(|at| ((code >> (6 * at)) & 0x3f) as u8 + b'0')
}

/// How many bytes of a message are compared with the message of a cancel.
const MESSAGE_LIMIT: usize = 1024;

/// The cause of a panic.
pub enum Caught {
    /// An error of the server, which is noted.
    Noted(&'static pg_sys::ErrorData),
    /// An [`Error`] that was raised, or an error that was noted and is forgotten.
    Report {
        /// SQLSTATE.
        code: PgSqlErrorCode,
        /// Primary message.
        message: Bytes,
    },
    /// No error: a bug.
    Bug,
}

/// The cause of the panic with this payload. A noted error stays until [`forget`].
pub fn caught(payload: &(dyn Any + Send)) -> Caught {
    let report = match payload.downcast_ref::<CaughtError>() {
        Some(CaughtError::PostgresError(report)) => {
            // SAFETY: the noted error stays until the next is noted or it is forgotten.
            if let Some(noted) = unsafe { shim::pgb_noted_error().as_ref() } {
                return Caught::Noted(noted);
            }
            Some(report)
        }
        Some(CaughtError::ErrorReport(report)) => Some(report),
        Some(CaughtError::RustPanic { .. }) => None,
        None => payload.downcast_ref::<ErrorReportWithLevel>(),
    };
    report.map_or(Caught::Bug, |report| Caught::Report {
        code: report.sql_error_code(),
        message: Bytes::copy(report.message().as_bytes()),
    })
}

/// Whether an error is noted.
pub fn is_noted() -> bool {
    // SAFETY: reads a static of the shim.
    !unsafe { shim::pgb_noted_error() }.is_null()
}

/// Forgets the noted error.
pub fn forget() {
    // SAFETY: nothing refers to it any more.
    unsafe { shim::pgb_forget_error() };
}

impl Caught {
    /// SQLSTATE and primary message; `None`: it is a bug, not an error.
    pub fn summary(&self) -> Option<(Sqlstate, &[u8])> {
        match self {
            Self::Noted(noted) if noted.message.is_null() => {
                Some((sqlstate(noted.sqlerrcode), &[][..]))
            }
            // SAFETY: a zero-terminated text.
            Self::Noted(noted) => Some((sqlstate(noted.sqlerrcode), unsafe {
                CStr::from_ptr(noted.message).to_bytes()
            })),
            Self::Report { code, message } => Some((sqlstate(*code as i32), message.bytes())),
            Self::Bug => None,
        }
    }

    /// Its primary message.
    pub fn text(&self) -> String {
        let message = self.summary().map(|(_, message)| message);
        message.map_or_else(
            || text("an unexpected failure"),
            |message| text(String::from_utf8_lossy(message)),
        )
    }

    /// Whether it is the cancel or the timeout of this session's statement, not an error of user code or of a job with
    /// the same SQLSTATE.
    pub fn cancels_statement(&self) -> bool {
        let Some((QUERY_CANCELED, message)) = self.summary() else {
            return false;
        };
        let mut text = ArrayVec::<u8, MESSAGE_LIMIT>::new();
        let (kept, _) = message.split_at(message.len().min(MESSAGE_LIMIT - 1));
        let _ = text.try_extend_from_slice(kept);
        text.push(0);
        // SAFETY: a zero-terminated text.
        unsafe { shim::pgb_cancels_statement(text.as_ptr().cast()) }
    }
}

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Self {
        Self::out_of_memory()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}
