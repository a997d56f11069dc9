\echo Use "CREATE EXTENSION pg_background" to load this file. \quit

-- This script installs version 3.0, and updates every older version to it: the update scripts are links to this
-- file. It creates missing objects and replaces existing ones, so objects that depend on a function stay, and so
-- do the privileges on it. No existing object changes its form; where versions differ, a comment below says so.
--
-- Other users may be able to create objects in the schema of the extension, and the server prefers an operator or
-- a function of theirs to its own where it fits the types better. So every name of the server's, an operator's too,
-- is written with its schema, or is used where search_path has only pg_catalog. NULLIF cannot name its operator: it
-- compares values of equal types, for which the server's own comes first. If others have created an object under a
-- name of ours, the script fails: the server refuses to replace an object that is not a member of the extension.
-- `ci/lint sql` looks for names without a schema.

-- The members of the extension when this script begins; dropped again at its end.
CREATE FUNCTION pg_background_present(
    OUT kind pg_catalog.text,
    OUT name pg_catalog.text,
    OUT signature pg_catalog.text,
    OUT parameters pg_catalog.int4,
    OUT arguments pg_catalog.text,
    OUT result pg_catalog.text
)
RETURNS SETOF pg_catalog.record
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN p.oid IS NULL THEN 'type' ELSE 'function' END,
           COALESCE(p.proname, y.typname)::text,
           p.oid::regprocedure::text,
           p.pronargs::int4,
           pg_get_function_arguments(p.oid),
           format_type(p.prorettype, NULL)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
    WHERE e.extname = 'pg_background' AND (p.oid IS NOT NULL OR y.oid IS NOT NULL)
$function$;

-- The comments on members of the extension when this script begins, an older version's and those that users have put
-- there: an update replaces none. Dropped again, as above.
DO $script$
DECLARE
    comments pg_catalog.jsonb;
BEGIN
    SELECT pg_catalog.jsonb_object_agg(
        pg_catalog.format('%s %s', o.type, o.identity), pg_catalog.obj_description(d.objid, c.relname)
    )
    INTO comments
    FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_depend d ON d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.classid
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) o
    WHERE e.extname OPERATOR(pg_catalog.=) 'pg_background'
      AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['pg_proc', 'pg_type', 'pg_class'])
      AND o.type OPERATOR(pg_catalog.=) ANY (ARRAY['function', 'procedure', 'type', 'composite type', 'view'])
      AND pg_catalog.obj_description(d.objid, c.relname) IS NOT NULL;
    EXECUTE pg_catalog.format(
        'CREATE FUNCTION pg_background_comments() RETURNS pg_catalog.jsonb LANGUAGE sql AS %L',
        pg_catalog.format('SELECT %L::pg_catalog.jsonb', comments)
    );
END
$script$;

-- The forms that this database has of the names that versions 1.8 and 2.0 declare differently. A new install has those
-- of the setting. It is read here, before the first function of the library is created: that loads the library, which
-- replaces a value that does not exist by the default. Dropped again, as above.
CREATE FUNCTION pg_background_forms(
    OUT forms pg_catalog.text,
    OUT is_new pg_catalog.bool
)
LANGUAGE plpgsql
AS $function$
BEGIN
    SELECT CASE WHEN present.result OPERATOR(pg_catalog.=) 'integer' THEN '1.8' ELSE '2.0' END
    INTO forms
    FROM pg_background_present() present
    WHERE present.name OPERATOR(pg_catalog.=) 'pg_background_launch' AND present.parameters OPERATOR(pg_catalog.=) 2;
    is_new := forms IS NULL;
    forms := COALESCE(forms, NULLIF(pg_catalog.current_setting('pg_background.forms', true), ''), '1.8');
    IF forms OPERATOR(pg_catalog.<>) ALL (ARRAY['1.8', '2.0']) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('invalid value for parameter "pg_background.forms": "%s"', forms),
            HINT = 'Available values: 1.8, 2.0.';
    END IF;
END
$function$;

-- The handle and the composite results. An existing type stays as it is, since tables may have columns of it: the
-- attributes that it lacks are then missing from results.
DO $script$
DECLARE
    forms pg_catalog.text := (pg_background_forms()).forms;
    wanted pg_catalog.record;
