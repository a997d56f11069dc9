-- Launch in loops, read in loops, as PL/pgSQL written for version 1.8 does.
\set VERBOSITY terse
-- An array of handles.
CREATE FUNCTION loops_parallel_sum(parts int4) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    handles pg_background_handle[];
    h pg_background_handle;
    part int8;
    total int8 := 0;
BEGIN
    FOR i IN 0 .. parts - 1 LOOP
        SELECT * INTO h FROM pg_background_launch_v2(format('SELECT sum(n) FROM generate_series(1, 10000) n WHERE n %% %s = %s', parts, i));
        handles := handles || h;
    END LOOP;
    FOREACH h IN ARRAY handles LOOP
        SELECT s INTO part FROM pg_background_result_v2(h.pid, h.cookie) AS (s int8);
        total := total + part;
    END LOOP;
    RETURN total;
END
$$;
SELECT loops_parallel_sum(4), loops_parallel_sum(12);
-- The same with pids, as for version 1.
CREATE FUNCTION loops_parallel_v1(parts int4) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    pids int4[];
    total int8 := 0;
    p int4;
BEGIN
    FOR i IN 0 .. parts - 1 LOOP
        pids[i] := pg_background_launch(format('SELECT sum(n) FROM generate_series(1, 10000) n WHERE n %% %s = %s', parts, i), 65536);
    END LOOP;
    FOREACH p IN ARRAY pids LOOP
        total := total + (SELECT s FROM pg_background_result(p) AS (s int8));
    END LOOP;
    RETURN total;
END
$$;
SELECT loops_parallel_v1(4);
-- The composite in other ways: as a record, as columns, in a table.
DO $$
DECLARE
    r record;
    v int4;
BEGIN
    r := pg_background_launch_v2('SELECT 41 + 1');
    SELECT n INTO v FROM pg_background_result_v2(r.pid, r.cookie) AS (n int4);
    RAISE NOTICE 'record: %', v;
    SELECT (h).pid, (h).cookie INTO r FROM (SELECT pg_background_launch_v2('SELECT 43') AS h OFFSET 0) s;
    SELECT n INTO v FROM pg_background_result_v2(r.pid, r.cookie) AS (n int4);
    RAISE NOTICE 'columns: %', v;
END
$$;
CREATE TEMP TABLE loops_handles (n int4, h pg_background_handle);
INSERT INTO loops_handles SELECT n, pg_background_launch_v2(format('SELECT %s', n * n)) FROM generate_series(1, 5) n;
SELECT n, r.square FROM loops_handles, pg_background_result_v2((h).pid, (h).cookie) AS r (square int4) ORDER BY n;
DROP TABLE loops_handles;

-- Waves, as large as max_workers allows.
CREATE TABLE loops_work (n int4);
DO $$
DECLARE
    handles pg_background_handle[];
    h pg_background_handle;
BEGIN
    FOR wave IN 1..10 LOOP
        handles := '{}';
        FOR i IN 1..16 LOOP
            handles := handles || pg_background_launch_v2(format('INSERT INTO loops_work VALUES (%s)', wave * 100 + i));
        END LOOP;
        FOREACH h IN ARRAY handles LOOP
            PERFORM pg_background_wait_v2(h.pid, h.cookie);
            PERFORM pg_background_detach_v2(h.pid, h.cookie);
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*), count(DISTINCT n) FROM loops_work;
DROP TABLE loops_work;

-- Wait with a limit, cancel what is late, clean up with the list.
DO $$
DECLARE
    h pg_background_handle;
    r record;
BEGIN
    h := pg_background_launch_v2('SELECT pg_sleep(600)');
    IF NOT pg_background_wait_v2_timeout(h.pid, h.cookie, 50) THEN
        PERFORM pg_background_cancel_v2_grace(h.pid, h.cookie, 5000);
    END IF;
    PERFORM pg_background_submit_v2('SELECT 1');
    FOR r IN
        SELECT * FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4,
            state text, sql_preview text, last_error text, consumed bool)
    LOOP
        PERFORM pg_background_wait_v2(r.pid, r.cookie);
        PERFORM pg_background_detach_v2(r.pid, r.cookie);
    END LOOP;
END
$$;
SELECT count(*) FROM jobs;

-- Errors caught: the block goes on, and so does the session.
DO $$
DECLARE
    h pg_background_handle;
    v int4;
BEGIN
    FOREACH v IN ARRAY ARRAY[2, 0, 5] LOOP
        h := pg_background_launch_v2(format('SELECT 10 / %s', v));
        BEGIN
            RAISE NOTICE '10 / % = %', v, (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4));
        EXCEPTION
            WHEN division_by_zero THEN
                RAISE NOTICE '10 / %: %', v, SQLERRM;
        END;
    END LOOP;
END
$$;
SELECT count(*) FROM jobs;
DROP FUNCTION loops_parallel_sum, loops_parallel_v1;
