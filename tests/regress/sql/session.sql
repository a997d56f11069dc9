-- A job sees its leader's session, and nothing of the job before it. All of these run on one worker, one
-- after the other; the pid shows it.
\set VERBOSITY sqlstate
CREATE FUNCTION job(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
    value text;
BEGIN
    SELECT r.t INTO value FROM pg_background_result_v2(h.pid, h.cookie) AS r (t text);
    RETURN value;
END
$$;
SELECT pg_background_retire_idle() >= 0;
SELECT eventually('(SELECT workers_idle + workers_busy + workers_starting = 0 FROM pg_background_resources())');
SELECT job('SELECT pg_backend_pid()') AS pid \gset
-- The leader's settings.
CREATE SCHEMA elsewhere;
SET search_path = elsewhere, public;
SET work_mem = '7MB';
SET application_name = 'the leader';
SET my.own = 'custom';
SET DateStyle = 'SQL, DMY';
SELECT job(format('SELECT current_setting(%L)', name)) FROM unnest(ARRAY['search_path', 'work_mem', 'application_name', 'my.own', 'DateStyle']) name;
BEGIN;
SET LOCAL work_mem = '9MB';
SELECT job('SHOW work_mem');
ROLLBACK;
SELECT job('SHOW work_mem');
RESET work_mem;
RESET DateStyle;
RESET search_path;
RESET my.own;
SELECT job('SHOW work_mem') = current_setting('work_mem') AS as_the_leader, job('SHOW search_path') = current_setting('search_path') AS path;
-- What a job changes does not reach the next.
SELECT job('SET work_mem = ''11MB''; SELECT current_setting(''work_mem'')');
SELECT job('SHOW work_mem') = current_setting('work_mem') AS as_the_leader;
SELECT job('SET search_path = elsewhere'), job('SET row_security = off'), job('SELECT set_config(''my.own'', ''left'', false)');
SELECT job('SHOW search_path') = current_setting('search_path') AS path, job('SHOW row_security') AS row_security, job('SELECT current_setting(''my.own'', true)') IS DISTINCT FROM 'left' AS own;
SELECT job('CREATE TEMP TABLE left_over (n int4)'), sqlstate_of($$SELECT job('SELECT * FROM left_over')$$);
SELECT job('PREPARE left_over AS SELECT 1'), sqlstate_of($$SELECT job('EXECUTE left_over')$$);
SELECT job('DECLARE left_over CURSOR WITH HOLD FOR SELECT 1'), sqlstate_of($$SELECT job('FETCH left_over')$$);
-- PostgreSQL does not let a background process listen.
SELECT sqlstate_of($$SELECT job('LISTEN left_over')$$), job('SELECT count(*) FROM pg_listening_channels()');
CREATE SEQUENCE counter;
SELECT job('SELECT nextval(''counter'')'), sqlstate_of($$SELECT job('SELECT currval(''counter'')')$$), sqlstate_of($$SELECT job('SELECT lastval()')$$);
-- A session's advisory lock is free as soon as the job is seen finished.
SELECT job('SELECT pg_advisory_lock(4711)'), pg_try_advisory_lock(4711), pg_advisory_unlock(4711);
-- After an error, and after a cancel, all the same.
SELECT sqlstate_of($$SELECT job('SET work_mem = ''13MB''; CREATE TEMP TABLE left_over (n int4); SELECT 1 / 0')$$);
SELECT job('SHOW work_mem') = current_setting('work_mem') AS as_the_leader;
SELECT job('SELECT pg_backend_pid()') = :'pid' AS still_the_same_process;
-- A worker that cannot be reset is replaced.
SELECT job('LOAD ''auto_explain''');
SELECT eventually(format('NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)', :pid));
SELECT job('SELECT pg_backend_pid()') <> :'pid' AS another_process;
-- A job sees itself in the statistics views as a client would.
SELECT job('SELECT backend_type || '' '' || state || '' '' || query FROM pg_stat_activity WHERE pid = pg_backend_pid()');
-- And a job can launch jobs.
SELECT job('SELECT job(''SELECT 1 + 1'')');
-- Jobs that a job launched are not the next job's.
SELECT job('SELECT count(pg_background_launch_v2(''SELECT 1'')) FROM generate_series(1, 3)'), job('SELECT count(*) FROM jobs');
SELECT job('SELECT workers_launched FROM pg_background_stats_v2()');
DROP SEQUENCE counter;
DROP SCHEMA elsewhere;
DROP FUNCTION job;
SELECT count(*) FROM jobs;
