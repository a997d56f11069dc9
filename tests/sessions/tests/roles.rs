//! What a login role may have, who waits for it, and what an administrator sees and does about it.

use postgres::error::DbError;
use postgres::{Client, NoTls};
use session_tests::{
    Handle, LONG, Server, call, eventually, launch, nothing_is_left, pause, run, sqlstate,
    try_launch, try_result, try_run, value, worker_of,
};
use std::fmt::Debug;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn do_it(session: &mut Client, sql: &str) {
    session
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// A server on which each of these roles may use the extension.
fn with_roles(name: &str, settings: &[&str], roles: &[&str]) -> Server {
    let server = Server::start(name, settings);
    for role in roles {
        server.role(role);
    }
    server
}

fn with_options(server: &Server, role: &str, options: &str) -> Client {
    let mut config = server.config().clone();
    config
        .user(role)
        .options(options)
        .connect(NoTls)
        .expect("a connection")
}

/// A session in another database.
fn session_in(server: &Server, database: &str, role: &str) -> Client {
    let mut config = server.config().clone();
    config
        .user(role)
        .dbname(database)
        .connect(NoTls)
        .expect("a connection")
}

/// Makes another database with the extension in it.
fn database(server: &Server, name: &str) {
    do_it(&mut server.session(), &format!("CREATE DATABASE {name}"));
    do_it(
        &mut session_in(server, name, "postgres"),
        "CREATE EXTENSION pg_background",
    );
}

/// What the server says of an error.
fn reported<T: Debug>(result: Result<T, postgres::Error>) -> DbError {
    let error = result.expect_err("it fails");
    let reported = error.as_db_error().cloned();
    reported.unwrap_or_else(|| panic!("not an error of the server: {error:?}"))
}

/// Slots that the jobs of a login role have.
fn slots_of(admin: &mut Client, role: &str) -> i64 {
    let sql = format!(
        "SELECT coalesce(sum(queued + held_back + running + finished), 0)::int8
         FROM pg_background_resources_by_role() WHERE login_role = '{role}'::regrole"
    );
    value(admin, &sql)
}

/// Condition: so many jobs of the role are queued or running.
fn active(role: &str) -> String {
    format!(
        "(SELECT coalesce(sum(queued + held_back + running), 0)
          FROM pg_background_resources_by_role() WHERE login_role = '{role}'::regrole)"
    )
}

const AT_ONCE: &str = "SET pg_background.on_exhaustion = error";

#[test]
fn a_role_has_as_many_jobs_as_it_may_have_and_others_are_not_concerned() {
    let server = with_roles("role-jobs", &[], &["culprit", "other"]);
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.role_max_jobs = 3",
    );
    let (mut one, mut two) = (server.session_as("culprit"), server.session_as("culprit"));
    let mut other = server.session_as("other");
    let first = launch(&mut one, "SELECT 'unread'");
    call(&mut one, "pg_background_wait_v2", first).expect("finished");
    let second = launch(&mut one, "SELECT pg_sleep(100)");
    let _third = launch(&mut two, "SELECT pg_sleep(100)");
    assert_eq!(slots_of(&mut admin, "culprit"), 3);

    // At once.
    do_it(&mut two, AT_ONCE);
    let start = Instant::now();
    let error = reported(try_launch(&mut two, "SELECT 1"));
    assert_eq!(error.code().code(), "53400");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(error.message().contains("culprit"), "{error:?}");
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains("pg_background.role_max_jobs") && hint.contains("ALTER ROLE culprit"),
        "{hint}"
    );
    // After a wait, also when jobs may be queued.
    for mode in ["wait", "queue"] {
        let set = format!(
            "SET pg_background.on_exhaustion = {mode}; SET pg_background.launch_timeout = '200ms'"
        );
        do_it(&mut two, &set);
        let start = Instant::now();
        assert_eq!(sqlstate(try_launch(&mut two, "SELECT 1")), "53400");
        assert!(start.elapsed() >= Duration::from_millis(200), "{mode}");
    }
    let others = launch(&mut other, "SELECT 'not concerned'");
    assert_eq!(
        try_result(&mut other, others).expect("read"),
        [Some(String::from("not concerned"))]
    );

    // Somebody who waits gets what another session of the role gives up.
    do_it(&mut two, "SET pg_background.launch_timeout = '60s'");
    let waiting = std::thread::spawn(move || {
        let handle = launch(&mut two, "SELECT 'waited'");
        try_result(&mut two, handle).map(|rows| rows.len())
    });
    eventually(
        &mut admin,
        "EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'culprit' AND state = 'active'
            AND query LIKE '%launch_v2%' AND wait_event_type IS NOT NULL)",
    );
    assert_eq!(slots_of(&mut admin, "culprit"), 3);
    call(&mut one, "pg_background_detach_v2", first).expect("let go of");
    let rows = waiting.join().expect("the session's thread");
    assert_eq!(rows.expect("it got a slot"), 1);
    call(&mut one, "pg_background_cancel_v2", second).expect("canceled");
    do_it(&mut one, "SELECT pg_background_detach_all()");
    do_it(&mut admin, "SELECT pg_background_cancel_role('culprit')");
    nothing_is_left(&mut admin);
}

