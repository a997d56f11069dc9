//! Waiting for many jobs, and what is done with all of a session's.
//!
//! Waiting for all is waiting for one after the other with one deadline: when the first has finished, most
//! of the others have too, and each job is looked at once. Waiting for any watches all of them at once.

use crate::leader::control;
use crate::leader::outcome::{self, Outcome};
use crate::leader::session::{self, Asking, Name, Tracked};
use crate::leader::wait;
use crate::pg::cluster::{Cluster, attached};
use crate::pg::error::Error;
use crate::pg::memory::{child_of, within};
use crate::pg::text;
use crate::pg::tuple::Value;
use engine::handle::Cookie;
use engine::job::{Demand, Phase};
use engine::memory;
use engine::pool::Canceling;
use engine::table::JobId;
use engine::wait::{Micros, grace};
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
    fn name(self) -> Name {
        Name::Handle(self.pid, self.cookie)
    }
}

fn find_all(handles: &[Handle]) -> Result<Vec<JobId>, Error> {
    let mut jobs = Vec::new();
    memory::try_reserve_exact(&mut jobs, handles.len())?;
    for handle in handles {
        pgrx::check_for_interrupts!();
        let (_, tracked) = session::find(handle.name(), Asking::ForControl)?;
        memory::try_push(&mut jobs, tracked.job)?;
    }
    Ok(jobs)
}

/// Waits until the first of these jobs has finished, and tells which; `None`: none within `timeout_ms` (0 or
/// less: for ever), or there are none.
///
/// # Errors
/// As [`session::find`], for any of them.
pub fn wait_any(handles: &[Handle], timeout_ms: i32) -> Result<Option<Handle>, Error> {
    let deadline = wait::deadline(timeout_ms);
    let jobs = find_all(handles)?;
    let Some(cluster) = attached().filter(|_| !jobs.is_empty()) else {
        return Ok(None);
    };
    let found = wait::first_finished(cluster, &jobs, deadline);
    Ok(found.map(|index| {
        session::notice(cluster, jobs[index]);
        handles[index]
    }))
}

fn wait_for(cluster: &'static Cluster, job: JobId, deadline: Option<Micros>) -> bool {
    let finished = wait::first_finished(cluster, &[job], deadline).is_some();
    session::notice(cluster, job);
    finished
}

/// Waits until all of these jobs have finished, for `timeout_ms` at most (0 or less: for ever). How many have.
///
/// # Errors
/// As [`session::find`], for any of them.
pub fn wait_all(handles: &[Handle], timeout_ms: i32) -> Result<i32, Error> {
    let deadline = wait::deadline(timeout_ms);
    let jobs = find_all(handles)?;
    let Some(cluster) = attached() else {
        return Ok(0);
    };
    let is_finished = |job: &&JobId| {
        pgrx::check_for_interrupts!();
        wait_for(cluster, **job, deadline)
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
    mut put: impl FnMut(Outcome),
) -> Result<(), Error> {
    let deadline = wait::deadline(timeout_ms);
    let mut finished = Vec::new();
    memory::try_reserve_exact(&mut finished, handles.len())?;
    // SAFETY: of this call; its own is emptied after each row, for the texts of an outcome are as long as the job's.
    let row = unsafe { child_of(pg_sys::CurrentMemoryContext, c"pg_background outcome") };
    for handle in handles {
        pgrx::check_for_interrupts!();
        if let Some((cluster, tracked)) = session::find_known(handle.pid, handle.cookie)
            && wait_for(cluster, tracked.job, deadline)
        {
            memory::try_push(&mut finished, (cluster, tracked.job))?;
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
    for (cluster, job) in finished {
        // A handle may be there twice.
        if session::holds(job) {
            session::let_go(cluster, job);
        }
    }
    Ok(())
}

/// The jobs of this session with which the current user may do something.
fn tracked_where(
    may: fn(&'static Cluster, &Tracked) -> bool,
) -> Option<(&'static Cluster, Vec<Tracked>)> {
    let cluster = attached()?;
    let mut jobs = session::tracked();
    jobs.retain(|tracked| may(cluster, tracked));
    Some((cluster, jobs))
}

fn detach_where(wanted: impl Fn(Phase) -> bool) -> i32 {
    let Some((cluster, mut jobs)) = tracked_where(session::may_let_go) else {
        return 0;
    };
    jobs.retain(|tracked| wanted(session::notice(cluster, tracked.job).phase()));
    for tracked in &jobs {
        session::let_go(cluster, tracked.job);
    }
    jobs.len() as i32
}

/// Stops tracking every job. How many there were.
pub fn detach_all() -> i32 {
    detach_where(|_| true)
}

/// Stops tracking the jobs that have finished. How many there were.
pub fn purge() -> i32 {
    detach_where(Phase::is_finished)
}

fn cancel_where(grace_ms: i32, wanted: impl Fn(&'static Cluster, &Tracked) -> bool) -> i32 {
    let Some((cluster, mut jobs)) = tracked_where(session::may_manage) else {
        return 0;
    };
    jobs.retain(|tracked| wanted(cluster, tracked));
    jobs.retain(|tracked| {
        control::request(cluster, tracked.job, Demand::Cancel) != Canceling::TooLate
    });
    let grace_ms = grace(grace_ms);
    if grace_ms > 0 {
        let ids = memory::try_collect(jobs.iter().map(|tracked| tracked.job));
        let ids = ids.unwrap_or_else(|_| Error::out_of_memory().raise());
        control::escalate(cluster, &ids, grace_ms);
    }
    jobs.len() as i32
}

/// Cancels every job that has not finished. How many there were.
pub fn cancel_all() -> i32 {
    cancel_where(0, |_, _| true)
}

/// Cancels every job that has not finished and whose label is LIKE the pattern; with a grace above 0 as
/// [`control::cancel`] does. How many there were.
pub fn cancel_by_label(pattern: &[u8], grace_ms: i32) -> i32 {
    let pattern = Value::text(pattern);
    cancel_where(grace_ms, |cluster, tracked| {
        let label = cluster.slot(tracked.job).label();
        label.is_some_and(|label| text::is_like(&label, pattern))
    })
}
