-- Results without a column list: rows of an existing type, JSON, one by one in a select list.
\set VERBOSITY sqlstate
CREATE TYPE pair AS (a int4, b text);
CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN ordered AS pair CHECK ((VALUE).a < 10);
CREATE TABLE shaped (dropped int4, n numeric(6, 2) NOT NULL, v varchar(3), gone text, j jsonb);
ALTER TABLE shaped DROP dropped, DROP gone;
-- The handle of a new job as two psql variables.
CREATE FUNCTION run(sql text) RETURNS TABLE (pid int4, cookie int8) LANGUAGE sql VOLATILE AS 'SELECT * FROM pg_background_launch_v2(sql)';

-- As a row type: in FROM, and in a select list.
SELECT r.* FROM run($$SELECT g, 'x' || g FROM generate_series(1, 3) g$$) h, pg_background_result(h.pid, h.cookie, NULL::pair) r;
SELECT r.*, pg_typeof(r) FROM run($$SELECT 1, 'x'$$) h, pg_background_result(h.pid, h.cookie, NULL::pair) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::pair) AS r FROM run($$SELECT g, 'x' || g FROM generate_series(1, 3) g$$) h;
SELECT (r).b FROM (SELECT pg_background_result(h.pid, h.cookie, NULL::pair) AS r FROM run($$SELECT g, 'x' || g FROM generate_series(1, 3) g$$) h) s;
SELECT r.* FROM run($$SELECT 1.5, 'abc'::varchar, '{"k": 1}'::jsonb$$) h, pg_background_result(h.pid, h.cookie, NULL::shaped) r;
SELECT r.* FROM run($$SELECT 1.2345::numeric, 'ab'::varchar, NULL::jsonb$$) h, pg_background_result(h.pid, h.cookie, NULL::shaped) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::shaped) AS r FROM run($$SELECT 1.2345::numeric, 'ab'::varchar, NULL::jsonb$$) h;
INSERT INTO shaped SELECT r.* FROM run($$SELECT g::numeric, 'v'::varchar, jsonb_build_object('g', g) FROM generate_series(1, 2) g$$) h, pg_background_result(h.pid, h.cookie, NULL::shaped) r;
SELECT r.* FROM run('SELECT * FROM shaped') h, pg_background_result(h.pid, h.cookie, NULL::shaped) r;
-- As a scalar, a domain, an array; text takes anything.
SELECT sum(r) FROM run('SELECT g FROM generate_series(1, 1000) g') h, pg_background_result(h.pid, h.cookie, NULL::int4) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::numeric) FROM run('VALUES (1.5), (NULL), (3)') h;
SELECT pg_background_result(h.pid, h.cookie, NULL::positive) AS p FROM run('SELECT 7::positive') h;
SELECT r, pg_typeof(r) FROM run('SELECT 7::positive') h, pg_background_result(h.pid, h.cookie, NULL::int4) r;
SELECT r FROM run('SELECT ARRAY[g, g + 1] FROM generate_series(1, 2) g') h, pg_background_result(h.pid, h.cookie, NULL::int4[]) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::text) FROM run('SELECT ROW(g, ARRAY[g]) FROM generate_series(1, 2) g') h;
SELECT r FROM run('SELECT now() IS NOT NULL') h, pg_background_result(h.pid, h.cookie, NULL::text) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::text) FROM run('CREATE TABLE made (n int4); DROP TABLE made') h;
-- A domain over a row type is checked.
SELECT r FROM run($$SELECT 9, 'ok'$$) h, pg_background_result(h.pid, h.cookie, NULL::ordered) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::ordered) FROM run($$SELECT 9, 'ok'$$) h;
SELECT r FROM run($$SELECT 10, 'no'$$) h, pg_background_result(h.pid, h.cookie, NULL::ordered) r;
SELECT pg_background_result(h.pid, h.cookie, NULL::ordered) FROM run($$SELECT 10, 'no'$$) h;
-- With a column list too.
SELECT r.* FROM run($$SELECT 1, 'x'$$) h, pg_background_result(h.pid, h.cookie, NULL::record) AS r (a int4, b text);
-- A column list that does not fit is an error before anything is read.
SELECT * FROM run($$SELECT g, 'x' || g FROM generate_series(1, 2) g$$) \gset
SELECT * FROM pg_background_result(:pid, :cookie, NULL::int4);
SELECT pg_background_result(:pid, :cookie, NULL::int4);
SELECT * FROM pg_background_result(:pid, :cookie, NULL::shaped);
SELECT pg_background_result(:pid, :cookie, NULL::shaped);
SELECT pg_background_result(:pid, :cookie, NULL::record);
SELECT consumed FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result(:pid, :cookie, NULL::pair);
SELECT pg_background_result(:pid, :cookie, NULL::pair);
-- NULL for a handle gives nothing.
SELECT count(*) FROM pg_background_result(NULL, 1, NULL::pair);
SELECT pg_background_result(1, NULL, NULL::pair);
-- The job's error comes after its rows.
SELECT outcome FROM (SELECT 1) s, LATERAL (SELECT sqlstate_of(format('SELECT pg_background_result(%s, %s, NULL::int4)', h.pid, h.cookie)) AS outcome
FROM run('SELECT 10 / (3 - g) FROM generate_series(1, 3) g') h) t;

