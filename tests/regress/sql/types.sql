-- Every type arrives as the same query returns it directly.
SET client_min_messages = warning;
CREATE TYPE rt_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE rt_pair AS (a int4, b text);
CREATE TYPE rt_nest AS (p rt_pair, ps rt_pair[], m rt_mood);
CREATE DOMAIN rt_positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN rt_range AS int4range CHECK (NOT isempty(VALUE));
CREATE DOMAIN rt_moods AS rt_mood[];
CREATE TYPE rt_floats AS RANGE (subtype = float8);

CREATE TABLE rt_samples (type regtype, value text);
INSERT INTO rt_samples VALUES
    ('bool', 't'), ('bytea', '\x'), ('bytea', '\x00ff'), ('"char"', 'x'), ('name', 'a name'),
    ('int8', '-9223372036854775808'), ('int2', '-32768'), ('int2vector', '1 2 3'), ('int4', '2147483647'),
    ('regproc', 'boolin'), ('text', ''), ('text', 'x'), ('oid', '4294967295'), ('tid', '(4294967295,7)'),
    ('xid', '4294967295'), ('cid', '7'), ('oidvector', '1 2'), ('json', ' {"a": [1, null]} '), ('xml', '<a b="c"/>'),
    ('xid8', '18446744073709551615'), ('point', '(1.5,-2)'), ('lseg', '[(0,0),(1,1)]'), ('path', '((0,0),(1,1),(2,0))'),
    ('path', '[(0,0),(1,1)]'), ('box', '(2,2),(1,1)'), ('polygon', '((0,0),(1,1),(2,0))'), ('line', '{1,-1,0}'),
    ('float4', '1e-45'), ('float4', 'NaN'), ('float8', '-Infinity'), ('float8', '4.9406564584124654e-324'),
    ('circle', '<(1,2),3>'), ('money', '-12.34'), ('macaddr', '08:00:2b:01:02:03'), ('macaddr8', '08:00:2b:01:02:03:04:05'),
    ('inet', '192.168.0.1/24'), ('inet', '::1'), ('cidr', '10.0.0.0/8'), ('aclitem', 'pg_monitor=r/postgres'),
    ('bpchar', 'padded   '), ('varchar', 'varying '), ('date', 'infinity'), ('date', '4713-01-01 BC'), ('time', '24:00'),
    ('timestamp', '294276-12-31 23:59:59.999999'), ('timestamptz', '-infinity'), ('timestamptz', '2000-01-01 00:00+00'),
    ('interval', '-178000000 years'), ('interval', '1 mon -1 day 00:00:00.000001'), ('timetz', '12:00+15:59'),
    ('bit', '1'), ('varbit', '10110'), ('numeric', 'NaN'), ('numeric', '-Infinity'), ('numeric', '1e-1000'),
    ('numeric', '123456789012345678901234567890.123456789'), ('refcursor', 'c'), ('regprocedure', 'boolin(cstring)'),
    ('regoper', '||/'), ('regoperator', '+(int4,int4)'), ('regclass', 'pg_class'), ('regtype', 'int4'),
    ('regconfig', 'simple'), ('regdictionary', 'simple'), ('regnamespace', 'pg_catalog'), ('regrole', 'pg_monitor'),
    ('regcollation', '"C"'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('pg_lsn', '16/B374D848'),
    ('tsvector', '''a'':1A ''b'':2'), ('gtsvector', NULL), ('tsquery', '''a'' & !''b'':*'), ('jsonb', '{"a": [1, 2.50, null, "x"]}'),
    ('jsonpath', '$."a"[*]?(@ > 1)'), ('txid_snapshot', '10:20:10,14,15'), ('pg_snapshot', '10:20:10,14,15'),
    ('int4range', '[1,10)'), ('int4range', 'empty'), ('numrange', '(,1.5]'), ('tsrange', '[2000-01-01,)'), ('tstzrange', 'empty'),
    ('daterange', '[2000-01-01,2000-02-01)'), ('int8range', '[-5,5)'), ('int4multirange', '{[1,2),[5,7)}'), ('nummultirange', '{}'),
    ('tsmultirange', '{[2000-01-01,2001-01-01)}'), ('tstzmultirange', '{}'), ('datemultirange', '{[2000-01-01,2000-02-01)}'),
    ('int8multirange', '{[1,2)}'), ('rt_mood', 'happy'), ('rt_pair', '(1,"x y")'), ('rt_pair', '(,)'),
    ('rt_nest', '("(1,x)","{""(2,y)"",""(,)""}",ok)'), ('rt_positive', '5'), ('rt_range', '[1,3)'), ('rt_moods', '{sad,NULL,happy}'),
    ('rt_floats', '[1.5,2.5)'), ('rt_floats_multirange', '{[1,2)}'),
    ('pg_node_tree', NULL), ('pg_ndistinct', NULL), ('pg_dependencies', NULL), ('pg_mcv_list', NULL), ('pg_ddl_command', NULL),
    ('pg_brin_bloom_summary', NULL), ('pg_brin_minmax_multi_summary', NULL);
-- The list knows every built-in type that a value can have. (A newer server may have more.)
SELECT t.oid::regtype AS not_in_the_list
FROM pg_type t
WHERE t.oid < 10000 AND t.typtype IN ('b', 'r', 'm') AND t.typelem = 0
  AND NOT EXISTS (SELECT FROM rt_samples s WHERE s.type = t.oid)
  AND t.typname NOT IN ('oid8', 'regdatabase', 'oid8range')
ORDER BY 1;

-- A value alone, in arrays, in anonymous records, and in arrays of these; as itself, as text (through its output
-- function) and as JSON.
CREATE FUNCTION rt_check(expression text, type text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    job pg_background_handle;
    same bool;
    texts bool;
    jsons bool;
BEGIN
    job := pg_background_launch_v2('SELECT ' || expression || ' AS v');
    EXECUTE format('SELECT count(*) = 1 AND bool_and(record_image_eq(ROW(r.v), ROW(d.v))) FROM pg_background_result_v2($1, $2) AS r (v %s), (SELECT %s AS v) d',
                   type, expression)
        INTO same USING job.pid, job.cookie;
    job := pg_background_launch_v2('SELECT ' || expression || ' AS v');
    EXECUTE format('SELECT count(*) = 1 AND bool_and(coalesce(r.v, '''') = format(''%%s'', %s)) FROM pg_background_result_v2($1, $2) AS r (v text)', expression)
        INTO texts USING job.pid, job.cookie;
    job := pg_background_launch_v2('SELECT ' || expression || ' AS v');
    EXECUTE format('SELECT count(*) = 1 AND bool_and(j = to_jsonb(d)) FROM pg_background_result_json($1, $2) j, (SELECT %s AS v) d', expression)
        INTO jsons USING job.pid, job.cookie;
    RETURN CASE WHEN same AND texts AND jsons THEN 'same'
                ELSE format('DIFFERENT: %s as itself %s, as text %s, as JSON %s', expression, same, texts, jsons) END;
EXCEPTION WHEN OTHERS THEN
    RETURN format('%s: %s %s', expression, SQLSTATE, SQLERRM);
END $$;

SET pg_background.max_workers = 1000;
WITH expressions AS (
    SELECT type::text, format('%L::%s', value, type) AS value FROM rt_samples
    WHERE type <> 'pg_ddl_command'::regtype
), forms AS (
    SELECT value AS expression, type FROM expressions
    UNION ALL
    SELECT format('ARRAY[%s, NULL, %s]::%s[]', value, value, type), type || '[]' FROM expressions
    WHERE to_regtype(type || '[]') IS NOT NULL
    UNION ALL
    SELECT format('ROW(%s, 1, NULL, ROW(%s))', value, value), 'record' FROM expressions
    UNION ALL
    SELECT format('ARRAY[ROW(%s, 1), ROW(NULL, 2)]', value), 'record[]' FROM expressions
)
SELECT result, CASE WHEN result = 'same' THEN count(*) > 350 END AS many
FROM (SELECT rt_check(expression, type) AS result FROM forms) s
GROUP BY result ORDER BY result;

-- Of every size: around the boundaries of a short header, of a chunk and of the ring; compressed, out of line,
-- both, neither.
CREATE TABLE rt_stored (how text, v text);
ALTER TABLE rt_stored ALTER v SET STORAGE EXTENDED;
INSERT INTO rt_stored SELECT 'compressed', repeat('compressible ', 1000);
INSERT INTO rt_stored SELECT 'compressed out of line', repeat(md5('1') || md5('2'), 100000);
ALTER TABLE rt_stored ALTER v SET STORAGE EXTERNAL;
INSERT INTO rt_stored SELECT 'out of line', repeat('external ', 10000);
ALTER TABLE rt_stored ALTER v SET STORAGE PLAIN;
INSERT INTO rt_stored SELECT 'plain', repeat('p', 5000);
SELECT s.how, r.v = s.v AS same, r.w = ROW(s.v) AS in_record
FROM rt_stored s,
     pg_background_launch_v2(format('SELECT v, ROW(v) FROM rt_stored WHERE how = %L', s.how)) h,
     pg_background_result_v2(h.pid, h.cookie) AS r (v text, w record);
CREATE FUNCTION rt_sizes(sizes int4[], queue_size int4) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    job pg_background_handle;
    same bool;
BEGIN
    job := pg_background_launch_v2(format('SELECT n, repeat(chr(65 + n %% 26), n) FROM unnest(%L::int4[]) n', sizes), queue_size);
    SELECT count(*) = cardinality(sizes) AND bool_and(v = repeat(chr(65 + n % 26), n)) INTO same
    FROM pg_background_result_v2(job.pid, job.cookie) AS (n int4, v text);
    RETURN same;
END $$;
SELECT rt_sizes(array_agg(n), 1024) FROM generate_series(0, 300) n;
SELECT rt_sizes(array_agg(n), 4096) FROM generate_series(900, 4200) n;
SELECT rt_sizes(ARRAY[65520, 65535, 65536, 65537, 131072, 1000000, 20000000, 0, 1, 126, 127, 128], 0);
-- An array that is still taken apart in the memory of a function.
CREATE FUNCTION rt_expanded() RETURNS int4[] LANGUAGE plpgsql AS $$
DECLARE
    a int4[] := '{}';
BEGIN
    FOR i IN 1..1000 LOOP a[i] := i; END LOOP;
    RETURN a;
END $$;
SELECT r.v = rt_expanded() AS same
FROM pg_background_launch_v2('SELECT rt_expanded()') h, pg_background_result_v2(h.pid, h.cookie) AS r (v int4[]);

DROP FUNCTION rt_check, rt_sizes, rt_expanded;
DROP TABLE rt_samples, rt_stored;
DROP TYPE rt_nest, rt_pair, rt_positive, rt_range, rt_moods, rt_floats, rt_mood;
