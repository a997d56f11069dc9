-- The functions that name a job by pid and cookie.
\set VERBOSITY sqlstate
CREATE TABLE v2_t (id int4);

-- Launch and read.
SELECT * FROM pg_background_launch_v2('INSERT INTO v2_t VALUES (1), (2)') \gset
SELECT :pid > 0 AS has_pid, :cookie <> 0 AS has_cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT * FROM v2_t ORDER BY id;
SELECT r.* FROM pg_background_launch_v2('SELECT id FROM v2_t ORDER BY id DESC') h,
                pg_background_result_v2(h.pid, h.cookie) AS r (id int4);
SELECT r.* FROM pg_background_launch_v2(sql => 'SELECT 1', queue_size => 100000) h,
                pg_background_result_v2(pid => h.pid, cookie => h.cookie) AS r (n int4);

-- No two handles are alike.
CREATE TEMP TABLE held AS
SELECT h.* FROM generate_series(1, 16) n, LATERAL pg_background_launch_v2(format('SELECT %s', n)) h;
SELECT count(*) AS handles, count(DISTINCT cookie) AS cookies, bool_and(cookie <> 0) AS never_zero FROM held;
SELECT count(pg_background_detach_v2(pid, cookie)) FROM held;
DROP TABLE held;

-- A result is read once.
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);

-- After a full read the handle is not tracked.
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT count(*) FROM jobs;

-- The failed read counts as one too.
SELECT * FROM pg_background_launch_v2('SELECT 1 / 0') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);

-- Detach does not cancel.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(0.2); INSERT INTO v2_t VALUES (3)') \gset
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT count(*) FROM jobs;
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT eventually('EXISTS (SELECT FROM v2_t WHERE id = 3)');

-- Detach of a job that has finished, its result not read.
SELECT * FROM pg_background_launch_v2('SELECT generate_series(1, 10)') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT count(*) FROM jobs;

-- Fire and forget.
SELECT * FROM pg_background_submit_v2('INSERT INTO v2_t VALUES (4)') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT * FROM pg_background_result(:pid) AS (tag text);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM v2_t ORDER BY id;
-- Its rows are dropped, however many they are; its error is recorded.
SELECT * FROM pg_background_submit_v2('SELECT generate_series(1, 100000)', 4096) \gset
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SELECT state FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT * FROM pg_background_submit_v2('SELECT 1 / 0') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state, last_error FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT pg_background_detach_v2(:pid, :cookie);

-- Several jobs run at the same time: each waits for a lock that the others' presence shows, and stays
-- long enough to be seen by them.
CREATE TEMP TABLE held AS
SELECT n, h.*
FROM generate_series(1, 3) n,
     LATERAL pg_background_launch_v2(format(
         'SELECT pg_advisory_lock_shared(471101); SELECT together, %s FROM (SELECT eventually($c$(SELECT count(*) = 3 FROM pg_locks WHERE locktype = ''advisory'' AND objid = 471101)$c$) AS together, pg_sleep(0.5) OFFSET 0) s', n)) h;
SELECT n, r.* FROM held, pg_background_result_v2(held.pid, held.cookie) AS r (together bool, number int4) ORDER BY n;
DROP TABLE held;

-- Results can be read in any order.
SELECT pid AS pid1, cookie AS cookie1 FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_launch_v2('SELECT 2') \gset
SELECT pid AS pid3, cookie AS cookie3 FROM pg_background_launch_v2('SELECT 3') \gset
SELECT * FROM pg_background_result_v2(:pid3, :cookie3) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid1, :cookie1) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid2, :cookie2) AS (n int4);

-- Strict: nothing is called with NULL.
SELECT pg_background_launch_v2(NULL) IS NULL AS launch, pg_background_submit_v2('SELECT 1', NULL) IS NULL AS submit,
       pg_background_detach_v2(1, NULL) IS NULL AS detach, pg_background_cancel_v2(NULL, 1) IS NULL AS cancel,
       pg_background_cancel_v2_grace(1, 1, NULL) IS NULL AS grace, pg_background_wait_v2(NULL, NULL) IS NULL AS wait,
       pg_background_wait_v2_timeout(1, 1, NULL) IS NULL AS timeout;
SELECT * FROM pg_background_result_v2(1, NULL) AS (n int4);

-- A pid that several jobs of v2 share does not name one of them: there are more jobs than there can
-- be workers.
SET pg_background.max_workers = 30;
CREATE TEMP TABLE held AS
SELECT h.* FROM generate_series(1, 30) n, LATERAL pg_background_launch_v2(format('SELECT 1 -- %s', n)) h;
SELECT pid AS shared FROM held GROUP BY pid HAVING count(*) > 1 LIMIT 1 \gset
SELECT * FROM pg_background_result(:shared) AS (n int4);
SELECT pg_background_detach(:shared);
SELECT sum(r.n) FROM held, pg_background_result_v2(held.pid, held.cookie) AS r (n int4);
DROP TABLE held;
RESET pg_background.max_workers;

SELECT count(*) FROM jobs;
DROP TABLE v2_t;
