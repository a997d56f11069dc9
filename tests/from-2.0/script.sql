-- What version 2.0 of the C extension can do, in one script for it and for this extension. Each case begins with a line
-- of three dashes and its name, in a session of its own; differences.txt lists what differs.
\set VERBOSITY sqlstate
\pset null NULL
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
CREATE TABLE items (id int4 PRIMARY KEY, what text NOT NULL, other int4 REFERENCES items DEFERRABLE INITIALLY DEFERRED);
INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 3) n;
CREATE TABLE audit (at timestamptz DEFAULT now(), what text);
CREATE TYPE point3 AS (x int4, y int4, z text);
CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
CREATE FUNCTION eventually(condition text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    holds bool;
BEGIN
    FOR i IN 1..1000 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        IF holds THEN RETURN true; END IF;
        PERFORM pg_sleep(0.01);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    RETURN false;
END
$$;
-- Waits until a job sleeps.
CREATE FUNCTION asleep(pid int4) RETURNS bool LANGUAGE sql AS $$
    SELECT eventually(format('EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = ''PgSleep'')', pid))
$$;
-- The SQLSTATE that a statement ends with.
CREATE FUNCTION state_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    RETURN '00000';
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN SQLSTATE;
END
$$;
-- Launches, reads one text of the result.
CREATE FUNCTION answer(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle;
    answer text;
BEGIN
    h := pg_background_launch(sql);
    SELECT r.t INTO answer FROM pg_background_result(h.pid, h.cookie) AS r (t text);
    RETURN answer;
END
$$;

--- launch: the handle
SELECT * FROM pg_background_launch('SELECT 1') AS h \gset
SELECT :pid > 0 AS pid, :cookie <> 0 AS cookie, pg_typeof(:cookie);
SELECT pg_typeof(h), (h).pid <> :pid OR (h).cookie <> :cookie AS another FROM pg_background_launch('SELECT 1') AS h;
SELECT count(*) FROM pg_background_list;
SELECT (ROW(123, 456789)::pg_background_handle).*;
--- launch: queue sizes
SELECT size, state_of(format('SELECT pg_background_launch(''SELECT 1'', %s)', size))
FROM (VALUES ('0'), ('1'), ('10'), ('47'), ('48'), ('64'), ('4096'), ('65536'), ('268435456'), ('268435457'), ('2147483647'), ('-1'),
      ('-2147483648'), ('NULL')) s (size);
SELECT queue_size, count(*) FROM pg_background_list GROUP BY 1 ORDER BY 1;
SELECT size, state_of(format('SELECT pg_background_submit(''SELECT 1'', %s, ''a'')', size))
FROM (VALUES ('0'), ('10'), ('-1'), ('4096'), ('NULL')) s (size);
--- launch: NULL
SELECT pg_background_launch(NULL), pg_background_launch('SELECT 1', NULL), pg_background_launch(NULL, 0);
SELECT pg_background_submit(NULL), pg_background_submit('SELECT 1', NULL);
SELECT state_of('SELECT pg_background_launch(NULL, 0, ''a'')'), state_of('SELECT pg_background_submit(NULL, 0, ''a'')'),
       state_of('SELECT pg_background_launch(NULL, 0, NULL)'), state_of('SELECT pg_background_launch(NULL, NULL, NULL)');
SELECT count(*) FROM pg_background_list;
--- launch: labels
SELECT l, octet_length(l), state_of(format('SELECT pg_background_launch(''SELECT 1'', 0, %L)', l))
FROM unnest(ARRAY['a', '', 'two words', 'quote'' "', repeat('x', 63), repeat('x', 64), repeat('x', 65), repeat('x', 1000),
      repeat(U&'\00e9', 32), repeat(U&'\00e9', 33)]) l;
SELECT label, count(*) FROM pg_background_list GROUP BY 1 ORDER BY label COLLATE "C";
SELECT state_of('SELECT pg_background_launch(''SELECT 1'', 0, NULL)');
SELECT count(*) FROM pg_background_list WHERE label IS NULL;
--- launch: text that is no SQL
SELECT sql, sqlstate, has_error FROM unnest(ARRAY['', ';', ' ', '-- nothing', 'SELEKT', 'SELECT 1;', 'SELECT 1;;', ';SELECT 1', 'SELECT ''', 'SELECT nothing',
      'SELECT $1']) sql, pg_background_run(sql);
--- launch: many
SET pg_background.max_workers = 3;
SELECT n, state_of('SELECT pg_background_launch(''SELECT pg_sleep(60)'')') FROM generate_series(1, 4) n;
SELECT max_workers, workers_active, workers_launched FROM pg_background_stats();
SELECT pg_background_cancel_all();
SELECT eventually('(SELECT bool_and((pg_background_outcome(pid, cookie)).completed) FROM pg_background_list)');
SELECT state_of('SELECT pg_background_launch(''SELECT 1'')');
SELECT pg_background_detach_all();
SELECT state_of('SELECT pg_background_launch(''SELECT 1'')');
--- launch: no free worker
\set VERBOSITY terse
SET pg_background.max_workers = 100;
SET statement_timeout = '30s';
DO $$
DECLARE
    began timestamptz;
BEGIN
    LOOP
        began := clock_timestamp();
        PERFORM pg_background_launch('SELECT pg_sleep(60)');
    END LOOP;
EXCEPTION WHEN insufficient_resources THEN
    RAISE WARNING 'waited: %', clock_timestamp() - began > interval '5 s';
END
$$;
SELECT pg_background_cancel_all() > 10;
--- launch: processes
CREATE TEMP TABLE jobs AS SELECT r.pid FROM generate_series(1, 10), pg_background_run('SELECT 1') r;
SELECT count(DISTINCT pid) = 10 FROM jobs;
SELECT pg_sleep(0.5);
SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pg_background' AND datname = current_database();
--- result: values
SELECT * FROM pg_background_launch($$SELECT 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1.230::numeric, true, 'a'::text, 'b'::varchar(5),
    'c'::char(3), 'd'::name, '\x00ff'::bytea, date '2026-01-02', timestamp '2026-01-02 03:04:05', interval '1 day', '{1,NULL}'::int4[],
    '{"a": 1}'::jsonb, 'ab'::"char", int4range(1, 3), '10.0.0.1'::inet, point(1, 2), NULL::text$$) \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (a int2, b int4, c int8, d float4, e float8, f numeric, g bool, h text, i varchar(5),
    j char(3), k name, l bytea, m date, n timestamp, o interval, p int4[], q jsonb, r "char", s int4range, t inet, u point, v text);
SELECT * FROM pg_background_launch('SELECT (1, 2, ''z'')::point3, ARRAY[(1, 2, ''y'')::point3]') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (a point3, b point3[]);
SELECT * FROM pg_background_launch('SELECT 5::positive') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (a int4);
SELECT * FROM pg_background_launch($$SELECT 'abcdef'::varchar(10), 1.236::numeric(10, 2)$$) \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (a varchar, b numeric);
--- result: a domain as itself
SELECT * FROM pg_background_launch('SELECT 5::positive') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (a positive);
--- result: rows
SELECT * FROM pg_background_launch('SELECT * FROM items ORDER BY id') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (id int4, what text, other int4);
SELECT * FROM pg_background_launch('SELECT id FROM items WHERE false') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (id int4);
SELECT * FROM pg_background_launch('VALUES (1), (2)') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_launch('TABLE items') \gset
SELECT count(*) FROM pg_background_result(:pid, :cookie) AS (id int4, what text, other int4);
SELECT * FROM pg_background_launch('SELECT n, repeat(''x'', 100) FROM generate_series(1, 20000) n') \gset
SELECT count(*), sum(n), min(length(t)) FROM pg_background_result(:pid, :cookie) AS (n int4, t text);
SELECT * FROM pg_background_launch('SELECT n, repeat(''x'', 1000000) FROM generate_series(1, 3) n') \gset
SELECT count(*), sum(n), min(length(t)) FROM pg_background_result(:pid, :cookie) AS (n int4, t text);
SELECT * FROM pg_background_launch('SELECT n FROM generate_series(1, 10) n') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4) LIMIT 2;
SELECT * FROM pg_background_launch('SELECT') \gset
SELECT count(*) FROM pg_background_result(:pid, :cookie);
SELECT count(*) FROM pg_background_list;
--- result: statements without rows
SELECT sql, answer(sql) FROM unnest(ARRAY['INSERT INTO audit (what) VALUES (''x'')', 'UPDATE audit SET what = ''y''', 'DELETE FROM audit',
    'CREATE TEMP TABLE t (n int4)', 'SET work_mem = ''1MB''', 'DO ''BEGIN END''', 'ANALYZE audit', 'VACUUM audit', 'LISTEN x', 'NOTIFY x', 'TRUNCATE audit', 'CHECKPOINT',
    'SELECT 1::text INTO TEMP x', 'CREATE TABLE made AS SELECT 1 AS n', 'DROP TABLE made', 'LOCK TABLE audit', 'PREPARE p AS SELECT 1',
    'DECLARE c CURSOR FOR SELECT 1', 'MERGE INTO audit USING items ON false WHEN NOT MATCHED THEN DO NOTHING', 'DISCARD PLANS']) sql;
--- result: statements without rows that wait for snapshots
SELECT * FROM pg_background_launch('CREATE INDEX CONCURRENTLY audit_what ON audit (what)') \gset
SELECT pg_sleep(0.5);
SELECT * FROM pg_background_result(:pid, :cookie) AS (tag text);
SELECT * FROM pg_background_launch('DROP INDEX CONCURRENTLY audit_what') \gset
SELECT pg_sleep(0.5);
SELECT * FROM pg_background_result(:pid, :cookie) AS (tag text);
--- result: statements with rows
SELECT sql, answer(sql) FROM unnest(ARRAY['INSERT INTO audit (what) VALUES (''x'') RETURNING what', 'UPDATE audit SET what = ''y'' RETURNING what',
    'DELETE FROM audit RETURNING what', 'SHOW search_path', 'EXPLAIN (COSTS OFF) SELECT 1', 'WITH w AS (SELECT ''cte'') SELECT * FROM w',
    'SELECT ''a'' UNION ALL SELECT ''b''', 'SELECT NULL::text']) sql;
--- result: several statements
SET pg_background.max_workers = 100;
SELECT sql, answer(sql) FROM unnest(ARRAY['SELECT ''a''; SELECT ''b''',
    'INSERT INTO audit (what) VALUES (''x''); SELECT ''after''', 'SET work_mem = ''2MB''; SHOW work_mem', 'SELECT 1; SELECT ''d''']) sql;
DELETE FROM audit;
SELECT * FROM pg_background_launch('SELECT 1; SELECT 2; DELETE FROM audit') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
-- They are one transaction.
SELECT has_error, sqlstate FROM pg_background_run('INSERT INTO audit (what) VALUES (''lost''); SELECT 1/0');
SELECT count(*) FROM audit WHERE what = 'lost';
SELECT has_error, sqlstate FROM pg_background_run('SELECT 1; VACUUM audit');
--- result: several statements, of which one sees what another did
SELECT answer('CREATE TEMP TABLE t (n text); INSERT INTO t VALUES (''seen''); SELECT n FROM t');
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''p''), (''q''); UPDATE audit SET what = what; DELETE FROM audit') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (tag text);
DELETE FROM audit;
--- result: refused statements
SELECT sql, completed, has_error, sqlstate
FROM unnest(ARRAY['BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT a', 'START TRANSACTION', 'PREPARE TRANSACTION ''a''', 'INSERT INTO audit (what) VALUES (''z''); COMMIT', 'SET TRANSACTION READ ONLY', 'SET CONSTRAINTS ALL IMMEDIATE']) sql, pg_background_run(sql);
SELECT count(*) FROM audit WHERE what = 'z';
--- result: COPY
SELECT sql, completed, has_error, sqlstate FROM unnest(ARRAY['COPY audit TO STDOUT', 'COPY audit FROM STDIN']) sql, pg_background_run(sql);
--- result: procedures
CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit (what) VALUES ('first'); COMMIT;
    INSERT INTO audit (what) VALUES ('second'); ROLLBACK;
    INSERT INTO audit (what) VALUES ('third');
