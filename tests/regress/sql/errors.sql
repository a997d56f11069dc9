-- Errors by their SQLSTATE.
\set VERBOSITY sqlstate
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset

-- No job of this session has that pid: 42704, whatever the function.
SELECT call, sqlstate_of('SELECT ' || call)
FROM unnest(ARRAY[
    '* FROM pg_background_result_v2(1, 1) AS (n int4)',
    'pg_background_detach_v2(1, 1)',
    'pg_background_cancel_v2(1, 1)',
    'pg_background_cancel_v2_grace(1, 1, 10)',
    'pg_background_wait_v2(1, 1)',
    'pg_background_wait_v2_timeout(1, 1, 10)',
    '* FROM pg_background_result(1) AS (n int4)',
    'pg_background_detach(1)',
    'pg_background_detach_v2(-1, -1)',
    'pg_background_wait_v2(0, 0)'
]) WITH ORDINALITY AS c (call, i) ORDER BY i;

-- There is one, but with another cookie: 42704 from result_v2, 55000 with a hint from the others.
SELECT name, sqlstate_of(format('SELECT %s', format(call, :pid, :cookie + 1)))
FROM (VALUES
    (1, 'result', '* FROM pg_background_result_v2(%s, %s) AS (n int4)'),
    (2, 'detach', 'pg_background_detach_v2(%s, %s)'),
    (3, 'cancel', 'pg_background_cancel_v2(%s, %s)'),
    (4, 'grace', 'pg_background_cancel_v2_grace(%s, %s, 10)'),
    (5, 'wait', 'pg_background_wait_v2(%s, %s)'),
    (6, 'timeout', 'pg_background_wait_v2_timeout(%s, %s, 10)')
) AS c (i, name, call) ORDER BY i;

CREATE FUNCTION hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        RETURN hint;
END
$$;
SELECT hint_of(format('SELECT pg_background_detach_v2(%s, %s)', :pid, :cookie + 1)) <> '' AS detach_hint,
       hint_of(format('SELECT pg_background_cancel_v2(%s, %s)', :pid, :cookie + 1)) <> '' AS cancel_hint,
       hint_of(format('SELECT pg_background_wait_v2(%s, %s)', :pid, :cookie + 1)) <> '' AS wait_hint;
-- Forged cookies close to the real one, or the real one with another pid, do no harm.
SELECT DISTINCT sqlstate_of(format('SELECT pg_background_detach_v2(%s, %s)', :pid, :cookie # (1::int8 << b)))
FROM generate_series(0, 63) b;
SELECT sqlstate_of(format('SELECT pg_background_detach_v2(%s, %s)', :pid + 1, :cookie)) IN ('42704', '55000') AS refused;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);

-- Queue sizes.
SELECT min_val::int4 AS least, max_val::int4 AS most FROM pg_settings WHERE name = 'pg_background.default_queue_size' \gset
SELECT :most AS most;
SELECT what, sqlstate_of(format('SELECT pg_background_submit_v2(%L, %s)', 'SELECT 1', size))
FROM (VALUES (1, 'negative', -1), (2, 'most negative', -2147483648), (3, 'zero', 0), (4, 'one', 1), (5, 'too small', :least - 1),
             (6, 'least', :least), (7, 'too large', :most + 1), (8, 'largest', 2147483647)) AS c (i, what, size)
ORDER BY i;
SELECT DISTINCT sqlstate_of(format('SELECT %s(%L, 1)', f, 'SELECT 1'))
FROM unnest(ARRAY['pg_background_launch', 'pg_background_launch_v2', 'pg_background_submit_v2']) f;
SELECT count(pg_background_wait_v2(pid, cookie)) FROM jobs;
SELECT count(pg_background_detach_v2(pid, cookie)) FROM jobs;

-- Too many live handles. Those that have finished and those that were submitted count too.
SET pg_background.max_workers = 3;
SELECT pid AS pid1, cookie AS cookie1 FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_submit_v2('SELECT 2') \gset
SELECT pg_background_launch('SELECT 3') AS pid3 \gset
SELECT pg_background_wait_v2(:pid1, :cookie1);
SELECT pg_background_wait_v2(:pid2, :cookie2);
SELECT pg_background_launch_v2('SELECT 4') IS NULL;
SELECT pg_background_submit_v2('SELECT 4') IS NULL;
SELECT pg_background_launch('SELECT 4') IS NULL;
SELECT hint_of($$SELECT pg_background_launch('SELECT 4')$$) ~ 'pg_background\.max_workers' AS names_the_setting;
-- With one less, there is room for one again.
SELECT pg_background_detach_v2(:pid2, :cookie2);
SELECT r.* FROM pg_background_launch_v2('SELECT 4') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
SELECT * FROM pg_background_result_v2(:pid1, :cookie1) AS (n int4);
SELECT * FROM pg_background_result(:pid3) AS (n int4);
RESET pg_background.max_workers;
SELECT count(*) FROM jobs;

-- A column list that does not fit: 42804, and the result is kept.
SELECT * FROM pg_background_launch_v2('SELECT 1, ''a''::text') \gset
SELECT name, sqlstate_of(format('SELECT * FROM pg_background_result_v2(%s, %s) AS %s', :pid, :cookie, list))
FROM (VALUES (1, 'too few', '(a int4)'), (2, 'too many', '(a int4, b text, c text)'),
             (3, 'wider', '(a int8, b text)'), (4, 'other', '(a int4, b int4)'), (5, 'swapped', '(b text, a int4)')) AS c (i, name, list)
ORDER BY i;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state, consumed FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4, b text);
-- The same without rows, and for a statement that returns none.
SELECT * FROM pg_background_launch_v2('SELECT 1 WHERE false') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int8);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4);
SELECT * FROM pg_background_launch_v2('SET work_mem = ''1MB''') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a text, b text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a text);

