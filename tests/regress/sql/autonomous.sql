-- One statement in a transaction of its own: exec and call.
\set SHOW_CONTEXT never
CREATE TABLE notes (id int PRIMARY KEY, note text);
CREATE FUNCTION noted() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM notes';

-- What was done stays, whatever becomes of the caller.
BEGIN;
SELECT pg_background_exec('INSERT INTO notes VALUES (1, ''one''), (2, ''two'')');
SELECT pg_background_exec('UPDATE notes SET note = $2 WHERE id = $1', 2, 'TWO'::text);
SELECT pg_background_call('INSERT INTO notes VALUES ($1, $2) RETURNING note', NULL::text, 3, 'three'::text);
ROLLBACK;
SELECT * FROM notes ORDER BY id;

-- How many rows: of the last statement, 0 where it has no count.
SELECT pg_background_exec(sql), sql
FROM unnest(ARRAY['SELECT generate_series(1, 3)', 'DELETE FROM notes WHERE id > 100', 'CREATE TABLE made (n int)', '',
                  'INSERT INTO made VALUES (1); INSERT INTO made SELECT generate_series(2, 5)',
                  'CREATE TABLE copied AS SELECT * FROM made', 'SHOW work_mem', 'DO $$BEGIN END$$']) AS sql;

-- Values: the first column of the first row, converted as an assignment does it.
SELECT pg_background_call('SELECT 42', NULL::int), pg_typeof(pg_background_call('SELECT 42', NULL::int8));
SELECT pg_background_call('SELECT count(*) FROM notes', NULL::int) AS "narrower",
       pg_background_call('SELECT 1.7', NULL::int) AS rounded,
       pg_background_call('SELECT 1, 2, 3', NULL::text) AS first_of_many,
       pg_background_call('SELECT generate_series(7, 9)', 0) AS first_row,
       pg_background_call('SELECT NULL::int', 5) AS "null",
       pg_background_call('SELECT 1 WHERE false', 5) AS no_row,
       pg_background_call('CREATE TABLE other (n int)', 5) AS no_rows_at_all,
       pg_background_call('', 5) AS nothing,
       pg_background_call('SELECT 1; SELECT 2', 5) AS last_statement;
SELECT pg_background_call('SELECT $1 || $2', NULL::text, 'a'::text, 'b'::text),
       pg_background_call('SELECT $1', NULL::int[], ARRAY[1, NULL, 3]),
       pg_background_call('SELECT $1 + 1', NULL::int, VARIADIC ARRAY[41]),
       pg_background_call('SHOW work_mem', NULL::text),
       pg_background_call('EXPLAIN (COSTS off) SELECT 1', NULL::text);

-- The statement runs to its end, also after the first row.
SELECT pg_background_call('INSERT INTO notes SELECT g, ''many'' FROM generate_series(10, 14) g RETURNING id', NULL::int);
SELECT noted();

-- Other types.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE DOMAIN given AS int NOT NULL;
CREATE DOMAIN ordered AS pair CHECK ((VALUE).a > 0);
SELECT pg_background_call('SELECT ''glad''::mood', NULL::mood), pg_background_call('SELECT int4range(1, 5)', NULL::int4range),
       pg_background_call('SELECT 3', NULL::small), pg_background_call('SELECT ''{"a": 1}''::jsonb', NULL::jsonb),
       pg_background_call('SELECT ARRAY[1, 2]', NULL::small[]), pg_background_call('SELECT repeat(''x'', 100000)', NULL::text) = repeat('x', 100000);
SELECT pg_background_call('SELECT 1::bigint, ''x''::name', NULL::pair), pg_background_call('SELECT ROW(2, ''y'')::pair', NULL::pair),
       (pg_background_call('SELECT * FROM notes ORDER BY id LIMIT 1', NULL::notes)).note,
       pg_background_call('SELECT 1, ''x''::text', NULL::ordered),
       pg_background_call('SELECT NULL::int, NULL::text', NULL::pair) IS NULL AS of_nulls,
       pg_background_call('SELECT n FROM notes n WHERE id = 2', NULL::notes);

