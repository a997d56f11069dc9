-- The columns of a result, for callers that do not know them, and JSON that has them as they are.
\set VERBOSITY terse
CREATE TYPE columns_pair AS (a int4, b text);
CREATE DOMAIN columns_small AS int4 CHECK (VALUE < 10);
CREATE FUNCTION columns_of(sql text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
BEGIN
    RETURN QUERY SELECT format('%s %s %s %s', c.number, c.name, c.type, c.modifier) FROM pg_background_columns(h.pid, h.cookie) c;
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
END
$$;

SELECT * FROM columns_of($$SELECT 1 AS n, 'x' AS "Two words", 1.5::numeric(10, 2) AS n, 'y'::varchar(7), ARRAY[1], ROW(1, 2)::columns_pair, 3::columns_small$$);
-- With the modifier, the type is that of a column definition list.
SELECT * FROM pg_background_launch_v2($$SELECT 'abc'::varchar(3) AS v, 1.25::numeric(4, 2) AS n$$) \gset
SELECT string_agg(format('%I %s', name, format_type(type, modifier)), ', ' ORDER BY number) AS list
FROM pg_background_columns(:pid, :cookie) \gset
\echo :list
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (:list);
-- None of the rows is taken, and the columns can be asked for while the job runs.
SELECT * FROM pg_background_launch_v2($$SELECT n FROM (VALUES (1), (2)) v (n), pg_sleep(CASE n WHEN 2 THEN 600 ELSE 0 END)$$) \gset
SELECT number, name, type FROM pg_background_columns(:pid, :cookie);
SELECT number, name, type FROM pg_background_columns(:pid, :cookie);
BEGIN;
DECLARE c CURSOR FOR SELECT pg_background_result(:pid, :cookie, NULL::int4);
FETCH c;
SELECT number, name, type FROM pg_background_columns(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie);
COMMIT;
SELECT * FROM pg_background_launch_v2('SELECT pg_background_progress(1, ''begun''); SELECT pg_sleep(600); SELECT 1 AS one') \gset
SELECT eventually(format('pg_background_get_progress(%s, %s) IS NOT NULL', :pid, :cookie));
SET statement_timeout = '100ms';
SELECT * FROM pg_background_columns(:pid, :cookie);
RESET statement_timeout;
SELECT pg_background_cancel(:pid, :cookie, 10000);
SELECT number, name, type FROM pg_background_columns(:pid, :cookie);
SELECT pg_background_detach(:pid, :cookie);
-- Without rows: the columns all the same. Command tags, no statement, an error before there are columns: one of text.
SELECT * FROM columns_of('SELECT 1 AS n WHERE false');
SELECT * FROM columns_of('CREATE TABLE columns_t (n int4); DROP TABLE columns_t');
SELECT * FROM columns_of('');
SELECT * FROM columns_of('SELEKT');
SELECT * FROM columns_of('SELECT 1 / 0 AS n');
SELECT * FROM columns_of('SELECT');
SELECT * FROM columns_of('SELECT 1 AS n; SELECT 2 AS m, 3 AS o');
-- Types that only the job has, and one that is gone by now.
SELECT * FROM columns_of($$CREATE TEMP TABLE columns_temp (a int4); SELECT c, 1 AS one FROM columns_temp c$$);
SELECT * FROM columns_of($$CREATE TYPE columns_new AS ENUM ('a'); SELECT 'a'::columns_new AS new$$);
SELECT * FROM columns_of($$SELECT 'a'::columns_new AS kept; DROP TYPE columns_new; SELECT 1 AS one$$);
-- Which have none.
SELECT * FROM pg_background_submit_v2('SELECT 1') \gset
SELECT * FROM pg_background_columns(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT sqlstate_of(format('SELECT * FROM pg_background_columns(%s, %s)', :pid, :cookie));
SELECT * FROM pg_background_columns(:pid, NULL);

-- jsonb has the keys in an order of its own, and one of each name; json has the columns as they are.
CREATE FUNCTION columns_json(sql text, OUT binary_rows jsonb[], OUT rows json[]) LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
BEGIN
    binary_rows := ARRAY(SELECT pg_background_result_json(h.pid, h.cookie));
    h := pg_background_launch_v2(sql);
    rows := ARRAY(SELECT pg_background_result_ordered_json(h.pid, h.cookie));
END
$$;
SELECT * FROM columns_json($$SELECT 1 AS zebra, 2 AS ape, 3 AS zebra UNION ALL SELECT 4, NULL, 6 ORDER BY 1$$);
SELECT * FROM columns_json($$SELECT ROW(1, 'x')::columns_pair AS pair, ARRAY[1, 2] AS list, '{"b": 1, "a": 2, "b": 3}'::json AS own, 'q"\' AS "a ""name"""$$);
SELECT * FROM columns_json($$CREATE TABLE IF NOT EXISTS columns_t (n int4); INSERT INTO columns_t VALUES (1)$$);
SELECT * FROM columns_json($$DROP TABLE IF EXISTS columns_t; SELECT 1 WHERE false$$);
-- What jsonb cannot have, json can.
SELECT * FROM pg_background_launch_v2($$SELECT '"\u0000"'::json AS zero$$) \gset
SELECT pg_background_result_json(:pid, :cookie);
SELECT * FROM pg_background_launch_v2($$SELECT '"\u0000"'::json AS zero$$) \gset
SELECT pg_background_result_ordered_json(:pid, :cookie);
-- In FROM, and one by one.
SELECT * FROM pg_background_launch_v2('SELECT n AS b, -n AS a FROM generate_series(1, 3) n') \gset
SELECT * FROM pg_background_result_ordered_json(:pid, :cookie) r (row);
SELECT * FROM pg_background_launch_v2('SELECT n AS b, -n AS a FROM generate_series(1, 1000000) n') \gset
SELECT pg_background_result_ordered_json(:pid, :cookie) LIMIT 2;

SELECT count(*) FROM jobs;
DROP FUNCTION columns_of, columns_json;
DROP TYPE columns_pair;
DROP DOMAIN columns_small;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
