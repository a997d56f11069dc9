//! The workers and resources of the cluster.

use super::{STRICT, sql_function};
use crate::cluster::attach::cluster;
use crate::pg::process::wake;
use crate::pg::tuple::Value;
use crate::session::launch::request;
use engine::sync::Ordering;
use pgrx::pg_sys::Datum;

sql_function!(
    /// `pg_background_resources()`: what the jobs and workers of the cluster use.
    pg_background_resources,
    pg_finfo_pg_background_resources,
    |arguments| {
        let cluster = cluster()?;
        let worker_counts = cluster.pool().locked(|scheduler| scheduler.worker_counts());
        let used = cluster.pool().bytes();
        let taken = cluster.memory_taken();
        let bytes =
            |count: Option<u64>| count.map_or(Value::NULL, |count| Value::int8(count.cast_signed()));
        let row = [
            Value::int4(cluster.jobs().capacity() as i32),
            Value::int4(cluster.jobs().used().cast_signed()),
            Value::int8(used.cast_signed()),
            Value::int4(cluster.segments_in_use() as i32),
            Value::int4(cluster.pool().queued().cast_signed()),
            Value::int4(worker_counts.starting.cast_signed()),
            Value::int4(worker_counts.idle.cast_signed()),
            Value::int4(worker_counts.busy.cast_signed() + worker_counts.exiting.cast_signed()),
            Value::int4(cluster.spill_files().load(Ordering::Relaxed) as i32),
            Value::int8(cluster.pool().file_bytes().cast_signed()),
            bytes(taken),
            bytes(taken.map(|taken| taken.saturating_sub(used))),
            Value::int8(cluster.memory_limit().cast_signed()),
        ];
        Ok(arguments.row(row))
    }
);

sql_function!(
    /// `pg_background_prewarm(n)`: spawns workers of this session's lane until `n` are idle.
    pg_background_prewarm,
    pg_finfo_pg_background_prewarm,
    |arguments| {
        let wanted = arguments.int4(0).expect(STRICT).max(0).cast_unsigned();
        request::check_enabled()?;
        let ready = request::prewarm(cluster()?, wanted);
        Ok(Datum::from(ready.cast_signed()))
    }
);

sql_function!(
    /// `pg_background_retire_idle()`: ends every idle worker.
    pg_background_retire_idle,
    pg_finfo_pg_background_retire_idle,
    |_arguments| {
        let pool = cluster()?.pool();
        let sent = pool.locked(|scheduler| scheduler.dismiss_idle(None, u32::MAX, wake));
        Ok(Datum::from(sent.cast_signed()))
    }
);
