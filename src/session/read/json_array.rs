//! The rows of a job as one JSON array. The job may be given or not, finished or running.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::memory::within;
use crate::pg::shim;
use crate::session::read::convert::{JsonType, ResultRow, Wanted};
use crate::session::read::frames::Pace;
use crate::session::read::rows::{RowStep, Rows};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::ffi::c_void;

/// The rows of a job as one JSON array.
pub struct JsonArray {
    rows: Rows,
    state: *mut c_void,
    count: u64,
    ended: bool,
}

impl JsonArray {
    /// Starts to read the result of a job that this session holds (given or not) and that has a result. Memory comes
    /// from `context`, which must live as long.
    ///
    /// # Errors
    /// 55006 the result is already being read
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

    /// Takes the available rows. `true`: the result is complete and the job has finished. `wait`: sleep until then.
    ///
    /// # Errors
    /// 42704 the session has detached the job meanwhile
    pub fn take(&mut self, wait: bool) -> Result<bool, Error> {
        while !self.ended {
            match self.rows.next(Wanted::Json(JsonType::Jsonb), wait, true)? {
                RowStep::Row(ResultRow::Values(values, _)) => {
                    let element = values[0];
                    let state = self.state;
                    // SAFETY: the array refers to a copy of the element, in a context that lives as long as the array.
                    self.state = unsafe {
                        within(self.rows.context(), || {
                            shim::pgb_json_array_push(state, element)
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

    /// The array, in the current memory context, and the number of rows; `None` if the statement returns no rows. Call
    /// it once [`take`](Self::take) has returned `true`. The job is still held.
    pub fn finish(self) -> Option<(Datum, u64)> {
        assert!(self.ended, "the result was read to its end");
        let has_rows = self.rows.has_columns();
        let (state, count) = (self.state, self.count);
        // SAFETY: the array is complete.
        let array = has_rows.then(|| unsafe { shim::pgb_json_array_end(state) });
        self.rows.free();
        array.map(|array| (array, count))
    }
}
