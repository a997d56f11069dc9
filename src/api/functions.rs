//! The functions, in the order of the script.

use super::{Arguments, Result, sql_function};
use crate::leader::launch::{Launch, launch};
use crate::leader::session::{self, Name};
use crate::leader::{control, result, view, wait};
use crate::pg::cluster::attached;
use crate::pg::error::{Error, Failure};
use crate::pg::latch::ring;
use crate::pg::rows::RowSink;
use crate::pg::settings;
use crate::pg::text;
use crate::pg::tuple::{Value, composite};
use crate::worker::run;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;

const VOID: Datum = Datum::null();

/// The functions are strict, so that their arguments are there.
const STRICT: &str = "declared strict";

fn start(
    arguments: Arguments,
    by_pid: bool,
    submit: bool,
) -> std::result::Result<(u32, i64), Failure> {
    let (pid, cookie) = launch(&Launch {
        sql: arguments.text(0).expect(STRICT),
        queue_size: arguments.int4(1).unwrap_or(0),
        by_pid,
        submit,
    })?;
    Ok((pid, cookie.to_sql()))
}

fn start_with_handle(arguments: Arguments, submit: bool) -> Result {
    let (pid, cookie) = start(arguments, false, submit)?;
    // SAFETY: declared to return a handle.
    Ok(unsafe {
        composite(
            arguments.call_info(),
            [Value::int4(pid.cast_signed()), Value::int8(cookie)],
        )
    })
}

fn pid(arguments: Arguments) -> Name {
    Name::Pid(arguments.int4(0).expect(STRICT))
}

fn handle(arguments: Arguments) -> Name {
    Name::Handle(
        arguments.int4(0).expect(STRICT),
        arguments.cookie(1).expect(STRICT),
    )
}

fn read(arguments: Arguments, name: Name) -> Result {
    // SAFETY: declared to return a set.
    let mut sink = unsafe { RowSink::new(arguments.call_info())? };
    result::read(name, &mut sink)?;
    Ok(arguments.null())
}

sql_function!(
    /// `pg_background_launch(sql, queue_size)`: launches a job, returns its pid.
    pg_background_launch,
    pg_finfo_pg_background_launch,
    |arguments| Ok(Datum::from(start(arguments, true, false)?.0))
);

sql_function!(
    /// `pg_background_result(pid)`: the rows of a job, once.
    pg_background_result,
    pg_finfo_pg_background_result,
    |arguments| read(arguments, pid(arguments))
);

sql_function!(
    /// `pg_background_detach(pid)`: stops tracking a job.
    pg_background_detach,
    pg_finfo_pg_background_detach,
    |arguments| control::detach(pid(arguments)).map(|()| VOID)
);

sql_function!(
    /// `pg_background_launch_v2(sql, queue_size)`: launches a job, returns its handle.
    pg_background_launch_v2,
    pg_finfo_pg_background_launch_v2,
    |arguments| start_with_handle(arguments, false)
);

sql_function!(
    /// `pg_background_submit_v2(sql, queue_size)`: launches a job without a result.
    pg_background_submit_v2,
    pg_finfo_pg_background_submit_v2,
    |arguments| start_with_handle(arguments, true)
);

sql_function!(
    /// `pg_background_result_v2(pid, cookie)`: the rows of a job, once.
    pg_background_result_v2,
    pg_finfo_pg_background_result_v2,
    |arguments| read(arguments, handle(arguments))
);

sql_function!(
    /// `pg_background_detach_v2(pid, cookie)`: stops tracking a job.
    pg_background_detach_v2,
    pg_finfo_pg_background_detach_v2,
    |arguments| control::detach(handle(arguments)).map(|()| VOID)
);

sql_function!(
    /// `pg_background_cancel_v2(pid, cookie)`: cancels a job.
    pg_background_cancel_v2,
    pg_finfo_pg_background_cancel_v2,
    |arguments| control::cancel(handle(arguments), 0).map(|()| VOID)
);

sql_function!(
    /// `pg_background_cancel_v2_grace(pid, cookie, grace_ms)`: cancels a job, waits, escalates.
    pg_background_cancel_v2_grace,
    pg_finfo_pg_background_cancel_v2_grace,
    |arguments| {
        let grace = arguments.int4(2).expect(STRICT);
        control::cancel(handle(arguments), grace).map(|()| VOID)
    }
);

sql_function!(
    /// `pg_background_wait_v2(pid, cookie)`: waits until a job has finished.
    pg_background_wait_v2,
    pg_finfo_pg_background_wait_v2,
    |arguments| wait::by_name(handle(arguments), None).map(|_| VOID)
);

