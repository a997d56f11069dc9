-- What CREATE EXTENSION creates and who may use it. The other tests need what this one leaves
-- behind: the extension, and the helpers at the end.
\set VERBOSITY terse
CREATE EXTENSION pg_background;

-- Signatures are a contract, strictness included.
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result,
       p.pronargdefaults AS defaults, p.proisstrict AS strict, p.prosecdef AS definer,
       p.provolatile = 'v' AS volatile, p.proparallel = 'u' AS serial
FROM pg_depend d
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'pg_background' AND d.deptype = 'e'
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT a.attrelid::regclass AS type, a.attnum, a.attname, a.atttypid::regtype AS attribute_type
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = c.reltype AND d.deptype = 'e'
JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'pg_background'
WHERE a.attnum > 0 AND c.relkind = 'c'
ORDER BY a.attrelid::regclass::text COLLATE "C", a.attnum;

-- Names of arguments: callers may use them.
SELECT p.oid::regprocedure::text COLLATE "C" AS function, pg_get_function_identity_arguments(p.oid) AS arguments
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'pg_background'
ORDER BY 1;

-- PUBLIC has no privileges; the role has all except the helpers and the functions for administrators.
SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'pgbackground_role';

CREATE VIEW member_rights AS
SELECT CASE WHEN p.oid IS NOT NULL THEN p.oid::regprocedure::text ELSE d.objid::regtype::text END COLLATE "C" AS member,
       role,
       CASE WHEN p.oid IS NOT NULL THEN has_function_privilege(role, p.oid, 'EXECUTE')
            ELSE has_type_privilege(role, d.objid, 'USAGE') END AS may
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
CROSS JOIN (SELECT 'public' UNION ALL
            SELECT rolname FROM pg_roles WHERE rolname ~ '^(pgbackground_role|regress_pgb_)') r (role)
WHERE e.extname = 'pg_background' AND d.deptype = 'e'
  AND (p.oid IS NOT NULL OR d.classid = 'pg_type'::regclass AND d.objid::regtype::text !~ '\[]$'
       AND d.objid NOT IN (SELECT reltype FROM pg_class WHERE relkind = 'v'));

SELECT count(*) FROM member_rights WHERE role = 'public' AND may;
SELECT member FROM member_rights WHERE role = 'pgbackground_role' AND NOT may ORDER BY 1;
SELECT member FROM member_rights WHERE role = 'pgbackground_role' AND may ORDER BY 1;

-- Every member is described; the helpers warn, and the functions of v1 point to their successors.
SELECT p.oid::regprocedure
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'pg_background'
WHERE obj_description(p.oid, 'pg_proc') IS NULL;
SELECT p.oid::regprocedure, obj_description(p.oid, 'pg_proc') ~ 'WARNING.*SECURITY DEFINER' AS warns,
       p.proconfig
FROM pg_proc p
WHERE p.prosecdef AND p.proname ~ 'pg_background'
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT p.oid::regprocedure,
       obj_description(p.oid, 'pg_proc') ~* 'deprecated.*pg_background_[a-z]+_v2' AS points_to_v2
FROM pg_proc p
WHERE p.oid IN ('pg_background_launch(text, int4)'::regprocedure, 'pg_background_result(int4)'::regprocedure,
                'pg_background_detach(int4)'::regprocedure)
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Granting and revoking through the helpers.
CREATE ROLE regress_pgb_granted;
SELECT grant_pg_background_privileges('regress_pgb_granted');
SELECT (SELECT array_agg(member ORDER BY member) FROM member_rights WHERE role = 'regress_pgb_granted' AND may)
     = (SELECT array_agg(member ORDER BY member) FROM member_rights WHERE role = 'pgbackground_role' AND may) AS as_the_role;
