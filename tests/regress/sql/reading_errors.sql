-- User code that runs while a result is read raises errors as it does anywhere else: all fields arrive. In a
-- fan-out such an error belongs to the statement whose rows are converted.
SET client_min_messages = warning;
CREATE FUNCTION re_fail(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused: %', what USING ERRCODE = 'XY123', DETAIL = 'the detail', HINT = 'the hint',
        SCHEMA = 'the schema', TABLE = 'the table', COLUMN = 'the column', DATATYPE = 'the type', CONSTRAINT = 'the constraint';
END $$;
-- Every place: a cast to JSON, a check of a domain over a row type, a length coercion.
CREATE TYPE re_mood AS ENUM ('good', 'bad');
CREATE FUNCTION re_json(re_mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    IF $1 = 'bad' THEN PERFORM re_fail('json'); END IF;
    RETURN to_json($1::text);
END $$;
CREATE CAST (re_mood AS json) WITH FUNCTION re_json(re_mood);
CREATE TYPE re_pair AS (a int4, b text);
CREATE FUNCTION re_good(re_pair) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF ($1).a = 13 THEN PERFORM re_fail('domain'); END IF;
    RETURN true;
END $$;
CREATE DOMAIN re_checked AS re_pair CONSTRAINT re_fine CHECK (re_good(VALUE)) CONSTRAINT under_ten CHECK ((VALUE).a < 10 OR (VALUE).a = 13);
CREATE TYPE re_sized;
CREATE FUNCTION re_sized_in(cstring, oid, int4) RETURNS re_sized LANGUAGE internal IMMUTABLE STRICT AS 'varcharin';
CREATE FUNCTION re_sized_out(re_sized) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'varcharout';
CREATE FUNCTION re_sized_mod(cstring[]) RETURNS int4 LANGUAGE internal IMMUTABLE STRICT AS 'varchartypmodin';
CREATE TYPE re_sized (INPUT = re_sized_in, OUTPUT = re_sized_out, TYPMOD_IN = re_sized_mod, INTERNALLENGTH = VARIABLE, STORAGE = extended);
CREATE FUNCTION re_resize(re_sized, int4, bool) RETURNS re_sized LANGUAGE plpgsql AS $$
BEGIN
    PERFORM re_fail('length');
    RETURN $1;
END $$;
CREATE CAST (re_sized AS re_sized) WITH FUNCTION re_resize(re_sized, int4, bool) AS ASSIGNMENT;
-- An output function that raises an error: of a type whose input accepts a value that it cannot print.
CREATE TYPE re_hollow;
CREATE FUNCTION re_hollow_in(cstring) RETURNS re_hollow LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION re_hollow_out(re_hollow) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'range_out';
CREATE TYPE re_hollow (INPUT = re_hollow_in, OUTPUT = re_hollow_out, INTERNALLENGTH = VARIABLE, STORAGE = extended);

-- The fields of an error, without the lines of context that the caller adds.
CREATE FUNCTION re_fields(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text; detail text; hint text; context text; s text; t text; c text; d text; n text;
BEGIN
    EXECUTE sql;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT,
        s = SCHEMA_NAME, t = TABLE_NAME, c = COLUMN_NAME, d = PG_DATATYPE_NAME, n = CONSTRAINT_NAME;
    -- Without line numbers, and without the lines after the function that raised it.
    context := (regexp_match(context, '^PL/pgSQL function (re_fail|re_json|re_good|re_resize)'))[1];
    RETURN concat_ws(' | ', SQLSTATE, said, detail, hint, s, t, c, d, n, context);
END $$;
CREATE TABLE re_ways (way int, name text, plain text, job text, read text);
INSERT INTO re_ways VALUES
    (1, 'json', $$SELECT to_jsonb('bad'::re_mood)$$, $$SELECT 'bad'::re_mood AS m$$, 'SELECT * FROM pg_background_result_json(%s, %s)'),
    (2, 'json, streamed', $$SELECT to_jsonb('bad'::re_mood)$$, $$SELECT 'bad'::re_mood AS m$$, 'SELECT pg_background_result_json(%s, %s)'),
    (3, 'json, in a record', $$SELECT to_jsonb(ROW('bad'::re_mood))$$, $$SELECT ROW('bad'::re_mood) AS m$$, 'SELECT * FROM pg_background_result_json(%s, %s)'),
    (4, 'domain', $$SELECT ROW(13, 'x')::re_pair::re_checked$$, $$SELECT 13, 'x'$$, 'SELECT * FROM pg_background_result(%s, %s, NULL::re_checked)'),
    (5, 'domain, streamed', $$SELECT ROW(13, 'x')::re_pair::re_checked$$, $$SELECT 13, 'x'$$, 'SELECT pg_background_result(%s, %s, NULL::re_checked)'),
    (6, 'constraint', $$SELECT ROW(10, 'x')::re_pair::re_checked$$, $$SELECT 10, 'x'$$, 'SELECT * FROM pg_background_result(%s, %s, NULL::re_checked)'),
    (7, 'constraint, streamed', $$SELECT ROW(10, 'x')::re_pair::re_checked$$, $$SELECT 10, 'x'$$, 'SELECT pg_background_result(%s, %s, NULL::re_checked)'),
    (8, 'length', $$SELECT 'x'::re_sized::re_sized(1)$$, $$SELECT 'x'::re_sized$$, 'SELECT * FROM pg_background_result_v2(%s, %s) AS (r re_sized(1))'),
    (9, 'output', $$SELECT 'a hollow value'::re_hollow::text$$, $$SELECT 'a hollow value'::re_hollow$$, 'SELECT * FROM pg_background_result_v2(%s, %s) AS (r text)'),
    (10, 'output, streamed', $$SELECT 'a hollow value'::re_hollow::text$$, $$SELECT 'a hollow value'::re_hollow$$, 'SELECT pg_background_result(%s, %s, NULL::text)');
SELECT name, regexp_replace(re_fields(plain), '\d{6,}', 'N') AS plain FROM re_ways ORDER BY way;
SELECT name, re_fields(plain) = re_fields(format(read, h.pid, h.cookie)) AS same
FROM re_ways, LATERAL (SELECT * FROM pg_background_launch_v2(job) h WHERE way > 0) h ORDER BY way;
-- Jobs whose reading failed are detached, as after any read that was given up.
SELECT count(*) FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool);
-- The same by run_query, and by a fan-out that the first error ends.
SELECT re_fields($$SELECT 'x'::re_sized::re_sized(1)$$)
     = re_fields($$SELECT * FROM pg_background_run_query('SELECT ''x''::re_sized') AS (r re_sized(1))$$) AS same;
SELECT re_fields($$SELECT to_jsonb('bad'::re_mood)$$)
     = re_fields($$SELECT * FROM pg_background_fanout(ARRAY['SELECT ''bad''::re_mood'], fail_fast => true)$$) AS same;
-- Caught by its own code, as anywhere.
DO $$
BEGIN
    PERFORM * FROM pg_background_fanout(ARRAY['SELECT ''bad''::re_mood AS m'], fail_fast => true);
EXCEPTION WHEN SQLSTATE 'XY123' THEN
    RAISE WARNING 'caught';
END $$;
-- An error that a user's function has caught is not reported.
CREATE FUNCTION re_calm(re_pair) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    BEGIN PERFORM re_fail('caught'); EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN 1 / ($1).a > -1;
END $$;
CREATE DOMAIN re_calmed AS re_pair CHECK (re_calm(VALUE));
SELECT re_fields(format('SELECT * FROM pg_background_result(%s, %s, NULL::re_calmed)', pid, cookie)) FROM pg_background_launch_v2($$SELECT 1, 'x'$$);
SELECT re_fields(format('SELECT * FROM pg_background_result(%s, %s, NULL::re_calmed)', pid, cookie)) FROM pg_background_launch_v2($$SELECT 0, 'x'$$);

-- In a fan-out: that statement's row, and the others go on. All have committed.
CREATE TABLE re_done (n int4);
SELECT idx, ok, row_count, command_tag, result, sqlstate, error_message
FROM pg_background_fanout(ARRAY[
    $$INSERT INTO re_done VALUES (1) RETURNING '{"a":"\u0000"}'::json AS j$$,
    $$INSERT INTO re_done VALUES (2) RETURNING 'bad'::re_mood AS m$$,
    $$INSERT INTO re_done VALUES (3) RETURNING 'good'::re_mood AS m$$,
    $$SELECT repeat('x', 1000) || 'a hollow value'::re_hollow AS h$$,
    $$SELECT 'a hollow value'::re_hollow AS h$$,
    $$INSERT INTO re_done VALUES (4)$$,
    $$SELECT g AS n, CASE WHEN g = 50 THEN 'bad' ELSE 'good' END::re_mood AS m FROM generate_series(1, 100) g$$,
    $$SELECT 'last' AS l$$]) ORDER BY idx;
SELECT count(*) FROM re_done;
-- A conversion that failed leaves nothing: no lock, no row.
CREATE FUNCTION re_json_with_traces(re_mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE re_done IN SHARE MODE;
    INSERT INTO re_done VALUES (100);
    PERFORM re_fail('after traces');
END $$;
DROP CAST (re_mood AS json);
CREATE CAST (re_mood AS json) WITH FUNCTION re_json_with_traces(re_mood);
BEGIN;
SELECT idx, ok, result, sqlstate, error_message FROM pg_background_fanout(ARRAY[$$SELECT 'bad'::re_mood AS m$$, 'SELECT 1 AS n']) ORDER BY idx;
SELECT count(*) FROM pg_locks WHERE relation = 're_done'::regclass AND pid = pg_backend_pid() AND mode = 'ShareLock';
SELECT count(*) FROM re_done;
COMMIT;
-- From a cursor, row by row, with subtransactions between.
BEGIN;
DECLARE c CURSOR FOR SELECT (f).idx, (f).sqlstate FROM (SELECT pg_background_fanout(ARRAY[$$SELECT 'bad'::re_mood AS m$$, 'SELECT 1 AS n', $$SELECT 'bad'::re_mood AS m$$], 1) f) s;
FETCH 1 FROM c;
SAVEPOINT s;
FETCH 1 FROM c;
RELEASE s;
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
-- A cancel belongs to the caller, wherever it is raised.
DROP CAST (re_mood AS json);
CREATE OR REPLACE FUNCTION re_json(re_mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(600);
END $$;
CREATE CAST (re_mood AS json) WITH FUNCTION re_json(re_mood);
-- Where in the function it is canceled is a matter of time.
\set SHOW_CONTEXT never
SET statement_timeout = '200ms';
SELECT idx FROM pg_background_fanout(ARRAY[$$SET statement_timeout = 0; SELECT 'bad'::re_mood AS m$$]);
RESET statement_timeout;
\set SHOW_CONTEXT errors
-- The session goes on.
SELECT idx, ok, result FROM pg_background_fanout(ARRAY['SELECT 1 AS n']);

DROP TABLE re_done, re_ways;
DROP DOMAIN re_checked, re_calmed;
DROP TYPE re_mood, re_pair, re_sized, re_hollow CASCADE;
DROP FUNCTION re_fail(text), re_fields(text);
