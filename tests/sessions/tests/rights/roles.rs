//! The limits of a login role, how its sessions wait, and what an administrator sees and does.

use postgres::error::DbError;
use postgres::{Client, NoTls};
use session_tests::{
    Handle, LONG, Server, Signal, call, eventually, launch, nothing_is_left, pause, run, signal,
    sqlstate, try_launch, try_result, try_run, value, worker_of,
};
use std::fmt::Debug;
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

/// The server's message of an error.
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
fn a_role_has_as_many_jobs_as_it_may_have_and_others_are_not_affected() {
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

    // A waiting session gets the slot that another session of the role frees.
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
    call(&mut one, "pg_background_detach_v2", first).expect("detached");
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
fn limits_are_those_that_a_superuser_has_set_whatever_the_client_says() {
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
    call(&mut one, "pg_background_detach_v2", Handle { pid, cookie }).expect("detached");
    two.query_one(launch_big, &[]).expect("there is room again");
    // A request that alone exceeds the limit, of any role.
    let huge = "SELECT pg_background_launch_v2('SELECT 1 -- ' || repeat('x', 3000000))";
    assert_eq!(sqlstate(one.query_one(huge, &[])), "53200");
    for session in [&mut one, &mut two, &mut other] {
        do_it(session, "SELECT pg_background_detach_all()");
    }
    nothing_is_left(&mut admin);
}

/// A result of 1.5 MB, most of which goes into a file.
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
        // What was read no longer counts.
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
            (SELECT array_agg('SELECT pg_sleep(0.02)'::text) FROM generate_series(1, 50)), 10)",
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
    do_it(&mut admin, "SELECT pg_background_purge_role('culprit')");
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
    // There are vacant worker slots, and an idle worker of another lane.
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

    // A worker of the lane that does something else becomes idle: no deadlock.
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
            "pg_background.max_jobs=256",
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
        assert!(launched < 256, "some are left");
    };
    assert_eq!(refused, "53000");
    assert!(launched > 230, "{launched}");
    // The login role has to be a superuser; a superuser by SET ROLE is not enough.
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
        call(&mut admin, "pg_background_detach_v2", handle).expect("detached");
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

    // An idle one.
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

/// A job that catches its cancel.
const STUBBORN: &str = "DO $$ BEGIN LOOP
    BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END;
END LOOP; END $$";

const CHAIN: &str = "CREATE SEQUENCE links; GRANT USAGE ON links TO PUBLIC;
    CREATE FUNCTION chain() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('links'); PERFORM pg_background_submit('SELECT chain()');
    END $$";

#[test]
fn an_administrator_ends_all_jobs_of_a_role() {
    let server = with_roles(
        "cancel-role",
        &["pg_background.max_pool_workers=6"],
        &["culprit", "other"],
    );
    let mut admin = server.session();
    database(&server, "second");
    let not_concerned = {
        let mut other = server.session_as("other");
        let handle = launch(&mut other, "SELECT pg_sleep(100)");
        (other, handle)
    };
    let mut here = server.session_as("culprit");
    do_it(
        &mut here,
        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 2",
    );
    let stubborn = launch(&mut here, STUBBORN);
    // The second runs, the third is throttled.
    let others: Vec<Handle> = (0..2)
        .map(|_| launch(&mut here, "SELECT pg_sleep(100)"))
        .collect();
    let mut there = session_in(&server, "second", "culprit");
    do_it(
        &mut there,
        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
         SELECT pg_background_submit('SELECT pg_sleep(100)') FROM generate_series(1, 20)",
    );
    // Its session goes.
    let mut gone = server.session_as("culprit");
    do_it(&mut gone, "SET pg_background.on_exhaustion = queue");
    do_it(
        &mut gone,
        "SELECT pg_background_submit('SELECT pg_sleep(100)')",
    );
    drop(gone);
    eventually(&mut admin, &format!("{} = 24", active("culprit")));
    eventually(
        &mut admin,
        "(SELECT sum(jobs_held_back) = 1 AND sum(jobs_running) = 5 FROM pg_background_resources_by_role() WHERE login_role = 'culprit')",
    );

    let ended: i32 = value(
        &mut admin,
        "SELECT pg_background_cancel_role('culprit', 500)",
    );
    assert_eq!(ended, 24);
    assert_eq!(
        value::<i64>(&mut admin, &format!("SELECT {}", active("culprit"))),
        0
    );
    assert_eq!(sqlstate(try_result(&mut here, stubborn)), "57014");
    for handle in others {
        assert_eq!(sqlstate(try_result(&mut here, handle)), "57014");
    }
    assert_eq!(
        value::<i64>(&mut admin, &format!("SELECT {}", active("other"))),
        1
    );
    // Again: there is nothing to end.
    assert_eq!(
        value::<i32>(&mut admin, "SELECT pg_background_cancel_role('culprit')"),
        0
    );
    assert_eq!(run(&mut here, "SELECT 'again'").as_deref(), Some("again"));
    let (mut other, handle) = not_concerned;
    call(&mut other, "pg_background_cancel_v2", handle).expect("canceled");
    do_it(&mut other, "SELECT pg_background_detach_all()");
    do_it(&mut there, "SELECT pg_background_detach_all()");
    nothing_is_left(&mut admin);
}