sql_function!(
    /// `pg_background_wait_v2_timeout(pid, cookie, timeout_ms)`: likewise, with a limit.
    pg_background_wait_v2_timeout,
    pg_finfo_pg_background_wait_v2_timeout,
    |arguments| {
        let timeout = arguments.int4(2).expect(STRICT);
        wait::by_name(handle(arguments), Some(timeout)).map(Datum::from)
    }
);

sql_function!(
    /// `pg_background_list_v2()`: the jobs that this session tracks.
    pg_background_list_v2,
    pg_finfo_pg_background_list_v2,
    |arguments| {
        // SAFETY: declared to return a set.
        let mut sink = unsafe { RowSink::new(arguments.call_info())? };
        view::check_list(&sink)?;
        view::list(&mut sink);
        Ok(arguments.null())
    }
);

sql_function!(
    /// `pg_background_stats_v2()`: what this session has launched.
    pg_background_stats_v2,
    pg_finfo_pg_background_stats_v2,
    |arguments| {
        let (statistics, active) = session::statistics();
        let row = [
            Value::int8(statistics.launched.cast_signed()),
            Value::int8(statistics.completed.cast_signed()),
            Value::int8(statistics.failed.cast_signed()),
            Value::int8(statistics.canceled.cast_signed()),
            Value::int4(active.cast_signed()),
            Value::float8(statistics.average_ms()),
            Value::int4(settings::max_workers() as i32),
            Value::int8(0),
        ];
        // SAFETY: declared to return the statistics type.
        Ok(unsafe { composite(arguments.call_info(), row) })
    }
);

sql_function!(
    /// `pg_background_progress(pct, msg)`: reports the progress of the job that calls it.
    pg_background_progress,
    pg_finfo_pg_background_progress,
    |arguments| {
        let (Some(cluster), Some(job)) = (attached(), run::running()) else {
            return Err(Error::new(
                ERRCODE_FEATURE_NOT_SUPPORTED,
                "progress can be reported from within a background job only",
            )
            .into());
        };
        let Some(percent) = arguments.int4(0) else {
            return Ok(VOID);
        };
        let message = arguments
            .text(1)
            .map(text::cut::<{ crate::engine::progress::MESSAGE_LIMIT }>);
        cluster
            .slot(job)
            .progress
            .report(percent.clamp(0, 100).cast_unsigned(), message.as_deref());
        Ok(VOID)
    }
);

sql_function!(
    /// `pg_background_get_progress_v2(pid, cookie)`: what a job reported last.
    pg_background_get_progress_v2,
    pg_finfo_pg_background_get_progress_v2,
    |arguments| {
        let (Some(pid), Some(cookie)) = (arguments.int4(0), arguments.cookie(1)) else {
            return Ok(arguments.null());
        };
        let Some(report) = view::progress(pid, cookie)? else {
            return Ok(arguments.null());
        };
        let row = [
            Value::int4(report.percent.cast_signed()),
            Value::text_or_null(report.message.as_deref()),
        ];
        // SAFETY: declared to return the progress type.
        Ok(unsafe { composite(arguments.call_info(), row) })
    }
);

sql_function!(
    /// `pg_background_resources()`: what the jobs and workers of the cluster occupy.
    pg_background_resources,
    pg_finfo_pg_background_resources,
    |arguments| {
        let cluster = crate::pg::cluster::cluster()?;
        let census = cluster.pool().locked(|scheduler| scheduler.census());
        let row = [
            Value::int4(cluster.jobs().capacity() as i32),
            Value::int4(cluster.jobs().used().cast_signed()),
            Value::int8(cluster.arena_bytes().cast_signed()),
            Value::int4(cluster.segments_in_use() as i32),
            Value::int4(cluster.pool().queued().cast_signed()),
            Value::int4(census.starting.cast_signed()),
            Value::int4(census.idle.cast_signed()),
            Value::int4(census.busy.cast_signed() + census.exiting.cast_signed()),
            Value::int4(0),
        ];
        // SAFETY: declared to return a row of these columns.
        Ok(unsafe { composite(arguments.call_info(), row) })
    }
);

sql_function!(
    /// `pg_background_retire_idle()`: sends every idle worker home.
    pg_background_retire_idle,
    pg_finfo_pg_background_retire_idle,
    |_arguments| {
        let sent = attached().map_or(0, |cluster| {
            cluster
                .pool()
                .locked(|scheduler| scheduler.dismiss_idle(None, u32::MAX, ring))
        });
        Ok(Datum::from(sent.cast_signed()))
    }
);

/// Called by the server when it loads the library.
///
/// # Safety
/// By the server, once per process.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn _PG_init() {
    settings::loaded();
}
