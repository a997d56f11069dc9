-- Rows of types that only the job has can be read as text and as JSON at any time, even if the types no longer exist.
SET client_min_messages = warning;
CREATE TYPE gt_mood AS ENUM ('sad', 'very happy');
CREATE TYPE gt_pair AS (a int4, b text);
-- Statements to run first, and a query: its rows as text and as JSON, read at once and after the end of the job, and
-- the result of the same here.
CREATE TABLE gt_cases (i int GENERATED ALWAYS AS IDENTITY, before text, query text);
INSERT INTO gt_cases (before, query) VALUES
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, ''x y''::text AS b', 'SELECT t AS v FROM t'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, ''x y''::text AS b', 'SELECT NULL::t AS v'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, ''x y''::text AS b', 'SELECT ARRAY[[t], [NULL::t], [t]] AS v FROM t'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, ''x y''::text AS b', 'SELECT ROW(1, t, ARRAY[t], ROW(t)) AS v FROM t'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, ''x y''::text AS b', 'SELECT ARRAY[ROW(t), ROW(t)] AS v FROM t'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, repeat(md5(''x''), 10000) AS b', 'SELECT t AS v FROM t'),
    ('CREATE TEMP TABLE t AS SELECT 1 AS a, repeat(md5(''x''), 10000) AS b; CREATE TEMP TABLE u AS SELECT t FROM t', 'SELECT u AS v FROM u'),
    ('CREATE TEMP TABLE t AS SELECT g AS a, ROW(g, ''x'')::gt_pair AS p FROM generate_series(1, 500) g', 'SELECT t AS v FROM t'),
    ('CREATE TEMP TABLE t (gone int4, a int4, lost text, b text); ALTER TABLE t DROP gone, DROP lost; INSERT INTO t VALUES (1, ''x''); ALTER TABLE t ADD c int4 DEFAULT 7', 'SELECT t AS v FROM t'),
    ('CREATE TEMP TABLE t (); INSERT INTO t DEFAULT VALUES', 'SELECT t AS v FROM t'),
    ('CREATE TYPE pg_temp.m AS ENUM (''a'', ''b c'')', 'SELECT ''b c''::pg_temp.m AS v'),
    ('CREATE TYPE pg_temp.m AS ENUM (''a'', ''b c'')', 'SELECT ARRAY[''b c''::pg_temp.m, NULL] AS v'),
    ('CREATE TYPE pg_temp.m AS ENUM (''a'', ''b c''); CREATE TEMP TABLE t (m pg_temp.m, k gt_mood, ms pg_temp.m[], ks gt_mood[]); INSERT INTO t VALUES (''a'', ''sad'', ''{a,NULL}'', ''{sad}'')', 'SELECT t AS v FROM t'),
    ('CREATE DOMAIN pg_temp.d AS int4 CHECK (VALUE > 0)', 'SELECT 5::pg_temp.d AS v'),
    ('CREATE DOMAIN pg_temp.d AS numeric(6, 2)', 'SELECT ARRAY[5::pg_temp.d] AS v'),
    ('CREATE DOMAIN pg_temp.d AS gt_pair', 'SELECT ROW(1, ''x'')::gt_pair::pg_temp.d AS v'),
    ('CREATE TYPE pg_temp.p AS (a int4, b text); CREATE DOMAIN pg_temp.d AS pg_temp.p', 'SELECT ROW(1, ''x'')::pg_temp.p::pg_temp.d AS v'),
    ('CREATE DOMAIN pg_temp.d AS gt_mood[]', 'SELECT ''{sad}''::pg_temp.d AS v'),
    ('CREATE TYPE pg_temp.r AS RANGE (subtype = float8)', 'SELECT ''[1,2)''::pg_temp.r AS v'),
    ('CREATE TYPE pg_temp.r AS RANGE (subtype = float8)', 'SELECT ARRAY[''[1,2)''::pg_temp.r] AS v'),
    ('CREATE TYPE pg_temp.p AS (a int4); CREATE TYPE pg_temp.q AS (p pg_temp.p, ps pg_temp.p[])', 'SELECT ROW(ROW(1), ARRAY[ROW(2)::pg_temp.p])::pg_temp.q AS v');
CREATE FUNCTION gt_texts(sql text, wait bool) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
BEGIN
    IF wait THEN
        PERFORM pg_background_wait_v2(h.pid, h.cookie);
        -- The worker has cleaned up when it, or another one after its exit, runs the next job.
        PERFORM * FROM pg_background_run_query('SELECT 1') AS (n int4);
    END IF;
    RETURN ARRAY(SELECT r FROM pg_background_result_v2(h.pid, h.cookie) AS (r text));
