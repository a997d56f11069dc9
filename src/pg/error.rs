//! Errors as values, and how they are raised.
//!
//! Functions of the leader return [`Failure`]; it becomes an `ereport` in one place, at the API's edge
//! ([`crate::api`]). Where C calls in from the middle of a query, [`Error::raise`] does it at once. An error of a *job* is raised there by the shim, with all the fields it had.

use crate::engine::memory::OutOfMemory;
use crate::pg::memory::Bytes;
use pgrx::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use std::fmt::{Display, Write};

/// An error of our own.
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

/// Why a function did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// An error of our own.
    Own(Error),
    /// The error of a job, to be raised as it was.
    Job {
        /// Body of an `ErrorResponse` message.
        message: Bytes,
        /// Pid of the worker it came from.
        pid: i32,
    },
}

/// Bytes of each text of an error of ours at most. What users name in them is short; should it not be, they are cut.
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
    // It takes everything that it is given.
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

    /// This process has no memory for what the user asks for.
    pub fn out_of_memory() -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
    }

    /// Its SQLSTATE as five characters, unpacked as elog.h packs it: six bits each, from the lowest.
    pub fn sqlstate(&self) -> [u8; 5] {
        std::array::from_fn(|at| ((self.code as u32 >> (6 * at)) & 0x3f) as u8 + b'0')
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
