//! Cancel, timeouts and the loss of a worker, in each phase of a job that only a full pool shows.

use postgres::Client;
use postgres::error::SqlState;
use session_tests::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const ONE_WORKER: &str = "pg_background.max_pool_workers=1";

/// A job that keeps the only worker until it is canceled.
fn blocker(client: &mut Client) -> Handle {
    let handle = launch(client, "SELECT pg_sleep(600)");
    asleep(client, handle);
    handle
}

/// A session whose launches return at once when there is no worker.
fn queueing(server: &Server) -> Client {
    let mut client = server.session();
    client
        .batch_execute(
            "LOAD 'pg_background'; SET pg_background.on_exhaustion = queue;
             CREATE TABLE IF NOT EXISTS t (n int4)",
        )
        .expect("settings");
    client
}

fn rows(client: &mut Client) -> i64 {
    value(client, "SELECT count(*) FROM t")
}

#[test]
fn a_queued_job_is_canceled_without_a_worker() {
    let server = Server::start("cancel-queued", &[ONE_WORKER]);
    let mut leader = queueing(&server);
    let busy = blocker(&mut leader);
    let queued = launch(&mut leader, "INSERT INTO t VALUES (1)");
    let other = launch(&mut leader, "INSERT INTO t VALUES (2)");
    assert_eq!(queued.pid, 0);
    assert_eq!(state(&mut leader, queued), "queued");
    call(&mut leader, "pg_background_cancel_v2", queued).expect("canceled");
    call(&mut leader, "pg_background_wait_v2", queued).expect("at once");
    assert_eq!(state(&mut leader, queued), "canceled");
    let row = leader
        .query_one(
            "SELECT started_at IS NULL, finished_at <= clock_timestamp() FROM pg_background_result_info($1, $2)",
            &[&queued.pid, &queued.cookie],
        )
        .expect("a finished job");
    let (unstarted, finished): (bool, Option<bool>) = (row.get(0), row.get(1));
    assert_eq!((unstarted, finished), (true, Some(true)));
    assert_state(try_result(&mut leader, queued), &SqlState::QUERY_CANCELED);
    // No other job was canceled.
    assert_eq!(state(&mut leader, busy), "running");
    assert_eq!(state(&mut leader, other), "queued");
    assert_eq!(cancel_and_forget(&mut leader, busy), "canceled");
    call(&mut leader, "pg_background_wait_v2", other).expect("it runs");
    assert_eq!(rows(&mut leader), 1);
    call(&mut leader, "pg_background_detach_v2", other).expect("detached");
    nothing_is_left(&mut leader);
}

#[test]
fn a_queued_job_that_is_detached_runs() {
    let server = Server::start("detach-queued", &[ONE_WORKER]);
    let mut leader = queueing(&server);
    let busy = blocker(&mut leader);
    let queued = launch(&mut leader, "INSERT INTO t VALUES (1)");
    call(&mut leader, "pg_background_detach_v2", queued).expect("detached");
    cancel_and_forget(&mut leader, busy);
    eventually(&mut leader, "(SELECT count(*) = 1 FROM t)");
    nothing_is_left(&mut leader);
}

#[test]
fn the_handle_of_a_queued_job_stays_valid() {
    let server = Server::start("queued-handles", &[ONE_WORKER]);
    let mut leader = queueing(&server);
    let busy = blocker(&mut leader);
    let queued: Vec<Handle> = (0..10)
        .map(|number| launch(&mut leader, &format!("SELECT {number}")))
        .collect();
    assert!(queued.iter().all(|handle| handle.pid == 0));
    let cookies: HashSet<i64> = queued.iter().map(|handle| handle.cookie).collect();
    assert_eq!(cookies.len(), queued.len());
    cancel_and_forget(&mut leader, busy);
    for (number, handle) in queued.into_iter().enumerate().rev() {
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
        assert_eq!(
            try_result(&mut leader, handle).expect("a result"),
            [Some(number.to_string())]
        );
    }
    nothing_is_left(&mut leader);
}

