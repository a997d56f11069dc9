\echo Use "CREATE EXTENSION pg_background" to load this file. \quit

-- Handles and the composite results

CREATE TYPE pg_background_handle AS (
    pid pg_catalog.int4,
    cookie pg_catalog.int8
);
COMMENT ON TYPE pg_background_handle IS
'Names one background job. The cookie alone identifies it; the pid is that of the worker it was given to.';

-- workers_timed_out is the last attribute, so that code written for the seven attributes of
-- version 1.8 finds each of them where it was.
CREATE TYPE pg_background_stats AS (
    workers_launched pg_catalog.int8,
    workers_completed pg_catalog.int8,
    workers_failed pg_catalog.int8,
    workers_canceled pg_catalog.int8,
    workers_active pg_catalog.int4,
    avg_execution_ms pg_catalog.float8,
    max_workers pg_catalog.int4,
    workers_timed_out pg_catalog.int8
);
COMMENT ON TYPE pg_background_stats IS
'What became of the jobs that this session launched.';

CREATE TYPE pg_background_progress AS (
    progress_pct pg_catalog.int4,
    progress_msg pg_catalog.text
);
COMMENT ON TYPE pg_background_progress IS
'How far a job says it has come.';

-- The functions that know a job by its pid alone

CREATE FUNCTION pg_background_launch(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.int4
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_launch';
COMMENT ON FUNCTION pg_background_launch(pg_catalog.text, pg_catalog.int4) IS
'Deprecated: use pg_background_launch_v2, whose handle cannot be mistaken for a later job. Runs SQL in the background and returns the pid of the worker.';

CREATE FUNCTION pg_background_result(
    pid pg_catalog.int4
)
RETURNS SETOF pg_catalog.record
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result';
COMMENT ON FUNCTION pg_background_result(pg_catalog.int4) IS
'Deprecated: use pg_background_result_v2. Waits for the job and returns its rows, once; call it in FROM with a column definition list.';

CREATE FUNCTION pg_background_detach(
    pid pg_catalog.int4
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_detach';
COMMENT ON FUNCTION pg_background_detach(pg_catalog.int4) IS
'Deprecated: use pg_background_detach_v2. Stops tracking the job; the job itself goes on.';

-- The functions that know a job by pid and cookie

CREATE FUNCTION pg_background_launch_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_launch_v2';
COMMENT ON FUNCTION pg_background_launch_v2(pg_catalog.text, pg_catalog.int4) IS
'Runs SQL in the background and returns its handle. queue_size is the size in bytes of the buffer for rows not yet read; 0 means pg_background.default_queue_size.';

CREATE FUNCTION pg_background_submit_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_submit_v2';
COMMENT ON FUNCTION pg_background_submit_v2(pg_catalog.text, pg_catalog.int4) IS
'Runs SQL in the background for its effect only: rows are discarded and its result cannot be read.';

CREATE FUNCTION pg_background_result_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS SETOF pg_catalog.record
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result_v2';
COMMENT ON FUNCTION pg_background_result_v2(pg_catalog.int4, pg_catalog.int8) IS
'Waits for the job and returns its rows, once; raises the error of the job if it failed. Call it in FROM with a column definition list.';

CREATE FUNCTION pg_background_detach_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_detach_v2';
COMMENT ON FUNCTION pg_background_detach_v2(pg_catalog.int4, pg_catalog.int8) IS
'Stops tracking the job; the job itself goes on. To stop it, use pg_background_cancel_v2 first.';

CREATE FUNCTION pg_background_cancel_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_cancel_v2';
COMMENT ON FUNCTION pg_background_cancel_v2(pg_catalog.int4, pg_catalog.int8) IS
'Asks for the job to be canceled and does not wait for it. Does nothing to a job that has finished.';

CREATE FUNCTION pg_background_cancel_v2_grace(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    grace_ms pg_catalog.int4
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_cancel_v2_grace';
COMMENT ON FUNCTION pg_background_cancel_v2_grace(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Cancels the job, and terminates its worker when the job has not ended after grace_ms milliseconds. With 0 it is pg_background_cancel_v2.';

CREATE FUNCTION pg_background_wait_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_wait_v2';
COMMENT ON FUNCTION pg_background_wait_v2(pg_catalog.int4, pg_catalog.int8) IS
'Waits until the job has finished, however it ended.';

CREATE FUNCTION pg_background_wait_v2_timeout(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    timeout_ms pg_catalog.int4
)
RETURNS pg_catalog.bool
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_wait_v2_timeout';
COMMENT ON FUNCTION pg_background_wait_v2_timeout(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Waits at most timeout_ms milliseconds until the job has finished; true if it has.';

CREATE FUNCTION pg_background_list_v2()
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_list_v2';
COMMENT ON FUNCTION pg_background_list_v2() IS
'The jobs that this session tracks and the current role may manage. Call it in FROM AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool).';

CREATE FUNCTION pg_background_stats_v2()
RETURNS pg_background_stats
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_stats_v2';
COMMENT ON FUNCTION pg_background_stats_v2() IS
'Counts of the jobs that this session launched, by how they ended, and their mean run time.';

CREATE FUNCTION pg_background_progress(
    pct pg_catalog.int4,
    msg pg_catalog.text DEFAULT NULL
)
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_progress';
COMMENT ON FUNCTION pg_background_progress(pg_catalog.int4, pg_catalog.text) IS
'Called by the SQL of a job: says how far it has come, in percent, with a message of at most 63 bytes.';

CREATE FUNCTION pg_background_get_progress_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_progress
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_get_progress_v2';
COMMENT ON FUNCTION pg_background_get_progress_v2(pg_catalog.int4, pg_catalog.int8) IS
'What the job last said with pg_background_progress; NULL when it said nothing or there is no such job.';

-- What is in use in the whole cluster

CREATE FUNCTION pg_background_resources(
    OUT slots_total pg_catalog.int4,
    OUT slots_used pg_catalog.int4,
    OUT arena_bytes pg_catalog.int8,
    OUT dsm_segments pg_catalog.int4,
    OUT jobs_queued pg_catalog.int4,
    OUT workers_starting pg_catalog.int4,
    OUT workers_idle pg_catalog.int4,
    OUT workers_busy pg_catalog.int4,
    OUT spill_files pg_catalog.int4
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_resources';
COMMENT ON FUNCTION pg_background_resources() IS
'What the jobs of the whole cluster hold at this moment: slots of the job table, bytes of the arena, shared segments, workers by state, spill files.';

CREATE FUNCTION pg_background_retire_idle()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_retire_idle';
COMMENT ON FUNCTION pg_background_retire_idle() IS
'Sends the idle workers of the whole cluster home at once and returns how many. For administrators.';

-- Rights

-- The role belongs to the cluster, not to this database: another database may have made it, or be
-- making it at this moment.
DO $script$
BEGIN
    IF pg_catalog.to_regrole('pgbackground_role') IS NULL THEN
        CREATE ROLE pgbackground_role NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END
$script$;

-- The statements that give an executor its rights are derived from the members of the extension,
-- so a function or type that a later version adds is covered without a list to maintain. What an
-- executor must not have is named here: SECURITY DEFINER helpers and what is for administrators.
-- Since 17 the array types of our types are members as well; they go by the rights of their elements.
CREATE FUNCTION grant_pg_background_privileges(
    role_name pg_catalog.text,
    print_commands pg_catalog.bool DEFAULT false
)
RETURNS pg_catalog.bool
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT CASE d.classid
                   WHEN 'pg_proc'::regclass THEN
                       format('GRANT EXECUTE ON FUNCTION %s TO %I', d.objid::regprocedure, role_name)
                   ELSE
                       format('GRANT USAGE ON TYPE %s TO %I', d.objid::regtype, role_name)
               END
        FROM pg_extension e
        JOIN pg_depend d
          ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
        WHERE e.extname = 'pg_background'
          AND (t.typcategory <> 'A'
               OR NOT p.prosecdef AND p.proname <> 'pg_background_retire_idle')
        ORDER BY d.classid DESC, d.objid
    LOOP
        EXECUTE command;
        IF print_commands THEN
            RAISE INFO '%', command;
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION
    WHEN OTHERS THEN
        RAISE NOTICE 'could not grant the privileges of pg_background to %: %', role_name, SQLERRM;
        RETURN false;
END
$function$;
COMMENT ON FUNCTION grant_pg_background_privileges(pg_catalog.text, pg_catalog.bool) IS
'Lets a role use pg_background. WARNING: this function is SECURITY DEFINER: it acts with the rights of the owner of the extension, and whoever may execute it can let any role run background jobs. Grant it to administrators only.';

CREATE FUNCTION revoke_pg_background_privileges(
    role_name pg_catalog.text,
    print_commands pg_catalog.bool DEFAULT false
)
RETURNS pg_catalog.bool
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT CASE d.classid
                   WHEN 'pg_proc'::regclass THEN
                       format('REVOKE EXECUTE ON FUNCTION %s FROM %I', d.objid::regprocedure, role_name)
                   ELSE
                       format('REVOKE USAGE ON TYPE %s FROM %I', d.objid::regtype, role_name)
               END
        FROM pg_extension e
        JOIN pg_depend d
          ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
        WHERE e.extname = 'pg_background'
          AND (t.typcategory <> 'A'
               OR NOT p.prosecdef AND p.proname <> 'pg_background_retire_idle')
        ORDER BY d.classid, d.objid DESC
    LOOP
        EXECUTE command;
        IF print_commands THEN
            RAISE INFO '%', command;
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION
    WHEN OTHERS THEN
        RAISE NOTICE 'could not revoke the privileges of pg_background from %: %', role_name, SQLERRM;
        RETURN false;
END
$function$;
COMMENT ON FUNCTION revoke_pg_background_privileges(pg_catalog.text, pg_catalog.bool) IS
'Takes from a role what grant_pg_background_privileges gave it. WARNING: this function is SECURITY DEFINER: it acts with the rights of the owner of the extension, and whoever may execute it can take the use of background jobs from any role. Grant it to administrators only.';

-- DROP EXTENSION leaves the role alone, since other databases may use it. A role that holds rights
-- cannot be dropped, so those in this database are taken from it first.
CREATE FUNCTION pg_background_drop_executor_role()
RETURNS pg_catalog.void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regrole('pgbackground_role') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE (
        SELECT format('SELECT %I.revoke_pg_background_privileges(%L)', n.nspname, 'pgbackground_role')
        FROM pg_extension e
        JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_background'
    );
    -- What the script of an extension grants is noted as initial rights, and since 17 a role that has
    -- some cannot be dropped; only DROP OWNED takes them. It takes everything else as well, so it is
    -- done only when they are all that is left here; otherwise DROP ROLE says what is in its way.
    IF NOT EXISTS (
        SELECT FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass
          AND refobjid = to_regrole('pgbackground_role')
          AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND deptype <> 'i'
    ) THEN
        DROP OWNED BY pgbackground_role;
    END IF;
    DROP ROLE pgbackground_role;
END
$function$;
COMMENT ON FUNCTION pg_background_drop_executor_role() IS
'Drops pgbackground_role after taking its rights on pg_background in this database; rights in other databases must have been revoked there. WARNING: this function is SECURITY DEFINER: it acts with the rights of the owner of the extension. Grant it to administrators only.';

-- PUBLIC has EXECUTE on new functions and USAGE on new types by default: take both away, from every
-- member, and give the role what is meant for it.
DO $script$
DECLARE
    command pg_catalog.text;
BEGIN
    FOR command IN
        SELECT CASE d.classid
                   WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN
                       pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', d.objid::pg_catalog.regprocedure)
                   ELSE
                       pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC', d.objid::pg_catalog.regtype)
               END
        FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_depend d
          ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
         AND d.refobjid = e.oid
         AND d.deptype = 'e'
        LEFT JOIN pg_catalog.pg_type t
          ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = d.objid
        WHERE e.extname = 'pg_background'
          AND (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass OR t.typcategory <> 'A')
    LOOP
        EXECUTE command;
    END LOOP;
    IF NOT grant_pg_background_privileges('pgbackground_role') THEN
        RAISE EXCEPTION 'could not grant the privileges of pg_background to pgbackground_role';
    END IF;
END
$script$;
