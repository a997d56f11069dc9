-- Waiting outside of a transaction, for jobs that wait for the end of transactions.
\set VERBOSITY terse
SET deadlock_timeout = '20ms';
CREATE TABLE await_t AS SELECT n, n AS m FROM generate_series(1, 100) n;
CREATE FUNCTION await_valid(name text) RETURNS bool LANGUAGE sql AS
$$ SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(name) $$;

SELECT * FROM pg_background_launch_v2('CREATE INDEX CONCURRENTLY await_one ON await_t (n)') \gset
CALL pg_background_await(:pid, :cookie);
SELECT state FROM pg_background_outcome(:pid, :cookie);
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (command text);
SELECT await_valid('await_one');
-- From a procedure and a DO block, whose transaction it commits.
CREATE TABLE await_notes (note text);
DO $$
DECLARE
    h pg_background_handle;
BEGIN
    INSERT INTO await_notes VALUES ('before');
    h := pg_background_submit_v2('CREATE INDEX CONCURRENTLY await_two ON await_t (m)');
    CALL pg_background_await(h.pid, h.cookie);
    INSERT INTO await_notes SELECT state FROM pg_background_outcome(h.pid, h.cookie);
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
    FOR i IN 1 .. 2 LOOP
        h := pg_background_submit_v2('REINDEX INDEX CONCURRENTLY await_two');
        CALL pg_background_await(h.pid, h.cookie);
        PERFORM pg_background_detach_v2(h.pid, h.cookie);
    END LOOP;
    RAISE EXCEPTION 'after';
END
$$;
SELECT note FROM await_notes;
SELECT await_valid('await_two');
-- In a job.
CREATE PROCEDURE await_in_job() LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_submit_v2('REINDEX INDEX CONCURRENTLY await_one');
BEGIN
    CALL pg_background_await(h.pid, h.cookie);
    PERFORM pg_background_error_info(h.pid, h.cookie);
END
$$;
SELECT * FROM pg_background_submit_v2('CALL await_in_job()') \gset
CALL pg_background_await(:pid, :cookie);
SELECT state, sqlstate, error_message FROM pg_background_drain(ARRAY[(:pid, :cookie)]::pg_background_handle[]);
-- One that waits for it within a statement is in the way of the inner job.
SELECT sqlstate_of($$SELECT pg_background_run('CALL await_in_job()')$$);

-- Where the transaction cannot be ended.
SELECT * FROM pg_background_submit_v2('SELECT 1') \gset
CREATE FUNCTION await_in_function(pid int4, cookie int8) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL pg_background_await(pid, cookie); END $$;
CREATE PROCEDURE await_as_definer(pid int4, cookie int8) LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN CALL pg_background_await(pid, cookie); END $$;
CREATE PROCEDURE await_in_block(pid int4, cookie int8) LANGUAGE plpgsql AS $$ BEGIN CALL pg_background_await(pid, cookie); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
\set VERBOSITY default
BEGIN;
CALL pg_background_await(:pid, :cookie);
ROLLBACK;
\set VERBOSITY terse
SELECT await_in_function(:pid, :cookie);
CALL await_as_definer(:pid, :cookie);
CALL await_in_block(:pid, :cookie);
SELECT sqlstate_of(format('CALL pg_background_await(%s, %s)', :pid, :cookie));
-- The job is as it was.
CALL pg_background_await(:pid, :cookie);
CALL pg_background_await(:pid, :cookie);
SELECT state FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
-- Handles that name no job.
\set VERBOSITY sqlstate
CALL pg_background_await(:pid, :cookie);
\set VERBOSITY terse
CALL pg_background_await(1, 1);
CALL pg_background_await(NULL, 1);
CALL pg_background_await(1, NULL);
-- The error of a job is not raised, and the deferred error of the caller is.
SELECT * FROM pg_background_launch_v2('SELECT 1 / 0') \gset
CALL pg_background_await(:pid, :cookie);
SELECT state, sqlstate FROM pg_background_outcome(:pid, :cookie);
CREATE TABLE await_unique (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE PROCEDURE await_later(pid int4, cookie int8) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO await_unique VALUES (1), (1);
    CALL pg_background_await(pid, cookie);
END
$$;
CALL await_later(:pid, :cookie);
SELECT count(*) FROM await_unique;
SELECT pg_background_detach_v2(:pid, :cookie);
-- A job that waits for a lock of the session: no end of a transaction helps.
SELECT pg_advisory_lock(77);
SELECT * FROM pg_background_launch_v2('SELECT pg_advisory_lock(77)') \gset
CALL pg_background_await(:pid, :cookie);
SELECT pg_advisory_unlock(77);
CALL pg_background_await(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);

-- A wait within a transaction is a deadlock, which says what to do. What is left of the index has to be dropped.
DO $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM pg_background_run('CREATE INDEX CONCURRENTLY await_three ON await_t (n, m)');
EXCEPTION WHEN deadlock_detected THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE NOTICE E'%\n%\n%', SQLERRM, regexp_replace(detail, '[0-9]+', 'PID', 'g'), hint;
END
$$;
SELECT await_valid('await_three');
DROP INDEX await_three;
SELECT pg_background_detach_all();

DROP PROCEDURE await_in_job, await_as_definer, await_in_block, await_later;
DROP FUNCTION await_in_function, await_valid;
DROP TABLE await_t, await_notes, await_unique;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
