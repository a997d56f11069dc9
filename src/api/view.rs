//! Lists, statistics, progress, outcomes.

use super::{Arguments, Result, VOID, sql_function};
use crate::pg::error::Error;
use crate::pg::rows::Store;
use crate::pg::text;
use crate::pg::tuple::Value;
use crate::session::jobs::JobName;
use crate::session::{jobs, list, outcome};
use crate::settings;
use crate::worker::running_job;
use engine::progress::Report;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_FEATURE_NOT_SUPPORTED, ERRCODE_NULL_VALUE_NOT_ALLOWED,
};

sql_function!(
    /// `pg_background_list_v2()`, `pg_background_list()`: the jobs that this session tracks.
    pg_background_list_v2,
    pg_finfo_pg_background_list_v2,
    |arguments| {
        let caller = arguments.caller()?;
        list::check_list(&caller)?;
        list::list(&mut Store::new(&caller));
        Ok(arguments.null())
    }
);

/// `pg_background_stats`; 1.8 to 1.10 lack the last attribute, 2.0 has it as the fifth.
const STATS: [&str; 8] = [
    "workers_launched",
    "workers_completed",
    "workers_failed",
    "workers_canceled",
    "workers_active",
    "avg_execution_ms",
    "max_workers",
    "workers_timed_out",
];

sql_function!(
    /// `pg_background_stats_v2()`: what this session has launched.
    pg_background_stats_v2,
    pg_finfo_pg_background_stats_v2,
    |arguments| {
        let statistics = jobs::statistics();
        let ends = statistics.ends;
        let row = [
            Value::int8(statistics.launched.cast_signed()),
            Value::int8(ends.completed.cast_signed()),
            Value::int8(ends.failed.cast_signed()),
            Value::int8(ends.canceled.cast_signed()),
            Value::int4(i32::try_from(statistics.active()).unwrap_or(i32::MAX)),
            Value::float8(statistics.average_ms()),
            Value::int4(settings::max_workers() as i32),
            Value::int8(statistics.timed_out.cast_signed()),
        ];
        Ok(arguments.row_by_name(STATS, row))
    }
);

sql_function!(
    /// `pg_background_record_timeout()`: counts a job that its user gave up at a time limit.
    pg_background_record_timeout,
    pg_finfo_pg_background_record_timeout,
    |_arguments| {
        jobs::note_timeout();
        Ok(VOID)
    }
);

/// Reports the progress of the job that calls it; none if the percentage is NULL.
fn report_progress(arguments: Arguments) -> Result {
    let Some(job) = running_job::job() else {
        return Err(Error::new(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            "progress can be reported only from within a background job",
        )
        .into());
    };
    let Some(percent) = arguments.int4(0) else {
        return Ok(VOID);
    };
    let message = arguments
        .text(1)
        .map(text::cut::<{ engine::progress::MESSAGE_LIMIT }>);
    job.slot()
        .progress
        .report(percent.clamp(0, 100).cast_unsigned(), message.as_deref());
    Ok(VOID)
}

sql_function!(
    /// `pg_background_progress(pct, msg)`: reports the progress of the job that calls it. NULL is no report.
    pg_background_progress,
    pg_finfo_pg_background_progress,
    |arguments| report_progress(arguments)
);

sql_function!(
    /// `pg_background_report_progress(pct, msg)`: reports the progress of the job that calls it. NULL is an error.
    pg_background_report_progress,
    pg_finfo_pg_background_report_progress,
    |arguments| {
        if arguments.int4(0).is_none() {
            return Err(Error::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "the percentage must not be null",
            )
            .into());
        }
        report_progress(arguments)
    }
);

/// What a job reported last, as `of` finds it; NULL: nothing.
fn get_progress(
    arguments: Arguments,
    of: fn(JobName) -> std::result::Result<Option<Report>, Error>,
) -> Result {
    let Some(name) = arguments.handle_or_null()? else {
        return Ok(arguments.null());
    };
    let Some(report) = of(name)? else {
        return Ok(arguments.null());
    };
    let row = [
        Value::int4(report.percent.cast_signed()),
        Value::text_or_null(report.message.as_deref()),
    ];
    Ok(arguments.row(row))
}

sql_function!(
    /// `pg_background_get_progress(pid, cookie)`: what a job reported last.
    pg_background_get_progress,
    pg_finfo_pg_background_get_progress,
    |arguments| get_progress(arguments, list::progress)
);

sql_function!(
    /// `pg_background_get_progress_v2(pid, cookie)`: what a job reported last; NULL also for an unknown handle, as in
    /// 1.8.
    pg_background_get_progress_v2,
    pg_finfo_pg_background_get_progress_v2,
    |arguments| get_progress(arguments, list::progress_if_known)
);

sql_function!(
    /// `pg_background_outcome(pid, cookie)`: the state or outcome of a job; never fails.
    pg_background_outcome,
    pg_finfo_pg_background_outcome,
    |arguments| Ok(arguments.row(outcome::by_handle(arguments.int4(0), arguments.cookie(1))))
);

/// `pg_background_result_info`; 1.9 and 1.10 lack the times.
const RESULT_INFO: [&str; 6] = [
    "row_count",
    "command_tag",
    "completed",
    "has_error",
    "started_at",
    "finished_at",
];

sql_function!(
    /// `pg_background_result_info(pid, cookie)`: how a job completed, without consuming its result.
    pg_background_result_info,
    pg_finfo_pg_background_result_info,
    |arguments| {
        Ok(match arguments.handle_or_null()? {
            Some(name) => arguments.row_by_name(RESULT_INFO, outcome::result_info(name)?),
            None => arguments.null(),
        })
    }
);

/// `pg_background_error`; 1.9 and 1.10 lack the names of objects.
const ERROR: [&str; 9] = [
    "sqlstate",
    "message",
    "detail",
    "hint",
    "context",
    "schema_name",
    "table_name",
    "column_name",
    "constraint_name",
];

sql_function!(
    /// `pg_background_error_info(pid, cookie)`: the error of a job; NULL if it has none.
    pg_background_error_info,
    pg_finfo_pg_background_error_info,
    |arguments| {
        let Some(name) = arguments.handle_or_null()? else {
            return Ok(arguments.null());
        };
        Ok(match outcome::error_info(name)? {
            Some(error) => arguments.row_by_name(ERROR, error.row()),
            None => arguments.null(),
        })
    }
);

sql_function!(
    /// `pg_background_full_sql(pid, cookie)`: the whole SQL text of a job.
    pg_background_full_sql,
    pg_finfo_pg_background_full_sql,
    |arguments| {
        Ok(match arguments.handle_or_null()? {
            Some(name) => outcome::full_sql(name)?.datum(),
            None => arguments.null(),
        })
    }
);

sql_function!(
    /// `pg_background_spilled(pid, cookie)`: bytes of a job's result in its spill file.
    pg_background_spilled,
    pg_finfo_pg_background_spilled,
    |arguments| Ok(Datum::from(outcome::spilled(arguments.handle())?))
);
