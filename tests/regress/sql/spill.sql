-- A result that nobody reads goes on into a temporary file: its worker is not held, nothing is lost or
-- disordered, and no file stays.
\set VERBOSITY sqlstate
CREATE FUNCTION run(sql text) RETURNS TABLE (pid int4, cookie int8) LANGUAGE sql VOLATILE AS 'SELECT * FROM pg_background_launch_v2(sql)';
CREATE FUNCTION spill_files() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT format('%s files, %s listed, %s bytes', r.spill_files, (SELECT count(*) FROM pg_ls_tmpdir() WHERE name ~ 'pgb'), r.spill_bytes) FROM pg_background_resources() r
$$;
CREATE PROCEDURE wait_until_spilled() LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM jobs j WHERE pg_background_spilled(j.pid, j.cookie) > 0) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

-- Detached jobs of another test may still have files.
SELECT eventually('(SELECT slots_used = 0 FROM pg_background_resources())');
-- Not read, it finishes; read later, it is whole.
SELECT * FROM run($$SELECT g, repeat('x', g % 300) FROM generate_series(1, 200000) g$$) \gset
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SELECT pg_background_spilled(:pid, :cookie) > 30000000 AS spilled, spill_files() ~ '^1 files, 1 listed' AS one_file;
-- A wrong column list loses nothing of it.
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (g text);
SELECT count(*), sum(length(t)), bool_and(g = n) AS in_order
FROM (SELECT r.*, row_number() OVER () AS n FROM pg_background_result_v2(:pid, :cookie) AS r (g int4, t text)) s;
SELECT spill_files();

-- Nor of a result whose first row is larger than the queue, after a notice that is so too; in the queue
-- and in the file.
SELECT * FROM run($$DO $do$ BEGIN RAISE NOTICE '%', repeat('n', 100000); END $do$; SELECT repeat('x', 200000) FROM generate_series(1, 2)$$) \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (g int4);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (g int4);
SELECT consumed FROM pg_background_outcome(:pid, :cookie);
SELECT sum(length(t)) FROM pg_background_result_v2(:pid, :cookie) AS r (t text);
SELECT spill_files();

-- Read while it runs, it needs no file: the lowest limit would not allow one. (It begins when the
-- reader is there.)
SET work_mem = '100MB';
SET temp_file_limit = 0;
SELECT * FROM run($$SELECT g, repeat('x', g % 300) FROM (SELECT generate_series(1, 200000) AS g FROM pg_sleep(0.5)) s$$) \gset
RESET temp_file_limit;
SELECT count(*), sum(length(t)), bool_and(g = n) AS in_order
FROM (SELECT r.*, row_number() OVER () AS n FROM pg_background_result_v2(:pid, :cookie) AS r (g int4, t text)) s;
RESET work_mem;
-- Not read, it needs one, and fails.
SET temp_file_limit = '1MB';
SELECT * FROM run($$SELECT g, repeat('x', g % 300) FROM (SELECT generate_series(1, 200000) AS g) s$$) \gset
RESET temp_file_limit;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs;
SELECT count(*) FROM pg_background_result_v2(:pid, :cookie) AS r (g int4, t text);
SELECT spill_files();

-- Values larger than the ring begin in it and go on in the file.
SELECT * FROM run($$SELECT g, repeat(g::text, 300000) FROM generate_series(1, 9) g$$) \gset
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000), pg_background_spilled(:pid, :cookie) > 2500000 AS spilled;
SELECT g, length(t), t = repeat(g::text, 300000) AS same FROM pg_background_result_v2(:pid, :cookie) AS r (g int4, t text);
SELECT spill_files();

-- An idle cursor does not hold the worker, and goes on where it was.
BEGIN;
SELECT pid AS pid1, cookie AS cookie1 FROM run('SELECT g FROM generate_series(1, 300000) g') \gset
SELECT pid AS pid2, cookie AS cookie2 FROM run('SELECT -g FROM generate_series(1, 300000) g') \gset
DECLARE c1 CURSOR FOR SELECT pg_background_result(:pid1, :cookie1, NULL::int4);
DECLARE c2 CURSOR FOR SELECT pg_background_result(:pid2, :cookie2, NULL::int4);
FETCH 2 FROM c1;
FETCH 2 FROM c2;
SELECT pg_background_wait_v2_timeout(:pid1, :cookie1, 60000), pg_background_wait_v2_timeout(:pid2, :cookie2, 60000);
SELECT spill_files() ~ '^2 files, 2 listed' AS two_files;
FETCH 1 FROM c1;
FETCH 1 FROM c2;
MOVE 250000 FROM c1;
MOVE 250000 FROM c2;
FETCH 1 FROM c1;
FETCH 1 FROM c2;
MOVE ALL FROM c1;
CLOSE c2;
COMMIT;
SELECT count(*) FROM jobs;
SELECT spill_files();

