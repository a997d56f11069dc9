\echo '== 6. Launch SELECT 1 and read its row: on a warm worker, and with a new process for each job'
-- Back to back, the worker is still spinning for its next job (pg_background.spin); after a pause it sleeps
-- and has to be woken.
CREATE PROCEDURE measure(rounds int, pause_ms int, OUT median_us numeric, OUT p95_us numeric)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    taken float8[];
BEGIN
    FOR i IN 1 .. rounds LOOP
        IF pause_ms > 0 THEN
            PERFORM pg_sleep(pause_ms / 1000.0);
        END IF;
        started := clock_timestamp();
        PERFORM one FROM pg_background_launch_v2('SELECT 1') AS job,
            pg_background_result(job.pid, job.cookie) AS (one int);
        taken[i] := 1e6 * extract(epoch FROM clock_timestamp() - started);
    END LOOP;
    SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY us)::numeric, 1),
           round(percentile_cont(0.95) WITHIN GROUP (ORDER BY us)::numeric, 1)
    INTO median_us, p95_us FROM unnest(taken) AS us;
END $$;

\o /dev/null
CALL measure(100, 0, NULL, NULL);
CALL measure(500, 0, NULL, NULL) \gset warm_
CALL measure(500, 2, NULL, NULL) \gset asleep_
-- Without an idle time a worker exits after its job, as workers of the C extension do.
ALTER SYSTEM SET pg_background.worker_idle_timeout = 0;
SELECT pg_reload_conf(), pg_sleep(0.2);
CALL measure(50, 0, NULL, NULL) \gset cold_
ALTER SYSTEM RESET pg_background.worker_idle_timeout;
SELECT pg_reload_conf();
\o
SELECT 'warm worker, back to back' AS launch_and_read, :warm_median_us AS median_us,
       :warm_p95_us AS p95_us
UNION ALL
SELECT 'warm worker, after a pause', :asleep_median_us, :asleep_p95_us
UNION ALL
SELECT 'new process', :cold_median_us, :cold_p95_us;
