//! Fan-out: many statements, a bounded number of them in flight, one wait over all.
//!
//! # Words
//!
//! * A statement is **in flight** from its launch until its row was made: queued, running, or finished and
//!   not yet looked at. It is a job like any other, but nobody is given its handle: it is in no list and
//!   counts against no limit of the session.
//! * The call **expires** at its time limit: what is in flight is canceled, what is not will not be launched.
//!
//! # The way of the call
//!
//! Each call for a row ([`Fanout::next`]) launches as many as may be in flight, takes the one that finished
//! first among those that have, and makes its row. When none has, it sleeps on all of them. Results are read
//! when their jobs have finished; what does not fit into a job's ring meanwhile is in its spill file.
//!
//! # Users
//!
//! All statements run as the user who asked for the first row. A cursor can be fetched from by another user later on
//! (SET ROLE, a function of somebody else): he is refused. To go on as the first would give him rights that he does
//! not have; to go on as he is would run statements that he has not written with his rights.
//!
//! # Ends
//!
//! However the call ends, its jobs in flight are canceled and let go of ([`Fanout::abandon`]): it is what
//! dropping it does, and it is dropped with the memory of the calling query. That memory can outlive the
//! (sub)transaction in which it was made by some time (an aborted transaction block waits for its
//! ROLLBACK), so the end of the (sub)transaction does it too ([`crate::pg::transaction`]). A cursor can outlive the
//! subtransaction in which its first row was fetched: the next fetch is then told so, and does not take the
//! call for complete. The end of the session
//! takes the jobs with it because nobody has their handles ([`crate::session::exit`]).

use crate::cluster::attach::{Cluster, cluster};
use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::memory::Bytes;
use crate::pg::subtransaction::Refused;
use crate::pg::transaction::{self, RolledBack};
use crate::pg::tuple::Value;
use crate::pg::{array, process, subtransaction};
use crate::session::cancel;
use crate::session::hold::Hold;
use crate::session::launch::request::{Context, check_enabled, launch_for_fanout, no_worker};
use crate::session::outcome::JobError;
use crate::session::read::json_array::JsonArray;
use crate::session::wait::until;
use crate::settings;
use crate::settings::OnExhaustion;
use arrayvec::ArrayString;
use engine::error_message::QUERY_CANCELED;
use engine::job::{Demand, Phase};
use engine::memory;
use engine::sync::Ordering;
use engine::wait::Micros;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_INVALID_PARAMETER_VALUE,
    ERRCODE_NULL_VALUE_NOT_ALLOWED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    ERRCODE_QUERY_CANCELED,
};
use std::fmt::Write;

/// In flight for each place in the pool when the caller names no number: one that runs, and enough behind it
/// that no worker goes idle while the leader is busy with others. Measured; see `docs/architecture.md`.
const PER_PLACE: usize = 4;

/// How long canceled jobs have to end after the time limit, before their workers are asked to exit and their
/// rows are made without them, microseconds.
const GRACE: Micros = 1_000_000;

/// What is asked for.
pub struct FanoutRequest {
    /// An array of SQL texts.
    pub statements: pg_sys::Datum,
    /// In flight at most; `None`: what the pool gives.
    pub max_parallel: Option<i32>,
    /// The first error ends the call.
    pub fail_fast: bool,
    /// Milliseconds for the whole call; 0 or less: no limit.
    pub timeout_ms: i32,
}

/// One row: idx, ok, row_count, command_tag, result, sqlstate, error_message, elapsed_us.
pub type FanoutRow = [Value; 8];

struct Flight {
    hold: Hold,
    /// Of the statement, from 0.
    index: usize,
}

/// See the module documentation.
pub struct Fanout {
    cluster: &'static Cluster,
    session: Context,
    statements: Vec<pg_sys::Datum>,
    /// The next to be launched.
    next: usize,
    max_parallel: usize,
    fail_fast: bool,
    timeout_ms: i32,
    deadline: Option<Micros>,
    /// Set once the call has expired: until when the canceled ones may take.
    grace_until: Option<Micros>,
    /// Set while none in flight has a worker: until when the call waits for one.
    starves_until: Option<Micros>,
    /// Its (sub)transaction was rolled back.
    rolled_back: bool,
    flights: Vec<Flight>,
    memory: pg_sys::MemoryContext,
}

