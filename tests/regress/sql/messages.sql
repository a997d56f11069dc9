-- When and where the messages of a job arrive.
\set VERBOSITY terse
SELECT * FROM pg_background_launch_v2($job$DO $d$ BEGIN
    RAISE NOTICE 'first'; RAISE WARNING 'second'; RAISE INFO 'third'; RAISE DEBUG 'unseen'; RAISE LOG 'unseen';
END $d$$job$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);

-- Those that come before an error are seen, then the error.
SELECT * FROM pg_background_launch_v2($job$DO $d$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'the end'; END $d$$job$) \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
-- And so are those between rows.
CREATE FUNCTION messages_chatty(n int4) RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'row %', n;
    RETURN n;
END
$$;
SELECT r.* FROM pg_background_launch_v2('SELECT messages_chatty(n) FROM generate_series(1, 3) n') h,
    pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
-- The reader does not get messages below its level.
SELECT * FROM pg_background_launch_v2($job$DO $d$ BEGIN RAISE NOTICE 'hidden'; RAISE WARNING 'shown'; END $d$$job$) \gset
SET client_min_messages = warning;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
RESET client_min_messages;
-- The server's own.
SELECT * FROM pg_background_launch_v2('DROP TABLE IF EXISTS messages_none') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
-- More of them than the queue holds, read and not read.
SET client_min_messages = error;
SELECT r.* FROM pg_background_launch_v2($job$DO $d$ BEGIN FOR i IN 1..2000 LOOP RAISE NOTICE '%', repeat('n', 1000); END LOOP; END $d$$job$, 4096) h,
    pg_background_result_v2(h.pid, h.cookie) AS r (tag text);
RESET client_min_messages;
CREATE TABLE messages_done (n int4);
SELECT * FROM pg_background_launch_v2($job$DO $d$ BEGIN FOR i IN 1..2000 LOOP RAISE NOTICE '%', repeat('n', 1000); END LOOP; INSERT INTO messages_done VALUES (1); END $d$$job$, 4096) \gset
SELECT pg_background_detach_v2(:pid, :cookie);
SELECT eventually('EXISTS (SELECT FROM messages_done)');
DROP TABLE messages_done;
-- Nobody reads those of a submitted job.
SELECT * FROM pg_background_submit_v2($job$DO $d$ BEGIN RAISE NOTICE 'unheard'; END $d$$job$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);

-- The context of the job's own code is kept, above the line that names the worker.
CREATE FUNCTION messages_context(job text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle;
    context text;
BEGIN
    h := pg_background_launch_v2(job);
    PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (r text);
    RETURN NULL;
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
        RETURN substring(replace(context, h.pid::text, 'N') FROM '^.*background worker, pid N');
END
$$;
CREATE FUNCTION messages_inner() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / 0; RETURN 0; END $$;
SELECT messages_context('SELECT messages_inner()');
SELECT count(*) FROM jobs;
DROP FUNCTION messages_chatty, messages_context, messages_inner;
