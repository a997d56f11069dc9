-- Many statements in one call.
\c -
\set VERBOSITY sqlstate
CREATE FUNCTION nothing_is_left() RETURNS bool LANGUAGE sql AS
$$ SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 AND jobs_queued = 0 FROM pg_background_resources())') $$;

-- A row for each, however it ended.
CREATE TABLE fanned (n int4 PRIMARY KEY);
SELECT idx, ok, row_count, command_tag, result, sqlstate, error_message, elapsed_us >= 0 AS ran
FROM pg_background_fanout(ARRAY[
    'SELECT 1 AS n, ''a'' AS t UNION ALL SELECT 2, NULL',
    'SELECT 1 / 0',
    'INSERT INTO fanned SELECT generate_series(1, 5)',
    'SELECT WHERE false',
    'CREATE TABLE other_fanned ()',
    '',
    'SELECT 1; SELECT 2 AS last',
    'nonsense',
    'VACUUM',
    'INSERT INTO fanned VALUES (10) RETURNING n'], max_parallel => 1)
ORDER BY idx;
SELECT count(*) FROM fanned;

-- In the order in which they finish.
SELECT idx FROM pg_background_fanout(ARRAY['SELECT pg_sleep(0.6)', 'SELECT pg_sleep(0.3)', 'SELECT 1'], 3);
-- One at a time, in their own order.
SELECT array_agg(idx) = array_agg(idx ORDER BY idx) AS in_order
FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[50]), 1);

-- Duplicates are statements of their own; dimensions do not matter; no elements, no rows.
SELECT count(DISTINCT idx), sum((result->0->>'n')::int) FROM pg_background_fanout(array_fill('SELECT 3 AS n'::text, ARRAY[100]));
SELECT idx, result FROM pg_background_fanout('{{SELECT 1 AS n,SELECT 2 AS n},{SELECT 3 AS n,SELECT 4 AS n}}', 1);
-- The beginning of each text.
SELECT idx, ok, sql_preview = 'SELECT 1' AS whole, octet_length(sql_preview) AS bytes, right(sql_preview, 5) AS "end"
FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT ''' || repeat(U&'\20ac', 100) || '''', 'SELEKT']) ORDER BY idx;
SELECT DISTINCT sql_preview FROM pg_background_fanout_params('SELECT $1', ARRAY[1, 2]);
SELECT sqlstate, sql_preview FROM pg_background_fanout(ARRAY['SELECT pg_sleep(600)'], timeout_ms => 1);
SELECT count(*) FROM pg_background_fanout('{}');
SELECT count(*) FROM pg_background_fanout(NULL);
SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1', NULL]);
SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1'], 0);
SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1'], -1);

-- More than there are slots or workers, and than the session may have jobs.
SET pg_background.max_workers = 1;
SELECT count(*), count(*) FILTER (WHERE ok), sum((result->0->>'n')::int8)
FROM pg_background_fanout(ARRAY(SELECT format('SELECT %s AS n', g) FROM generate_series(1, 5000) g));
RESET pg_background.max_workers;

-- Results larger than their rings.
SELECT idx, ok, row_count, jsonb_array_length(result), length(result->0->>'t')
FROM pg_background_fanout(array_fill('SELECT repeat(''x'', 1000) AS t FROM generate_series(1, 500)'::text, ARRAY[6]), 3)
ORDER BY idx;
SELECT idx, length(result->0->>'t') FROM pg_background_fanout(ARRAY['SELECT repeat(''x'', 3000000) AS t', 'SELECT ''y'' AS t']) ORDER BY idx;

-- The session's own jobs are not touched, nor counted.
SELECT * FROM pg_background_launch_v2('SELECT 7') \gset
SELECT count(*) FROM pg_background_fanout(array_fill('SELECT count(*) FROM pg_background_list'::text, ARRAY[20]));
SELECT count(*), workers_launched FROM pg_background_list, pg_background_stats() GROUP BY 2;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);

-- As the current user, with its settings.
CREATE ROLE regress_pgb_fan;
GRANT pgbackground_role TO regress_pgb_fan;
SET ROLE regress_pgb_fan;
SET work_mem = '1234kB';
SELECT result FROM pg_background_fanout(ARRAY['SELECT current_user AS u, current_setting(''work_mem'') AS w']);
SELECT sqlstate FROM pg_background_fanout(ARRAY['SELECT * FROM fanned']);
RESET work_mem;
RESET ROLE;

