//! A job sees its leader's session, and nothing of the job before it.

use postgres::Client;
use session_tests::*;

/// One worker serves everything, so that each job runs where the one before it ran.
fn one_worker(name: &str) -> Server {
    Server::start(
        name,
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_idle_timeout=60s",
        ],
    )
}

/// Runs `dirt`, whatever becomes of it, then `probe`, and wants the leader's own answer to it.
struct Case {
    what: &'static str,
    dirt: &'static str,
    probe: &'static str,
}

const CASES: [Case; 31] = [
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
];

const OBJECTS: &str = "
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

fn pid(leader: &mut Client) -> String {
    run(leader, "SELECT pg_backend_pid()::text").expect("a pid")
}

#[test]
fn a_job_sees_nothing_of_the_job_before_it() {
    let server = one_worker("hygiene");
    let mut leader = server.session();
    leader.batch_execute(OBJECTS).expect("objects");
    leader
        .batch_execute(
            "SET work_mem = '3MB'; SET own.setting = 'own'; SET application_name = 'the leader'",
        )
        .expect("settings");
    let worker = pid(&mut leader);
    let mut seen = Vec::new();
    for Case { what, dirt, probe } in CASES {
        let expected: Option<String> = value(&mut leader, probe);
        let _ = try_run(&mut leader, dirt);
        match try_run(&mut leader, probe) {
            Ok(found) if found == expected => {}
            Ok(found) => seen.push(format!("{what}: {found:?} instead of {expected:?}")),
            Err(error) => seen.push(format!("{what}: {error:?}")),
        }
        // A second round, when nothing has changed since the settings were put on.
        let again = try_run(&mut leader, probe).expect("once more");
        if again != expected {
            seen.push(format!("{what}, second time: {again:?}"));
        }
    }
    assert_eq!(seen, Vec::<String>::new());
    assert_eq!(pid(&mut leader), worker, "the same process ran it all");
    nothing_is_left(&mut leader);
}

#[test]
fn a_session_lock_of_a_job_is_free_when_the_wait_returns() {
    let server = one_worker("advisory");
    let mut leader = server.session();
    for round in 0..300 {
        let handle = launch(&mut leader, "SELECT pg_advisory_lock(1)");
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
        assert!(
            value::<bool>(&mut leader, "SELECT pg_try_advisory_lock(1)"),
            "round {round}"
        );
        leader
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .expect("unlocked");
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    }
}

#[test]
fn a_table_lock_of_a_job_is_free_when_the_wait_returns() {
    let server = one_worker("table-lock");
    let mut leader = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    for sql in ["LOCK TABLE t; SELECT 1", "LOCK TABLE t; SELECT 1 / 0"] {
        for _ in 0..100 {
            let handle = launch(&mut leader, sql);
            call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
            leader
                .batch_execute("BEGIN; LOCK TABLE t NOWAIT; COMMIT")
                .expect("free");
            call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
        }
    }
}

#[test]
fn a_terminated_job_has_given_up_its_locks_when_the_wait_returns() {
    let server = one_worker("terminated-lock");
    let mut leader = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    for _ in 0..20 {
        let handle = launch(&mut leader, "LOCK TABLE t; SELECT pg_sleep(600)");
        asleep(&mut leader, handle);
        leader
            .execute("SELECT pg_terminate_backend($1)", &[&handle.pid])
            .expect("terminated");
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
        leader
            .batch_execute("BEGIN; LOCK TABLE t NOWAIT; COMMIT")
            .expect("free");
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    }
}

/// What the leader sees of its settings, and what its job sees.
fn both(leader: &mut Client, sql: &str) -> (Option<String>, Option<String>) {
    (value(leader, sql), run(leader, sql))
}

const SETTINGS: &str = "SELECT concat_ws('|', current_setting('work_mem'), current_setting('search_path'),
    current_setting('application_name'), current_setting('own.setting', true), current_setting('DateStyle'),
    current_setting('statement_timeout'), session_user, current_user)";

