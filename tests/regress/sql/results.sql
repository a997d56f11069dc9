-- Rows: every kind of type, and how they fit a column list.
\set VERBOSITY sqlstate
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int4, b text);
CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN pairs AS pair;
CREATE TYPE floatrange AS RANGE (subtype = float8);
-- Launched and read in one call, as text: the output of the type's output function.
CREATE FUNCTION as_text(sql text) RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
    SELECT r.t FROM pg_background_launch_v2(sql) h, pg_background_result_v2(h.pid, h.cookie) AS r (t text)
$$;
-- The value that the query returns directly, through the output function; an empty text for NULL.
CREATE TABLE expressions (n int4 GENERATED ALWAYS AS IDENTITY, expression text);
INSERT INTO expressions (expression) VALUES
    ('1::int2'), ('1::int4'), ('1::int8'), ('1.5::float4'), ('1.5::float8'), ('123.450::numeric'), ('''NaN''::numeric'),
    ('true'), ('''x''::"char"'), ('''abc''::name'), ('''abc''::text'), ('''''::text'), ('''abc  ''::char(5)'), ('''abc''::varchar(5)'),
    ('''\xdeadbeef''::bytea'), ('''''::bytea'), ('''2020-02-29''::date'), ('''12:34:56.789''::time'), ('''12:34+02''::timetz'),
    ('''2020-02-29 12:34:56''::timestamp'), ('''2020-02-29 12:34:56+00''::timestamptz'), ('''1 mon 2 days 3 h''::interval'),
    ('''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''::uuid'), ('''{"a": [1, 2]}''::json'), ('''{"a": [1, 2]}''::jsonb'), ('''<a/>''::xml'),
    ('''10.0.0.1/8''::inet'), ('''08:00:2b:01:02:03''::macaddr'), ('B''10101'''), ('''(1,2)''::point'), ('''((0,0),(1,1))''::box'),
    ('''a b''::tsvector'), ('''a & b''::tsquery'), ('int4range(1, 5)'), ('''{[1,3), [5,7)}''::int4multirange'), ('floatrange(1.5, 2.5)'),
    ('''happy''::mood'), ('5::positive'), ('(1, ''x'')::pair'), ('(1, NULL)::pair::pairs'), ('NULL::int4'), ('NULL::pair'),
    ('ARRAY[1, NULL, 3]'), ('ARRAY[[1, 2], [3, 4]]'), ('''[2:3]={a,b}''::text[]'), ('''{}''::int4[]'), ('ARRAY[''sad'', ''ok'']::mood[]'),
    ('ARRAY[(1, ''x'')::pair, NULL]'), ('ARRAY[1, 2]::positive[]'), ('ARRAY[int4range(1, 2)]'),
    ('ROW(1, ''x'', NULL)'), ('ROW(1, ROW(2, ROW(3, ''deep'')))'), ('ROW((1, ''x'')::pair, ARRAY[1, 2])'),
    ('ARRAY[ROW(1, ''a''), ROW(2, ''b'')]'), ('ROW(ARRAY[ROW(1), ROW(2)])'), ('repeat(''x'', 10000)'),
    ('(SELECT string_agg(md5(g::text), '''') FROM generate_series(1, 5000) g)'), ('pg_current_snapshot() IS NOT NULL'), ('''pg_class''::regclass'), ('1::oid'), ('''(0,1)''::tid');
CREATE FUNCTION directly(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
BEGIN
    EXECUTE format('SELECT format(''%%s'', (%s))', expression) INTO value;
    RETURN value;
END
$$;
SELECT count(*) AS expressions FROM expressions;
SELECT e.expression, t.result, directly(e.expression)
FROM expressions e, LATERAL as_text('SELECT ' || e.expression) AS t (result)
WHERE coalesce(t.result, '') <> directly(e.expression);
-- With their own types.
SELECT r.*, pg_typeof(m) AS mood, pg_typeof(p) AS positive
FROM pg_background_launch_v2($$SELECT 1, 'two'::text, ARRAY[3, 4], 'ok'::mood, 5::positive, (6, 'seven')::pair, NULL::numeric, int4range(8, 9)$$) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (i int4, t text, a int4[], m mood, p positive, c pair, n numeric, g int4range);
SELECT (r.p).b
FROM pg_background_launch_v2($$SELECT (1, 'field')::pair$$) h, pg_background_result_v2(h.pid, h.cookie) AS r (p pair);
-- Anonymous records keep their row types, in arrays and nested too.
SELECT r.*
FROM pg_background_launch_v2($$SELECT ROW(g, ROW('x' || g, g * 1.5)), ARRAY[ROW(g), ROW(g + 1)] FROM generate_series(1, 3) g$$) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (one record, many record[]);
SELECT to_json(r.one)
FROM pg_background_launch_v2($$SELECT x FROM (SELECT 1 AS a, 'b' AS b, (SELECT y FROM (SELECT 2 AS c) y) AS inside) x$$) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (one record);
-- Rows of different row types in one column.
SELECT r.* FROM pg_background_launch_v2($$SELECT ROW(1) UNION ALL SELECT ROW(2)$$) h, pg_background_result_v2(h.pid, h.cookie) AS r (one record);
-- A domain may be declared as itself or as its base type; a length may be left out, or given.
SELECT r.* FROM pg_background_launch_v2('SELECT 5::positive') h, pg_background_result_v2(h.pid, h.cookie) AS r (p int4);
SELECT r.* FROM pg_background_launch_v2($$SELECT (1, 'x')::pairs$$) h, pg_background_result_v2(h.pid, h.cookie) AS r (p pair);
SELECT r.* FROM pg_background_launch_v2($$SELECT 'abc'::varchar(10), 'd'::char(3), 1.25::numeric(5, 2)$$) h,
                pg_background_result_v2(h.pid, h.cookie) AS r (v varchar, c bpchar, n numeric);
SELECT r.* FROM pg_background_launch_v2($$SELECT 'abc'::varchar, 1.25::numeric$$) h,
                pg_background_result_v2(h.pid, h.cookie) AS r (v varchar(3), n numeric(5, 1));
SELECT r.* FROM pg_background_launch_v2($$SELECT 'abcdef'::varchar$$) h,
                pg_background_result_v2(h.pid, h.cookie) AS r (v varchar(3));
-- text accepts any type, several at once.
SELECT r.* FROM pg_background_launch_v2($$SELECT 1, 2.5, 'ok'::mood, ARRAY[1], ROW(1, ROW(2)), NULL::int4, 'plain'$$) h,
                pg_background_result_v2(h.pid, h.cookie) AS r (a text, b text, c text, d text, e text, f text, g text);
-- A column list that does not fit is an error before anything is read: the result can be read again.
SELECT * FROM pg_background_launch_v2('SELECT g, g::text FROM generate_series(1, 3) g') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4, b text, c text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int8, b text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a positive, b text);
SELECT pg_background_result_v2(:pid, :cookie);
SELECT consumed FROM jobs WHERE pid = :pid AND cookie = :cookie;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a int4, b text);
-- Values that PostgreSQL stores out of line or compressed.
CREATE TABLE big (n int4, v text, e text);
ALTER TABLE big ALTER e SET STORAGE EXTERNAL;
INSERT INTO big SELECT n, repeat('abc' || n, 100000), (SELECT string_agg(md5((n * g)::text), '') FROM generate_series(1, 3000) g) FROM generate_series(1, 3) n;
SELECT r.n, r.v = b.v AS same_v, r.e = b.e AS same_e, pg_column_size(r.v) < length(r.v) AS compressed
FROM big b, (SELECT r.* FROM pg_background_launch_v2('SELECT * FROM big') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4, v text, e text)) r
WHERE r.n = b.n ORDER BY 1;
-- Larger than the ring, many times: rows and single values.
SELECT count(*), sum(length(t)), min(n), max(n)
FROM pg_background_launch_v2($$SELECT g, repeat('x', g % 5000) FROM generate_series(1, 20000) g$$, 4096) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (n int4, t text);
SELECT length(t), md5(t)
FROM pg_background_launch_v2($$SELECT repeat('0123456789', 2000000)$$, 4096) h, pg_background_result_v2(h.pid, h.cookie) AS r (t text);
SELECT count(*), sum(length(t))
FROM pg_background_launch_v2($$SELECT repeat('x', g) FROM generate_series(1, 300) g$$, (SELECT min_val::int4 FROM pg_settings WHERE name = 'pg_background.default_queue_size')) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (t text);
-- No columns, no rows.
SELECT count(*) FROM pg_background_launch_v2('SELECT 1 WHERE false') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
SELECT r.* FROM pg_background_launch_v2('SELECT 1 WHERE false') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4, m int4);
-- Several statements: one transaction, the last one's rows.
CREATE TABLE steps (n int4);
SELECT r.* FROM pg_background_launch_v2('INSERT INTO steps VALUES (1), (2); UPDATE steps SET n = n + 1; SELECT n FROM steps ORDER BY n') h,
                pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
SELECT outcome_of('INSERT INTO steps VALUES (10); SELECT 1 / 0');
SELECT n FROM steps ORDER BY n;
-- Without rows in the last one: the tags of all, in order, one text column.
SELECT as_text('SELECT 1; INSERT INTO steps VALUES (4); CREATE TABLE made (n int4); DELETE FROM steps; DROP TABLE made');
SELECT as_text('SELECT 1; SET work_mem = ''5MB''');
SELECT * FROM pg_background_launch_v2('CREATE TABLE made (n int4)') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (a text, b text);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
DROP TABLE made;
-- Empty SQL yields no rows.
SELECT count(*) FROM as_text('');
SELECT count(*) FROM as_text(' ; ; -- nothing');
SELECT r.* FROM pg_background_launch_v2('') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4, m int4);
-- Statements that return rows without being SELECT.
SELECT r.* FROM pg_background_launch_v2('INSERT INTO steps VALUES (7) RETURNING n, n * 2') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4, m int4);
SELECT r.* FROM pg_background_launch_v2('SHOW server_encoding') h, pg_background_result_v2(h.pid, h.cookie) AS r (t text);
SELECT r.* FROM pg_background_launch_v2('EXPLAIN (COSTS off) SELECT 1') h, pg_background_result_v2(h.pid, h.cookie) AS r (t text);
SELECT r.* FROM pg_background_launch_v2('VALUES (1, ''a''), (2, ''b'')') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4, t text);
CREATE PROCEDURE twice(INOUT n int4) LANGUAGE plpgsql AS $$ BEGIN n := n * 2; END $$;
SELECT r.* FROM pg_background_launch_v2('CALL twice(21)') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
-- A statement that needs the top level runs there; among others it is refused.
SELECT as_text('VACUUM steps');
SELECT * FROM pg_background_launch_v2('CREATE INDEX CONCURRENTLY ON steps (n)') \gset
-- It waits for every snapshot older than its own, that of a statement which waits for it included: here
-- each wait is short and in a transaction of its own.
DO $$
DECLARE
    ended bool := false;
BEGIN
    WHILE NOT ended LOOP
        SELECT pg_background_wait_v2_timeout(pid, cookie, 10) INTO STRICT ended FROM jobs WHERE sql_preview ~ 'CONCURRENTLY';
        COMMIT;
    END LOOP;
END
$$;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT outcome_of('SELECT 1; VACUUM steps');
CREATE PROCEDURE in_two() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO steps VALUES (100); COMMIT; INSERT INTO steps VALUES (200); ROLLBACK; END $$;
SELECT as_text('CALL in_two()');
SELECT outcome_of('SELECT 1; CALL in_two()');
SELECT n FROM steps WHERE n >= 100;
-- Statements that a job may not contain.
SELECT outcome_of(s) FROM unnest(ARRAY['BEGIN', 'COMMIT', 'SELECT 1; ROLLBACK', 'SAVEPOINT s', 'COPY steps TO STDOUT', 'COPY steps FROM STDIN', 'PREPARE TRANSACTION ''x''']) s;
-- A result that was read in part is dropped; one that was not read at all is kept.
SELECT consumed, state, sql_preview FROM jobs ORDER BY launched_at;
SELECT count(pg_background_detach_v2(pid, cookie)) FROM jobs;
DROP TABLE expressions, big, steps;
DROP PROCEDURE in_two, twice;
DROP FUNCTION directly, as_text;
DROP DOMAIN pairs, positive;
DROP TYPE pair, mood, floatrange;