-- No column list.
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pg_background_result_v2(:pid, :cookie);
SELECT pg_background_list_v2();
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4);

-- COPY to or from the client.
CREATE TABLE errors_t (id int4);
SELECT outcome_of('COPY errors_t TO STDOUT') AS copy_to, outcome_of('COPY errors_t FROM STDIN') AS copy_from,
       outcome_of('COPY (SELECT 1) TO STDOUT') AS copy_query, outcome_of('COPY errors_t FROM STDIN; SELECT 1') AS one_of_several;
-- To and from files it is an ordinary statement.
SELECT outcome_of('COPY errors_t TO ''/dev/null''') AS copy_file;

-- Transaction control.
SELECT sql, outcome_of(sql)
FROM unnest(ARRAY['BEGIN', 'START TRANSACTION', 'COMMIT', 'END', 'ROLLBACK', 'ABORT', 'SAVEPOINT s', 'RELEASE s',
    'ROLLBACK TO s', 'PREPARE TRANSACTION ''x''', 'COMMIT PREPARED ''x''', 'COMMIT AND CHAIN', 'SELECT 1; COMMIT']) WITH ORDINALITY AS c (sql, i)
ORDER BY i;
SELECT outcome_of('INSERT INTO errors_t VALUES (1); COMMIT; INSERT INTO errors_t VALUES (2)');
SELECT count(*) FROM errors_t;

-- Errors of the job itself.
SELECT sql, outcome_of(sql)
FROM unnest(ARRAY['SELEC 1', 'SELECT * FROM no_such_table', 'SELECT no_such_column', 'SELECT 1 / 0', 'SELECT ''x''::int4',
    'INSERT INTO errors_t SELECT ''x''', 'DO $d$ BEGIN RAISE ''mine'' USING ERRCODE = ''AB123''; END $d$', 'SELECT $1']) WITH ORDINALITY AS c (sql, i)
ORDER BY i;
-- Also after rows were sent.
SELECT * FROM pg_background_launch_v2('SELECT 10 / (5000 - n) FROM generate_series(1, 10000) n', 4096) \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
-- After an error nothing of the job remains, the statements before it included.
SELECT outcome_of('INSERT INTO errors_t VALUES (1); INSERT INTO errors_t VALUES (2); SELECT 1 / 0');
SELECT count(*) FROM errors_t;

-- Progress is for jobs.
SELECT pg_background_progress(1);
SELECT pg_background_progress(NULL);
SELECT pg_background_progress(1, 'x');

-- The position of an error is one in the job's text; for a long text it is not shown.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT * FROM pg_background_launch_v2('SELECT 1; SELECT no_such_column FROM errors_t') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_launch_v2('SELECT no_such_column' || repeat(' ', 10000)) \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
\set SHOW_CONTEXT errors
\set VERBOSITY sqlstate

-- An error in the leader, while it reads, does not disturb what comes after.
SELECT * FROM pg_background_launch_v2('SELECT generate_series(1, 100000)', 4096) \gset
SELECT 1 / (r.n - 50) FROM pg_background_result_v2(:pid, :cookie) AS r (n int4);
SELECT r.* FROM pg_background_launch_v2('SELECT 1') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
SELECT count(pg_background_detach_v2(pid, cookie)) >= 0 AS tidy FROM jobs;
SELECT count(*) FROM jobs;

DROP FUNCTION hint_of(text);
DROP TABLE errors_t;
