//! Processes that fail to start: the postmaster starts a bounded number of them, whether or not a session is there.
//!
//! Each test has a copy of the server, whose library it removes or replaces, or a server that may not fork.

use postgres::Client;
use session_tests::{
    Handle, LONG, Limit, Server, eventually, launch, nothing_is_left, pause, postmaster, run,
    sqlstate, try_launch, try_result, try_run, value,
};
use std::time::{Duration, Instant};

/// Processes of workers that the postmaster has started, or could not.
fn starts(server: &Server) -> usize {
    server
        .log()
        .lines()
        .filter(|line| line.contains("starting background worker process \"pg_background\""))
        .count()
}

/// So many in a moment are a storm; one or two for each worker slot are right, and a few more when a fork fails.
const FEW: usize = 15;

fn no_storm(server: &Server, before: usize) {
    pause(Duration::from_millis(2500));
    let started = starts(server) - before;
    assert!(started <= FEW, "{started} processes were started");
    // And no more come.
    let now = starts(server);
    pause(Duration::from_millis(1000));
    let more = starts(server) - now;
    assert!(more <= 1, "{more} more processes were started");
}

const SETTINGS: [&str; 2] = [
    "log_min_messages=debug1",
    "pg_background.on_exhaustion=queue",
];

fn server(name: &str, settings: &[&str]) -> Option<Server> {
    let server = Server::start_copy(name, &[&SETTINGS, settings].concat())?;
    server
        .session()
        .batch_execute("CREATE TABLE done (t text); GRANT ALL ON done TO PUBLIC")
        .expect("a table");
    Some(server)
}

/// How the library becomes unusable.
type Spoil = fn(&Server);
const WAYS: [(&str, Spoil); 2] = [
    ("removed", Server::remove_library),
    ("replaced", Server::replace_library),
];

/// A session that has used the library, and keeps no worker.
fn used(server: &Server) -> Client {
    let mut client = server.session();
    run(&mut client, "SELECT 1");
    nobody_works(&mut client);
    client
}

fn nobody_works(client: &mut Client) {
    client
        .batch_execute("SELECT pg_background_retire_idle()")
        .expect("sent home");
    eventually(
        client,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background')",
    );
}

/// Jobs behind the gate run when it is opened: when this session ends.
fn closed_gate(server: &Server) -> Client {
    let mut gate = server.session();
    gate.batch_execute("SELECT pg_advisory_lock(7)")
        .expect("locked");
    gate
}

const BEHIND_THE_GATE: &str = "SELECT pg_advisory_xact_lock_shared(7)";

/// Launches a job that waits behind the gate, and waits until it does.
fn launch_behind_the_gate(client: &mut Client) -> Handle {
    let handle = launch(client, BEHIND_THE_GATE);
    eventually(
        client,
        "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background' AND wait_event = 'advisory')",
    );
    handle
}

fn works_again(server: &Server) {
    let mut client = server.session();
    assert_eq!(run(&mut client, "SELECT 'next'").as_deref(), Some("next"));
    nothing_is_left(&mut client);
}

#[test]
fn the_session_that_has_registered_a_process_sits_idle() {
    for (way, spoil) in WAYS {
        let Some(server) = server(&format!("idle-{way}"), &[]) else {
            return;
        };
        let mut client = used(&server);
        let before = starts(&server);
        spoil(&server);
        let queued = launch(&mut client, "INSERT INTO done VALUES ('queued')");
        no_storm(&server, before);
        // It looks when it asks for the result.
        let result = try_result(&mut client, queued);
        assert_eq!(sqlstate(result), "08006", "{way}");
        server.restore_library();
        works_again(&server);
    }
}

#[test]
fn the_session_that_has_registered_a_process_has_gone() {
    for (way, spoil) in WAYS {
        let Some(server) = server(&format!("gone-{way}"), &[]) else {
            return;
        };
        let mut client = used(&server);
        let before = starts(&server);
        spoil(&server);
        launch(&mut client, "INSERT INTO done VALUES ('queued')");
        drop(client);
        no_storm(&server, before);
        server.restore_library();
        works_again(&server);
    }
}

#[test]
fn a_worker_respawns_after_its_number_of_jobs() {
    for (way, spoil) in WAYS {
        let Some(server) = server(
            &format!("jobs-{way}"),
            &[
                "pg_background.worker_max_jobs=1",
                "pg_background.max_pool_workers=1",
            ],
        ) else {
            return;
        };
        let gate = closed_gate(&server);
        let mut client = server.session();
        launch_behind_the_gate(&mut client);
        launch(&mut client, "INSERT INTO done VALUES ('behind')");
        drop(client);
        let before = starts(&server);
        spoil(&server);
        drop(gate);
        no_storm(&server, before);
        server.restore_library();
        works_again(&server);
    }
}

#[test]
fn a_worker_respawns_for_another_lane() {
    for (way, spoil) in WAYS {
        let Some(server) = server(
            &format!("lane-{way}"),
            &["pg_background.max_pool_workers=1"],
        ) else {
            return;
        };
        server.role("other");
        let gate = closed_gate(&server);
        let mut client = server.session();
        launch_behind_the_gate(&mut client);
        let mut other = server.session_as("other");
        launch(&mut other, "INSERT INTO done VALUES ('other')");
        drop((client, other));
        let before = starts(&server);
        spoil(&server);
        drop(gate);
        no_storm(&server, before);
        server.restore_library();
        works_again(&server);
    }
}

