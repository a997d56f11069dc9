//! Jobs that wait for the ends of transactions, and sessions that wait for such jobs.

use postgres::error::SqlState;
use session_tests::*;

const AWAIT: &str = "pg_background_await";

fn await_sql(handle: Handle) -> String {
    format!("CALL {AWAIT}({}, {})", handle.pid, handle.cookie)
}

/// How many commands wait for a transaction to end.
const WAITS: &str = "(SELECT count(*) FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted)";

#[test]
fn an_await_is_not_in_the_way_of_its_job_however_often_it_looks_for_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t AS SELECT 1 AS n; SET deadlock_timeout = '1ms'")
        .expect("a table");
    let mut old = database.session();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .expect("a snapshot");
    let handle = launch(&mut leader, "CREATE INDEX CONCURRENTLY i ON t (n)");
    let (pid, sql) = (
        value::<i32>(&mut leader, "SELECT pg_backend_pid()"),
        await_sql(handle),
    );
    let waits = std::thread::spawn(move || {
        leader.batch_execute(&sql).expect("awaited");
        leader
    });
    let mut observer = database.session();
    eventually(&mut observer, &format!("{WAITS} = 1"));
    // Looks at 1, 3, 7 ... 511 ms and more. Each has a transaction of its own.
    let transaction = format!(
        "SELECT virtualtransaction FROM pg_locks WHERE pid = {pid} AND locktype = 'virtualxid'"
    );
    let first: String = value(&mut observer, &transaction);
    eventually(&mut observer, &format!("({transaction}) <> '{first}'"));
    let held: Vec<i64> = ["backend_xid", "backend_xmin"]
        .iter()
        .map(|what| {
            let sql = format!("SELECT count({what}) FROM pg_stat_activity WHERE pid = {pid}");
            value(&mut observer, &sql)
        })
        .collect();
    assert_eq!(held, [0, 0], "no number, no snapshot");
    old.batch_execute("COMMIT").expect("the snapshot is gone");
    let mut leader = waits.join().expect("the leader's thread");
    assert_eq!(
        try_result(&mut leader, handle).expect("the tag"),
        [Some(String::from("CREATE INDEX"))]
    );
    assert!(value::<bool>(
        &mut leader,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ));
    nothing_is_left(&mut leader);
}

#[test]
fn an_await_that_is_canceled_leaves_its_job_alone() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    let mut other = database.session();
    other.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let handle = launch(&mut leader, "INSERT INTO t VALUES (1)");
    leader
        .batch_execute("SET statement_timeout = '100ms'")
        .expect("a limit");
    assert_state(
        leader.batch_execute(&await_sql(handle)),
        &SqlState::QUERY_CANCELED,
    );
    leader
        .batch_execute("RESET statement_timeout")
        .expect("no limit");
    other.batch_execute("COMMIT").expect("the lock is gone");
    leader.batch_execute(&await_sql(handle)).expect("awaited");
    assert_eq!(state(&mut leader, handle), "stopped");
    call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
    nothing_is_left(&mut leader);
}

#[test]
fn who_does_not_own_a_table_has_it_indexed_by_a_function_of_somebody_who_may() {
    let role = Role::new();
    let database = Database::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!(
            "CREATE TABLE t AS SELECT 1 AS n;
             CREATE FUNCTION index_t() RETURNS pg_background_handle LANGUAGE sql SECURITY DEFINER
                 SET search_path = pg_catalog, pg_temp
                 RETURN public.pg_background_submit('CREATE INDEX CONCURRENTLY i ON public.t (n)');
             REVOKE EXECUTE ON FUNCTION index_t() FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION index_t() TO {}",
            role.name
        ))
        .expect("a function");
    let mut user = database.session_as(&role.name);
    let own = launch(&mut user, "CREATE INDEX CONCURRENTLY i ON t (n)");
    assert_state(
        try_result(&mut user, own),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    let row = user
        .query_one(
            "SELECT (h).pid, (h).cookie FROM (SELECT index_t() AS h) f",
            &[],
        )
        .expect("submitted");
    let handle = Handle {
        pid: row.get(0),
        cookie: row.get(1),
    };
    // It may wait for the job of another role that its own session has, and forget it, but nothing else.
    user.batch_execute(&await_sql(handle)).expect("awaited");
    assert!(value::<bool>(
        &mut user,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ));
    assert_state(
        call(&mut user, "pg_background_cancel_v2", handle),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    let outcome: String = value(
        &mut user,
        &format!(
            "SELECT concat_ws(' ', state, sqlstate) FROM pg_background_outcome({}, {})",
            handle.pid, handle.cookie
        ),
    );
    assert_eq!(outcome, "unknown 42501");
    call(&mut user, "pg_background_detach_v2", handle).expect("detached");
    nothing_is_left(&mut admin);
    drop((user, admin, database));
}
