-- The functions that name a job by its pid alone.
\set VERBOSITY sqlstate
CREATE TABLE v1_t (id int4);

SELECT pg_background_launch('INSERT INTO v1_t SELECT generate_series(1, 3)') AS pid \gset
SELECT * FROM pg_background_result(:pid) AS (tag text);
SELECT * FROM v1_t ORDER BY id;
-- Read to the end: no longer tracked.
SELECT * FROM pg_background_result(:pid) AS (tag text);
SELECT pg_background_detach(:pid);

SELECT pg_background_launch('SELECT id, id * 10 FROM v1_t ORDER BY id', 65536) AS pid \gset
SELECT * FROM pg_background_result(:pid) AS (id int4, ten int4);

-- Launched and read in one statement.
SELECT * FROM pg_background_result(pg_background_launch('SELECT 1 UNION ALL SELECT 2')) AS (n int4);
SELECT * FROM pg_background_result(pg_background_launch(sql => 'SELECT 7', queue_size => 4096)) AS (n int4);

-- A detached job goes on; the second detach finds nothing and changes nothing.
SELECT pg_background_launch('INSERT INTO v1_t VALUES (100)') AS pid \gset
SELECT pg_background_detach(:pid);
SELECT pg_background_detach(:pid);
SELECT * FROM pg_background_result(:pid) AS (tag text);
SELECT eventually('EXISTS (SELECT FROM v1_t WHERE id = 100)');
SELECT count(*) FROM v1_t WHERE id = 100;

-- An error of the job reaches the reader.
SELECT pg_background_launch('SELECT 1 / 0') AS pid \gset
SELECT * FROM pg_background_result(:pid) AS (n int4);
SELECT * FROM pg_background_result(:pid) AS (n int4);

-- Unknown pids and wrong calls.
SELECT * FROM pg_background_result(0) AS (n int4);
SELECT * FROM pg_background_result(-1) AS (n int4);
SELECT * FROM pg_background_result(pg_backend_pid()) AS (n int4);
SELECT pg_background_detach(2147483647);
SELECT pg_background_launch('SELECT 1', 1);
SELECT pg_background_launch('SELECT 1', 268435457);
SELECT pg_background_launch('SELECT 1') AS pid \gset
-- Without a column list, and the job is still there.
SELECT pg_background_result(:pid);
SELECT * FROM pg_background_result(:pid) AS (n int4);
SELECT pg_background_launch('SELECT 1') AS pid \gset
SELECT * FROM pg_background_result(:pid) AS (a int4, b int4);
-- The wrong list has not cost the result.
SELECT * FROM pg_background_result(:pid) AS (a int4);

-- Strict: nothing is called with NULL.
SELECT pg_background_launch(NULL) IS NULL AS launch, pg_background_launch('SELECT 1', NULL) IS NULL AS queue,
       pg_background_detach(NULL) IS NULL AS detach;
SELECT * FROM pg_background_result(NULL) AS (n int4);

-- The list shows such jobs with cookie 0, and the pid finds them there.
SELECT pg_background_launch('SELECT 5') AS pid \gset
SELECT pid = :pid AS same_pid, cookie, consumed, sql_preview FROM jobs WHERE pid = :pid AND cookie = 0;
SELECT * FROM pg_background_result(:pid) AS (n int4);
-- A loop over the list cleans up with the functions of v2 too.
SELECT pg_background_launch('SELECT 6') AS pid \gset
SELECT pg_background_wait_v2(:pid, 0);
SELECT pg_background_wait_v2_timeout(:pid, 0, 10);
SELECT state FROM jobs WHERE pid = :pid AND cookie = 0;
SELECT pg_background_detach_v2(:pid, 0);
SELECT pg_background_detach(:pid);

-- A session never holds two live handles of v1 with the same pid, more of them than there can be
-- workers included.
SET pg_background.max_workers = 20;
CREATE TEMP TABLE held AS
SELECT n, pg_background_launch(format('SELECT %s', n)) AS pid FROM generate_series(1, 20) n;
SELECT count(*) AS handles, count(DISTINCT pid) AS pids FROM held;
SELECT count(*) AS wrong
FROM held, LATERAL (SELECT r.n FROM pg_background_result(held.pid) AS r (n int4)) r
WHERE r.n <> held.n;
DROP TABLE held;
RESET pg_background.max_workers;

-- A pid finds a job of v2 as well when it is the only one with that pid.
SELECT * FROM pg_background_launch_v2('SELECT 11') \gset
SELECT * FROM pg_background_result(:pid) AS (n int4);
SELECT * FROM pg_background_launch_v2('SELECT 12') \gset
SELECT pg_background_detach(:pid);
SELECT pg_background_detach_v2(:pid, :cookie);

SELECT count(*) FROM jobs;
DROP TABLE v1_t;
