-- Waiting.
\set VERBOSITY sqlstate
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 0);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, -1);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 20);
-- Every wait can be interrupted, and the job is not affected.
SET statement_timeout = 50;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
SELECT pg_background_cancel_v2_grace(:pid, 0, 1);
RESET statement_timeout;
SELECT state, consumed FROM jobs WHERE cookie = :cookie;
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 0);
SELECT pg_background_detach_v2(:pid, :cookie);
-- A finished job: at once, as often as wanted.
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 2147483647);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
-- A wait for a job that waits for a lock of this session would never end.
CREATE TABLE locked (n int4);
SET deadlock_timeout = '50ms';
BEGIN;
LOCK TABLE locked;
SELECT * FROM pg_background_launch_v2('INSERT INTO locked VALUES (1)') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
ROLLBACK;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
-- A wait with a time limit returns at its limit.
BEGIN;
LOCK TABLE locked;
SELECT * FROM pg_background_launch_v2('INSERT INTO locked VALUES (1)') \gset
SELECT pg_background_wait(:pid, :cookie, 300), pg_background_wait_v2_timeout(:pid, :cookie, 300),
       pg_background_wait_any(ARRAY[(:pid, :cookie)]::pg_background_handle[], 300) IS NULL AS none,
       pg_background_wait_all(ARRAY[(:pid, :cookie)]::pg_background_handle[], 300);
SELECT state, timed_out, sqlstate FROM pg_background_run('INSERT INTO locked VALUES (1)', timeout_ms => 300);
SELECT state, completed FROM pg_background_drain(ARRAY[(:pid, :cookie)]::pg_background_handle[], 300);
SELECT * FROM pg_background_run_query('INSERT INTO locked VALUES (1)', timeout_ms => 300) AS (tag text);
ROLLBACK;
SELECT eventually('(SELECT count(*) = 2 FROM locked)');
SELECT r.* FROM pg_background_launch_v2('CREATE INDEX CONCURRENTLY ON locked (n)') h, pg_background_result_v2(h.pid, h.cookie) AS r (tag text);
SELECT eventually('(SELECT state FROM jobs) = ''stopped''');
SELECT pg_background_detach_v2(pid, cookie) FROM jobs;
RESET deadlock_timeout;
DROP TABLE locked;
SELECT count(*) FROM jobs;
