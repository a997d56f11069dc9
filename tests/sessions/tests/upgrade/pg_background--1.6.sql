-- Stands in for the C extension in the upgrade tests.
-- Version 1.6: the functions of a pid, and of a handle.

CREATE TYPE pg_background_handle AS (pid int4, cookie int8);

CREATE FUNCTION pg_background_launch(sql text, queue_size int4 DEFAULT 65536) RETURNS int4
    LANGUAGE c STRICT AS 'MODULE_PATHNAME';
CREATE FUNCTION pg_background_result(pid int4) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME';
CREATE FUNCTION pg_background_detach(pid int4) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME';
CREATE FUNCTION pg_background_launch_v2(sql text, queue_size int4 DEFAULT 65536) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_launch_v2';
CREATE FUNCTION pg_background_submit_v2(sql text, queue_size int4 DEFAULT 65536) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_submit_v2';
CREATE FUNCTION pg_background_result_v2(pid int4, cookie int8) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result_v2';
CREATE FUNCTION pg_background_detach_v2(pid int4, cookie int8) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_detach_v2';
CREATE FUNCTION pg_background_cancel_v2(pid int4, cookie int8) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_cancel_v2';
CREATE FUNCTION pg_background_cancel_v2_grace(pid int4, cookie int8, grace_ms int4) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_cancel_v2_grace';
CREATE FUNCTION pg_background_wait_v2(pid int4, cookie int8) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_wait_v2';
CREATE FUNCTION pg_background_wait_v2_timeout(pid int4, cookie int8, timeout_ms int4) RETURNS bool
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_wait_v2_timeout';
CREATE FUNCTION pg_background_list_v2() RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_list_v2';

DO $$
DECLARE
    member text;
BEGIN
    IF to_regrole('pgbackground_role') IS NULL THEN
        CREATE ROLE pgbackground_role NOLOGIN;
    END IF;
    FOR member IN SELECT oid::regprocedure FROM pg_proc WHERE proname LIKE 'pg\_background\_%' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO pgbackground_role', member);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', member);
    END LOOP;
END $$;
GRANT USAGE ON TYPE pg_background_handle TO pgbackground_role;
REVOKE ALL ON TYPE pg_background_handle FROM PUBLIC;

CREATE FUNCTION grant_pg_background_privileges(role_name text, print_commands bool DEFAULT false) RETURNS bool
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ BEGIN EXECUTE format('GRANT pgbackground_role TO %I', role_name); RETURN true; END $$;
CREATE FUNCTION revoke_pg_background_privileges(role_name text, print_commands bool DEFAULT false) RETURNS bool
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ BEGIN EXECUTE format('REVOKE pgbackground_role FROM %I', role_name); RETURN true; END $$;
CREATE FUNCTION pg_background_drop_executor_role() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ BEGIN DROP ROLE pgbackground_role; END $$;
REVOKE ALL ON FUNCTION grant_pg_background_privileges(text, bool), revoke_pg_background_privileges(text, bool),
    pg_background_drop_executor_role() FROM PUBLIC;
