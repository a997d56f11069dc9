-- Stands in for the C extension in the upgrade tests.
-- Version 1.8: statistics and progress.

CREATE TYPE pg_background_stats AS (workers_launched int8, workers_completed int8, workers_failed int8,
    workers_canceled int8, workers_active int4, avg_execution_ms float8, max_workers int4);
CREATE TYPE pg_background_progress AS (progress_pct int4, progress_msg text);

CREATE FUNCTION pg_background_stats_v2() RETURNS pg_background_stats
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_stats_v2';
COMMENT ON FUNCTION pg_background_stats_v2() IS 'of version 1.8';
CREATE FUNCTION pg_background_progress(pct int4, msg text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_progress';
CREATE FUNCTION pg_background_get_progress_v2(pid int4, cookie int8) RETURNS pg_background_progress
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_get_progress_v2';

REVOKE ALL ON TYPE pg_background_stats FROM PUBLIC;
REVOKE ALL ON TYPE pg_background_progress FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_background_stats_v2(), pg_background_progress(int4, text),
    pg_background_get_progress_v2(int4, int8) FROM PUBLIC;
GRANT USAGE ON TYPE pg_background_stats, pg_background_progress TO pgbackground_role;
GRANT EXECUTE ON FUNCTION pg_background_stats_v2(), pg_background_progress(int4, text),
    pg_background_get_progress_v2(int4, int8) TO pgbackground_role;
