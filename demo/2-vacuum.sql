\echo '== 2. VACUUM from a transaction block; without a job neither a transaction block nor a function can run it'
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 10 = 0;
\set ECHO queries
BEGIN;
SELECT pid, cookie FROM pg_background_launch_v2('VACUUM (ANALYZE) pgbench_tellers') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (command text);
SELECT pid, cookie FROM pg_background_submit('VACUUM pgbench_accounts') \gset
-- This session is free while the job runs.
SELECT state, sql_preview
FROM pg_background_list_v2() AS (pid int, cookie bigint, launched_at timestamptz, user_id oid,
    queue_size int, state text, sql_preview text, last_error text, consumed bool);
COMMIT;
SELECT pg_background_wait(:pid, :cookie) \g /dev/null
SELECT pg_background_detach(:pid, :cookie) \g /dev/null
SELECT relname, n_dead_tup, last_vacuum FROM pg_stat_user_tables
WHERE relname = 'pgbench_accounts';
