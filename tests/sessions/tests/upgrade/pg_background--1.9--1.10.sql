-- Stands in for the C extension in the upgrade tests.
-- Version 1.10: views, and helpers in SQL and PL/pgSQL. It granted its helpers with the rights of their
-- owner to the role, and left some of the others out.

CREATE VIEW pg_background_list AS
SELECT * FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz, user_id oid,
    queue_size int4, state text, sql_preview text, last_error text, consumed bool, label text);
CREATE VIEW pg_background_activity AS
SELECT l.pid, l.cookie, l.launched_at, l.user_id, l.queue_size, l.state AS pgbg_state, l.sql_preview, l.last_error,
       l.consumed, l.label, a.state AS backend_state, a.wait_event_type, a.wait_event, a.xact_start, a.query_start,
       a.backend_start, a.query
FROM pg_background_list l LEFT JOIN pg_stat_activity a USING (pid);

CREATE TYPE pg_background_outcome AS (pid int4, cookie int8, state text, consumed bool, completed bool,
    has_error bool, row_count int8, command_tag text, sqlstate text, error_message text, label text,
    launched_at timestamptz);
CREATE TYPE pg_background_run_result AS (pid int4, completed bool, timed_out bool, has_error bool, row_count int8,
    command_tag text, sqlstate text, error_message text, elapsed_ms int8);

CREATE FUNCTION pg_background_full_sql_v2(pid int4, cookie int8) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_full_sql_v2';
CREATE FUNCTION pg_background_outcome_v2(p_pid int4, p_cookie int8) RETURNS pg_background_outcome
    LANGUAGE plpgsql AS $$
DECLARE
    outcome pg_background_outcome;
BEGIN
    SELECT p_pid, p_cookie, l.state, l.consumed, i.completed, i.has_error, i.row_count, i.command_tag, e.sqlstate,
           e.message, l.label, l.launched_at
    INTO outcome
    FROM pg_background_list l, pg_background_result_info_v2(p_pid, p_cookie) i,
         pg_background_error_info_v2(p_pid, p_cookie) e
    WHERE l.cookie = p_cookie;
    RETURN outcome;
END $$;
CREATE FUNCTION pg_background_status_v2(p_pid int4, p_cookie int8) RETURNS jsonb
    LANGUAGE sql AS $$ SELECT to_jsonb(pg_background_outcome_v2($1, $2)) $$;
CREATE FUNCTION pg_background_run_v2(sql text, queue_size int4 DEFAULT 0, timeout_ms int4 DEFAULT 0,
    label text DEFAULT NULL) RETURNS pg_background_run_result
    LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql, queue_size, label);
    o pg_background_outcome;
    began timestamptz := clock_timestamp();
BEGIN
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    o := pg_background_outcome_v2(h.pid, h.cookie);
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
    RETURN (o.pid, o.completed, false, o.has_error, o.row_count, o.command_tag, o.sqlstate, o.error_message,
        extract(epoch FROM clock_timestamp() - began)::int8 * 1000)::pg_background_run_result;
END $$;
CREATE FUNCTION pg_background_run_query_v2(sql text, queue_size int4 DEFAULT 0, timeout_ms int4 DEFAULT 0,
    label text DEFAULT NULL, col_def text DEFAULT NULL) RETURNS SETOF record
    LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle := pg_background_launch_v2(sql, queue_size, label);
BEGIN
    RETURN QUERY EXECUTE format('SELECT * FROM pg_background_result_v2($1, $2) AS (%s)', col_def) USING h.pid, h.cookie;
END $$;
CREATE FUNCTION pg_background_drain_v2(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS SETOF pg_background_outcome
    LANGUAGE sql AS $$ SELECT o.* FROM unnest($1) h, pg_background_wait_v2_timeout(h.pid, h.cookie, $2), pg_background_outcome_v2(h.pid, h.cookie) o $$;
CREATE FUNCTION pg_background_wait_any_v2(handles pg_background_handle[], timeout_ms int4 DEFAULT 0)
    RETURNS pg_background_handle
    LANGUAGE sql AS $$ SELECT h FROM unnest($1) h WHERE pg_background_wait_v2_timeout(h.pid, h.cookie, $2) LIMIT 1 $$;
CREATE FUNCTION pg_background_cancel_by_label_v2(pattern text, grace_ms int4 DEFAULT 0) RETURNS int4
    LANGUAGE sql AS $$ SELECT count(pg_background_cancel_v2_grace(pid, cookie, $2))::int4 FROM pg_background_list WHERE label LIKE $1 $$;
CREATE FUNCTION pg_background_purge_v2() RETURNS int4
    LANGUAGE sql AS $$ SELECT count(pg_background_detach_v2(pid, cookie))::int4 FROM pg_background_list WHERE state = 'stopped' $$;

REVOKE ALL ON TYPE pg_background_outcome FROM PUBLIC;
REVOKE ALL ON TYPE pg_background_run_result FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_background_full_sql_v2(int4, int8), pg_background_outcome_v2(int4, int8),
    pg_background_status_v2(int4, int8), pg_background_run_v2(text, int4, int4, text),
    pg_background_run_query_v2(text, int4, int4, text, text), pg_background_drain_v2(pg_background_handle[], int4),
    pg_background_wait_any_v2(pg_background_handle[], int4), pg_background_cancel_by_label_v2(text, int4),
    pg_background_purge_v2() FROM PUBLIC;
GRANT SELECT ON pg_background_list, pg_background_activity TO pgbackground_role;
GRANT USAGE ON TYPE pg_background_outcome, pg_background_run_result TO pgbackground_role;
GRANT EXECUTE ON FUNCTION pg_background_outcome_v2(int4, int8), pg_background_run_v2(text, int4, int4, text),
    grant_pg_background_privileges(text, bool), revoke_pg_background_privileges(text, bool) TO pgbackground_role;
