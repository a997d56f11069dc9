//! Waiting for many jobs, and what is done with all of a session's.
//!
//! Waiting for all is waiting for one after the other with one deadline: when the first has finished, most
//! of the others have too, and each job is looked at once. Waiting for any watches all of them at once.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::memory::{child_of, within};
use crate::session::jobs::{JobName, Purpose};
use crate::session::outcome::OutcomeRow;
use crate::session::wait::until;
use crate::session::{jobs, outcome};
use engine::cookie::Cookie;
use engine::memory;
use engine::wait::Micros;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;

/// A handle as the user gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    /// The pid in it.
    pub pid: i32,
    /// The cookie in it.
    pub cookie: Cookie,
}

/// An element of an array of handles must not be NULL, nor a part of it.
pub fn null_handle() -> Error {
    Error::new(
        ERRCODE_NULL_VALUE_NOT_ALLOWED,
        "a handle in the array must not be null",
    )
}

impl Handle {
    fn name(self) -> JobName {
        JobName::Handle(self.pid, self.cookie)
    }
}

fn find_all(handles: &[Handle]) -> Result<Vec<Job>, Error> {
    let mut jobs = Vec::new();
    memory::try_reserve_exact(&mut jobs, handles.len())?;
    for handle in handles {
        pgrx::check_for_interrupts!();
        let tracked = jobs::find(handle.name(), Purpose::ForControl)?;
        memory::try_push(&mut jobs, tracked.job)?;
    }
    Ok(jobs)
}

/// Waits until the first of these jobs has finished, and tells which; `None`: none within `timeout_ms` (0 or
/// less: for ever), or there are none.
///
/// # Errors
/// As [`jobs::find`], for any of them.
pub fn wait_any(handles: &[Handle], timeout_ms: i32) -> Result<Option<Handle>, Error> {
    let deadline = until::deadline(timeout_ms);
    let jobs = find_all(handles)?;
    let found = until::first_finished(jobs.iter().copied(), deadline);
    Ok(found.map(|index| {
        jobs::observe(jobs[index]);
        handles[index]
    }))
}

fn wait_for_one(job: Job, deadline: Option<Micros>) -> bool {
    let finished = until::first_finished([job].into_iter(), deadline).is_some();
    jobs::observe(job);
    finished
}

/// Waits until all of these jobs have finished, for `timeout_ms` at most (0 or less: for ever). How many have.
///
/// # Errors
/// As [`jobs::find`], for any of them.
pub fn wait_all(handles: &[Handle], timeout_ms: i32) -> Result<i32, Error> {
    let deadline = until::deadline(timeout_ms);
    let jobs = find_all(handles)?;
    let is_finished = |job: &&Job| {
        pgrx::check_for_interrupts!();
        wait_for_one(**job, deadline)
    };
    let finished = jobs.iter().filter(is_finished).count();
    Ok(finished as i32)
}

/// Waits as [`wait_all`] does, gives the outcome of each to `put`, in order, and detaches those that have
/// finished. Handles that name no job have an outcome of NULLs.
///
/// # Errors
/// 53200
pub fn drain(
    handles: &[Handle],
    timeout_ms: i32,
    mut put: impl FnMut(OutcomeRow),
) -> Result<(), Error> {
    let deadline = until::deadline(timeout_ms);
    let mut finished = Vec::new();
    memory::try_reserve_exact(&mut finished, handles.len())?;
    // SAFETY: of this call; its own is emptied after each row, for the texts of an outcome are as long as the job's.
    let row = unsafe { child_of(pg_sys::CurrentMemoryContext, c"pg_background outcome") };
    for handle in handles {
        pgrx::check_for_interrupts!();
        if let Some(tracked) = jobs::find_known(handle.pid, handle.cookie)
            && wait_for_one(tracked.job, deadline)
        {
            memory::try_push(&mut finished, tracked.job)?;
        }
        // SAFETY: made above; nothing of a row is used after it was put.
        unsafe {
            within(row, || {
                put(outcome::by_handle(Some(handle.pid), Some(handle.cookie)));
            });
            pg_sys::MemoryContextReset(row);
        }
    }
    // SAFETY: made above.
    unsafe { pg_sys::MemoryContextDelete(row) };
    for job in finished {
        // A handle may be there twice.
        if jobs::holds(job) {
            jobs::detach(job);
        }
    }
    Ok(())
}
