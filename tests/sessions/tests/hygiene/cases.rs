//! What a job can leave in its process, and how the next one would see it.

/// Runs `dirt`, ignores its outcome, then runs `probe`, which must answer as in the leader.
pub struct Case {
    pub what: &'static str,
    pub dirt: &'static str,
    pub probe: &'static str,
}

pub const CASES: &[Case] = &[
    Case {
        what: "temporary replication slot",
        dirt: "SELECT slot_name::text FROM pg_create_physical_replication_slot('dirt', false, true)",
        probe: "SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = 'dirt'",
    },
    Case {
        what: "temporary table",
        dirt: "CREATE TEMP TABLE dirt (n int4)",
        probe: "SELECT count(*)::text FROM pg_class WHERE relname = 'dirt'",
    },
    Case {
        what: "temporary table of a job that failed",
        dirt: "CREATE TEMP TABLE dirt (n int4); SELECT 1 / 0",
        probe: "SELECT count(*)::text FROM pg_class WHERE relname = 'dirt'",
    },
    Case {
        what: "temporary table committed by a job that failed later",
        dirt: "CALL leave_temp_and_fail()",
        probe: "SELECT count(*)::text FROM pg_class WHERE relname = 'dirt'",
    },
    Case {
        what: "temporary function",
        dirt: "CREATE FUNCTION pg_temp.dirt() RETURNS int4 LANGUAGE sql AS 'SELECT 1'",
        probe: "SELECT count(*)::text FROM pg_proc WHERE proname = 'dirt'",
    },
    Case {
        what: "prepared statement",
        dirt: "PREPARE dirt AS SELECT 1",
        probe: "SELECT count(*)::text FROM pg_prepared_statements WHERE name = 'dirt'",
    },
    Case {
        what: "session advisory lock",
        dirt: "SELECT pg_advisory_lock(42)::text",
        probe: "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'",
    },
    Case {
        what: "shared session advisory lock of a job that failed",
        dirt: "SELECT pg_advisory_lock_shared(43); SELECT 1 / 0",
        probe: "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'",
    },
    Case {
        what: "LISTEN",
        dirt: "LISTEN dirt",
        probe: "SELECT count(*)::text FROM pg_listening_channels()",
    },
    Case {
        what: "SET",
        dirt: "SET work_mem = '77MB'",
        probe: "SELECT current_setting('work_mem')",
    },
    Case {
        what: "SET of several",
        dirt: "SET work_mem = '77MB'; SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'",
        probe: "SELECT concat_ws(' ', current_setting('work_mem'), current_setting('DateStyle'), current_setting('TimeZone'))",
    },
    Case {
        what: "SET LOCAL",
        dirt: "SET LOCAL work_mem = '78MB'; SELECT 1",
        probe: "SELECT current_setting('work_mem')",
    },
    Case {
        what: "SET in a function",
        dirt: "SELECT set_config('work_mem', '79MB', false)",
        probe: "SELECT current_setting('work_mem')",
    },
    Case {
        what: "SET committed by a job that failed later",
        dirt: "CALL leave_setting_and_fail()",
        probe: "SELECT current_setting('work_mem')",
    },
    Case {
        what: "RESET of what the leader has set",
        dirt: "RESET work_mem",
        probe: "SELECT current_setting('work_mem')",
    },
    Case {
        what: "RESET ALL",
        dirt: "RESET ALL",
        probe: "SELECT current_setting('work_mem') || current_setting('own.setting')",
    },
    Case {
        what: "DISCARD ALL",
        dirt: "DISCARD ALL",
        probe: "SELECT current_setting('work_mem') || current_setting('own.setting')",
    },
    Case {
        what: "custom setting",
        dirt: "SET dirt.setting = 'dirt'",
        probe: "SELECT coalesce(current_setting('dirt.setting', true), '')",
    },
    Case {
        what: "custom setting that the leader has too",
        dirt: "SET own.setting = 'dirt'",
        probe: "SELECT current_setting('own.setting')",
    },
    Case {
        what: "search_path",
        dirt: "SET search_path = pg_catalog",
        probe: "SELECT current_setting('search_path') || array_to_string(current_schemas(false), ',')",
    },
    Case {
        what: "application_name",
        dirt: "SET application_name = 'dirt'",
        probe: "SELECT current_setting('application_name')",
    },
    Case {
        what: "client_encoding",
        dirt: "SET client_encoding = 'LATIN1'",
        probe: "SELECT current_setting('client_encoding') || 'äöü'",
    },
    Case {
        what: "SET ROLE",
        dirt: "SET ROLE someone",
        probe: "SELECT current_user || ' ' || session_user || ' ' || current_setting('role')",
    },
    Case {
        what: "SET SESSION AUTHORIZATION",
        dirt: "SET SESSION AUTHORIZATION someone",
        probe: "SELECT current_user || ' ' || session_user || ' ' || current_setting('is_superuser')",
    },
    Case {
        what: "session characteristics",
        dirt: "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY",
        probe: "SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only')",
    },
    Case {
        what: "transaction characteristics",
        dirt: "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT 1",
        probe: "SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only')",
    },
    Case {
        what: "session_replication_role",
        dirt: "SET session_replication_role = replica",
        probe: "SELECT current_setting('session_replication_role')",
    },
    Case {
        what: "statement_timeout",
        dirt: "SET statement_timeout = '1ms'",
        probe: "SELECT 'slept' || pg_sleep(0.05)",
    },
    Case {
        what: "lastval",
        dirt: "SELECT nextval('s')::text",
        probe: "SELECT has_lastval()::text",
    },
    Case {
        what: "cursor WITH HOLD",
        dirt: "DECLARE dirt CURSOR WITH HOLD FOR SELECT 1",
        probe: "SELECT count(*)::text FROM pg_cursors WHERE name = 'dirt'",
    },
    Case {
        what: "dropped and made again: a cached plan",
        dirt: "SELECT cached()::text",
        probe: "SELECT cached()::text",
    },
    Case {
        what: "currval",
        dirt: "SELECT nextval('s')::text",
        probe: "SELECT has_currval()::text",
    },
    Case {
        what: "currval of a temporary sequence of a job that failed",
        dirt: "CREATE TEMP SEQUENCE dirt; SELECT nextval('dirt'); SELECT 1 / 0",
        probe: "SELECT has_lastval()::text || has_currval()",
    },
    Case {
        what: "row_security",
        dirt: "SET row_security = off",
        probe: "SELECT current_setting('row_security')",
    },
    Case {
        what: "JIT",
        dirt: "SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0;
               SELECT count(*)::text FROM generate_series(1, 10)",
        probe: "SELECT concat_ws(' ', current_setting('jit'), current_setting('jit_above_cost'),
                    current_setting('jit_inline_above_cost'), current_setting('jit_optimize_above_cost'))",
    },
    Case {
        what: "planner settings",
        dirt: "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET max_parallel_workers_per_gather = 7",
        probe: "SELECT concat_ws(' ', current_setting('enable_seqscan'), current_setting('plan_cache_mode'),
                    current_setting('max_parallel_workers_per_gather'))",
    },
    Case {
        what: "open transaction of a procedure that committed",
        dirt: "CALL leave_transaction(false)",
        probe: IN_TRANSACTION,
    },
    Case {
        what: "open transaction of a procedure that failed after a commit",
        dirt: "CALL leave_transaction(true)",
        probe: IN_TRANSACTION,
    },
    Case {
        what: "cursor of a procedure that failed in its loop after a commit",
        dirt: "CALL leave_loop_and_fail()",
        probe: "SELECT count(*)::text FROM pg_cursors WHERE statement !~ 'pg_cursors'",
    },
    Case {
        what: "subtransaction that a procedure was in when it failed",
        dirt: "DO $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN RAISE; END; END $$",
        probe: IN_TRANSACTION,
    },
    Case {
        what: "deferred constraints",
        dirt: "SET CONSTRAINTS ALL DEFERRED; SELECT 1",
        probe: "SELECT violates()::text",
    },
    Case {
        what: "LISTEN of a job that failed",
        dirt: "LISTEN dirt; SELECT 1 / 0",
        probe: "SELECT count(*)::text FROM pg_listening_channels()",
    },
    Case {
        what: "notification of a job that failed",
        dirt: "NOTIFY dirt; SELECT 1 / 0",
        probe: "SELECT pg_notification_queue_usage()::text",
    },
    Case {
        what: "large object that was left open",
        dirt: "SELECT lo_open(lo_from_bytea(0, 'dirt'), 131072)::text",
        probe: "SELECT reads_large_object()::text",
    },
    Case {
        what: "exported snapshot",
        dirt: "SELECT pg_export_snapshot()",
        probe: "SELECT count(*)::text FROM pg_ls_dir('pg_snapshots')",
    },
    Case {
        what: "statistics that were looked at",
        dirt: "SET stats_fetch_consistency = snapshot; SELECT count(*)::text FROM pg_stat_activity",
        probe: "SELECT coalesce(current_setting('stats_fetch_consistency', true), '')
                    || (pg_stat_get_snapshot_timestamp() IS NULL)",
    },
    Case {
        what: "progress",
        dirt: "SELECT pg_background_progress(50, 'dirt')::text",
        probe: "SELECT (SELECT count(*) FROM pg_background_list)::text",
    },
    Case {
        what: "jobs of its own",
        dirt: "SELECT (pg_background_submit_v2('SELECT pg_sleep(0)')).cookie::text",
        probe: "SELECT (SELECT count(*) FROM pg_background_list) || ' '
                    || (SELECT workers_active FROM pg_background_stats())",
    },
    Case {
        what: "lock timeouts",
        dirt: "SET lock_timeout = '1ms'; SET deadlock_timeout = '1ms'; LOCK TABLE c; SELECT 1",
        probe: "SELECT current_setting('lock_timeout') || current_setting('deadlock_timeout')",
    },
];

