//! Cancel, together with everything else that can happen at the same time.

use postgres::error::SqlState;
use session_tests::*;
use std::time::Duration;

#[test]
fn a_cancel_never_hits_the_next_job() {
    let witness = Witness::new();
    let database = Database::new();
    let mut leader = database.session();
    let mut canceled = 0;
    for round in 0..3000 {
        let victim = launch(&mut leader, "SELECT 1");
        call(&mut leader, "pg_background_cancel_v2", victim).expect("canceled");
        let next = launch(&mut leader, &format!("SELECT {round}"));
        // It may have been too late; then the job has its result.
        match try_result(&mut leader, victim) {
            Ok(rows) => assert_eq!(rows, [Some(String::from("1"))]),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
                canceled += 1;
            }
        }
        let rows = try_result(&mut leader, next).expect("the next job is not canceled");
        assert_eq!(rows, [Some(round.to_string())]);
    }
    assert!(canceled > 0, "no cancel came in time");
    nothing_is_left(&mut leader);
    witness.check();
}

#[test]
fn a_cancel_is_never_lost() {
    let database = Database::new();
    let mut leader = database.session();
    for round in 0..1000 {
        let victim = launch(&mut leader, "SELECT pg_sleep(600)");
        if round % 3 == 0 {
            // So that the cancel comes at any step.
            pause(Duration::from_micros(round % 200));
        }
        call(&mut leader, "pg_background_cancel_v2", victim).expect("canceled");
        assert_state(try_result(&mut leader, victim), &SqlState::QUERY_CANCELED);
    }
    nothing_is_left(&mut leader);
}

#[test]
fn a_canceled_job_has_aborted_and_a_completed_one_committed() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let mut committed = Vec::new();
    for round in 0..500 {
        let handle = launch(&mut leader, &format!("INSERT INTO t VALUES ({round})"));
        pause(Duration::from_micros((round as u64 * 7) % 150));
        call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
        match state(&mut leader, handle).as_str() {
            "stopped" => committed.push(round),
            "canceled" => {}
            other => panic!("state {other}"),
        }
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    }
    let rows: Vec<i32> = leader
        .query("SELECT n FROM t ORDER BY n", &[])
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(rows, committed);
}

#[test]
fn a_cancel_with_grace_never_restarts_the_server() {
    let witness = Witness::new();
    let database = Database::new();
    let mut leader = database.session();
    for sql in [
        "SELECT count(*) FROM generate_series(1, 1000000000)",
        "SELECT pg_sleep(600)",
        "DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'",
    ] {
        for _ in 0..5 {
            let handle = launch(&mut leader, sql);
            let cancel = format!(
                "SELECT pg_background_cancel_v2_grace({}, {}, 1)",
                handle.pid, handle.cookie
            );
            leader.batch_execute(&cancel).expect("canceled");
            call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
            assert_eq!(state(&mut leader, handle), "canceled");
            call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
        }
    }
    nothing_is_left(&mut leader);
    witness.check();
}

#[test]
fn a_cancel_while_rows_go_on_into_a_file_ends_the_job() {
    let database = Database::new();
    let mut leader = database.session();
    for _ in 0..20 {
        let handle = launch(
            &mut leader,
            "SELECT repeat('x', 100000) FROM generate_series(1, 1000000)",
        );
        eventually(
            &mut leader,
            "(SELECT spill_files = 1 FROM pg_background_resources())",
        );
        call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
        assert_state(try_result(&mut leader, handle), &SqlState::QUERY_CANCELED);
        // The worker lives, and the incomplete frame does no harm.
        assert_eq!(run(&mut leader, "SELECT 3"), Some(String::from("3")));
    }
    nothing_is_left(&mut leader);
}

/// Runs `statement` in a session and ends it from outside, in each of the three ways.
fn is_interruptible(statement: impl Fn(Handle) -> String) {
    let database = Database::new();
    let mut other = database.session();
    for way in ["token", "timeout", "terminate"] {
        let mut leader = database.session();
        let handle = launch(&mut leader, "SELECT pg_sleep(600)");
        asleep(&mut leader, handle);
        let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
        if way == "timeout" {
            leader
                .batch_execute("SET statement_timeout = 100")
                .expect("a setting");
        }
        let token = leader.cancel_token();
        let statement = statement(handle);
        let waiter = std::thread::spawn(move || {
            let result = leader.batch_execute(&statement);
            (leader, result)
        });
        if way != "timeout" {
            eventually(
                &mut other,
                &format!(
                    "(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = {pid})"
                ),
            );
        }
        match way {
            "token" => token
                .cancel_query(postgres::NoTls)
                .expect("the request is sent"),
            "terminate" => {
                other
                    .execute("SELECT pg_terminate_backend($1)", &[&pid])
                    .expect("terminated");
            }
            _ => {}
        }
        let (mut leader, result) = waiter.join().expect("the session's thread");
        if way == "terminate" {
            // The client may see the connection close before it reads why.
            let error = result.expect_err("the session is ended");
            assert!(
                error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN),
                "{error:?}"
            );
        } else {
            assert_state(result, &SqlState::QUERY_CANCELED);
            // The job is not affected.
            leader
                .batch_execute("RESET statement_timeout")
                .expect("a setting");
            assert_eq!(state(&mut leader, handle), "running");
            call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
        }
        other
            .execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_background' AND datname = current_database()",
                &[],
            )
            .expect("the rest is canceled");
    }
    nothing_is_left(&mut other);
}

#[test]
fn a_wait_can_be_interrupted() {
    is_interruptible(|job| format!("SELECT pg_background_wait_v2({}, {})", job.pid, job.cookie));
}

#[test]
fn a_wait_with_a_timeout_can_be_interrupted() {
    is_interruptible(|job| {
        format!(
            "SELECT pg_background_wait_v2_timeout({}, {}, 600000)",
            job.pid, job.cookie
        )
    });
}

#[test]
fn a_read_can_be_interrupted() {
    is_interruptible(|job| {
        format!(
            "SELECT * FROM pg_background_result_v2({}, {}) AS (t text)",
            job.pid, job.cookie
        )
    });
}

#[test]
fn a_launch_that_waits_for_a_worker_can_be_interrupted() {
    let _one_worker = Setting::new("pg_background.max_pool_workers", "1");
    is_interruptible(|_| {
        String::from(
            "SET pg_background.launch_timeout = '10min'; SELECT pg_background_launch_v2('SELECT 1')",
        )
    });
}
