-- One statement over many values.
\c -
\set VERBOSITY terse
\set SHOW_CONTEXT never
CREATE FUNCTION nothing_is_left() RETURNS bool LANGUAGE sql AS
$$ SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 AND jobs_queued = 0 FROM pg_background_resources())') $$;

-- A row for each element, with its error if it has one.
CREATE TABLE amounts (n int4 PRIMARY KEY, amount numeric);
SELECT idx, ok, row_count, command_tag, result, sqlstate, error_message, elapsed_us >= 0 AS ran
FROM pg_background_fanout_params('SELECT 12 / $1 AS quotient', ARRAY[1, 0, 4, NULL]) ORDER BY idx;
SELECT count(*) FILTER (WHERE ok), sum(row_count)
FROM pg_background_fanout_params('INSERT INTO amounts VALUES ($1, $1 * 1.5)', (SELECT array_agg(g) FROM generate_series(1, 100) g));
SELECT count(*), sum(amount) FROM amounts;
-- In the order in which they finish; one at a time, in their own.
SELECT idx FROM pg_background_fanout_params('SELECT pg_sleep($1)', ARRAY[0.6, 0.3, 0], 3);
SELECT array_agg(idx) = array_agg(idx ORDER BY idx) AS in_order
FROM pg_background_fanout_params('SELECT $1', array_fill(7, ARRAY[50]), 1);
-- Attributes of a row type are parameters of their own.
CREATE TYPE pair AS (a int4, b text);
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 + 1 AS a, upper($2) AS b',
    ARRAY[ROW(1, 'x'), ROW(2, NULL), NULL, ROW(NULL, NULL)]::pair[]) ORDER BY idx;
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 AS a, $2 AS b, pg_typeof($1) AS t, pg_typeof($2) AS u',
    ARRAY[ROW(1, 'x'), ROW(2, 'y')]) ORDER BY idx;
