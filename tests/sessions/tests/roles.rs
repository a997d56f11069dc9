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
        "SELECT coalesce(sum(jobs_queued + jobs_held_back + jobs_running + jobs_finished), 0)::int8
         FROM pg_background_resources_by_role() WHERE login_role = '{role}'"
    );
    value(admin, &sql)
}

/// Condition: so many jobs of the role are queued or running.
fn active(role: &str) -> String {
    format!(
        "(SELECT coalesce(sum(jobs_queued + jobs_held_back + jobs_running), 0)
          FROM pg_background_resources_by_role() WHERE login_role = '{role}')"
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
    const OPTIONS: &[&str] = &[
        "",
        "-c pg_background.role_max_jobs=100",
        "-c PG_BACKGROUND.Role_Max_Jobs=100",
    ];
    for (number, (before, attempt)) in EVASIONS.iter().enumerate() {
        for options in if number == 0 { OPTIONS } else { &OPTIONS[..1] } {
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
                    do_it(&mut session, "RESET ALL");
                    do_it(&mut session, "DISCARD ALL");
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

#[test]
fn the_memory_of_a_roles_jobs_has_a_limit() {
    let server = with_roles("role-memory", &[], &["culprit", "other"]);
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.role_max_memory = '2MB'",
    );
    let launch_big = "SELECT pid, cookie FROM pg_background_launch_v2('SELECT 1', 524288)";
    let (mut one, mut two) = (server.session_as("culprit"), server.session_as("culprit"));
    for session in [&mut one, &mut two] {
        do_it(session, "SELECT pg_background_stats()");
    }
    let first = one.query_one(launch_big, &[]).expect("launched");
    let mut launched = 1;
    let error = loop {
        match two.query_one(launch_big, &[]) {
            Ok(_) => launched += 1,
            Err(error) => break reported(Err::<(), _>(error)),
        }
        assert!(launched < 10);
    };
    assert_eq!(launched, 3, "with what belongs to a job beside its buffer");
    assert_eq!(error.code().code(), "53200");
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains("pg_background.role_max_memory") && hint.contains("ALTER ROLE culprit"),
        "{hint}"
    );
    let bytes: i64 = value(
        &mut admin,
        "SELECT sum(memory_bytes)::int8 FROM pg_background_resources_by_role() WHERE login_role = 'culprit'",
    );
    assert!(bytes > 3 << 19 && bytes <= 2 << 20, "{bytes}");
    let mut other = server.session_as("other");
    for _ in 0..5 {
        other.query_one(launch_big, &[]).expect("not concerned");
    }
    let (pid, cookie) = (first.get(0), first.get(1));
    call(&mut one, "pg_background_wait_v2", Handle { pid, cookie }).expect("finished");
    call(&mut one, "pg_background_detach_v2", Handle { pid, cookie }).expect("let go of");
    two.query_one(launch_big, &[]).expect("there is room again");
    // What is too large for it alone, whoever asks.
    let huge = "SELECT pg_background_launch_v2('SELECT 1 -- ' || repeat('x', 3000000))";
    assert_eq!(sqlstate(one.query_one(huge, &[])), "53200");
    for session in [&mut one, &mut two, &mut other] {
        do_it(session, "SELECT pg_background_detach_all()");
    }
    nothing_is_left(&mut admin);
}

/// Result of 1.5 MB, of which most goes into a file.
const LONG_RESULT: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 1500)";

fn file_bytes(admin: &mut Client, role: &str) -> i64 {
    let sql = format!(
        "SELECT coalesce(sum(file_bytes), 0)::int8 FROM pg_background_resources_by_role() WHERE login_role = '{role}'"
    );
    value(admin, &sql)
}

