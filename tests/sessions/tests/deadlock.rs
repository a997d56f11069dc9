//! Deadlocks: chains of waits that lead back to the waiter.

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
fn a_reader_that_waits_for_a_lock_of_its_job_does_not_block_it() {
    let database = Database::new();
    database
        .session()
        .batch_execute(
            "CREATE TABLE t AS SELECT g, repeat('x', 100) AS x FROM generate_series(1, 20000) g",
        )
        .expect("a table");
    // It has not yet looked up the row type of the table, which it needs for the first row.
    let mut leader = database.session();
    leader
        .batch_execute("SET deadlock_timeout = '50ms'; SET statement_timeout = '20s'")
        .expect("settings");
    let handle = launch(&mut leader, "LOCK TABLE t; SELECT t FROM t");
    let count: i64 = value(
        &mut leader,
        &format!(
            "SELECT count(*) FROM pg_background_result_json({}, {})",
            handle.pid, handle.cookie
        ),
    );
    assert_eq!(count, 20000);
    nothing_is_left(&mut database.session());
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

#[test]
fn a_deadlock_through_another_sessions_lock_is_found() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    let mut observer = database.session();
    leader
        .batch_execute("CREATE TABLE a (n int4); CREATE TABLE b (n int4)")
        .expect("tables");
    leader
        .batch_execute("SET deadlock_timeout = '50ms'; BEGIN; LOCK TABLE a")
        .expect("a lock");
    other.batch_execute("BEGIN; LOCK TABLE b").expect("a lock");
    let pid: i32 = value(&mut other, "SELECT pg_backend_pid()");
    let other = std::thread::spawn(move || {
        other
            .batch_execute("LOCK TABLE a; COMMIT")
            .expect("in the end");
    });
    eventually(
        &mut observer,
        &format!("(SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid})"),
    );
    // The leader waits for its job, which waits for the other session, which waits for the leader.
    let handle = launch(&mut leader, "INSERT INTO b VALUES (1)");
    assert_state(
        try_result(&mut leader, handle),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    other.join().expect("the other session's thread");
    call(&mut leader, "pg_background_wait_v2", handle).expect("now it ends");
    assert_eq!(state(&mut leader, handle), "stopped");
}

#[test]
fn a_deadlock_on_a_row_that_the_leader_has_changed_is_found() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t AS SELECT 1 AS n; SET deadlock_timeout = '50ms'")
        .expect("a table");
    leader
        .batch_execute("BEGIN; UPDATE t SET n = 2")
        .expect("a row is changed");
    for wait in ["pg_background_wait_v2({h})", "pg_background_wait({h})"] {
        let handle = launch(&mut leader, "UPDATE t SET n = 3");
        let wait = wait.replace("{h}", &format!("{}, {}", handle.pid, handle.cookie));
        leader.batch_execute("SAVEPOINT s").expect("a savepoint");
        assert_state(
            leader.batch_execute(&format!("SELECT {wait}")),
            &SqlState::T_R_DEADLOCK_DETECTED,
        );
        leader
            .batch_execute("ROLLBACK TO s")
            .expect("the savepoint");
        assert_eq!(cancel_and_forget(&mut leader, handle), "canceled");
    }
    leader.batch_execute("COMMIT").expect("the leader goes on");
    nothing_is_left(&mut leader);
}

#[test]
fn a_wait_with_a_time_limit_returns_at_its_limit_instead() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '20ms'")
        .expect("a table");
    leader.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let handle = launch(&mut leader, "INSERT INTO t VALUES (1)");
    let one = format!("{}, {}", handle.pid, handle.cookie);
    let array = format!("ARRAY[({one})]::pg_background_handle[]");
    for wait in [
        format!("NOT pg_background_wait({one}, 300)"),
        format!("NOT pg_background_wait_v2({one}, 300)"),
        format!("NOT pg_background_wait_v2_timeout({one}, 300)"),
        format!("pg_background_wait_any({array}, 300) IS NULL"),
        format!("pg_background_wait_all({array}, 300) = 0"),
        format!("(SELECT state = 'running' FROM pg_background_drain({array}, 300))"),
        "(SELECT timed_out FROM pg_background_run('INSERT INTO t VALUES (2)', timeout_ms => 300))"
            .to_owned(),
    ] {
        assert!(
            value::<bool>(&mut leader, &format!("SELECT {wait}")),
            "{wait}"
        );
    }
    assert_state(
        leader.batch_execute(
            "SELECT * FROM pg_background_run_query('INSERT INTO t VALUES (3)', timeout_ms => 300) AS (tag text)",
        ),
        &SqlState::QUERY_CANCELED,
    );
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    // The drain has detached the job, which goes on.
    eventually(&mut leader, "(SELECT array_agg(n) = '{1}' FROM t)");
    nothing_is_left(&mut leader);
}

