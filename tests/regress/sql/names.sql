-- The names of version 2.0: labels, information about a job, jobs run in one call.
\c -
\set VERBOSITY sqlstate

-- Overloads of the old names: with a label a handle, without one a pid.
SELECT pg_typeof(pg_background_launch('SELECT 1')) AS v1, pg_typeof(pg_background_launch('SELECT 1', 0, 'a')) AS v2;
SELECT pg_background_detach_all();
SELECT r.* FROM pg_background_launch('SELECT 42', 0, NULL) h, pg_background_result(h.pid, h.cookie) AS r (n int4);
SELECT pg_background_launch(NULL, 0, 'x');
SELECT r.* FROM pg_background_launch_v2('SELECT 43', 0, 'named') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
SELECT pg_background_detach_v2(h.pid, h.cookie) FROM pg_background_submit_v2('SELECT 1', 0, NULL) h;
SELECT r.* FROM pg_background_submit('SELECT 1') h, pg_background_result(h.pid, h.cookie) AS r (n int4);
SELECT r.* FROM pg_background_submit('SELECT 1', 0, 'fire') h, pg_background_result(h.pid, h.cookie) AS r (n int4);
SELECT label FROM pg_background_list ORDER BY launched_at;
SELECT pg_background_detach_all();

-- Labels: shown in lists, at most 63 bytes on a character boundary; none is NULL, an empty one is empty.
SELECT count(pg_background_launch('SELECT 1', 0, label))
FROM (VALUES ('plain'), (''), (repeat(U&'\20ac', 21)), (NULL)) l (label);
SELECT label, octet_length(label) FROM pg_background_list ORDER BY launched_at;
SELECT count(*) FROM pg_background_list l JOIN pg_background_list() AS f (pid int4, cookie int8,
    launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text, last_error text,
    consumed bool, label text) ON f IS NOT DISTINCT FROM l;
SELECT pg_background_wait_all(array_agg((pid, cookie)::pg_background_handle)) FROM pg_background_list;
SELECT pg_background_detach_all(), pg_background_detach_all();

-- The information about a job that runs, has ended, has failed, was canceled. Reading it changes nothing.
SELECT * FROM pg_background_launch('SELECT pg_sleep(600)', 0, 'sleeper') \gset
SELECT eventually('(SELECT wait_event = ''PgSleep'' FROM pg_background_activity)');
SELECT pgbg_state, label, backend_state, wait_event, query, xact_start = query_start AS began FROM pg_background_activity;
SELECT row_count, command_tag, completed, has_error, started_at IS NOT NULL AS started, finished_at
FROM pg_background_result_info(:pid, :cookie);
SELECT pg_background_error_info(:pid, :cookie);
SELECT state, consumed, completed, has_error, row_count, command_tag, sqlstate, error_message, label
FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_wait(:pid, :cookie, 10);
SELECT pg_background_cancel(:pid, :cookie);
SELECT pg_background_wait(:pid, :cookie);
SELECT state, completed, has_error, row_count, command_tag, sqlstate FROM pg_background_outcome(:pid, :cookie);
SELECT row_count, command_tag, completed, has_error, finished_at >= started_at AS ended
FROM pg_background_result_info(:pid, :cookie);
SELECT pg_background_detach(:pid, :cookie);
SELECT state, completed, has_error, sqlstate, pid = :pid AS pid, cookie = :cookie AS cookie FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_outcome(NULL, NULL);
SELECT pg_background_result_info(:pid, :cookie);
SELECT pg_background_error_info(:pid, :cookie);
SELECT pg_background_full_sql(:pid, :cookie);
SELECT pg_background_get_progress(:pid, :cookie);