#[test]
fn a_forged_handle_of_a_queued_job_touches_nothing() {
    let server = Server::start("forged", &[ONE_WORKER]);
    let mut leader = queueing(&server);
    let busy = blocker(&mut leader);
    let queued = launch(&mut leader, "INSERT INTO t VALUES (1)");
    for cookie in [
        0,
        1,
        -1,
        i64::MIN,
        i64::MAX,
        queued.cookie ^ 1,
        queued.cookie ^ (1 << 40),
    ] {
        let forged = Handle { cookie, ..queued };
        for function in [
            "pg_background_cancel_v2",
            "pg_background_detach_v2",
            "pg_background_wait_v2",
        ] {
            assert_eq!(
                sqlstate(call(&mut leader, function, forged)),
                "55000",
                "{function} {cookie}"
            );
        }
        assert_eq!(sqlstate(try_result(&mut leader, forged)), "42704");
    }
    assert_eq!(state(&mut leader, queued), "queued");
    cancel_and_forget(&mut leader, busy);
    call(&mut leader, "pg_background_wait_v2", queued).expect("it runs");
    assert_eq!(rows(&mut leader), 1);
}

#[test]
fn a_job_canceled_before_its_worker_has_begun_does_no_harm() {
    let server = Server::start("cancel-cold", &["pg_background.worker_idle_timeout=0"]);
    let mut leader = server.session();
    let mut canceled = 0;
    for round in 0..100 {
        // A process for each job, so that the cancel comes while it is starting.
        let handle = launch(&mut leader, "SELECT 1");
        if round % 2 == 0 {
            pause(Duration::from_micros(round * 40));
        }
        call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
        match try_result(&mut leader, handle) {
            Ok(rows) => assert_eq!(rows, [Some(String::from("1"))]),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
                canceled += 1;
            }
        }
    }
    assert!(canceled > 0, "no cancel came in time");
    nothing_is_left(&mut leader);
}

#[test]
fn a_finished_job_cannot_be_canceled_and_keeps_its_result() {
    let server = Server::start("cancel-finished", &[]);
    let mut leader = server.session();
    let handle = launch(&mut leader, "SELECT 9");
    call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
    for _ in 0..3 {
        call(&mut leader, "pg_background_cancel_v2", handle).expect("nothing to do");
        leader
            .batch_execute(&format!(
                "SELECT pg_background_cancel_v2_grace({}, {}, 1000)",
                handle.pid, handle.cookie
            ))
            .expect("nothing to do");
    }
    assert_eq!(state(&mut leader, handle), "stopped");
    assert_eq!(
        try_result(&mut leader, handle).expect("a result"),
        [Some(String::from("9"))]
    );
}

#[test]
fn a_job_that_catches_its_cancel_again_and_again_loses_its_worker() {
    let server = Server::start("cancel-caught", &[]);
    let mut leader = server.session();
    leader
        .batch_execute("CREATE SEQUENCE rounds")
        .expect("a sequence");
    for _ in 0..5 {
        leader
            .batch_execute("ALTER SEQUENCE rounds RESTART")
            .expect("restarted");
        let handle = launch(
            &mut leader,
            "DO 'BEGIN LOOP BEGIN PERFORM nextval(''rounds''); PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'",
        );
        asleep(&mut leader, handle);
        // Each once the job is where it catches it: not while it handles the one before.
        for round in 2..5 {
            call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
            eventually(
                &mut leader,
                &format!("(SELECT last_value = {round} FROM rounds)"),
            );
        }
        assert_eq!(state(&mut leader, handle), "running");
        leader
            .execute(
                "SELECT pg_background_cancel_v2_grace($1, $2, 100)",
                &[&handle.pid, &handle.cookie],
            )
            .expect("canceled");
        assert_eq!(cancel_and_forget(&mut leader, handle), "canceled");
        eventually(
            &mut leader,
            &format!(
                "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {})",
                handle.pid
            ),
        );
        assert_eq!(run(&mut leader, "SELECT 1"), Some(String::from("1")));
    }
    nothing_is_left(&mut leader);
}