-- An error of the conversion is the job's, and rolls it back.
SELECT noted() AS before;
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING ''x''::text', NULL::int);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING 5000000000', NULL::int);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING 10', NULL::small);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL)', 1::given);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING NULL::int', 1::given);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING id, note, id', NULL::pair);
SELECT pg_background_call('INSERT INTO notes VALUES (20, NULL) RETURNING 0, note', ROW(1, '')::ordered);
SELECT pg_background_call('SELECT FROM notes', NULL::int);
SELECT noted() AS after;

-- Types that cannot be wanted.
SELECT pg_background_call('SELECT 1', NULL::record);
SELECT pg_background_call('SELECT 1', NULL);
BEGIN;
CREATE TYPE fresh AS (n int);
\set VERBOSITY terse
SELECT pg_background_call('SELECT 1', NULL::fresh);
\set VERBOSITY default
ROLLBACK;

-- A row type that the session has altered, and types that the job drops or alters.
BEGIN;
ALTER TYPE pair ADD ATTRIBUTE c int;
-- A worker that has not seen the type before waits for the session's lock on it: that is a deadlock.
DO $$
DECLARE
    refused int := 0;
BEGIN
    BEGIN
        PERFORM pg_background_call('INSERT INTO notes VALUES (21, ''v'') RETURNING id, note', NULL::pair);
    EXCEPTION WHEN datatype_mismatch OR deadlock_detected THEN
        refused := refused + 1;
    END;
    BEGIN
        PERFORM pg_background_call('INSERT INTO notes VALUES (21, ''v'') RETURNING ''{}''::pair[]', NULL::pair[]);
    EXCEPTION WHEN datatype_mismatch OR deadlock_detected THEN
        refused := refused + 1;
    END;
    ASSERT refused = 2;
END $$;
ROLLBACK;
SELECT noted() AS after;
\set VERBOSITY terse
SELECT pg_background_call('DROP DOMAIN given', 1::given);
SELECT pg_background_call('DROP DOMAIN given; SELECT 1', 1::given);
SELECT pg_background_call('DROP TYPE mood', NULL::mood);
\set VERBOSITY default
SELECT pg_background_call('ALTER TYPE pair ADD ATTRIBUTE c int; SELECT 1, ''x''::text, 3', NULL::pair);
SELECT pg_background_call('SELECT 1, ''x''::text, 3', NULL::pair);

-- The conversion may do what a statement with parallel workers may not.
CREATE TABLE checked (n int8);
CREATE FUNCTION note_check(n int8) RETURNS bool LANGUAGE sql AS 'INSERT INTO checked VALUES (n) RETURNING true';
CREATE DOMAIN noting AS int8 CHECK (note_check(VALUE));
CREATE TABLE numbers AS SELECT g AS n, repeat('x', 10000) AS x FROM generate_series(1, 1000) g;
ALTER TABLE numbers SET (parallel_workers = 2);
ANALYZE numbers;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT pg_background_call('EXPLAIN (COSTS off) SELECT count(*) FROM numbers', NULL::text);
SELECT pg_background_call('SELECT count(*) FROM numbers', 0::noting);
SELECT pg_background_call('SELECT n FROM numbers WHERE n = 7', 0::noting);
SELECT length(pg_background_call('SELECT x FROM numbers WHERE n = 7', NULL::text));
SELECT n, count(*) FROM checked WHERE n > 0 GROUP BY n ORDER BY n;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- Errors come as themselves, notices arrive.
SELECT pg_background_exec(NULL);
SELECT pg_background_call(NULL, 1);
SELECT pg_background_exec('INSERT INTO notes VALUES (1, ''again'')');
SELECT pg_background_exec('SELEC 1');
SELECT pg_background_exec('COMMIT');
SELECT pg_background_exec('COPY notes TO STDOUT');
SELECT pg_background_exec('DO $$BEGIN RAISE EXCEPTION ''mine'' USING ERRCODE = ''P9999'', DETAIL = ''d'', HINT = ''h''; END$$');
SELECT pg_background_exec('DO $$BEGIN RAISE NOTICE ''heard''; END$$');
SELECT pg_background_call('SELECT $1', 1);
SELECT pg_background_call('SELECT pg_terminate_backend(pg_backend_pid())', true);
DO $$
BEGIN
    PERFORM pg_background_exec('SELECT 1 / 0');
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'caught %', SQLERRM;
END $$;

-- A time limit and a cancel.
SET statement_timeout = '200ms';
SELECT pg_background_exec('SELECT pg_sleep(60)');
RESET statement_timeout;
SET pg_background.worker_timeout = '200ms';
SELECT pg_background_exec('SELECT pg_sleep(60)');
RESET pg_background.worker_timeout;