/// Ways in which a holder of the role could hope to have more than its limit: what to do before the launch, and the
/// launch of as many jobs as are asked for, each by a statement. `$job` is a statement that sleeps.
const EVASIONS: &[(&str, &str)] = &[
    (
        "SET pg_background.role_max_jobs = 100",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "SET pg_background.role_max_jobs = DEFAULT",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "RESET pg_background.role_max_jobs; RESET ALL",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "BEGIN; SET LOCAL pg_background.role_max_jobs = 100",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "SELECT set_config('pg_background.role_max_jobs', '100', false)",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "UPDATE pg_settings SET setting = '100' WHERE name = 'pg_background.role_max_jobs'",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "ALTER ROLE culprit SET pg_background.role_max_jobs = 100",
        "SELECT pg_background_launch_v2($job)",
    ),
    (
        "ALTER ROLE culprit RESET ALL",
        "SELECT pg_background_launch_v2($job)",
    ),
    ("DISCARD ALL", "SELECT pg_background_launch_v2($job)"),
    ("SELECT 1", "SELECT raised($job)"),
    ("SET ROLE other", "SELECT pg_background_launch_v2($job)"),
    ("SELECT 1", "SELECT definers($job)"),
    ("SELECT 1", "SELECT pg_background_submit($job)"),
    (
        "SELECT 1",
        "SELECT pg_background_submit_params($job || ' -- $1', 1)",
    ),
    ("SELECT 1", "SELECT pg_background_launch($job)"),
    (
        "SELECT 1",
        "SELECT pg_background_launch_v2($job, 0, gen_random_uuid()::text)",
    ),
    (
        "SELECT 1",
        "SELECT pg_background_submit($job, 0, gen_random_uuid()::text)",
    ),
    (
        "SELECT 1",
        "SELECT pg_background_run('SELECT pg_background_submit($$' || $job || '$$)', 2000)",
    ),
    (
        "SELECT 1",
        "SELECT pg_background_run('SET pg_background.role_max_jobs = 100; SELECT pg_background_submit($$' || $job || '$$)', 2000)",
    ),
    (
        "SELECT 1",
        "SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT pg_background_submit($$' || $job || '$$)'])",
    ),
];

