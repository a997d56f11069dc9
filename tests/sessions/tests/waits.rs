//! Waits that the lock manager does not know: for a reader, for a safe snapshot, for a pinned page.

use postgres::error::SqlState;
use session_tests::*;

/// A cast to json that for the value `b` does something first.
fn cast_that(client: &mut postgres::Client, does: &str) {
    client
        .batch_execute(&format!(
            "CREATE TYPE kind AS ENUM ('a', 'b');
             CREATE FUNCTION convert(v kind) RETURNS json LANGUAGE plpgsql AS $$
             DECLARE h pg_background_handle;
             BEGIN
                 IF v = 'b' THEN {does} END IF;
                 RETURN to_json(v::text);
             END $$;
             CREATE CAST (kind AS json) WITH FUNCTION convert(kind)"
        ))
        .expect("a cast");
}

/// More than fits into the ring, with a `b` near the beginning.
const ROWS: &str = "SELECT (CASE n WHEN 5 THEN 'b' ELSE 'a' END)::kind, repeat('x', 100)
    FROM generate_series(1, 20000) n";

fn count_json(client: &mut postgres::Client, handle: Handle) -> i64 {
    value(
        client,
        &format!(
            "SELECT count(*) FROM pg_background_result_json({}, {})",
            handle.pid, handle.cookie
        ),
    )
}

#[test]
fn a_reader_that_waits_for_a_job_which_needs_the_workers_slot_is_not_waited_for() {
    let server = Server::start(
        "one-place",
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.on_exhaustion=queue",
            "deadlock_timeout=100ms",
            "statement_timeout=25s",
        ],
    );
    for wait in [
        "PERFORM pg_background_wait_v2(h.pid, h.cookie);",
        "PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4);",
        "WHILE NOT pg_background_wait_v2_timeout(h.pid, h.cookie, 100) LOOP END LOOP;",
    ] {
        let mut leader = server.session();
        let does = format!("h := pg_background_launch_v2('SELECT 1'); {wait}");
        cast_that(&mut leader, &does);
        let handle = launch(&mut leader, ROWS);
        assert_eq!(count_json(&mut leader, handle), 20000, "{wait}");
        leader
            .batch_execute("DROP TYPE kind CASCADE")
            .expect("dropped");
        drop(leader);
        nothing_is_left(&mut server.session());
    }
}

#[test]
fn a_wait_for_a_safe_snapshot_that_the_waiter_holds_up_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(
            "CREATE TABLE t (n int4); SET deadlock_timeout = '50ms'; SET statement_timeout = '20s'",
        )
        .expect("a table");
    leader
        .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)")
        .expect("a transaction that reads and writes");
    let handle = launch(
        &mut leader,
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT count(*) FROM t",
    );
    let error = call(&mut leader, "pg_background_wait_v2", handle).expect_err("a deadlock");
    assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));
    let detail = error.as_db_error().and_then(|error| error.detail());
    assert!(
        detail.is_some_and(|detail| detail.contains("safe snapshot")),
        "{error:?}"
    );
    leader.batch_execute("ROLLBACK").expect("it ends");
    call(&mut leader, "pg_background_wait_v2", handle).expect("now the job ends");
    assert_eq!(state(&mut leader, handle), "stopped");
}

/// The session waits for a job, and that for another.
#[test]
fn a_wait_for_a_safe_snapshot_that_an_ancestor_holds_up_is_a_deadlock() {
    let server = Server::start(
        "ancestor",
        &["deadlock_timeout=100ms", "statement_timeout=20s"],
    );
    let mut leader = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    leader
        .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)")
        .expect("a transaction that reads and writes");
    let handle = launch(
        &mut leader,
        "SELECT * FROM pg_background_run_query($$
            SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT count(*) FROM t$$) AS (n int8)",
    );
    // Either of the two that wait.
    let error = try_result(&mut leader, handle).expect_err("a deadlock");
    assert_eq!(
        error.code(),
        Some(&SqlState::T_R_DEADLOCK_DETECTED),
        "{error:?}"
    );
    leader.batch_execute("ROLLBACK").expect("it ends");
}

#[test]
fn a_safe_snapshot_that_somebody_else_holds_up_is_waited_for() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '20ms'")
        .expect("a table");
    other
        .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)")
        .expect("a transaction that reads and writes");
    let handle = launch(
        &mut leader,
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT count(*) FROM t",
    );
    let ends = std::thread::spawn(move || {
        pause(std::time::Duration::from_millis(500));
        other.batch_execute("COMMIT").expect("it ends");
    });
    call(&mut leader, "pg_background_wait_v2", handle).expect("no deadlock");
    assert_eq!(state(&mut leader, handle), "stopped");
    ends.join().expect("the other session's thread");
}

/// A table of one page, and a cursor in `client` that is in the middle of it.
fn pin(client: &mut postgres::Client) {
    client
        .batch_execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 100) g")
        .expect("a table");
    client
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 1 FROM c")
        .expect("a cursor");
}

#[test]
fn a_vacuum_that_waits_for_the_page_of_the_waiters_cursor_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("SET deadlock_timeout = '50ms'; SET statement_timeout = '20s'")
        .expect("settings");
    pin(&mut leader);
    let handle = launch(&mut leader, "VACUUM (FREEZE) t");
    let error = call(&mut leader, "pg_background_wait_v2", handle).expect_err("a deadlock");
    assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));
    let detail = error.as_db_error().and_then(|error| error.detail());
    assert!(
        detail.is_some_and(|detail| detail.contains("buffer pinned by")),
        "{error:?}"
    );
    leader.batch_execute("ROLLBACK").expect("the cursor closes");
    call(&mut leader, "pg_background_wait_v2", handle).expect("now the job ends");
    assert_eq!(state(&mut leader, handle), "stopped");
}

#[test]
fn a_vacuum_that_waits_for_the_page_of_somebody_elses_cursor_is_waited_for() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    let mut observer = database.session();
    leader
        .batch_execute(
            "SET deadlock_timeout = '20ms'; CREATE TABLE mine AS SELECT g FROM generate_series(1, 100) g",
        )
        .expect("settings");
    pin(&mut other);
    // It has a page pinned too, but not that one.
    leader
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM mine; FETCH 1 FROM c")
        .expect("a cursor");
    let handle = launch(&mut leader, "VACUUM (FREEZE) t");
    eventually(
        &mut observer,
        &format!(
            "(SELECT wait_event IN ('BufferPin', 'BufferCleanup') FROM pg_stat_activity WHERE pid = {})",
            handle.pid
        ),
    );
    let ends = std::thread::spawn(move || {
        pause(std::time::Duration::from_millis(500));
        other.batch_execute("COMMIT").expect("the cursor closes");
    });
    call(&mut leader, "pg_background_wait_v2", handle).expect("no deadlock");
    assert_eq!(state(&mut leader, handle), "stopped");
    ends.join().expect("the other session's thread");
}