#[test]
fn the_files_of_a_roles_results_have_a_limit_together() {
    let server = with_roles(
        "role-disk",
        &["temp_file_limit=2MB"],
        &["culprit", "generous", "other"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE generous SET pg_background.role_max_disk = '5MB'",
    );
    for (role, limit, expected) in [("culprit", 2_i64 << 20, 1), ("generous", 5 << 20, 3)] {
        let mut sessions = [server.session_as(role), server.session_as(role)];
        let mut complete = 0;
        let mut handles = Vec::new();
        for number in 0..8 {
            let session = &mut sessions[number % 2];
            let handle = launch(session, LONG_RESULT);
            call(session, "pg_background_wait_v2", handle).expect("finished");
            let bytes = file_bytes(&mut admin, role);
            assert!(bytes <= limit, "{role}: {bytes}");
            handles.push((number % 2, handle));
        }
        for (session, handle) in handles {
            match try_result(&mut sessions[session], handle) {
                Ok(rows) => {
                    assert_eq!(rows.len(), 1500);
                    complete += 1;
                }
                Err(error) => {
                    let error = reported(Err::<(), _>(error));
                    assert_eq!(error.code().code(), "53400", "{error:?}");
                    let hint = error.hint().expect("a hint");
                    assert!(
                        hint.contains("pg_background.role_max_disk")
                            && hint.contains(&format!("ALTER ROLE {role}")),
                        "{hint}"
                    );
                }
            }
        }
        assert_eq!(complete, expected, "{role}");
        // What was read counts no more.
        let session = &mut sessions[0];
        assert_eq!(file_bytes(&mut admin, role), 0);
        let handle = launch(session, LONG_RESULT);
        call(session, "pg_background_wait_v2", handle).expect("finished");
        assert_eq!(try_result(session, handle).expect("complete").len(), 1500);
    }
    nothing_is_left(&mut admin);
}

/// The most workers that the role has in a database, looked at again and again until `done`.
fn most_workers(admin: &mut Client, role: &str, done: &str) -> i64 {
    let sql = format!(
        "SELECT count(*), {done} FROM pg_stat_activity
         WHERE usename = '{role}' AND backend_type = 'pg_background'"
    );
    let start = Instant::now();
    let mut most = 0;
    loop {
        let row = admin.query_one(&sql, &[]).expect("looked");
        most = most.max(row.get::<_, i64>(0));
        if row.get(1) {
            return most;
        }
        assert!(start.elapsed() < LONG, "never came true: {done}");
        pause(Duration::from_millis(2));
    }
}

#[test]
fn a_lane_never_has_more_workers_than_it_may_have() {
    let server = with_roles(
        "lane",
        &[
            "max_worker_processes=16",
            "pg_background.worker_idle_timeout=60s",
        ],
        &["culprit", "other"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.lane_max_workers = 2",
    );
    let mut session = server.session_as("culprit");
    do_it(
        &mut session,
        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000",
    );
    let ways = [
        "SELECT pg_background_submit('SELECT pg_sleep(0.02)') FROM generate_series(1, 50)",
        "SELECT pg_background_launch_v2('SELECT pg_sleep(0.02)') FROM generate_series(1, 50)",
        "SELECT pg_background_prewarm(10); SELECT * FROM pg_background_fanout(
            (SELECT array_agg('SELECT pg_sleep(0.02)') FROM generate_series(1, 50)), 10)",
    ];
    for way in ways {
        let done = format!(
            "({} = 0 AND NOT EXISTS (SELECT FROM pg_stat_activity
                WHERE usename = 'culprit' AND backend_type = 'client backend' AND state = 'active'))",
            active("culprit")
        );
        let way = String::from(way);
        let started = std::thread::spawn(move || {
            do_it(&mut session, &way);
            session
        });
        eventually(
            &mut admin,
            "EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'culprit' AND backend_type = 'pg_background')",
        );
        assert_eq!(most_workers(&mut admin, "culprit", &done), 2);
        session = started.join().expect("the session's thread");
        do_it(&mut session, "SELECT pg_background_detach_all()");
    }

    // A launch that may not wait.
    do_it(
        &mut session,
        "SELECT pg_background_launch_v2('SELECT pg_sleep(100)') FROM generate_series(1, 2)",
    );
    do_it(&mut session, AT_ONCE);
    let start = Instant::now();
    let error = reported(try_launch(&mut session, "SELECT 1"));
    assert_eq!(error.code().code(), "53000");
    assert!(start.elapsed() < Duration::from_secs(5));
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("pg_background.lane_max_workers"), "{hint}");
    assert_eq!(
        run(&mut server.session_as("other"), "SELECT 'not concerned'").as_deref(),
        Some("not concerned")
    );
    do_it(&mut admin, "SELECT pg_background_cancel_role('culprit')");

    // A lower limit of a new session is one for the workers that are there.
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.lane_max_workers = 1",
    );
    let mut session = server.session_as("culprit");
    do_it(
        &mut session,
        "SET pg_background.on_exhaustion = queue;
         SELECT pg_background_submit('SELECT pg_sleep(0.01)') FROM generate_series(1, 10)",
    );
    eventually(&mut admin, &format!("{} = 0", active("culprit")));
    eventually(
        &mut admin,
        "(SELECT count(*) <= 1 FROM pg_stat_activity WHERE usename = 'culprit' AND backend_type = 'pg_background')",
    );
    drop(session);
    nothing_is_left(&mut admin);
}