-- A job that waits for its caller is a deadlock.
SET deadlock_timeout = '100ms';
BEGIN;
UPDATE notes SET note = 'held' WHERE id = 1;
\set VERBOSITY terse
SELECT pg_background_exec('UPDATE notes SET note = ''wanted'' WHERE id = 1');
\set VERBOSITY default
ROLLBACK;
RESET deadlock_timeout;

-- Functions, triggers, procedures, cursors, prepared statements, jobs.
CREATE TABLE audited (n int);
CREATE TABLE audit (n int, at_commit bool);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_background_exec('INSERT INTO audit VALUES ($1, $2)', NEW.n, TG_NAME = 'late');
    RETURN NEW;
END $$;
CREATE TRIGGER soon AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON audited DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit();
INSERT INTO audited VALUES (1);
BEGIN;
INSERT INTO audited VALUES (2);
ROLLBACK;
SELECT * FROM audit ORDER BY n, at_commit;
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 30 .. 32 LOOP
        PERFORM pg_background_exec('INSERT INTO notes VALUES ($1, $2)', i, 'step'::text);
        ROLLBACK;
    END LOOP;
END $$;
CALL in_steps();
SELECT count(*) FROM notes WHERE note = 'step';
PREPARE called AS SELECT pg_background_call('SELECT $1 * 2', NULL::int, $1::int);
EXECUTE called(21);
EXECUTE called(22);
PREPARE open_type AS SELECT pg_background_exec('SELECT $1', $1);
BEGIN;
DECLARE c CURSOR FOR SELECT pg_background_call('SELECT $1', NULL::int, g) FROM generate_series(1, 3) g;
FETCH 2 FROM c;
ROLLBACK;
-- Such a cursor runs to its end when the transaction commits.
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT pg_background_exec('INSERT INTO notes VALUES ($1, ''held'')', g) FROM generate_series(41, 43) g;
SELECT count(*) FROM notes WHERE note = 'held';
COMMIT;
SELECT count(*) FROM notes WHERE note = 'held';
FETCH ALL FROM held;
CLOSE held;
SELECT pg_background_call('SELECT pg_background_call(''SELECT $1 + 1'', NULL::int, $1) + 1', NULL::int, 40);
CREATE FUNCTION twice(value anyelement) RETURNS anyelement LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_background_call('SELECT $1 || $1', value, value::text);
END $$;
SELECT twice('ab'::text);
BEGIN READ ONLY;
SELECT pg_background_exec('INSERT INTO notes VALUES (40, ''from a read-only transaction'')');
SELECT pg_background_call('UPDATE notes SET note = $1 WHERE id = 40 RETURNING note', NULL::text, 'and called'::text);
ROLLBACK;
SELECT note FROM notes WHERE id = 40;
SELECT proparallel, provolatile, proisstrict, proname, pronargs FROM pg_proc
WHERE proname IN ('pg_background_exec', 'pg_background_call') ORDER BY proname, pronargs;

-- They need no permit of the session, and leave nothing.
SET pg_background.max_workers = 1;
SELECT count(*) FROM pg_background_launch_v2('SELECT pg_sleep(60)') AS handle;
SELECT pg_background_call('SELECT 1', NULL::int);
SELECT pg_background_cancel_v2(pid, cookie), pg_background_wait_v2(pid, cookie), pg_background_detach_v2(pid, cookie)
FROM pg_background_list_v2() AS (pid int, cookie bigint, launched_at timestamptz, user_id oid, queue_size int, state text,
                                 sql_preview text, last_error text, consumed bool);
RESET pg_background.max_workers;
SELECT count(*) FROM pg_background_list_v2() AS (pid int, cookie bigint, launched_at timestamptz, user_id oid, queue_size int,
                                                 state text, sql_preview text, last_error text, consumed bool);
SELECT slots_used, arena_bytes, jobs_queued FROM pg_background_resources();
DROP TABLE notes, made, copied, other, audited, audit, numbers;
DROP FUNCTION noted, audit, twice;
DROP PROCEDURE in_steps;
DROP DOMAIN small, given, ordered, noting;
DROP FUNCTION note_check;
DROP TABLE checked;
DROP TYPE mood, pair;
