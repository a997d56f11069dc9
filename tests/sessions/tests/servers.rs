//! What depends on the settings of the server, or is seen in its log.

use postgres::error::SqlState;
use session_tests::*;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background'";

/// Sixteen sessions, each with its jobs one after the other.
fn sixteen_sessions(server: &Server, rounds: i32, roles: &[&str]) {
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let mut leader = server.session_as(roles[number as usize % roles.len()]);
            std::thread::spawn(move || {
                for round in 0..rounds {
                    let expected = (number * 1000 + round).to_string();
                    assert_eq!(
                        run(&mut leader, &format!("SELECT {expected}")),
                        Some(expected)
                    );
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every session is served");
    }
    nothing_is_left(&mut server.session());
}

#[test]
fn sixteen_sessions_are_served_with_a_process_for_each_job() {
    let server = Server::start(
        "sixteen-cold",
        &[
            "max_worker_processes=8",
            "pg_background.worker_idle_timeout=0",
        ],
    );
    server.role("a");
    server.role("b");
    sixteen_sessions(&server, 10, &["postgres", "a", "b"]);
}

#[test]
fn sixteen_sessions_are_served_with_worker_slots_for_all() {
    let server = Server::start("sixteen-wide", &["max_worker_processes=64"]);
    sixteen_sessions(&server, 100, &["postgres"]);
}

#[test]
fn sixteen_sessions_are_served_by_one_worker() {
    let server = Server::start("sixteen-narrow", &["pg_background.max_pool_workers=1"]);
    server.role("a");
    sixteen_sessions(&server, 10, &["postgres", "a"]);
}

/// The lock table grows into the same slack of the server's shared memory, and keeps it.
#[test]
fn a_preloaded_library_has_its_shared_memory_when_locks_have_used_up_the_rest() {
    let server = Server::start(
        "reserved",
        &[
            "shared_preload_libraries=pg_background",
            "max_connections=20",
        ],
    );
    let mut greedy = server.session();
    let refused = greedy.batch_execute(
        "SELECT count(pg_advisory_lock(number)) FROM generate_series(1, 1000000) AS number",
    );
    assert_eq!(sqlstate(refused), "53200");
    greedy
        .batch_execute("SELECT pg_advisory_unlock_all()")
        .expect("unlocked");
    assert_eq!(run(&mut server.session(), "SELECT 1"), Some("1".to_owned()));
}

#[test]
fn without_an_idle_limit_every_job_has_a_process_of_its_own() {
    let server = Server::start("one-job", &["pg_background.worker_idle_timeout=0"]);
    let mut leader = server.session();
    let pids: HashSet<_> = (0..20)
        .map(|_| run(&mut leader, "SELECT pg_backend_pid()"))
        .collect();
    assert_eq!(pids.len(), 20);
    eventually(&mut leader, &format!("({WORKERS}) = 0"));
}

#[test]
fn a_worker_retires_after_its_number_of_jobs() {
    let server = Server::start("max-jobs", &["pg_background.worker_max_jobs=5"]);
    let mut leader = server.session();
    let mut jobs: HashMap<_, u32> = HashMap::new();
    for _ in 0..52 {
        *jobs
            .entry(run(&mut leader, "SELECT pg_backend_pid()"))
            .or_default() += 1;
    }
    assert!(jobs.values().all(|&count| count <= 5), "{jobs:?}");
    assert!(
        jobs.values().any(|&count| count == 5),
        "and not before: {jobs:?}"
    );
}

#[test]
fn launches_are_refused_when_disabled_and_running_jobs_end() {
    let server = Server::start("disabled", &[]);
    let mut leader = server.session();
    let handle = launch(&mut leader, "SELECT 'done' FROM pg_sleep(0.5)");
    leader
        .batch_execute("ALTER SYSTEM SET pg_background.enabled = off")
        .expect("a setting");
    leader
        .batch_execute("SELECT pg_reload_conf()")
        .expect("reloaded");
    eventually(
        &mut leader,
        "current_setting('pg_background.enabled') = 'off'",
    );
    assert_eq!(sqlstate(try_launch(&mut leader, "SELECT 1")), "55000");
    assert_eq!(
        try_result(&mut leader, handle).expect("a result"),
        [Some(String::from("done"))]
    );
}

#[test]
fn a_shorter_idle_limit_reaches_idle_workers() {
    let server = Server::start("idle-limit", &["pg_background.worker_idle_timeout=10min"]);
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    pause(Duration::from_secs(4));
    assert_eq!(value::<i64>(&mut leader, WORKERS), 1);
    leader
        .batch_execute("ALTER SYSTEM SET pg_background.worker_idle_timeout = '200ms'")
        .expect("a setting");
    leader
        .batch_execute("SELECT pg_reload_conf()")
        .expect("reloaded");
    eventually(&mut leader, &format!("({WORKERS}) = 0"));
}

#[test]
fn a_worker_that_is_never_idle_sees_a_reload() {
    let server = Server::start(
        "busy-reload",
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_max_jobs=10000",
        ],
    );
    let mut leader = server.session();
    leader
        .batch_execute(
            "LOAD 'pg_background'; SET pg_background.on_exhaustion = queue;
             SET pg_background.max_workers = 1000; CREATE TABLE ran (number int4, pid int4)",
        )
        .expect("settings");
    // The others queue behind this one until the configuration has changed, however slow the launches are.
    leader
        .batch_execute("SELECT pg_advisory_lock(1)")
        .expect("locked");
    launch(&mut leader, "SELECT pg_advisory_lock(1)");
    for number in 0..150 {
        launch(
            &mut leader,
            &format!("INSERT INTO ran SELECT {number}, pg_backend_pid() FROM pg_sleep(0.01)"),
        );
    }
    server
        .session()
        .batch_execute("ALTER SYSTEM SET pg_background.worker_max_jobs = 5")
        .expect("a setting");
    leader
        .batch_execute("SELECT pg_reload_conf(); SELECT pg_advisory_unlock(1)")
        .expect("reloaded");
    eventually(&mut leader, "(SELECT count(*) = 150 FROM ran)");
    let most: i64 = value(
        &mut leader,
        "SELECT max(n) FROM (SELECT count(*) AS n FROM ran WHERE number >= 100 GROUP BY pid) s",
    );
    assert!(most <= 5, "a worker ran {most} jobs after the reload");
}

fn switches(pid: i32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .expect("a number")
}

#[test]
fn an_idle_worker_sleeps_without_waking() {
    let server = Server::start("asleep", &["pg_background.worker_idle_timeout=10min"]);
    let mut leader = server.session();
    let pid: i32 = run(&mut leader, "SELECT pg_backend_pid()")
        .and_then(|pid| pid.parse().ok())
        .expect("a pid");
    eventually(
        &mut leader,
        &format!("(SELECT state = 'idle' FROM pg_stat_activity WHERE pid = {pid})"),
    );
    pause(Duration::from_millis(500));
    let before = switches(pid);
    pause(Duration::from_secs(2));
    assert_eq!(switches(pid), before);
}

#[test]
fn a_session_that_waits_sleeps_without_waking() {
    let server = Server::start("waiting", &["deadlock_timeout=1min"]);
    let mut admin = server.session();
    let mut leader = server.session();
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let handle = launch(&mut leader, "SELECT pg_sleep(600)");
    asleep(&mut leader, handle);
    let waiting = std::thread::spawn(move || call(&mut leader, "pg_background_wait_v2", handle));
    eventually(
        &mut admin,
        &format!("(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = {pid})"),
    );
    pause(Duration::from_millis(500));
    let before = switches(pid);
    pause(Duration::from_secs(2));
    assert_eq!(switches(pid), before);
    admin
        .execute("SELECT pg_cancel_backend($1)", &[&pid])
        .expect("canceled");
    let waited = waiting.join().expect("the thread ends");
    assert_eq!(sqlstate(waited), "57014");
}

#[test]
fn a_job_is_seen_as_a_clients_statement_by_those_who_watch() {
    let server = Server::start(
        "watched",
        &[
            "shared_preload_libraries=pg_stat_statements,auto_explain,pg_background",
            "auto_explain.log_min_duration=0",
            "log_min_duration_statement=0",
            "log_error_verbosity=verbose",
        ],
    );
    let mut leader = server.session();
    leader
        .batch_execute("CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()")
        .expect("the extension is created");
    for number in 0..3 {
        run(
            &mut leader,
            &format!("SELECT {number}::text AS watched_job"),
        );
    }
    run(
        &mut leader,
        "SELECT 1 AS first_watched; SELECT '2' AS second_watched",
    );
    eventually(
        &mut leader,
        "(SELECT calls = 3 AND rows = 3 AND toplevel FROM pg_stat_statements
          WHERE query = 'SELECT $1::text AS watched_job')",
    );
    for query in ["SELECT $1 AS first_watched", "SELECT $1 AS second_watched"] {
        let calls: i64 = value(
            &mut leader,
            &format!(
                "SELECT coalesce(sum(calls), 0)::int8 FROM pg_stat_statements WHERE query = '{query}'"
            ),
        );
        assert_eq!(calls, 1, "{query}");
    }
    let log = server.log();
    let lines = |words: &str| {
        log.lines()
            .filter(|line| line.contains(" pg_background ") && line.contains(words))
            .count()
    };
    assert!(lines("duration: ") >= 3, "log_min_duration_statement");
    assert!(lines("plan:") >= 3, "auto_explain");
}

