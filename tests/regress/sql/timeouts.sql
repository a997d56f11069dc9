-- The time that a job may take.
\set VERBOSITY sqlstate
-- worker_timeout limits it, and ends it with an error of the job, not a cancel.
SET pg_background.worker_timeout = '100ms';
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
RESET pg_background.worker_timeout;
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SELECT state FROM jobs WHERE cookie = :cookie;
SELECT outcome_of(:pid, :cookie);
-- The next job of that worker has its own limit.
SELECT outcome_of('SELECT pg_sleep(0.5)::text');
-- Without it the leader's statement_timeout holds; with it, it does not.
SET statement_timeout = '2s';
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SET pg_background.worker_timeout = '10min';
SELECT pid AS long_pid, cookie AS long_cookie FROM pg_background_launch_v2('SELECT pg_sleep(3), ''late''') \gset
RESET statement_timeout;
RESET pg_background.worker_timeout;
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SELECT outcome_of(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:long_pid, :long_cookie) AS (s text, late text);
-- It holds for each statement of the text, worker_timeout for all of them.
SET statement_timeout = '500ms';
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(0.3); SELECT pg_sleep(0.3); SELECT ''late'' FROM pg_sleep(0.3)') \gset
SELECT pid AS long_pid, cookie AS long_cookie FROM pg_background_launch_v2('SELECT pg_sleep(0.3); SELECT pg_sleep(600)') \gset
RESET statement_timeout;
SET pg_background.worker_timeout = '500ms';
SELECT pid AS all_pid, cookie AS all_cookie FROM pg_background_launch_v2('SELECT pg_sleep(0.3); SELECT pg_sleep(0.3); SELECT ''late''') \gset
RESET pg_background.worker_timeout;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (late text);
SELECT outcome_of(:long_pid, :long_cookie);
SELECT outcome_of(:all_pid, :all_cookie);
-- A job that catches it has the rest of the statement without one, as a session; one that catches the limit of the
-- whole job gets it again.
SELECT outcome_of($$SET statement_timeout = '100ms'; DO 'BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; PERFORM pg_sleep(0.3); END'$$);
SET pg_background.worker_timeout = '100ms';
SELECT outcome_of($$DO 'BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; PERFORM pg_sleep(600); END'$$);
-- A shorter one that the text sets holds as well.
SET pg_background.worker_timeout = '10min';
SELECT outcome_of('SET statement_timeout = ''100ms''; SELECT pg_sleep(600)');
RESET pg_background.worker_timeout;
-- A limit that the text sets itself counts from its next statement on.
SELECT outcome_of('SET statement_timeout = ''100ms''; SELECT pg_sleep(600)');
SELECT outcome_of('SET statement_timeout = ''100ms''; SET statement_timeout = 0; SELECT pg_sleep(0.3)::text');
SET pg_background.worker_timeout = '100ms';
SELECT outcome_of('SET statement_timeout = 0; SELECT pg_sleep(600)');
RESET pg_background.worker_timeout;

SELECT count(*) FROM jobs;
