-- The use of an extension that is outside of the server's directories: jobs, a worker that stays, the library as
-- pg_upgrade looks for it on a new server. The extension and the worker are there afterwards. The idle timeout is 1s.
\set VERBOSITY terse
SET client_min_messages = warning;
SET pg_background.forms = '1.8';
CREATE EXTENSION IF NOT EXISTS pg_background;
ALTER ROLE postgres SET pg_background.keep_workers = 1;
\c

CREATE TEMPORARY TABLE program AS
SELECT DISTINCT probin FROM pg_proc WHERE probin LIKE '%pg\_background';
SELECT 1 / (count(*) = 1 AND min(probin) = 'pg_background')::int FROM program \g /dev/null
LOAD 'pg_background';

DO $$
DECLARE
    job record;
    answer int4;
BEGIN
    SELECT * INTO job FROM pg_background_launch_v2('SELECT 6 * 7');
    SELECT n INTO answer FROM pg_background_result_v2(job.pid, job.cookie) AS (n int4);
    ASSERT answer = 42, 'the answer is ' || answer;
    ASSERT pg_background_exec('CREATE TABLE made (n int4)') = 0;
    ASSERT pg_background_exec('INSERT INTO made VALUES ($1), ($2)', 1, 2) = 2;
    -- A job that launches a job.
    ASSERT pg_background_call('SELECT pg_background_call(''SELECT sum(n) FROM made'', 0::bigint)', 0::bigint) = 3;
    PERFORM pg_background_exec('DROP TABLE made');
END $$;

-- Longer than the idle timeout, after which one of the two workers stays.
SELECT pg_sleep(2.5) \g /dev/null
SELECT 1 / (count(*) = 1)::int FROM pg_stat_activity WHERE backend_type = 'pg_background' \g /dev/null
SELECT pg_background_exec('SELECT 1') \g /dev/null
