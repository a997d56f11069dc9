//! Whether the limits hold, and the highest values that were seen.

use crate::{CULPRIT, DISK, LANE_WORKERS, POOL, Run};
use session_tests::pause;
use std::time::Duration;

/// What is looked at, with the limit that holds for it.
const LOOKS: [(&str, &str, i64); 7] = [
    (
        "slots of the culprit",
        "SELECT coalesce(sum(jobs_queued + jobs_held_back + jobs_running + jobs_finished), 0)::int8
         FROM pg_background_resources_by_role() WHERE login_role = 'worst'",
        // Half of the table.
        2048,
    ),
    (
        "bytes of the culprit",
        "SELECT coalesce(sum(memory_bytes), 0)::int8 FROM pg_background_resources_by_role() WHERE login_role = 'worst'",
        // Half of the default.
        320 << 20,
    ),
    (
        "file bytes of the culprit",
        "SELECT coalesce(sum(file_bytes), 0)::int8 FROM pg_background_resources_by_role() WHERE login_role = 'worst'",
        DISK,
    ),
    (
        "workers of a lane of the culprit",
        "SELECT coalesce(max(n), 0) FROM (SELECT count(*) n FROM pg_stat_activity
         WHERE backend_type = 'pg_background' AND usename = 'worst' GROUP BY datid) lanes",
        LANE_WORKERS,
    ),
    (
        "workers",
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background'",
        POOL,
    ),
    (
        "bytes taken from the server",
        "SELECT memory_allocated FROM pg_background_resources()",
        640 << 20,
    ),
    (
        "superusers, and roles that the culprit is in",
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolsuper) + (SELECT count(*) FROM pg_auth_members m
         WHERE m.member = 'worst'::regrole)",
        2,
    ),
];

/// The highest of each.
#[derive(Debug)]
pub struct Seen {
    #[expect(dead_code, reason = "printed")]
    highest: Vec<(&'static str, i64)>,
}

/// Looks until the end. A process that exits is seen for a moment after it has given up its worker slot, and a job
/// that takes another job's worker may be seen beside it. So a value counts if three looks in a row have seen it.
pub fn watch(run: &Run) -> Seen {
    let mut monitor = run.server.session();
    let mut highest: Vec<_> = LOOKS.map(|(what, ..)| (what, 0)).into();
    let mut last = [[0; 2]; LOOKS.len()];
    let mut round = 0;
    while run.goes_on() {
        for (index, (what, sql, limit)) in LOOKS.iter().enumerate() {
            let now: i64 = match monitor.query_one(*sql, &[]) {
                Ok(row) => row.get(0),
                Err(error) => {
                    run.fail(format!("{what}: {error:?}"));
                    continue;
                }
            };
            let lasting = now.min(last[index][0]).min(last[index][1]);
            last[index][round % 2] = now;
            highest[index].1 = highest[index].1.max(lasting);
            if lasting > *limit {
                run.fail(format!(
                    "{what} ({CULPRIT}): {lasting}, the limit is {limit}"
                ));
            }
        }
        round += 1;
        pause(Duration::from_millis(100));
    }
    Seen { highest }
}
