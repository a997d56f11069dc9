//! Errors as values, and how they are raised.
//!
//! Functions of the leader return [`Failure`], which becomes an `ereport` in one place, in [`crate::api`]. Code that C
//! calls in the middle of a query uses [`Error::raise`], which raises the error at once. The error of a *job* is raised
//! by the shim with all its fields.
//!
//! An error of the server, or of user code that the server calls, passes through the functions of the leader as a
//! panic ([`crate::pg::boundary`]).

use crate::pg::guard::ServerError;
use crate::pg::memory::Bytes;
use crate::pg::shim;
use crate::pg::shim::Report;
use arrayvec::ArrayVec;
use engine::error_message::{QUERY_CANCELED, Sqlstate};
use engine::memory::OutOfMemory;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::{PgLogLevel, pg_sys};
use std::any::Any;
use std::ffi::{CStr, c_char};
use std::fmt::{Display, Write};
use std::panic::{Location, resume_unwind};
use std::ptr::null;

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
    raised_at: Option<&'static Location<'static>>,
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
            raised_at: None,
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
    #[track_caller]
    pub fn raise(mut self) -> ! {
        self.raised_at = Some(Location::caller());
        resume_unwind(Box::new(self))
    }

    /// Writes it where it can be reported from when it is gone.
    pub fn write(&self, texts: &mut Texts) {
        let (detail, hint) = (self.detail.as_deref(), self.hint.as_deref());
        texts.set(self.code, &self.message, detail, hint, self.raised_at);
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(text(hint));
        self
    }
}

/// The texts of a report, which are there when no frame of Rust is left.
pub struct Texts {
    code: PgSqlErrorCode,
    file: [u8; TEXT_LIMIT + 1],
    line: u32,
    message: [u8; TEXT_LIMIT + 1],
    detail: Option<[u8; TEXT_LIMIT + 1]>,
    hint: Option<[u8; TEXT_LIMIT + 1]>,
}

/// A zero-terminated text, cut to its maximum length.
fn terminated(text: &str) -> [u8; TEXT_LIMIT + 1] {
    let kept = &text.as_bytes()[..text.floor_char_boundary(TEXT_LIMIT)];
    let mut terminated = [0; TEXT_LIMIT + 1];
    terminated[..kept.len()].copy_from_slice(kept);
    terminated
}

impl Texts {
    /// Without any text.
    pub const fn none() -> Self {
        Self {
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            file: [0; TEXT_LIMIT + 1],
            line: 0,
            message: [0; TEXT_LIMIT + 1],
            detail: None,
            hint: None,
        }
    }

    /// Replaces them.
    pub fn set(
        &mut self,
        code: PgSqlErrorCode,
        message: &str,
        detail: Option<&str>,
        hint: Option<&str>,
        at: Option<&Location<'_>>,
    ) {
        *self = Self {
            code,
            file: terminated(at.map_or("", Location::file)),
            line: at.map_or(0, Location::line),
            message: terminated(message),
            detail: detail.map(terminated),
            hint: hint.map(terminated),
        };
    }

    /// As the shim reports them. Valid until they are replaced.
    pub fn report(&self) -> Report {
        let start = |text: &[u8; TEXT_LIMIT + 1]| text.as_ptr().cast::<c_char>();
        Report {
            code: self.code as i32,
            line: self.line.cast_signed(),
            file: start(&self.file),
            message: start(&self.message),
            detail: self.detail.as_ref().map_or(null(), start),
            hint: self.hint.as_ref().map_or(null(), start),
        }
    }
}

/// Reports a warning, which may throw what a hook of another library throws.
#[track_caller]
pub fn warn(message: impl Display) {
    let warning = Error::new(PgSqlErrorCode::ERRCODE_WARNING, message);
    report(PgLogLevel::WARNING, warning);
}

/// Reports an error in some other level than ERROR, at once: the process ends after FATAL.
#[track_caller]
pub fn report(level: PgLogLevel, mut error: Error) {
    let mut texts = Texts::none();
    error.raised_at = Some(Location::caller());
    error.write(&mut texts);
    drop(error);
    let report = texts.report();
    // SAFETY: the texts stay during the call.
    unsafe { shim::pgb_report(level as i32, &raw const report) };
}

/// An SQLSTATE as five characters, unpacked as elog.h packs it: six bits each, from the lowest.
fn sqlstate(code: i32) -> Sqlstate {
    std::array::from_fn(|at| ((code >> (6 * at)) & 0x3f) as u8 + b'0')
}

/// How many bytes of a message are compared with the message of a cancel.
const MESSAGE_LIMIT: usize = 1024;

/// The cause of a panic.
pub enum Caught<'a> {
    /// An error of the server.
    Server(&'a pg_sys::ErrorData),
    /// An [`Error`] that was raised.
    Own(&'a Error),
    /// No error: a bug.
    Bug,
}

/// The cause of the panic with this payload.
pub fn caught(payload: &(dyn Any + Send)) -> Caught<'_> {
    if let Some(error) = payload.downcast_ref::<ServerError>() {
        return Caught::Server(error.data());
    }
    payload.downcast_ref().map_or(Caught::Bug, Caught::Own)
}

impl Caught<'_> {
    /// SQLSTATE and primary message; `None`: it is a bug, not an error.
    pub fn summary(&self) -> Option<(Sqlstate, &[u8])> {
        match self {
            Self::Server(error) if error.message.is_null() => {
                Some((sqlstate(error.sqlerrcode), &[][..]))
            }
            // SAFETY: a zero-terminated text.
            Self::Server(error) => Some((sqlstate(error.sqlerrcode), unsafe {
                CStr::from_ptr(error.message).to_bytes()
            })),
            Self::Own(error) => Some((error.sqlstate(), error.message.as_bytes())),
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