/// Whether there is a transaction with a past, and of what kind.
const IN_TRANSACTION: &str = "SELECT concat_ws(' ', pg_current_xact_id_if_assigned() IS NULL,
    current_setting('transaction_isolation'), current_setting('transaction_deferrable'))";

pub const OBJECTS: &str = "
    CREATE ROLE someone LOGIN;
    CREATE SEQUENCE s;
    CREATE TABLE c AS SELECT 7 AS n;
    CREATE FUNCTION cached() RETURNS int4 LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT n FROM c); END';
    CREATE FUNCTION has_lastval() RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM lastval();
        RETURN true;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN false;
    END $$;
    CREATE FUNCTION has_currval() RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM currval('s');
        RETURN true;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN false;
    END $$;
    CREATE TABLE k (n int4 PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE);
    INSERT INTO k VALUES (1);
    CREATE FUNCTION violates() RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO k VALUES (1);
        DELETE FROM k;
        RETURN false;
    EXCEPTION WHEN unique_violation THEN
        RETURN true;
    END $$;
    CREATE FUNCTION reads_large_object() RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM loread(0, 1);
        RETURN true;
    EXCEPTION WHEN undefined_object THEN
        RETURN false;
    END $$;
    CREATE PROCEDURE leave_transaction(fails bool) LANGUAGE plpgsql AS $$
    BEGIN
        COMMIT;
        SET TRANSACTION ISOLATION LEVEL SERIALIZABLE DEFERRABLE;
        INSERT INTO c SELECT 7 WHERE pg_current_xact_id() IS NULL;
        IF fails THEN
            RAISE division_by_zero;
        END IF;
    END $$;
    CREATE PROCEDURE leave_loop_and_fail() LANGUAGE plpgsql AS $$
    DECLARE
        n int4;
    BEGIN
        FOR n IN SELECT generate_series(1, 1000) LOOP
            COMMIT;
            IF n = 3 THEN
                RAISE division_by_zero;
            END IF;
        END LOOP;
    END $$;
    GRANT SELECT, INSERT ON c, k TO PUBLIC;
    GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO PUBLIC;
    GRANT USAGE ON SEQUENCE s TO PUBLIC;
    CREATE PROCEDURE leave_temp_and_fail() LANGUAGE plpgsql AS $$
    BEGIN
        CREATE TEMP TABLE dirt (n int4);
        COMMIT;
        RAISE division_by_zero;
    END $$;
    CREATE PROCEDURE leave_setting_and_fail() LANGUAGE plpgsql AS $$
    BEGIN
        SET work_mem = '80MB';
        COMMIT;
        RAISE division_by_zero;
    END $$";
