//! Errors as values, and how they are raised.
//!
//! Functions of the leader return [`Failure`]; it becomes an `ereport` in one place, at the API's edge
//! ([`crate::api`]). Where C calls in from the middle of a query, [`Error::raise`] does it at once. An error of a *job* is raised there by the shim, with all the fields it had.

use crate::pg::memory::Bytes;
use pgrx::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

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

impl Error {
    /// An error without detail and hint.
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
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
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
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
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}