END $$;
SELECT completed, has_error, sqlstate, command_tag, row_count FROM pg_background_run('CALL twice()');
SELECT what FROM audit ORDER BY what;
CREATE PROCEDURE gives(INOUT n int4) LANGUAGE plpgsql AS 'BEGIN n := n + 1; END';
SELECT * FROM pg_background_launch('CALL gives(41)') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
DELETE FROM audit;
--- result: column lists that do not fit
SELECT list, state_of(format('SELECT * FROM pg_background_launch(%L) h, pg_background_result(h.pid, h.cookie) AS (%s)', 'SELECT 1, ''a''::text', list))
FROM unnest(ARRAY['a int4, b text', 'a int4', 'a int4, b text, c text', 'a int8, b text', 'a int4, b varchar', 'b text, a int4',
    'x int4, y text', 'a int4, b text COLLATE "C"', 'a positive, b text']) list;
SELECT * FROM pg_background_launch('SELECT 1') \gset
SELECT pg_background_result(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie);
--- result: column lists that do not fit a command
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''x'')') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT count(*) FROM audit;
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''x'')') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (a text, b text);
DELETE FROM audit;
--- result: any type as text
SELECT * FROM pg_background_launch('SELECT 1') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
--- result: a column list that does not fit, and what is left of the job
SELECT * FROM pg_background_launch('SELECT 1') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n text[]);
SELECT count(*) FROM pg_background_list;
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
--- result: once only
SELECT * FROM pg_background_launch('SELECT 1') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT pg_background_wait(:pid, :cookie);
SELECT pg_background_detach(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie);
SELECT pg_background_result_info(:pid, :cookie);
SELECT pg_background_error_info(:pid, :cookie);
SELECT pg_background_full_sql(:pid, :cookie);
SELECT pg_background_get_progress(:pid, :cookie);
SELECT state, completed, has_error, row_count FROM pg_background_outcome(:pid, :cookie);
--- result: handles that name no job
SELECT f, state_of(replace('SELECT * FROM ' || f, 'H', '1, 1')), state_of(replace('SELECT * FROM ' || f, 'H', '0, 0')),
    state_of(replace('SELECT * FROM ' || f, 'H', '-1, 1')), state_of(replace('SELECT * FROM ' || f, 'H', 'NULL, NULL')),
    state_of(replace('SELECT * FROM ' || f, 'H', '1, NULL')), state_of(replace('SELECT * FROM ' || f, 'H', 'NULL, 1'))
FROM unnest(ARRAY['pg_background_result(H) AS (n int4)', 'pg_background_wait(H)', 'pg_background_wait(H, 10)', 'pg_background_detach(H)',
    'pg_background_cancel(H)', 'pg_background_cancel(H, 10)', 'pg_background_result_info(H)', 'pg_background_error_info(H)',
    'pg_background_full_sql(H)', 'pg_background_get_progress(H)', 'pg_background_outcome(H)']) f;
--- result: handles with another cookie
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT f, state_of(replace('SELECT * FROM ' || f, 'H', :pid || ', 1')), state_of(replace('SELECT * FROM ' || f, 'H', :pid || ', NULL')),
    state_of(replace('SELECT * FROM ' || f, 'H', 'NULL, ' || :cookie))
FROM unnest(ARRAY['pg_background_result(H) AS (n int4)', 'pg_background_wait(H)', 'pg_background_wait(H, 10)', 'pg_background_detach(H)',
    'pg_background_cancel(H)', 'pg_background_cancel(H, 10)', 'pg_background_result_info(H)', 'pg_background_error_info(H)',
    'pg_background_full_sql(H)', 'pg_background_get_progress(H)', 'pg_background_outcome(H)']) f;
