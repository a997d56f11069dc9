//! Where C calls Rust, and errors of the server on their way through Rust.
//!
//! An error that is thrown below Rust frames must not jump over them. Three steps carry it through:
//!
//! 1. The guard around each call of C ([`guard`](crate::pg::guard); `error.c`) catches it and takes it, with all
//!    its fields, from the server's stack of errors into a note.
//! 2. The note unwinds the frames, as a [`ServerError`]. Whoever catches that owns the note. While frames are unwound the
//!    server has no error.
//! 3. [`enter`], around everything in Rust that C calls, raises the error again, unchanged.
//!
//! An error that Rust raises ([`Error::raise`]) unwinds in the same way. [`enter`] makes an error of the server of it when
//! no Rust frame is left. So nothing that may throw is called where the error would be lost or could not go on.
//!
//! pgrx has guards and a boundary too. They are not used: its guard copies an error into memory that it does not find if
//! there is none, and leaves the server's handlers pointing into its own frame then; its boundary allocates where an
//! error cannot be caught any more.

use crate::pg::error::{Error, Texts};
use crate::pg::guard::ServerError;
use crate::pg::local::Local;
use crate::pg::shim;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
use pgrx::{PgLogLevel, pg_sys};
use std::any::Any;
use std::ffi::c_char;
use std::io::Write;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;

type Place = &'static Location<'static>;

/// Where the last panic was that is no error, but a bug.
static BUG: Local<Option<Place>> = Local::new(None);

/// Has the place of a bug noted. Called each time that the server initializes the library: pgrx has then just set a hook
/// of its own, which is not used.
pub fn note_bugs() {
    std::panic::set_hook(Box::new(|panic| {
        // The server's log. An error is no panic here: it unwinds without one.
        let _ = writeln!(std::io::stderr(), "pg_background: {panic}");
        // SAFETY: the places of panics are constants of the program.
        let place = unsafe {
            std::mem::transmute::<Option<&Location<'_>>, Option<Place>>(panic.location())
        };
        BUG.set(place);
    }));
}

/// What is raised when all frames are gone. Has no destructor.
#[derive(Clone, Copy)]
enum Raised {
    Note(NonNull<pg_sys::ErrorData>),
    /// In the texts of this process.
    Texts,
}

static TEXTS: Local<Texts> = Local::new(Texts::none());

impl Raised {
    fn of(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast::<ServerError>() {
            Ok(error) => return Self::Note(error.into_note()),
            Err(payload) => payload,
        };
        let bug = |message: &str| {
            TEXTS.with(|texts| texts.set(ERRCODE_INTERNAL_ERROR, message, None, None, BUG.get()));
        };
        if let Some(error) = payload.downcast_ref::<Error>() {
            TEXTS.with(|texts| error.write(texts));
        } else if let Some(message) = payload.downcast_ref::<&str>() {
            bug(message);
        } else if let Some(message) = payload.downcast_ref::<String>() {
            bug(message);
        } else {
            bug("an unexpected failure");
        }
        Self::Texts
    }

    /// # Safety
    /// Only C is above the caller's frame, and nothing in that frame has a destructor.
    unsafe fn raise(self) -> ! {
        match self {
            // SAFETY: by the caller; the note is not used again.
            Self::Note(note) => unsafe { shim::pgb_raise_error(note.as_ptr()) },
            Self::Texts => {
                let report = TEXTS.with(|texts| texts.report());
                // SAFETY: by the caller; the texts stay.
                unsafe { shim::unguarded::pgb_report(PgLogLevel::ERROR as i32, &raw const report) };
                unreachable!("an error does not return")
            }
        }
    }
}

/// Raises the error of a job, unchanged: the body of its `ErrorResponse` message, and the pid of its worker.
///
/// # Safety
/// Only C is above the caller's frame, and nothing in that frame has a destructor. The message is there.
pub unsafe fn raise_error_of_job(message: *const c_char, len: i32, pid: i32) -> ! {
    // SAFETY: by the caller.
    unsafe {
        shim::unguarded::pgb_raise_message(message, len, PgLogLevel::ERROR as i32, pid);
    }
    unreachable!("an error does not return")
}

/// Runs the body of a function that C calls. A panic in it becomes an error of the server.
///
/// # Safety
/// Only C is above the caller's frame, and nothing in that frame has a destructor: the error jumps over it.
pub unsafe fn enter<R: Copy>(body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)).map_err(Raised::of) {
        Ok(value) => value,
        // SAFETY: jumps out of this frame, which holds nothing to drop, and that of the caller.
        Err(raised) => unsafe { raised.raise() },
    }
}