fn statements_of(
    array: pg_sys::Datum,
    memory: pg_sys::MemoryContext,
) -> Result<Vec<pg_sys::Datum>, Error> {
    // SAFETY: declared as an array of text; copied to where it lives as long as the call.
    let elements = unsafe {
        let caller = pg_sys::MemoryContextSwitchTo(memory);
        let copy = pg_sys::pg_detoast_datum_copy(array.cast_mut_ptr());
        let elements = array::elements(pg_sys::Datum::from(copy));
        pg_sys::MemoryContextSwitchTo(caller);
        elements
    };
    let mut statements = Vec::new();
    memory::try_reserve_exact(&mut statements, elements.len())?;
    for element in elements {
        let statement = element.ok_or_else(|| {
            Error::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "a statement in the array must not be null",
            )
        })?;
        memory::try_push(&mut statements, statement)?;
    }
    Ok(statements)
}

/// The rows of a job that has completed, as a JSON array; `None`: its statement returns none. Memory for the reading
/// comes from `memory`.
fn result_of(job: Job, memory: pg_sys::MemoryContext) -> Result<Option<pg_sys::Datum>, Failure> {
    let pid = job.pid();
    // SAFETY: the context lives as long as the call.
    let mut rows = unsafe { JsonArray::begin(job, pid, memory)? };
    rows.take(true)?;
    Ok(rows.finish().map(|(array, _)| array))
}

/// Why there is no result.
enum Unread {
    /// That is what the statement's row says.
    Refused(Refused),
    /// It ends the call.
    Failed(Failure),
}