SELECT state, completed FROM pg_background_outcome(:pid, 1);
SELECT count(*), min(state) FROM pg_background_list;
SELECT pg_background_cancel(:pid, :cookie, 5000);
--- result: errors of the job
SELECT sql, completed, has_error, sqlstate, error_message, row_count, command_tag
FROM unnest(ARRAY['SELECT 1/0', 'SELECT * FROM missing', 'INSERT INTO items VALUES (1, ''again'')', 'INSERT INTO items VALUES (9, NULL)',
    'INSERT INTO items VALUES (9, ''x'', 10)', 'SELECT (-1)::positive', 'DO ''BEGIN RAISE EXCEPTION ''''own'''' USING ERRCODE = ''''AB123''''; END''',
    'SELECT n / (n - 3) FROM generate_series(1, 5) n']) sql, pg_background_run(sql);
SELECT * FROM pg_background_launch('SELECT 1/0') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT count(*) FROM pg_background_list;
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_launch('SELECT 10 / (n - 3) FROM generate_series(1, 5) n') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT count(*) FROM items;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT * FROM pg_background_launch('DO ''BEGIN RAISE EXCEPTION ''''own'''' USING DETAIL = ''''more'''', HINT = ''''do''''; END''') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
\set VERBOSITY sqlstate
--- result: an error that is caught
\set VERBOSITY terse
DO $$
DECLARE
    h pg_background_handle;
BEGIN
    h := pg_background_launch('SELECT 1/0');
    BEGIN
        PERFORM * FROM pg_background_result(h.pid, h.cookie) AS (n int4);
    EXCEPTION WHEN division_by_zero THEN
        RAISE WARNING 'caught %, tracked %, detach %', SQLSTATE, (SELECT count(*) FROM pg_background_list WHERE cookie = h.cookie),
            state_of(format('SELECT pg_background_detach(%s, %s)', h.pid, h.cookie));
    END;
END
$$;
SELECT count(*) FROM pg_background_list;
--- result: messages of the job
\set VERBOSITY default
\set SHOW_CONTEXT always
SET client_min_messages = notice;
SELECT * FROM pg_background_launch('DO ''BEGIN RAISE NOTICE ''''a notice''''; RAISE WARNING ''''a warning'''' USING HINT = ''''a hint''''; RAISE INFO ''''an info''''; RAISE DEBUG ''''none''''; END''') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
\set VERBOSITY sqlstate
--- result: notifications of the job
LISTEN told;
DO $$ BEGIN
    PERFORM answer('SELECT pg_notify(''told'', ''a job'')::text');
    PERFORM pg_sleep(0.2);
END $$;
DO $$ BEGIN
    PERFORM pg_background_wait(h.pid, h.cookie) FROM pg_background_submit('NOTIFY told, ''submitted''') h;
    PERFORM pg_sleep(0.2);
