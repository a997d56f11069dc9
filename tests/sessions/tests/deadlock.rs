//! Waits that would come back to the waiter.

use postgres::error::SqlState;
use session_tests::*;

#[test]
fn a_job_that_waits_for_its_leaders_lock_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '50ms'")
        .expect("a table");
    leader.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let handle = launch(&mut leader, "INSERT INTO t VALUES (1)");
    assert_state(
        call(&mut leader, "pg_background_wait_v2", handle),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    call(&mut leader, "pg_background_wait_v2", handle).expect("now it ends");
    assert_eq!(state(&mut leader, handle), "stopped");
}

#[test]
fn an_index_built_concurrently_and_awaited_in_one_statement_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '50ms'")
        .expect("a table");
    let result = leader.batch_execute(
        "SELECT r.* FROM pg_background_launch_v2('CREATE INDEX CONCURRENTLY i ON t (n)') h,
                         pg_background_result_v2(h.pid, h.cookie) AS r (t text)",
    );
    assert_state(result, &SqlState::T_R_DEADLOCK_DETECTED);
    eventually(
        &mut leader,
        "(SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass)",
    );
}

#[test]
fn a_deadlock_through_another_leaders_job_is_found() {
    let database = Database::new();
    let (mut one, mut two) = (database.session(), database.session());
    one.batch_execute("CREATE TABLE a (n int4); CREATE TABLE b (n int4)")
        .expect("tables");
    for (client, table) in [(&mut one, "a"), (&mut two, "b")] {
        client
            .batch_execute(&format!(
                "SET deadlock_timeout = '100ms'; BEGIN; LOCK TABLE {table}"
            ))
            .expect("a lock");
    }
    // One waits for its job, which waits for two's lock; two waits for its job, which waits for one's.
    let of_one = launch(&mut one, "INSERT INTO b VALUES (1)");
    let of_two = launch(&mut two, "INSERT INTO a VALUES (2)");
    let waits = [(one, of_one), (two, of_two)].map(|(mut client, handle)| {
        std::thread::spawn(move || {
            let result = call(&mut client, "pg_background_wait_v2", handle);
            // Either way the transaction ends, and with it the lock that the other's job waits for.
            client.batch_execute("ROLLBACK").expect("the lock is gone");
            result
        })
    });
    let results = waits.map(|wait| wait.join().expect("the session's thread"));
    let deadlocks = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .filter(|error| error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED))
        .count();
    assert!(deadlocks >= 1, "{results:?}");
    nothing_is_left(&mut database.session());
}

#[test]
fn a_wait_for_a_lock_of_somebody_else_is_no_deadlock() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '20ms'")
        .expect("a table");
    other.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let handle = launch(&mut leader, "INSERT INTO t VALUES (1)");
    let releaser = std::thread::spawn(move || {
        pause(std::time::Duration::from_millis(700));
        other.batch_execute("COMMIT").expect("the lock is gone");
    });
    call(&mut leader, "pg_background_wait_v2", handle).expect("it ends");
    assert_eq!(state(&mut leader, handle), "stopped");
    releaser.join().expect("the other session's thread");
}
