-- What a session sees of its jobs. A new session: the statistics start at zero.
\c -
\set VERBOSITY sqlstate
SELECT * FROM pg_background_stats_v2();
SELECT * FROM pg_background_launch_v2('SELECT 1', 8192) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pid = :pid AS pid, cookie = :cookie AS cookie, launched_at BETWEEN now() - interval '1 min' AND clock_timestamp() AS at,
       user_id = 'postgres'::regrole AS me, queue_size, state, sql_preview, last_error, consumed
FROM jobs;
-- Ten columns when the caller asks for ten.
SELECT state, label FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid,
    queue_size int4, state text, sql_preview text, last_error text, consumed bool, label text);
-- A column list that does not fit.
SELECT * FROM pg_background_list_v2() AS (pid int4, cookie int8);
SELECT * FROM pg_background_list_v2() AS (pid int8, cookie int8, launched_at timestamptz, user_id oid,
    queue_size int4, state text, sql_preview text, last_error text, consumed bool);
SELECT pg_background_list_v2();
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT count(*) FROM jobs;
-- Previews are cut on a character boundary, and marked, within 120 bytes.
SELECT * FROM pg_background_launch_v2('SELECT ' || repeat('1', 113)) \gset
SELECT octet_length(sql_preview), right(sql_preview, 4) FROM jobs;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM pg_background_launch_v2('SELECT 1 -- ' || repeat('1', 109)) \gset
SELECT octet_length(sql_preview), right(sql_preview, 4) FROM jobs;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM pg_background_launch_v2('SELECT ''' || repeat(U&'\20ac', 100) || '''') \gset
SELECT octet_length(sql_preview), length(sql_preview), right(sql_preview, 4) = U&'\20ac...' AS marked FROM jobs;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
-- Statistics count what has finished and is known.
SELECT outcome_of('SELECT 1 / 0');
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active, max_workers, workers_timed_out
FROM pg_background_stats_v2();
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active, avg_execution_ms > 0 AS took_time
FROM pg_background_stats_v2();
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT workers_canceled, workers_active FROM pg_background_stats_v2();
-- Progress: reported inside a job, seen outside.
SELECT pg_background_progress(10, 'here');
SELECT pg_background_get_progress_v2(1, 1) IS NULL AS unknown, pg_background_get_progress_v2(NULL, NULL) IS NULL AS nulls;
SELECT * FROM pg_background_launch_v2($$DO 'BEGIN PERFORM pg_background_progress(40, ''half way''); PERFORM pg_sleep(600); END'$$) \gset
SELECT eventually(format('pg_background_get_progress_v2(%s, %s) IS NOT NULL', :pid, :cookie));
SELECT (pg_background_get_progress_v2(:pid, :cookie)).*;
SELECT pg_background_get_progress_v2(:pid, :cookie + 1) IS NULL AS wrong_cookie;
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT (pg_background_get_progress_v2(:pid, :cookie)).progress_pct;
SELECT pg_background_detach_v2(:pid, :cookie);
-- Clamped and cut.
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_get_progress_v2(:pid, :cookie) IS NULL AS none;
SELECT pg_background_detach_v2(:pid, :cookie);
CREATE FUNCTION reported(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2('SELECT ' || call);
    p pg_background_progress;
BEGIN
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    p := pg_background_get_progress_v2(h.pid, h.cookie);
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
    RETURN format('%s %s %s', p.progress_pct, octet_length(p.progress_msg), left(p.progress_msg, 3));
END
$$;
SELECT reported(c) FROM unnest(ARRAY['pg_background_progress(-5)', 'pg_background_progress(500, ''over'')', 'pg_background_progress(5, repeat(''x'', 100))',
    'pg_background_progress(5, repeat(U&''\20ac'', 100))', 'pg_background_progress(5, '''')', 'pg_background_progress(NULL, ''x'')']) c;
DROP FUNCTION reported;