SELECT revoke_pg_background_privileges('regress_pgb_granted', true);
SELECT count(*) FROM member_rights WHERE role = 'regress_pgb_granted' AND may;
SELECT grant_pg_background_privileges(role_name => 'regress_pgb_granted', print_commands => true);
SELECT revoke_pg_background_privileges('regress_pgb_granted');
DROP ROLE regress_pgb_granted;
-- An error is a notice and false.
SELECT grant_pg_background_privileges('regress_pgb_nobody');
SELECT revoke_pg_background_privileges('regress_pgb_nobody');
SELECT grant_pg_background_privileges(NULL) IS NOT TRUE AS refused;
-- A name that needs quotes is an identifier, not text to paste.
CREATE ROLE "regress_pgb odd""name; --";
SELECT grant_pg_background_privileges('regress_pgb odd"name; --');
SELECT revoke_pg_background_privileges('regress_pgb odd"name; --');
DROP ROLE "regress_pgb odd""name; --";

-- The extension can live in, and move to, any schema.
CREATE SCHEMA "Odd schema";
ALTER EXTENSION pg_background SET SCHEMA "Odd schema";
CREATE ROLE regress_pgb_granted;
SELECT "Odd schema".grant_pg_background_privileges('regress_pgb_granted');
SELECT count(*) FILTER (WHERE NOT may) AS withheld FROM member_rights WHERE role = 'regress_pgb_granted';
SELECT "Odd schema".revoke_pg_background_privileges('regress_pgb_granted');
DROP ROLE regress_pgb_granted;
SELECT r.*
FROM "Odd schema".pg_background_launch_v2('SELECT 42') h,
     "Odd schema".pg_background_result_v2(h.pid, h.cookie) AS r (answer int4);
DROP EXTENSION pg_background;
CREATE EXTENSION pg_background SCHEMA "Odd schema";
SELECT count(*) FROM pg_proc WHERE proname ~ 'pg_background' AND pronamespace <> '"Odd schema"'::regnamespace;
-- The role outlives the extension, until it is dropped by name.
DROP EXTENSION pg_background;
SELECT rolname FROM pg_roles WHERE rolname = 'pgbackground_role';
CREATE EXTENSION pg_background;
-- Privileges on other objects prevent it, and stay.
CREATE TABLE not_of_the_extension ();
GRANT SELECT ON not_of_the_extension TO pgbackground_role;
SELECT pg_background_drop_executor_role();
SELECT has_table_privilege('pgbackground_role', 'not_of_the_extension', 'SELECT');
DROP TABLE not_of_the_extension;
SELECT pg_background_drop_executor_role();
SELECT rolname FROM pg_roles WHERE rolname = 'pgbackground_role';
SELECT pg_background_drop_executor_role();
DROP EXTENSION pg_background;
CREATE EXTENSION pg_background;
SELECT rolname FROM pg_roles WHERE rolname = 'pgbackground_role';
DROP SCHEMA "Odd schema";

-- Helpers of the other tests.

-- The SQLSTATE that a statement ends with.
CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN '00000';
EXCEPTION
    WHEN query_canceled OR assert_failure OR OTHERS THEN
        RETURN SQLSTATE;
END
$$;

-- Waits until a condition holds, or gives up after a time far above what it should take.
CREATE FUNCTION eventually(condition text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    holds bool;
BEGIN
    FOR i IN 1..3000 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE 'SELECT ' || condition INTO holds;
        IF holds THEN
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END
$$;

-- The list without having to write its columns each time.
CREATE VIEW jobs AS
SELECT *
FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid,
    queue_size int4, state text, sql_preview text, last_error text, consumed bool);

-- The SQLSTATE with which a job ends, 00000 without an error. Reads the result.
CREATE FUNCTION outcome_of(pid int4, cookie int8) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM * FROM pg_background_result_v2(pid, cookie) AS (r text);
    RETURN '00000';
EXCEPTION
    WHEN query_canceled OR assert_failure OR OTHERS THEN
        RETURN SQLSTATE;
END
$$;

CREATE FUNCTION outcome_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle;
BEGIN
    h := pg_background_launch_v2(sql);
    RETURN outcome_of(h.pid, h.cookie);
END
$$;

GRANT EXECUTE ON FUNCTION sqlstate_of(text), eventually(text), outcome_of(int4, int8), outcome_of(text) TO PUBLIC;
GRANT SELECT ON jobs TO PUBLIC;