BEGIN
    FOR wanted IN
        SELECT t.name, t.attributes
        FROM (VALUES
            ('pg_background_handle', '
                pid pg_catalog.int4,
                cookie pg_catalog.int8
            '),
            -- In the forms of 1.8 workers_timed_out is the last attribute, so code written for the seven attributes of
            -- that version finds each of them in its old position.
            ('pg_background_stats', pg_catalog.format('
                workers_launched pg_catalog.int8,
                workers_completed pg_catalog.int8,
                workers_failed pg_catalog.int8,
                workers_canceled pg_catalog.int8,
                %s
                workers_active pg_catalog.int4,
                avg_execution_ms pg_catalog.float8,
                max_workers pg_catalog.int4
                %s
            ', CASE WHEN forms OPERATOR(pg_catalog.=) '2.0' THEN 'workers_timed_out pg_catalog.int8,' END,
               CASE WHEN forms OPERATOR(pg_catalog.=) '1.8' THEN ', workers_timed_out pg_catalog.int8' END)),
            ('pg_background_progress', '
                progress_pct pg_catalog.int4,
                progress_msg pg_catalog.text
            '),
            ('pg_background_progress_info', '
                progress_pct pg_catalog.int4,
                progress_msg pg_catalog.text
            '),
            ('pg_background_result_info', '
                row_count pg_catalog.int8,
                command_tag pg_catalog.text,
                completed pg_catalog.bool,
                has_error pg_catalog.bool,
                started_at pg_catalog.timestamptz,
                finished_at pg_catalog.timestamptz
            '),
            ('pg_background_error', '
                sqlstate pg_catalog.text,
                message pg_catalog.text,
                detail pg_catalog.text,
                hint pg_catalog.text,
                context pg_catalog.text,
                schema_name pg_catalog.text,
                table_name pg_catalog.text,
                column_name pg_catalog.text,
                constraint_name pg_catalog.text
            '),
            ('pg_background_outcome', '
                pid pg_catalog.int4,
                cookie pg_catalog.int8,
                state pg_catalog.text,
                consumed pg_catalog.bool,
                completed pg_catalog.bool,
                has_error pg_catalog.bool,
                row_count pg_catalog.int8,
                command_tag pg_catalog.text,
                sqlstate pg_catalog.text,
                error_message pg_catalog.text,
                label pg_catalog.text,
                launched_at pg_catalog.timestamptz
            '),
            ('pg_background_run_result', '
                pid pg_catalog.int4,
                cookie pg_catalog.int8,
                state pg_catalog.text,
                consumed pg_catalog.bool,
                completed pg_catalog.bool,
                has_error pg_catalog.bool,
                row_count pg_catalog.int8,
                command_tag pg_catalog.text,
                sqlstate pg_catalog.text,
                error_message pg_catalog.text,
                label pg_catalog.text,
                launched_at pg_catalog.timestamptz,
                timed_out pg_catalog.bool,
                elapsed_ms pg_catalog.int8
            ')
        ) AS t (name, attributes)
    LOOP
        -- This condition is not part of the query, because the types have to be created in the order of the list.
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_background_present() present
            WHERE present.kind OPERATOR(pg_catalog.=) 'type' AND present.name OPERATOR(pg_catalog.=) wanted.name
        );
        EXECUTE pg_catalog.format('CREATE TYPE %I AS (%s)', wanted.name, wanted.attributes);
    END LOOP;
END
$script$;

COMMENT ON TYPE pg_background_handle IS
'Names one background job. The cookie alone identifies the job; the pid is that of the worker that has it.';

COMMENT ON TYPE pg_background_stats IS
'Counts of the jobs that this session launched, by how they ended.';

COMMENT ON TYPE pg_background_progress IS
'The progress that a job has reported.';

COMMENT ON TYPE pg_background_progress_info IS
'The progress that a job has reported.';

COMMENT ON TYPE pg_background_result_info IS
'How a job completed: row count and command tag of its last statement (0 and empty unless it committed with one), whether it has ended, and whether with an error.';

COMMENT ON TYPE pg_background_error IS
'The error that a job ended with, field by field.';

COMMENT ON TYPE pg_background_outcome IS
'How a job stands, or how it ended. The state is unknown if the session has no such job.';

COMMENT ON TYPE pg_background_run_result IS
'The outcome of a job that was run to its end, whether it was canceled at the time limit, and how long it took.';

-- Functions whose declaration differs between versions

-- Six functions have one of two forms. Version 2.0 declared four of them with another result type or with a default.
-- There wait_v2(pid, cookie) calls the function of three arguments, which returns a bool, so the other two, wait_v2 and
-- cancel_v2 with two arguments, do not exist.
DO $script$
DECLARE
    made pg_catalog.record;
BEGIN
    SELECT * INTO made FROM pg_background_forms();
    -- The server does not show a NOTICE of an extension's script.
    IF made.is_new AND COALESCE(
        (
            SELECT s.source OPERATOR(pg_catalog.=) 'default'
            FROM pg_catalog.pg_settings s
            WHERE s.name OPERATOR(pg_catalog.=) 'pg_background.forms'
        ),
        NULLIF(pg_catalog.current_setting('pg_background.forms', true), '') IS NULL
    ) THEN
        RAISE WARNING 'pg_background is created with the forms of version 1.8; to choose, set pg_background.forms to 1.8 or 2.0 before';
    END IF;

    IF made.forms OPERATOR(pg_catalog.=) '2.0' THEN
        CREATE OR REPLACE FUNCTION pg_background_launch(
            sql pg_catalog.text,
            queue_size pg_catalog.int4 DEFAULT 0
        )
        RETURNS pg_background_handle
        LANGUAGE c STRICT
        AS 'MODULE_PATHNAME', 'pg_background_launch';
        COMMENT ON FUNCTION pg_background_launch(pg_catalog.text, pg_catalog.int4) IS
        'Runs SQL in the background and returns its handle. queue_size is the size in bytes of the buffer for unread rows; 0 means pg_background.default_queue_size.';

        CREATE OR REPLACE FUNCTION pg_background_cancel_v2(
            pid pg_catalog.int4,
            cookie pg_catalog.int8,
            grace_ms pg_catalog.int4 DEFAULT 0
        )
        RETURNS pg_catalog.void
        LANGUAGE c STRICT
        AS 'MODULE_PATHNAME', 'pg_background_cancel';
        COMMENT ON FUNCTION pg_background_cancel_v2(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
        'Same as pg_background_cancel.';

        CREATE OR REPLACE FUNCTION pg_background_wait_v2(
            pid pg_catalog.int4,
            cookie pg_catalog.int8,
            timeout_ms pg_catalog.int4 DEFAULT 0
        )
        RETURNS pg_catalog.bool
        LANGUAGE c STRICT
        AS 'MODULE_PATHNAME', 'pg_background_wait';
        COMMENT ON FUNCTION pg_background_wait_v2(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
        'Same as pg_background_wait.';

        CREATE OR REPLACE FUNCTION pg_background_get_progress_v2(
            pid pg_catalog.int4,
            cookie pg_catalog.int8
        )
        RETURNS pg_background_progress_info
        LANGUAGE c
        AS 'MODULE_PATHNAME', 'pg_background_get_progress_v2';
        COMMENT ON FUNCTION pg_background_get_progress_v2(pg_catalog.int4, pg_catalog.int8) IS
        'The last progress that the job reported with pg_background_report_progress; NULL if it reported none, or there is no such job.';
        RETURN;
    END IF;

    CREATE OR REPLACE FUNCTION pg_background_launch(
        sql pg_catalog.text,
        queue_size pg_catalog.int4 DEFAULT 0
    )
    RETURNS pg_catalog.int4
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'pg_background_launch';
    COMMENT ON FUNCTION pg_background_launch(pg_catalog.text, pg_catalog.int4) IS
    'Deprecated: use pg_background_launch_v2, whose handle never names a later job. Runs SQL in the background and returns the pid of the worker.';

    CREATE OR REPLACE FUNCTION pg_background_cancel_v2(
        pid pg_catalog.int4,
        cookie pg_catalog.int8
    )
    RETURNS pg_catalog.void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'pg_background_cancel_v2';
    COMMENT ON FUNCTION pg_background_cancel_v2(pg_catalog.int4, pg_catalog.int8) IS
    'Requests a cancel of the job and does not wait for its end. Does nothing if the job has finished.';

    CREATE OR REPLACE FUNCTION pg_background_cancel_v2(
        pid pg_catalog.int4,
        cookie pg_catalog.int8,
        grace_ms pg_catalog.int4
    )
    RETURNS pg_catalog.void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'pg_background_cancel_v2';
    COMMENT ON FUNCTION pg_background_cancel_v2(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
    'Same as pg_background_cancel.';

    CREATE OR REPLACE FUNCTION pg_background_wait_v2(
        pid pg_catalog.int4,
        cookie pg_catalog.int8
    )
    RETURNS pg_catalog.void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'pg_background_wait_v2';
    COMMENT ON FUNCTION pg_background_wait_v2(pg_catalog.int4, pg_catalog.int8) IS
    'Waits until the job has finished, however it ended.';

    CREATE OR REPLACE FUNCTION pg_background_wait_v2(
        pid pg_catalog.int4,
        cookie pg_catalog.int8,
        timeout_ms pg_catalog.int4
    )
    RETURNS pg_catalog.bool
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'pg_background_wait_v2';
    COMMENT ON FUNCTION pg_background_wait_v2(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
    'Same as pg_background_wait.';

    CREATE OR REPLACE FUNCTION pg_background_get_progress_v2(
        pid pg_catalog.int4,
        cookie pg_catalog.int8
    )
    RETURNS pg_background_progress
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'pg_background_get_progress_v2';
    COMMENT ON FUNCTION pg_background_get_progress_v2(pg_catalog.int4, pg_catalog.int8) IS
    'The last progress that the job reported with pg_background_progress; NULL if it reported none, or there is no such job.';
END
$script$;

-- Versions 1.10 and 2.0 name the parameters of these functions p_pid and p_cookie, and calls may use these names.
DO $script$
DECLARE
    prefix pg_catalog.text := CASE
        WHEN (pg_background_forms()).forms OPERATOR(pg_catalog.=) '2.0' THEN 'p_'
        ELSE ''
    END;
    wanted pg_catalog.record;
BEGIN
    FOR wanted IN
        SELECT f.name, present.arguments
        FROM (VALUES ('pg_background_outcome'), ('pg_background_outcome_v2')) AS f (name)
        LEFT JOIN pg_background_present() present
          ON present.kind OPERATOR(pg_catalog.=) 'function' AND present.name OPERATOR(pg_catalog.=) f.name
        ORDER BY f.name
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE OR REPLACE FUNCTION %I(%s) RETURNS pg_background_outcome LANGUAGE c AS %L, %L',
            wanted.name,
            COALESCE(
                wanted.arguments,
                pg_catalog.format('%1$spid pg_catalog.int4, %1$scookie pg_catalog.int8', prefix)
            ),
            'MODULE_PATHNAME',
            'pg_background_outcome'
        );
    END LOOP;
END
$script$;
COMMENT ON FUNCTION pg_background_outcome(pg_catalog.int4, pg_catalog.int8) IS
'How the job stands, or how it ended. Never raises an error: if the handle names no job of this session, the state is unknown, completed and has_error are true, and sqlstate and error_message give the reason.';
COMMENT ON FUNCTION pg_background_outcome_v2(pg_catalog.int4, pg_catalog.int8) IS
'Same as pg_background_outcome.';

-- The functions that identify a job by its pid alone

CREATE OR REPLACE FUNCTION pg_background_result(
    pid pg_catalog.int4
)
RETURNS SETOF pg_catalog.record
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result';
COMMENT ON FUNCTION pg_background_result(pg_catalog.int4) IS
'Deprecated: use pg_background_result_v2. Waits for the job and returns its rows, once; call it in FROM with a column definition list.';

CREATE OR REPLACE FUNCTION pg_background_detach(
    pid pg_catalog.int4
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_detach';
COMMENT ON FUNCTION pg_background_detach(pg_catalog.int4) IS
'Deprecated: use pg_background_detach_v2. Stops tracking the job; the job goes on.';

-- The functions that identify a job by pid and cookie

CREATE OR REPLACE FUNCTION pg_background_launch_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_launch_v2';
COMMENT ON FUNCTION pg_background_launch_v2(pg_catalog.text, pg_catalog.int4) IS
'Runs SQL in the background and returns its handle. queue_size is the size in bytes of the buffer for unread rows; 0 means pg_background.default_queue_size.';

CREATE OR REPLACE FUNCTION pg_background_submit_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_submit_v2';
COMMENT ON FUNCTION pg_background_submit_v2(pg_catalog.text, pg_catalog.int4) IS
'Runs SQL in the background for its effect only: rows are discarded and the result cannot be read.';

CREATE OR REPLACE FUNCTION pg_background_launch_params(
    sql pg_catalog.text,
    VARIADIC params pg_catalog."any"
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_launch_params';
COMMENT ON FUNCTION pg_background_launch_params(pg_catalog.text, pg_catalog."any") IS
'Runs SQL in the background and returns its handle. $1, $2 and so on in the text stand for the parameters, which are bound as typed values.';

CREATE OR REPLACE FUNCTION pg_background_exec(
    sql pg_catalog.text
)
RETURNS pg_catalog.int8
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_exec';
COMMENT ON FUNCTION pg_background_exec(pg_catalog.text) IS
'Runs SQL in a transaction of its own, waits until it has committed, and returns how many rows its last statement changed or returned; 0 where it has no row count.';

CREATE OR REPLACE FUNCTION pg_background_exec(
    sql pg_catalog.text,
    VARIADIC params pg_catalog."any"
)
RETURNS pg_catalog.int8
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_exec';
COMMENT ON FUNCTION pg_background_exec(pg_catalog.text, pg_catalog."any") IS
'Same as pg_background_exec(sql). $1, $2 and so on in the text stand for the parameters, which are bound as typed values.';

CREATE OR REPLACE FUNCTION pg_background_call(
    sql pg_catalog.text,
    returns pg_catalog.anyelement
)
RETURNS pg_catalog.anyelement
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_call';
COMMENT ON FUNCTION pg_background_call(pg_catalog.text, pg_catalog.anyelement) IS
'Runs SQL in a transaction of its own, waits until it has committed, and returns the first column of the first row as the type of the second argument, whose value is not looked at; a row type takes the whole row. NULL if there is no row.';

CREATE OR REPLACE FUNCTION pg_background_call(
    sql pg_catalog.text,
    returns pg_catalog.anyelement,
    VARIADIC params pg_catalog."any"
)
RETURNS pg_catalog.anyelement
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_call';
COMMENT ON FUNCTION pg_background_call(pg_catalog.text, pg_catalog.anyelement, pg_catalog."any") IS
'Same as pg_background_call(sql, returns). $1, $2 and so on in the text stand for the parameters, which are bound as typed values.';

CREATE OR REPLACE FUNCTION pg_background_submit_params(
    sql pg_catalog.text,
    VARIADIC params pg_catalog."any"
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_submit_params';
COMMENT ON FUNCTION pg_background_submit_params(pg_catalog.text, pg_catalog."any") IS
'Same as pg_background_launch_params, for the effect only: rows are discarded and the result cannot be read.';

-- Code written for version 2.0 assigns the result of pg_background_launch(sql) to a handle. Where that is a pid, this
-- makes the handle of it.
CREATE OR REPLACE FUNCTION pg_background_handle(
    pid pg_catalog.int4
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_handle';
COMMENT ON FUNCTION pg_background_handle(pg_catalog.int4) IS
'The handle of the job that pg_background_launch(sql) has launched in this session and that has this pid. Assigning a pid to a handle calls it.';

DO $script$
BEGIN
    CREATE CAST (pg_catalog.int4 AS pg_background_handle)
        WITH FUNCTION pg_background_handle(pg_catalog.int4) AS ASSIGNMENT;
EXCEPTION
    WHEN duplicate_object THEN
        NULL;
END
$script$;

CREATE OR REPLACE FUNCTION pg_background_result_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS SETOF pg_catalog.record
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result_v2';
COMMENT ON FUNCTION pg_background_result_v2(pg_catalog.int4, pg_catalog.int8) IS
'Waits for the job and returns its rows, once; raises the error of the job if it failed. Call it in FROM with a column definition list.';

CREATE OR REPLACE FUNCTION pg_background_result(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    row_type pg_catalog.anyelement
)
RETURNS SETOF pg_catalog.anyelement
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_result_as';
COMMENT ON FUNCTION pg_background_result(pg_catalog.int4, pg_catalog.int8, pg_catalog.anyelement) IS
'Waits for the job and returns its rows, once, as rows of the type of the third argument, whose value does not matter: NULL::some_type. In a select list it returns them one by one as they arrive.';

CREATE OR REPLACE FUNCTION pg_background_result_json(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS SETOF pg_catalog.jsonb
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result_json';
COMMENT ON FUNCTION pg_background_result_json(pg_catalog.int4, pg_catalog.int8) IS
'Waits for the job and returns its rows, once, each as a JSON object by column name (as to_jsonb does); command tags as {"command_tag": ...}. In a select list it returns them one by one as they arrive.';

CREATE OR REPLACE FUNCTION pg_background_result_ordered_json(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS SETOF pg_catalog.json
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_result_ordered_json';
COMMENT ON FUNCTION pg_background_result_ordered_json(pg_catalog.int4, pg_catalog.int8) IS
'Same as pg_background_result_json, but of type json: an object has the columns in their order, also those of the same name (as row_to_json does).';

CREATE OR REPLACE FUNCTION pg_background_columns(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS TABLE (
    number pg_catalog.int4,
    name pg_catalog.text,
    type pg_catalog.regtype,
    modifier pg_catalog.int4
)
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_columns';
COMMENT ON FUNCTION pg_background_columns(pg_catalog.int4, pg_catalog.int8) IS
'The columns of the result of a job, in their order, as a column definition list for it has them; takes none of its rows. Waits until the first row is there, or the job has ended.';

CREATE OR REPLACE FUNCTION pg_background_detach_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_detach_v2';
COMMENT ON FUNCTION pg_background_detach_v2(pg_catalog.int4, pg_catalog.int8) IS
'Stops tracking the job; the job goes on. To stop it, use pg_background_cancel_v2 first.';

CREATE OR REPLACE FUNCTION pg_background_cancel_v2_grace(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    grace_ms pg_catalog.int4
)
RETURNS pg_catalog.void
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_cancel_v2_grace';
COMMENT ON FUNCTION pg_background_cancel_v2_grace(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Cancels the job, and terminates its worker if the job has not ended after grace_ms milliseconds. With 0 it is the same as pg_background_cancel_v2.';

CREATE OR REPLACE FUNCTION pg_background_wait_v2_timeout(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    timeout_ms pg_catalog.int4
)
RETURNS pg_catalog.bool
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_wait_v2_timeout';
COMMENT ON FUNCTION pg_background_wait_v2_timeout(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Waits at most timeout_ms milliseconds until the job has finished; returns true if it has.';

CREATE OR REPLACE FUNCTION pg_background_list_v2()
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_list_v2';
COMMENT ON FUNCTION pg_background_list_v2() IS
'The jobs that this session tracks and the current role may manage. Call it in FROM AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool).';

CREATE OR REPLACE FUNCTION pg_background_stats_v2()
RETURNS pg_background_stats
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_stats_v2';
COMMENT ON FUNCTION pg_background_stats_v2() IS
'Counts of the jobs that this session launched, by how they ended, and their mean run time.';

CREATE OR REPLACE FUNCTION pg_background_progress(
    pct pg_catalog.int4,
    msg pg_catalog.text DEFAULT NULL
)
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_progress';
COMMENT ON FUNCTION pg_background_progress(pg_catalog.int4, pg_catalog.text) IS
'Called by the SQL of a job: reports its progress in percent, with a message of at most 63 bytes.';

-- The names of version 2.0 of the C extension

CREATE OR REPLACE FUNCTION pg_background_launch(
    sql pg_catalog.text,
    queue_size pg_catalog.int4,
    label pg_catalog.text
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_launch';
COMMENT ON FUNCTION pg_background_launch(pg_catalog.text, pg_catalog.int4, pg_catalog.text) IS
'Runs SQL in the background and returns its handle. The label may be NULL and has at most 64 bytes. It is shown in lists, and jobs can be canceled by label.';

CREATE OR REPLACE FUNCTION pg_background_submit(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_submit';
COMMENT ON FUNCTION pg_background_submit(pg_catalog.text, pg_catalog.int4) IS
'Runs SQL in the background for its effect only: rows are discarded and the result cannot be read.';

CREATE OR REPLACE FUNCTION pg_background_submit(
    sql pg_catalog.text,
    queue_size pg_catalog.int4,
    label pg_catalog.text
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_submit';
COMMENT ON FUNCTION pg_background_submit(pg_catalog.text, pg_catalog.int4, pg_catalog.text) IS
'Runs SQL in the background for its effect only, with a label.';

CREATE OR REPLACE FUNCTION pg_background_result(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_result';
COMMENT ON FUNCTION pg_background_result(pg_catalog.int4, pg_catalog.int8) IS
'Waits for the job and returns its rows, once; raises the error of the job if it failed. Call it in FROM with a column definition list.';

CREATE OR REPLACE FUNCTION pg_background_detach(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_detach';
COMMENT ON FUNCTION pg_background_detach(pg_catalog.int4, pg_catalog.int8) IS
'Stops tracking the job; the job goes on. To stop it, use pg_background_cancel first.';

CREATE OR REPLACE FUNCTION pg_background_cancel(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    grace_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_cancel';
COMMENT ON FUNCTION pg_background_cancel(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Cancels the job. With grace_ms above 0, waits that long for the job to end, then terminates its worker.';

CREATE OR REPLACE FUNCTION pg_background_wait(
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.bool
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_wait';
COMMENT ON FUNCTION pg_background_wait(pg_catalog.int4, pg_catalog.int8, pg_catalog.int4) IS
'Waits until the job has finished, at most timeout_ms milliseconds (0: no limit); returns true if it has.';

CREATE OR REPLACE PROCEDURE pg_background_await(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_await';
COMMENT ON PROCEDURE pg_background_await(pg_catalog.int4, pg_catalog.int8) IS
'Commits the transaction of the caller, then waits until the job has finished, however it ended. Unlike the functions that wait, it holds up no CREATE INDEX CONCURRENTLY or similar statement. It cannot be called in a transaction block or a function.';

CREATE OR REPLACE FUNCTION pg_background_list()
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_list_v2';
COMMENT ON FUNCTION pg_background_list() IS
'The jobs that this session tracks and the current role may manage. The view of the same name needs no column definition list.';

CREATE OR REPLACE FUNCTION pg_background_stats()
RETURNS pg_background_stats
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_stats_v2';
COMMENT ON FUNCTION pg_background_stats() IS
'Counts of the jobs that this session launched, by how they ended, and their mean run time.';

CREATE OR REPLACE FUNCTION pg_background_report_progress(
    pct pg_catalog.int4,
    msg pg_catalog.text DEFAULT NULL
)
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_report_progress';
COMMENT ON FUNCTION pg_background_report_progress(pg_catalog.int4, pg_catalog.text) IS
'Called by the SQL of a job: reports its progress in percent, with a message of at most 63 bytes.';

CREATE OR REPLACE FUNCTION pg_background_get_progress(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_progress_info
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_get_progress';
COMMENT ON FUNCTION pg_background_get_progress(pg_catalog.int4, pg_catalog.int8) IS
'The last progress that the job reported with pg_background_report_progress; NULL if it reported none.';

CREATE OR REPLACE FUNCTION pg_background_result_info(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_result_info
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_result_info';
COMMENT ON FUNCTION pg_background_result_info(pg_catalog.int4, pg_catalog.int8) IS
'How the job completed; does not consume its result.';

CREATE OR REPLACE FUNCTION pg_background_error_info(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_error
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_error_info';
COMMENT ON FUNCTION pg_background_error_info(pg_catalog.int4, pg_catalog.int8) IS
'The error that the job ended with, field by field; NULL if it has none.';

CREATE OR REPLACE FUNCTION pg_background_full_sql(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.text
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_full_sql';
COMMENT ON FUNCTION pg_background_full_sql(pg_catalog.int4, pg_catalog.int8) IS
'The complete SQL text of the job; lists show only its beginning.';

CREATE OR REPLACE FUNCTION pg_background_detach_all()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_detach_all';
COMMENT ON FUNCTION pg_background_detach_all() IS
'Stops tracking all jobs of this session, whatever its current role is; the jobs go on. Returns how many there were.';

CREATE OR REPLACE FUNCTION pg_background_cancel_all()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_cancel_all';
COMMENT ON FUNCTION pg_background_cancel_all() IS
'Cancels all jobs of this session that the current role may manage. Returns how many had not finished.';

CREATE OR REPLACE FUNCTION pg_background_purge()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_purge';
COMMENT ON FUNCTION pg_background_purge() IS
'Stops tracking the jobs that have finished. Returns how many there were.';

CREATE OR REPLACE FUNCTION pg_background_cancel_by_label(
    pattern pg_catalog.text,
    grace_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_cancel_by_label';
COMMENT ON FUNCTION pg_background_cancel_by_label(pg_catalog.text, pg_catalog.int4) IS
'Cancels the jobs of this session whose label is LIKE the pattern; grace_ms as in pg_background_cancel. Returns how many had not finished.';

CREATE OR REPLACE FUNCTION pg_background_wait_any(
    handles pg_background_handle[],
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_wait_any';
COMMENT ON FUNCTION pg_background_wait_any(pg_background_handle[], pg_catalog.int4) IS
'Waits until the first of the jobs has finished, at most timeout_ms milliseconds (0: no limit), and returns its handle; NULL if none has. Skips handles that name no job of this session.';

CREATE OR REPLACE FUNCTION pg_background_drain(
    handles pg_background_handle[],
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS SETOF pg_background_outcome
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_drain';
COMMENT ON FUNCTION pg_background_drain(pg_background_handle[], pg_catalog.int4) IS
'Waits until all of the jobs have finished, at most timeout_ms milliseconds for all together (0: no limit), returns the outcome of each in the order of the array, and stops tracking those that have finished, and the one that it waits for at the time limit. A handle that names no job of this session has the state unknown.';

CREATE OR REPLACE FUNCTION pg_background_run(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0,
    timeout_ms pg_catalog.int4 DEFAULT 0,
    label pg_catalog.text DEFAULT NULL
)
RETURNS pg_background_run_result
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_run';
COMMENT ON FUNCTION pg_background_run(pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text) IS
'Runs SQL in the background, waits for its end and returns its outcome; its rows are discarded. At the time limit it is canceled; if it has not ended a second later, its worker is terminated.';

CREATE OR REPLACE FUNCTION pg_background_run_query(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0,
    timeout_ms pg_catalog.int4 DEFAULT 0,
    label pg_catalog.text DEFAULT NULL,
    col_def pg_catalog.text DEFAULT NULL
)
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_run_query';
COMMENT ON FUNCTION pg_background_run_query(pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text, pg_catalog.text) IS
'Runs SQL in the background, waits for its end and returns its rows. Call it in FROM with a column definition list; if col_def repeats that list, the types are compared. A statement without rows has none, or its command tag if col_def is one text column.';

CREATE OR REPLACE FUNCTION pg_background_record_timeout()
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_record_timeout';
COMMENT ON FUNCTION pg_background_record_timeout() IS
'Adds one to workers_timed_out, for code that enforces its own time limits.';

CREATE OR REPLACE FUNCTION pg_background_launch_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4,
    label pg_catalog.text
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_launch_v2';
COMMENT ON FUNCTION pg_background_launch_v2(pg_catalog.text, pg_catalog.int4, pg_catalog.text) IS
'Same as pg_background_launch with a label.';

CREATE OR REPLACE FUNCTION pg_background_submit_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4,
    label pg_catalog.text
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_submit_v2';
COMMENT ON FUNCTION pg_background_submit_v2(pg_catalog.text, pg_catalog.int4, pg_catalog.text) IS
'Same as pg_background_submit with a label.';

CREATE OR REPLACE FUNCTION pg_background_result_info_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_result_info
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_result_info';
COMMENT ON FUNCTION pg_background_result_info_v2(pg_catalog.int4, pg_catalog.int8) IS
'Same as pg_background_result_info.';

CREATE OR REPLACE FUNCTION pg_background_error_info_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_background_error
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_error_info';
COMMENT ON FUNCTION pg_background_error_info_v2(pg_catalog.int4, pg_catalog.int8) IS
'Same as pg_background_error_info.';

CREATE OR REPLACE FUNCTION pg_background_full_sql_v2(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.text
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_full_sql';
COMMENT ON FUNCTION pg_background_full_sql_v2(pg_catalog.int4, pg_catalog.int8) IS
'Same as pg_background_full_sql.';

CREATE OR REPLACE FUNCTION pg_background_detach_all_v2()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_detach_all';
COMMENT ON FUNCTION pg_background_detach_all_v2() IS
'Same as pg_background_detach_all.';

CREATE OR REPLACE FUNCTION pg_background_cancel_all_v2()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_cancel_all';
COMMENT ON FUNCTION pg_background_cancel_all_v2() IS
'Same as pg_background_cancel_all.';

CREATE OR REPLACE FUNCTION pg_background_purge_v2()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_purge';
COMMENT ON FUNCTION pg_background_purge_v2() IS
'Same as pg_background_purge.';

CREATE OR REPLACE FUNCTION pg_background_cancel_by_label_v2(
    pattern pg_catalog.text,
    grace_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_cancel_by_label';
COMMENT ON FUNCTION pg_background_cancel_by_label_v2(pg_catalog.text, pg_catalog.int4) IS
'Same as pg_background_cancel_by_label.';

CREATE OR REPLACE FUNCTION pg_background_wait_any_v2(
    handles pg_background_handle[],
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_background_handle
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_wait_any';
COMMENT ON FUNCTION pg_background_wait_any_v2(pg_background_handle[], pg_catalog.int4) IS
'Same as pg_background_wait_any.';

CREATE OR REPLACE FUNCTION pg_background_drain_v2(
    handles pg_background_handle[],
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS SETOF pg_background_outcome
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_drain';
COMMENT ON FUNCTION pg_background_drain_v2(pg_background_handle[], pg_catalog.int4) IS
'Same as pg_background_drain.';

CREATE OR REPLACE FUNCTION pg_background_run_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0,
    timeout_ms pg_catalog.int4 DEFAULT 0,
    label pg_catalog.text DEFAULT NULL
)
RETURNS pg_background_run_result
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_run';
COMMENT ON FUNCTION pg_background_run_v2(pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text) IS
'Same as pg_background_run.';

CREATE OR REPLACE FUNCTION pg_background_run_query_v2(
    sql pg_catalog.text,
    queue_size pg_catalog.int4 DEFAULT 0,
    timeout_ms pg_catalog.int4 DEFAULT 0,
    label pg_catalog.text DEFAULT NULL,
    col_def pg_catalog.text DEFAULT NULL
)
RETURNS SETOF pg_catalog.record
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_run_query';
COMMENT ON FUNCTION pg_background_run_query_v2(pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text, pg_catalog.text) IS
'Same as pg_background_run_query.';

CREATE OR REPLACE FUNCTION pg_background_record_timeout_v2()
RETURNS pg_catalog.void
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_record_timeout';
COMMENT ON FUNCTION pg_background_record_timeout_v2() IS
'Same as pg_background_record_timeout.';

CREATE OR REPLACE FUNCTION pg_background_wait_all(
    handles pg_background_handle[],
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS pg_catalog.int4
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_wait_all';
COMMENT ON FUNCTION pg_background_wait_all(pg_background_handle[], pg_catalog.int4) IS
'Waits until all of the jobs have finished, at most timeout_ms milliseconds for all together (0: no limit). Returns how many have finished.';

CREATE OR REPLACE VIEW pg_background_list AS
SELECT pid, cookie, launched_at, user_id, queue_size, state, sql_preview, last_error, consumed, label
FROM pg_background_list() AS (
    pid pg_catalog.int4,
    cookie pg_catalog.int8,
    launched_at pg_catalog.timestamptz,
    user_id pg_catalog.oid,
    queue_size pg_catalog.int4,
    state pg_catalog.text,
    sql_preview pg_catalog.text,
    last_error pg_catalog.text,
    consumed pg_catalog.bool,
    label pg_catalog.text
);
COMMENT ON VIEW pg_background_list IS
'The jobs that this session tracks and the current role may manage.';

CREATE OR REPLACE VIEW pg_background_activity AS
SELECT l.pid, l.cookie, l.launched_at, l.user_id, l.queue_size, l.state AS pgbg_state, l.sql_preview,
       l.last_error, l.consumed, l.label, a.state AS backend_state, a.wait_event_type, a.wait_event,
       a.xact_start, a.query_start, a.backend_start, a.query
FROM pg_background_list l
LEFT JOIN pg_catalog.pg_stat_activity a
    ON a.pid OPERATOR(pg_catalog.=) l.pid
   AND l.state OPERATOR(pg_catalog.=) ANY (ARRAY['starting', 'running']);
COMMENT ON VIEW pg_background_activity IS
'The jobs that this session tracks, with what pg_stat_activity shows for the worker of each job that has one.';

-- Many statements in one call

CREATE OR REPLACE FUNCTION pg_background_fanout(
    sql pg_catalog.text[],
    max_parallel pg_catalog.int4 DEFAULT NULL,
    fail_fast pg_catalog.bool DEFAULT false,
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS TABLE (
    idx pg_catalog.int4,
    ok pg_catalog.bool,
    row_count pg_catalog.int8,
    command_tag pg_catalog.text,
    result pg_catalog.jsonb,
    sqlstate pg_catalog.text,
    error_message pg_catalog.text,
    elapsed_us pg_catalog.int8,
    sql_preview pg_catalog.text
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_fanout';
COMMENT ON FUNCTION pg_background_fanout(pg_catalog.text[], pg_catalog.int4, pg_catalog.bool, pg_catalog.int4) IS
'Runs every statement of the array in the background, each in a transaction of its own and at most max_parallel at a time (NULL: as many as the pool allows), and returns a row for each in the order in which they finish. result is a JSON array of the rows, sql_preview the beginning of the text. timeout_ms is for the whole call; with fail_fast the first error cancels the rest and is raised.';

CREATE OR REPLACE FUNCTION pg_background_fanout_params(
    sql pg_catalog.text,
    params pg_catalog.anyarray,
    max_parallel pg_catalog.int4 DEFAULT NULL,
    fail_fast pg_catalog.bool DEFAULT false,
    timeout_ms pg_catalog.int4 DEFAULT 0
)
RETURNS TABLE (
    idx pg_catalog.int4,
    ok pg_catalog.bool,
    row_count pg_catalog.int8,
    command_tag pg_catalog.text,
    result pg_catalog.jsonb,
    sqlstate pg_catalog.text,
    error_message pg_catalog.text,
    elapsed_us pg_catalog.int8,
    sql_preview pg_catalog.text
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_fanout_params';
COMMENT ON FUNCTION pg_background_fanout_params(pg_catalog.text, pg_catalog.anyarray, pg_catalog.int4, pg_catalog.bool, pg_catalog.int4) IS
'Runs the statement in the background once for every element of the array, as pg_background_fanout runs the statements of one. $1 in the text stands for the element, which is bound as a typed value; if it is of a row type, $1, $2 and so on stand for its attributes.';

CREATE OR REPLACE FUNCTION pg_background_spilled(
    pid pg_catalog.int4,
    cookie pg_catalog.int8
)
RETURNS pg_catalog.int8
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_spilled';
COMMENT ON FUNCTION pg_background_spilled(pg_catalog.int4, pg_catalog.int8) IS
'Number of bytes of the result that are in a temporary file at this moment, because nobody read it when its buffer was full.';

-- The resources in use in the whole cluster

CREATE OR REPLACE FUNCTION pg_background_resources(
    OUT slots_total pg_catalog.int4,
    OUT slots_used pg_catalog.int4,
    OUT arena_bytes pg_catalog.int8,
    OUT dsm_segments pg_catalog.int4,
    OUT jobs_queued pg_catalog.int4,
    OUT workers_starting pg_catalog.int4,
    OUT workers_idle pg_catalog.int4,
    OUT workers_busy pg_catalog.int4,
    OUT spill_files pg_catalog.int4,
    OUT spill_bytes pg_catalog.int8,
    OUT memory_allocated pg_catalog.int8,
    OUT memory_unused pg_catalog.int8,
    OUT memory_limit pg_catalog.int8
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_resources';
COMMENT ON FUNCTION pg_background_resources() IS
'What the jobs of the whole cluster hold at this moment: slots of the job table, bytes of shared memory, its segments, workers by state, spill files and their bytes; and the shared memory that the extension has taken from the server.';

CREATE OR REPLACE FUNCTION pg_background_resources_by_role()
RETURNS TABLE (
    database pg_catalog.text,
    login_role pg_catalog.text,
    user_name pg_catalog.text,
    jobs_queued pg_catalog.int4,
    jobs_held_back pg_catalog.int4,
    jobs_running pg_catalog.int4,
    jobs_finished pg_catalog.int4,
    workers pg_catalog.int4,
    memory_bytes pg_catalog.int8,
    file_bytes pg_catalog.int8
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_resources_by_role';
COMMENT ON FUNCTION pg_background_resources_by_role() IS
'What the jobs of each database, login role and user hold at this moment, in the whole cluster: jobs by state, workers, bytes of shared memory and of files. Superusers and members of pg_monitor see every login role, others those whose privileges they have.';

CREATE OR REPLACE FUNCTION pg_background_cancel_role(
    role pg_catalog.regrole,
    grace_ms pg_catalog.int4 DEFAULT 1000
)
RETURNS pg_catalog.int4
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_cancel_role';
COMMENT ON FUNCTION pg_background_cancel_role(pg_catalog.regrole, pg_catalog.int4) IS
'Cancels all queued and running jobs of a login role in all databases, and refuses its new jobs until they have ended; terminates the workers of jobs that have not ended after grace_ms milliseconds. Returns how many jobs there were. Needs the privileges of that role; only superusers can end the jobs of a superuser.';

CREATE OR REPLACE FUNCTION pg_background_purge_role(
    role pg_catalog.regrole
)
RETURNS pg_catalog.int4
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_purge_role';
COMMENT ON FUNCTION pg_background_purge_role(pg_catalog.regrole) IS
'Detaches the finished jobs of a login role whose results nobody has read, in all sessions and databases. Returns how many there were. Needs the same privileges as pg_background_cancel_role.';

CREATE OR REPLACE FUNCTION pg_background_retire_idle()
RETURNS pg_catalog.int4
LANGUAGE c
AS 'MODULE_PATHNAME', 'pg_background_retire_idle';
COMMENT ON FUNCTION pg_background_retire_idle() IS
'Makes the idle workers of the whole cluster exit at once, and returns how many there were. For administrators.';

CREATE OR REPLACE FUNCTION pg_background_prewarm(
    n pg_catalog.int4
)
RETURNS pg_catalog.int4
LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pg_background_prewarm';
COMMENT ON FUNCTION pg_background_prewarm(pg_catalog.int4) IS
'Starts workers for this database and role until n are idle or starting, as far as there are free background worker slots. Returns how many are idle or starting. They exit again after pg_background.worker_idle_timeout.';

-- Privileges

-- The role belongs to the cluster, not to this database: the script may have created it in another database, or
-- may be creating it there at this moment.
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

-- A database that was updated from version 1.4 names the first parameter of these functions user_name, and
-- CREATE OR REPLACE cannot change the name of a parameter.
DO $script$
DECLARE
    helper pg_catalog.text;
BEGIN
    FOR helper IN
        SELECT present.signature
        FROM pg_background_present() present
        WHERE present.name OPERATOR(pg_catalog.=) ANY (
                  ARRAY['grant_pg_background_privileges', 'revoke_pg_background_privileges']
              )
          AND NOT pg_catalog.starts_with(present.arguments, 'role_name ')
    LOOP
        EXECUTE pg_catalog.format('DROP FUNCTION %s', helper);
    END LOOP;
END
$script$;

-- The statements that grant privileges to an executor of jobs, or revoke them, are derived from the members of the
-- extension, so a function or type that a later version adds is covered without a list to maintain. An executor
-- gets neither the SECURITY DEFINER helpers nor the function for administrators; these are named here. Since 17 the
-- array types of our types are members as well, and so are the row types of our views. Neither can be granted: an
-- array type has the privileges of its element type, a row type those of its view.
--
-- One template makes all the names of both functions.
DO $script$
DECLARE
    wanted pg_catalog.record;
BEGIN
    FOR wanted IN
        SELECT spelling.name, way.command, way.preposition, way.purpose, way.power
        FROM (VALUES
            ('GRANT', 'TO', 'Lets a role use pg_background.', 'let any role run background jobs'),
            ('REVOKE', 'FROM', 'Takes the use of pg_background away from a role.',
             'take the use of background jobs away from any role')
        ) AS way (command, preposition, purpose, power)
        CROSS JOIN LATERAL (
            VALUES
                (pg_catalog.format('%s_pg_background_privileges', pg_catalog.lower(way.command))),
                (pg_catalog.format('pg_background_%s_privileges', pg_catalog.lower(way.command))),
                (pg_catalog.format('pg_background_%s_privileges_v2', pg_catalog.lower(way.command)))
        ) AS spelling (name)
    LOOP
        EXECUTE pg_catalog.replace(pg_catalog.replace(pg_catalog.replace($template$
CREATE OR REPLACE FUNCTION <name>(
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
                       format('<GRANT> EXECUTE ON %s %s <TO> %I',
                              CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
                              d.objid::regprocedure, role_name)
                   WHEN 'pg_class'::regclass THEN
                       format('<GRANT> SELECT ON %s <TO> %I', d.objid::regclass, role_name)
                   ELSE
                       format('<GRANT> USAGE ON TYPE %s <TO> %I', d.objid::regtype, role_name)
               END
        FROM pg_extension e
        JOIN pg_depend d
          ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
        LEFT JOIN pg_class v ON v.oid = t.typrelid AND v.relkind = 'v'
        WHERE e.extname = 'pg_background'
          AND (d.classid = 'pg_class'::regclass OR t.typcategory <> 'A' AND v.oid IS NULL
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
        RAISE NOTICE 'could not % the privileges of pg_background % %: %',
            lower('<GRANT>'), lower('<TO>'), role_name, SQLERRM;
        RETURN false;
END
$function$
$template$, '<name>', wanted.name), '<GRANT>', wanted.command), '<TO>', wanted.preposition);
        EXECUTE pg_catalog.format(
            'COMMENT ON FUNCTION %I(pg_catalog.text, pg_catalog.bool) IS %L',
            wanted.name,
            pg_catalog.format(
                '%s WARNING: this function is SECURITY DEFINER: it acts with the privileges of the owner of the extension, and every role that may execute it can %s. Grant it to administrators only.',
                wanted.purpose,
                wanted.power
            )
        );
    END LOOP;
END
$script$;

-- DROP EXTENSION leaves the role alone, since other databases may use it. A role that has privileges cannot be
-- dropped, so those in this database are revoked first.
CREATE OR REPLACE FUNCTION pg_background_drop_executor_role()
RETURNS pg_catalog.void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regrole('pgbackground_role') IS NULL THEN
        RETURN;
    END IF;
    -- The parameters have the exact types, so this calls our function and no overload of another user.
    EXECUTE (
        SELECT format('SELECT %I.revoke_pg_background_privileges($1, $2)', n.nspname)
        FROM pg_extension e
        JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_background'
    )
    USING 'pgbackground_role'::text, false;
    -- The server records what the script of an extension grants as initial privileges. Since 17 a role that has
    -- some cannot be dropped, and only DROP OWNED removes them. It removes everything else as well, so it runs
    -- only if nothing else is left in this database; otherwise DROP ROLE reports what depends on the role.
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
'Drops pgbackground_role after revoking its privileges on pg_background in this database; privileges in other databases must have been revoked there. WARNING: this function is SECURITY DEFINER: it acts with the privileges of the owner of the extension. Grant it to administrators only.';

-- PUBLIC has EXECUTE on new functions and USAGE on new types by default: revoke both, and grant the role the
-- privileges that it should have. Version 1.10 granted its helpers to the role; this is revoked.
--
-- The script grants or revokes a privilege only where it is missing or excessive. When a script does either, pg_dump
-- takes all privileges on the object for the extension's own, even those that an administrator has granted: they
-- would be missing from the dump. Also, if an administrator has granted a privilege to PUBLIC or revoked it from the
-- role after an older version had done the opposite, it stays so: pg_init_privs shows what that version did.
DO $script$
DECLARE
    kept pg_catalog.record;
BEGIN
    FOR kept IN
        SELECT c.key, c.value FROM pg_catalog.jsonb_each_text(pg_background_comments()) c
    LOOP
        EXECUTE pg_catalog.format(
            'COMMENT ON %s IS %L', pg_catalog.replace(kept.key, 'composite type ', 'type '), kept.value
        );
    END LOOP;
END
$script$;

DROP FUNCTION pg_background_comments();
DROP FUNCTION pg_background_forms();
DROP FUNCTION pg_background_present();

DO $script$
DECLARE
    command pg_catalog.text;
BEGIN
    -- The statements after this do not need the schema of the extension in search_path.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR command IN
        WITH member AS (
            SELECT d.classid,
                   d.objid,
                   CASE
                       WHEN p.oid IS NOT NULL THEN 'EXECUTE'
                       WHEN y.oid IS NOT NULL THEN 'USAGE'
                       ELSE 'SELECT'
                   END AS privilege,
                   CASE
                       WHEN p.prokind = 'p' THEN pg_catalog.format('PROCEDURE %s', p.oid::pg_catalog.regprocedure)
                       WHEN p.oid IS NOT NULL THEN pg_catalog.format('FUNCTION %s', p.oid::pg_catalog.regprocedure)
                       WHEN y.oid IS NOT NULL THEN pg_catalog.format('TYPE %s', y.oid::pg_catalog.regtype)
                       ELSE pg_catalog.format('TABLE %s', c.oid::pg_catalog.regclass)
                   END AS name,
                   COALESCE(
                       p.proacl, y.typacl, c.relacl,
                       CASE
                           WHEN p.oid IS NOT NULL THEN pg_catalog.acldefault('f', p.proowner)
                           WHEN y.oid IS NOT NULL THEN pg_catalog.acldefault('T', y.typowner)
                           ELSE pg_catalog.acldefault('r', c.relowner)
                       END
                   ) AS acl,
                   p.oid IS NULL OR NOT p.prosecdef AND p.proname <> 'pg_background_retire_idle' AS for_role
            FROM pg_catalog.pg_extension e
            JOIN pg_catalog.pg_depend d
              ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
             AND d.refobjid = e.oid
             AND d.deptype = 'e'
            LEFT JOIN pg_catalog.pg_proc p
              ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
            LEFT JOIN pg_catalog.pg_type y
              ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid = d.objid
            LEFT JOIN pg_catalog.pg_class c
              ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
            LEFT JOIN pg_catalog.pg_class v ON v.oid = y.typrelid AND v.relkind = 'v'
            WHERE e.extname = 'pg_background'
              AND (p.oid IS NOT NULL OR c.oid IS NOT NULL OR y.typcategory <> 'A' AND v.oid IS NULL)
        ), granted AS (
            SELECT m.name,
                   m.privilege,
                   m.for_role,
                   now.to_public,
                   now.to_role,
                   i.objoid IS NOT NULL AND NOT made.to_public AS public_by_hand,
                   made.to_role AND NOT now.to_role AS role_by_hand
            FROM member m
            LEFT JOIN pg_catalog.pg_init_privs i
              ON i.classoid = m.classid AND i.objoid = m.objid AND i.objsubid = 0
            CROSS JOIN LATERAL (
                SELECT COALESCE(pg_catalog.bool_or(a.grantee = 0), false) AS to_public,
                       COALESCE(pg_catalog.bool_or(a.grantee = 'pgbackground_role'::pg_catalog.regrole), false) AS to_role
                FROM pg_catalog.aclexplode(m.acl) a
                WHERE a.privilege_type = m.privilege
            ) now
            CROSS JOIN LATERAL (
                SELECT COALESCE(pg_catalog.bool_or(a.grantee = 0), false) AS to_public,
                       COALESCE(pg_catalog.bool_or(a.grantee = 'pgbackground_role'::pg_catalog.regrole), false) AS to_role
                FROM pg_catalog.aclexplode(i.initprivs) a
                WHERE a.privilege_type = m.privilege
            ) made
        )
        SELECT pg_catalog.format('REVOKE ALL ON %s FROM PUBLIC', name)
        FROM granted
        WHERE to_public AND NOT public_by_hand
        UNION ALL
        SELECT pg_catalog.format('GRANT %s ON %s TO pgbackground_role', privilege, name)
        FROM granted
        WHERE for_role AND NOT to_role AND NOT role_by_hand
        UNION ALL
        SELECT pg_catalog.format('REVOKE ALL ON %s FROM pgbackground_role', name)
        FROM granted
        WHERE to_role AND NOT for_role
    LOOP
        EXECUTE command;
    END LOOP;
END
$script$;
