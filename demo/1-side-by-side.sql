\echo '== 1. Aggregates over four parts of pgbench_accounts: first one after another, then side by side in jobs'
CREATE EXTENSION pg_background;
-- A job runs with the settings of the session that launched it. Parallel query is off both times, so the
-- difference comes from the jobs alone.
SET max_parallel_workers_per_gather = 0;

CREATE FUNCTION part_query(part int, parts int) RETURNS text
LANGUAGE sql AS $$
    SELECT format('SELECT count(*), sum(abalance), '
                  'percentile_cont(0.5) WITHIN GROUP (ORDER BY ln(aid) * sin(aid)) '
                  'FROM pgbench_accounts WHERE aid BETWEEN %s AND %s',
                  (part - 1) * n / parts + 1, part * n / parts)
    FROM (SELECT max(aid)::bigint AS n FROM pgbench_accounts) AS accounts
$$;

CREATE FUNCTION in_turn(parts int)
RETURNS TABLE (part int, accounts bigint, balance bigint, median float8)
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. parts LOOP
        part := i;
        EXECUTE part_query(part, parts) INTO accounts, balance, median;
        RETURN NEXT;
    END LOOP;
END $$;

CREATE FUNCTION side_by_side(parts int)
RETURNS TABLE (part int, accounts bigint, balance bigint, median float8)
LANGUAGE plpgsql AS $$
DECLARE
    jobs pg_background_handle[];
    job pg_background_handle;
BEGIN
    FOR i IN 1 .. parts LOOP
        jobs[i] := pg_background_launch_v2(part_query(i, parts));
    END LOOP;
    FOR i IN 1 .. parts LOOP
        job := jobs[i];
        RETURN QUERY SELECT i, r.*
            FROM pg_background_result(job.pid, job.cookie)
                AS r(accounts bigint, balance bigint, median float8);
    END LOOP;
END $$;

\o /dev/null
SELECT * FROM in_turn(4);
SELECT clock_timestamp() AS started \gset
\o
CREATE TABLE turn AS SELECT * FROM in_turn(4);
SELECT clock_timestamp() AS between \gset
CREATE TABLE side AS SELECT * FROM side_by_side(4);
SELECT clock_timestamp() AS finished \gset

SELECT part, turn.accounts, turn.balance, turn.median, turn = side AS same_result
FROM turn JOIN side USING (part) ORDER BY part;
SELECT round(1000 * extract(epoch FROM :'between'::timestamptz - :'started')) AS in_turn_ms,
       round(1000 * extract(epoch FROM :'finished'::timestamptz - :'between')) AS side_by_side_ms,
       round(extract(epoch FROM :'between'::timestamptz - :'started')
           / extract(epoch FROM :'finished'::timestamptz - :'between'), 2) AS times_as_fast;
