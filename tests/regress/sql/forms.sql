-- The forms of 1.8 and of 2.0 on a new install, and code that is written for 2.0 under the forms of 1.8.
\set VERBOSITY sqlstate
SELECT current_database() AS main \gset
CREATE DATABASE pgb_forms;
\c pgb_forms
SET pg_background.forms = 'neither';
CREATE EXTENSION pg_background;
RESET pg_background.forms;
\set VERBOSITY terse
-- A warning says which forms were made, unless they were chosen.
CREATE EXTENSION pg_background;
DROP EXTENSION pg_background;
SET pg_background.forms = '2.1';
SET pg_background.forms = '1.8';
CREATE EXTENSION pg_background;
DROP EXTENSION pg_background;
CREATE FUNCTION forms() RETURNS TABLE (name text, result text) LANGUAGE sql AS $$
    SELECT oid::regprocedure::text, format_type(prorettype, NULL)
    FROM pg_proc
    WHERE proname ~ '^pg_background_(launch|wait_v2|cancel_v2|get_progress_v2)$'
    ORDER BY 1
$$;
SET pg_background.forms = '1.8';
CREATE EXTENSION pg_background;
SELECT * FROM forms();
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'pg_background_stats'::regclass;
DROP EXTENSION pg_background;
-- The setting of the database, before the library is loaded.
ALTER DATABASE pgb_forms SET pg_background.forms = '2.0';
\c
CREATE EXTENSION pg_background;
SELECT * FROM forms();
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'pg_background_stats'::regclass;
-- They work.
SELECT * FROM pg_background_launch('SELECT 42') \gset
SELECT pg_background_wait_v2(:pid, :cookie), pg_background_get_progress_v2(:pid, :cookie) IS NULL AS no_progress,
       (pg_background_outcome(p_pid => :pid, p_cookie => :cookie)).state;
SELECT pg_background_cancel_v2(:pid, :cookie) IS NOT NULL AS void;
SELECT * FROM pg_background_result(:pid, :cookie) AS (n int4);
SELECT workers_timed_out, workers_active FROM pg_background_stats();
DROP EXTENSION pg_background;
\c :main
DROP DATABASE pgb_forms;

-- Code for 2.0 where launch returns a pid: an assignment makes the handle of it.
\set VERBOSITY sqlstate
CREATE TABLE kept (job pg_background_handle);
DO $$
DECLARE
    h pg_background_handle;
    answer int4;
BEGIN
    h := pg_background_launch('SELECT 42');
    PERFORM pg_background_wait(h.pid, h.cookie);
    SELECT r.n INTO answer FROM pg_background_result(h.pid, h.cookie) AS r (n int4);
    ASSERT answer = 42;
    INSERT INTO kept VALUES (pg_background_launch('SELECT 43'));
    UPDATE kept SET job = pg_background_launch('SELECT 44');
    SELECT (job).* INTO h FROM kept;
    ASSERT (pg_background_wait_any(ARRAY[h])).cookie = h.cookie;
    SELECT r.n INTO answer FROM pg_background_result(h.pid, h.cookie) AS r (n int4);
    ASSERT answer = 44;
END
$$;
-- The handle does not name a later job, and another's pid has none.
SELECT pg_background_launch('SELECT 45') AS pid FROM kept \gset
SELECT (pg_background_outcome((job).pid, (job).cookie)).state FROM kept;
INSERT INTO kept VALUES (1);
-- SELECT INTO leaves the cookie NULL. Every function that would be given it says so; strict ones of 1.8 do nothing.
SELECT pg_background_wait(:pid, NULL);
SELECT pg_background_cancel(:pid, NULL);
SELECT pg_background_detach(:pid, NULL);
SELECT * FROM pg_background_result(:pid, NULL) AS (n int4);
SELECT * FROM pg_background_result(:pid, NULL, NULL::int4);
SELECT pg_background_result_info(:pid, NULL);
SELECT pg_background_error_info_v2(:pid, NULL);
SELECT pg_background_full_sql(:pid, NULL);
SELECT pg_background_get_progress(:pid, NULL);
SELECT pg_background_wait_any(ARRAY[(:pid, NULL)]::pg_background_handle[]);
SELECT * FROM pg_background_drain(ARRAY[(:pid, NULL)]::pg_background_handle[]);
SELECT pg_background_wait_v2(:pid, NULL) IS NULL AS strict;
\set VERBOSITY default
SELECT pg_background_wait(:pid, NULL, 1000);
\set VERBOSITY sqlstate
-- Without such a job a NULL argument is NULL.
SELECT pg_background_wait(1, NULL) IS NULL AS wait, pg_background_wait(:pid, 1, NULL) IS NULL AS no_limit,
       pg_background_cancel(:pid, 0, NULL) IS NULL AS no_grace, pg_background_full_sql(NULL, 1) IS NULL AS full_sql,
       pg_background_result_info(NULL, NULL) IS NULL AS info, pg_background_error_info(1, NULL) IS NULL AS error;
SELECT * FROM pg_background_result(:pid) AS (n int4);
SELECT pg_background_detach_all();
DROP TABLE kept;