#[test]
fn jobs_that_launch_their_successors_end_and_do_not_come_back() {
    let server = with_roles("chain", &["pg_background.max_pool_workers=6"], &["culprit"]);
    let mut admin = server.session();
    do_it(&mut admin, CHAIN);
    do_it(
        &mut admin,
        "ALTER ROLE culprit SET pg_background.on_exhaustion = queue",
    );
    let links = "SELECT last_value FROM links";
    for round in 0..30 {
        let mut session = server.session_as("culprit");
        do_it(
            &mut session,
            "SELECT pg_background_submit('SELECT chain()') FROM generate_series(1, 3)",
        );
        let before: i64 = value(&mut admin, links);
        eventually(
            &mut admin,
            &format!("(SELECT last_value > {before} + 20 FROM links)"),
        );
        do_it(
            &mut admin,
            "SELECT pg_background_cancel_role('culprit', 5000)",
        );
        let count: i64 = value(&mut admin, &format!("SELECT {}", active("culprit")));
        assert_eq!(count, 0, "round {round}");
        let then: i64 = value(&mut admin, links);
        do_it(&mut admin, "SELECT pg_sleep(0.02)");
        assert_eq!(value::<i64>(&mut admin, links), then, "round {round}");
    }
    nothing_is_left(&mut admin);
}

#[test]
fn while_a_roles_jobs_are_being_ended_it_launches_none() {
    let server = with_roles("refused", &[], &["culprit", "other"]);
    let mut admin = server.session();
    let mut session = server.session_as("culprit");
    let (mut watcher, mut other) = (server.session(), server.session_as("other"));
    // However the administrator's call ends.
    for way in ["ends", "is canceled", "is terminated"] {
        let heedless = launch(&mut session, "SELECT pg_sleep(100)");
        let worker = worker_of(&mut session, heedless);
        eventually(
            &mut watcher,
            &format!("(SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {worker})"),
        );
        signal(worker, Signal::STOP);
        let pid: i32 = value(&mut admin, "SELECT pg_backend_pid()");
        let ending = std::thread::spawn(move || {
            let grace = if way == "ends" { 200 } else { 60000 };
            let ended = admin.batch_execute(&format!(
                "SELECT pg_background_cancel_role('culprit', {grace})"
            ));
            (ended, admin)
        });
        let start = Instant::now();
        loop {
            match try_launch(&mut session, "SELECT 1") {
                Ok(handle) => {
                    assert!(start.elapsed() < LONG, "never refused");
                    let _ = call(&mut session, "pg_background_wait_v2", handle);
                    let _ = call(&mut session, "pg_background_detach_v2", handle);
                }
                Err(error) => {
                    assert_eq!(sqlstate(Err::<(), _>(error)), "55000", "{way}");
                    break;
                }
            }
        }
        assert_eq!(
            run(&mut other, "SELECT 'not concerned'").as_deref(),
            Some("not concerned")
        );
        match way {
            "is canceled" => do_it(&mut watcher, &format!("SELECT pg_cancel_backend({pid})")),
            "is terminated" => do_it(&mut watcher, &format!("SELECT pg_terminate_backend({pid})")),
            _ => {}
        }
        let (ended, client) = ending.join().expect("the session's thread");
        assert_eq!(ended.is_ok(), way == "ends", "{ended:?}");
        admin = if way == "is terminated" {
            server.session()
        } else {
            client
        };
        // Until its jobs have ended.
        assert_eq!(
            sqlstate(try_launch(&mut session, "SELECT 1")),
            "55000",
            "{way}"
        );
        signal(worker, Signal::CONT);
        eventually(&mut watcher, &format!("{} = 0", active("culprit")));
        let expected = if way == "ends" { "57P01" } else { "57014" };
        assert_eq!(
            sqlstate(try_result(&mut session, heedless)),
            expected,
            "{way}"
        );
        assert_eq!(
            run(&mut session, "SELECT 'again'").as_deref(),
            Some("again"),
            "{way}"
        );
    }
    nothing_is_left(&mut admin);
}

