//! Reading a result, for everyone who wants rows: a tuplestore here, one row at a time in [`super::stream`],
//! a JSON array in [`super::json_array`].
//!
//! First the rows, then the outcome out of the block once the job has finished. Types are compared when the
//! first row is seen, before it is taken, so a column list that does not fit, or an interrupt before the
//! first row, leaves the result to be read again.

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::memory::{Bytes, within};
use crate::pg::rows::{Caller, Store};
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose, Tracked};
use crate::session::outcome::error_of;
use crate::session::read::columns;
use crate::session::read::convert::{Contexts, Converter, ResultRow, Wanted};
use crate::session::read::frames::{NextFrame, Pace, Reading};
use engine::job::Phase;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_FEATURE_NOT_SUPPORTED, ERRCODE_UNDEFINED_OBJECT,
};

/// Rows between two looks at pending interrupts.
const ROWS_PER_CHECK: u32 = 64;

fn no_result(tracked: &Tracked, detail: &str) -> Error {
    Error::new(
        ERRCODE_UNDEFINED_OBJECT,
        format_args!("results for PID {} have already been consumed", tracked.pid),
    )
    .detail(detail)
}

/// Finds a job whose result can be read.
///
/// # Errors
/// As [`jobs::find`]; 0A000 for a submitted job; 42704 when it was read before.
pub fn find(name: JobName) -> Result<Tracked, Failure> {
    let tracked = jobs::find(name, Purpose::ForResult)?;
    if tracked.submit {
        return Err(Error::new(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            "a submitted job has no result",
        )
        .hint("Use pg_background_launch_v2 for a job whose result is to be read.")
        .into());
    }
    if tracked.consumed && !jobs::is_being_read(tracked.job) {
        return Err(no_result(
            &tracked,
            "Reading was interrupted after the first row; the rest was dropped.",
        )
        .into());
    }
    Ok(tracked)
}

/// The rows of a job.
pub struct Rows {
    job: Job,
    contexts: Contexts,
    reading: Reading,
    converter: Option<Converter>,
    since_check: u32,
}

/// What a look for the next row found.
pub enum RowStep<'a> {
    /// A row.
    Row(ResultRow<'a>),
    /// None now; there can be more.
    NotYet,
    /// The job has finished and there is no other.
    End,
}

impl Rows {
    /// Begins to read the result of a job that this session holds and that has one. Memory comes from a
    /// context under `parent`, which has to live as long.
    ///
    /// # Errors
    /// 55006 when it is being read already.
    ///
    /// # Safety
    /// `parent` must be valid.
    pub unsafe fn begin(
        job: Job,
        pid: u32,
        pace: Pace,
        parent: pg_sys::MemoryContext,
    ) -> Result<Self, Error> {
        // SAFETY: by the caller.
        let contexts = unsafe { Contexts::under(parent) };
        let reading = Reading::begin(job, pid, pace, contexts.reading, contexts.row)?;
        fault!("reading-begun");
        Ok(Self {
            job,
            contexts,
            reading,
            converter: None,
            since_check: 0,
        })
    }