#[test]
fn a_limit_of_a_role_is_not_evaded() {
    let server = with_roles(
        "evasion",
        &["pg_background.max_pool_workers=6"],
        &["culprit", "other"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.role_max_jobs = 3; GRANT other TO culprit;
         CREATE FUNCTION definers(sql text) RETURNS void LANGUAGE sql SECURITY DEFINER
            AS 'SELECT pg_background_launch_v2(sql)';
         CREATE FUNCTION raised(sql text) RETURNS void LANGUAGE plpgsql
            SET pg_background.role_max_jobs = 3 AS 'BEGIN PERFORM pg_background_launch_v2(sql); END'",
    );
    database(&server, "second");
    for (before, attempt) in EVASIONS {
        for options in [
            "",
            "-c pg_background.role_max_jobs=100",
            "-c PG_BACKGROUND.Role_Max_Jobs=100",
        ] {
            let what = format!("{options}; {before}; {attempt}");
            let mut sessions = Vec::new();
            let mut refused = false;
            for number in 0..8 {
                // A new session for each, before the library is loaded, in one database or the other.
                let mut session = if number % 2 == 0 {
                    with_options(&server, "culprit", options)
                } else {
                    session_in(&server, "second", "culprit")
                };
                do_it(
                    &mut session,
                    "SET pg_background.on_exhaustion = error; SET pg_background.max_workers = 1000",
                );
                for sql in before.split("; ") {
                    let _ = session.batch_execute(sql);
                }
                let _ = session.batch_execute("SET pg_background.on_exhaustion = error");
                let sql = attempt.replace("$job", "'SELECT pg_sleep(300)'");
                if let Err(error) = session.batch_execute(&sql) {
                    refused |= error.code().is_some_and(|code| code.code() == "53400");
                }
                let slots = slots_of(&mut admin, "culprit");
                assert!(slots <= 3, "{what}: {slots}");
                sessions.push(session);
            }
            assert!(
                refused || attempt.contains("pg_background_run") || attempt.contains("fanout"),
                "{what}"
            );
            do_it(
                &mut admin,
                "SELECT pg_background_cancel_role('culprit', 5000)",
            );
            drop(sessions);
            eventually(
                &mut admin,
                "(SELECT slots_used = 0 FROM pg_background_resources())",
            );
        }
    }
    nothing_is_left(&mut admin);
}

#[test]
fn limits_are_where_a_superuser_has_put_them_whatever_the_client_says() {
    const NAMES: [&str; 4] = [
        "role_max_jobs",
        "role_max_memory",
        "role_max_disk",
        "lane_max_workers",
    ];
    let show = NAMES.map(|name| format!("current_setting('pg_background.{name}')"));
    let show = format!("SELECT concat_ws(' ', {})", show.join(", "));
    let server = with_roles(
        "settings",
        &[
            "pg_background.role_max_jobs=900",
            "pg_background.lane_max_workers=7",
        ],
        &["u", "v"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER DATABASE postgres SET pg_background.role_max_jobs = 20;
         ALTER ROLE u SET pg_background.role_max_memory = '11MB';
         ALTER ROLE u IN DATABASE postgres SET pg_background.role_max_jobs = 30;
         ALTER ROLE ALL SET pg_background.role_max_disk = '12MB'",
    );
    let of = |role: &str| match role {
        "u" => "30 11MB 12MB 7",
        _ => "20 -1 12MB 7",
    };
    for role in ["u", "v"] {
        for case in ["pg_background", "PG_Background"] {
            let options: String = NAMES.map(|name| format!("-c {case}.{name}=99 ")).concat();
            let sets: String = NAMES
                .map(|name| {
                    format!(
                        "SET {case}.{name} = 99; SELECT set_config('{case}.{name}', '98', false); "
                    )
                })
                .concat();
            for options in ["", options.as_str()] {
                // Before the library is loaded, and afterwards.
                for sets in ["", sets.as_str()] {
                    let mut session = with_options(&server, role, options);
                    if !sets.is_empty() {
                        do_it(&mut session, sets);
                    }
                    do_it(&mut session, "SELECT pg_background_stats()");
                    let what = format!("{role}, {options}, {sets}");
                    assert_eq!(value::<String>(&mut session, &show), of(role), "{what}");
                    assert_eq!(
                        run(&mut session, &show).as_deref(),
                        Some(of(role)),
                        "{what}"
                    );
                    for sql in sets.split("; ").filter(|sql| !sql.is_empty()) {
                        assert_eq!(sqlstate(session.batch_execute(sql)), "42501", "{sql}");
                    }
                    do_it(&mut session, "RESET ALL; DISCARD ALL");
                    assert_eq!(value::<String>(&mut session, &show), of(role), "{what}");
                    // Within a job too, and a job of a job.
                    for name in NAMES {
                        let set = format!("SET pg_background.{name} = 99");
                        assert_eq!(sqlstate(try_run(&mut session, &set)), "42501");
                    }
                    let nested = format!(
                        "SELECT t FROM pg_background_run_query($q${show}$q$, col_def => 't text') AS (t text)"
                    );
                    assert_eq!(
                        run(&mut session, &nested).as_deref(),
                        Some(of(role)),
                        "{what}"
                    );
                }
            }
        }
    }
    // Nor does a role keep a value for itself, or take it away.
    let mut session = server.session_as("u");
    for loaded in [false, true] {
        if loaded {
            do_it(&mut session, "SELECT pg_background_stats()");
        }
        for name in NAMES {
            for sql in [
                format!("ALTER ROLE u SET pg_background.{name} = 99"),
                format!(
                    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET pg_background.{name} = 99 AS ''"
                ),
            ] {
                assert_eq!(sqlstate(session.batch_execute(&sql)), "42501", "{sql}");
            }
        }
        let _ = session.batch_execute("ALTER ROLE u RESET ALL");
        let _ = session.batch_execute("ALTER ROLE u RESET pg_background.role_max_memory");
    }
    let mut session = server.session_as("u");
    do_it(&mut session, "SELECT pg_background_stats()");
    assert_eq!(value::<String>(&mut session, &show), of("u"));
}