#[test]
fn a_wait_that_was_given_up_is_not_part_of_a_deadlock() {
    let database = Database::new();
    let (mut one, mut two) = (database.session(), database.session());
    one.batch_execute("CREATE TABLE a (n int4); CREATE TABLE b (n int4)")
        .expect("tables");
    for (client, table) in [(&mut one, "a"), (&mut two, "b")] {
        client
            .batch_execute(&format!(
                "SET deadlock_timeout = '50ms'; BEGIN; LOCK TABLE {table}"
            ))
            .expect("a lock");
    }
    // One's job waits for two's lock, and two's job for one's; but one does not wait for its job any more.
    let of_one = launch(&mut one, "INSERT INTO b VALUES (1)");
    let finished: bool = value(
        &mut one,
        &format!(
            "SELECT pg_background_wait_v2_timeout({}, {}, 20)",
            of_one.pid, of_one.cookie
        ),
    );
    assert!(!finished);
    let of_two = launch(&mut two, "INSERT INTO a VALUES (2)");
    let releaser = std::thread::spawn(move || {
        pause(std::time::Duration::from_millis(700));
        one.batch_execute("COMMIT").expect("the lock is gone");
        one
    });
    call(&mut two, "pg_background_wait_v2", of_two).expect("no deadlock");
    two.batch_execute("COMMIT").expect("the lock is gone");
    let mut one = releaser.join().expect("the other session's thread");
    call(&mut one, "pg_background_wait_v2", of_one).expect("it ends");
    drop((one, two));
    nothing_is_left(&mut database.session());
}

/// A job that launches another and waits for it.
const PARENT: &str = "DO $x$
    DECLARE h pg_background_handle;
    BEGIN
        SET LOCAL deadlock_timeout = '100ms';
        SET LOCAL pg_background.on_exhaustion = queue;
        PERFORM pg_sleep(0.5);
        h := pg_background_launch_v2('SELECT 1');
        PERFORM pg_background_wait_v2(h.pid, h.cookie);
    END $x$";

#[test]
fn parents_that_wait_for_queued_children_in_every_worker_slot_do_not_hang() {
    const PARENTS: i32 = 3;
    let server = Server::start(
        "worker-slots",
        &[&format!("pg_background.max_pool_workers={PARENTS}")],
    );
    let mut leader = server.session();
    let parents: Vec<Handle> = (0..PARENTS).map(|_| launch(&mut leader, PARENT)).collect();
    let mut failed = 0;
    for handle in parents {
        if let Err(error) = try_result(&mut leader, handle) {
            assert_eq!(
                error.code(),
                Some(&SqlState::T_R_DEADLOCK_DETECTED),
                "{error:?}"
            );
            failed += 1;
        }
    }
    assert!(
        (1..=PARENTS).contains(&failed),
        "{failed} of {PARENTS} failed"
    );
    nothing_is_left(&mut leader);
}