#[test]
fn a_member_with_a_roles_privileges_ends_its_jobs_and_sees_them() {
    let server = with_roles(
        "cancel-rights",
        &[],
        &["culprit", "boss", "other", "boss_of_super"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "GRANT culprit TO boss; GRANT postgres TO boss_of_super; CREATE ROLE viewer LOGIN; GRANT pgbackground_role, pg_monitor TO viewer;
         CREATE ROLE noinherit LOGIN NOINHERIT; GRANT pgbackground_role, culprit TO noinherit;
         CREATE ROLE signaler LOGIN; GRANT pgbackground_role, pg_signal_backend TO signaler;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO noinherit",
    );
    let mut session = server.session_as("culprit");
    let handle = launch(&mut session, "SELECT pg_sleep(100)");
    let of_super = launch(&mut admin, "SELECT pg_sleep(100)");
    for function in ["cancel", "purge"] {
        let call = |role: &str| format!("SELECT pg_background_{function}_role('{role}')");
        for nobody in ["other", "noinherit", "viewer", "signaler"] {
            let mut nobody = server.session_as(nobody);
            assert_eq!(sqlstate(nobody.batch_execute(&call("culprit"))), "42501");
            assert_eq!(sqlstate(nobody.batch_execute(&call("postgres"))), "42501");
        }
        // Not even whom they have granted their role.
        let mut boss = server.session_as("boss_of_super");
        assert_eq!(sqlstate(boss.batch_execute(&call("postgres"))), "42501");
    }
    let sees = |role: &str| -> Vec<String> {
        let sql = "SELECT DISTINCT login_role FROM pg_background_resources_by_role() ORDER BY 1";
        let rows = server.session_as(role).query(sql, &[]).expect("seen");
        rows.iter().map(|row| row.get(0)).collect()
    };
    for (role, seen) in [
        ("postgres", &["culprit", "postgres"][..]),
        ("viewer", &["culprit", "postgres"]),
        ("culprit", &["culprit"]),
        ("boss", &["culprit"]),
        ("noinherit", &[]),
        ("other", &[]),
    ] {
        assert_eq!(sees(role), seen, "{role}");
    }
    assert_eq!(
        value::<i32>(
            &mut server.session_as("boss"),
            "SELECT pg_background_cancel_role('culprit')"
        ),
        1
    );
    assert_eq!(sqlstate(try_result(&mut session, handle)), "57014");
    let handle = launch(&mut session, "SELECT 'unread'");
    call(&mut session, "pg_background_wait_v2", handle).expect("finished");
    let mut itself = server.session_as("culprit");
    assert_eq!(
        value::<i32>(&mut itself, "SELECT pg_background_purge_role('culprit')"),
        1
    );
    call(&mut admin, "pg_background_cancel_v2", of_super).expect("canceled");
    do_it(&mut admin, "SELECT pg_background_detach_all()");
    nothing_is_left(&mut admin);
}

const SUMS: &str = "SELECT slots_used = n AND r.jobs_queued = q AND workers_busy = w AND arena_bytes = m AND spill_bytes = f
    FROM pg_background_resources() r,
        (SELECT sum(jobs_queued + jobs_held_back + jobs_running + jobs_finished) AS n, sum(jobs_queued + jobs_held_back) AS q,
                sum(jobs_running) AS w, sum(memory_bytes) AS m, sum(file_bytes) AS f
         FROM pg_background_resources_by_role()) s";

#[test]
fn resources_by_role_are_complete_and_an_administrator_releases_them() {
    let server = with_roles(
        "purge",
        &["pg_background.max_pool_workers=4"],
        &["culprit", "other"],
    );
    let mut admin = server.session();
    do_it(
        &mut admin,
        "GRANT other TO culprit; ALTER ROLE culprit SET pg_background.on_exhaustion = queue",
    );
    database(&server, "second");
    let mut others = server.session_as("other");
    let of_other = launch(&mut others, LONG_RESULT);
    call(&mut others, "pg_background_wait_v2", of_other).expect("finished");

    // One session with a running job, one unread, one with a large buffer, and one that a cursor reads.
    let mut idle = session_in(&server, "second", "culprit");
    let runs = launch(&mut idle, "SELECT pg_sleep(100)");
    let unread = launch(&mut idle, LONG_RESULT);
    let large: (i32, i64) = {
        let row = idle
            .query_one(
                "SELECT pid, cookie FROM pg_background_launch_v2('SELECT 1', 67108864)",
                &[],
            )
            .expect("launched");
        (row.get(0), row.get(1))
    };
    let large = Handle {
        pid: large.0,
        cookie: large.1,
    };
    let read = launch(&mut idle, "SELECT g::text FROM generate_series(1, 1000) g");
    for handle in [unread, large, read] {
        call(&mut idle, "pg_background_wait_v2", handle).expect("finished");
    }
    do_it(
        &mut idle,
        &format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result({}, {}, NULL::text); FETCH 1 FROM c",
            read.pid, read.cookie
        ),
    );
    // Another, in the middle of a call.
    let mut within = server.session_as("culprit");
    do_it(&mut within, "SET ROLE other");
    let of_within = launch(&mut within, "SELECT 'unread'");
    call(&mut within, "pg_background_wait_v2", of_within).expect("finished");
    let awaited = launch(&mut within, "SELECT pg_sleep(100)");
    let waiting = std::thread::spawn(move || {
        call(&mut within, "pg_background_wait_v2", awaited).expect("it has ended");
        within
    });
    eventually(
        &mut admin,
        "EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'culprit' AND state = 'active' AND query LIKE '%wait_v2%'
            AND backend_type = 'client backend' AND wait_event_type IS NOT NULL)",
    );
    eventually(&mut admin, &format!("({SUMS})"));
    let rows = admin
        .query(
            "SELECT database, login_role, user_name, jobs_running, jobs_finished FROM pg_background_resources_by_role() ORDER BY 1, 2, 3",
            &[],
        )
        .expect("seen");
    let rows: Vec<(String, String, String, i32, i32)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .filter(|row: &(String, String, String, i32, i32)| row.3 + row.4 > 0)
        .collect();
    let row = |database: &str, login: &str, user: &str, runs, finished| {
        (database.into(), login.into(), user.into(), runs, finished)
    };
    assert_eq!(
        rows,
        [
            row("postgres", "culprit", "other", 1, 1),
            row("postgres", "other", "other", 0, 1),
            row("second", "culprit", "culprit", 1, 3),
        ]
    );

    assert!(
        value::<i64>(
            &mut admin,
            "SELECT arena_bytes FROM pg_background_resources()"
        ) > 60 << 20
    );
    assert_eq!(
        value::<i32>(&mut admin, "SELECT pg_background_purge_role('culprit')"),
        2
    );
    // The session in the call releases its own job when the call ends; the cursor's job stays.
    assert_eq!(slots_of(&mut admin, "culprit"), 4);
    assert!(
        value::<i64>(
            &mut admin,
            "SELECT arena_bytes FROM pg_background_resources()"
        ) < 20 << 20
    );
    assert_eq!(file_bytes(&mut admin, "culprit"), 0);
    assert_eq!(slots_of(&mut admin, "other"), 1);
    let fetched = idle
        .query("FETCH ALL FROM c", &[])
        .expect("the cursor goes on");
    assert_eq!(fetched.len(), 999);
    do_it(&mut idle, "COMMIT");
    for handle in [unread, large] {
        assert_eq!(sqlstate(try_result(&mut idle, handle)), "42704");
        // As after a detach: the other when a job that the session has is known by the same pid.
        for function in ["pg_background_detach_v2", "pg_background_wait_v2"] {
            let state = sqlstate(call(&mut idle, function, handle));
            assert!(["42704", "55000"].contains(&state.as_str()), "{state}");
        }
    }
    assert_eq!(
        value::<i64>(
            &mut idle,
            "SELECT count(*) FROM pg_background_list WHERE state = 'running'"
        ),
        1
    );
    call(&mut idle, "pg_background_cancel_v2", runs).expect("it is its own as before");
    assert_eq!(sqlstate(try_result(&mut idle, runs)), "57014");
    assert_eq!(run(&mut idle, "SELECT 'more'").as_deref(), Some("more"));

    assert_eq!(
        value::<i32>(&mut admin, "SELECT pg_background_cancel_role('culprit')"),
        1
    );
    let mut within = waiting.join().expect("the session's thread");
    assert_eq!(sqlstate(try_result(&mut within, of_within)), "42704");
    assert_eq!(
        try_result(&mut others, of_other)
            .expect("it is another's")
            .len(),
        1500
    );
    do_it(&mut admin, "SELECT pg_background_purge_role('culprit')");
    do_it(&mut idle, "SELECT pg_background_detach_all()");
    do_it(&mut within, "SELECT pg_background_detach_all()");
    eventually(
        &mut admin,
        &format!("(SELECT n IS NULL OR ok FROM (SELECT 1 AS n, ({SUMS}) AS ok) s)"),
    );
    nothing_is_left(&mut admin);
}
