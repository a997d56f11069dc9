-- Jobs that wait in the queue, and the session's quota.
\c -
\set VERBOSITY sqlstate
SET pg_background.on_exhaustion = queue;
SET pg_background.max_workers = 2;
CREATE TABLE queued (n int4, pid int4 DEFAULT pg_backend_pid());
CREATE VIEW states AS SELECT state, count(*) FROM pg_background_list GROUP BY 1 ORDER BY 1;

-- max_workers bounds the jobs that hold a worker; the others are queued, in order.
BEGIN;
LOCK TABLE queued;
SELECT count(pg_background_launch('INSERT INTO queued VALUES (' || g || ')', 0, 'job ' || g)) FROM generate_series(1, 10) g;
SELECT eventually('(SELECT count(*) = 2 FROM pg_background_activity WHERE wait_event_type = ''Lock'')');
TABLE states;
SELECT jobs_queued, workers_busy FROM pg_background_resources();
SELECT label FROM pg_background_list WHERE state = 'running' ORDER BY launched_at;
-- A handle is valid from the beginning: it can be waited for, canceled, detached.
SELECT count(*) FILTER (WHERE pid = 0) FROM pg_background_list;
SELECT pid, cookie FROM pg_background_list WHERE label = 'job 9' \gset
SELECT pg_background_wait(:pid, :cookie, 50);
SELECT pg_background_cancel(:pid, :cookie);
SELECT state, sqlstate FROM pg_background_outcome(:pid, :cookie);
SELECT pid, cookie FROM pg_background_list WHERE label = 'job 10' \gset
SELECT pg_background_detach(:pid, :cookie);
-- A canceled one that had been admitted makes room for the next.
SELECT pg_background_cancel_by_label('job 1', 10000);
SELECT eventually('(SELECT count(*) = 2 FROM pg_background_activity WHERE wait_event_type = ''Lock'')');
SELECT label FROM pg_background_list WHERE state = 'running' ORDER BY launched_at;
-- A higher limit admits more, at the next launch.
SET LOCAL pg_background.max_workers = 4;
SELECT count(pg_background_launch('INSERT INTO queued VALUES (11)', 0, 'job 11'));
SELECT eventually('(SELECT count(*) = 4 FROM pg_background_activity WHERE wait_event_type = ''Lock'')');
TABLE states;
COMMIT;
SELECT label, state FROM pg_background_drain((SELECT array_agg((pid, cookie)::pg_background_handle ORDER BY launched_at) FROM pg_background_list));
SELECT eventually('(SELECT count(*) = 9 FROM queued)');
SELECT array_agg(n ORDER BY n) FROM queued;

-- The other ways count handles.
SET pg_background.max_workers = 3;
SELECT count(pg_background_launch_v2('SELECT 1')) FROM generate_series(1, 5);
SET pg_background.on_exhaustion = wait;
SELECT pg_background_launch_v2('SELECT 1');
SELECT pg_background_detach_all();
SELECT count(pg_background_launch_v2('SELECT 1')) FROM generate_series(1, 3);
SELECT pg_background_detach_all();
-- A job known by its pid alone cannot be queued: it waits.
SET pg_background.on_exhaustion = queue;
SELECT pg_background_launch('SELECT 1') > 0 AS has_pid;
SELECT pg_background_detach_all();

-- Workers kept ready.
SELECT eventually('pg_background_prewarm(3) >= 3');
SELECT eventually('(SELECT workers_idle >= 3 FROM pg_background_resources())');
SELECT pg_background_prewarm(0) >= 3, pg_background_prewarm(-1) >= 3, pg_background_prewarm(NULL);
SELECT pg_background_retire_idle() >= 3;
SELECT eventually('(SELECT workers_idle = 0 FROM pg_background_resources())');
DROP VIEW states;
DROP TABLE queued;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
