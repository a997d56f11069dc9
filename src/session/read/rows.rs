//! The rows of a result, for all that need them: a tuplestore here, one row at a time in [`super::stream`], a JSON
//! array in [`super::json_array`].
//!
//! The rows come first; the outcome is read from the block once the job has finished. Types are compared when the first
//! row is seen, before it is taken. So a column list that does not fit, or an interrupt before the first row, leaves
//! the result to be read again.

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::memory::{Bytes, within};
use crate::pg::rows::{Caller, Store};
use crate::pg::server;
use crate::pg::shim::frame::TAG;
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose, Tracked};
use crate::session::outcome::error_of;
use crate::session::read::columns;
use crate::session::read::columns::JobColumns;
use crate::session::read::convert::{Converter, ReadContexts, ResultRow, Wanted};
use crate::session::read::frames::{NextFrame, Pace, Reading};
use engine::job::Phase;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_FEATURE_NOT_SUPPORTED, ERRCODE_UNDEFINED_OBJECT,
};

/// Rows between two checks for interrupts.
const ROWS_PER_CHECK: u32 = 64;

fn already_consumed(tracked: &Tracked, detail: &str) -> Error {
    Error::new(
        ERRCODE_UNDEFINED_OBJECT,
        format_args!("results for PID {} have already been consumed", tracked.pid),
    )
    .detail(detail)
}

/// Finds a job whose result can be read.
///
/// # Errors
/// As [`jobs::find`]; 0A000 a submitted job; 42704 it was read before
pub fn find(name: JobName, purpose: Purpose) -> Result<Tracked, Failure> {
    let tracked = jobs::find(name, purpose)?;
    if tracked.submit {
        return Err(Error::new(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            "a submitted job has no result",
        )
        .hint("Use pg_background_launch_v2 for a job whose result you want to read.")
        .into());
    }
    if tracked.consumed && !jobs::is_being_read(tracked.job) {
        return Err(already_consumed(
            &tracked,
            "Reading was interrupted after the first row; the rest was dropped.",
        )
        .into());
    }
    Ok(tracked)
}

/// The rows of a job that is being read.
pub struct Rows {
    job: Job,
    contexts: ReadContexts,
    reading: Reading,
    converter: Option<Converter>,
    since_check: u32,
}

/// The result of a look for the next row.
pub enum RowStep<'a> {
    /// A row.
    Row(ResultRow<'a>),
    /// None yet
    NotYet,
    /// None: the job has finished and everything was returned
    End,
}

impl Rows {
    /// Starts to read the result of a job that this session holds and that has a result. Memory comes from a context
    /// under `parent`, which must live as long.
    ///
    /// # Errors
    /// 55006 the result is already being read
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
        let contexts = unsafe { ReadContexts::under(parent) };
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