#[test]
fn a_job_sees_its_leaders_settings() {
    let server = one_worker("settings");
    let mut leader = server.session();
    leader
        .batch_execute(
            "CREATE ROLE someone; GRANT pgbackground_role TO someone; CREATE SCHEMA elsewhere",
        )
        .expect("objects");
    for change in [
        "SELECT 1",
        "SET work_mem = '5MB'",
        "SET search_path = elsewhere, public",
        "SET application_name = 'a leader''s \\ name'",
        "SET own.setting = 'one'",
        "SET own.setting = 'two'",
        "SET DateStyle = 'SQL, DMY'",
        "SET statement_timeout = '55s'",
        "SET ROLE someone",
        "RESET ROLE",
        "RESET work_mem",
        "RESET search_path",
        "BEGIN; SET LOCAL work_mem = '6MB'",
        "ROLLBACK",
        "SET SESSION AUTHORIZATION someone",
        "RESET SESSION AUTHORIZATION",
    ] {
        leader.batch_execute(change).expect(change);
        for _ in 0..2 {
            let (here, there) = both(&mut leader, SETTINGS);
            assert_eq!(here, there, "after {change}");
        }
    }
}

#[test]
fn a_role_that_the_leader_has_set_can_be_shown_and_reset_in_its_job() {
    let server = one_worker("role");
    let mut leader = server.session();
    leader
        .batch_execute("CREATE ROLE someone; GRANT pgbackground_role TO someone; SET ROLE someone")
        .expect("a role");
    for sql in [
        "SELECT current_setting('role')",
        "RESET ROLE; SELECT current_user::text",
        "SET ROLE pg_monitor; SELECT current_user || ' ' || current_setting('role')",
        "SHOW role",
    ] {
        // Undone here, so that each starts from the same.
        let there = run(&mut leader, sql);
        let here: String = leader
            .simple_query(sql)
            .expect("the leader can do it")
            .iter()
            .find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(String::from),
                _ => None,
            })
            .expect("a row");
        leader.batch_execute("SET ROLE someone").expect("a role");
        assert_eq!(there, Some(here), "{sql}");
    }
}

#[test]
fn leaders_of_one_lane_each_see_their_own_settings() {
    let server = one_worker("two-leaders");
    let mut leaders = [server.session(), server.session(), server.session()];
    for (number, leader) in leaders.iter_mut().enumerate() {
        leader
            .batch_execute(&format!(
                "SET work_mem = '{}MB'; SET application_name = 'leader {number}'; SET own.setting = '{number}'",
                number + 10
            ))
            .expect("settings");
    }
    for _ in 0..10 {
        for leader in &mut leaders {
            let (here, there) = both(leader, SETTINGS);
            assert_eq!(here, there);
        }
    }
}

#[test]
fn defaults_changed_since_the_leader_connected_do_not_reach_its_job() {
    let server = one_worker("defaults");
    server.role("someone");
    let mut admin = server.session();
    let mut leader = server.session_as("someone");
    // The worker connects after this; its own defaults are the new ones.
    admin
        .batch_execute(
            "ALTER ROLE someone SET work_mem = '9MB';
             ALTER ROLE someone SET search_path = nowhere, public;
             ALTER DATABASE postgres SET DateStyle = 'German'",
        )
        .expect("settings");
    let (here, there) = both(&mut leader, SETTINGS);
    assert_eq!(here, there);
    let mut later = server.session_as("someone");
    let (here, there) = both(&mut later, SETTINGS);
    assert_eq!(here, there);
    assert!(here.is_some_and(|text| text.starts_with("9MB|nowhere, public|")));
}

#[test]
fn a_reloaded_configuration_reaches_jobs_with_their_leader() {
    let server = one_worker("reload");
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    for round in 1..5 {
        leader
            .batch_execute(&format!("ALTER SYSTEM SET work_mem = '{}MB'", round + 20))
            .expect("a setting");
        leader
            .batch_execute("SELECT pg_reload_conf()")
            .expect("reloaded");
        eventually(
            &mut leader,
            &format!("current_setting('work_mem') = '{}MB'", round + 20),
        );
        let (here, there) = both(&mut leader, SETTINGS);
        assert_eq!(here, there);
    }
}

#[test]
fn a_process_that_loaded_a_library_runs_no_other_job() {
    let server = one_worker("load");
    let mut leader = server.session();
    let before = pid(&mut leader);
    run(&mut leader, "LOAD 'auto_explain'");
    assert_ne!(pid(&mut leader), before);
}

