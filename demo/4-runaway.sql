\echo '== 4. A runaway query (without its join condition) is canceled'
\set ECHO queries
SELECT pid, cookie
FROM pg_background_launch_v2('SELECT count(*) FROM pgbench_accounts a, pgbench_accounts b') \gset
SELECT pg_background_wait(:pid, :cookie, 300) AS finished_by_itself;
SELECT pg_background_cancel(:pid, :cookie) \g /dev/null
SELECT pg_background_wait(:pid, :cookie) \g /dev/null
SELECT state, sql_preview, last_error
FROM pg_background_list_v2() AS (pid int, cookie bigint, launched_at timestamptz, user_id oid,
    queue_size int, state text, sql_preview text, last_error text, consumed bool);
SELECT pg_background_detach(:pid, :cookie) \g /dev/null
