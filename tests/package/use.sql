-- The use of an installed package: the extension is created, runs a job, and updates an old version.
\set ON_ERROR_STOP on
\set VERBOSITY terse

CREATE FUNCTION a_job_answers() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    job record;
    answer int4;
BEGIN
    SELECT * INTO job FROM pg_background_launch_v2('SELECT 6 * 7');
    SELECT n INTO answer FROM pg_background_result_v2(job.pid, job.cookie) AS (n int4);
    ASSERT answer = 42, 'the answer is ' || answer;
END $$;

CREATE EXTENSION pg_background;
SELECT a_job_answers();
DROP EXTENSION pg_background;

CREATE EXTENSION pg_background VERSION '1.6';
SELECT a_job_answers();
ALTER EXTENSION pg_background UPDATE;
SELECT a_job_answers();
DO $$
BEGIN
    ASSERT (SELECT extversion = '3.0' FROM pg_extension WHERE extname = 'pg_background'), 'the version';
END $$;
DROP EXTENSION pg_background;
DROP FUNCTION a_job_answers();
\echo a package that works
