//! Limits of the operating system and the configuration: processes, memory, disk space, slots.
//!
//! Limits are set for single processes of the test's own server, and lifted again.

use postgres::Client;
use session_tests::{
    Handle, Limit, Server, call, eventually, forces_parallel, launch, nothing_is_left, pause,
    postmaster, run, sqlstate, try_launch, try_result, try_run, value, worker_of,
};
use std::time::Duration;

fn own_pid(client: &mut Client) -> i32 {
    value(client, "SELECT pg_backend_pid()")
}

fn set(client: &mut Client, settings: &str) {
    client.batch_execute(settings).expect("settings");
}

/// Occupies a process of the server's: a query that runs in a parallel worker.
fn occupy_a_process(server: &Server, seconds: &str) -> std::thread::JoinHandle<()> {
    let mut client = server.session();
    let force = forces_parallel(&mut client);
    set(&mut client, &format!("SET {force} = on"));
    let query = format!("SELECT pg_sleep({seconds})");
    std::thread::spawn(move || client.batch_execute(&query).expect("it sleeps"))
}

#[test]
fn launches_succeed_although_others_have_taken_processes() {
    // One for the launcher of logical replication, one for the other query.
    let server = Server::start("taken", &["max_worker_processes=2"]);
    let mut client = server.session();
    set(&mut client, "CREATE TABLE done (t text)");
    let occupied = occupy_a_process(&server, "2");
    eventually(
        &mut client,
        "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'parallel worker')",
    );
    set(&mut client, "SET pg_background.on_exhaustion = error");
    assert_eq!(sqlstate(try_launch(&mut client, "SELECT 1")), "53000");
    set(
        &mut client,
        "SET pg_background.on_exhaustion = wait; SET pg_background.launch_timeout = 100",
    );
    assert_eq!(sqlstate(try_launch(&mut client, "SELECT 1")), "53000");
    nothing_is_left(&mut client);
    set(&mut client, "SET pg_background.on_exhaustion = queue");
    let queued = launch(&mut client, "INSERT INTO done VALUES ('queued')");
    assert_eq!(queued.pid, 0);
    // One that waits gets a worker slot when the others have ended.
    set(
        &mut client,
        "SET pg_background.on_exhaustion = wait; RESET pg_background.launch_timeout",
    );
    assert_eq!(
        run(&mut client, "SELECT 'waited'").as_deref(),
        Some("waited")
    );
    try_result(&mut client, queued).expect("it has run");
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM done"), 1);
    occupied.join().expect("the other query ends");
    nothing_is_left(&mut client);
}

#[test]
fn a_fork_that_fails_loses_no_job() {
    let server = Server::start("no-fork", &[]);
    let mut client = server.session();
    set(&mut client, "CREATE TABLE done (t text)");
    // Creates the segments, and a worker that exits.
    run(&mut client, "SELECT 1");
    set(&mut client, "SELECT pg_background_retire_idle()");
    eventually(
        &mut client,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background')",
    );
    let mut observer = server.session();
    let limit = Limit::new(postmaster(&mut client), "nproc", 1);
    set(&mut client, "SET pg_background.launch_timeout = 500");
    assert_eq!(sqlstate(try_launch(&mut client, "SELECT 1")), "53000");
    nothing_is_left(&mut observer);
    set(&mut client, "SET pg_background.on_exhaustion = queue");
    let queued = launch(&mut client, "INSERT INTO done VALUES ('queued')");
    let submitted = "SELECT pg_background_submit_v2($$INSERT INTO done VALUES ('submitted')$$)";
    set(&mut client, submitted);
    // In the words of the server, up to 16 and since.
    let refused = [
        "could not fork worker process",
        "could not fork background worker process",
    ];
    let log = server.log();
    assert!(
        refused.iter().any(|words| log.contains(words)),
        "the limit has no effect"
    );
    drop(limit);
    try_result(&mut client, queued).expect("it has run");
    eventually(&mut client, "(SELECT count(*) = 2 FROM done)");
    set(
        &mut client,
        "RESET pg_background.launch_timeout; RESET pg_background.on_exhaustion",
    );
    assert_eq!(run(&mut client, "SELECT 'next'").as_deref(), Some("next"));
    set(&mut client, "SELECT pg_background_detach_all()");
    nothing_is_left(&mut client);
}

#[test]
fn a_fork_that_fails_loses_no_queued_job_whose_leader_has_left() {
    let server = Server::start("no-fork-left", &["pg_background.on_exhaustion=queue"]);
    let mut observer = server.session();
    set(&mut observer, "CREATE TABLE done (t text)");
    let mut client = server.session();
    let limit = Limit::new(postmaster(&mut observer), "nproc", 1);
    launch(&mut client, "INSERT INTO done VALUES ('orphan')");
    drop(client);
    pause(Duration::from_millis(100));
    drop(limit);
    // Only sessions that come later are left.
    assert_eq!(run(&mut observer, "SELECT 'next'").as_deref(), Some("next"));
    eventually(&mut observer, "(SELECT count(*) = 1 FROM done)");
    nothing_is_left(&mut observer);
}