#[test]
fn jobs_that_wait_for_jobs_of_a_lane_at_its_limit_are_a_deadlock() {
    let server = with_roles(
        "lane-deadlock",
        &[
            "deadlock_timeout=100ms",
            "pg_background.worker_idle_timeout=60s",
        ],
        &["u", "other"],
    );
    let mut admin = server.session();
    // There are places, and an idle worker of another lane.
    assert_eq!(
        run(&mut server.session_as("other"), "SELECT 'warm'").as_deref(),
        Some("warm")
    );
    let parent = "SET pg_background.on_exhaustion = queue;
        SELECT pg_background_wait_v2(pid, cookie) FROM pg_background_launch_v2('SELECT 1')";
    for limit in [1, 2] {
        do_it(
            &mut admin,
            &format!("ALTER ROLE u SET pg_background.lane_max_workers = {limit}"),
        );
        let mut session = server.session_as("u");
        do_it(&mut session, "SET statement_timeout = '20s'");
        let handles: Vec<Handle> = (0..limit).map(|_| launch(&mut session, parent)).collect();
        let results: Vec<_> = handles
            .into_iter()
            .map(|handle| call(&mut session, "pg_background_result_v2", handle))
            .collect();
        let _ = results;
        let handles: Vec<Handle> = (0..limit)
            .map(|_| {
                launch(
                    &mut session,
                    "SELECT pg_advisory_lock_shared(1); SELECT pg_advisory_unlock_all()",
                )
            })
            .collect();
        for handle in handles {
            call(&mut session, "pg_background_wait_v2", handle).expect("nothing is stuck");
        }
        do_it(&mut session, "SELECT pg_background_detach_all()");
        eventually(
            &mut admin,
            "(SELECT jobs_queued = 0 FROM pg_background_resources())",
        );
    }
    // Certainly: the parents begin together.
    do_it(&mut admin, "SELECT pg_advisory_lock(1)");
    let mut session = server.session_as("u");
    do_it(&mut session, "SET statement_timeout = '20s'");
    let parent =
        format!("SELECT pg_advisory_lock_shared(1); SELECT pg_advisory_unlock_shared(1); {parent}");
    let handles = [launch(&mut session, &parent), launch(&mut session, &parent)];
    eventually(
        &mut admin,
        "(SELECT count(*) = 2 FROM pg_stat_activity WHERE usename = 'u' AND wait_event = 'advisory')",
    );
    do_it(&mut admin, "SELECT pg_advisory_unlock(1)");
    for handle in handles {
        call(&mut session, "pg_background_wait_v2", handle).expect("it has ended");
    }
    let errors: Vec<DbError> = handles
        .into_iter()
        .filter_map(|handle| {
            let sql = format!(
                "SELECT * FROM pg_background_result_v2({}, {}) AS (t text)",
                handle.pid, handle.cookie
            );
            session.query(&sql, &[]).err()
        })
        .map(|error| reported(Err::<(), _>(error)))
        .filter(|error| error.code().code() == "40P01")
        .collect();
    assert!(!errors.is_empty(), "one of them gives up");
    let hint = errors[0].hint().expect("a hint");
    assert!(hint.contains("pg_background.lane_max_workers"), "{hint}");

    // A worker of the lane that does something else comes free: nothing is wrong.
    let slow = launch(&mut session, "SELECT pg_sleep(1)");
    let waits = launch(
        &mut session,
        "SET pg_background.on_exhaustion = queue;
         SELECT pg_background_wait_v2(pid, cookie)::text FROM pg_background_launch_v2('SELECT 1')",
    );
    call(&mut session, "pg_background_wait_v2", waits).expect("it has ended");
    let ended = session.query(
        &format!(
            "SELECT * FROM pg_background_result_json({}, {})",
            waits.pid, waits.cookie
        ),
        &[],
    );
    ended.expect("no deadlock");
    call(&mut session, "pg_background_wait_v2", slow).expect("it has ended");
    drop(session);
    nothing_is_left(&mut admin);
}

