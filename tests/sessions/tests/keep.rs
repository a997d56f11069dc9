//! Workers that are kept beyond their idle limit (`pg_background.keep_workers`).

use postgres::{Client, NoTls};
use session_tests::*;
use std::time::Duration;

const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background'";

/// Longer than the idle limit of these tests, by so much that a worker has left.
const PAST_THE_LIMIT: Duration = Duration::from_millis(1500);

/// A server whose idle limit is short, with these settings, and a role `u` that is no superuser.
fn server(name: &str, settings: &[&str]) -> Server {
    let mut all = vec!["pg_background.worker_idle_timeout=200ms"];
    all.extend(settings);
    let server = Server::start(name, &all);
    server.role("u");
    server
}

fn reload(server: &Server, settings: &str) {
    let mut administrator = server.session();
    administrator
        .batch_execute("LOAD 'pg_background'")
        .expect("loaded");
    for command in settings.split(';') {
        administrator.batch_execute(command).expect("a setting");
    }
    administrator
        .batch_execute("SELECT pg_reload_conf()")
        .expect("reloaded");
}

fn workers(server: &Server) -> i64 {
    value(&mut server.session(), WORKERS)
}

/// A session that observes, and one in a new database `d`.
fn with_database(server: &Server) -> (Client, Client) {
    let mut observer = server.session();
    observer
        .batch_execute("CREATE DATABASE d")
        .expect("a database");
    let mut in_d = server.config().clone();
    in_d.dbname("d").user("postgres");
    let mut leader = in_d.connect(NoTls).expect("a connection");
    leader
        .batch_execute("CREATE EXTENSION pg_background")
        .expect("an extension");
    (observer, leader)
}

/// Two jobs at once, so that two workers become idle.
fn run_two(server: &Server, role: &str) {
    let mut leader = server.session_as(role);
    let handles = [(); 2].map(|()| launch(&mut leader, "SELECT pg_sleep(0.3)"));
    for handle in handles {
        call(&mut leader, "pg_background_wait_v2", handle).expect("it ends");
        call(&mut leader, "pg_background_detach_v2", handle).expect("it is detached");
    }
}

#[test]
fn as_many_workers_stay_as_the_role_keeps() {
    let server = server("keep-role", &[]);
    server
        .session()
        .batch_execute("ALTER ROLE u SET pg_background.keep_workers = 1")
        .expect("a setting");
    run_two(&server, "u");
    run_two(&server, "postgres");
    pause(PAST_THE_LIMIT);
    let mut observer = server.session();
    assert_eq!(value::<i64>(&mut observer, WORKERS), 1, "one of the role's");
    let kept = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_background'";
    let before: i32 = value(&mut observer, kept);
    let own = run(&mut server.session_as("u"), "SELECT pg_backend_pid()");
    assert_eq!(own, Some(before.to_string()), "it takes the next job");
    pause(PAST_THE_LIMIT);
    assert_eq!(value::<i32>(&mut observer, kept), before);
}

/// What a role or a database has set counts, also after the configuration was read again.
#[test]
fn a_reload_leaves_what_the_role_has_set() {
    let server = server("keep-reload", &[]);
    let mut administrator = server.session();
    administrator
        .batch_execute("ALTER ROLE u SET pg_background.keep_workers = 1")
        .expect("a setting");
    run_two(&server, "u");
    pause(PAST_THE_LIMIT);
    reload(&server, "ALTER SYSTEM SET pg_background.keep_workers = 0");
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 1, "the role keeps one");
    administrator
        .batch_execute("ALTER ROLE u SET pg_background.keep_workers = 0")
        .expect("a setting");
    reload(&server, "ALTER SYSTEM SET pg_background.keep_workers = 2");
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 0, "the role keeps none");
}

/// A kept worker must not run the job, and the process for it could not start. Nobody launches or waits afterwards.
#[test]
fn an_accepted_job_is_run_beside_a_kept_worker_after_a_start_that_failed() {
    let server = server(
        "keep-failed-start",
        &[
            "pg_background.keep_workers=1",
            "pg_background.worker_idle_timeout=2s",
        ],
    );
    let mut administrator = server
        .config()
        .clone()
        .dbname("template1")
        .connect(NoTls)
        .expect("a session");
    let mut observer = server.session();
    observer
        .batch_execute("CREATE TABLE done (n int); GRANT ALL ON done TO u")
        .expect("a table");
    let allow = |administrator: &mut Client, may: bool| {
        administrator
            .batch_execute(&format!("ALTER DATABASE postgres ALLOW_CONNECTIONS {may}"))
            .expect("altered");
    };
    let mut leader = server.session_as("u");
    run(&mut leader, "SELECT 1");
    // Beyond its idle limit, and not near the next one.
    pause(Duration::from_millis(2500));
    leader
        .batch_execute("SET pg_background.worker_reuse = off")
        .expect("a setting");
    allow(&mut administrator, false);
    leader
        .batch_execute("SELECT pg_background_submit_v2('INSERT INTO done VALUES (1)')")
        .expect("accepted");
    drop(leader);
    pause(Duration::from_millis(500));
    allow(&mut administrator, true);
    assert_eq!(value::<i64>(&mut observer, "SELECT count(*) FROM done"), 0);
    eventually(&mut observer, "EXISTS (SELECT FROM done)");
}

