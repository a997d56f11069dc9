-- Cancel, in the phases that one session can reach.
\set VERBOSITY sqlstate
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT eventually(format('(SELECT state FROM jobs WHERE pid = %s) = ''running''', :pid));
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state, last_error FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
-- The worker lives on: the next job runs in the same process.
SELECT r.pid = :pid AS same_process
FROM pg_background_launch_v2('SELECT pg_backend_pid()') h, pg_background_result_v2(h.pid, h.cookie) AS r (pid int4);
-- At once after the launch.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
-- A finished job does not change.
SELECT * FROM pg_background_launch_v2('SELECT 5') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_cancel_v2_grace(:pid, :cookie, 100);
SELECT state FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
-- Queued: canceled without a worker. (One worker, held by a job that sleeps.)
CREATE TABLE cancel_t (n int4);
ALTER SYSTEM SET pg_background.max_pool_workers = 1;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SELECT pg_background_retire_idle() >= 0;
SELECT eventually('(SELECT workers_idle + workers_busy + workers_starting = 0 FROM pg_background_resources())');
SHOW pg_background.max_pool_workers;
SET pg_background.on_exhaustion = queue;
SELECT pid AS pid1, cookie AS cookie1 FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT eventually('(SELECT workers_busy = 1 FROM pg_background_resources())');
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_launch_v2('INSERT INTO cancel_t VALUES (1)') \gset
SELECT :pid2 AS pid_of_queued;
SELECT state FROM jobs WHERE cookie = :cookie2;
SELECT pg_background_wait_v2_timeout(:pid2, :cookie2, 50);
SELECT pg_background_cancel_v2(:pid2, :cookie2);
SELECT state, last_error FROM jobs WHERE cookie = :cookie2;
SELECT * FROM pg_background_result_v2(:pid2, :cookie2) AS (tag text);
-- A queued job runs when the worker is free; its handle is valid all the time.
SELECT pid AS pid3, cookie AS cookie3 FROM pg_background_launch_v2('INSERT INTO cancel_t VALUES (2)') \gset
SELECT pid AS pid4, cookie AS cookie4 FROM pg_background_launch_v2('INSERT INTO cancel_t VALUES (3)') \gset
SELECT pg_background_detach_v2(:pid4, :cookie4);
SELECT pg_background_cancel_v2(pid, :cookie1) FROM jobs WHERE cookie = :cookie1;
SELECT * FROM pg_background_result_v2(:pid3, :cookie3) AS (tag text);
SELECT eventually('(SELECT count(*) = 2 FROM cancel_t)');
SELECT pg_background_detach_v2(pid, cookie) FROM jobs WHERE cookie = :cookie1;
-- No worker is available: an error at once, or at the time limit; the job never runs.
RESET pg_background.on_exhaustion;
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SET pg_background.on_exhaustion = error;
SELECT sqlstate_of($$SELECT pg_background_launch_v2('INSERT INTO cancel_t VALUES (100)')$$);
SET pg_background.on_exhaustion = wait;
SET pg_background.launch_timeout = 50;
SELECT sqlstate_of($$SELECT pg_background_launch_v2('INSERT INTO cancel_t VALUES (100)')$$);
SELECT sqlstate_of($$SELECT pg_background_launch('INSERT INTO cancel_t VALUES (100)')$$);
RESET pg_background.launch_timeout;
RESET pg_background.on_exhaustion;
SET statement_timeout = 50;
SELECT pg_background_launch_v2('INSERT INTO cancel_t VALUES (100)');
RESET statement_timeout;
SELECT count(*) FROM jobs;
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
ALTER SYSTEM RESET pg_background.max_pool_workers;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SELECT n FROM cancel_t ORDER BY n;
-- With grace: a job that ends at the cancel, and one that catches it and goes on.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT pg_background_cancel_v2_grace(:pid, :cookie, 10000);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM pg_background_launch_v2($$DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'$$) \gset
SELECT eventually(format('(SELECT wait_event FROM pg_stat_activity WHERE pid = %s) = ''PgSleep''', :pid));
SELECT pg_background_cancel_v2_grace(:pid, :cookie, 300);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT outcome_of(:pid, :cookie);
-- A job that catches the cancel and cleans up commits.
SELECT * FROM pg_background_launch_v2($$DO 'BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN INSERT INTO cancel_t VALUES (200); END'$$) \gset
SELECT eventually(format('(SELECT wait_event FROM pg_stat_activity WHERE pid = %s) = ''PgSleep''', :pid));
SELECT pg_background_cancel_v2_grace(:pid, :cookie, 10000);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT n FROM cancel_t WHERE n >= 200;
-- The next cancel is thrown again.
CREATE SEQUENCE caught;
SELECT * FROM pg_background_launch_v2($$DO 'BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN PERFORM nextval(''caught''); PERFORM pg_sleep(600); END; END'$$) \gset
SELECT eventually(format('(SELECT wait_event FROM pg_stat_activity WHERE pid = %s) = ''PgSleep''', :pid));
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT eventually('(SELECT is_called FROM caught)');
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
DROP SEQUENCE caught;
-- A grace below 0 is 0: it never escalates, and returns at once.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT pg_background_cancel_v2_grace(:pid, :cookie, -5);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 30000);
SELECT pg_background_detach_v2(:pid, :cookie);
-- pg_cancel_backend and timeouts are errors, not our cancel.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT eventually(format('(SELECT wait_event FROM pg_stat_activity WHERE pid = %s) = ''PgSleep''', :pid));
SELECT pg_cancel_backend(:pid);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
SET pg_background.worker_timeout = 50;
SELECT outcome_of('SELECT pg_sleep(600)');
RESET pg_background.worker_timeout;
-- The leader's statement_timeout is the job's too.
SET statement_timeout = '20s';
SELECT r.* FROM pg_background_launch_v2('SHOW statement_timeout') h, pg_background_result_v2(h.pid, h.cookie) AS r (t text);
RESET statement_timeout;
DROP TABLE cancel_t;
SELECT count(*) FROM jobs;
