//! The rows of a job as one JSON array, for whoever holds the job: tracked by a handle or not, finished or
//! still running.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::memory::within;
use crate::pg::shim;
use crate::pg::shim::guarded;
use crate::session::read::convert::{ResultRow, Wanted};
use crate::session::read::frames::Pace;
use crate::session::read::rows::{RowStep, Rows};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::ffi::c_void;

/// The rows of a job as one JSON array, for whoever holds the job.
pub struct JsonArray {
    rows: Rows,
    state: *mut c_void,
    count: u64,
    ended: bool,
}

impl JsonArray {
    /// Begins to read the result of a job that this session holds (tracked or not) and that has one. Memory
    /// comes from `context`, which has to live as long.
    ///
    /// # Errors
    /// 55006 when it is being read already.
    ///
    /// # Safety
    /// The context must be valid.
    pub unsafe fn begin(job: Job, pid: u32, context: pg_sys::MemoryContext) -> Result<Self, Error> {
        Ok(Self {
            // SAFETY: by the caller.
            rows: unsafe { Rows::begin(job, pid, Pace::Stepwise, context)? },
            state: std::ptr::null_mut(),
            count: 0,
            ended: false,
        })
    }

    /// Takes the rows that are there. `true`: that was all, and the job has finished. `wait`: until then.
    ///
    /// # Errors
    /// 42704 when the session has let go of the job meanwhile.
    pub fn take(&mut self, wait: bool) -> Result<bool, Error> {
        while !self.ended {
            match self.rows.next(Wanted::Json, wait, true)? {
                RowStep::Row(ResultRow::Values(values, _)) => {
                    let element = values[0];
                    let state = self.state;
                    // SAFETY: the array refers to a copy of the element, in a context that lives as long.
                    self.state = unsafe {
                        within(self.rows.context(), || {
                            guarded(|| shim::pgb_json_array_push(state, element))
                        })
                    };
                    self.count += 1;
                }
                RowStep::Row(ResultRow::AsIs(_)) => unreachable!("values were asked for"),
                RowStep::NotYet => return Ok(false),
                RowStep::End => self.ended = true,
            }
        }
        Ok(true)
    }

    /// The array, in the current memory context, and the number of rows; `None`: the statement is of a kind
    /// that returns no rows. Once [`take`](Self::take) has said that it is complete. The job is still held.
    pub fn finish(self) -> Option<(Datum, u64)> {
        assert!(self.ended, "the result was read to its end");
        let has_rows = self.rows.has_columns();
        let (state, count) = (self.state, self.count);
        // SAFETY: the array is complete.
        let array = has_rows.then(|| unsafe { guarded(|| shim::pgb_json_array_end(state)) });
        self.rows.free();
        array.map(|array| (array, count))
    }
}