#[test]
fn a_kept_worker_makes_room_for_another_role_and_for_a_smaller_pool() {
    let server = server(
        "keep-room",
        &[
            "pg_background.keep_workers=5",
            "pg_background.max_pool_workers=2",
        ],
    );
    run_two(&server, "u");
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 2);
    run_two(&server, "postgres");
    let mut observer = server.session();
    let of_u = format!("({WORKERS} AND usename = 'u')");
    eventually(&mut observer, &format!("{of_u} = 0"));
    reload(
        &server,
        "ALTER SYSTEM SET pg_background.max_pool_workers = 1",
    );
    eventually(&mut observer, &format!("({WORKERS}) = 1"));
}

#[test]
fn a_reload_reaches_workers_that_are_kept_and_those_that_are_not() {
    let server = server("keep-reload", &["pg_background.keep_workers=2"]);
    let mut observer = server.session();
    let left = |count: i64| format!("({WORKERS}) = {count}");
    run_two(&server, "u");
    pause(PAST_THE_LIMIT);
    reload(&server, "ALTER SYSTEM SET pg_background.keep_workers = 1");
    eventually(&mut observer, &left(1));
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 1);
    reload(&server, "ALTER SYSTEM SET pg_background.enabled = off");
    eventually(&mut observer, &left(0));
    reload(
        &server,
        "ALTER SYSTEM SET pg_background.enabled = on; ALTER SYSTEM SET pg_background.keep_workers = 0;
         ALTER SYSTEM SET pg_background.worker_idle_timeout = '10min'",
    );
    run_two(&server, "u");
    reload(
        &server,
        "ALTER SYSTEM SET pg_background.keep_workers = 1; ALTER SYSTEM SET pg_background.worker_idle_timeout = '200ms'",
    );
    eventually(&mut observer, &left(1));
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 1);
}

#[test]
fn at_a_reload_workers_leave_that_could_not_connect_again() {
    for (number, forbid) in [
        "ALTER ROLE u NOLOGIN",
        "REVOKE CONNECT ON DATABASE postgres FROM public",
    ]
    .into_iter()
    .enumerate()
    {
        let server = server(
            &format!("keep-login-{number}"),
            &["pg_background.keep_workers=1"],
        );
        run(&mut server.session_as("u"), "SELECT 1");
        run(&mut server.session(), "SELECT 1");
        pause(PAST_THE_LIMIT);
        assert_eq!(workers(&server), 2);
        reload(&server, forbid);
        let of_u = format!("({WORKERS} AND usename = 'u')");
        eventually(&mut server.session(), &format!("{of_u} = 0"));
        assert_eq!(workers(&server), 1, "{forbid}");
    }
}

#[test]
fn nobody_but_an_administrator_decides_how_many_are_kept() {
    let server = server("keep-rights", &[]);
    let mut user = server.session_as("u");
    run(&mut user, "SELECT 1");
    for command in [
        "SET pg_background.keep_workers = 3",
        "ALTER ROLE u SET pg_background.keep_workers = 3",
        "SELECT set_config('pg_background.keep_workers', '3', false)",
    ] {
        assert_eq!(sqlstate(user.batch_execute(command)), "42501", "{command}");
    }
    let placeholder = server
        .config()
        .clone()
        .user("u")
        .options("-c pg_background.keep_workers=3")
        .connect(postgres::NoTls);
    let mut placeholder = placeholder.expect("not known yet, so it is not refused");
    run(&mut placeholder, "SELECT 1");
    // What a session has set, with whatever right, is not the worker's own.
    let mut superuser = server.session();
    superuser
        .batch_execute("SET pg_background.keep_workers = 3")
        .expect("a setting");
    run(&mut superuser, "SET pg_background.keep_workers = 4");
    run(
        &mut superuser,
        "SELECT current_setting('pg_background.keep_workers')",
    );
    pause(PAST_THE_LIMIT);
    assert_eq!(workers(&server), 0);
}

#[test]
fn a_database_with_kept_workers_can_be_dropped() {
    let server = server(
        "keep-drop",
        &[
            "shared_preload_libraries=pg_background",
            "pg_background.keep_workers=2",
        ],
    );
    let (mut observer, mut leader) = with_database(&server);
    run_two(&server, "postgres");
    run(&mut leader, "SELECT 1");
    drop(leader);
    pause(PAST_THE_LIMIT);
    assert_eq!(value::<i64>(&mut observer, WORKERS), 3);
    let failed = server.session_as("u").batch_execute("DROP DATABASE d");
    assert_eq!(sqlstate(failed), "42501");
    assert_eq!(workers(&server), 3, "who may not drop it sends nobody home");
    // In a session that has not used the extension.
    server
        .session()
        .batch_execute("DROP DATABASE d")
        .expect("the worker has left in time");
    assert_eq!(
        value::<i64>(&mut observer, WORKERS),
        2,
        "those of another database stay"
    );
}

#[test]
fn without_preloading_idle_workers_are_sent_home_before_a_database_is_dropped() {
    let server = server("keep-drop-late", &["pg_background.keep_workers=1"]);
    let (mut observer, mut leader) = with_database(&server);
    run(&mut leader, "SELECT 1");
    drop(leader);
    pause(PAST_THE_LIMIT);
    let held_up = server.session().batch_execute("DROP DATABASE d");
    assert_eq!(sqlstate(held_up), "55006", "the kept worker stays");
    let sent: i32 = value(&mut observer, "SELECT pg_background_retire_idle()");
    assert_eq!(sent, 1);
    server
        .session()
        .batch_execute("DROP DATABASE d")
        .expect("nobody is there");
}