#[test]
fn a_job_that_catches_its_cancel_is_canceled_or_committed_as_its_state_says() {
    let server = Server::start("cancel-caught-once", &[]);
    let mut leader = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    for round in 0..50 {
        let before = rows(&mut leader);
        let handle = launch(
            &mut leader,
            "DO 'BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; INSERT INTO t VALUES (1); END'",
        );
        pause(Duration::from_micros(round * 50));
        let wanted = match cancel_and_forget(&mut leader, handle).as_str() {
            "canceled" => before,
            "stopped" => before + 1,
            other => panic!("state {other}"),
        };
        assert_eq!(rows(&mut leader), wanted);
    }
    nothing_is_left(&mut leader);
}

#[test]
fn a_statement_canceled_by_somebody_else_is_an_error() {
    let server = Server::start("cancel-backend", &[]);
    let mut leader = server.session();
    let handle = blocker(&mut leader);
    leader
        .execute("SELECT pg_cancel_backend($1)", &[&handle.pid])
        .expect("canceled");
    call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
    assert_eq!(state(&mut leader, handle), "error");
    assert_state(try_result(&mut leader, handle), &SqlState::QUERY_CANCELED);
    // The process lives on.
    assert_eq!(
        run(&mut leader, "SELECT pg_backend_pid()"),
        Some(handle.pid.to_string())
    );
}

#[test]
fn a_launch_that_finds_no_worker_fails_as_it_was_asked_to() {
    let server = Server::start("exhaustion", &[ONE_WORKER]);
    let mut leader = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let busy = blocker(&mut leader);
    for (settings, least) in [
        ("SET pg_background.on_exhaustion = error", 0),
        (
            "SET pg_background.on_exhaustion = wait; SET pg_background.launch_timeout = '300ms'",
            300,
        ),
    ] {
        leader.batch_execute(settings).expect("settings");
        let start = Instant::now();
        assert_eq!(
            sqlstate(try_launch(&mut leader, "INSERT INTO t VALUES (1)")),
            "53000",
            "{settings}"
        );
        assert!(start.elapsed() >= Duration::from_millis(least));
    }
    // Version 1 has no handle without a pid: there, queue is wait.
    leader
        .batch_execute("SET pg_background.on_exhaustion = queue")
        .expect("a setting");
    assert_eq!(
        sqlstate(leader.batch_execute("SELECT pg_background_launch('INSERT INTO t VALUES (1)')")),
        "53000"
    );
    cancel_and_forget(&mut leader, busy);
    run(&mut leader, "SELECT 1");
    assert_eq!(
        rows(&mut leader),
        0,
        "a job ran whose handle was not given out"
    );
    nothing_is_left(&mut leader);
}

#[test]
fn a_launch_that_is_interrupted_withdraws_its_job() {
    let server = Server::start("withdrawn", &[ONE_WORKER]);
    let (mut busy_leader, mut leader) = (server.session(), server.session());
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let busy = blocker(&mut busy_leader);
    leader
        .batch_execute("SET statement_timeout = '100ms'")
        .expect("a setting");
    for _ in 0..3 {
        assert_state(
            try_launch(&mut leader, "INSERT INTO t VALUES (1)"),
            &SqlState::QUERY_CANCELED,
        );
    }
    leader
        .batch_execute("RESET statement_timeout")
        .expect("a setting");
    assert_eq!(
        value::<i32>(
            &mut leader,
            "SELECT jobs_queued FROM pg_background_resources()"
        ),
        0
    );
    cancel_and_forget(&mut busy_leader, busy);
    run(&mut leader, "SELECT 1");
    assert_eq!(rows(&mut leader), 0);
    nothing_is_left(&mut leader);
}

