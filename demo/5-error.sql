\echo '== 5. An error of a job arrives with all its fields'
\set ECHO queries
DO $$
DECLARE
    job pg_background_handle;
    context text;
BEGIN
    job := pg_background_launch_v2('SELECT 1 / (abalance - abalance) FROM pgbench_accounts');
    PERFORM * FROM pg_background_result(job.pid, job.cookie) AS (quotient int);
EXCEPTION WHEN division_by_zero THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE 'caught SQLSTATE %: %', SQLSTATE, SQLERRM
        USING DETAIL = 'context: ' || split_part(context, E'\n', 1);
END $$;