END $$;
CREATE FUNCTION gt_jsons(sql text, wait bool) RETURNS jsonb[] LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
BEGIN
    IF wait THEN
        PERFORM pg_background_wait_v2(h.pid, h.cookie);
        PERFORM * FROM pg_background_run_query('SELECT 1') AS (n int4);
    END IF;
    RETURN ARRAY(SELECT pg_background_result_json(h.pid, h.cookie));
END $$;
CREATE FUNCTION gt_check(before text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    texts text[];
    jsons jsonb[];
    sql text := before || '; ' || query;
BEGIN
    BEGIN
        EXECUTE before;
        EXECUTE format('SELECT array_agg(v::text), array_agg(to_jsonb(s)) FROM (%s) s', query) INTO texts, jsons;
        RAISE 'back';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    RETURN concat_ws(', ',
        CASE WHEN gt_texts(sql, false) IS DISTINCT FROM texts THEN 'text at once' END,
        CASE WHEN gt_texts(sql, true) IS DISTINCT FROM texts THEN 'text after the end' END,
        CASE WHEN gt_jsons(sql, false) IS DISTINCT FROM jsons THEN 'JSON at once' END,
        CASE WHEN gt_jsons(sql, true) IS DISTINCT FROM jsons THEN 'JSON after the end' END);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT i, query, said FROM gt_cases, gt_check(before, query) AS said WHERE said <> '';
-- The same types in the schema, where they exist until the transaction ends: dropped by its commit.
CREATE TABLE gt_dropper (what text);
CREATE FUNCTION gt_drop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.what; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER gt_drop AFTER INSERT ON gt_dropper DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gt_drop();
SELECT i, query, said
FROM gt_cases, replace(replace(before, 'pg_temp', 'gt_here'), 'TEMP TABLE ', 'TABLE gt_here.') b1, replace(query, 'pg_temp', 'gt_here') q,
     gt_check('SET search_path = gt_here, public; CREATE SCHEMA gt_here; ' || replace(b1, 'ALTER TABLE t', 'ALTER TABLE gt_here.t')
              || '; INSERT INTO gt_dropper VALUES (''DROP SCHEMA gt_here CASCADE'')', q) AS said
WHERE said <> '';
SELECT to_regnamespace('gt_here') IS NULL AS dropped;
-- A table that is dropped at the commit.
SELECT gt_check('CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a', 'SELECT t AS v FROM t') AS said;
-- A type that stays can be read as itself.
SELECT * FROM pg_background_launch_v2($$CREATE TYPE gt_stays AS (a int4, b text); SELECT 0 AS n, ROW(1, 'x')::gt_stays AS s, ARRAY[ROW(2, 'y')::gt_stays] AS ss, 'z'::text AS z$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT n, (s).b, (ss[1]).b AS bs, z, pg_typeof(s) AS type FROM pg_background_result_v2(:pid, :cookie) AS (n int4, s gt_stays, ss gt_stays[], z text);
-- If it is dropped later, the values can still be read as text and JSON; any other way is an error.
DROP TYPE gt_stays;
SELECT * FROM pg_background_launch_v2($$CREATE TYPE gt_stays AS (a int4, b text); SELECT 0 AS n, ROW(1, 'x')::gt_stays AS s, 'z'::text AS z$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
DROP TYPE gt_stays;
SELECT n, s, z FROM pg_background_result_v2(:pid, :cookie) AS (n int4, s text, z text);
SELECT * FROM pg_background_launch_v2($$CREATE TYPE gt_stays AS (a int4, b text); SELECT 0 AS n, ROW(1, 'x')::gt_stays AS s, 'z'::text AS z$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
DROP TYPE gt_stays;
CREATE TYPE gt_stays AS (a int4, b text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4, s gt_stays, z text);
SELECT pg_background_result_json(:pid, :cookie);
DROP TYPE gt_stays;
-- A type that existed before the job, and is dropped before the result is read, is an error with a clear text.
CREATE TYPE gt_before AS ENUM ('x');
SELECT * FROM pg_background_launch_v2($$SELECT 'x'::gt_before AS v$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
DROP TYPE gt_before;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
SELECT pg_background_detach_v2(:pid, :cookie);
-- A named row in a column of type record is not read with the columns that its type has later.
CREATE TYPE gt_named AS (a int4, b int4);
CREATE FUNCTION gt_record() RETURNS record LANGUAGE plpgsql AS $$ DECLARE r gt_named := ROW(1, 2); BEGIN RETURN r; END $$;
SELECT * FROM pg_background_launch_v2('SELECT gt_record() AS v, ARRAY[gt_record()] AS w') \gset
SELECT pg_background_wait_v2(:pid, :cookie);
ALTER TYPE gt_named ALTER ATTRIBUTE a TYPE text;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text, w text);
-- A function of the statement alters a type between two rows; or changes something else around it.
CREATE FUNCTION gt_meddle(n int4, sql text) RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN IF n = 2 THEN EXECUTE sql; END IF; RETURN n; END $$;
SELECT count(r) FROM pg_background_run_query($$CREATE TYPE pg_temp.p AS (a int4, b int4);
    SELECT gt_meddle(g, 'COMMENT ON TYPE pg_temp.p IS ''x''; ALTER TYPE pg_temp.p RENAME ATTRIBUTE a TO c'), ROW(g, 1)::pg_temp.p FROM generate_series(1, 4) g$$) AS (n int4, r text);
\set VERBOSITY sqlstate
SELECT count(r) FROM pg_background_run_query($$CREATE TYPE pg_temp.p AS (a int4, b int4);
    SELECT gt_meddle(g, 'ALTER TYPE pg_temp.p ALTER ATTRIBUTE a TYPE text'), ROW(g, 1)::pg_temp.p FROM generate_series(1, 4) g$$) AS (n int4, r text);
\set VERBOSITY default
DROP FUNCTION gt_meddle;
-- As many columns as a row can have.
SELECT length(gt_texts('CREATE TYPE gt_wide AS ENUM (''x''); SELECT ' || list, true)::text) FROM (SELECT string_agg('''x''::gt_wide', '; SELECT ') AS list FROM generate_series(1, 3)) s;
DROP TYPE gt_wide;
SELECT pid, cookie FROM pg_background_launch_v2('CREATE TYPE gt_wide AS ENUM (''x''); SELECT ' || (SELECT string_agg('''x''::gt_wide AS c' || g, ', ') FROM generate_series(1, 1000) g)) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
DROP TYPE gt_wide;
SELECT count(*) FROM pg_background_result_json(:pid, :cookie) r, jsonb_each_text(r) e WHERE e.value = 'x';
-- A fan-out does the same every time.
SELECT count(*), count(DISTINCT result) FROM pg_background_fanout(array_fill('CREATE TEMP TABLE t AS SELECT 1 AS a; SELECT t FROM t'::text, ARRAY[40]));

-- Parameters of types that the job cannot see: an error that says so, for every kind of type.
CREATE FUNCTION gt_outcome(h pg_background_handle) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    RETURN (SELECT concat_ws(' | ', sqlstate, message, detail, hint) FROM pg_background_error_info_v2(h.pid, h.cookie));
END $$;
BEGIN;
CREATE TYPE gt_new AS ENUM ('a');
CREATE TYPE gt_new_pair AS (x int4, y text);
CREATE DOMAIN gt_new_domain AS int4;
CREATE TYPE gt_new_range AS RANGE (subtype = float8);
SELECT gt_outcome(pg_background_launch_params('SELECT $1::text', 'a'::gt_new)) AS enum;
SELECT gt_outcome(pg_background_launch_params('SELECT 1', 1, NULL::gt_new)) AS none;
SELECT gt_outcome(pg_background_launch_params('SELECT 1', ROW(1, 'q')::gt_new_pair)) AS pair;
SELECT gt_outcome(pg_background_launch_params('SELECT 1', ARRAY['a'::gt_new])) AS "array";
SELECT gt_outcome(pg_background_launch_params('SELECT 1', VARIADIC ARRAY['a'::gt_new])) AS elements;
SELECT gt_outcome(pg_background_launch_params('SELECT 1', 1::gt_new_domain)) AS domain;
SELECT gt_outcome(pg_background_launch_params('SELECT 1', '[1,2)'::gt_new_range)) AS range;
-- In a record the value is sent as text.
SELECT r FROM pg_background_launch_params('SELECT $1', ROW(1, 'a'::gt_new, ROW(1, 'q')::gt_new_pair)) h, pg_background_result(h.pid, h.cookie, NULL::text) r;
SELECT r FROM pg_background_launch_params('SELECT $1 = 0, $2 = 0', 'gt_new'::regtype, 'gt_new_pair'::regclass) h, pg_background_result(h.pid, h.cookie, NULL::record) AS r (a bool, b bool);
-- A column list with such a type does not fit, and such a type in the job's text is not found.
SELECT pid, cookie FROM pg_background_launch_v2('SELECT ''a''::text') \gset
SAVEPOINT s;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v gt_new);
ROLLBACK TO s;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (v text);
SELECT split_part(gt_outcome(pg_background_launch_v2('SELECT ''a''::gt_new')), ' | ', 1) AS in_the_text;
-- Rows read as a type that is not committed.
SELECT * FROM pg_background_launch_v2('SELECT 1, ''q''::text') \gset
SELECT * FROM pg_background_result(:pid, :cookie, NULL::gt_new_pair);
ROLLBACK;
SELECT pg_background_detach_all() >= 0 AS tidy;
DROP FUNCTION gt_outcome, gt_check, gt_texts, gt_jsons, gt_record;
DROP TABLE gt_cases, gt_dropper;
DROP FUNCTION gt_drop;
DROP TYPE gt_mood, gt_pair, gt_named;
