//! Waiting for many jobs.
//!
//! Waiting for all jobs means waiting for one after another with a common deadline. When the first has finished, most
//! of the others have too, and each job is looked at once. Waiting for any job watches all of them at once.

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

/// The error for an array element that is NULL or has a NULL part.
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

/// Waits until the first of these jobs has finished and returns its handle. `None`: none finished within `timeout_ms`
/// (0 or less for no limit), or there are no jobs.
///
/// # Errors
/// As [`jobs::find`] for each of them.
pub fn wait_any(handles: &[Handle], timeout_ms: i32) -> Result<Option<Handle>, Error> {
    let deadline = until::deadline(timeout_ms);
    let jobs = find_all(handles)?;
    let found = until::first_finished(jobs.iter().copied(), deadline);
    Ok(found.map(|index| {
        jobs::count_if_finished(jobs[index]);
        handles[index]
    }))
}

fn wait_for_one(job: Job, deadline: Option<Micros>) -> bool {
    let finished = until::first_finished([job].into_iter(), deadline).is_some();
    jobs::count_if_finished(job);
    finished
}

/// Waits up to `timeout_ms` (0 or less for no limit) until all of these jobs have finished. Returns how many have.
///
/// # Errors
/// As [`jobs::find`] for each of them.
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

/// Waits as [`wait_all`] does, passes the outcome of each handle to `put` in order, and detaches the finished jobs. A
/// handle that names no job has an outcome of NULLs.
///
/// # Errors
/// 53200 out of memory
pub fn drain(
    handles: &[Handle],
    timeout_ms: i32,
    mut put: impl FnMut(OutcomeRow),
) -> Result<(), Error> {
    let deadline = until::deadline(timeout_ms);
    let mut finished = Vec::new();
    memory::try_reserve_exact(&mut finished, handles.len())?;
    // SAFETY: a context under that of the call. It is emptied after each row, because an outcome's texts are as long as
    // the job's.
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
        // The array may contain a handle twice.
        if jobs::holds(job) {
            jobs::detach(job);
        }
    }
    Ok(())
}