#[test]
fn an_arena_at_its_limit_refuses_launches_and_recovers() {
    let server = Server::start("max-memory", &["pg_background.max_memory=4MB"]);
    let mut client = server.session();
    set(&mut client, "SET pg_background.max_workers = 1000");
    set(
        &mut client,
        "SET pg_background.default_queue_size = '256kB'",
    );
    let mut held: Vec<Handle> = Vec::new();
    let refused = loop {
        assert!(held.len() < 100, "there is no limit");
        match try_launch(&mut client, "SELECT 1") {
            Ok(handle) => held.push(handle),
            Err(error) => break error,
        }
    };
    assert_eq!(sqlstate(Err::<(), _>(refused)), "53200");
    assert!(held.len() > 2, "{} jobs fit", held.len());
    for handle in held {
        call(&mut client, "pg_background_detach_v2", handle).expect("detached");
    }
    nothing_is_left(&mut client);
    assert_eq!(run(&mut client, "SELECT 'next'").as_deref(), Some("next"));
    nothing_is_left(&mut client);
}

/// A session with a lock that the others wait for: the closed gate.
fn closed_gate(server: &Server) -> Client {
    let mut gate = server.session();
    set(&mut gate, "SELECT pg_advisory_lock(7)");
    gate
}

fn open(gate: &mut Client) {
    set(gate, "SELECT pg_advisory_unlock(7)");
}

fn behind_the_gate(sql: &str) -> String {
    format!("SELECT pg_advisory_xact_lock_shared(7); {sql}")
}

/// A launch whose request needs more than the arena has: a segment has to be made for it.
fn large(client: &mut Client, size: usize) -> Result<Option<String>, postgres::Error> {
    try_run(
        client,
        &format!("SELECT 'large' /* {} */", "x".repeat(size)),
    )
}

/// Bytes of a request that lets the arena grow, and of one that has a segment of its own.
const SIZES: [usize; 2] = [3_000_000, 6_000_000];

#[test]
fn a_launch_for_which_no_segment_can_be_made_fails_and_leaves_nothing() {
    let mut server = Server::start("no-segment", &[]);
    // The process with the limit cannot write to the log either.
    server.log_lacks_lines();
    let mut client = server.session();
    run(&mut client, "SELECT 1");
    for size in SIZES {
        let limit = Limit::new(own_pid(&mut client), "fsize", 4096);
        let error = large(&mut client, size).expect_err("there is no memory for it");
        let message = error
            .as_db_error()
            .expect("the server's")
            .message()
            .to_owned();
        assert!(message.contains("shared memory segment"), "{message}");
        nothing_is_left(&mut server.session());
        assert_eq!(run(&mut client, "SELECT 'small'").as_deref(), Some("small"));
        drop(limit);
        assert_eq!(
            large(&mut client, size).expect("it runs").as_deref(),
            Some("large")
        );
        nothing_is_left(&mut client);
    }
}

#[test]
fn an_error_for_which_no_segment_can_be_made_keeps_its_sqlstate_and_is_cut() {
    let mut server = Server::start("no-segment-for-error", &[]);
    // The process with the limit cannot write to the log either.
    server.log_lacks_lines();
    let mut client = server.session();
    for size in SIZES {
        let raise = format!("DO $$ BEGIN RAISE '%', repeat('x', {size}); END $$");
        let mut gate = closed_gate(&server);
        let handle = launch(&mut client, &behind_the_gate(&raise));
        let worker = worker_of(&mut client, handle);
        let limit = Limit::new(worker, "fsize", 4096);
        open(&mut gate);
        let error = try_result(&mut client, handle).expect_err("it fails");
        let error = error.as_db_error().expect("the server's");
        assert_eq!(error.code().code(), "P0001");
        assert!(error.message().len() < size, "{}", error.message().len());
        nothing_is_left(&mut client);
        // The worker lives on.
        let next = launch(&mut client, "SELECT 'next'");
        assert_eq!(worker_of(&mut client, next), worker);
        try_result(&mut client, next).expect("it runs");
        drop(limit);
        nothing_is_left(&mut client);
    }
}

/// As many bytes of address space as a process has now, and some more.
fn address_space(pid: i32, more: u64) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it is there");
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096 + more
}