#[test]
fn a_warm_worker_sees_what_changed_in_the_catalog() {
    let server = one_worker("catalog");
    let (mut leader, mut other) = (server.session(), server.session());
    leader
        .batch_execute("CREATE TABLE t AS SELECT 1 AS n; CREATE TABLE u AS SELECT 1 AS n")
        .expect("tables");
    assert_eq!(
        run(&mut leader, "SELECT count(*)::text FROM t"),
        Some(String::from("1"))
    );
    // More invalidations than the shared queue holds, so that an idle process must catch up.
    for _ in 0..800 {
        other
            .batch_execute("DROP TABLE u; CREATE TABLE u (n int4)")
            .expect("another table");
    }
    other
        .batch_execute("DROP TABLE t; CREATE TABLE t AS SELECT 'new'::text AS n")
        .expect("another table");
    assert_eq!(
        run(&mut leader, "SELECT n FROM t"),
        Some(String::from("new"))
    );
}

#[test]
fn messages_arrive_whole_whatever_client_encoding_a_job_sets() {
    let server = one_worker("encoding");
    let mut leader = server.session();
    // An encoding that cannot hold the text would even fail the report of the error.
    for encoding in ["LATIN1", "WIN1251", "SQL_ASCII"] {
        let error = try_run(
            &mut leader,
            &format!(
                "SET client_encoding = '{encoding}'; DO $$ BEGIN RAISE EXCEPTION 'caf\u{e9} \u{4e2d}'; END $$"
            ),
        )
        .expect_err("the job fails");
        let message = error.as_db_error().expect("the server's").message();
        assert_eq!(message, "caf\u{e9} \u{4e2d}", "{encoding}");
        let shown = run(
            &mut leader,
            &format!(
                "SET client_encoding = '{encoding}'; SELECT current_setting('client_encoding') || ' \u{e9}'"
            ),
        );
        assert_eq!(shown, Some(format!("{encoding} \u{e9}")));
    }
}

#[test]
fn the_first_job_of_a_worker_has_its_leaders_settings_those_of_the_extension_too() {
    const SETTINGS: &str = "SELECT concat_ws('|', current_setting('pg_background.worker_timeout'),
        current_setting('pg_background.launch_timeout'), current_setting('work_mem'),
        current_setting('application_name'))";
    for placeholder in [true, false] {
        // A lane of its own, so that its worker is a fresh process.
        let database = Database::new();
        let mut leader = database.session();
        if !placeholder {
            // Loads the library, which defines its settings.
            leader
                .batch_execute("SELECT pg_background_retire_idle()")
                .expect("loaded");
        }
        leader
            .batch_execute(
                "SET pg_background.worker_timeout = '7s'; SET work_mem = '9MB'; SET application_name = 'it'",
            )
            .expect("settings");
        assert_eq!(
            run(&mut leader, SETTINGS),
            Some(String::from("7s|10s|9MB|it"))
        );
        let refused = try_run(&mut leader, "SET pg_background.worker_timeout = -1");
        assert_eq!(sqlstate(refused), "22023");
    }
}

#[test]
fn the_first_job_of_a_worker_sees_settings_that_nobody_has_set() {
    for (sql, expected) in [
        ("SHOW pg_background.launch_timeout", "10s"),
        ("SELECT current_setting('Pg_Background.max_workers')", "16"),
        (
            "SELECT count(*)::text FROM pg_settings WHERE name LIKE 'pg!_background.%' ESCAPE '!'",
            "12",
        ),
    ] {
        // A lane of its own, so that its worker is a fresh process.
        let database = Database::new();
        let shown = run(&mut database.session(), sql);
        assert_eq!(shown, Some(String::from(expected)), "{sql}");
    }
}

#[test]
fn a_job_that_launches_jobs_has_the_extensions_settings() {
    let database = Database::new();
    let mut leader = database.session();
    let inner = "SELECT (SELECT count(*) FROM pg_background_list_v2()
        AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
            sql_preview text, last_error text, consumed bool))::text
        || current_setting('pg_background.launch_timeout')";
    assert_eq!(run(&mut leader, inner), Some(String::from("010s")));
}