#[test]
fn a_superuser_has_no_limit_and_finds_a_slot_in_a_table_that_others_have_filled() {
    let server = with_roles(
        "reserved",
        &[
            "pg_background.max_jobs=64",
            "pg_background.role_max_jobs=1000",
            "pg_background.role_max_memory=1TB",
            "pg_background.lane_max_workers=1",
            "pg_background.max_pool_workers=3",
        ],
        &["culprit"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE FUNCTION definers(sql text) RETURNS void LANGUAGE sql SECURITY DEFINER
            AS 'SELECT pg_background_launch_v2(sql)'",
    );
    let mut session = server.session_as("culprit");
    do_it(
        &mut session,
        "SET pg_background.on_exhaustion = queue; SET pg_background.launch_timeout = 0; SET pg_background.max_workers = 1000",
    );
    let mut launched = 0_i64;
    let refused = loop {
        match session.batch_execute("SELECT pg_background_launch_v2('SELECT pg_sleep(100)')") {
            Ok(()) => launched += 1,
            Err(error) => break sqlstate(Err::<(), _>(error)),
        }
        assert!(launched < 64, "some are left");
    };
    assert_eq!(refused, "53000");
    assert!(launched > 50, "{launched}");
    // To be a superuser for the moment is not enough.
    assert_eq!(
        sqlstate(session.batch_execute("SELECT definers('SELECT 1')")),
        "53000"
    );
    do_it(&mut admin, "SET pg_background.on_exhaustion = error");
    assert_eq!(
        run(&mut admin, "SELECT 'there is one'").as_deref(),
        Some("there is one")
    );
    // More than one worker, although lane_max_workers is 1.
    let handles = [
        launch(&mut admin, "SELECT pg_sleep(100)"),
        launch(&mut admin, "SELECT pg_sleep(100)"),
    ];
    for handle in handles {
        call(&mut admin, "pg_background_cancel_v2", handle).expect("canceled");
        call(&mut admin, "pg_background_wait_v2", handle).expect("it has ended");
        call(&mut admin, "pg_background_detach_v2", handle).expect("let go of");
    }
    let ended: i32 = value(&mut admin, "SELECT pg_background_cancel_role('culprit')");
    assert_eq!(i64::from(ended), launched);
    let purged: i32 = value(&mut admin, "SELECT pg_background_purge_role('culprit')");
    assert_eq!(i64::from(purged), launched);
    nothing_is_left(&mut admin);
}

fn configure(admin: &mut Client, name: &str, value: &str) {
    do_it(admin, &format!("ALTER SYSTEM SET {name} = '{value}'"));
    do_it(admin, "SELECT pg_reload_conf()");
}

const WORKERS: &str =
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background')";

#[test]
fn a_pool_becomes_as_small_as_the_configuration_says() {
    let server = with_roles(
        "shrink",
        &[
            "max_worker_processes=8",
            "pg_background.max_pool_workers=5",
            "pg_background.worker_idle_timeout=600s",
        ],
        &["u"],
    );
    let mut admin = server.session();
    do_it(&mut admin, "SELECT pg_background_stats()");
    let mut session = server.session_as("u");
    do_it(
        &mut session,
        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
         SELECT pg_background_submit('SELECT pg_sleep(0.05)') FROM generate_series(1, 300)",
    );
    eventually(&mut admin, &format!("{WORKERS} = 5"));
    configure(&mut admin, "pg_background.max_pool_workers", "2");
    eventually(&mut admin, &format!("{WORKERS} = 2"));
    let busy: bool = value(&mut admin, &format!("SELECT {} > 0", active("u")));
    assert!(busy, "it shrinks while it is busy");
    assert_eq!(
        most_workers(&mut admin, "u", &format!("({} = 0)", active("u"))),
        2
    );
    do_it(&mut session, "SELECT pg_background_detach_all()");

    // One with nothing to do.
    configure(&mut admin, "pg_background.max_pool_workers", "5");
    eventually(
        &mut session,
        "current_setting('pg_background.max_pool_workers') = '5'",
    );
    assert_eq!(
        value::<i32>(&mut session, "SELECT pg_background_prewarm(5)"),
        5
    );
    eventually(
        &mut admin,
        "(SELECT workers_idle = 5 FROM pg_background_resources())",
    );
    configure(&mut admin, "pg_background.max_pool_workers", "1");
    eventually(&mut admin, &format!("{WORKERS} = 1"));
    nothing_is_left(&mut admin);
}

#[test]
fn a_quarter_of_the_servers_processes_is_left_to_others() {
    for (processes, workers) in [(8, 6), (1, 1)] {
        let setting = format!("max_worker_processes={processes}");
        // The launcher of logical replication would take one.
        let settings = [
            setting.as_str(),
            "max_logical_replication_workers=0",
            "pg_background.worker_idle_timeout=60s",
        ];
        let server = with_roles("quarter", &settings, &["u"]);
        let mut session = server.session_as("u");
        do_it(
            &mut session,
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
             SELECT pg_background_submit('SELECT pg_sleep(0.1)') FROM generate_series(1, 30)",
        );
        let done = format!("({} = 0)", active("u"));
        assert_eq!(most_workers(&mut server.session(), "u", &done), workers);
    }
}