END $$;
--- result: read by expressions and queries
SELECT * FROM pg_background_launch('SELECT n FROM generate_series(1, 3) n') \gset
CREATE TEMP TABLE taken AS SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
TABLE taken;
SELECT * FROM pg_background_launch('SELECT n FROM generate_series(1, 3) n') \gset
WITH r AS (SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4)) SELECT * FROM r UNION ALL SELECT * FROM r;
SELECT i.id, r.n FROM items i, LATERAL pg_background_launch('SELECT ' || i.id * 10) h, LATERAL pg_background_result(h.pid, h.cookie) AS r (n int4) ORDER BY 1;
BEGIN;
SELECT * FROM pg_background_launch('SELECT n FROM generate_series(1, 3) n') \gset
DECLARE c CURSOR FOR SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
FETCH 2 FROM c;
COMMIT;
SELECT count(*) FROM pg_background_list;
--- result: of a submitted job
SELECT * FROM pg_background_submit('SELECT 42') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT state, completed, has_error, row_count, command_tag, consumed, label FROM pg_background_outcome(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT count(*) FROM pg_background_list;
SELECT pg_background_detach(:pid, :cookie);
SELECT label FROM pg_background_submit('SELECT 42', 0, 'submitted') h, pg_background_outcome(h.pid, h.cookie);
--- wait
SELECT * FROM pg_background_launch('SELECT pg_sleep(0.3)') \gset
SELECT pg_background_wait(:pid, :cookie, 1), pg_background_wait(:pid, :cookie), pg_background_wait(:pid, :cookie, 1), pg_background_wait(:pid, :cookie, -1),
       pg_background_wait(:pid, :cookie, 0), pg_background_wait(:pid, :cookie, 2147483647), pg_background_wait(:pid, :cookie, -2147483648);
SELECT pg_background_wait(:pid, :cookie, NULL), pg_background_wait(NULL, :cookie), pg_background_wait(:pid, NULL, 1);
SELECT pg_background_wait(pid => :pid, cookie => :cookie, timeout_ms => 1);
SELECT * FROM pg_background_launch('SELECT 1/0') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_launch('SELECT n, repeat(''x'', 1000) FROM generate_series(1, 10) n') \gset
SELECT pg_background_wait(:pid, :cookie, 5000);
SELECT count(*) FROM pg_background_result(:pid, :cookie) AS (n int4, t text);
--- wait: a statement timeout
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SET statement_timeout = 200;
SELECT pg_background_wait(:pid, :cookie);
RESET statement_timeout;
SELECT state, completed FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie, 5000);
--- wait: for a lock of the session
BEGIN;
LOCK TABLE audit;
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''locked'')') \gset
SELECT pg_background_wait(:pid, :cookie, 300);
SELECT timed_out, sqlstate FROM pg_background_run('INSERT INTO audit (what) VALUES (''locked'')', timeout_ms => 300);
COMMIT;
SELECT pg_background_wait(:pid, :cookie);
SELECT what FROM audit;
DELETE FROM audit;
--- wait: for a lock of the session, without a limit
SET statement_timeout = '3s';
BEGIN;
LOCK TABLE audit;
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''locked'')') \gset
SELECT pg_background_wait(:pid, :cookie);
ROLLBACK;
SELECT pg_background_wait(:pid, :cookie);
DELETE FROM audit;
--- cancel: a running job
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT pg_background_cancel(:pid, :cookie);
SELECT pg_background_wait(:pid, :cookie);
SELECT completed, has_error, sqlstate, error_message, row_count, command_tag FROM pg_background_outcome(:pid, :cookie);
SELECT sqlstate, message FROM pg_background_error_info(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie), pg_background_cancel(:pid, :cookie, 100);
SELECT pg_background_detach(:pid, :cookie);
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active FROM pg_background_stats();
--- cancel: the states
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT state FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT state FROM pg_background_outcome(:pid, :cookie);
SELECT state FROM pg_background_list;
--- cancel: reading the result
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)::text') \gset
SELECT asleep(:pid);
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
--- cancel: a finished job
SELECT * FROM pg_background_launch('SELECT 42') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie), pg_background_cancel(:pid, :cookie, 100);
SELECT completed, has_error, sqlstate FROM pg_background_outcome(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
--- cancel: a finished job, in the statistics
SELECT count(pg_background_cancel(h.pid, h.cookie)) FROM pg_background_launch('SELECT 42') h, LATERAL pg_background_wait(h.pid, h.cookie);
SELECT pg_background_detach_all();
SELECT workers_canceled, workers_completed FROM pg_background_stats();
--- cancel: grace
SELECT g, state_of(format('SELECT pg_background_cancel(h.pid, h.cookie, %s) FROM pg_background_launch(''SELECT pg_sleep(60)'') h', g))
FROM unnest(ARRAY['0', '-1', '1', '5000', '2147483647', 'NULL']) g;
SELECT pg_background_cancel_all() >= 1;
SELECT eventually('(SELECT bool_and((pg_background_outcome(pid, cookie)).completed) FROM pg_background_list)');
--- cancel: a job that has been caught
SELECT * FROM pg_background_launch($$DO 'BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN INSERT INTO audit (what) VALUES (''caught''); END'$$) \gset
SELECT asleep(:pid);
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT what FROM audit;
SELECT completed, has_error, sqlstate, command_tag FROM pg_background_outcome(:pid, :cookie);
DELETE FROM audit;
--- cancel: pg_cancel_backend
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT pg_cancel_backend(:pid);
SELECT pg_background_wait(:pid, :cookie);
SELECT completed, has_error, sqlstate FROM pg_background_outcome(:pid, :cookie);
--- cancel: pg_terminate_backend
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT pg_terminate_backend(:pid);
SELECT pg_background_wait(:pid, :cookie);
SELECT completed, has_error, sqlstate FROM pg_background_outcome(:pid, :cookie);
--- cancel: by a session that is interrupted
SET statement_timeout = 200;
SELECT pg_background_run('SET statement_timeout = 0; SELECT pg_sleep(0.6); INSERT INTO audit (what) VALUES (''went on'')');
RESET statement_timeout;
SELECT pg_sleep(1);
SELECT count(*) AS rows FROM audit;
SELECT count(*) AS tracked FROM pg_background_list;
DELETE FROM audit;
--- detach: the job goes on
SELECT * FROM pg_background_launch('INSERT INTO audit (what) SELECT ''detached'' FROM pg_sleep(0.2)') \gset
SELECT pg_background_detach(:pid, :cookie);
SELECT eventually('EXISTS (SELECT FROM audit)');
SELECT pg_background_detach(:pid, :cookie);
SELECT workers_launched, workers_active FROM pg_background_stats();
DELETE FROM audit;
--- detach: with the session
SELECT pid > 0 FROM pg_background_launch('INSERT INTO audit (what) SELECT ''left'' FROM pg_sleep(0.3)');
\c -
SELECT eventually('EXISTS (SELECT FROM audit)');
SELECT count(*) FROM pg_background_list;
DELETE FROM audit;
--- detach: all
SELECT pg_background_detach_all(), pg_background_cancel_all(), pg_background_purge();
SELECT count(pg_background_launch('SELECT pg_sleep(60)')) FROM generate_series(1, 3);
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM pg_background_launch('SELECT 1') h;
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM pg_background_launch('SELECT 1/0') h;
SELECT pg_background_purge();
SELECT pg_background_cancel_all();
SELECT eventually('(SELECT bool_and((pg_background_outcome(pid, cookie)).completed) FROM pg_background_list)');
SELECT pg_background_cancel_all();
SELECT count(*) FROM pg_background_list;
SELECT pg_background_detach_all(), pg_background_detach_all();
SELECT count(*) FROM pg_background_list;
--- list: columns
SELECT * FROM pg_background_launch('SELECT 1', 8192, 'listed') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT pid = :pid, cookie = :cookie, launched_at BETWEEN now() - interval '10 s' AND now(), user_id = 'postgres'::regrole, queue_size, sql_preview, last_error, consumed, label
FROM pg_background_list;
SELECT state, count(*) FROM pg_background_list GROUP BY 1;
SELECT l.sql_preview, l.label FROM pg_background_list() AS l (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
    sql_preview text, last_error text, consumed bool, label text);
SELECT l.sql_preview FROM pg_background_list() AS l (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
    sql_preview text, last_error text, consumed bool);
SELECT * FROM pg_background_list() AS (pid int4);
SELECT pg_background_list();
SELECT * FROM pg_background_list();
--- list: previews
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 22']) s, pg_background_launch(s) h;
SELECT sql_preview FROM pg_background_list ORDER BY launched_at;
SELECT * FROM pg_background_launch('SELECT ''' || repeat('x', 300) || '''') \gset
SELECT length(sql_preview), left(sql_preview, 12) FROM pg_background_list WHERE pid = :pid AND cookie = :cookie;
SELECT length(pg_background_full_sql(:pid, :cookie));
--- list: errors
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0']) s, pg_background_launch(s) h;
SELECT sql_preview, last_error FROM pg_background_list ORDER BY launched_at;
--- list: the states of jobs that have ended
SELECT s, state FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0', 'SELEKT']) s, pg_background_run(s);
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0']) s, pg_background_launch(s) h;
SELECT sql_preview, state FROM pg_background_list ORDER BY launched_at;
--- list: activity
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)', 0, 'active') \gset
SELECT asleep(:pid);
SELECT pid = :pid, cookie = :cookie, pgbg_state, sql_preview, last_error, consumed, label, backend_state, wait_event_type, wait_event,
    xact_start IS NOT NULL, query_start IS NOT NULL, backend_start IS NOT NULL, query, launched_at IS NOT NULL, user_id::regrole, queue_size
FROM pg_background_activity;
SELECT backend_type, usename, datname = current_database(), replace(application_name, :pid::text, 'PID') FROM pg_stat_activity WHERE pid = :pid;
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT pgbg_state IN ('stopped', 'canceled'), label FROM pg_background_activity;
--- list: application_name
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT replace(application_name, :pid::text, 'PID') FROM pg_stat_activity WHERE pid = :pid;
SELECT pg_background_cancel(:pid, :cookie, 5000);
SET application_name = 'mine';
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)', 0, 'a label') \gset
SELECT asleep(:pid);
SELECT replace(application_name, :pid::text, 'PID') FROM pg_stat_activity WHERE pid = :pid;
SELECT pg_background_cancel(:pid, :cookie, 5000);
RESET application_name;
--- list: application_name, in the job
SELECT regexp_replace(answer('SHOW application_name'), '\d+', 'PID');
--- stats
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_timed_out, workers_active, avg_execution_ms, max_workers FROM pg_background_stats();
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 2', 'SELECT 1/0', 'SELECT pg_sleep(0.1)']) s, pg_background_launch(s) h;
SELECT pid, cookie FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT workers_launched FROM pg_background_stats();
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT pg_background_detach_all();
SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_timed_out, workers_active, avg_execution_ms > 0 FROM pg_background_stats();
SELECT pg_background_record_timeout();
SELECT workers_timed_out, workers_canceled FROM pg_background_stats();
SELECT timed_out FROM pg_background_run('SELECT pg_sleep(60)', timeout_ms => 50);
SELECT workers_timed_out, workers_canceled, workers_launched FROM pg_background_stats();
SELECT pg_typeof(pg_background_stats());
--- stats: jobs that have ended and are still tracked
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0']) s, pg_background_launch(s) h;
SELECT workers_active = 0 AS none_active FROM pg_background_stats();
--- progress
SELECT state_of('SELECT pg_background_report_progress(1, ''outside'')'), state_of('SELECT pg_background_report_progress(1)'),
    state_of('SELECT pg_background_report_progress(NULL)');
SELECT p, m, has_error, sqlstate FROM (VALUES ('0', '''a'''), ('100', '''b'''), ('-1', 'NULL'), ('101', '''''' ), ('NULL', '''x''')) v (p, m),
    pg_background_run(format('SELECT pg_background_report_progress(%s, %s)', p, m));
SELECT p, (pg_background_get_progress(h.pid, h.cookie)).*
FROM unnest(ARRAY['0, ''a''', '100, ''b''', '-1, ''c''', '101, ''''', '2147483647, ''d''', format('7, %L', repeat('x', 100)), format('7, %L', repeat(U&'\00e9', 100))]) p,
    LATERAL pg_background_launch(format('SELECT pg_background_report_progress(%s)', p)) h, LATERAL pg_background_wait(h.pid, h.cookie);
