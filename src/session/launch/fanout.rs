//! Fan-out: runs many statements, a bounded number at a time, and waits for all of them.
//!
//! # Words
//!
//! * A statement is **in flight** from its launch until its row is made: queued, running, or finished and not yet
//!   looked at. It is a job like any other, but nobody is given its handle. So it is in no list and counts against no
//!   limit of the session.
//! * The call **expires** at its time limit. Statements in flight are canceled, and no more are launched.
//!
//! # What is run
//!
//! The texts of an array, or one text with the elements of an array as its parameters ([`Statements`]). Everything else
//! is the same for both.
//!
//! # One call for a row
//!
//! Each call for a row ([`Fanout::next`]) launches as many statements as may be in flight. Of those that have finished
//! it takes the one that finished first and makes its row. If none has finished, it sleeps on all of them. Results are
//! read after their jobs have finished; until then, what does not fit into a job's ring goes to its spill file.
//!
//! # Users
//!
//! All statements run as the user who fetched the first row. Another user may fetch from the same cursor later (after
//! SET ROLE, or in a function of somebody else). That fetch is an error. Running the statements as the first user would
//! give the other one rights that he does not have. Running them as the other user would execute statements that he has
//! not written with his rights.
//!
//! # Ends
//!
//! However the call ends, its jobs in flight are canceled and detached ([`Fanout::abandon`]). Dropping the fan-out does
//! this, and it is dropped with the memory of the calling query. That memory may outlive the (sub)transaction in which
//! it was made: an aborted transaction block waits for its ROLLBACK. So the end of the (sub)transaction abandons the
//! fan-out too ([`crate::pg::transaction`]). A cursor may outlive the subtransaction in which its first row was
//! fetched. The next fetch is then an error, not the end of the rows. The end of the session takes the jobs with it
//! because nobody has their handles ([`crate::session::exit`]).

use crate::cluster::attach::{Cluster, cluster};
use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::pg::error::{Error, Failure};
use crate::pg::memory::{Bytes, child_of};
use crate::pg::server;
use crate::pg::subtransaction::Refused;
use crate::pg::transaction::{self, RolledBack};
use crate::pg::tuple::Value;
use crate::pg::{process, subtransaction, text};
use crate::session::cancel;
use crate::session::hold::Hold;
use crate::session::launch::request::{
    LaunchContext, check_enabled, check_not_parallel, launch_for_fanout, no_worker,
};
use crate::session::launch::statements::{Source, Statement, Statements};
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
use engine::table::PREVIEW_LIMIT;
use engine::wait::Micros;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_INVALID_PARAMETER_VALUE,
    ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, ERRCODE_QUERY_CANCELED,
};
use std::fmt::Write;

/// Statements in flight for each worker slot if the caller gives no number: one that runs, and enough behind it that no
/// worker goes idle while the leader is busy with others. Measured; see `docs/architecture.md`.
const PER_WORKER_SLOT: usize = 4;

/// How long canceled jobs may take to end after the time limit, in microseconds. Then their workers are asked to exit
/// and their rows are made without them.
const GRACE: Micros = 1_000_000;

/// The arguments of a fan-out.
pub struct FanoutRequest<'a> {
    /// What is run.
    pub source: Source<'a>,
    /// Maximum number in flight; `None`: as the size of the pool suggests.
    pub max_parallel: Option<i32>,
    /// Whether the first error ends the call.
    pub fail_fast: bool,
    /// Milliseconds for the whole call; 0 or less for no limit.
    pub timeout_ms: i32,
}

/// One row: idx, ok, row_count, command_tag, result, sqlstate, error_message, elapsed_us, sql_preview.
pub type FanoutRow = [Value; 9];

struct InFlight {
    hold: Hold,
    /// Index of the statement, from 0.
    index: usize,
}

