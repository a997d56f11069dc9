-- Variables: east, west (the socket directories of two more servers).
\echo '== Two more servers, reached through postgres_fdw and dblink'
CREATE EXTENSION pg_background;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION dblink;
CREATE SERVER east FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'east', port '5432', dbname 'postgres');
CREATE SERVER west FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'west', port '5432', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER east OPTIONS (user 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER west OPTIONS (user 'postgres');
\o /dev/null
SELECT dblink_exec(server, $$
    CREATE EXTENSION pg_background;
    CREATE TABLE numbers AS SELECT n FROM generate_series(1, 1000) AS n;
$$) FROM unnest(ARRAY['east', 'west']) AS server;
\o
CREATE TABLE numbers AS SELECT n FROM generate_series(1, 1000) AS n;
CREATE FOREIGN TABLE east_numbers (n int) SERVER east OPTIONS (table_name 'numbers');
CREATE FOREIGN TABLE west_numbers (n int) SERVER west OPTIONS (table_name 'numbers');

-- Sends the statements to the servers alternately; each server fans its own out.
CREATE FUNCTION on_servers(servers text[], statements text[])
RETURNS TABLE (server text, idx int, ok bool, result jsonb, error_message text)
LANGUAGE sql AS $$
    SELECT servers[f.idx], r.idx, COALESCE(r.ok, false), r.result, COALESCE(r.error_message, f.error_message)
    FROM pg_background_fanout(ARRAY(
        SELECT format('SELECT * FROM dblink(%L, %L) AS r (idx int, ok bool, result jsonb, error_message text)', server,
                      format('SELECT idx, ok, result, error_message FROM pg_background_fanout(%L)', part))
        FROM (
            SELECT servers[s] AS server, s,
                   ARRAY(SELECT statement FROM unnest(statements) WITH ORDINALITY AS u (statement, i)
                         WHERE i % cardinality(servers) = s - 1) AS part
            FROM generate_series(1, cardinality(servers)) AS s) AS parts
        ORDER BY s)) AS f
    LEFT JOIN jsonb_to_recordset(f.result) AS r (idx int, ok bool, result jsonb, error_message text) ON true
$$;

\set ECHO queries
SELECT server, idx, ok, result FROM on_servers(ARRAY['east', 'west'], ARRAY[
    'SELECT count(*) FROM numbers', 'SELECT sum(n) FROM numbers', 'SELECT max(n) FROM numbers', 'SELECT 1 / 0'])
ORDER BY server, idx;
\set ECHO none

\echo '== What it costs: milliseconds for 64 sums over 1000 rows, and for 16 sleeps of 100 ms'
CREATE PROCEDURE measure(rounds int, what text, sql text)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    answers int;
BEGIN
    FOR i IN 1 .. rounds LOOP
        started := clock_timestamp();
        EXECUTE sql INTO answers;
        INSERT INTO taken VALUES (what, 1000 * extract(epoch FROM clock_timestamp() - started), answers);
        COMMIT;
    END LOOP;
END $$;
CREATE TABLE taken (what text, ms float8, answers int);
CREATE TABLE ways (id int, what text, sql text);
INSERT INTO ways VALUES
(1, '64 sums, fanned out here',
 $$SELECT count(*) FILTER (WHERE ok) FROM pg_background_fanout(array_fill('SELECT sum(n) FROM numbers'::text, ARRAY[64]))$$),
(2, '64 sums, 32 on each server',
 $$SELECT count(*) FILTER (WHERE ok) FROM on_servers(ARRAY['east', 'west'], array_fill('SELECT sum(n) FROM numbers'::text, ARRAY[64]))$$),
(3, '64 sums, each through postgres_fdw',
 $$SELECT count(*) FILTER (WHERE ok) FROM pg_background_fanout(ARRAY(SELECT format('SELECT sum(n) FROM %s_numbers', server)
   FROM unnest(ARRAY['east', 'west']) server, generate_series(1, 32)))$$),
(4, '64 sums, each through dblink',
 $$SELECT count(*) FILTER (WHERE ok) FROM pg_background_fanout(ARRAY(SELECT format('SELECT * FROM dblink(%L, %L) AS r (sum bigint)', server,
   'SELECT sum(n) FROM numbers') FROM unnest(ARRAY['east', 'west']) server, generate_series(1, 32)))$$),
(5, '16 sleeps, fanned out here',
 $$SELECT count(*) FILTER (WHERE ok) FROM pg_background_fanout(array_fill('SELECT pg_sleep(0.1)'::text, ARRAY[16]))$$),
(6, '16 sleeps, 8 on each server',
 $$SELECT count(*) FILTER (WHERE ok) FROM on_servers(ARRAY['east', 'west'], array_fill('SELECT pg_sleep(0.1)'::text, ARRAY[16]))$$);
-- All ways run alternately, so other load on the machine affects all of them; the first round is a warm-up.
DO $$
DECLARE
    way ways;
BEGIN
    FOR i IN 1 .. 21 LOOP
        FOR way IN SELECT * FROM ways ORDER BY id LOOP
            CALL measure(1, way.what, way.sql);
        END LOOP;
        IF i = 1 THEN
            TRUNCATE taken;
            COMMIT;
        END IF;
    END LOOP;
END $$;
WITH medians AS (
    SELECT id, what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms, min(answers) AS answers
    FROM taken JOIN ways USING (what) GROUP BY id, what
)
SELECT what, round(ms::numeric, 1) AS ms, round((ms / first_value(ms) OVER (PARTITION BY id > 4 ORDER BY id))::numeric, 1) AS times_here, answers
FROM medians ORDER BY id;