SELECT * FROM pg_background_launch('SELECT pg_background_report_progress(10, ''half''); SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT * FROM pg_background_get_progress(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT * FROM pg_background_get_progress(:pid, :cookie);
SELECT * FROM pg_background_launch('SELECT 1') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT pg_background_get_progress(:pid, :cookie) IS NULL;
SELECT * FROM pg_background_launch('SELECT pg_background_report_progress(30); SELECT pg_background_report_progress(20, ''back'')') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_get_progress(:pid, :cookie);
SELECT has_error, sqlstate FROM pg_background_run('SELECT pg_background_report_progress(pct => 5, msg => ''named'')');
--- progress: without a message
SELECT (pg_background_get_progress(h.pid, h.cookie)).*
FROM unnest(ARRAY['50', '50, NULL']) p, LATERAL pg_background_launch(format('SELECT pg_background_report_progress(%s)', p)) h, LATERAL pg_background_wait(h.pid, h.cookie);
--- result_info
SET pg_background.max_workers = 100;
SELECT s, i.row_count, i.command_tag, i.completed, i.has_error, i.started_at <= i.finished_at
FROM unnest(ARRAY['SELECT 1', 'SELECT n FROM generate_series(1, 7) n', 'SELECT 1/0', '', 'INSERT INTO audit (what) VALUES (1), (2)', 'UPDATE audit SET what = 3',
    'DELETE FROM audit', 'CREATE TEMP TABLE t ()', 'SELECT 1; SELECT 2 UNION SELECT 3', 'SELECT 1; SET work_mem = ''1MB''', 'VACUUM audit', 'DO ''BEGIN END''',
    'SELEKT', 'INSERT INTO audit (what) VALUES (1) RETURNING what', 'TRUNCATE audit', 'SELECT 1 INTO TEMP x']) s,
    LATERAL pg_background_launch(s) h, LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_result_info(h.pid, h.cookie) i;
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT asleep(:pid);
SELECT row_count, command_tag, completed, has_error, started_at IS NULL, finished_at IS NULL FROM pg_background_result_info(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT row_count, command_tag, completed, has_error, started_at IS NULL, finished_at IS NULL FROM pg_background_result_info(:pid, :cookie);
--- result_info: commands that return or make rows
SELECT s, i.row_count, i.command_tag
FROM unnest(ARRAY['EXPLAIN SELECT 1', 'SHOW work_mem', 'CREATE TEMP TABLE y AS SELECT generate_series(1, 3)']) s,
    LATERAL pg_background_launch(s) h, LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_result_info(h.pid, h.cookie) i;
--- error_info
SELECT s, e.sqlstate, e.message, e.detail, e.hint, e.schema_name, e.table_name, e.column_name, e.constraint_name
FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0', 'INSERT INTO items VALUES (1, ''again'')', 'INSERT INTO items VALUES (9, NULL)', 'INSERT INTO items VALUES (9, ''x'', 10)',
    'SELECT (-1)::positive', 'SELECT * FROM missing', 'SELEKT', '',
    'DO ''BEGIN RAISE EXCEPTION ''''own'''' USING DETAIL = ''''d'''', HINT = ''''h'''', ERRCODE = ''''AB123'''', SCHEMA = ''''s'''', TABLE = ''''t'''', COLUMN = ''''c'''', CONSTRAINT = ''''k''''; END''']) s,
    LATERAL pg_background_launch(s) h, LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_error_info(h.pid, h.cookie) e;
SELECT pg_background_error_info(h.pid, h.cookie) IS NULL FROM pg_background_launch('SELECT 1') h, LATERAL pg_background_wait(h.pid, h.cookie);
--- error_info: the context
SELECT e.context FROM unnest(ARRAY['SELECT 1/0', 'DO ''BEGIN RAISE EXCEPTION ''''own''''; END''']) s, LATERAL pg_background_launch(s) h, LATERAL pg_background_wait(h.pid, h.cookie),
    LATERAL pg_background_error_info(h.pid, h.cookie) e;