-- Each anonymous record has parameters of its own: their types, and how many.
SELECT idx, ok, result, error_message FROM pg_background_fanout_params('SELECT pg_typeof($1) AS t, $2 AS b',
    ARRAY[ROW(1, 'x'), ROW('one'::text, 2.5), ROW(now()), ROW(1, 2, 3), ROW()]) ORDER BY idx;
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', ARRAY[ROW(1), NULL, ROW(3), NULL]);
SELECT result FROM pg_background_fanout_params('SELECT $1 AS inner, ($2)[1] AS first', ARRAY[ROW(ROW(1, ROW('deep')), ARRAY[ROW(2)])]);
SELECT result FROM pg_background_fanout_params('SELECT $1 AS a, $2 AS b', ARRAY[ROW(1, 'x')::pair, ROW(2, 'y')::pair]::record[]) ORDER BY idx;
-- As for pg_background_exec: a text need not use what it is given.
SELECT idx, result FROM pg_background_fanout_params('SELECT 1 AS one', ARRAY['a', 'b']) ORDER BY idx;
SELECT result FROM pg_background_fanout_params('INSERT INTO amounts VALUES ($1); SELECT count(*) FROM amounts WHERE n = $1', ARRAY[1000, 1001]);
SELECT ok, sqlstate, error_message FROM pg_background_fanout_params('SELECT $2', ARRAY[1]);
SELECT ok, sqlstate FROM pg_background_fanout_params('nonsense', ARRAY[1]);
SELECT result FROM pg_background_fanout_params('SELECT count(*) FROM amounts WHERE n::text = $1', ARRAY[$x$' OR true --$x$]);

-- Dimensions do not matter, nor does where the array begins; no elements, no rows.
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 AS n', '[0:1][5:6]={{1,2},{3,NULL}}'::int[]) ORDER BY idx;
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', '{}'::int[]);
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', NULL::int[]);
SELECT count(*) FROM pg_background_fanout_params(NULL, ARRAY[1]);
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', ARRAY[1], 0);
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', '{1,2}');
SELECT count(*) FROM pg_background_fanout_params('SELECT $1', 1);
PREPARE open_type AS SELECT count(*) FROM pg_background_fanout_params('SELECT $1', $1);
PREPARE typed AS SELECT sum((result -> 0 ->> 'n')::int) FROM pg_background_fanout_params('SELECT $1 * 2 AS n', $1::int[]);
EXECUTE typed('{1,2,3}');
EXECUTE typed('{4}');

-- Types arrive as they are.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN small AS int4 CHECK (VALUE < 10);
CREATE DOMAIN smalls AS small[];
CREATE DOMAIN checked_pair AS pair CHECK ((VALUE).a > 0);
CREATE TYPE holder AS (p pair, many pair[], r int4range, s smalls);
CREATE FUNCTION types_of(params anyarray) RETURNS TABLE (idx int4, of text, text text) LANGUAGE sql AS $$
    SELECT idx, result -> 0 ->> 'of', coalesce(result -> 0 ->> 'text', error_message)
    FROM pg_background_fanout_params('SELECT pg_typeof($1) AS of, $1::text AS text', params) ORDER BY idx
$$;
SELECT * FROM types_of(ARRAY['sad', NULL, 'glad']::mood[]);
SELECT * FROM types_of(ARRAY[1, NULL]::small[]);
SELECT * FROM types_of('{1,2}'::smalls);
SELECT * FROM types_of(ARRAY[int4range(1, 5), 'empty', NULL]);
SELECT * FROM types_of(ARRAY['{[1,3),[5,6)}'::int4multirange]);
SELECT * FROM types_of(ARRAY[1.50, 'NaN']);
SELECT * FROM types_of(ARRAY['\xdead'::bytea]);
SELECT * FROM types_of(ARRAY['2020-02-29 12:00+00'::timestamptz, 'infinity']);
SELECT * FROM types_of(ARRAY['name'::name, NULL]);
SELECT * FROM types_of(ARRAY['c'::"char", '']);
SELECT * FROM types_of(ARRAY[true, false]);
SELECT * FROM types_of(ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]);
SELECT * FROM types_of(ARRAY['{"a": [1, null]}'::jsonb]);
SELECT * FROM types_of(ARRAY['ab'::varchar(2), 'c']);
SELECT * FROM types_of(ARRAY['ab '::char(3)]);
SELECT * FROM types_of(ARRAY[1::int8, 9223372036854775807]);
SELECT * FROM types_of(ARRAY['(1,2)'::point]);
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 AS a, $2 AS b', ARRAY[ROW(1, 'x')::checked_pair, NULL]) ORDER BY idx;
SELECT result FROM pg_background_fanout_params('SELECT $1 AS p, $2 AS many, $3 AS r, $4 AS s, pg_typeof($1) AS t, pg_typeof($4) AS u',
    ARRAY[ROW(ROW(1, 'x'), ARRAY[ROW(2, 'y'), NULL]::pair[], '[1,5)', '{1}')]::holder[]);
-- Dropped attributes are none; tables, temporary ones too, are row types; so is a type of no attributes.
ALTER TYPE holder DROP ATTRIBUTE many, ADD ATTRIBUTE last int4;
SELECT result FROM pg_background_fanout_params('SELECT $1 AS p, $2 AS r, $3 AS s, $4 AS last', ARRAY[ROW(ROW(1, 'x'), '[1,5)', '{1}', 9)]::holder[]);
SELECT sum((result -> 0 ->> 'n')::numeric) FROM pg_background_fanout_params('SELECT $1 + $2 AS n', (SELECT array_agg(a) FROM amounts a WHERE n <= 10));
ALTER TABLE amounts ADD more int4 DEFAULT 5;
SELECT sum((result -> 0 ->> 'n')::int) FROM pg_background_fanout_params('SELECT $3 AS n', (SELECT array_agg(a) FROM amounts a WHERE n <= 10));
CREATE TEMP TABLE mine (a int4, b mood);
INSERT INTO mine VALUES (1, 'sad'), (2, 'glad');
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 AS a, $2 AS b', (SELECT array_agg(m ORDER BY a) FROM mine m)) ORDER BY idx;
CREATE TYPE nothing AS ();
SELECT idx, result FROM pg_background_fanout_params('SELECT 1 AS n', ARRAY[ROW(), NULL]::nothing[]) ORDER BY idx;
DO $$ BEGIN EXECUTE format('CREATE TYPE wide AS (%s)', (SELECT string_agg(format('c%s int4', g), ', ') FROM generate_series(1, 1600) g)); END $$;
SELECT idx, result FROM pg_background_fanout_params('SELECT $1 + $1600 AS n',
    ARRAY[json_populate_record(NULL::wide, '{"c1": 1, "c1600": 2}'), NULL, json_populate_record(NULL::wide, '{"c1": 3, "c1600": 4}')]) ORDER BY idx;
-- pg_stats has arrays of which only the value knows the type.
ANALYZE amounts;
SELECT count(*), bool_and(ok) FROM pg_stats, pg_background_fanout_params('SELECT pg_typeof($1)', histogram_bounds)
WHERE tablename = 'amounts' AND attname = 'n';

-- Types that the job does not see, or sees in another form: an error of each element, not of the call.
BEGIN;
CREATE TYPE fresh AS ENUM ('new');
CREATE TYPE fresh_pair AS (a int4, b fresh);
ALTER TYPE pair ADD ATTRIBUTE c int4;
SELECT idx, ok, sqlstate FROM pg_background_fanout_params('SELECT $1::text', ARRAY['new', NULL]::fresh[]) ORDER BY idx;
SELECT ok, sqlstate FROM pg_background_fanout_params('SELECT $1', ARRAY[ROW(1, 'new')]::fresh_pair[]);
SELECT ok, result FROM pg_background_fanout_params('SELECT $1 AS a, $3 AS c', ARRAY[ROW(1, 'x', 2)]::pair[]);
ROLLBACK;

-- A type that is altered or dropped between two fetches: the elements that were launched run, the others are refused.
CREATE FUNCTION altered(params text, change text, fast bool DEFAULT false) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c refcursor;
    r record;
    count int4 := 0;
    first text;
BEGIN
    OPEN c FOR EXECUTE format('SELECT (f).* FROM (SELECT pg_background_fanout_params(''SELECT 1'', %s, 1, %L) f) s', params, fast);
    FETCH c INTO r;
    EXECUTE change;
    LOOP
        FETCH c INTO r;
        EXIT WHEN NOT FOUND;
        count := count + r.ok::int;
        first := coalesce(first, concat_ws(' ', r.idx, r.sqlstate, r.error_message));
    END LOOP;
    RETURN NEXT format('%s ok; %s', count, first);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS first = PG_EXCEPTION_DETAIL;
    RETURN NEXT format('%s %s (%s)', SQLSTATE, SQLERRM, first);
END $$;
CREATE TYPE changing AS (a int4, b text);
CREATE TYPE changing_mood AS ENUM ('x');
BEGIN;
SELECT altered($$ARRAY[ROW(1, 'x'), ROW(2, 'y'), ROW(3, 'z')]::changing[]$$, 'ALTER TYPE changing ALTER ATTRIBUTE a TYPE text');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(1, 'x'), ROW(2, 'y'), ROW(3, 'z')]::changing[]$$, 'ALTER TYPE changing DROP ATTRIBUTE b', true);
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(1, 'x'), ROW(2, 'y'), ROW(3, 'z')]::changing[]$$, 'DROP TYPE changing');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(ROW(1, 'x')::changing), ROW(ROW(2, 'y')::changing), ROW(3)]$$, 'ALTER TYPE changing ALTER ATTRIBUTE a TYPE text');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(1, ARRAY[ROW(ROW(1, 'x')::changing)]), ROW(1, ARRAY[ROW(ROW(2, 'y')::changing)])]$$, 'ALTER TYPE changing ALTER ATTRIBUTE a TYPE text');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(1, 'x')::changing, ROW(2, 'y')::changing]::record[]$$, 'ALTER TYPE changing ALTER ATTRIBUTE a TYPE text');
ROLLBACK;
BEGIN;
SELECT altered($$array_fill('x'::changing_mood, ARRAY[3])$$, 'DROP TYPE changing_mood');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW('x'::changing_mood), ROW('x'::changing_mood)]$$, 'DROP TYPE changing_mood');
ROLLBACK;
BEGIN;
SELECT altered($$ARRAY[ROW(1, 'x'), ROW(2, 'y'), ROW(3, 'z')]::changing[]$$, 'ALTER TYPE changing RENAME ATTRIBUTE a TO z');
ROLLBACK;
SELECT nothing_is_left();
DROP TYPE changing, changing_mood;