impl Fanout {
    /// Checks what is asked for. Nothing is launched yet. `memory` has to live as long.
    ///
    /// # Errors
    /// 55000 launches are disabled; 22004 a statement is NULL; 22023 `max_parallel` is not positive; 53000 the
    /// pool may have no worker at all.
    pub fn new(asked: &FanoutRequest, memory: pg_sys::MemoryContext) -> Result<Self, Failure> {
        check_enabled()?;
        let cluster = cluster()?;
        if cluster.worker_cap() == 0 {
            return Err(Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "no background worker is available",
            )
            .detail("There are no places for background workers.")
            .hint("Raise max_worker_processes or pg_background.max_pool_workers.")
            .into());
        }
        let max_parallel = match asked.max_parallel {
            None => cluster.worker_cap() as usize * PER_PLACE,
            Some(limit) if limit > 0 => limit as usize,
            Some(_) => {
                return Err(Error::new(
                    ERRCODE_INVALID_PARAMETER_VALUE,
                    "max_parallel must be positive",
                )
                .hint("NULL means what the pool of workers gives.")
                .into());
            }
        };
        Ok(Self {
            cluster,
            session: Context::capture(cluster),
            statements: statements_of(asked.statements, memory)?,
            next: 0,
            max_parallel,
            fail_fast: asked.fail_fast,
            timeout_ms: asked.timeout_ms,
            deadline: until::deadline(asked.timeout_ms),
            grace_until: None,
            starves_until: None,
            rolled_back: false,
            flights: Vec::new(),
            memory,
        })
    }

    /// From now on the end of the (sub)transaction ends it.
    ///
    /// # Safety
    /// It stays where it is until it is dropped.
    pub unsafe fn watch_transaction(&mut self) {
        // SAFETY: by the caller; a call for a row has returned before a (sub)transaction ends.
        unsafe { transaction::tie(self) };
    }

    /// The next row; `None`: there was one for every statement.
    ///
    /// # Errors
    /// With `fail_fast`, that of the first statement that failed, or 57014 at the time limit; 53000 no slot to
    /// be had; 53200 shared memory exhausted; 55000 the subtransaction in which it began was rolled back; 42501 the
    /// session's user is another than for the first row.
    pub fn next(&mut self) -> Result<Option<FanoutRow>, Failure> {
        if self.rolled_back {
            return Err(Error::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the fan-out has ended with the subtransaction in which it began",
            )
            .detail("Its statements in flight were canceled, and no more were launched.")
            .into());
        }
        self.session.check_users()?;
        loop {
            if self.has_expired() {
                self.expire()?;
            }
            self.launch()?;
            if self.flights.is_empty() {
                return Ok(self.unlaunched());
            }
            if let Some(at) = self.first_finished() {
                return self.land(at).map(Some);
            }
            if !self.wait()?
                && let Some(row) = self.give_up_one()
            {
                return Ok(Some(row));
            }
        }
    }

    fn has_expired(&self) -> bool {
        self.grace_until.is_none()
            && self
                .deadline
                .is_some_and(|deadline| deadline <= process::now())
    }

    /// The time limit has come.
    fn expire(&mut self) -> Result<(), Failure> {
        if self.fail_fast {
            self.abandon();
            return Err(Error::new(ERRCODE_QUERY_CANCELED, self.expiry())
                .detail(format_args!(
                    "Of {} statements {} had not been launched.",
                    self.statements.len(),
                    self.statements.len() - self.next
                ))
                .into());
        }
        for job in self.jobs() {
            let _ = cancel::request(job, Demand::Insist);
        }
        self.grace_until = Some(process::now() + GRACE);
        Ok(())
    }

    fn expiry(&self) -> ArrayString<80> {
        let mut words = ArrayString::new();
        let _ = write!(
            words,
            "canceling statement: the fan-out has taken {} ms",
            self.timeout_ms
        );
        words
    }

    fn launch(&mut self) -> Result<(), Error> {
        while self.grace_until.is_none()
            && self.flights.len() < self.max_parallel
            && self.next < self.statements.len()
        {
            // SAFETY: elements of an array of text.
            let sql = unsafe { array::text_bytes(self.statements[self.next]) };
            let alone = self.flights.is_empty();
            // Before the job is there: it is in the list from then on.
            memory::try_reserve(&mut self.flights, 1)?;
            let Some(hold) = launch_for_fanout(self.cluster, &self.session, sql, alone)? else {
                // The table is full: when one of ours has landed, its slot is free.
                return Ok(());
            };
            fault!("statement-launched");
            let index = self.next;
            memory::try_push(&mut self.flights, Flight { hold, index })?;
            self.next += 1;
        }
        Ok(())
    }

    /// The row of a statement that was not launched before the call expired; `None`: all were.
    fn unlaunched(&mut self) -> Option<FanoutRow> {
        let index = self.next;
        (index < self.statements.len()).then(|| {
            self.next += 1;
            self.expired_row(index)
        })
    }

    fn expired_row(&self, index: usize) -> FanoutRow {
        let message = Value::text(self.expiry().as_bytes());
        failed(index, Value::text(&QUERY_CANCELED), message, Value::NULL)
    }

    /// The jobs in flight.
    fn jobs(&self) -> impl Iterator<Item = Job> + Clone {
        self.flights.iter().map(|flight| flight.hold.job())
    }

    /// Of those that have finished the one that did first.
    fn first_finished(&self) -> Option<usize> {
        let finished_at = |(at, job): (usize, Job)| {
            let finished_at = &job.slot().finished_at;
            job.is_finished()
                .then(|| (finished_at.load(Ordering::Relaxed), at))
        };
        let finished = self.jobs().enumerate().filter_map(finished_at);
        finished.min().map(|(_, at)| at)
    }

    /// Sleeps until one has finished. `false`: not before the time limit, or the end of the grace after it, or
    /// there is something else to be looked at.
    fn wait(&mut self) -> Result<bool, Error> {
        let deadline = self.grace_until.or(self.deadline);
        let starves_until = self.starves();
        let until = match (deadline, starves_until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if until::first_finished(self.jobs(), until).is_some() {
            return Ok(true);
        }
        if starves_until.is_some_and(|limit| limit <= process::now()) && self.starves().is_some() {
            self.abandon();
            return Err(no_worker(settings::launch_timeout()));
        }
        Ok(false)
    }

    /// As a launch, the call does not wait for ever for a worker: when none of its jobs has one, and the session
    /// does not want them to queue, until when it does.
    fn starves(&mut self) -> Option<Micros> {
        let is_queued = |job: Job| job.word().load().phase() == Phase::Queued;
        let starves = settings::on_exhaustion() != OnExhaustion::Queue
            && self.grace_until.is_none()
            && self.jobs().all(is_queued);
        let limit = || process::now() + settings::launch_timeout() as Micros * 1000;
        self.starves_until = starves.then(|| self.starves_until.unwrap_or_else(limit));
        self.starves_until
    }

    /// After the grace: asks the worker of one that has not ended to exit, and does not wait for it.
    fn give_up_one(&mut self) -> Option<FanoutRow> {
        self.grace_until.filter(|until| *until <= process::now())?;
        let at = self.flights.len().checked_sub(1)?;
        let Flight { hold, index } = &self.flights[at];
        let _ = cancel::request(hold.job(), Demand::Terminate);
        let row = self.expired_row(*index);
        self.remove(at);
        Some(row)
    }

    /// Makes the row of a job that has finished.
    fn land(&mut self, at: usize) -> Result<FanoutRow, Failure> {
        let Flight { hold, index } = &self.flights[at];
        let (job, index) = (hold.job(), *index);
        let slot = job.slot();
        let phase = slot.word.load().phase();
        let elapsed = match slot.started_at.load(Ordering::Relaxed) {
            0 => Value::NULL,
            started => {
                let finished = slot.finished_at.load(Ordering::Relaxed);
                Value::int8(finished.saturating_sub(started).cast_signed())
            }
        };
        if phase == Phase::Completed {
            // Before it is read: a reading that fails half-way lets go of the job.
            let (tag, row_count) = Block::of(job).completion();
            // A result that cannot be given back (a type that was dropped, a cast that raises, a value that JSON
            // cannot have) does not undo its statement, nor end the others.
            let (result, sqlstate, message) = match self.result_of(job) {
                Ok(result) => (
                    result.map_or(Value::NULL, Value::of),
                    Value::NULL,
                    Value::NULL,
                ),
                Err(Unread::Refused(refused)) => (Value::NULL, refused.sqlstate, refused.message),
                Err(Unread::Failed(failure)) => return Err(failure),
            };
            fault!("statement-collected");
            self.remove(at);
            return Ok([
                Value::int4(index as i32 + 1),
                Value::bool(true),
                row_count.map_or(Value::NULL, Value::int8),
                Value::text_or_null(tag.as_deref()),
                result,
                sqlstate,
                message,
                elapsed,
            ]);
        }
        let pid = job.pid().cast_signed();
        let error = JobError::of_job(job, pid, phase);
        if self.fail_fast {
            let message = Bytes::copy(error.body());
            self.abandon();
            return Err(Failure::Job { message, pid });
        }
        let message = if phase == Phase::Canceled && self.grace_until.is_some() {
            Value::text(self.expiry().as_bytes())
        } else {
            error.message()
        };
        let row = failed(index, error.sqlstate(), message, elapsed);
        self.remove(at);
        Ok(row)
    }

    /// The rows of a job that has completed, as a JSON array; `None`: its statement returns none. What code of users
    /// or of the server raises while they are converted is the statement's error, unless the first error ends the call.
    fn result_of(&self, job: Job) -> Result<Option<pg_sys::Datum>, Unread> {
        let memory = self.memory;
        let read = || result_of(job, memory);
        // Tags alone are not converted.
        let has_rows = Block::of(job).description().is_some();
        let outcome = if self.fail_fast || !has_rows {
            Ok(read())
        } else {
            subtransaction::attempt(read)
        };
        let refused = match outcome {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(Failure::Own(error))) if !self.fail_fast => Refused {
                sqlstate: Value::text(&error.sqlstate()),
                message: Value::text(error.message.as_bytes()),
            },
            Ok(Err(failure)) => return Err(Unread::Failed(failure)),
            Err(refused) => refused,
        };
        // SAFETY: the reading that has failed is the only one.
        unsafe { pg_sys::MemoryContextDeleteChildren(memory) };
        Err(Unread::Refused(refused))
    }

    /// Lets go of a job whose row was made.
    fn remove(&mut self, at: usize) {
        self.flights.swap_remove(at).hold.detach();
    }

    /// Cancels what is in flight and lets go of it. Does not throw.
    fn abandon(&mut self) {
        self.next = self.statements.len();
        self.flights.clear();
    }
}

fn failed(index: usize, sqlstate: Value, message: Value, elapsed: Value) -> FanoutRow {
    [
        Value::int4(index as i32 + 1),
        Value::bool(false),
        Value::NULL,
        Value::NULL,
        Value::NULL,
        sqlstate,
        message,
        elapsed,
    ]
}

impl RolledBack for Fanout {
    fn rolled_back(&mut self) {
        self.rolled_back = true;
        self.abandon();
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        transaction::untie(self);
        self.abandon();
    }
}
