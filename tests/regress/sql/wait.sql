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
SELECT r.* FROM pg_background_launch_v2('CREATE INDEX CONCURRENTLY ON locked (n)') h, pg_background_result_v2(h.pid, h.cookie) AS r (tag text);
SELECT eventually('(SELECT state FROM jobs) = ''stopped''');
SELECT pg_background_detach_v2(pid, cookie) FROM jobs;
RESET deadlock_timeout;
DROP TABLE locked;
SELECT count(*) FROM jobs;