    /// The next row, converted as `wanted`, which must be the same in each call. Valid until the next row is requested.
    /// `wait`: sleep until there is one or the result ends. `values`: return values even if the row is unchanged.
    ///
    /// # Errors
    /// 42804 the columns do not fit; 42704 the session has detached the job meanwhile
    pub fn next(
        &mut self,
        wanted: Wanted<'_>,
        wait: bool,
        values: bool,
    ) -> Result<RowStep<'_>, Error> {
        self.since_check += 1;
        if self.since_check >= ROWS_PER_CHECK {
            self.since_check = 0;
            server::check_for_interrupts();
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
                    self.reading.begin_taking();
                }
                NextFrame::Frame(frame)
                    if frame.kind == TAG && matches!(wanted, Wanted::Rows(_)) => {}
                NextFrame::Frame(frame) => {
                    self.check_columns(wanted)?;
                    self.reading.begin_taking();
                    fault!("row-taken");
                    let converter = self.converter.as_mut().expect("just made");
                    // SAFETY: the frame stays valid until the next one is requested.
                    let row = unsafe { within(self.contexts.row, || converter.row(frame, values)) };
                    return Ok(RowStep::Row(row));
                }
            }
        }
    }

    /// Puts the available rows that follow into a store if they need no conversion. Called after a row that was put
    /// unchanged.
    pub fn put_following(&mut self, store: &mut Store) {
        if self.converter.as_ref().is_some_and(Converter::watches) {
            return;
        }
        let put = |tuples: &[*const u8], store: &mut Store| {
            // SAFETY: the columns were compared with the caller's; the tuples stay valid during the call.
            unsafe { store.put_tuples(tuples) };
        };
        while self.reading.put_following(|tuples| put(tuples, store)) {
            server::check_for_interrupts();
        }
    }

    /// Frees the room of the last returned row for the worker.
    pub fn release_row(&mut self) {
        self.reading.release();
    }

    /// A context that lives as long as the read: until [`free`](Self::free).
    pub fn context(&self) -> pg_sys::MemoryContext {
        self.contexts.reading
    }

    /// The context of the last returned row.
    pub fn row_context(&self) -> pg_sys::MemoryContext {
        self.contexts.row
    }

    /// If the rows have types that the job itself has created, waits for its commit. `false`: it did not commit. Nobody
    /// can read the rows then; the job's error is the result.
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

    /// The first time, compares the columns with the caller's, before anything is taken. Later, checks that the types
    /// are as they were for the previous row.
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

    /// A result without rows has columns all the same. Without columns and tags (empty SQL, or an error before them) it
    /// fits every list.
    fn check_end(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        if self.converter.is_none() && self.has_columns() {
            self.check_columns(wanted)?;
        }
        Ok(())
    }

    /// Waits for the first row or the end, and takes nothing.
    fn await_columns(&mut self) -> Result<(), Error> {
        let _ = self.reading.next(true)?;
        self.await_types();
        Ok(())
    }

    /// Whether the statement returns rows. Known once the end was found.
    pub fn has_columns(&self) -> bool {
        Block::of(self.job).description().is_some()
    }

    /// Waits until the job has ended, however.
    pub fn await_end(&mut self) {
        self.reading.await_commit();
    }

    /// Frees the memory of the read. (If a read is given up, its parent context frees it.)
    pub fn free(self) {
        let context = self.contexts.reading;
        drop(self);
        // SAFETY: nothing refers to it now.
        unsafe { server::MemoryContextDelete(context) };
    }
}

/// The columns of a result, as a reader finds them now, without taking any of it. Waits until they are known: that is
/// when the first row is there or the job has ended, at the latest. `None`: the result consists of command tags, or
/// the job has failed before it had columns. [`find`] has found the job.
///
/// # Errors
/// 55006 they are not known, and the result is already being read; 42704 the session has detached the job meanwhile
pub fn columns_of(tracked: &Tracked) -> Result<Option<JobColumns>, Failure> {
    let job = tracked.job;
    let is_known = |description| !columns::has_unknown_types(description);
    if !job.is_finished() && !Block::of(job).description().is_some_and(is_known) {
        // SAFETY: the context of the call outlives it.
        let mut rows = unsafe {
            Rows::begin(
                job,
                tracked.pid,
                Pace::Stepwise,
                pg_sys::CurrentMemoryContext,
            )?
        };
        rows.await_columns()?;
        rows.free();
    }
    Ok(Block::of(job).description().map(|description| {
        // SAFETY: in a transaction.
        unsafe { server::AcceptInvalidationMessages() };
        let mut columns = columns::parse_description(description);
        columns::use_fallbacks(&mut columns);
        columns
    }))
}

/// Detaches a job whose rows were all taken, and raises its error if it has one.
///
/// # Errors
/// The job's own; 08006 its worker was lost
pub fn conclude(job: Job) -> Result<(), Failure> {
    debug_assert!(jobs::holds(job));
    let phase = jobs::count_if_finished(job).phase();
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

/// Reads the result of a job to its end, however long that takes. [`find`] has found the job.
///
/// # Errors
/// 42804 the caller's columns do not fit; the job's own error; 08006 its worker was lost
pub fn read_into_store(
    tracked: &Tracked,
    caller: &Caller,
    wanted: Wanted<'_>,
) -> Result<(), Failure> {
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
        // SAFETY: the row's context is valid during the read.
        unsafe { within(row_context, || row.put(&mut store)) };
        if unchanged {
            rows.put_following(&mut store);
        }
    }
    rows.free();
    conclude(tracked.job)
}