-- An array that is toasted, compressed, expanded; large elements; more elements than slots.
CREATE TABLE kept (a text[], b int4[]);
ALTER TABLE kept ALTER a SET STORAGE EXTERNAL;
INSERT INTO kept SELECT array_agg(repeat(md5(g::text), 10000)), array_agg(g % 3) FROM generate_series(1, 20) g;
SELECT count(*), bool_and(result -> 0 ->> 'm' = md5(repeat(md5(idx::text), 10000)))
FROM kept, pg_background_fanout_params('SELECT md5($1) AS m', a);
SELECT count(*), sum((result -> 0 ->> 'n')::int) FROM kept, pg_background_fanout_params('SELECT $1 AS n', b);
DO $$
DECLARE
    a int4[] := ARRAY[1, 2];
    n int8;
BEGIN
    a[3] := 3;
    SELECT sum((result -> 0 ->> 'n')::int) INTO n FROM pg_background_fanout_params('SELECT $1 AS n', a);
    ASSERT n = 6;
END $$;
SELECT length(result -> 0 ->> 't') FROM pg_background_fanout_params('SELECT $1 AS t', ARRAY[repeat('x', 5000000)]);
SET pg_background.max_workers = 1;
SELECT count(*), count(*) FILTER (WHERE ok), sum((result -> 0 ->> 'n')::int8)
FROM pg_background_fanout_params('SELECT $1 AS n', (SELECT array_agg(g) FROM generate_series(1, 6000) g));
RESET pg_background.max_workers;

