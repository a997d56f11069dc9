\echo '== 3. An audit row that survives a rollback'
CREATE TABLE audit (at timestamptz DEFAULT clock_timestamp(), who name DEFAULT current_user, what text);
\set ECHO queries
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1000000 WHERE aid = 1;
SELECT command
FROM pg_background_launch_v2($$INSERT INTO audit (what) VALUES ('tried to enrich account 1')$$) AS job,
     pg_background_result(job.pid, job.cookie) AS (command text);
ROLLBACK;
SELECT who, what FROM audit;
