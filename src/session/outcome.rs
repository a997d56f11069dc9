//! How a job ended: what a session can learn without consuming the result.

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::tuple::Value;
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose, Tracked};
use engine::cookie::Cookie;
use engine::error_message;
use engine::job::{Phase, Snapshot};
use engine::sync::Ordering;
use std::borrow::Cow;

/// An error with its fields: the body of an `ErrorResponse` message. Valid while the job is held.
pub struct JobError(Cow<'static, [u8]>);

impl JobError {
    /// The error of a finished job; `None` if the job completed.
    pub fn of(tracked: &Tracked, phase: Phase) -> Option<Self> {
        matches!(phase, Phase::Failed | Phase::Canceled).then(|| {
            let pid = tracked.job.pid().cast_signed();
            Self::of_job(tracked.job, pid, phase)
        })
    }

    /// The error of a failed or canceled job that ran in the process `pid`.
    pub fn of_job(job: Job, pid: i32, phase: Phase) -> Self {
        Self(error_of(phase, Block::of(job).error(), pid))
    }

    /// The whole message body.
    pub fn body(&self) -> &[u8] {
        &self.0
    }

    fn field(&self, kind: u8) -> Value {
        Value::text_or_null(error_message::field(&self.0, kind))
    }

    /// SQLSTATE.
    pub fn sqlstate(&self) -> Value {
        self.field(error_message::SQLSTATE)
    }

    /// Primary message.
    pub fn message(&self) -> Value {
        self.field(error_message::PRIMARY)
    }

    /// The attributes of `pg_background_error`. The field types are those of the wire protocol.
    pub fn row(&self) -> [Value; 9] {
        [
            error_message::SQLSTATE,
            error_message::PRIMARY,
            b'D',
            b'H',
            b'W',
            b's',
            b't',
            b'c',
            b'n',
        ]
        .map(|kind| self.field(kind))
    }
}

fn int8_or_null(value: Option<i64>) -> Value {
    value.map_or(Value::NULL, Value::int8)
}

/// A time in a slot. 0 means that it has not come.
fn moment(micros: u64) -> Value {
    match micros {
        0 => Value::NULL,
        micros => Value::timestamptz(micros),
    }
}

/// How the last statement completed: tag and row count. Empty and 0, as in version 2.0, unless the job completed with
/// such a statement.
fn completion(tracked: &Tracked, phase: Phase) -> (Value, Value) {
    let (tag, row_count) = match phase {
        Phase::Completed => Block::of(tracked.job).completion(),
        _ => (None, None),
    };
    (
        Value::text(tag.as_deref().unwrap_or_default()),
        Value::int8(row_count.unwrap_or(0)),
    )
}

/// The attributes of `pg_background_outcome`.
pub type OutcomeRow = [Value; 12];

/// The state of a job that nobody can tell.
const UNKNOWN: &str = "unknown";

/// The outcome for a handle with a part that is NULL: all else is NULL too.
fn of_nothing(pid: Option<i32>, cookie: Option<Cookie>) -> OutcomeRow {
    let mut row = [Value::NULL; 12];
    row[0] = pid.map_or(Value::NULL, Value::int4);
    row[1] = int8_or_null(cookie.map(Cookie::to_sql));
    row
}

/// The outcome for a handle that names no job of this session, or none that the current user may manage. Nothing more
/// is ever known of the job here, so a loop that waits for its end ends; but not as if the job had succeeded.
fn unknown(pid: i32, cookie: Cookie, why: &Error) -> OutcomeRow {
    let mut row = of_nothing(Some(pid), Some(cookie));
    row[2] = Value::text(UNKNOWN.as_bytes());
    row[4] = Value::bool(true);
    row[5] = Value::bool(true);
    row[8] = Value::text(&why.sqlstate());
    row[9] = Value::text(why.message.as_bytes());
    row
}

/// The outcome of a job that this session tracks.
pub fn of(tracked: &Tracked) -> OutcomeRow {
    let now = jobs::count_if_finished(tracked.job);
    let slot = tracked.job.slot();
    let error = JobError::of(tracked, now.phase());
    let (tag, row_count) = completion(tracked, now.phase());
    [
        Value::int4(tracked.job.pid().cast_signed()),
        Value::int8(tracked.shown_cookie()),
        Value::text(state_name(now).as_bytes()),
        Value::bool(tracked.consumed),
        Value::bool(now.phase().is_finished()),
        Value::bool(error.is_some()),
        row_count,
        tag,
        error.as_ref().map_or(Value::NULL, JobError::sqlstate),
        error.as_ref().map_or(Value::NULL, JobError::message),
        Value::text_or_null(slot.label().as_deref()),
        Value::timestamptz(slot.launched_at.load(Ordering::Relaxed)),
    ]
}

/// The outcome for any handle. Never fails.
pub fn by_handle(pid: Option<i32>, cookie: Option<Cookie>) -> OutcomeRow {
    let Some((pid, cookie)) = pid.zip(cookie) else {
        return of_nothing(pid, cookie);
    };
    match jobs::find_tracked(pid, cookie) {
        Ok(Some(tracked)) => of(&tracked),
        Ok(None) => unknown(pid, cookie, &jobs::no_such_job(pid)),
        Err(error) => unknown(pid, cookie, &error),
    }
}

/// The attributes of `pg_background_result_info`.
///
/// # Errors
/// As [`jobs::find`].
pub fn result_info(name: JobName) -> Result<[Value; 6], Error> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    let phase = jobs::count_if_finished(tracked.job).phase();
    let slot = tracked.job.slot();
    let (tag, row_count) = completion(&tracked, phase);
    let finished = phase.is_finished();
    let finished_at = if finished {
        moment(slot.finished_at.load(Ordering::Relaxed))
    } else {
        Value::NULL
    };
    Ok([
        row_count,
        tag,
        Value::bool(finished),
        Value::bool(finished && phase != Phase::Completed),
        moment(slot.started_at.load(Ordering::Relaxed)),
        finished_at,
    ])
}

/// The error of a job; `None` if it has none (yet).
///
/// # Errors
/// As [`jobs::find`].
pub fn error_info(name: JobName) -> Result<Option<JobError>, Error> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    let phase = jobs::count_if_finished(tracked.job).phase();
    Ok(JobError::of(&tracked, phase))
}

/// The whole SQL text of a job.
///
/// # Errors
/// As [`jobs::find`].
pub fn full_sql(name: JobName) -> Result<Value, Error> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    Ok(Value::text(Block::of(tracked.job).sql()))
}

/// Bytes of a job's result in the spill file.
///
/// # Errors
/// As [`jobs::find`].
pub fn spilled(name: JobName) -> Result<i64, Error> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    let bytes = Block::of(tracked.job).spill().bytes();
    Ok(bytes.cast_signed())
}

/// The error of a job that did not complete: the one it recorded, or else the one that its phase implies.
pub fn error_of(phase: Phase, noted: &[u8], pid: i32) -> Cow<'_, [u8]> {
    if !noted.is_empty() {
        return Cow::Borrowed(noted);
    }
    Cow::Owned(if phase == Phase::Canceled {
        error_message::canceled_before_it_began()
    } else {
        error_message::lost_connection(pid)
    })
}

/// A job's state as SQL shows it.
pub fn state_name(now: Snapshot) -> &'static str {
    match now.phase() {
        Phase::Free | Phase::Reserved | Phase::Queued => "queued",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Completed => "stopped",
        Phase::Failed => "error",
        Phase::Canceled => "canceled",
    }
}
