//! A job sees its leader's session, and nothing of the job before it.

mod cases;

use cases::{CASES, Case, OBJECTS};
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

fn pid(leader: &mut Client) -> String {
    run(leader, "SELECT pg_backend_pid()::text").expect("a pid")
}

fn become_role(leader: &mut Client, role: &str) {
    leader
        .batch_execute(&format!("SET ROLE {role}"))
        .expect("a role");
}

/// Each kind of dirt by a job of role `first`, then a look at it by jobs of role `second`, on one worker.
fn second_sees_nothing_of_first(server: &Server, first: &str, second: &str) {
    let mut leader = server.session();
    leader
        .batch_execute(
            "SET work_mem = '3MB'; SET own.setting = 'own'; SET application_name = 'the leader'",
        )
        .expect("settings");
    let worker = pid(&mut leader);
    let mut seen = Vec::new();
    for Case { what, dirt, probe } in CASES {
        become_role(&mut leader, second);
        let expected: Option<String> = value(&mut leader, probe);
        become_role(&mut leader, first);
        let _ = try_run(&mut leader, dirt);
        become_role(&mut leader, second);
        match try_run(&mut leader, probe) {
            Ok(found) if found == expected => {}
            Ok(found) => seen.push(format!("{what}: {found:?} instead of {expected:?}")),
            Err(error) => seen.push(format!("{what}: {error:?}")),
        }
        // A second round, when nothing has changed since the settings were adopted.
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
fn a_job_sees_nothing_of_the_job_before_it() {
    let server = one_worker("hygiene");
    server.session().batch_execute(OBJECTS).expect("objects");
    second_sees_nothing_of_first(&server, "none", "none");
}

#[test]
fn a_job_of_one_role_sees_nothing_of_the_job_of_another_before_it() {
    let server = one_worker("hygiene-roles");
    let mut admin = server.session();
    admin.batch_execute(OBJECTS).expect("objects");
    admin
        .batch_execute(
            "CREATE ROLE other; GRANT pgbackground_role, pg_monitor TO someone, other;
             GRANT CREATE ON SCHEMA public TO someone",
        )
        .expect("roles");
    second_sees_nothing_of_first(&server, "someone", "other");
    second_sees_nothing_of_first(&server, "none", "other");
    second_sees_nothing_of_first(&server, "someone", "none");
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
fn temporary_tables_of_a_job_do_not_fix_the_temp_buffers_of_the_next() {
    let server = one_worker("temp-buffers");
    let (mut one, mut two) = (server.session(), server.session());
    two.batch_execute("SET temp_buffers = '2MB'")
        .expect("a setting");
    let uses = "CREATE TEMP TABLE t AS SELECT 1; SELECT current_setting('temp_buffers')";
    for _ in 0..3 {
        assert_eq!(run(&mut one, uses).as_deref(), Some("8MB"));
        assert_eq!(run(&mut two, uses).as_deref(), Some("2MB"));
    }
    // One that has other buffers than it should is replaced; one that has not stays.
    let before = pid(&mut two);
    run(&mut two, uses);
    assert_eq!(pid(&mut two), before);
    run(&mut one, uses);
    assert_ne!(pid(&mut one), before);
    nothing_is_left(&mut one);
}

/// What a job can do to its process that nothing can undo.
const LASTING: &[(&str, &str)] = &[
    ("a library", "LOAD 'auto_explain'"),
    (
        "a replication origin",
        "SELECT pg_replication_origin_session_setup('origin')::text",
    ),
    (
        "a replication origin of a job that failed",
        "SELECT pg_replication_origin_session_setup('origin'); SELECT 1 / 0",
    ),
    (
        "a replication origin of a procedure that failed after a commit",
        "CALL leave_origin_and_fail()",
    ),
    ("a backup", "$backup"),
];

#[test]
fn a_process_in_a_state_that_cannot_be_reset_runs_no_other_job() {
    let server = one_worker("lasting");
    let mut leader = server.session();
    leader
        .batch_execute(
            "SELECT pg_replication_origin_create('origin');
             CREATE PROCEDURE leave_origin_and_fail() LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM pg_replication_origin_session_setup('origin');
                 COMMIT;
                 RAISE division_by_zero;
             END $$",
        )
        .expect("objects");
    let version = major_version(&mut leader);
    let backup = if version >= 15 {
        "SELECT pg_backup_start('dirt', true)::text"
    } else {
        "SELECT pg_start_backup('dirt', true, false)::text"
    };
    for (what, sql) in LASTING {
        let before = pid(&mut leader);
        let _ = try_run(&mut leader, if *sql == "$backup" { backup } else { sql });
        assert_ne!(pid(&mut leader), before, "{what}");
    }
    // Its end has ended the backup: another can begin and be stopped in one job.
    let (start, stop) = if version >= 15 {
        ("pg_backup_start('clean', true)", "pg_backup_stop(false)")
    } else {
        (
            "pg_start_backup('clean', true, false)",
            "pg_stop_backup(false, false)",
        )
    };
    let both = format!("SELECT {start}; SELECT {stop}::text");
    assert!(run(&mut leader, &both).is_some());
    // And a process that the job itself has cleaned up goes on.
    let before = pid(&mut leader);
    run(&mut leader, &both);
    run(
        &mut leader,
        "SELECT pg_replication_origin_session_setup('origin');
         SELECT pg_replication_origin_session_reset()::text",
    );
    assert_eq!(pid(&mut leader), before);
    nothing_is_left(&mut leader);
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
        // A lane of its own, so that its worker is a new process.
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
    const COUNT: &str =
        "SELECT count(*)::text FROM pg_settings WHERE name LIKE 'pg!_background.%' ESCAPE '!'";
    let database = Database::new();
    let mut session = database.session();
    session
        .batch_execute("LOAD 'pg_background'")
        .expect("loaded");
    let all: String = value(&mut session, COUNT);
    for (sql, expected) in [
        ("SHOW pg_background.launch_timeout", "10s"),
        ("SELECT current_setting('Pg_Background.max_workers')", "16"),
        (COUNT, all.as_str()),
    ] {
        // A lane of its own, so that its worker is a new process.
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
