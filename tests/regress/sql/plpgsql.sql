-- Code as it was written for 1.8.
-- Fan-out over an array of handles, results in order.
DO $$
DECLARE
    handles pg_background_handle[] := '{}';
    h pg_background_handle;
    total int8 := 0;
    part int8;
BEGIN
    FOR i IN 0..3 LOOP
        h := pg_background_launch_v2(format('SELECT sum(g) FROM generate_series(%s, %s) g', i * 250 + 1, (i + 1) * 250));
        handles := handles || h;
    END LOOP;
    FOREACH h IN ARRAY handles LOOP
        SELECT r.s INTO part FROM pg_background_result_v2(h.pid, h.cookie) AS r (s int8);
        total := total + part;
    END LOOP;
    RAISE NOTICE 'total %', total;
END
$$;
-- An audit row that survives the rollback of the change that it records.
CREATE TABLE audit (what text);
CREATE TABLE work (n int4);
CREATE FUNCTION log_it(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM * FROM pg_background_result(pg_background_launch(format('INSERT INTO audit VALUES (%L)', what))) AS (tag text);
END
$$;
BEGIN;
INSERT INTO work VALUES (1);
SELECT log_it('it''s work');
ROLLBACK;
SELECT what, (SELECT count(*) FROM work) AS work FROM audit;
-- Maintenance from a function.
CREATE FUNCTION maintain(VARIADIC names text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY names LOOP
        RETURN QUERY SELECT r.tag FROM pg_background_result(pg_background_launch('VACUUM ANALYZE ' || name)) AS r (tag text);
    END LOOP;
END
$$;
SELECT * FROM maintain('audit', 'work');
-- Waiting with a limit, then giving up.
DO $$
DECLARE
    h pg_background_handle := pg_background_launch_v2('SELECT pg_sleep(600)');
BEGIN
    IF NOT pg_background_wait_v2_timeout(h.pid, h.cookie, 50) THEN
        PERFORM pg_background_cancel_v2(h.pid, h.cookie);
    END IF;
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (v text);
EXCEPTION WHEN query_canceled THEN
    RAISE NOTICE 'gave up';
END
$$;
-- An error in a job, caught; the session goes on, and so does its transaction.
DO $$
DECLARE
    pid int4 := pg_background_launch('SELECT 1 / 0');
BEGIN
    BEGIN
        PERFORM * FROM pg_background_result(pid) AS (n int4);
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'caught';
    END;
    PERFORM * FROM pg_background_result(pg_background_launch('SELECT 1')) AS (n int4);
    RAISE NOTICE 'went on';
END
$$;
-- Fire and forget, then look.
SELECT count(*) FROM (SELECT pg_background_submit_v2(format('INSERT INTO work VALUES (%s)', n)) FROM generate_series(1, 5) n OFFSET 0) s;
SELECT eventually('(SELECT count(*) = 5 FROM work)');
SELECT count(pg_background_detach_v2(pid, cookie)) FROM jobs;
-- A cursor over a result, and a LIMIT.
BEGIN;
DECLARE c CURSOR FOR SELECT r.n FROM pg_background_launch_v2('SELECT generate_series(1, 100000)') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
FETCH 2 FROM c;
COMMIT;
SELECT r.n FROM pg_background_launch_v2('SELECT generate_series(1, 100000)') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4) LIMIT 1;
SELECT count(*) FROM jobs;
DROP TABLE audit, work;
DROP FUNCTION log_it, maintain;
-- Nothing is left of all the tests.
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 AND dsm_segments = 0 AND jobs_queued = 0 FROM pg_background_resources())');
