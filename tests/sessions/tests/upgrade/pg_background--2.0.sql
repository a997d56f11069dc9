-- Stands in for the C extension in the upgrade tests.
-- Version 2.0: the names without _v2, those with it beside them; the functions of a pid are gone.

CREATE TYPE pg_background_handle AS (pid int4, cookie int8);
CREATE TYPE pg_background_stats AS (workers_launched int8, workers_completed int8, workers_failed int8,
    workers_canceled int8, workers_timed_out int8, workers_active int4, avg_execution_ms float8, max_workers int4);
CREATE TYPE pg_background_progress_info AS (progress_pct int4, progress_msg text);
CREATE TYPE pg_background_result_info AS (row_count int8, command_tag text, completed bool, has_error bool,
    started_at timestamptz, finished_at timestamptz);
CREATE TYPE pg_background_error AS (sqlstate text, message text, detail text, hint text, context text,
    schema_name text, table_name text, column_name text, constraint_name text);
CREATE TYPE pg_background_outcome AS (pid int4, cookie int8, state text, consumed bool, completed bool,
    has_error bool, row_count int8, command_tag text, sqlstate text, error_message text, label text,
    launched_at timestamptz);
CREATE TYPE pg_background_run_result AS (pid int4, cookie int8, state text, consumed bool, completed bool,
    has_error bool, row_count int8, command_tag text, sqlstate text, error_message text, label text,
    launched_at timestamptz, timed_out bool, elapsed_ms int8);

