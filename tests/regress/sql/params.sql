-- Parameters: values with their types, never text.
\set VERBOSITY sqlstate
CREATE TYPE pair AS (a int4, b text);
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE marks (n int4, t text);
CREATE FUNCTION text_of(h pg_background_handle) RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
    SELECT r.t FROM pg_background_result_v2(h.pid, h.cookie) AS r (t text)
$$;
SELECT text_of(pg_background_launch_params('SELECT $1 + $2', 40, 2));
SELECT text_of(pg_background_launch_params('SELECT $2 || $1', 'one'::text, 'two'::text));
-- Types are those of the values; a bare literal is text.
SELECT r.*
FROM pg_background_launch_params('SELECT pg_typeof($1)::text, pg_typeof($2)::text, pg_typeof($3)::text, pg_typeof($4)::text, pg_typeof($5)::text',
                                 1::int2, 'bare', 1.5, NULL, NULL::date) h,
     pg_background_result(h.pid, h.cookie, NULL::record) AS r (a text, b text, c text, d text, e text);
SELECT text_of(pg_background_launch_params('SELECT format(''%s %s %s'', $1, $2 IS NULL, $3)', NULL::text, NULL::int4, true));
-- Every kind of value arrives unchanged.
CREATE FUNCTION there_and_back(value anyelement) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_params('SELECT $1', value);
    r text;
BEGIN
    SELECT t INTO r FROM pg_background_result_v2(h.pid, h.cookie) AS q (t text);
    RETURN r IS NOT DISTINCT FROM format('%s', value);
END
$$;
SELECT there_and_back(1::int8), there_and_back(''::text), there_and_back('x'::"char"), there_and_back('name'::name), there_and_back(1.50),
       there_and_back('\xdead'::bytea), there_and_back('2020-02-29 12:00+00'::timestamptz), there_and_back('{"a": 1}'::jsonb),
       there_and_back(ARRAY[1, NULL, 3]), there_and_back('ok'::mood), there_and_back((1, 'x')::pair), there_and_back(ARRAY[(1, 'x')::pair]),
       there_and_back(int4range(1, 5)), there_and_back('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid), there_and_back(repeat('x', 1000000));
-- Anonymous records, nested.
SELECT text_of(pg_background_launch_params('SELECT to_jsonb($1) || to_jsonb($2)', ROW(1, ROW('x', ROW(2))), ARRAY[ROW(3), ROW(4)]));
-- Values out of line, compressed, expanded.
CREATE TABLE big (e text, c text);
ALTER TABLE big ALTER e SET STORAGE EXTERNAL;
INSERT INTO big SELECT string_agg(md5(g::text), ''), repeat('abc', 100000) FROM generate_series(1, 3000) g;
SELECT text_of(pg_background_launch_params('SELECT md5($1) || md5($2)', e, c)) = md5(e) || md5(c) AS same FROM big;
CREATE FUNCTION expanded() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a int4[] := ARRAY[1, 2];
    t text;
BEGIN
    a[3] := 3;
    SELECT text_of(pg_background_launch_params('SELECT $1', a)) INTO t;
    RETURN t;
END
$$;
SELECT expanded();
-- VARIADIC with an array; as many as can be bound, and one more.
SELECT text_of(pg_background_launch_params('SELECT $1 || $3', VARIADIC ARRAY['a', 'b', 'c']));
SELECT text_of(pg_background_launch_params('SELECT $1', VARIADIC NULL::text[]));
SELECT text_of(pg_background_launch_params('SELECT 1', VARIADIC NULL::text[]));
SELECT text_of(pg_background_launch_params('SELECT $1 + $65535', VARIADIC (SELECT array_agg(g) FROM generate_series(1, 65535) g)));
SELECT pg_background_launch_params('SELECT $1', VARIADIC (SELECT array_agg(g) FROM generate_series(1, 65536) g));
-- Every statement of the text sees them, those without rows too.
SELECT text_of(pg_background_launch_params('INSERT INTO marks VALUES ($1, $2); UPDATE marks SET n = n + $1; SELECT n || t FROM marks WHERE t = $2', 20, 'here'));
SELECT text_of(pg_background_launch_params('CREATE TABLE made AS SELECT $1 AS n', 5));
SELECT * FROM made;
CREATE PROCEDURE twice(n int4) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO marks VALUES (n); COMMIT; INSERT INTO marks VALUES (n + 1); END $$;
SELECT text_of(pg_background_launch_params('CALL twice($1)', 100));
SELECT n FROM marks WHERE n >= 100 ORDER BY n;
-- An attempt to inject is a value like any other.
SELECT text_of(pg_background_launch_params('INSERT INTO marks VALUES (0, $1) RETURNING t', $x$'); DROP TABLE marks; --$x$));
SELECT text_of(pg_background_launch_params('SELECT count(*) FROM marks WHERE t = $1', $x$' OR true --$x$));
SELECT count(*) FROM marks WHERE t ~ 'DROP';
-- Fire and forget.
SELECT * FROM pg_background_submit_params('INSERT INTO marks VALUES ($1, $2)', 7, NULL) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (t text);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT n, t IS NULL AS unknown FROM marks WHERE n = 7;
-- Errors: one parameter too few, a wrong type, none at all.
SELECT text_of(pg_background_launch_params('SELECT $2', 1));
SELECT text_of(pg_background_launch_params('SELECT $1 + 1', 'x'::text));
SELECT sqlstate_of('SELECT pg_background_launch_params(NULL, 1)'), sqlstate_of('SELECT pg_background_submit_params(NULL, 1)');
SELECT count(*) FROM jobs;
-- The next job of the same worker has no parameters.
SELECT text_of(pg_background_launch_v2('SELECT $1'));
DROP PROCEDURE twice;
DROP FUNCTION expanded, there_and_back, text_of;
DROP TABLE made, marks, big;
DROP TYPE pair, mood;
