\echo '== 6. Launch SELECT 1 and read its row: on a warm worker, and with a new process for each job'
CREATE PROCEDURE measure(rounds int, OUT median_us numeric, OUT p95_us numeric)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    taken float8[];
BEGIN
    FOR i IN 1 .. rounds LOOP
        started := clock_timestamp();
        PERFORM one FROM pg_background_launch_v2('SELECT 1') AS job,
            pg_background_result_v2(job.pid, job.cookie) AS (one int);
        taken[i] := 1e6 * extract(epoch FROM clock_timestamp() - started);
    END LOOP;
    SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY us)::numeric, 1),
           round(percentile_cont(0.95) WITHIN GROUP (ORDER BY us)::numeric, 1)
    INTO median_us, p95_us FROM unnest(taken) AS us;
END $$;

\o /dev/null
CALL measure(100, NULL, NULL);
CALL measure(500, NULL, NULL) \gset warm_
-- Without an idle time a worker leaves after its job, as those of the C extension do.
ALTER SYSTEM SET pg_background.worker_idle_timeout = 0;
SELECT pg_reload_conf(), pg_sleep(0.2);
CALL measure(50, NULL, NULL) \gset cold_
ALTER SYSTEM RESET pg_background.worker_idle_timeout;
SELECT pg_reload_conf();
\o
SELECT 'warm worker' AS launch_and_read, :warm_median_us AS median_us, :warm_p95_us AS p95_us
UNION ALL
SELECT 'new process', :cold_median_us, :cold_p95_us;
