//! Several leaders on one server, and leaders that exit.

use postgres::error::SqlState;
use session_tests::*;

#[test]
fn two_leaders_at_once_get_their_own_results() {
    let database = Database::new();
    let (mut one, mut two) = (database.session(), database.session());
    for round in 0..50 {
        let first = launch(&mut one, &format!("SELECT 'one {round}'"));
        let second = launch(&mut two, &format!("SELECT 'two {round}'"));
        let got = try_result(&mut two, second).expect("a result");
        assert_eq!(got, [Some(format!("two {round}"))]);
        let got = try_result(&mut one, first).expect("a result");
        assert_eq!(got, [Some(format!("one {round}"))]);
    }
    nothing_is_left(&mut one);
}

#[test]
fn a_job_of_another_session_is_not_found() {
    let database = Database::new();
    let (mut one, mut two) = (database.session(), database.session());
    let handle = launch(&mut one, "SELECT 1");
    for function in [
        "pg_background_wait_v2",
        "pg_background_cancel_v2",
        "pg_background_detach_v2",
    ] {
        assert_state(
            call(&mut two, function, handle),
            &SqlState::UNDEFINED_OBJECT,
        );
    }
    assert_state(try_result(&mut two, handle), &SqlState::UNDEFINED_OBJECT);
    assert_eq!(
        try_result(&mut one, handle).expect("a result"),
        [Some(String::from("1"))]
    );
}

#[test]
fn a_job_commits_although_its_leader_has_left() {
    let database = Database::new();
    let mut observer = database.session();
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let mut leader = database.session();
    let handle = launch(
        &mut leader,
        "SELECT pg_sleep(0.3); INSERT INTO t VALUES (1)",
    );
    assert_ne!(handle.pid, 0);
    drop(leader);
    eventually(&mut observer, "(SELECT count(*) = 1 FROM t)");
    nothing_is_left(&mut observer);
}

#[test]
fn a_queued_job_runs_although_its_leader_has_left() {
    let database = Database::new();
    let mut observer = database.session();
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let mut leader = database.session();
    leader
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 200",
        )
        .expect("settings");
    for number in 0..100 {
        launch(
            &mut leader,
            &format!("INSERT INTO t SELECT {number} FROM pg_sleep(0.01)"),
        );
    }
    drop(leader);
    eventually(
        &mut observer,
        "(SELECT count(*) = 100 AND count(DISTINCT n) = 100 FROM t)",
    );
    nothing_is_left(&mut observer);
}

#[test]
fn a_job_whose_large_result_nobody_reads_commits() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let handle = launch(
        &mut leader,
        "INSERT INTO t VALUES (1); SELECT repeat('x', 1000) FROM generate_series(1, 10000)",
    );
    call(&mut leader, "pg_background_wait_v2", handle).expect("it finishes, unread");
    assert_eq!(value::<i64>(&mut observer, "SELECT count(*) FROM t"), 1);
    drop(leader);
    nothing_is_left(&mut observer);
}

#[test]
fn a_detached_job_with_a_large_result_commits() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let handle = launch(
        &mut leader,
        "INSERT INTO t VALUES (1); SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    );
    call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    eventually(&mut leader, "(SELECT count(*) = 1 FROM t)");
    nothing_is_left(&mut leader);
}

#[test]
fn a_terminated_leader_leaves_its_job_running() {
    let database = Database::new();
    let mut observer = database.session();
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let mut leader = database.session();
    let leader_pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let handle = launch(
        &mut leader,
        "SELECT pg_sleep(0.3); INSERT INTO t VALUES (1)",
    );
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&leader_pid])
        .expect("terminated");
    assert!(call(&mut leader, "pg_background_wait_v2", handle).is_err());
    eventually(&mut observer, "(SELECT count(*) = 1 FROM t)");
    nothing_is_left(&mut observer);
}

#[test]
fn a_terminated_worker_is_an_error_for_the_leader_and_leaves_nothing() {
    let witness = Witness::new();
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    for _ in 0..5 {
        let handle = launch(&mut leader, "SELECT pg_sleep(600)");
        eventually(
            &mut other,
            &format!(
                "(SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {})",
                handle.pid
            ),
        );
        other
            .execute("SELECT pg_terminate_backend($1)", &[&handle.pid])
            .expect("terminated");
        assert_state(try_result(&mut leader, handle), &SqlState::ADMIN_SHUTDOWN);
        assert_eq!(run(&mut leader, "SELECT 7"), Some(String::from("7")));
    }
    nothing_is_left(&mut leader);
    witness.check();
}

#[test]
fn idle_workers_can_be_terminated() {
    let witness = Witness::new();
    let database = Database::new();
    let mut leader = database.session();
    for _ in 0..20 {
        assert_eq!(run(&mut leader, "SELECT 1"), Some(String::from("1")));
        leader
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_background'",
                &[],
            )
            .expect("terminated");
    }
    nothing_is_left(&mut leader);
    witness.check();
}

#[test]
fn a_notification_of_a_job_reaches_the_leaders_client() {
    let database = Database::new();
    let mut leader = database.session();
    leader.batch_execute("LISTEN news").expect("listens");
    run(&mut leader, "NOTIFY news, 'from a job'");
    leader.batch_execute("SELECT 1").expect("answers");
    let mut notifications = leader.notifications();
    let mut waiting = notifications.timeout_iter(LONG);
    let heard = postgres::fallible_iterator::FallibleIterator::next(&mut waiting)
        .expect("the connection is fine")
        .expect("a notification comes");
    assert_eq!((heard.channel(), heard.payload()), ("news", "from a job"));
}

#[test]
fn a_job_is_seen_in_pg_stat_activity_like_a_client() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("SET application_name = 'the leader'")
        .expect("a setting");
    let handle = launch(&mut leader, "SELECT pg_sleep(600)");
    eventually(
        &mut leader,
        &format!(
            "(SELECT backend_type = 'pg_background' AND state = 'active' AND query = 'SELECT pg_sleep(600)'
                 AND application_name = 'the leader' AND datname = current_database() AND usename = current_user
              FROM pg_stat_activity WHERE pid = {})",
            handle.pid
        ),
    );
    call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
    call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
    eventually(
        &mut leader,
        &format!(
            "(SELECT state = 'idle' FROM pg_stat_activity WHERE pid = {})",
            handle.pid
        ),
    );
}