#[test]
fn errors_of_a_job_are_in_the_log_with_its_statement() {
    let server = Server::start("logged", &[]);
    let mut leader = server.session();
    assert_eq!(
        sqlstate(try_run(&mut leader, "SELECT 1 / 0 AS logged_job")),
        "22012"
    );
    let log = server.log();
    assert!(
        log.contains("STATEMENT:  SELECT 1 / 0 AS logged_job"),
        "{log}"
    );
}

// (A role's connection limit is no such case: recent servers do not apply it to background workers.)
#[test]
fn a_start_that_fails_for_good_is_tried_a_few_times_at_most() {
    let server = Server::start("failing-start", &["log_min_messages=debug1"]);
    let mut admin = server.session();
    for (role, spoil, code, words) in [
        (
            "nologin",
            "ALTER ROLE nologin NOLOGIN",
            "28000",
            "not permitted to log in",
        ),
        (
            "unconnected",
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
            "42501",
            "permission denied for database",
        ),
    ] {
        server.role(role);
        let mut leader = server.session_as(role);
        leader
            .batch_execute("LOAD 'pg_background'; SET pg_background.on_exhaustion = queue")
            .unwrap_or(());
        admin.batch_execute(spoil).expect("spoiled");
        let start = Instant::now();
        let handles = [
            try_launch(&mut leader, "SELECT 1"),
            try_launch(&mut leader, "SELECT 2"),
        ];
        for handle in handles.into_iter().flatten() {
            assert_eq!(sqlstate(try_result(&mut leader, handle)), code, "{role}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{role}");
        pause(Duration::from_millis(1500));
        let tries = server
            .log()
            .lines()
            .filter(|line| line.contains("FATAL:") && line.contains(words))
            .count();
        assert!((1..=4).contains(&tries), "{role}: {tries} attempts");
        assert_eq!(value::<i64>(&mut admin, WORKERS), 0);
        admin
            .batch_execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
            .expect("granted again");
    }
    nothing_is_left(&mut admin);
    // Another lane is not affected.
    assert_eq!(run(&mut admin, "SELECT 1"), Some(String::from("1")));
}

#[test]
fn a_fast_shutdown_does_not_wait_for_jobs() {
    let server = Server::start("shutdown", &["pg_background.max_pool_workers=3"]);
    let mut leader = server.session();
    leader
        .batch_execute("LOAD 'pg_background'; SET pg_background.on_exhaustion = queue")
        .expect("settings");
    let handle = launch(&mut leader, "SELECT pg_sleep(600)");
    for sql in [
        "SELECT repeat('x', 10000) FROM generate_series(1, 10000)",
        "DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'",
        "SELECT pg_sleep(600)",
        "SELECT pg_sleep(600)",
    ] {
        launch(&mut leader, sql);
    }
    asleep(&mut leader, handle);
    let waiter = std::thread::spawn(move || call(&mut leader, "pg_background_wait_v2", handle));
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
    // The connection ends with the session, or with the job if its worker exits earlier.
    if let Err(error) = waiter.join().expect("the wait has ended") {
        let ended = error.code() == Some(&SqlState::ADMIN_SHUTDOWN);
        assert!(ended || error.is_closed(), "{error:?}");
    }
    let log = server.log();
    assert!(log.contains("received fast shutdown request"));
    assert!(!log.contains("received immediate shutdown request"));
    assert!(log.contains("database system is shut down"));
}

#[test]
fn jobs_run_again_after_the_server_has_crashed() {
    let mut server = Server::start("crash", &["pg_background.worker_idle_timeout=60s"]);
    server.may_crash();
    for _ in 0..2 {
        let mut leader = server.session();
        let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
        run(&mut leader, "SELECT 1");
        launch(&mut leader, "SELECT pg_sleep(600)");
        signal(pid, Signal::KILL);
        eventually_restarted(&server, pid);
        let mut leader = server.session();
        assert_eq!(run(&mut leader, "SELECT 2"), Some(String::from("2")));
        nothing_is_left(&mut leader);
        assert!(
            value::<i64>(&mut leader, WORKERS) <= 1,
            "one worker, and none from before"
        );
    }
}

/// Until the session of that process is gone and another can do something.
fn eventually_restarted(server: &Server, pid: i32) {
    let start = Instant::now();
    while !server
        .session()
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1",
            &[&pid],
        )
        .is_ok_and(|row| row.get::<_, i64>(0) == 0)
    {
        assert!(start.elapsed() < LONG, "the server did not come back");
        pause(Duration::from_millis(50));
    }
}