-- The elements' parameters are not kept.
DO $$
DECLARE
    row record;
    count int4 := 0;
    before int8;
    after int8;
BEGIN
    FOR row IN SELECT pg_background_fanout_params('SELECT length($1)', array_fill(ROW(repeat('x', 50000), ROW(1)), ARRAY[400]), 2) LOOP
        count := count + 1;
        IF count IN (1, 399) THEN
            SELECT sum(total_bytes) INTO after FROM pg_backend_memory_contexts;
            before := coalesce(before, after);
        END IF;
    END LOOP;
    ASSERT count = 400 AND after - before < 5000000, format('%s rows, %s bytes more', count, after - before);
END $$;

-- It ends as a fan-out of texts does.
TRUNCATE amounts;
SELECT count(*) FROM pg_background_fanout_params('INSERT INTO amounts VALUES ($1)', ARRAY[1, 1, 2], 1, fail_fast => true);
SELECT n FROM amounts;
SELECT idx, ok, sqlstate, error_message FROM pg_background_fanout_params('SELECT pg_sleep($1)', ARRAY[600, 0, 600, 0], 2, timeout_ms => 300) ORDER BY idx;
SELECT count(*) FROM pg_background_fanout_params('SELECT pg_sleep($1)', ARRAY[600], fail_fast => true, timeout_ms => 100);
SELECT (f).idx FROM (SELECT pg_background_fanout_params('SELECT pg_sleep($1)', ARRAY[600, 0, 600]) AS f LIMIT 1) s;
SELECT nothing_is_left();
BEGIN;
DECLARE c CURSOR FOR SELECT (pg_background_fanout_params('SELECT pg_sleep($1)', ARRAY[600, 0])).idx;
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
SELECT nothing_is_left();
FETCH 1 FROM c;
ROLLBACK;
SET statement_timeout = '300ms';
SELECT count(*) FROM pg_background_fanout_params('SET statement_timeout = 0; SELECT pg_sleep($1)', ARRAY[600, 0]);
RESET statement_timeout;
SELECT nothing_is_left();
BEGIN READ ONLY;
SELECT ok, sqlstate FROM pg_background_fanout_params('INSERT INTO amounts VALUES ($1)', ARRAY[77]);
ROLLBACK;
SELECT result FROM pg_background_fanout_params('SELECT sum((result->0->>''n'')::int) FROM pg_background_fanout_params(''SELECT $1 AS n'', ARRAY[$1, 2])', ARRAY[1]);

DROP FUNCTION nothing_is_left, types_of, altered;
DROP TABLE amounts, kept, mine;
DROP TYPE holder, nothing, mood, wide;
DROP DOMAIN smalls, small, checked_pair;
DROP TYPE pair;