#[test]
fn a_worker_respawns_with_no_session_there_and_the_jobs_run() {
    // With room for the next process beside the one that exits.
    let Some(server) = server(
        "given-on",
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_max_jobs=1",
        ],
    ) else {
        return;
    };
    server.role("other");
    let gate = closed_gate(&server);
    let mut client = server.session();
    launch_behind_the_gate(&mut client);
    launch(&mut client, "INSERT INTO done VALUES ('behind')");
    let mut other = server.session_as("other");
    for _ in 0..3 {
        launch(&mut other, "INSERT INTO done VALUES ('other')");
    }
    drop((client, other, gate));
    let mut observer = server.session();
    eventually(&mut observer, "(SELECT count(*) = 4 FROM done)");
    nothing_is_left(&mut observer);
}

#[test]
fn a_worker_respawns_for_a_waiting_job_when_the_servers_slots_are_used_up() {
    // One entry is the server's own, for logical replication.
    let Some(server) = server(
        "full-table",
        &["max_worker_processes=2", "pg_background.max_pool_workers=1"],
    ) else {
        return;
    };
    server.role("other");
    let mut sessions = [server.session(), server.session_as("other")];
    let start = Instant::now();
    for number in 0..20 {
        let client = &mut sessions[number % 2];
        assert_eq!(run(client, "SELECT 'x'").as_deref(), Some("x"));
    }
    // Each within milliseconds, not at the interval of the periodic check.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    nothing_is_left(&mut sessions[0]);
}

#[test]
fn a_fork_that_fails_is_retried_a_few_times_and_its_job_runs_later() {
    let Some(server) = server("refused", &[]) else {
        return;
    };
    let mut client = used(&server);
    let before = starts(&server);
    let refused = Limit::new(postmaster(&mut client), "nproc", 1);
    let queued = launch(&mut client, "INSERT INTO done VALUES ('queued')");
    no_storm(&server, before);
    assert!(starts(&server) > before, "the limit has no effect");
    drop(refused);
    try_result(&mut client, queued).expect("it runs when somebody looks");
    works_again(&server);
}

#[test]
fn a_fork_that_fails_at_a_respawn_is_retried_a_few_times() {
    let Some(server) = server(
        "refused-given-on",
        &[
            "pg_background.worker_max_jobs=1",
            "pg_background.max_pool_workers=1",
        ],
    ) else {
        return;
    };
    let gate = closed_gate(&server);
    let mut client = server.session();
    launch_behind_the_gate(&mut client);
    launch(&mut client, "INSERT INTO done VALUES ('behind')");
    let postmaster = postmaster(&mut client);
    drop(client);
    let before = starts(&server);
    let refused = Limit::new(postmaster, "nproc", 1);
    drop(gate);
    no_storm(&server, before);
    drop(refused);
    works_again(&server);
    let mut observer = server.session();
    eventually(&mut observer, "(SELECT count(*) = 1 FROM done)");
}

#[test]
fn a_login_that_is_refused_at_a_respawn_is_retried_a_few_times() {
    let Some(server) = server("login", &["pg_background.max_pool_workers=1"]) else {
        return;
    };
    server.role("other");
    let gate = closed_gate(&server);
    let mut client = server.session();
    launch_behind_the_gate(&mut client);
    let mut other = server.session_as("other");
    launch(&mut other, "INSERT INTO done VALUES ('other')");
    drop(other);
    client
        .batch_execute("ALTER ROLE other NOLOGIN")
        .expect("spoiled");
    drop(client);
    let before = starts(&server);
    drop(gate);
    no_storm(&server, before);
    works_again(&server);
}

#[test]
fn a_session_whose_library_was_replaced_is_told_to_reconnect() {
    for (way, spoil) in WAYS {
        let Some(server) = server(
            &format!("reconnect-{way}"),
            &["pg_background.on_exhaustion=wait"],
        ) else {
            return;
        };
        let mut client = used(&server);
        // Functions that the session has already called: others would fail because the file is missing.
        let calls = [
            "SELECT pg_background_run('INSERT INTO done VALUES (''x'')')",
            "SELECT * FROM pg_background_run_query('SELECT 1') AS (a int4)",
        ];
        for call in calls {
            client.batch_execute(call).expect("it runs");
        }
        nobody_works(&mut client);
        spoil(&server);
        let start = Instant::now();
        let told = |error: postgres::Error| {
            let error = error.as_db_error().expect("an error of the server");
            assert_eq!(error.code().code(), "08006", "{way}");
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains("reconnect"), "{way}: {error:?}");
        };
        told(try_launch(&mut client, "SELECT 1").expect_err("it fails"));
        told(try_run(&mut client, "SELECT 1").expect_err("it fails"));
        for call in calls {
            match client.batch_execute(call) {
                Err(error) => told(error),
                Ok(()) => panic!("{way}: {call} says that it has run"),
            }
        }
        assert!(start.elapsed() < LONG);
        server.restore_library();
        works_again(&server);
        let mut observer = server.session();
        assert_eq!(value::<i64>(&mut observer, "SELECT count(*) FROM done"), 1);
    }
}
