-- What the functions that come from version 2.0 do as they did there.
\c -
\set VERBOSITY sqlstate
\pset null NULL
-- Row count and tag are 0 and empty, never NULL, while a job runs, after an error, and without a statement.
SELECT * FROM pg_background_launch('SELECT pg_sleep(600)', 0, NULL) \gset
SELECT row_count, command_tag, completed, has_error FROM pg_background_result_info(:pid, :cookie);
SELECT row_count, command_tag, completed, has_error FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_cancel(:pid, :cookie);
SELECT row_count, command_tag, completed, has_error FROM pg_background_drain(ARRAY[(:pid, :cookie)]::pg_background_handle[]);
SELECT sql, row_count, command_tag, completed, has_error
FROM unnest(ARRAY['SELECT 1', 'SELECT 1 / 0', '', 'CREATE TEMP TABLE t ()', 'SELECT 1; SET work_mem = 1000', NULL]) sql,
     pg_background_run(sql);
SELECT row_count, command_tag FROM pg_background_outcome(1, 1);

-- run_query: col_def may have a modifier, which is applied, and a collation.
SELECT * FROM pg_background_run_query('SELECT 1.236::numeric', col_def => 'n numeric(10, 2)') AS (n numeric(10, 2));
SELECT * FROM pg_background_run_query('SELECT 1.236::numeric', col_def => 'n numeric(10, 2)') AS (n numeric);
SELECT * FROM pg_background_run_query('SELECT 1.236::numeric', col_def => 'n numeric') AS (n numeric(10, 2));
SELECT * FROM pg_background_run_query($$SELECT 'a'::text, 'b'::varchar$$, col_def => 'a text COLLATE "C", "b,c" varchar(3) collate pg_catalog."POSIX"')
    AS (a text COLLATE "C", b varchar);
SELECT * FROM pg_background_run_query('SELECT 1', col_def => 'n int8') AS (n int4);
-- A statement without rows has none, whatever the columns. A caller that describes a command tag gets it.
CREATE TABLE version2 (n int4);
SELECT * FROM pg_background_run_query('INSERT INTO version2 VALUES (1)') AS (n int4, t text);
SELECT * FROM pg_background_run_query('INSERT INTO version2 VALUES (2)') AS (tag text);
SELECT * FROM pg_background_run_query('INSERT INTO version2 VALUES (3)', col_def => 'n int4') AS (n int4);
SELECT * FROM pg_background_run_query('INSERT INTO version2 VALUES (4)', col_def => 'tag text') AS (tag text);
SELECT * FROM pg_background_run_query('INSERT INTO version2 VALUES (5) RETURNING n', col_def => 'n int4') AS (n int4);
SELECT array_agg(n ORDER BY n) FROM version2;
DROP TABLE version2;

-- A text that is NULL, beside a label.
SELECT pg_background_launch(NULL, 0, 'a');
SELECT pg_background_launch_v2(NULL, 0, NULL);
SELECT pg_background_submit(NULL, 0, 'a');
SELECT pg_background_run(NULL, label => 'a');
SELECT * FROM pg_background_run_query(NULL, label => 'a') AS (n int4);
SELECT count(*) FROM pg_background_run_query(NULL) AS (n int4);
-- A label has up to 64 bytes.
SELECT octet_length(label) FROM pg_background_run('SELECT 1', label => repeat('x', 64));
SELECT label IS NULL AS empty_is_none FROM pg_background_run('SELECT 1', label => '');
SELECT pg_background_launch('SELECT 1', 0, repeat('x', 65));
SELECT pg_background_submit('SELECT 1', 0, repeat(U&'\00e9', 33));
SELECT pg_background_run('SELECT 1', label => repeat('x', 65));
SELECT * FROM pg_background_run_query('SELECT 1', label => repeat('x', 65)) AS (n int4);
-- Progress: NULL is refused, first of all.
SELECT pg_background_report_progress(NULL);
SELECT pg_background_report_progress(1);
SELECT sqlstate FROM pg_background_run('SELECT pg_background_report_progress(NULL, ''x'')');
SELECT sqlstate FROM pg_background_run('SELECT pg_background_progress(NULL, ''x'')');
-- A wrong cookie: 55000, but in the function of 1.8.
SELECT * FROM pg_background_launch_v2('SELECT 1') \gset
SELECT * FROM pg_background_result(:pid, 1) AS (n int4);
SELECT * FROM pg_background_result(:pid, 1, NULL::int4);
SELECT * FROM pg_background_result_json(:pid, 1);
SELECT * FROM pg_background_result_v2(:pid, 1) AS (n int4);
SELECT * FROM pg_background_result(1, 1) AS (n int4);
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT count(*) FROM pg_background_list;

-- While a job runs, pg_stat_activity shows it as the application, to every role. SHOW in the job shows the leader's.
\c -
\set VERBOSITY sqlstate
CREATE FUNCTION shown(label text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    sql text := 'SELECT pg_sleep(600) -- ' || md5(coalesce(label, 'none') || current_setting('application_name'));
    h pg_background_handle := pg_background_launch(sql, 0, label);
    name text;
BEGIN
    PERFORM eventually(format('(SELECT query = %L FROM pg_stat_activity WHERE pid = %s)', sql, h.pid));
    SELECT replace(application_name, h.pid::text, 'PID') INTO name FROM pg_stat_activity WHERE pid = h.pid;
    PERFORM pg_background_cancel(h.pid, h.cookie);
    PERFORM pg_background_wait(h.pid, h.cookie);
    PERFORM pg_background_detach(h.pid, h.cookie);
    RETURN name;
END
$$;
SELECT label, shown(label) FROM (VALUES ('a label'), (NULL), (''), (E'a\n\\' || U&'\00e9'), (repeat('x', 64)), (repeat(U&'\00e9', 32))) l (label);
SELECT t = current_setting('application_name') AS the_leaders
FROM pg_background_run_query('SHOW application_name', label => 'x', col_def => 't text') AS (t text);
CREATE ROLE regress_pgb_looker;
SELECT pid, cookie FROM pg_background_launch('SELECT pg_sleep(600) -- looked at', 0, 'no secret') \gset
SELECT eventually(format('(SELECT query ~ ''looked at'' FROM pg_stat_activity WHERE pid = %s)', :pid));
SET ROLE regress_pgb_looker;
SELECT query, replace(application_name, :pid::text, 'PID') FROM pg_stat_activity WHERE pid = :pid;
RESET ROLE;
DROP ROLE regress_pgb_looker;
SELECT pg_background_cancel(:pid, :cookie, 10000), pg_background_detach(:pid, :cookie);
-- Afterwards the worker is of no job.
SELECT eventually(format('(SELECT application_name !~ ''secret'' FROM pg_stat_activity WHERE pid = %s)', :pid));
-- A name that the session or the job has set stays.
SET application_name = 'my own';
SELECT shown('a label');
RESET application_name;
SELECT shown('a label');
SELECT * FROM pg_background_launch($$DO 'BEGIN SET application_name = ''of the job''; PERFORM pg_sleep(600); END'$$, 0, 'a label') \gset
SELECT eventually(format('(SELECT application_name = ''of the job'' FROM pg_stat_activity WHERE pid = %s)', :pid));
SELECT pg_background_cancel(:pid, :cookie, 10000), pg_background_detach(:pid, :cookie);
DROP FUNCTION shown;