/// A fan-out; see the module documentation.
pub struct Fanout {
    cluster: &'static Cluster,
    context: LaunchContext,
    statements: Statements,
    max_parallel: usize,
    fail_fast: bool,
    timeout_ms: i32,
    deadline: Option<Micros>,
    /// Set once the call has expired: when the grace of the canceled jobs ends.
    grace_until: Option<Micros>,
    /// Set while no job in flight has a worker: when the call stops waiting for one.
    worker_deadline: Option<Micros>,
    /// Whether its (sub)transaction was rolled back.
    rolled_back: bool,
    in_flight: Vec<InFlight>,
    /// Of the reads of results.
    reads: pg_sys::MemoryContext,
}

/// The rows of a completed job as a JSON array; `None` if its statement returns no rows. The read takes its memory from
/// `memory`.
fn read_as_json(job: Job, memory: pg_sys::MemoryContext) -> Result<Option<pg_sys::Datum>, Failure> {
    let pid = job.pid();
    // SAFETY: the context lives as long as the call.
    let mut rows = unsafe { JsonArray::begin(job, pid, memory)? };
    rows.take(true)?;
    Ok(rows.finish().map(|(array, _)| array))
}

/// Why a result could not be read.
enum Unread {
    /// The row of the statement reports this error.
    Refused(Refused),
    /// This error ends the call.
    Failed(Failure),
}

