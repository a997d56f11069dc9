-- Messages of a job are raised where its result is read, with a line that names the worker.
CREATE FUNCTION talk() RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'a notice' USING DETAIL = 'its detail', HINT = 'its hint';
    RAISE WARNING 'a warning' USING ERRCODE = '01ABC';
    RAISE INFO 'information';
    RETURN 1;
END
$$;
SELECT r.* FROM pg_background_launch_v2('SELECT talk()') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
-- In order with the rows, and more of them than the ring has room for.
SET client_min_messages = warning;
SELECT count(*) FROM pg_background_launch_v2('SELECT talk() FROM generate_series(1, 3)', 1024) h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
RESET client_min_messages;
-- Every field of an error.
CREATE FUNCTION complain() RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the message' USING ERRCODE = 'AB123', DETAIL = 'the detail', HINT = 'the hint',
        SCHEMA = 'the schema', TABLE = 'the table', COLUMN = 'the column', CONSTRAINT = 'the constraint', DATATYPE = 'the type';
END
$$;
DO $$
DECLARE
    h pg_background_handle := pg_background_launch_v2('SELECT complain()');
    state text; message text; detail text; hint text; context text;
    at_schema text; at_table text; at_column text; at_constraint text; at_type text;
BEGIN
    PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT, at_schema = SCHEMA_NAME, at_table = TABLE_NAME,
        at_column = COLUMN_NAME, at_constraint = CONSTRAINT_NAME, at_type = PG_DATATYPE_NAME;
    RAISE NOTICE '% | % | % | % | % | % | % | % | %', state, message, detail, hint, at_schema, at_table, at_column, at_constraint, at_type;
    RAISE NOTICE '%', replace(split_part(context, E'\n', 1) || ' / ' || split_part(context, E'\n', 2), h.pid::text, 'N');
END
$$;
-- A constraint's name comes through, as it does for a client.
CREATE TABLE checked (n int4 CONSTRAINT above_zero CHECK (n > 0));
DO $$
DECLARE
    h pg_background_handle := pg_background_launch_v2('INSERT INTO checked VALUES (-1)');
    at_table text; at_constraint text;
BEGIN
    PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (tag text);
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS at_table = TABLE_NAME, at_constraint = CONSTRAINT_NAME;
    RAISE NOTICE '% %', at_table, at_constraint;
END
$$;
-- A very long message arrives whole; the list shows its beginning.
SELECT * FROM pg_background_launch_v2($$DO 'BEGIN RAISE EXCEPTION ''%'', repeat(''long '', 100000); END'$$) \gset
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT length(last_error), right(last_error, 10) FROM jobs WHERE pid = :pid AND cookie = :cookie;
DO $$
DECLARE
    h record;
BEGIN
    SELECT * INTO STRICT h FROM jobs WHERE state = 'error';
    PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (tag text);
EXCEPTION WHEN raise_exception THEN
    RAISE NOTICE 'message of % bytes', length(SQLERRM);
END
$$;
-- An error at the commit is an error of the job.
CREATE TABLE later (n int4 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
SELECT outcome_of('INSERT INTO later VALUES (1), (1)');
SELECT count(*) FROM later;
DROP TABLE checked, later;
DROP FUNCTION talk, complain;