#[test]
fn a_worker_that_cannot_map_a_large_block_leaves_its_job_to_another() {
    let server = Server::start("no-mapping", &[]);
    let mut client = server.session();
    let first = launch(&mut client, "SELECT 'first'");
    let worker = worker_of(&mut client, first);
    try_result(&mut client, first).expect("it runs");
    let limit = Limit::new(worker, "as", address_space(worker, 4 << 20));
    let taken = client
        .query_one(
            "SELECT pid, cookie FROM pg_background_launch_v2('SELECT pg_backend_pid()::text', 32 << 20)",
            &[],
        )
        .expect("it is launched");
    let handle = Handle {
        pid: taken.get(0),
        cookie: taken.get(1),
    };
    let ran_in = try_result(&mut client, handle).expect("it runs");
    assert_ne!(ran_in, [Some(worker.to_string())]);
    drop(limit);
    nothing_is_left(&mut client);
}

#[test]
fn a_reader_that_cannot_map_a_long_error_can_try_again() {
    let server = Server::start("no-mapping-for-error", &[]);
    let mut client = server.session();
    run(&mut client, "SELECT 1");
    let pid = own_pid(&mut client);
    let handle = launch(
        &mut client,
        "DO $$ BEGIN RAISE '%', repeat('x', 64000000); END $$",
    );
    call(&mut client, "pg_background_wait_v2", handle).expect("it ends");
    let limit = Limit::new(pid, "as", address_space(pid, 16 << 20));
    for _ in 0..2 {
        let error = try_result(&mut client, handle).expect_err("it cannot be mapped");
        let error = error.as_db_error().expect("the server's");
        assert!(
            error.message().contains("map shared memory"),
            "{}",
            error.message()
        );
    }
    drop(limit);
    let error = try_result(&mut client, handle).expect_err("it has failed");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.message().len(), 64_000_000);
    nothing_is_left(&mut client);
}

#[test]
fn a_result_that_finds_no_disk_space_fails_its_job_and_leaves_no_file() {
    let server = Server::start("disk-full", &[]);
    let mut client = server.session();
    let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)";
    let mut gate = closed_gate(&server);
    let handle = launch(&mut client, &behind_the_gate(rows));
    let worker = worker_of(&mut client, handle);
    let limit = Limit::new(worker, "fsize", 1_000_000);
    open(&mut gate);
    call(&mut client, "pg_background_wait_v2", handle).expect("it ends");
    let error = try_result(&mut client, handle).expect_err("it fails");
    let error = error.as_db_error().expect("the server's");
    assert!(
        error.message().contains("result file"),
        "{}",
        error.message()
    );
    assert!(error.hint().is_some(), "{error:?}");
    nothing_is_left(&mut client);
    no_temporary_file(&mut client);
    drop(limit);
    let handle = launch(&mut client, rows);
    call(&mut client, "pg_background_wait_v2", handle).expect("it ends");
    let all = try_result(&mut client, handle).expect("there is space");
    assert_eq!(all.len(), 5000);
    nothing_is_left(&mut client);
    no_temporary_file(&mut client);
}

fn no_temporary_file(client: &mut Client) {
    let files = "SELECT count(*) FROM pg_ls_dir('base/pgsql_tmp', true, false)";
    assert_eq!(value::<i64>(client, files), 0);
}

/// The server initializes the library again after a failure. What the first time has left must not be in the way.
#[test]
fn a_session_whose_first_use_has_failed_can_use_it_then() {
    let server = Server::start("first-use", &[]);
    let mut client = server.session();
    client
        .batch_execute(
            "CREATE FUNCTION looks() RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$
             BEGIN
                 PERFORM pg_background_resources();
                 RETURN 1;
             END $$;
             CREATE TYPE mood AS ENUM ('sad');
             CREATE FUNCTION refuse(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
             CREATE CAST (mood AS json) WITH FUNCTION refuse(mood)",
        )
        .expect("a function");
    let mut client = server.session();
    // The session runs the plan of its workers itself.
    client
        .batch_execute(
            "SET max_parallel_workers = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0",
        )
        .expect("settings");
    for _ in 0..3 {
        let error = client
            .batch_execute("SELECT sum(looks()) FROM pg_class")
            .expect_err("a parallel operation");
        assert_eq!(error.code().map(|code| code.code()), Some("25000"));
    }
    assert_eq!(run(&mut client, "SELECT 'ran'").as_deref(), Some("ran"));
    client
        .batch_execute("CREATE TEMP TABLE t (n int); DROP TABLE t")
        .expect("hooks that end");
    // Errors after which the call goes on leave nothing on the server's stack of errors.
    let refused = "SELECT count(*) FROM pg_background_fanout(array_fill($$SELECT 'sad'::mood$$::text, ARRAY[20])) WHERE sqlstate = 'P0001'";
    assert_eq!(value::<i64>(&mut client, refused), 20);
}