-- A reader that comes and goes while the worker writes: from the ring to the file and back, in order.
CREATE FUNCTION read_in_steps(sql text, pause float8) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql);
    c refcursor;
    r record;
    expected int4 := 0;
BEGIN
    OPEN c FOR EXECUTE format('SELECT pg_background_result(%s, %s, NULL::int4) AS n', h.pid, h.cookie);
    LOOP
        FETCH c INTO r;
        EXIT WHEN NOT FOUND;
        expected := expected + 1;
        IF r.n <> expected THEN
            RETURN format('%s instead of %s', r.n, expected);
        END IF;
        IF expected % 20000 = 0 THEN
            PERFORM pg_sleep(pause);
        END IF;
    END LOOP;
    CLOSE c;
    RETURN expected;
END
$$;
SELECT read_in_steps('SELECT g FROM generate_series(1, 300000) g', 0.02);
SELECT read_in_steps('SELECT g FROM (SELECT generate_series(1, 100000) AS g) s, LATERAL (SELECT CASE WHEN g % 5000 = 0 THEN pg_sleep(0.01) END OFFSET 0) p', 0.01);
SELECT spill_files();

-- Detached while it spills: the job goes on, the file is deleted with it.
SELECT * FROM run('SELECT g, repeat(''x'', 100) FROM (SELECT generate_series(1, 10000000) AS g) s') \gset
CALL wait_until_spilled();
SELECT pg_background_cancel_v2(:pid, :cookie);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT spill_files() ~ '^1 files' AS kept_for_the_reader;
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT spill_files();
SELECT * FROM run('SELECT g, repeat(''x'', 100) FROM (SELECT generate_series(1, 3000000) AS g) s') \gset
CALL wait_until_spilled();
SELECT pg_background_detach_v2(:pid, :cookie);
CREATE PROCEDURE wait_until_no_file() LANGUAGE plpgsql AS $$
BEGIN
    WHILE spill_files() !~ '^0 files' LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
CALL wait_until_no_file();
SELECT spill_files();
-- Its worker is terminated while it spills.
SELECT * FROM run('SELECT g, repeat(''x'', 100) FROM (SELECT generate_series(1, 100000000) AS g) s') \gset
CALL wait_until_spilled();
SELECT pg_terminate_backend(:pid);
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT state FROM jobs;
SELECT count(*) FROM pg_background_result_v2(:pid, :cookie) AS r (g int4, t text);
SELECT spill_files();
-- A submitted job's rows are not kept anywhere.
SELECT * FROM pg_background_submit_v2($$SELECT repeat('x', 1000) FROM generate_series(1, 100000)$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_spilled(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);

-- Notices that find the ring full do not hold the job either, over the commits of a procedure too.
CREATE PROCEDURE talkative(rounds int4) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. rounds LOOP
        RAISE NOTICE '% %', i, repeat('x', 20000);
        COMMIT;
    END LOOP;
END
$$;
SELECT * FROM run('CALL talkative(20)') \gset
SELECT pg_background_wait_v2_timeout(:pid, :cookie, 60000);
SET client_min_messages = warning;
SELECT tag FROM pg_background_result_v2(:pid, :cookie) AS r (tag text);
RESET client_min_messages;
SELECT spill_files();
SELECT count(*) FROM jobs;

-- Rows before an error come before it, though nobody had read them when it was raised.
SELECT * FROM run($$SELECT repeat('x', 1000), 1 / (1000 - g) FROM generate_series(1, 2000) g$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
BEGIN;
DECLARE c CURSOR FOR SELECT pg_background_result_json(:pid, :cookie);
MOVE FORWARD 999 IN c;
FETCH 1 FROM c;
ROLLBACK;
SELECT spill_files();

-- So do the notices of the commit.
CREATE TABLE noticed (n int4);
CREATE FUNCTION notice_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'at the commit'; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER noticed AFTER INSERT ON noticed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION notice_it();
SELECT * FROM run($$WITH w AS (INSERT INTO noticed VALUES (1)) SELECT repeat('x', 1000) FROM generate_series(1, 2000)$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT count(*) FROM pg_background_result_v2(:pid, :cookie) AS r (t text);
SELECT spill_files();
DROP TABLE noticed;
DROP FUNCTION notice_it();

DROP PROCEDURE talkative(int4), wait_until_spilled(), wait_until_no_file();
DROP FUNCTION read_in_steps(text, float8), spill_files(), run(text);
