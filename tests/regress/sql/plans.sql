-- Saved plans: they are used, and do not show their age. All jobs run in one worker.
\set VERBOSITY terse
LOAD 'pg_background';
ALTER SYSTEM SET pg_background.max_pool_workers = 1;
ALTER SYSTEM SET pg_background.plan_cache_size = '8MB';
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);

-- How many plans of the text the worker has saved.
CREATE FUNCTION saved(sql text) RETURNS int LANGUAGE sql SECURITY DEFINER AS $$
SELECT pg_background_call('SELECT count(*)::int FROM pg_backend_memory_contexts WHERE name = ''CachedPlanSource'' AND ident = $1',
                          NULL::int, sql)
$$;
-- The value of the text, from a saved plan. Others may change names at any time, which drops it.
CREATE FUNCTION from_saved(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..100 LOOP
        PERFORM pg_background_call(sql, NULL::text);
        IF saved(sql) > 0 THEN
            RETURN pg_background_call(sql, NULL::text);
        END IF;
    END LOOP;
    RAISE 'no plan was saved';
END $$;
-- The value, and no plan is saved.
CREATE FUNCTION from_text(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM pg_background_call(sql, NULL::text);
    END LOOP;
    ASSERT saved(sql) = 0;
    RETURN pg_background_call(sql, NULL::text);
END $$;
-- The value after some runs, whether a plan is saved or not.
CREATE FUNCTION again(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM pg_background_call(sql, NULL::text);
    END LOOP;
    RETURN pg_background_call(sql, NULL::text);
END $$;
-- The errors of the text.
CREATE FUNCTION errors_of(sql text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    found text[];
BEGIN
    FOR i IN 1..4 LOOP
        BEGIN
            PERFORM pg_background_call(sql, NULL::text);
            found[i] := 'none';
        EXCEPTION WHEN OTHERS THEN
            found[i] := SQLSTATE;
        END;
    END LOOP;
    RETURN found;
END $$;
GRANT EXECUTE ON FUNCTION from_saved, from_text, again, errors_of TO PUBLIC;

CREATE TABLE t (n int PRIMARY KEY, note text);
INSERT INTO t SELECT g, 'note ' || g FROM generate_series(1, 3) g;
CREATE FUNCTION seven() RETURNS int LANGUAGE sql STABLE AS 'SELECT 7';
CREATE FUNCTION eight() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 8; END';

-- What is saved, and what is not.
SELECT from_saved('SELECT count(*) FROM t'), from_saved('WITH w AS (SELECT n FROM t) SELECT sum(n) FROM w'),
       from_saved('(SELECT n FROM t UNION SELECT 9) ORDER BY 1 DESC LIMIT 1'), from_saved('VALUES (1)'), from_saved('TABLE t'),
       from_saved('UPDATE t SET note = ''changed'' WHERE n = 2 RETURNING note'), from_saved('DELETE FROM t WHERE n = 0 RETURNING n'),
       from_saved('INSERT INTO t VALUES (2) ON CONFLICT (n) DO UPDATE SET note = ''again'' RETURNING note'),
       from_saved('SELECT count(*) FROM pg_class, pg_attribute, pg_type WHERE false');
SELECT from_text('SELECT 1; SELECT 2'), from_text('SHOW DateStyle'), from_text('EXPLAIN (COSTS off) SELECT 1'),
       from_text('DO $$BEGIN END$$'), from_text('SELECT 1 INTO TEMP other'), from_text('(SELECT 1 INTO TEMP other) UNION SELECT 2'),
       from_text('CREATE TEMP TABLE other AS SELECT 1'), from_text('');

-- Parameters: an analysis for each list of types; plan_cache_mode decides about plans.
SELECT count(pg_background_call('SELECT n + $1 FROM t WHERE n = 1', 0::bigint, g)) FROM generate_series(1, 20) g;
SELECT count(pg_background_call('SELECT n + $1 FROM t WHERE n = 1', 0::bigint, g::bigint)) FROM generate_series(1, 20) g;
SELECT count(pg_background_call('SELECT $1 || ''x''', ''::text, VARIADIC ARRAY[g::text])) FROM generate_series(1, 20) g;
SELECT saved('SELECT n + $1 FROM t WHERE n = 1'), saved('SELECT $1 || ''x''');
SET plan_cache_mode = force_generic_plan;
SELECT count(pg_background_call('SELECT n + $1 FROM t WHERE n = 1', 0::bigint, g)) FROM generate_series(1, 20) g;
SET plan_cache_mode = force_custom_plan;
SELECT count(pg_background_call('SELECT n + $1 FROM t WHERE n = 1', 0::bigint, g)) FROM generate_series(1, 20) g;
RESET plan_cache_mode;
SELECT saved('SELECT n + $1 FROM t WHERE n = 1');
SELECT sum(pg_background_exec('INSERT INTO t VALUES ($1, $2)', g, 'bound ' || g)) FROM generate_series(101, 120) g;
SELECT count(*), min(note), max(note) FROM t WHERE n > 100;
SELECT pg_background_exec('INSERT INTO t VALUES ($1, $2)', 120, 'bound'::text);
SELECT pg_background_exec('DELETE FROM t WHERE n > 100');

-- The type of a parameter is altered.
CREATE TYPE pair AS (a int, b int);
SELECT count(pg_background_call('SELECT ($1).b', 0, ROW(1, 2)::pair)) FROM generate_series(1, 10);
ALTER TYPE pair DROP ATTRIBUTE b;
ALTER TYPE pair ADD ATTRIBUTE b text;
SELECT pg_background_call('SELECT ($1).b', ''::text, ROW(1, 'two')::pair);

-- Tables: altered, dropped and made again, another one in front.
SELECT from_saved('SELECT t FROM t WHERE n = 1');
ALTER TABLE t ADD COLUMN more int DEFAULT 5;
SELECT from_saved('SELECT t FROM t WHERE n = 1');
ALTER TABLE t ALTER COLUMN note TYPE int USING length(note);
SELECT from_saved('SELECT t FROM t WHERE n = 1');
ALTER TABLE t RENAME COLUMN note TO size;
SELECT from_saved('SELECT t FROM t WHERE n = 1');
DROP TABLE t;
SELECT pg_background_call('SELECT t FROM t WHERE n = 1', NULL::text);
CREATE TABLE t (n int, note text);
INSERT INTO t VALUES (1, 'made again');
SELECT from_saved('SELECT t FROM t WHERE n = 1');
ALTER TABLE t RENAME TO renamed;
SELECT pg_background_call('SELECT t FROM t WHERE n = 1', NULL::text);
ALTER TABLE renamed RENAME TO t;
CREATE SCHEMA front;
GRANT USAGE ON SCHEMA front TO PUBLIC;
SET search_path = front, public;
SELECT from_saved('SELECT note FROM t');
CREATE TABLE front.t (note text);
INSERT INTO front.t VALUES ('in front');
SELECT from_saved('SELECT note FROM t');
RESET search_path;
SELECT from_saved('SELECT note FROM t');
SET search_path = front, public;
SELECT from_saved('SELECT note FROM t');
ALTER SCHEMA front RENAME TO behind;
SELECT from_saved('SELECT note FROM t');
ALTER SCHEMA behind RENAME TO front;
SELECT from_saved('SELECT note FROM t');
DROP TABLE front.t;
SELECT from_saved('SELECT note FROM t');
RESET search_path;
-- A view, a rule, a default, a partition.
CREATE VIEW v AS SELECT 'first' AS word;
SELECT from_saved('SELECT * FROM v');
CREATE OR REPLACE VIEW v AS SELECT 'second' AS word;
SELECT from_saved('SELECT * FROM v');
SELECT from_saved('UPDATE t SET n = n + 1');
CREATE RULE r AS ON UPDATE TO t DO INSTEAD INSERT INTO t VALUES (0, 'by the rule');
DELETE FROM t;
SELECT from_saved('UPDATE t SET n = n + 1');
SELECT DISTINCT * FROM t;
DROP RULE r ON t;
SELECT from_saved('UPDATE t SET n = n + 1');
SELECT min(n) > 0 AS updated FROM t;
TRUNCATE t;
INSERT INTO t VALUES (5, 'after the rule');
CREATE TABLE parted (n int) PARTITION BY RANGE (n);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted VALUES (1);
SELECT from_saved('SELECT count(*) FROM parted');
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (11);
SELECT from_saved('SELECT count(*) FROM parted');
ALTER TABLE parted DETACH PARTITION parted1;
SELECT from_saved('SELECT count(*) FROM parted');

-- Functions: replaced, one that fits better, dropped and made again.
SELECT again('SELECT seven()'), again('SELECT eight()');
CREATE OR REPLACE FUNCTION seven() RETURNS int LANGUAGE sql STABLE AS 'SELECT 77';
CREATE OR REPLACE FUNCTION eight() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 88; END';
SELECT again('SELECT seven()'), again('SELECT eight()');
CREATE FUNCTION fits(bigint) RETURNS text LANGUAGE sql AS 'SELECT ''bigint''';
SELECT again('SELECT fits(1)');
CREATE FUNCTION fits(int) RETURNS text LANGUAGE sql AS 'SELECT ''int''';
SELECT again('SELECT fits(1)');
DROP FUNCTION fits(int);
SELECT again('SELECT fits(1)');
CREATE TABLE numbered (n int DEFAULT 1, f text GENERATED ALWAYS AS ('a') STORED);
SELECT from_saved('INSERT INTO numbered DEFAULT VALUES RETURNING n');
ALTER TABLE numbered ALTER n SET DEFAULT 2;
SELECT from_saved('INSERT INTO numbered DEFAULT VALUES RETURNING n');
-- Types, casts, operators.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN small AS int CHECK (VALUE < 10);
SELECT again('SELECT ''glad''::mood'), again('SELECT 7::small'), again('SELECT ''mood''::regtype');
ALTER TYPE mood RENAME VALUE 'glad' TO 'happy';
ALTER DOMAIN small DROP CONSTRAINT small_check;
ALTER DOMAIN small ADD CHECK (VALUE > 7);
SELECT pg_background_call('SELECT ''glad''::mood', NULL::text);
SELECT pg_background_call('SELECT 7::small', NULL::text);
ALTER TYPE mood RENAME TO temper;
SELECT pg_background_call('SELECT ''mood''::regtype', NULL::text);
CREATE FUNCTION as_int(temper) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 42';
CREATE FUNCTION plus(temper, temper) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''sum''';
CREATE FUNCTION takes(int) RETURNS text LANGUAGE sql AS 'SELECT ''int ''|| $1';
CREATE FUNCTION takes(anyelement) RETURNS text LANGUAGE sql AS 'SELECT ''any''';
SELECT again('SELECT takes(''sad''::temper)');
CREATE CAST (temper AS int) WITH FUNCTION as_int(temper) AS IMPLICIT;
DROP FUNCTION takes(anyelement);
SELECT again('SELECT takes(''sad''::temper)');
DROP CAST (temper AS int);
SELECT pg_background_call('SELECT takes(''sad''::temper)', NULL::text);

-- Settings that change what a statement means.
SET DateStyle = 'ISO, MDY';
SELECT from_saved('SELECT ''01/02/2003''::date');
SET DateStyle = 'ISO, DMY';
SELECT from_saved('SELECT ''01/02/2003''::date');
SET DateStyle = 'ISO, MDY';
SELECT from_saved('SELECT ''01/02/2003''::date'), saved('SELECT ''01/02/2003''::date');
RESET DateStyle;
SET TimeZone = 'UTC';
SELECT from_saved('SELECT timestamptz ''2003-01-01 12:00'' AT TIME ZONE ''UTC''');
SET TimeZone = 'Asia/Tokyo';
SELECT from_saved('SELECT timestamptz ''2003-01-01 12:00'' AT TIME ZONE ''UTC''');
RESET TimeZone;
-- Since 19 there is only one way to read strings.
DO $do$
DECLARE
    sql CONSTANT text := $$SELECT length('\\\\')$$;
BEGIN
    IF current_setting('server_version_num')::int < 190000 THEN
        SET LOCAL standard_conforming_strings = off;
        SET LOCAL escape_string_warning = off;
        ASSERT from_saved(sql) = '2';
        SET LOCAL standard_conforming_strings = on;
    END IF;
    ASSERT from_saved(sql) = '4';
END $do$;
-- Others share a plan.
SELECT from_saved('SELECT ''shared''');
SET application_name = 'another';
SET statement_timeout = '1h';
SET lock_timeout = '1h';
SET log_statement_stats = off;
SET log_min_duration_statement = 100000;
SET client_min_messages = warning;
SET app.user_id = '17';
SET pg_background.default_queue_size = '128kB';
SELECT from_saved('SELECT ''shared'''), saved('SELECT ''shared''');
SET app.user_id = '18';
SELECT from_saved('SELECT ''shared'''), saved('SELECT ''shared''');
RESET application_name;
RESET statement_timeout;
RESET lock_timeout;
RESET log_statement_stats;
RESET log_min_duration_statement;
RESET client_min_messages;
RESET pg_background.default_queue_size;
SELECT from_saved('SELECT current_setting(''app.user_id'')');
SET app.user_id = '19';
SELECT from_saved('SELECT current_setting(''app.user_id'')'), saved('SELECT current_setting(''app.user_id'')');
-- A name that is a placeholder until a library defines it.
SET plpgsql.extra_warnings = 'shadowed_variables';
SELECT from_saved('SELECT eight()');
RESET plpgsql.extra_warnings;
-- A job changes a setting: the next one has the session's.
SELECT from_saved('SELECT set_config(''DateStyle'', ''ISO, DMY'', false)');
SELECT from_saved('SELECT ''01/02/2003''::date::text || current_setting(''DateStyle'')');
CREATE FUNCTION with_setting() RETURNS date LANGUAGE plpgsql SET DateStyle = 'ISO, DMY' AS $$BEGIN RETURN '01/02/2003'::date; END$$;
SELECT from_saved('SELECT with_setting()'), from_saved('SELECT ''01/02/2003''::date');

-- Times: another value for each job, also in the body of an inlined function.
SELECT from_text('SELECT ''now''::timestamptz < clock_timestamp()'), from_text('SELECT timestamp ''today'' = current_date'),
       from_text('SELECT ''{yesterday}''::date[] = ARRAY[current_date - 1]'), from_text('SELECT E''t\x6fmorrow''::date - current_date'),
       from_text('SELECT '' NOW()''::timestamptz < clock_timestamp()');
CREATE FUNCTION the_time() RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT 'now'::timestamptz$$;
CREATE FUNCTION outer_time() RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT the_time()$$;
CREATE FUNCTION called_time() RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT now()$$;
SELECT from_text('SELECT the_time() = now()'), from_text('SELECT outer_time() = now()'),
       from_text('SELECT count(*) FROM t WHERE the_time() = now()');
SELECT again('SELECT called_time() = now()'), again('SELECT now() = transaction_timestamp() -- ''known'''),
       from_saved('SELECT ''I know nowhere''');
SELECT count(pg_background_call('SELECT the_time() = now() AND $1 = $1', true, g)) FROM generate_series(1, 20) g;
SELECT saved('SELECT the_time() = now() AND $1 = $1');

-- One plan for all values is not made unless the leader asks for it: it may fail, and take locks, where a plan for these
-- values does not.
CREATE FUNCTION fails() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'no value'; END $$;
SELECT count(pg_background_call('SELECT coalesce($1, fails())', NULL::int, g)) FROM generate_series(1, 20) g;
SELECT count(*) FROM pg_background_fanout_params('SELECT CASE WHEN $1 = 0 THEN 1 / 0 ELSE $1 END', array_fill(3, ARRAY[20]), 1) WHERE ok;
CREATE TABLE listed (k int) PARTITION BY LIST (k);
CREATE TABLE listed_1 PARTITION OF listed FOR VALUES IN (1);
CREATE TABLE listed_2 PARTITION OF listed FOR VALUES IN (2);
BEGIN;
LOCK TABLE listed_2;
SELECT count(pg_background_call('SELECT count(*) FROM listed WHERE k = $1', NULL::int8, 1)) FROM generate_series(1, 20);
ROLLBACK;
DROP TABLE listed;

-- Attributes of a type that no table of the plan has.
CREATE TYPE couple AS (a int, b int);
CREATE FUNCTION couples() RETURNS SETOF couple LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'SELECT 10, 20'; END $$;
SELECT from_saved('SELECT a FROM couples()');
ALTER TYPE couple RENAME ATTRIBUTE a TO c;
ALTER TYPE couple RENAME ATTRIBUTE b TO a;
SELECT from_saved('SELECT a FROM couples()');
SELECT from_text('SELECT ''(1,77)''::couple');
DROP TYPE couple CASCADE;

-- Functions that are declared IMMUTABLE, constants that run code of users, and times where no word shows.
CREATE FUNCTION tenant() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT current_setting('app.tenant') $$;
SET app.tenant = 'one';
SELECT from_text('SELECT tenant()');
SET app.tenant = 'two';
SELECT from_text('SELECT tenant()');
RESET app.tenant;
CREATE DOMAIN checked AS int CHECK (tenant() <> value::text);
SET app.tenant = 'three';
SELECT from_text('SELECT (''{5}''::checked[])[1]');
RESET app.tenant;
DROP DOMAIN checked;
DROP FUNCTION tenant, fails;
SELECT count(DISTINCT pg_background_call(text, NULL::timestamptz)), text
FROM (VALUES ('SELECT (''{n\ow}''::timestamptz[])[1]'), ('SELECT lower(''[n"ow",)''::tstzrange)'),
             ('WITH RECURSIVE r (x) AS (SELECT 1 UNION ALL SELECT x FROM r) CYCLE x SET c TO timestamptz ''now''
               DEFAULT timestamptz ''today'' USING p SELECT max(c) FROM r')) AS given (text), generate_series(1, 5)
GROUP BY text ORDER BY text COLLATE "C";

-- A mapping of a text search configuration.
CREATE TEXT SEARCH CONFIGURATION simplest (COPY = simple);
SELECT from_saved('SELECT to_tsvector(''simplest''::text::regconfig, ''cats'')');
ALTER TEXT SEARCH CONFIGURATION simplest ALTER MAPPING FOR asciiword WITH english_stem;
SELECT from_saved('SELECT to_tsvector(''simplest''::text::regconfig, ''cats'')');
DROP TEXT SEARCH CONFIGURATION simplest;

-- Errors: in the analysis, in the planning, in the execution; a cancel in each.
CREATE FUNCTION failing(text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_background_call($1, NULL::text);
    RETURN NULL;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN saved($1);
END $$;
CREATE FUNCTION slow() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(60); RETURN 1; END';
CREATE TABLE divisor (n int);
INSERT INTO divisor VALUES (0);
SELECT failing('SELECT none FROM t') FROM generate_series(1, 4);
SELECT failing('SELECT 1 / 0') FROM generate_series(1, 4);
SELECT max(failing('SELECT 1 / n FROM divisor')) FROM generate_series(1, 4);
UPDATE divisor SET n = 1;
SELECT from_saved('SELECT 1 / n FROM divisor');
SELECT from_saved('SELECT count(*) FROM divisor WHERE n < 2');
ALTER TABLE divisor RENAME n TO m;
SELECT failing('SELECT count(*) FROM divisor WHERE n < 2') FROM generate_series(1, 3);
ALTER TABLE divisor RENAME m TO n;
SELECT from_saved('SELECT count(*) FROM divisor WHERE n < 2');
SET pg_background.worker_timeout = '100ms';
SELECT failing('SELECT slow()') FROM generate_series(1, 4);
SELECT max(failing('SELECT pg_sleep(60) FROM divisor')) FROM generate_series(1, 4);
RESET pg_background.worker_timeout;
CREATE OR REPLACE FUNCTION slow() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT again('SELECT slow()');

-- DISCARD in a job.
SELECT from_saved('SELECT ''kept by DISCARD''');
SELECT pg_background_exec('DISCARD PLANS');
SELECT pg_background_call('SELECT ''kept by DISCARD''', NULL::text), saved('SELECT ''kept by DISCARD''') > 0 AS saved;
SELECT pg_background_exec('DISCARD ALL');
SELECT from_saved('SELECT ''kept by DISCARD''');

-- Users: rights and policies are checked for each, and follow changes.
CREATE ROLE regress_pgb_one;
CREATE ROLE regress_pgb_two;
CREATE ROLE regress_pgb_group;
GRANT pgbackground_role TO regress_pgb_one, regress_pgb_two;
CREATE FUNCTION secret() RETURNS text LANGUAGE sql STABLE AS 'SELECT ''secret''';
REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC;
GRANT EXECUTE ON FUNCTION secret TO regress_pgb_group;
GRANT regress_pgb_group TO regress_pgb_one;
SET ROLE regress_pgb_one;
SELECT again('SELECT secret()');
SET ROLE regress_pgb_two;
SELECT errors_of('SELECT secret()');
RESET ROLE;
SET SESSION AUTHORIZATION regress_pgb_two;
SELECT errors_of('SELECT secret()');
RESET SESSION AUTHORIZATION;
CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT again(''SELECT secret()'')';
SET ROLE regress_pgb_two;
SELECT definer();
SELECT errors_of('SELECT secret()');
SET ROLE regress_pgb_one;
SELECT again('SELECT secret()');
RESET ROLE;
REVOKE regress_pgb_group FROM regress_pgb_one;
SET ROLE regress_pgb_one;
SELECT errors_of('SELECT secret()');
RESET ROLE;
GRANT EXECUTE ON FUNCTION secret TO regress_pgb_one;
SET ROLE regress_pgb_one;
SELECT again('SELECT secret()');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION secret FROM regress_pgb_one;
SET ROLE regress_pgb_one;
SELECT errors_of('SELECT secret()');
RESET ROLE;

CREATE TABLE owned (owner name, what text);
INSERT INTO owned VALUES ('regress_pgb_one', 'of one'), ('regress_pgb_two', 'of two');
GRANT SELECT ON owned TO regress_pgb_one, regress_pgb_two;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON owned USING (owner = current_user);
SET ROLE regress_pgb_one;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
ALTER ROLE regress_pgb_two BYPASSRLS;
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
ALTER ROLE regress_pgb_two NOBYPASSRLS;
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
SET row_security = off;
SELECT errors_of('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET row_security;
RESET ROLE;
CREATE POLICY all_of_group ON owned TO regress_pgb_group USING (true);
GRANT regress_pgb_group TO regress_pgb_two;
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
REVOKE regress_pgb_group FROM regress_pgb_two;
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
ALTER POLICY own ON owned USING (owner <> current_user);
SET ROLE regress_pgb_two;
SELECT from_saved('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
REVOKE SELECT ON owned FROM regress_pgb_two;
SET ROLE regress_pgb_two;
SELECT errors_of('SELECT string_agg(what, '','' ORDER BY what) FROM owned');
RESET ROLE;
-- The right on a schema.
CREATE TABLE front.reached AS SELECT 'reached' AS what;
GRANT SELECT ON front.reached TO regress_pgb_one;
SET ROLE regress_pgb_one;
SELECT from_saved('SELECT what FROM front.reached');
RESET ROLE;
REVOKE USAGE ON SCHEMA front FROM PUBLIC;
SET ROLE regress_pgb_one;
SELECT errors_of('SELECT what FROM front.reached');
RESET ROLE;

-- Many texts in turn are all saved.
CREATE FUNCTION saved_in_turn(texts int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    FOR round IN 1..20 LOOP
        PERFORM pg_background_exec('SELECT ''in turn'', ' || g) FROM generate_series(1, texts) g;
        found := pg_background_call('SELECT count(*) FROM pg_backend_memory_contexts
            WHERE name = ''CachedPlanSource'' AND ident LIKE ''SELECT _in turn_, %''', 0::bigint);
        EXIT WHEN found = texts;
    END LOOP;
    RETURN found;
END $$;
SELECT saved_in_turn(300);

-- Bounded.
ALTER SYSTEM SET pg_background.plan_cache_size = '256kB';
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SELECT count(pg_background_call('SELECT count(*) FROM t WHERE n > ' || g / 2, NULL::text)) FROM generate_series(0, 999) g;
CREATE FUNCTION saved_memory() RETURNS int LANGUAGE sql AS $$
SELECT pg_background_call('SELECT sum(total_bytes)::int FROM pg_backend_memory_contexts WHERE ident LIKE ''SELECT count(%) FROM t WHERE n > %''', 0)
$$;
SELECT saved_memory() BETWEEN 10000 AND 262144 AS "bounded";
-- The one that was used last is there.
SELECT from_saved('SELECT count(*) FROM t WHERE n > 1000') >= '0', saved('SELECT count(*) FROM t WHERE n > 1000'),
       saved('SELECT count(*) FROM t WHERE n > 0');
-- One that is too large is not saved, and takes the place of no other.
SELECT length(from_text('SELECT ''' || repeat('large ', 20000) || '''')), saved('SELECT count(*) FROM t WHERE n > 1000');
SELECT count(pg_background_call(sql, 0)) FROM (SELECT 'SELECT ' || string_agg('n', ' - ') || ' FROM t' FROM generate_series(1, 500)) AS s (sql),
    generate_series(1, 5);
SELECT saved('SELECT count(*) FROM t WHERE n > 1000');
ALTER SYSTEM SET pg_background.plan_cache_size = 0;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SELECT from_text('SELECT count(*) FROM t WHERE n > 1000') IS NOT NULL;
ALTER SYSTEM SET pg_background.plan_cache_size = '8MB';
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SELECT from_saved('SELECT count(*) FROM t WHERE n > 1000') IS NOT NULL;
ALTER SYSTEM RESET pg_background.plan_cache_size;
ALTER SYSTEM RESET pg_background.max_pool_workers;
SELECT pg_reload_conf();

DROP TABLE t, parted, parted1, numbered, divisor, owned;
DROP VIEW v;
DROP FUNCTION saved, from_saved, from_text, again, errors_of, seven, eight, fits, as_int, plus, takes, with_setting, the_time, outer_time, called_time,
    failing, slow, secret, definer, saved_in_turn, saved_memory;
DROP SCHEMA front CASCADE;
DROP TYPE temper, pair;
DROP DOMAIN small;
DROP ROLE regress_pgb_one, regress_pgb_two, regress_pgb_group;
