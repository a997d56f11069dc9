-- A job of each kind, as its session and the resources of the cluster show it. A new session: the
-- statistics start at zero.
\c -
\set VERBOSITY sqlstate
SELECT pid AS pid1, cookie AS cookie1 FROM pg_background_launch_v2('SELECT 1', 100000) \gset
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_launch_v2('SELECT 1 / 0') \gset
SELECT pid AS pid3, cookie AS cookie3 FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT pid AS pid4, cookie AS cookie4 FROM pg_background_launch_v2('SELECT pg_sleep(600), 4') \gset
SELECT pid AS pid5, cookie AS cookie5 FROM pg_background_submit_v2('SELECT 5', -3) \gset
SELECT pg_background_cancel_v2(:pid3, :cookie3);
SELECT pg_background_wait_v2(:pid1, :cookie1), pg_background_wait_v2(:pid2, :cookie2), pg_background_wait_v2(:pid3, :cookie3),
       pg_background_wait_v2(:pid5, :cookie5);
SELECT eventually(format('(SELECT state = ''running'' FROM jobs WHERE cookie = %s)', :cookie4));
SELECT state, queue_size, sql_preview, last_error, consumed, user_id::regrole = current_user::regrole AS mine,
       launched_at BETWEEN now() - interval '10 minutes' AND clock_timestamp() AS recent
FROM jobs ORDER BY array_position(ARRAY[:cookie1, :cookie2, :cookie3, :cookie4, :cookie5]::int8[], cookie);
SELECT array_agg(pid ORDER BY cookie) = (SELECT array_agg(p ORDER BY c) FROM (VALUES (:pid1, :cookie1), (:pid2, :cookie2), (:pid3, :cookie3),
       (:pid4, :cookie4), (:pid5, :cookie5)) v (p, c)) AS pids FROM jobs;
SELECT label IS NULL AS no_label FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4,
    state text, sql_preview text, last_error text, consumed bool, label text) LIMIT 1;
-- Counted when finished and known here.
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, avg_execution_ms >= 0 AS has_average, max_workers, workers_timed_out
FROM pg_background_stats_v2();
SELECT pg_background_cancel_v2(:pid4, :cookie4);
SELECT pg_background_wait_v2(:pid4, :cookie4);
SELECT count(pg_background_detach_v2(pid, cookie)) FROM jobs;
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active FROM pg_background_stats_v2();
-- Reading counts, and no job counts twice.
SELECT outcome_of('SELECT ''x''::text'), outcome_of('SELECT 1 / 0');
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active FROM pg_background_stats_v2();
SELECT r.* FROM pg_background_launch_v2('SELECT pg_sleep(0.3)::text') h, pg_background_result_v2(h.pid, h.cookie) AS r (s text);
SELECT avg_execution_ms * (workers_completed + workers_failed + workers_canceled) >= 300 AS counted_the_time FROM pg_background_stats_v2();
-- A launch that was refused does not count.
SELECT pg_background_launch_v2('SELECT 1', 1);
SELECT workers_launched FROM pg_background_stats_v2();
SET pg_background.max_workers = 5;
SELECT max_workers FROM pg_background_stats_v2();
RESET pg_background.max_workers;

-- Errors are cut on a character boundary, and say so.
CREATE FUNCTION last_error_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
    e text;
BEGIN
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    SELECT last_error INTO e FROM jobs WHERE cookie = h.cookie;
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
    RETURN e;
END
$$;
SELECT last_error_of('SELECT 1 / 0'), last_error_of('SELECT 1') IS NULL AS none;
SELECT n, octet_length(e), right(e, 4) AS tail
FROM unnest(ARRAY[512, 513, 5000]) n, last_error_of(format($job$DO $d$ BEGIN RAISE EXCEPTION '%%', repeat('x', %s); END $d$$job$, n)) e ORDER BY n;
SELECT n, octet_length(e), right(e, 4) AS tail
FROM unnest(ARRAY[256, 257]) n, last_error_of(format($job$DO $d$ BEGIN RAISE EXCEPTION '%%', repeat('é', %s); END $d$$job$, n)) e ORDER BY n;

-- The resources of the whole cluster, seen by a role that has jobs there.
SELECT h.* FROM pg_background_launch_v2('SELECT pg_sleep(600)') h \gset
SELECT eventually('(SELECT workers_busy >= 1 FROM pg_background_resources())');
SELECT slots_total > 0 AS slots_total, slots_used >= 1 AS slots_used, arena_bytes > 0 AS arena_bytes, dsm_segments >= 1 AS dsm_segments,
       jobs_queued, workers_busy >= 1 AS workers_busy, spill_files
FROM pg_background_resources();
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 AND workers_busy = 0 FROM pg_background_resources())');
SELECT pg_background_retire_idle() >= 0 AS retired;
SELECT eventually('(SELECT workers_idle + workers_busy + workers_starting = 0 FROM pg_background_resources())');
SELECT eventually('NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = ''pg_background'')');
DROP FUNCTION last_error_of;
