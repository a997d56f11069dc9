//! The workers and resources of the cluster; loading the library.

use super::{STRICT, sql_function};
use crate::leader::launch;
use crate::pg::cluster::cluster;
use crate::pg::latch::ring;
use crate::pg::settings;
use crate::pg::tuple::Value;
use engine::sync::Ordering;
use pgrx::pg_sys::Datum;

sql_function!(
    /// `pg_background_resources()`: what the jobs and workers of the cluster occupy.
    pg_background_resources,
    pg_finfo_pg_background_resources,
    |arguments| {
        let cluster = cluster()?;
        let census = cluster.pool().locked(|scheduler| scheduler.census());
        let used = cluster.arena_bytes();
        let taken = cluster.memory_taken();
        let bytes =
            |count: Option<u64>| count.map_or(Value::NULL, |count| Value::int8(count.cast_signed()));
        let row = [
            Value::int4(cluster.jobs().capacity() as i32),
            Value::int4(cluster.jobs().used().cast_signed()),
            Value::int8(used.cast_signed()),
            Value::int4(cluster.segments_in_use() as i32),
            Value::int4(cluster.pool().queued().cast_signed()),
            Value::int4(census.starting.cast_signed()),
            Value::int4(census.idle.cast_signed()),
            Value::int4(census.busy.cast_signed() + census.exiting.cast_signed()),
            Value::int4(cluster.spill_files().load(Ordering::Relaxed) as i32),
            Value::int8(cluster.spill_bytes().load(Ordering::Relaxed).cast_signed()),
            bytes(taken),
            bytes(taken.map(|taken| taken.saturating_sub(used))),
            Value::int8(cluster.memory_limit().cast_signed()),
        ];
        Ok(arguments.row(row))
    }
);

sql_function!(
    /// `pg_background_prewarm(n)`: starts workers of this session's lane until `n` are idle.
    pg_background_prewarm,
    pg_finfo_pg_background_prewarm,
    |arguments| {
        let wanted = arguments.int4(0).expect(STRICT).max(0).cast_unsigned();
        launch::check_enabled()?;
        let ready = launch::prewarm(cluster()?, wanted);
        Ok(Datum::from(ready.cast_signed()))
    }
);

sql_function!(
    /// `pg_background_retire_idle()`: sends every idle worker home.
    pg_background_retire_idle,
    pg_finfo_pg_background_retire_idle,
    |_arguments| {
        let pool = cluster()?.pool();
        let sent = pool.locked(|scheduler| scheduler.dismiss_idle(None, u32::MAX, ring));
        Ok(Datum::from(sent.cast_signed()))
    }
);
/// Called by the server when it loads the library.
///
/// # Safety
/// By the server, once per process.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn _PG_init() {
    without_backtraces();
    settings::loaded();
}

/// With `RUST_BACKTRACE` in the server's environment pgrx adds a backtrace to the DETAIL of errors, which any client
/// reads. This library's copy of the standard library looks at the environment once, when a backtrace is asked for the
/// first time: now, with another answer.
fn without_backtraces() {
    const NAME: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(NAME);
    // SAFETY: a process of the server has one thread.
    unsafe { std::env::set_var(NAME, "0") };
    let _ = std::backtrace::Backtrace::capture();
    // SAFETY: as above.
    unsafe {
        match before {
            Some(value) => std::env::set_var(NAME, value),
            None => std::env::remove_var(NAME),
        }
    }
}
