//! Waiting for many jobs.
//!
//! Waiting for all jobs means waiting for one after another with a common deadline. When the first has finished, most
//! of the others have too, and each job is looked at once. Waiting for any job watches all of them at once.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::memory::{child_of, within};
use crate::pg::server;
use crate::session::jobs::{JobName, Purpose};
use crate::session::outcome::OutcomeRow;
use crate::session::wait::until;
use crate::session::{jobs, outcome};
use engine::cookie::Cookie;
use engine::memory;
use engine::wait::Micros;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;

/// A handle as the user gives it: either part may be NULL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    /// The pid in it.
    pub pid: Option<i32>,
    /// The cookie in it.
    pub cookie: Option<Cookie>,
}

impl Handle {
    /// Its parts; `None` if one is NULL, because it names no job then.
    fn whole(self) -> Option<(i32, Cookie)> {
        self.pid.zip(self.cookie)
    }

    /// Checks a handle with a part that is NULL.
    ///
    /// # Errors
    /// As [`jobs::check_no_cookie`].
    fn check(self) -> Result<(), Error> {
        match self.cookie {
            None => jobs::check_no_cookie(self.pid),
            Some(_) => Ok(()),
        }
    }

    /// # Errors
    /// 22004 a part is NULL
    fn name(self) -> Result<JobName, Error> {
        match self.whole() {
            Some((pid, cookie)) => Ok(JobName::Handle(pid, cookie)),
            None => Err(Error::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "a handle in the array must not be null",
            )),
        }
    }
}

fn find_all(handles: &[Handle]) -> Result<Vec<Job>, Error> {
    let mut jobs = Vec::new();
    memory::try_reserve_exact(&mut jobs, handles.len())?;
    for handle in handles {
        server::check_for_interrupts();
        let tracked = jobs::find(handle.name()?, Purpose::ForControl)?;
        memory::try_push(&mut jobs, tracked.job)?;
    }
    Ok(jobs)
}

/// Waits until the first of these jobs has finished and returns its handle. `None`: none finished within `timeout_ms`
/// (0 or less for no limit), or there are no jobs. Handles that name no job of this session do not count.
///
/// # Errors
/// 42501 missing privileges on one of the jobs; 22004 as [`jobs::check_no_cookie`]
pub fn wait_any(handles: &[Handle], timeout_ms: i32) -> Result<Option<(i32, Cookie)>, Error> {
    let deadline = until::deadline(timeout_ms);
    let mut known = Vec::new();
    memory::try_reserve_exact(&mut known, handles.len())?;
    for handle in handles {
        server::check_for_interrupts();
        let Some((pid, cookie)) = handle.whole() else {
            handle.check()?;
            continue;
        };
        if let Some(tracked) = jobs::find_tracked(pid, cookie)? {
            memory::try_push(&mut known, (tracked.job, (pid, cookie)))?;
        }
    }
    let found = until::first_finished(known.iter().map(|(job, _)| *job), deadline);
    Ok(found.map(|index| {
        let (job, handle) = known[index];
        jobs::count_if_finished(job);
        handle
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
        server::check_for_interrupts();
        wait_for_one(**job, deadline)
    };
    let finished = jobs.iter().filter(is_finished).count();
    Ok(finished as i32)
}

/// Waits for one job after another until all have finished, passes the outcome of each to `put` in order, and detaches
/// the finished jobs. At the time limit (0 or less for none) it detaches the job that it waits for, too, as version 2.0
/// does; those after it that have not finished are kept. A handle that names no job has the state `unknown`, one with a
/// part that is NULL an outcome of NULLs, and one of NULLs has none.
///
/// # Errors
/// 53200 out of memory; 22004 as [`jobs::check_no_cookie`]
pub fn drain(
    handles: &[Handle],
    timeout_ms: i32,
    mut put: impl FnMut(OutcomeRow),
) -> Result<(), Error> {
    let deadline = until::deadline(timeout_ms);
    let mut is_late = false;
    let mut done = Vec::new();
    memory::try_reserve_exact(&mut done, handles.len())?;
    // SAFETY: a context under that of the call. It is emptied after each row, because an outcome's texts are as long as
    // the job's.
    let row = unsafe { child_of(pg_sys::CurrentMemoryContext, c"pg_background outcome") };
    for handle in handles {
        server::check_for_interrupts();
        if handle.pid.is_none() && handle.cookie.is_none() {
            continue;
        }
        handle.check()?;
        let known = handle.whole();
        let tracked = known.map(|(pid, cookie)| jobs::find_tracked(pid, cookie));
        if let Some(Ok(Some(tracked))) = tracked {
            let finished = wait_for_one(tracked.job, deadline);
            if finished || !is_late {
                memory::try_push(&mut done, tracked.job)?;
            }
            is_late |= !finished;
        }
        // SAFETY: made above; nothing of a row is used after it was put.
        unsafe {
            within(row, || put(outcome::by_handle(handle.pid, handle.cookie)));
            server::MemoryContextReset(row);
        }
    }
    // SAFETY: made above.
    unsafe { server::MemoryContextDelete(row) };
    for job in done {
        // The array may contain a handle twice.
        if jobs::holds(job) {
            jobs::detach(job);
        }
    }
    Ok(())
}