CREATE FUNCTION pg_background_launch(sql text, queue_size int4 DEFAULT 0) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_launch';
CREATE FUNCTION pg_background_launch(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_launch';
CREATE FUNCTION pg_background_submit(sql text, queue_size int4 DEFAULT 0) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_submit';
CREATE FUNCTION pg_background_submit(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_submit';
CREATE FUNCTION pg_background_result(pid int4, cookie int8) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result';
CREATE FUNCTION pg_background_detach(pid int4, cookie int8) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_detach';
CREATE FUNCTION pg_background_cancel(pid int4, cookie int8, grace_ms int4 DEFAULT 0) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_cancel';
CREATE FUNCTION pg_background_wait(pid int4, cookie int8, timeout_ms int4 DEFAULT 0) RETURNS bool
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_wait';
CREATE FUNCTION pg_background_list() RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_list';
CREATE FUNCTION pg_background_stats() RETURNS pg_background_stats
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_stats';
CREATE FUNCTION pg_background_get_progress(pid int4, cookie int8) RETURNS pg_background_progress_info
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_get_progress';
CREATE FUNCTION pg_background_result_info(pid int4, cookie int8) RETURNS pg_background_result_info
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result_info';
CREATE FUNCTION pg_background_error_info(pid int4, cookie int8) RETURNS pg_background_error
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_error_info';
CREATE FUNCTION pg_background_detach_all() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_detach_all';
CREATE FUNCTION pg_background_cancel_all() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_cancel_all';
CREATE FUNCTION pg_background_full_sql(pid int4, cookie int8) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_full_sql';
CREATE FUNCTION pg_background_record_timeout() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_record_timeout';
CREATE FUNCTION pg_background_report_progress(pct int4, msg text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_report_progress';

CREATE FUNCTION pg_background_launch_v2(sql text, queue_size int4 DEFAULT 0) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_launch';
CREATE FUNCTION pg_background_launch_v2(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_launch';
CREATE FUNCTION pg_background_submit_v2(sql text, queue_size int4 DEFAULT 0) RETURNS pg_background_handle
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_submit';
CREATE FUNCTION pg_background_submit_v2(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_submit';
CREATE FUNCTION pg_background_result_v2(pid int4, cookie int8) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result';
CREATE FUNCTION pg_background_detach_v2(pid int4, cookie int8) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_detach';
CREATE FUNCTION pg_background_cancel_v2(pid int4, cookie int8, grace_ms int4 DEFAULT 0) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_cancel';
CREATE FUNCTION pg_background_wait_v2(pid int4, cookie int8, timeout_ms int4 DEFAULT 0) RETURNS bool
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_wait';
CREATE FUNCTION pg_background_list_v2() RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_list';
CREATE FUNCTION pg_background_stats_v2() RETURNS pg_background_stats
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_stats';
CREATE FUNCTION pg_background_get_progress_v2(pid int4, cookie int8) RETURNS pg_background_progress_info
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_get_progress';
CREATE FUNCTION pg_background_result_info_v2(pid int4, cookie int8) RETURNS pg_background_result_info
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result_info';
CREATE FUNCTION pg_background_error_info_v2(pid int4, cookie int8) RETURNS pg_background_error
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_error_info';
CREATE FUNCTION pg_background_detach_all_v2() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_detach_all';
CREATE FUNCTION pg_background_cancel_all_v2() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_cancel_all';
CREATE FUNCTION pg_background_full_sql_v2(pid int4, cookie int8) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_full_sql';
COMMENT ON FUNCTION pg_background_wait_v2(int4, int8, int4) IS 'of version 2.0';

CREATE VIEW pg_background_list AS
SELECT * FROM pg_background_list() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid,
    queue_size int4, state text, sql_preview text, last_error text, consumed bool, label text);
CREATE VIEW pg_background_activity AS
SELECT l.pid, l.cookie, l.launched_at, l.user_id, l.queue_size, l.state AS pgbg_state, l.sql_preview, l.last_error,
       l.consumed, l.label, a.state AS backend_state, a.wait_event_type, a.wait_event, a.xact_start, a.query_start,
       a.backend_start, a.query
FROM pg_background_list l LEFT JOIN pg_stat_activity a USING (pid);

CREATE FUNCTION pg_background_outcome(p_pid int4, p_cookie int8) RETURNS pg_background_outcome
    LANGUAGE plpgsql AS $$
DECLARE
    outcome pg_background_outcome;
BEGIN
    SELECT p_pid, p_cookie, l.state, l.consumed, i.completed, i.has_error, i.row_count, i.command_tag, e.sqlstate,
           e.message, l.label, l.launched_at
    INTO outcome
    FROM pg_background_list l, pg_background_result_info(p_pid, p_cookie) i,
         pg_background_error_info(p_pid, p_cookie) e
    WHERE l.cookie = p_cookie;
    RETURN outcome;
END $$;
CREATE FUNCTION pg_background_run(sql text, queue_size int4 DEFAULT 0, timeout_ms int4 DEFAULT 0,
    label text DEFAULT NULL) RETURNS pg_background_run_result
    LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch(sql, queue_size, label);
    o pg_background_outcome;
    began timestamptz := clock_timestamp();
    finished bool := pg_background_wait(h.pid, h.cookie, timeout_ms);
BEGIN
    o := pg_background_outcome(h.pid, h.cookie);
    PERFORM pg_background_detach(h.pid, h.cookie);
    RETURN (o.pid, o.cookie, o.state, o.consumed, o.completed, o.has_error, o.row_count, o.command_tag, o.sqlstate,
        o.error_message, o.label, o.launched_at, NOT finished,
        extract(epoch FROM clock_timestamp() - began)::int8 * 1000)::pg_background_run_result;
END $$;
CREATE FUNCTION pg_background_drain(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS SETOF pg_background_outcome
    LANGUAGE sql AS $$ SELECT o.* FROM unnest($1) h, pg_background_wait(h.pid, h.cookie, $2), pg_background_outcome(h.pid, h.cookie) o $$;
CREATE FUNCTION pg_background_wait_any(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS pg_background_handle
    LANGUAGE sql AS $$ SELECT h FROM unnest($1) h WHERE pg_background_wait(h.pid, h.cookie, $2) LIMIT 1 $$;
CREATE FUNCTION pg_background_cancel_by_label(pattern text, grace_ms int4 DEFAULT 0) RETURNS int4
    LANGUAGE sql AS $$ SELECT count(pg_background_cancel(pid, cookie, $2))::int4 FROM pg_background_list WHERE label LIKE $1 $$;
CREATE FUNCTION pg_background_purge() RETURNS int4
    LANGUAGE sql AS $$ SELECT count(pg_background_detach(pid, cookie))::int4 FROM pg_background_list WHERE state = 'stopped' $$;

CREATE FUNCTION pg_background_outcome_v2(p_pid int4, p_cookie int8) RETURNS pg_background_outcome
    LANGUAGE sql AS $$ SELECT pg_background_outcome($1, $2) $$;
CREATE FUNCTION pg_background_run_v2(sql text, queue_size int4 DEFAULT 0, timeout_ms int4 DEFAULT 0,
    label text DEFAULT NULL) RETURNS pg_background_run_result
    LANGUAGE sql AS $$ SELECT pg_background_run($1, $2, $3, $4) $$;
CREATE FUNCTION pg_background_drain_v2(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS SETOF pg_background_outcome
    LANGUAGE sql AS $$ SELECT * FROM pg_background_drain($1, $2) $$;
CREATE FUNCTION pg_background_wait_any_v2(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS pg_background_handle
    LANGUAGE sql AS $$ SELECT pg_background_wait_any($1, $2) $$;
CREATE FUNCTION pg_background_cancel_by_label_v2(pattern text, grace_ms int4 DEFAULT 0) RETURNS int4
    LANGUAGE sql AS $$ SELECT pg_background_cancel_by_label($1, $2) $$;
CREATE FUNCTION pg_background_purge_v2() RETURNS int4
    LANGUAGE sql AS $$ SELECT pg_background_purge() $$;

DO $$
DECLARE
    member text;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['pg_background_run_query', 'pg_background_run_query_v2'] LOOP
        EXECUTE format($f$
            CREATE FUNCTION %I(sql text, queue_size int4 DEFAULT 0, timeout_ms int4 DEFAULT 0,
                label text DEFAULT NULL, col_def text DEFAULT NULL) RETURNS SETOF record
                LANGUAGE plpgsql AS $b$
            DECLARE
                h pg_background_handle := pg_background_launch(sql, queue_size, label);
            BEGIN
                RETURN QUERY EXECUTE format('SELECT * FROM pg_background_result($1, $2) AS (%%s)', col_def) USING h.pid, h.cookie;
            END $b$ $f$, name);
    END LOOP;
    IF to_regrole('pgbackground_role') IS NULL THEN
        CREATE ROLE pgbackground_role NOLOGIN;
    END IF;
    FOR member IN SELECT oid::regprocedure FROM pg_proc WHERE proname LIKE 'pg\_background\_%' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO pgbackground_role', member);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', member);
    END LOOP;
    FOR member IN SELECT oid::regtype FROM pg_type WHERE typname LIKE 'pg\_background\_%' AND typtype = 'c' LOOP
        EXECUTE format('GRANT USAGE ON TYPE %s TO pgbackground_role', member);
        EXECUTE format('REVOKE ALL ON TYPE %s FROM PUBLIC', member);
    END LOOP;
END $$;
GRANT SELECT ON pg_background_list, pg_background_activity TO pgbackground_role;

CREATE FUNCTION pg_background_grant_privileges(role_name text, print_commands bool DEFAULT false) RETURNS bool
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN EXECUTE format('GRANT pgbackground_role TO %I', role_name); RETURN true; END $$;
CREATE FUNCTION pg_background_revoke_privileges(role_name text, print_commands bool DEFAULT false) RETURNS bool
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN EXECUTE format('REVOKE pgbackground_role FROM %I', role_name); RETURN true; END $$;
CREATE FUNCTION pg_background_drop_executor_role() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN DROP ROLE pgbackground_role; END $$;
REVOKE ALL ON FUNCTION pg_background_grant_privileges(text, bool), pg_background_revoke_privileges(text, bool),
    pg_background_drop_executor_role() FROM PUBLIC;