--- error_info: long fields
SELECT length(e.message), length(e.detail), length(e.hint) FROM pg_background_launch($$DO 'BEGIN RAISE EXCEPTION ''%'', repeat(''x'', 3000)
    USING DETAIL = repeat(''y'', 3000), HINT = repeat(''z'', 3000); END'$$) h, LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_error_info(h.pid, h.cookie) e;
SELECT length(last_error) FROM pg_background_list WHERE last_error LIKE 'xxx%';
--- outcome
SELECT * FROM pg_background_outcome(1, 1);
SELECT o.pid = h.pid, o.cookie = h.cookie, consumed, completed, has_error, row_count, command_tag, sqlstate, error_message, o.label, launched_at IS NULL
FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0', '', 'INSERT INTO audit (what) VALUES (1)']) s, LATERAL pg_background_launch(s, 0, s) h,
    LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_outcome(h.pid, h.cookie) o;
SELECT to_jsonb(o) - 'launched_at' - 'pid' - 'cookie' - 'state' FROM pg_background_launch('SELECT 1', 0, 'json') h, LATERAL pg_background_wait(h.pid, h.cookie), LATERAL pg_background_outcome(h.pid, h.cookie) o;
SELECT completed, has_error FROM pg_background_outcome(p_pid => 1, p_cookie => 1);
SELECT pg_background_outcome(NULL, NULL) IS NULL;
DELETE FROM audit;
--- run
SELECT s, pid > 0, cookie <> 0, consumed, completed, has_error, row_count, command_tag, sqlstate, error_message, label, launched_at IS NULL, timed_out, elapsed_ms >= 0
FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0', '', 'INSERT INTO audit (what) VALUES (1)', 'DELETE FROM audit', NULL, 'SELEKT']) s,
    pg_background_run(s, label => s);
SELECT completed, timed_out, has_error, sqlstate, error_message, row_count, elapsed_ms BETWEEN 50 AND 5000 FROM pg_background_run('SELECT pg_sleep(60)', timeout_ms => 100);
SELECT completed, timed_out, elapsed_ms >= 200 FROM pg_background_run('SELECT pg_sleep(0.2)', timeout_ms => 10000);
SELECT completed, timed_out FROM pg_background_run('SELECT 1', timeout_ms => -1);
SELECT completed, label FROM pg_background_run('SELECT 1', 0, 0, 'a label');
SELECT completed, label FROM pg_background_run(sql => 'SELECT 1', queue_size => 8192, timeout_ms => 1000, label => NULL);
SELECT state_of('SELECT pg_background_run(''SELECT 1'', queue_size => 10)'), state_of('SELECT pg_background_run(''SELECT 1'', timeout_ms => NULL)'),
    state_of('SELECT pg_background_run(''SELECT 1'', queue_size => NULL)'), state_of(format('SELECT pg_background_run(''SELECT 1'', label => %L)', repeat('x', 65)));
SELECT completed FROM pg_background_run('SELECT 1', timeout_ms => NULL);
SELECT count(*) FROM pg_background_list;
--- run: many rows
SELECT completed, timed_out, has_error, row_count FROM pg_background_run('SELECT n FROM generate_series(1, 20000) n', timeout_ms => 3000);
--- run: a NULL text
SELECT pg_background_run(NULL) IS NULL, state_of('SELECT pg_background_run(NULL, label => ''a'')');
--- run: autonomous
BEGIN;
INSERT INTO audit (what) VALUES ('rolled back');
SELECT completed, row_count FROM pg_background_run('INSERT INTO audit (what) VALUES (''kept'')');
SELECT answer('SELECT count(*)::text FROM audit');
ROLLBACK;
SELECT what FROM audit;
DELETE FROM audit;
--- run_query
SELECT * FROM pg_background_run_query('SELECT id, what FROM items ORDER BY id', col_def => 'id int4, what text') AS (id int4, what text);
SELECT * FROM pg_background_run_query('SELECT id, what FROM items WHERE false', col_def => 'id int4, what text') AS (id int4, what text);
SELECT * FROM pg_background_run_query('SELECT 1.236', 0, 0, 'label', 'n numeric(10, 2)') AS (n numeric(10, 2));
SELECT * FROM pg_background_run_query('SELECT 1.236', col_def => 'n numeric') AS (n numeric);
SELECT * FROM pg_background_run_query('SELECT ''a''::text COLLATE "C"', col_def => 'a text COLLATE "C"') AS (a text COLLATE "C");
SELECT * FROM pg_background_run_query('SELECT 1 AS "odd name"', col_def => '"odd name" int4') AS ("odd name" int4);
SELECT * FROM pg_background_run_query('SELECT 1', timeout_ms => 5000, col_def => 'n int4') AS (n int4);
SELECT * FROM pg_background_run_query(NULL, col_def => 'n int4') AS (n int4);
SELECT count(*) FROM pg_background_list;
--- run_query: statements without rows
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (1)', col_def => 'n int4') AS (n int4);
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (1), (2)', col_def => 'a int4, b text') AS (a int4, b text);
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (2) RETURNING what', col_def => 'what text') AS (what text);
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (3)', col_def => 'tag text') AS (tag text);
SELECT * FROM pg_background_run_query('', col_def => 'tag text') AS (tag text);
SELECT count(*) FROM audit;
DELETE FROM audit;
--- run_query: without col_def
SELECT * FROM pg_background_run_query('SELECT 1') AS (n int4);
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (1)') AS (n int4);
SELECT * FROM pg_background_run_query('INSERT INTO audit (what) VALUES (1)') AS (tag text);
SELECT count(*) FROM audit;
DELETE FROM audit;
--- run_query: errors
SELECT a, state_of(format('SELECT * FROM pg_background_run_query(%s) AS (n int4)', a))
FROM unnest(ARRAY['''SELECT 1/0'', col_def => ''n int4''', '''SELECT 1'', col_def => ''n text''', '''SELECT 1::text'', col_def => ''n text''', '''SELECT 1, 2'', col_def => ''n int4''',
    '''SELECT 1'', col_def => ''n''', '''SELECT 1'', col_def => ''n nothing''', '''SELECT 1'', col_def => ''n int4, m int4''', '''SELECT 1'', col_def => ''n int4; SELECT 2''',
    '''SELEKT'', col_def => ''n int4''', '''SELECT pg_sleep(60)::text::int4'', timeout_ms => 50, col_def => ''n int4''']) a;
SELECT state_of('SELECT pg_background_run_query(''SELECT 1'', col_def => ''n int4'')');
--- run_query: an empty col_def
SELECT state_of('SELECT * FROM pg_background_run_query(''SELECT 1'', col_def => '''') AS (n int4)');
SELECT count(*) FROM pg_background_list;
--- drain
SELECT count(*) FROM pg_background_drain(ARRAY[]::pg_background_handle[]);
SELECT count(*) FROM pg_background_drain(NULL);
SELECT o.sqlstate, o.completed, o.has_error, o.row_count, o.command_tag, o.label, o.consumed
FROM pg_background_drain((SELECT array_agg(h ORDER BY s) FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0', 'SELECT pg_sleep(0.2)', 'DELETE FROM audit']) s, pg_background_launch(s, 0, s) h)) o;
SELECT count(*) FROM pg_background_list;
SELECT o.pid IS NULL, o.completed, o.label FROM pg_background_drain((SELECT array_agg(h) FROM pg_background_launch('SELECT 1', 0, 'real') h) || ARRAY[(1, 1), NULL, (NULL, NULL), (1, NULL)]::pg_background_handle[]) o;
SELECT count(*) FROM pg_background_drain((SELECT array_agg(h) FROM pg_background_launch('SELECT 1') h), timeout_ms => -1);
--- drain: a time limit
SELECT o.completed, o.label FROM pg_background_drain((SELECT array_agg(h) FROM pg_background_launch('SELECT pg_sleep(1)', 0, 'slow') h), 50) o;
SELECT count(*) FROM pg_background_list;
SELECT o.completed, o.label FROM pg_background_drain((SELECT array_agg(h ORDER BY s DESC) FROM unnest(ARRAY['SELECT pg_sleep(1)', 'SELECT pg_sleep(1.1)', 'SELECT 1']) s, pg_background_launch(s, 0, s) h), 300) o;
--- drain: a time limit, and what is left
SELECT o.completed, o.label FROM pg_background_drain((SELECT array_agg(h ORDER BY s DESC) FROM unnest(ARRAY['SELECT pg_sleep(1)', 'SELECT 1']) s, pg_background_launch(s, 0, s) h), 300) o;
SELECT label, count(*) FROM pg_background_list GROUP BY 1 ORDER BY 1;
--- wait_any
SELECT pid AS slow_pid, cookie AS slow_cookie FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT pid AS fast_pid, cookie AS fast_cookie FROM pg_background_launch('SELECT pg_sleep(0.1)') \gset
SELECT cookie = :fast_cookie FROM pg_background_wait_any(ARRAY[(:slow_pid, :slow_cookie), (:fast_pid, :fast_cookie)]::pg_background_handle[]);
SELECT cookie = :fast_cookie FROM pg_background_wait_any(ARRAY[(:slow_pid, :slow_cookie), (1, 1), NULL, (:fast_pid, :fast_cookie)]::pg_background_handle[], 1000);
SELECT pg_background_wait_any(ARRAY[(:slow_pid, :slow_cookie)]::pg_background_handle[], 100) IS NULL;
SELECT pg_background_cancel_all() > 0;
SELECT cookie = :slow_cookie FROM pg_background_wait_any(ARRAY[(:slow_pid, :slow_cookie)]::pg_background_handle[], 5000);
SELECT count(*) FROM pg_background_list;
--- wait_any: no job
SELECT pg_background_wait_any(ARRAY[]::pg_background_handle[]) IS NULL, pg_background_wait_any(NULL) IS NULL, pg_background_wait_any(NULL, 100) IS NULL;
SELECT pg_background_wait_any(ARRAY[(1, 1), NULL]::pg_background_handle[], 100) IS NULL;
--- wait_any: no known job, how long
SELECT clock_timestamp() AS began \gset
SELECT pg_background_wait_any(ARRAY[(1, 1), NULL]::pg_background_handle[], 300) IS NULL;
SELECT clock_timestamp() - :'began' >= interval '300 ms' AS waited;
SET statement_timeout = 500;
SELECT pg_background_wait_any(ARRAY[(1, 1)]::pg_background_handle[]) IS NULL;
--- cancel_by_label
SELECT count(pg_background_launch('SELECT pg_sleep(60)', 0, l)) FROM unnest(ARRAY['load 1', 'load 2', 'other', 'LOAD', NULL]) l;
SELECT pg_background_cancel_by_label('none%'), pg_background_cancel_by_label(NULL), pg_background_cancel_by_label('load _', 5000), pg_background_cancel_by_label('LOAD', NULL);
SELECT label, completed FROM pg_background_list l, LATERAL (SELECT completed FROM pg_background_outcome(l.pid, l.cookie)) o WHERE label <> 'LOAD' ORDER BY label;
SELECT pg_background_cancel_by_label('%', grace_ms => 5000) >= 1;
SELECT bool_and((pg_background_outcome(pid, cookie)).completed) FROM pg_background_list WHERE label IS NOT NULL;
SELECT pg_background_cancel_all();
--- cancel_by_label: finished jobs
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM pg_background_launch('SELECT 1', 0, 'done') h;
SELECT pg_background_cancel_by_label('done');
--- full_sql
SELECT pg_background_full_sql(h.pid, h.cookie) FROM pg_background_launch(E'SELECT 1\n  -- and a comment') h;
SELECT length(pg_background_full_sql(h.pid, h.cookie)) FROM pg_background_launch('SELECT ''' || repeat('x', 60000) || '''') h;
--- full_sql: long texts
SELECT length(pg_background_full_sql(h.pid, h.cookie)) FROM pg_background_launch('SELECT ''' || repeat('x', 100000) || '''') h;
--- names that end in _v2
SELECT * FROM pg_background_launch_v2('SELECT 42', 0, 'v2') \gset
SELECT pg_background_wait_v2(:pid, :cookie), pg_background_wait_v2(:pid, :cookie, 100);
SELECT completed, row_count FROM pg_background_result_info_v2(:pid, :cookie);
SELECT pg_background_error_info_v2(:pid, :cookie) IS NULL, pg_background_get_progress_v2(:pid, :cookie) IS NULL, pg_background_full_sql_v2(:pid, :cookie);
SELECT completed, label FROM pg_background_outcome_v2(p_pid => :pid, p_cookie => :cookie);
SELECT count(*) FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
    sql_preview text, last_error text, consumed bool, label text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT workers_launched, workers_completed FROM pg_background_stats_v2();
SELECT * FROM pg_background_submit_v2('SELECT 1') \gset
SELECT pg_background_cancel_v2(:pid, :cookie), pg_background_cancel_v2(:pid, :cookie, 100);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT pg_background_cancel_all_v2(), pg_background_detach_all_v2(), pg_background_purge_v2(), pg_background_cancel_by_label_v2('x', 0);
SELECT completed, label FROM pg_background_run_v2('SELECT 1', label => 'r');
SELECT * FROM pg_background_run_query_v2('SELECT 1', col_def => 'n int4') AS (n int4);
SELECT completed FROM pg_background_launch_v2('SELECT 1') h, LATERAL pg_background_drain_v2(ARRAY[h]);
SELECT a.cookie = h.cookie FROM pg_background_launch_v2('SELECT 1') h, LATERAL pg_background_wait_any_v2(ARRAY[h], 5000) a;
SELECT pg_background_wait_v2(h.pid, h.cookie) FROM pg_background_submit_v2('SELECT 1', 0, 's') h;
SELECT count(*) FROM pg_background_list;
--- names that end in _v2: another cookie
SELECT state_of(format('SELECT * FROM pg_background_result_v2(%s, 1) AS (n int4)', h.pid)) FROM pg_background_launch('SELECT 1') h;
--- settings
SELECT name, setting, unit, context, vartype, min_val, max_val, boot_val FROM pg_settings
WHERE name IN ('pg_background.max_workers', 'pg_background.default_queue_size', 'pg_background.worker_timeout') ORDER BY 1;
SELECT s, v, state_of(format('SET %s = %L', s, v)) FROM (VALUES ('pg_background.max_workers', '1'), ('pg_background.max_workers', '0'), ('pg_background.max_workers', '1000'),
    ('pg_background.max_workers', '1001'), ('pg_background.max_workers', 'x'), ('pg_background.default_queue_size', '128kB'), ('pg_background.default_queue_size', '1MB'),
    ('pg_background.default_queue_size', '300MB'), ('pg_background.default_queue_size', '100'), ('pg_background.default_queue_size', '4096'), ('pg_background.default_queue_size', '-1'),
    ('pg_background.worker_timeout', '0'), ('pg_background.worker_timeout', '5min'), ('pg_background.worker_timeout', '-1'), ('pg_background.worker_timeout', '100ms')) v (s, v);
RESET ALL;
SELECT state_of('SET pg_background.nothing = 1');
SET pg_background.default_queue_size = '128kB';
SELECT count(pg_background_launch('SELECT 1')) FROM generate_series(1, 2);
SELECT queue_size, count(*) FROM pg_background_list GROUP BY 1;
SHOW pg_background.default_queue_size;
SET pg_background.worker_timeout = 100;
SHOW pg_background.worker_timeout;
SELECT completed, has_error, sqlstate, error_message FROM pg_background_run('SELECT pg_sleep(60)');
SELECT completed, has_error FROM pg_background_run('SELECT 1');
SELECT completed, has_error, sqlstate FROM pg_background_run('SET statement_timeout = 0; SELECT pg_sleep(0.05)');
SELECT workers_failed, workers_canceled, workers_timed_out FROM pg_background_stats();
--- settings: what a job inherits
SET search_path = pg_catalog, public;
SET work_mem = '3MB';
SET statement_timeout = '77s';
SET app.tenant = 'blue';
SET TimeZone = 'Asia/Tokyo';
SELECT s, public.answer('SHOW ' || s) FROM unnest(ARRAY['search_path', 'work_mem', 'statement_timeout', 'app.tenant', 'timezone', 'transaction_isolation', 'transaction_read_only',
    'session_replication_role', 'client_encoding', 'lc_messages', 'client_min_messages']) s;
SELECT public.answer('SELECT current_user::text'), public.answer('SELECT session_user::text'), public.answer('SELECT current_database()::text') = current_database();
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SET LOCAL app.tenant = 'green';
SELECT public.answer('SHOW app.tenant'), public.answer('SHOW transaction_isolation'), public.answer('SHOW transaction_read_only');
SELECT completed, has_error, sqlstate FROM public.pg_background_run('INSERT INTO public.audit (what) VALUES (1)');
COMMIT;
SELECT public.answer('SHOW app.tenant');
DELETE FROM public.audit;
--- settings: custom ones that were never set, or only in a transaction
SELECT answer('SELECT current_setting(''app.none'', true)');
BEGIN;
SET LOCAL app.once = 'x';
COMMIT;
SELECT current_setting('app.once', true);
SELECT answer('SELECT coalesce(current_setting(''app.once'', true), ''(null)'')');
SELECT answer('SET app.by_job = ''x''; SELECT ''set''');
SELECT answer('SELECT current_setting(''app.by_job'', true)');
SELECT current_setting('app.by_job', true) IS NULL;
BEGIN;
SELECT set_config('app.twice', 'y', true);
ROLLBACK;
SELECT answer('SELECT coalesce(current_setting(''app.twice'', true), ''(null)'')');
--- settings: a job leaves nothing to the next
SELECT answer('SET work_mem = ''5MB''; CREATE TEMP TABLE leftover (n text); PREPARE p AS SELECT 1; SELECT pg_advisory_lock(1)::text');
SELECT answer('SHOW work_mem'), answer('SELECT to_regclass(''pg_temp.leftover'')::text'), answer('SELECT count(*)::text FROM pg_prepared_statements'),
    answer('SELECT pg_try_advisory_lock(1)::text'), answer('SELECT txid_current_if_assigned()::text');
--- transactions: rollback of the launcher
BEGIN;
SELECT * FROM pg_background_launch('INSERT INTO audit (what) VALUES (''committed'')') \gset
SELECT pg_background_wait(:pid, :cookie);
ROLLBACK;
SELECT what FROM audit;
SELECT count(*) FROM pg_background_list;
SELECT completed FROM pg_background_outcome(:pid, :cookie);
BEGIN;
SAVEPOINT a;
SELECT * FROM pg_background_launch('SELECT 42') \gset
ROLLBACK TO a;
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
COMMIT;
BEGIN;
SELECT * FROM pg_background_launch('SELECT 43') \gset
SELECT 1/0;
ROLLBACK;
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
DELETE FROM audit;
--- transactions: uncommitted rows
BEGIN;
INSERT INTO audit (what) VALUES ('unseen');
CREATE TABLE unseen (n int4);
SELECT answer('SELECT count(*)::text FROM audit'), answer('SELECT to_regclass(''unseen'')::text');
ROLLBACK;
--- transactions: a read-only one
BEGIN READ ONLY;
SELECT completed, has_error FROM pg_background_run('INSERT INTO audit (what) VALUES (''written'')');
COMMIT;
SELECT what FROM audit;
DELETE FROM audit;
--- rights: without any
CREATE ROLE stranger;
SET ROLE stranger;
SELECT f, state_of('SELECT ' || f) FROM unnest(ARRAY['pg_background_launch(''SELECT 1'')', 'pg_background_submit(''SELECT 1'')', 'pg_background_run(''SELECT 1'')',
    'pg_background_stats()', 'pg_background_detach_all()', 'pg_background_grant_privileges(''stranger'')', 'pg_background_revoke_privileges(''stranger'')', 'pg_background_purge()',
    'pg_background_wait(1, 1)', 'pg_background_cancel(1, 1)', 'pg_background_outcome(1, 1)', 'pg_background_list()']) f;
SELECT state_of('SELECT * FROM pg_background_list'), state_of('SELECT * FROM pg_background_activity');
RESET ROLE;
DROP ROLE stranger;
--- rights: granted
CREATE ROLE worker_user;
GRANT pgbackground_role TO worker_user;
GRANT ALL ON audit TO worker_user;
SET ROLE worker_user;
SELECT completed, has_error FROM pg_background_run('INSERT INTO audit (what) VALUES (current_user)');
SELECT completed, has_error, sqlstate FROM pg_background_run('SELECT count(*) FROM items');
SELECT * FROM pg_background_launch('SELECT pg_sleep(60)') \gset
SELECT count(*) FROM pg_background_list;
SELECT count(*) FROM pg_background_activity;
SELECT f, state_of('SELECT ' || f) FROM unnest(ARRAY['pg_background_grant_privileges(''worker_user'')', 'pg_background_revoke_privileges(''worker_user'')']) f;
RESET ROLE;
SELECT what FROM audit;
CREATE ROLE other_user;
GRANT pgbackground_role TO other_user;
SET ROLE other_user;
SELECT count(*) FROM pg_background_list;
SELECT f, state_of(format('SELECT * FROM %s', replace(f, 'H', :pid || ', ' || :cookie))) FROM unnest(ARRAY['pg_background_wait(H, 1)', 'pg_background_cancel(H)', 'pg_background_result(H) AS (t text)',
    'pg_background_result_info(H)', 'pg_background_error_info(H)', 'pg_background_full_sql(H)', 'pg_background_get_progress(H)', 'pg_background_outcome(H)']) f;
SELECT completed FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_cancel_all();
RESET ROLE;
SELECT pg_background_cancel(:pid, :cookie, 5000);
SELECT count(*) FROM pg_background_list;
--- rights: detaching another role's job
SET ROLE worker_user;
SELECT * FROM pg_background_launch('SELECT 1') \gset
SET ROLE other_user;
SELECT state_of(format('SELECT pg_background_detach(%s, %s)', :pid, :cookie)), pg_background_detach_all(), pg_background_purge();
RESET ROLE;
SELECT count(*) FROM pg_background_list;
DELETE FROM audit;
REVOKE ALL ON audit FROM worker_user;
DROP ROLE other_user;
--- rights: the helpers
CREATE ROLE granted;
SELECT pg_background_grant_privileges('granted'), has_function_privilege('granted', 'pg_background_launch(text, int4)', 'EXECUTE'),
    has_function_privilege('granted', 'pg_background_run(text, int4, int4, text)', 'EXECUTE');
SET ROLE granted;
SELECT completed FROM pg_background_run('SELECT 1');
SELECT state_of('SELECT * FROM pg_background_list');
RESET ROLE;
SELECT pg_background_revoke_privileges('granted'), has_function_privilege('granted', 'pg_background_launch(text, int4)', 'EXECUTE');
SELECT pg_background_grant_privileges('missing role'), pg_background_revoke_privileges('missing role'), pg_background_grant_privileges(NULL), pg_background_grant_privileges('granted', NULL);
SELECT pg_background_revoke_privileges('granted');
DROP ROLE granted;
DROP ROLE worker_user;
SELECT state_of('SELECT pg_background_drop_executor_role()'), to_regrole('pgbackground_role');
--- rights: SECURITY DEFINER
CREATE ROLE definer;
CREATE ROLE caller;
GRANT pgbackground_role TO definer;
GRANT CREATE ON SCHEMA public TO definer;
SET ROLE definer;
CREATE FUNCTION as_definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    h pg_background_handle := pg_background_launch('SELECT current_user::text');
    t text;
BEGIN
    SELECT r.t INTO t FROM pg_background_result(h.pid, h.cookie) AS r (t text);
    RETURN t;
END
$$;
SET ROLE caller;
SELECT as_definer();
RESET ROLE;
DROP FUNCTION as_definer;
REVOKE ALL ON SCHEMA public FROM definer;
DROP ROLE definer, caller;
--- patterns: an audit line with a fallback
CREATE FUNCTION log_line(line text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r pg_background_run_result;
BEGIN
    r := pg_background_run(format('INSERT INTO audit (what) VALUES (%L)', line), timeout_ms => 10000, label => 'log');
    IF r.has_error OR r.timed_out THEN
        INSERT INTO audit (what) VALUES ('fallback');
    END IF;
    RETURN r.command_tag || ' ' || r.row_count;
EXCEPTION WHEN insufficient_resources THEN
    INSERT INTO audit (what) VALUES ('fallback');
    RETURN 'fallback';
END
$$;
BEGIN;
SELECT log_line('it''s');
ROLLBACK;
SELECT what FROM audit;
DELETE FROM audit;
--- patterns: wait with a limit, then the result or the error
CREATE FUNCTION within(sql text, ms int4) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle;
    e pg_background_error;
    i pg_background_result_info;
    t text;
BEGIN
    h := pg_background_launch(sql, 65536, 'within');
    IF NOT pg_background_wait(h.pid, h.cookie, ms) THEN
        PERFORM pg_background_cancel(h.pid, h.cookie, 1000);
        PERFORM pg_background_detach(h.pid, h.cookie);
        RETURN 'late';
    END IF;
    i := pg_background_result_info(h.pid, h.cookie);
    IF i.has_error THEN
        e := pg_background_error_info(h.pid, h.cookie);
        PERFORM pg_background_detach(h.pid, h.cookie);
        RETURN e.sqlstate || ' ' || e.message;
    END IF;
    SELECT r.t INTO t FROM pg_background_result(h.pid, h.cookie) AS r (t text);
    RETURN t;
END
$$;
SELECT within('SELECT ''in time''', 10000), within('SELECT pg_sleep(60)::text', 100), within('SELECT (1/0)::text', 10000);
SELECT count(*) FROM pg_background_list;
--- patterns: fan-out and drain
\set VERBOSITY terse
DO $$
DECLARE
    handles pg_background_handle[] := '{}';
    h pg_background_handle;
    o pg_background_outcome;
BEGIN
    FOR i IN 1..5 LOOP
        SELECT * INTO h FROM pg_background_submit(format('INSERT INTO audit (what) VALUES (10 / (%s - 3))', i), 0, 'part ' || i);
        handles := handles || h;
    END LOOP;
    FOR o IN SELECT * FROM pg_background_drain(handles, 60000) LOOP
        RAISE WARNING '% % % %', o.label, o.completed, o.has_error, o.sqlstate;
    END LOOP;
END
$$;
SELECT count(*) FROM audit;
DELETE FROM audit;
--- patterns: the first to finish, the rest canceled
\set VERBOSITY terse
DO $$
DECLARE
    handles pg_background_handle[];
    h pg_background_handle;
BEGIN
    SELECT array_agg(l) INTO handles FROM unnest(ARRAY['SELECT pg_sleep(60)', 'SELECT pg_sleep(0.1)']) s, pg_background_launch(s, 0, 'race') l;
    h := pg_background_wait_any(handles, 30000);
    RAISE WARNING '%', (SELECT sql_preview FROM pg_background_list WHERE cookie = h.cookie);
    RAISE WARNING '%', pg_background_cancel_by_label('race', 2000) >= 1;
    RAISE WARNING '%', pg_background_detach_all();
END
$$;
--- patterns: cleaning up in a loop over the list
SELECT count(pg_background_wait(h.pid, h.cookie)) FROM unnest(ARRAY['SELECT 1', 'SELECT 1/0']) s, pg_background_launch(s) h;
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM pg_background_list WHERE state IN ('stopped', 'canceled', 'error') LOOP
        PERFORM pg_background_detach(r.pid, r.cookie);
    END LOOP;
END
$$;
SELECT count(*) FROM pg_background_list;
--- patterns: a trigger
CREATE FUNCTION after_item() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_background_run(format('INSERT INTO audit (what) VALUES (%L)', NEW.what), 0, 5000);
    RETURN NEW;
END $$;
CREATE TRIGGER after_item AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION after_item();
BEGIN;
INSERT INTO items VALUES (4, 'triggered');
ROLLBACK;
SELECT what FROM audit;
DROP TRIGGER after_item ON items;
DELETE FROM audit;
--- patterns: maintenance
SELECT completed, has_error, command_tag FROM unnest(ARRAY['VACUUM items', 'ANALYZE items', 'REINDEX TABLE items', 'VACUUM (ANALYZE) items', 'CLUSTER items USING items_pkey']) s, pg_background_run(s);
--- patterns: a job that launches a job
SELECT answer('SELECT r.n FROM pg_background_launch(''SELECT ''''inner'''''') h, LATERAL pg_background_result(h.pid, h.cookie) AS r (n text)');
SELECT completed, has_error, sqlstate FROM pg_background_run('SELECT pg_background_run(''INSERT INTO audit (what) VALUES (''''nested'''')'')');
SELECT what FROM audit;
DELETE FROM audit;
--- patterns: polling for the end
SELECT * FROM pg_background_launch('SELECT pg_sleep(0.2)', 0, 'polled') \gset
SELECT eventually('(SELECT completed FROM pg_background_result_info(' || :pid || ', ' || :cookie || '))'), eventually('(SELECT completed FROM pg_background_outcome(' || :pid || ', ' || :cookie || '))');
SELECT label FROM pg_background_outcome(:pid, :cookie);