impl Fanout {
    /// Checks the arguments. Launches nothing yet. `memory` must live as long as the fan-out.
    ///
    /// # Errors
    /// 25000 in a parallel operation; 55000 launches are disabled; those of [`Statements::copy`]; 22023 `max_parallel`
    /// is not positive; 53000 the pool has no worker slots
    pub fn new(
        request: &FanoutRequest<'_>,
        memory: pg_sys::MemoryContext,
    ) -> Result<Self, Failure> {
        // First, because a type of the elements may be altered at any moment after the array was made.
        // SAFETY: the memory lives as long as the fan-out.
        let statements = unsafe { Statements::copy(request.source, memory)? };
        check_not_parallel()?;
        check_enabled()?;
        let cluster = cluster()?;
        if cluster.worker_cap() == 0 {
            return Err(Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "no background worker is available",
            )
            .detail("There are no background worker slots for pg_background.")
            .hint("Raise max_worker_processes or pg_background.max_pool_workers.")
            .into());
        }
        let max_parallel = match request.max_parallel {
            None => cluster.worker_cap() as usize * PER_WORKER_SLOT,
            Some(limit) if limit > 0 => limit as usize,
            Some(_) => {
                return Err(Error::new(
                    ERRCODE_INVALID_PARAMETER_VALUE,
                    "max_parallel must be positive",
                )
                .hint("NULL means a number that suits the size of the worker pool.")
                .into());
            }
        };
        Ok(Self {
            cluster,
            context: LaunchContext::capture(cluster),
            statements,
            max_parallel,
            fail_fast: request.fail_fast,
            timeout_ms: request.timeout_ms,
            deadline: until::deadline(request.timeout_ms),
            grace_until: None,
            worker_deadline: None,
            rolled_back: false,
            in_flight: Vec::new(),
            // SAFETY: as above.
            reads: unsafe { child_of(memory, c"pg_background fan-out results") },
        })
    }

    /// Lets the end of the (sub)transaction end the fan-out.
    ///
    /// # Safety
    /// The fan-out must not move until it is dropped.
    pub unsafe fn watch_transaction(&mut self) {
        // SAFETY: by the caller; a call for a row returns before a (sub)transaction ends.
        unsafe { transaction::tie(self) };
    }

    /// The next row; `None` once there was one for every statement.
    ///
    /// # Errors
    /// With `fail_fast`, the error of the first statement that failed, or 57014 at the time limit; 53000 no slot; 53200
    /// shared memory exhausted; 55000 the subtransaction in which it started was rolled back; 42501 the session's user
    /// is not the one who fetched the first row
    pub fn next(&mut self) -> Result<Option<FanoutRow>, Failure> {
        if self.rolled_back {
            return Err(Error::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the fan-out ended with the subtransaction in which it started",
            )
            .detail("Its statements in flight were canceled, and no more were launched.")
            .into());
        }
        self.context.check_users()?;
        loop {
            if self.has_expired() {
                self.expire()?;
            }
            if let Some(row) = self.launch()? {
                return Ok(Some(row));
            }
            if self.in_flight.is_empty() {
                if self.statements.next().is_some() && self.has_expired() {
                    // There was no slot before the deadline.
                    continue;
                }
                return Ok(self.row_of_unlaunched());
            }
            if let Some(at) = self.first_finished() {
                return self.finish_statement(at).map(Some);
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

    /// Handles the end of the time limit.
    fn expire(&mut self) -> Result<(), Failure> {
        if self.fail_fast {
            let count = self.statements.count();
            let unlaunched = count - self.statements.next().unwrap_or(count);
            self.abandon();
            return Err(Error::new(ERRCODE_QUERY_CANCELED, self.expiry_message())
                .detail(format_args!(
                    "{unlaunched} of {count} statements had not been launched."
                ))
                .into());
        }
        for job in self.jobs() {
            let _ = cancel::request(job, Demand::Insist);
        }
        self.grace_until = Some(process::now() + GRACE);
        Ok(())
    }

    fn expiry_message(&self) -> ArrayString<80> {
        let mut words = ArrayString::new();
        let _ = write!(
            words,
            "canceling statement: the fan-out has taken {} ms",
            self.timeout_ms
        );
        words
    }

    /// Launches as many statements as may be in flight. Returns the row of one that cannot be bound.
    fn launch(&mut self) -> Result<Option<FanoutRow>, Error> {
        while self.grace_until.is_none()
            && self.in_flight.len() < self.max_parallel
            && let Some(index) = self.statements.next()
        {
            let alone = self.in_flight.is_empty();
            // Before the launch: once launched, the job must get into the list.
            memory::try_reserve(&mut self.in_flight, 1)?;
            let Statement { sql, params } = match self.statements.bind() {
                Ok(statement) => statement,
                Err(error) => return self.refuse(index, error).map(Some),
            };
            let hold = launch_for_fanout(
                self.cluster,
                &self.context,
                (sql, params),
                alone,
                self.deadline,
            )?;
            let Some(hold) = hold else {
                // The table is full. A slot becomes free when the row of one of our statements is made; or there was
                // none before the deadline.
                return Ok(None);
            };
            fault!("statement-launched");
            memory::try_push(&mut self.in_flight, InFlight { hold, index })?;
            self.statements.pass();
        }
        Ok(None)
    }

    /// The row of the next statement, which cannot be bound.
    fn refuse(&mut self, index: usize, error: Error) -> Result<FanoutRow, Error> {
        if self.fail_fast {
            self.abandon();
            return Err(error);
        }
        self.statements.pass();
        let message = Value::text(error.message.as_bytes());
        Ok(self.failed(index, Value::text(&error.sqlstate()), message, Value::NULL))
    }

    /// The row of a statement that was not launched before the call expired; `None` if all were launched.
    fn row_of_unlaunched(&mut self) -> Option<FanoutRow> {
        let index = self.statements.drop_one()?;
        Some(self.expired_row(index))
    }

    fn expired_row(&self, index: usize) -> FanoutRow {
        let message = Value::text(self.expiry_message().as_bytes());
        self.failed(index, Value::text(&QUERY_CANCELED), message, Value::NULL)
    }

    /// The jobs in flight.
    fn jobs(&self) -> impl Iterator<Item = Job> + Clone {
        self.in_flight.iter().map(|statement| statement.hold.job())
    }

    /// Of the finished jobs, the position of the one that finished first.
    fn first_finished(&self) -> Option<usize> {
        let finished_at = |(at, job): (usize, Job)| {
            let finished_at = &job.slot().finished_at;
            job.is_finished()
                .then(|| (finished_at.load(Ordering::Relaxed), at))
        };
        let finished = self.jobs().enumerate().filter_map(finished_at);
        finished.min().map(|(_, at)| at)
    }

    /// Sleeps until a job has finished. `false`: none finished before the time limit or the end of the grace, or there
    /// is something else to check.
    fn wait(&mut self) -> Result<bool, Error> {
        let deadline = self.grace_until.or(self.deadline);
        let worker_deadline = self.update_worker_deadline();
        let until = match (deadline, worker_deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if until::first_finished(self.jobs(), until).is_some() {
            return Ok(true);
        }
        if worker_deadline.is_some_and(|limit| limit <= process::now())
            && self.update_worker_deadline().is_some()
        {
            self.abandon();
            return Err(no_worker(settings::launch_timeout()));
        }
        Ok(false)
    }

    /// Sets and returns the time at which the call stops waiting for a worker. Like a launch, it does not wait forever
    /// if none of its jobs has a worker and the session does not want them queued. `None`: there is no such limit now,
    /// or the call has one for all that it waits for.
    fn update_worker_deadline(&mut self) -> Option<Micros> {
        let is_queued = |job: Job| job.word().load().phase() == Phase::Queued;
        let lacks_worker = settings::on_exhaustion() != OnExhaustion::Queue
            && self.deadline.is_none()
            && self.grace_until.is_none()
            && self.jobs().all(is_queued);
        let limit = || process::in_ms(settings::launch_timeout());
        self.worker_deadline = lacks_worker.then(|| self.worker_deadline.unwrap_or_else(limit));
        self.worker_deadline
    }

    /// After the grace: asks the worker of a job that has not ended to exit, and does not wait for it.
    fn give_up_one(&mut self) -> Option<FanoutRow> {
        self.grace_until.filter(|until| *until <= process::now())?;
        let at = self.in_flight.len().checked_sub(1)?;
        let InFlight { hold, index } = &self.in_flight[at];
        let _ = cancel::request(hold.job(), Demand::Terminate);
        let row = self.expired_row(*index);
        self.remove(at);
        Some(row)
    }

    /// Makes the row of a finished job.
    fn finish_statement(&mut self, at: usize) -> Result<FanoutRow, Failure> {
        let InFlight { hold, index } = &self.in_flight[at];
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
            // Read the completion before the result: a read that fails halfway detaches the job.
            let (tag, row_count) = Block::of(job).completion();
            // A result may be unreadable: a type was dropped, a cast raises, JSON cannot have the value. The statement
            // has run all the same, and the other statements go on.
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
                self.preview(index),
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
            Value::text(self.expiry_message().as_bytes())
        } else {
            error.message()
        };
        let row = self.failed(index, error.sqlstate(), message, elapsed);
        self.remove(at);
        Ok(row)
    }

    /// The rows of a completed job as a JSON array; `None` if its statement returns no rows. An error that users' code
    /// or the server raises during the conversion is the statement's error. With `fail_fast` it ends the call.
    fn result_of(&self, job: Job) -> Result<Option<pg_sys::Datum>, Unread> {
        let memory = self.reads;
        let read = || read_as_json(job, memory);
        // Command tags alone need no conversion.
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
        // SAFETY: no other read than the failed one uses the context.
        unsafe { server::MemoryContextDeleteChildren(memory) };
        Err(Unread::Refused(refused))
    }

    /// The row of a statement that has failed.
    fn failed(&self, index: usize, sqlstate: Value, message: Value, elapsed: Value) -> FanoutRow {
        [
            Value::int4(index as i32 + 1),
            Value::bool(false),
            Value::NULL,
            Value::NULL,
            Value::NULL,
            sqlstate,
            message,
            elapsed,
            self.preview(index),
        ]
    }

    /// The beginning of a statement's text, as lists show it.
    fn preview(&self, index: usize) -> Value {
        let sql = self.statements.sql_of(index);
        Value::text(&text::cut_marked::<PREVIEW_LIMIT>(sql))
    }

    /// Detaches a job whose row was made.
    fn remove(&mut self, at: usize) {
        self.in_flight.swap_remove(at).hold.detach();
    }

    /// Cancels and detaches the jobs in flight. Does not throw.
    fn abandon(&mut self) {
        self.statements.drop_rest();
        self.in_flight.clear();
    }
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