/// In another worker slot a job runs that waits for nothing, but that slot cannot serve this lane.
#[test]
fn a_parent_that_waits_for_a_queued_child_in_a_lane_at_its_limit_does_not_hang() {
    let server = Server::start(
        "lane_limit",
        &["deadlock_timeout=100ms", "pg_background.lane_max_workers=1"],
    );
    server.role("limited");
    let mut other = server.session();
    let beside = launch(&mut other, "SELECT pg_sleep(300)");
    let mut leader = server.session_as("limited");
    leader
        .batch_execute("SET statement_timeout = '10s'")
        .expect("a setting");
    // That one is for superusers.
    let parent = PARENT.replace("SET LOCAL deadlock_timeout = '100ms';", "");
    let parent = launch(&mut leader, &parent);
    assert_state(
        try_result(&mut leader, parent),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    drop(leader);
    cancel_and_forget(&mut other, beside);
    nothing_is_left(&mut other);
}

#[test]
fn a_parent_waits_if_a_worker_slot_will_become_vacant() {
    let server = Server::start("place", &["pg_background.max_pool_workers=2"]);
    let mut leader = server.session();
    let other = launch(&mut leader, "SELECT pg_sleep(2)");
    let parent = launch(&mut leader, PARENT);
    assert!(try_result(&mut leader, parent).is_ok());
    assert!(try_result(&mut leader, other).is_ok());
    nothing_is_left(&mut leader);
}

#[test]
fn a_wait_for_a_job_throttled_behind_ones_own_lock_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(
            "CREATE TABLE t (n int4); LOAD 'pg_background'; SET deadlock_timeout = '50ms';
             SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
        )
        .expect("a table");
    leader.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let first = launch(&mut leader, "INSERT INTO t VALUES (1)");
    let second = launch(&mut leader, "SELECT 1");
    assert_state(
        call(&mut leader, "pg_background_wait_v2", second),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    for handle in [first, second] {
        call(&mut leader, "pg_background_wait_v2", handle).expect("now it ends");
        assert_eq!(state(&mut leader, handle), "stopped");
    }
}

#[test]
fn a_wait_for_any_goes_on_while_one_can() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '50ms'")
        .expect("a table");
    leader.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let stuck = launch(&mut leader, "INSERT INTO t VALUES (1)");
    let other = launch(&mut leader, "SELECT pg_sleep(1)");
    let wait = |handles: &[Handle]| {
        let handles: Vec<String> = handles
            .iter()
            .map(|handle| format!("({}, {})", handle.pid, handle.cookie))
            .collect();
        format!(
            "SELECT (pg_background_wait_any(ARRAY[{}]::pg_background_handle[])).cookie",
            handles.join(", ")
        )
    };
    let first: i64 = value(&mut leader, &wait(&[stuck, other]));
    assert_eq!(first, other.cookie);
    assert_state(
        leader.batch_execute(&wait(&[stuck])),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
}

/// A superuser, and two sessions of the role, which has one slot and a table `t`.
fn with_one_slot(
    database: &Database,
    role: &Role,
) -> (postgres::Client, postgres::Client, postgres::Client) {
    let mut superuser = database.session();
    superuser
        .batch_execute(&format!(
            "CREATE TABLE t (n int4); GRANT ALL ON t TO {0};
             ALTER ROLE {0} SET pg_background.role_max_jobs = 1;
             ALTER ROLE {0} SET deadlock_timeout = '100ms'",
            role.name
        ))
        .expect("a table, and one slot for the role");
    let session = || database.session_as(&role.name);
    (superuser, session(), session())
}

/// The slot that a call waits for belongs to a job that waits for a lock of the caller.
#[test]
fn a_call_that_waits_for_a_slot_of_a_job_that_waits_for_it_is_a_deadlock() {
    let database = Database::new();
    let role = Role::new();
    let (mut superuser, mut one, mut two) = with_one_slot(&database, &role);
    one.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let with_the_slot = std::thread::spawn(move || {
        two.batch_execute("SELECT pg_background_exec('INSERT INTO t VALUES (1)')")
    });
    eventually(
        &mut superuser,
        "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass)",
    );
    let waits_for_a_slot = one.batch_execute("SELECT pg_background_exec('SELECT 1')");
    // Whoever did not raise the error goes on, the other one's job once the lock is gone.
    one.batch_execute("ROLLBACK").expect("the lock is gone");
    let results = [waits_for_a_slot, with_the_slot.join().expect("the thread")];
    let deadlocks = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .filter(|error| error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED))
        .count();
    assert!(deadlocks >= 1, "{results:?}");
    nothing_is_left(&mut superuser);
}

/// Nobody waits for a job: the holder of the slot has not read its job, and waits for a lock of the caller.
#[test]
fn a_call_that_waits_for_the_slot_of_a_session_that_waits_for_it_is_a_deadlock() {
    let database = Database::new();
    let role = Role::new();
    let (mut superuser, mut one, mut two) = with_one_slot(&database, &role);
    let unread = launch(&mut two, "SELECT 1");
    one.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let holder = std::thread::spawn(move || {
        two.batch_execute("INSERT INTO t VALUES (1)")
            .expect("the lock, after the other's error");
        call(&mut two, "pg_background_detach_v2", unread).expect("its job is still there");
    });
    eventually(
        &mut superuser,
        "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass)",
    );
    assert_state(
        one.batch_execute("SELECT pg_background_exec('SELECT 1')"),
        &SqlState::T_R_DEADLOCK_DETECTED,
    );
    one.batch_execute("ROLLBACK").expect("the lock is gone");
    holder.join().expect("the thread");
    one.batch_execute("SELECT pg_background_exec('SELECT 1')")
        .expect("the slot is free");
    nothing_is_left(&mut superuser);
}