CREATE TABLE named (n int4 CONSTRAINT small CHECK (n < 10), t text);
SELECT * FROM pg_background_launch('INSERT INTO named SELECT g FROM generate_series(1, 5) g', 0, NULL) \gset
SELECT pg_background_wait_v2(:pid, :cookie, 0);
SELECT row_count, command_tag, completed, has_error FROM pg_background_result_info_v2(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (tag text);
SELECT * FROM pg_background_launch('SELECT 1; UPDATE named SET t = ''x'' WHERE n > 3; TABLE named', 0, NULL) \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT row_count, command_tag FROM pg_background_result_info(:pid, :cookie);
SELECT count(*) FROM pg_background_result(:pid, :cookie) AS (n int4, t text);
SELECT * FROM pg_background_launch('CREATE TABLE other (n int4)', 0, NULL) \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT row_count, command_tag FROM pg_background_result_info(:pid, :cookie);
SELECT pg_background_detach(:pid, :cookie);
SELECT * FROM pg_background_launch('', 0, NULL) \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT row_count, command_tag, completed, has_error FROM pg_background_result_info(:pid, :cookie);
SELECT pg_background_detach(:pid, :cookie);

-- An error with all its fields.
SELECT * FROM pg_background_launch('INSERT INTO named VALUES (11)', 0, 'too big') \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_error_info_v2(:pid, :cookie) \gx
SELECT state, has_error, sqlstate, error_message, label FROM pg_background_outcome_v2(:pid, :cookie);
SELECT * FROM pg_background_result(:pid, :cookie) AS (tag text);
\set VERBOSITY terse
DO $$
DECLARE
    h pg_background_handle := pg_background_launch('DO $x$ BEGIN RAISE ''m'' USING DETAIL = ''d'', HINT = ''h'', ERRCODE = ''AB123''; END $x$', 0, NULL);
    e pg_background_error;
BEGIN
    PERFORM pg_background_wait(h.pid, h.cookie);
    e := pg_background_error_info(h.pid, h.cookie);
    RAISE NOTICE '% % % % %', e.sqlstate, e.message, e.detail, e.hint, e.context;
    PERFORM pg_background_detach(h.pid, h.cookie);
END $$;
\set VERBOSITY sqlstate

-- The whole text, of which the list shows the beginning.
SELECT * FROM pg_background_launch('SELECT ' || repeat('1', 500), 0, NULL) \gset
SELECT pg_background_full_sql(:pid, :cookie) = 'SELECT ' || repeat('1', 500) AS whole,
       pg_background_full_sql_v2(:pid, :cookie) = 'SELECT ' || repeat('1', 500) AS whole_v2;
SELECT pg_background_wait(:pid, :cookie), pg_background_purge();

-- Progress.
SELECT * FROM pg_background_launch('SELECT pg_background_report_progress(40, ''on the way'')', 0, NULL) \gset
SELECT pg_background_wait(:pid, :cookie);
SELECT * FROM pg_background_get_progress(:pid, :cookie);
SELECT pg_typeof(pg_background_get_progress(:pid, :cookie));
SELECT pg_background_detach(:pid, :cookie);
SELECT pg_background_report_progress(1);

-- From launch to end in one call: its outcome, not its rows.
SELECT state, consumed, completed, has_error, row_count, command_tag, sqlstate, error_message, label, timed_out, elapsed_ms < 10000 AS soon
FROM pg_background_run('SELECT repeat(''x'', 1000) FROM generate_series(1, 1000)', label => 'big');
SELECT state, has_error, sqlstate, error_message, timed_out FROM pg_background_run('SELECT 1 / 0');
SELECT state, has_error, sqlstate, timed_out, elapsed_ms BETWEEN 100 AND 10000 AS limited
FROM pg_background_run('SELECT pg_sleep(600)', timeout_ms => 100);
SELECT state, completed FROM pg_background_run_v2('SELECT 1', 0, 60000);
SELECT state, completed, timed_out FROM pg_background_run(NULL);
SELECT count(*) FROM pg_background_list;
SELECT workers_timed_out FROM pg_background_stats();
SELECT pg_background_record_timeout(), pg_background_record_timeout_v2();
SELECT workers_timed_out, pg_background_stats() = pg_background_stats_v2() AS same FROM pg_background_stats();

-- Its rows.
SELECT * FROM pg_background_run_query('SELECT g, ''row '' || g FROM generate_series(1, 3) g') AS (n int4, t text);
SELECT * FROM pg_background_run_query_v2('SELECT 1.5::numeric(4,1), ''a,b(''', col_def => ' "odd, ""name" numeric(4, 1) , b text ') AS (a numeric(4,1), b text);
SELECT * FROM pg_background_run_query('SELECT 1', col_def => 'a int8') AS (a int4);
SELECT * FROM pg_background_run_query('SELECT 1', col_def => 'a int4, b text') AS (a int4);
SELECT * FROM pg_background_run_query('SELECT 1', col_def => 'a int4); DROP TABLE named; --') AS (a int4);
SELECT * FROM pg_background_run_query('SELECT 1', col_def => 'nonsense') AS (a int4);
SELECT count(*) FROM named;
SELECT * FROM pg_background_run_query('SELECT 1 / 0') AS (a int4);
\set VERBOSITY default
SELECT * FROM pg_background_run_query('SELECT 1, 2') AS (a int4);
\set VERBOSITY sqlstate
SELECT * FROM pg_background_run_query('SELECT pg_sleep(600)', timeout_ms => 100) AS (a text);
SELECT * FROM pg_background_run_query(NULL) AS (a text);
SELECT count(*) FROM pg_background_list;
-- A call that is interrupted cancels its job.
SET statement_timeout = '200ms';
SELECT pg_background_run('SET statement_timeout = 0; SELECT pg_sleep(600)');
RESET statement_timeout;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
DROP TABLE named, other;