-- A select list streams: the first row is out while others run, and a LIMIT cancels them.
SELECT (f).idx, (f).ok FROM (SELECT pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1', 'SELECT pg_sleep(600)']) AS f LIMIT 1) s;
SELECT nothing_is_left();
BEGIN;
DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1', 'SELECT 2'], 2)).idx;
FETCH 1 FROM c;
FETCH 1 FROM c;
CLOSE c;
SELECT nothing_is_left();
COMMIT;

-- However the query ends, what is in flight is canceled.
BEGIN;
SAVEPOINT s;
DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1'])).idx;
FETCH 1 FROM c;
ROLLBACK TO s;
SELECT nothing_is_left();
-- A cursor that outlives it does not present a part of the rows as all of them.
DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1'])).idx;
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
SELECT nothing_is_left();
FETCH 1 FROM c;
ROLLBACK TO s;
CLOSE c;
DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1'])).idx;
FETCH 1 FROM c;
SELECT 1 / 0;
\c -
\set VERBOSITY sqlstate
SELECT nothing_is_left();
BEGIN;
DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1'])).idx;
FETCH 1 FROM c;
COMMIT;
SELECT nothing_is_left();
\set VERBOSITY terse
DO $$
BEGIN
    PERFORM 1 / (idx - 2) FROM (SELECT (pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1'])).idx) s;
EXCEPTION
    WHEN division_by_zero THEN
        RAISE NOTICE 'left: %', NOT nothing_is_left();
END $$;
\set VERBOSITY sqlstate
SET statement_timeout = '300ms';
SELECT count(*) FROM pg_background_fanout(ARRAY['SET statement_timeout = 0; SELECT pg_sleep(600)', 'SELECT 1']);
RESET statement_timeout;
SELECT nothing_is_left();

-- The first error ends all, with its fields; what had committed stays.
TRUNCATE fanned;
SELECT count(*) FROM pg_background_fanout(ARRAY['INSERT INTO fanned VALUES (1)', 'INSERT INTO fanned VALUES (1)', 'SELECT pg_sleep(600)'], 1, fail_fast => true);
TABLE fanned;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'INSERT INTO fanned VALUES (1)'], fail_fast => true);
\set VERBOSITY sqlstate
SELECT nothing_is_left();

-- One time limit for the whole call.
SELECT idx, ok, sqlstate, error_message, elapsed_us IS NOT NULL AS launched
FROM pg_background_fanout(ARRAY['SELECT pg_sleep(600)', 'SELECT 1', 'SELECT pg_sleep(600)', 'SELECT 2'], 2, timeout_ms => 300)
ORDER BY idx;
SELECT idx, ok FROM pg_background_fanout(ARRAY['SELECT 1'], timeout_ms => 60000);
SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT pg_sleep(600)'], fail_fast => true, timeout_ms => 100);
SELECT nothing_is_left();

-- A result that cannot be returned (its type no longer exists) does not end the others, nor undo its statement.
CREATE TYPE gone AS (a int4);
CREATE FUNCTION drop_gone() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TYPE gone'; RETURN 1; END $$;
SELECT idx, ok, row_count, command_tag, result, sqlstate, error_message IS NOT NULL AS said
FROM pg_background_fanout(ARRAY['SELECT ROW(1)::gone AS v, drop_gone()', 'SELECT 2 AS n'], 1) ORDER BY idx;
SELECT to_regtype('gone') IS NULL AS gone;
DROP FUNCTION drop_gone;
SELECT nothing_is_left();

-- A result that was returned is not kept.
DO $$
DECLARE
    row record;
    count int4 := 0;
    before int8;
    after int8;
BEGIN
    FOR row IN SELECT length((pg_background_fanout(array_fill('SELECT repeat(''x'', 500000) AS t'::text, ARRAY[200]), 2)).result -> 0 ->> 't') LOOP
        count := count + 1;
        IF count IN (1, 199) THEN
            SELECT sum(total_bytes) INTO after FROM pg_backend_memory_contexts;
            before := coalesce(before, after);
        END IF;
    END LOOP;
    ASSERT count = 200 AND after - before < 20000000, format('%s rows, %s bytes more', count, after - before);
END $$;

-- In a job, and in a fan-out.
SELECT result FROM pg_background_fanout(ARRAY['SELECT sum((result->0->>''n'')::int) FROM pg_background_fanout(ARRAY[''SELECT 1 AS n'', ''SELECT 2 AS n''])']);

REVOKE pgbackground_role FROM regress_pgb_fan;
DROP ROLE regress_pgb_fan;
DROP TABLE fanned, other_fanned;
DROP FUNCTION nothing_is_left;