#[test]
fn a_launch_whose_session_is_terminated_withdraws_its_job() {
    let server = Server::start("withdrawn-terminated", &[ONE_WORKER]);
    let (mut busy_leader, mut leader) = (server.session(), server.session());
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let busy = blocker(&mut busy_leader);
    let waiter = std::thread::spawn(move || try_launch(&mut leader, "INSERT INTO t VALUES (1)"));
    eventually(
        &mut busy_leader,
        "(SELECT jobs_queued = 1 FROM pg_background_resources())",
    );
    busy_leader
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    waiter
        .join()
        .expect("the session's thread")
        .expect_err("the session is ended");
    eventually(
        &mut busy_leader,
        "(SELECT jobs_queued = 0 FROM pg_background_resources())",
    );
    cancel_and_forget(&mut busy_leader, busy);
    run(&mut busy_leader, "SELECT 1");
    assert_eq!(rows(&mut busy_leader), 0);
    nothing_is_left(&mut busy_leader);
}

#[test]
fn queued_jobs_outlive_the_worker_before_them() {
    let server = Server::start("queued-outlive", &[ONE_WORKER]);
    let mut leader = queueing(&server);
    let busy = blocker(&mut leader);
    let queued: Vec<Handle> = (0..5)
        .map(|number| launch(&mut leader, &format!("INSERT INTO t VALUES ({number})")))
        .collect();
    let pid = worker_of(&mut leader, busy);
    leader
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    for handle in queued {
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
        assert_eq!(state(&mut leader, handle), "stopped");
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    }
    assert_eq!(rows(&mut leader), 5);
    assert_state(try_result(&mut leader, busy), &SqlState::ADMIN_SHUTDOWN);
    nothing_is_left(&mut leader);
}

#[test]
fn an_interrupted_read_leaves_the_job_to_commit() {
    let server = Server::start("interrupted-read", &[]);
    let mut leader = server.session();
    let mut holder = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    for _ in 0..5 {
        holder
            .batch_execute("SELECT pg_advisory_lock(1)")
            .expect("a lock");
        // The reader has rows at once, and no end before it is interrupted; then there are more than have room.
        let handle = launch(
            &mut leader,
            "INSERT INTO t VALUES (1);
             SELECT repeat('x', 3000) FROM generate_series(1, 10) UNION ALL
             SELECT pg_advisory_xact_lock(1)::text UNION ALL
             SELECT repeat('x', 3000) FROM generate_series(1, 300)",
        );
        eventually(
            &mut holder,
            "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)",
        );
        leader
            .batch_execute("SET statement_timeout = '500ms'")
            .expect("a setting");
        assert_state(try_result(&mut leader, handle), &SqlState::QUERY_CANCELED);
        leader
            .batch_execute("RESET statement_timeout")
            .expect("a setting");
        holder
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .expect("unlocked");
        // It was detached after its first row.
        assert_state(
            call(&mut leader, "pg_background_wait_v2", handle),
            &SqlState::UNDEFINED_OBJECT,
        );
    }
    eventually(&mut leader, "(SELECT count(*) = 5 FROM t)");
    nothing_is_left(&mut leader);
}

#[test]
fn a_wrong_column_list_does_not_lose_the_result() {
    let server = Server::start("column-list", &[]);
    let mut leader = server.session();
    let handle = launch(&mut leader, "SELECT 'kept'");
    for list in ["n int4", "a text, b text", "a bytea"] {
        let sql = format!(
            "SELECT * FROM pg_background_result_v2({}, {}) AS ({list})",
            handle.pid, handle.cookie
        );
        assert_eq!(sqlstate(leader.batch_execute(&sql)), "42804", "{list}");
    }
    assert_eq!(
        try_result(&mut leader, handle).expect("a result"),
        [Some(String::from("kept"))]
    );
}