-- JSON: what to_jsonb gives for the same row.
CREATE FUNCTION json_of(sql text) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT jsonb_agg(r) FROM pg_background_launch_v2(sql) h, pg_background_result_json(h.pid, h.cookie) r
$$;
CREATE FUNCTION json_directly(sql text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb;
BEGIN
    EXECUTE format('SELECT jsonb_agg(to_jsonb(s)) FROM (%s) s', sql) INTO result;
    RETURN result;
END
$$;
SELECT sql, json_of(sql), json_directly(sql)
FROM unnest(ARRAY[
    'SELECT 1 AS one, ''two'' AS two, NULL::int4 AS three',
    'SELECT g AS "Group", g * 1.50 AS "a b", (g = 1) AS "true" FROM generate_series(1, 3) g',
    'SELECT ''2020-02-29''::date AS d, ''2020-02-29 12:00+00''::timestamptz AS t, ''1 day''::interval AS i',
    'SELECT ''NaN''::float8 AS f, ''NaN''::numeric AS n, ''infinity''::timestamp AS t',
    'SELECT ''{"a": [1, {"b": null}]}''::jsonb AS jb, ''{"a": 1.0, "a": 2}''::json AS j',
    'SELECT ARRAY[[1, 2], [3, NULL]] AS a, ARRAY[]::text[] AS e, int4range(1, 5) AS r',
    'SELECT (1, ''x'')::pair AS p, ARRAY[(1, ''x'')::pair, NULL] AS ps, 5::positive AS d',
    'SELECT ROW(1, ''a'', ROW(2)) AS r, ARRAY[ROW(1, ''x''), ROW(2, ''y'')] AS rs',
    'SELECT x FROM (SELECT 1 AS a, (SELECT y FROM (SELECT 2 AS c) y) AS inside) x',
    'SELECT ''\xdeadbeef''::bytea AS b, ''a "quoted" \ text''::text AS t, ''é''::text AS u',
    'SELECT 1 AS a, 2 AS a',
    'SELECT repeat(''x'', 100000) AS large',
    'SELECT * FROM shaped',
    'SELECT 1 WHERE false'
]) WITH ORDINALITY AS q (sql, i)
WHERE json_of(sql) IS DISTINCT FROM json_directly(sql);
SELECT json_of('SELECT g AS n, ''x'' || g AS t FROM generate_series(1, 2) g');
SELECT json_of('SELECT 1; CREATE TABLE made (n int4); DROP TABLE made');
SELECT pg_background_result_json(h.pid, h.cookie) FROM run('SELECT g AS n FROM generate_series(1, 3) g') h;
SELECT pg_background_result_json(h.pid, h.cookie) -> 'n' AS n FROM run('SELECT g AS n FROM generate_series(1, 3) g') h;
SELECT sqlstate_of($$SELECT json_of('SELECT 1 / 0')$$);

-- One by one: a LIMIT takes its rows, the rest is dropped, and the job is detached.
SELECT pg_background_result(h.pid, h.cookie, NULL::int4) FROM run('SELECT g FROM generate_series(1, 1000000) g') h LIMIT 3;
SELECT count(*) FROM jobs;
-- A cursor, and two of them by turns.
BEGIN;
SELECT pid AS pid1, cookie AS cookie1 FROM run('SELECT g FROM generate_series(1, 1000000) g') \gset
SELECT pid AS pid2, cookie AS cookie2 FROM run($$SELECT ROW(-g, 'x') FROM generate_series(1, 1000000) g$$) \gset
DECLARE c1 CURSOR FOR SELECT pg_background_result(:pid1, :cookie1, NULL::int4);
DECLARE c2 CURSOR FOR SELECT pg_background_result(:pid2, :cookie2, NULL::text);
FETCH 2 FROM c1;
FETCH 2 FROM c2;
FETCH 2 FROM c1;
FETCH 2 FROM c2;
-- Only one may read at a time; a detach ends the reading.
SAVEPOINT s;
SELECT * FROM pg_background_result_v2(:pid1, :cookie1) AS (n int4);
ROLLBACK TO s;
CLOSE c2;
SELECT pid = :pid1 AS first FROM jobs;
SELECT pg_background_detach_v2(:pid1, :cookie1);
SELECT count(*) FROM jobs;
FETCH 1 FROM c1;
ROLLBACK;
SELECT count(*) FROM jobs;
-- An error in the middle of the calling query leaves nothing.
SELECT sqlstate_of(format('SELECT 10 / (3 - pg_background_result(%s, %s, NULL::int4))', h.pid, h.cookie)) FROM run('SELECT g FROM generate_series(1, 1000000) g') h;
SELECT count(*) FROM jobs;
-- A query that is run again for each row of another.
SELECT o, (SELECT sum(n) FROM (SELECT pg_background_result(h.pid, h.cookie, NULL::int4) AS n FROM run('SELECT g FROM generate_series(1, ' || o || ') g') h) s)
FROM generate_series(1, 3) o;
-- Detached by code that the reading itself calls.
CREATE FUNCTION detaching(n int4) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_background_detach_v2(pid, cookie) FROM jobs;
    RETURN true;
END
$$;
CREATE DOMAIN meddling AS pair CHECK (detaching((VALUE).a));
SELECT sqlstate_of(format('SELECT * FROM pg_background_result(%s, %s, NULL::meddling)', h.pid, h.cookie)) FROM run($$SELECT g, 'x' FROM generate_series(1, 100000) g$$) h;
SELECT count(*) FROM jobs;
-- A type that was dropped since then is an error like any other, and the job is kept.
CREATE TYPE mood AS ENUM ('well');
SELECT * FROM run($$SELECT 1, 'well'::mood, ARRAY['well'::mood]$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
DROP TYPE mood;
SELECT * FROM pg_background_result_json(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4, a text, b text);
SELECT pg_background_detach_v2(:pid, :cookie);
DROP DOMAIN meddling, ordered, positive;
DROP FUNCTION detaching, json_directly, json_of, run;
DROP TYPE pair;
DROP TABLE shaped;
