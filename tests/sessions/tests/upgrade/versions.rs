//! The versions, and what a database that comes from one keeps.

/// An older version: its number, what must work with it before and after the update, and in which of its forms
/// an updated database differs from a new one.
pub struct Version {
    pub number: &'static str,
    pub uses: &'static [&'static str],
    pub keeps: &'static [(&'static str, Option<&'static str>)],
}

const STATS_OF_1_8: (&str, Option<&str>) = (
    "type pg_background_stats: attributes",
    Some(
        "workers_launched bigint, workers_completed bigint, workers_failed bigint, workers_canceled bigint, \
         workers_active integer, avg_execution_ms double precision, max_workers integer",
    ),
);
/// The comment of the script of version 1.8 that stands in.
const COMMENT_OF_1_8: (&str, Option<&str>) = (
    "function pg_background_stats_v2(): comment",
    Some("of version 1.8"),
);
const RESULT_INFO_OF_1_9: (&str, Option<&str>) = (
    "type pg_background_result_info: attributes",
    Some("row_count bigint, command_tag text, completed boolean, has_error boolean"),
);
const ERROR_OF_1_9: (&str, Option<&str>) = (
    "type pg_background_error: attributes",
    Some("sqlstate text, message text, detail text, hint text, context text"),
);

/// What the catalogs of an updated and of a new database say differently: the form that the updated one keeps;
/// `None` where it has nothing, which a new one has.
pub const VERSIONS: [Version; 6] = [
    Version {
        number: "1.6",
        uses: &["1.6"],
        keeps: &[],
    },
    Version {
        number: "1.7",
        uses: &["1.6"],
        keeps: &[],
    },
    Version {
        number: "1.8",
        uses: &["1.6", "1.8"],
        keeps: &[STATS_OF_1_8, COMMENT_OF_1_8],
    },
    Version {
        number: "1.9",
        uses: &["1.6", "1.8", "1.9"],
        keeps: &[
            STATS_OF_1_8,
            COMMENT_OF_1_8,
            RESULT_INFO_OF_1_9,
            ERROR_OF_1_9,
        ],
    },
    Version {
        number: "1.10",
        uses: &["1.6", "1.8", "1.9", "1.10", "status"],
        keeps: &[
            STATS_OF_1_8,
            COMMENT_OF_1_8,
            RESULT_INFO_OF_1_9,
            ERROR_OF_1_9,
            (
                "type pg_background_run_result: attributes",
                Some(
                    "pid integer, completed boolean, timed_out boolean, has_error boolean, row_count bigint, \
                     command_tag text, sqlstate text, error_message text, elapsed_ms bigint",
                ),
            ),
            (
                "function pg_background_outcome_v2(integer, bigint): arguments",
                Some("p_pid integer, p_cookie bigint"),
            ),
            (
                "function pg_background_status_v2(integer, bigint): arguments",
                Some("p_pid integer, p_cookie bigint"),
            ),
            (
                "function pg_background_status_v2(integer, bigint): result",
                Some("jsonb"),
            ),
            (
                "function pg_background_status_v2(integer, bigint): body",
                Some("sql:  SELECT to_jsonb(pg_background_outcome_v2($1, $2)) "),
            ),
            (
                "function pg_background_status_v2(integer, bigint): properties",
                Some("volatile, null input"),
            ),
            (
                "function pg_background_status_v2(integer, bigint): rights",
                Some("pgbackground_role=EXECUTE, postgres=EXECUTE"),
            ),
        ],
    },
    Version {
        number: "2.0",
        uses: &["1.10", "2.0"],
        keeps: &[
            (
                "type pg_background_stats: attributes",
                Some(
                    "workers_launched bigint, workers_completed bigint, workers_failed bigint, \
                     workers_canceled bigint, workers_timed_out bigint, workers_active integer, \
                     avg_execution_ms double precision, max_workers integer",
                ),
            ),
            (
                "function pg_background_launch(text, integer): result",
                Some("pg_background_handle"),
            ),
            (
                "function pg_background_launch(text, integer): comment",
                Some(
                    "Runs SQL in the background and returns its handle. queue_size is the size in bytes of the \
                     buffer for unread rows; 0 means pg_background.default_queue_size.",
                ),
            ),
            (
                "function pg_background_cancel_v2(integer, bigint, integer): arguments",
                Some("pid integer, cookie bigint, grace_ms integer DEFAULT 0"),
            ),
            (
                "function pg_background_cancel_v2(integer, bigint, integer): body",
                Some("c: pg_background_cancel"),
            ),
            ("function pg_background_cancel_v2(integer, bigint)", None),
            (
                "function pg_background_wait_v2(integer, bigint, integer): arguments",
                Some("pid integer, cookie bigint, timeout_ms integer DEFAULT 0"),
            ),
            (
                "function pg_background_wait_v2(integer, bigint, integer): body",
                Some("c: pg_background_wait"),
            ),
            ("function pg_background_wait_v2(integer, bigint)", None),
            (
                "function pg_background_wait_v2(integer, bigint, integer): comment",
                Some("of version 2.0"),
            ),
            (
                "function pg_background_get_progress_v2(integer, bigint): result",
                Some("pg_background_progress_info"),
            ),
            (
                "function pg_background_get_progress_v2(integer, bigint): comment",
                Some(
                    "The last progress that the job reported with pg_background_report_progress; NULL if it \
                     reported none, or there is no such job.",
                ),
            ),
            (
                "function pg_background_outcome(integer, bigint): arguments",
                Some("p_pid integer, p_cookie bigint"),
            ),
            (
                "function pg_background_outcome_v2(integer, bigint): arguments",
                Some("p_pid integer, p_cookie bigint"),
            ),
        ],
    },
];
