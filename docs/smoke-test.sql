-- Tests pg_background on a server: psql -X -f smoke-test.sql "host=... dbname=... user=..."
-- Run it as a role that has pgbackground_role. It creates and drops a schema of its own, and ends with exit code 0 only
-- if all checks pass.
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned
\o /dev/null
SET client_min_messages = warning;
SET statement_timeout = '60s';
SELECT 'smoke_test_' || pg_backend_pid() AS schema \gset
CREATE SCHEMA :schema;
SELECT set_config('search_path', format('%I, %s', :'schema', current_setting('search_path')), false);
CREATE TABLE tried (what text);

CREATE FUNCTION expect(what text, is_so bool) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF is_so IS NOT TRUE THEN
        RAISE EXCEPTION 'smoke test: FAILED: %', what;
    END IF;
    RETURN 'ok      ' || what;
END $$;

CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN '00000';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

\o
SELECT 'server  ' || split_part(version(), ' ', 2) || ', extension ' || extversion
FROM pg_extension WHERE extname = 'pg_background';
SELECT expect('the extension is installed', count(*) = 1) FROM pg_extension WHERE extname = 'pg_background';

SELECT pid, cookie FROM pg_background_launch_v2('SELECT 6 * 7') \gset
SELECT expect('a job is launched and its result read', answer = 42)
FROM pg_background_result(:pid, :cookie) AS (answer int);

SELECT expect('parameters are bound', r.n = 3)
FROM pg_background_launch_params('SELECT length($1)', 'a''b'::text) AS job, pg_background_result(job.pid, job.cookie) AS r (n int);

SELECT expect('an error of a job is raised as itself', sqlstate_of($$
    SELECT * FROM pg_background_run_query('SELECT 1 / 0') AS (n int) $$) = '22012');

BEGIN;
SELECT expect('a job commits by itself', (pg_background_run(format('INSERT INTO %I.tried VALUES (''autonomous'')', :'schema'))).state = 'stopped');
ROLLBACK;
SELECT expect('and the row survives a rollback', count(*) = 1) FROM tried;

SELECT expect('VACUUM runs in a job', (pg_background_run(format('VACUUM %I.tried', :'schema'))).command_tag = 'VACUUM');

SELECT pid, cookie FROM pg_background_submit('SELECT pg_sleep(600)') \gset
SELECT expect('a wait has a limit', NOT pg_background_wait(:pid, :cookie, 200));
\o /dev/null
SELECT pg_background_cancel(:pid, :cookie);
\o
SELECT expect('a job is canceled', pg_background_wait(:pid, :cookie, 5000));
SELECT expect('and says so', state = 'canceled' AND sqlstate = '57014') FROM pg_background_outcome(:pid, :cookie);
\o /dev/null
SELECT pg_background_detach(:pid, :cookie);
\o

SELECT expect('a fan-out runs every statement', count(*) = 100 AND count(*) FILTER (WHERE ok) = 99)
FROM pg_background_fanout(ARRAY(SELECT 'SELECT 1 / ' || n FROM generate_series(0, 99) AS n));

BEGIN;
LOCK TABLE tried;
SELECT expect('a wait for a job that waits for this session is a deadlock', sqlstate_of(format($$
    SELECT * FROM pg_background_run_query('INSERT INTO %I.tried VALUES (1)') AS (command text) $$, :'schema')) = '40P01');
ROLLBACK;

SELECT expect('the session tracks no job any more', count(*) = 0) FROM pg_background_list;
\o /dev/null
DROP SCHEMA :schema CASCADE;
\o
SELECT 'smoke test: passed';