    /// The next row as it is wanted, the same each time; stays until the next is asked for. `wait`: until
    /// there is one, or the end. `values`: as values in any case.
    ///
    /// # Errors
    /// 42804 when the columns do not fit; 42704 when the session has let go of the job meanwhile.
    pub fn next(
        &mut self,
        wanted: Wanted<'_>,
        wait: bool,
        values: bool,
    ) -> Result<RowStep<'_>, Error> {
        self.since_check += 1;
        if self.since_check >= ROWS_PER_CHECK {
            self.since_check = 0;
            pgrx::check_for_interrupts!();
        }
        loop {
            let next = self.reading.next(wait)?;
            if !matches!(next, NextFrame::NotYet) && !self.await_types() {
                self.reading.complete();
                return Ok(RowStep::End);
            }
            match next {
                NextFrame::NotYet => return Ok(RowStep::NotYet),
                NextFrame::End => {
                    self.check_end(wanted)?;
                    self.reading.complete();
                    return Ok(RowStep::End);
                }
                NextFrame::Long => {
                    self.check_columns(wanted)?;
                    self.reading.take();
                }
                NextFrame::Frame(frame) => {
                    self.check_columns(wanted)?;
                    self.reading.take();
                    fault!("row-taken");
                    let converter = self.converter.as_mut().expect("just made");
                    // SAFETY: the frame stays until the next one is asked for.
                    let row = unsafe { within(self.contexts.row, || converter.row(frame, values)) };
                    return Ok(RowStep::Row(row));
                }
            }
        }
    }

    /// Puts the rows that follow and are there now into a store, when they need no conversion. After a row
    /// that was put unchanged.
    pub fn put_following(&mut self, store: &mut Store) {
        if self.converter.as_ref().is_some_and(Converter::watches) {
            return;
        }
        let put = |tuples: &[*const u8], store: &mut Store| {
            // SAFETY: the columns were compared with the caller's; the tuples stay during the call.
            unsafe { store.put_tuples(tuples) };
        };
        while self.reading.put_following(|tuples| put(tuples, store)) {
            pgrx::check_for_interrupts!();
        }
    }

    /// Lets the worker have the room of the row that was returned last.
    pub fn done(&mut self) {
        self.reading.done();
    }

    /// What lives as long as the reading: until [`free`](Self::free).
    pub fn context(&self) -> pg_sys::MemoryContext {
        self.contexts.reading
    }

    /// The context of the row that was returned last.
    pub fn row_context(&self) -> pg_sys::MemoryContext {
        self.contexts.row
    }

    /// Waits for the commit of a job whose rows are of types that it has created. `false`: it did not commit; nobody can
    /// read them, and its error is what there is to say.
    fn await_types(&mut self) -> bool {
        if self.converter.is_some() {
            return true;
        }
        let description = Block::of(self.job).description();
        let known = || !description.is_some_and(columns::has_unknown_types);
        if known() {
            return true;
        }
        self.reading.await_commit();
        let phase = self.job.word().load().phase();
        phase == Phase::Completed || known()
    }

    /// Compares the columns with the caller's, once a row was seen or the end was found; before anything is
    /// taken. And with what they were for the row before.
    fn check_columns(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        if let Some(converter) = &self.converter {
            converter.check_types();
            return Ok(());
        }
        let description = Block::of(self.job).description();
        // SAFETY: the context lives as long as the converter.
        let converter = unsafe { Converter::new(self.contexts.reading, description, wanted)? };
        self.converter = Some(converter);
        Ok(())
    }

    /// A result without rows has columns all the same; without columns and tags (empty SQL, or an error
    /// before them) it fits everything.
    fn check_end(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        if self.converter.is_none() && self.has_columns() {
            self.check_columns(wanted)?;
        }
        Ok(())
    }

    /// Whether the statement is of a kind that returns rows. Once the end was found.
    pub fn has_columns(&self) -> bool {
        Block::of(self.job).description().is_some()
    }

    /// Frees what the reading has used. (A reading that is given up leaves it to the parent context.)
    pub fn free(self) {
        let context = self.contexts.reading;
        drop(self);
        // SAFETY: nothing refers to it any more.
        unsafe { pg_sys::MemoryContextDelete(context) };
    }
}

/// Every row was taken: raises the job's error if it has one, and lets go of it.
///
/// # Errors
/// The job's own; 08006 when its worker was lost.
pub fn conclude(job: Job) -> Result<(), Failure> {
    debug_assert!(jobs::holds(job));
    let phase = jobs::notice(job).phase();
    let pid = job.pid().cast_signed();
    let failure = match phase {
        Phase::Completed => None,
        _ => Some(Bytes::copy(&error_of(phase, Block::of(job).error(), pid))),
    };
    fault!("result-read");
    jobs::detach(job);
    match failure {
        None => Ok(()),
        Some(message) => Err(Failure::Job { message, pid }),
    }
}

/// Reads the result of a job to its end, waiting as long as need be.
///
/// # Errors
/// As [`find`]; 42804 when the caller's columns do not fit; the job's own error; 08006 when its worker was
/// lost.
pub fn read_into_store(name: JobName, caller: &Caller, json: bool) -> Result<(), Failure> {
    let tracked = find(name)?;
    let wanted = if json {
        Wanted::Json
    } else {
        Wanted::Columns(caller)
    };
    // SAFETY: the context of the call outlives it.
    let mut rows = unsafe {
        Rows::begin(
            tracked.job,
            tracked.pid,
            Pace::Whole,
            pg_sys::CurrentMemoryContext,
        )?
    };
    let mut store = Store::new(caller);
    let row_context = rows.row_context();
    let values = caller.has_domain();
    while let RowStep::Row(row) = rows.next(wanted, true, values)? {
        let unchanged = matches!(row, ResultRow::AsIs(_));
        // SAFETY: the row's context is valid while it is read.
        unsafe { within(row_context, || row.put(&mut store)) };
        if unchanged {
            rows.put_following(&mut store);
        }
    }
    rows.free();
    conclude(tracked.job)
}
