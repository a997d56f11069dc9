//! Fan-out among other sessions, and how it ends.

use session_tests::*;

const SLEEPERS: &str = "pg_background_fanout(array_fill('SET statement_timeout = 0; SELECT pg_sleep(600)'::text, ARRAY[20]))";

fn sleeping(observer: &mut postgres::Client) {
    eventually(
        observer,
        "(SELECT count(*) > 1 FROM pg_stat_activity WHERE backend_type = 'pg_background' AND wait_event = 'PgSleep' AND datname = current_database())",
    );
}

#[test]
fn a_fanout_ends_with_its_session_and_leaves_nothing() {
    let witness = Witness::new();
    let database = Database::new();
    let mut observer = database.session();
    for ending in [
        "SELECT pg_cancel_backend($1)",
        "SELECT pg_terminate_backend($1)",
    ] {
        let mut leader = database.session();
        let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
        let call = std::thread::spawn(move || {
            leader.batch_execute(&format!("SELECT count(*) FROM {SLEEPERS}"))
        });
        sleeping(&mut observer);
        observer.execute(ending, &[&pid]).expect("told");
        assert!(call.join().expect("the leader's thread").is_err());
        nothing_is_left(&mut observer);
    }
    witness.check();
}

#[test]
fn a_fanout_in_an_aborted_block_ends_before_its_rollback() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    leader
        .batch_execute(
            "CREATE FUNCTION fail_after_one() RETURNS void LANGUAGE plpgsql AS $$
             DECLARE
                 r record;
                 c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT 1', 'SELECT pg_sleep(600)'])).idx;
             BEGIN
                 OPEN c;
                 FETCH c INTO r;
                 RAISE 'enough';
             END $$",
        )
        .expect("a function");
    leader.batch_execute("BEGIN").expect("a block");
    assert!(leader.batch_execute("SELECT fail_after_one()").is_err());
    // The block waits for its ROLLBACK, and keeps the memory of the query until then.
    nothing_is_left(&mut observer);
    leader.batch_execute("ROLLBACK").expect("the block ends");
}

#[test]
fn a_fanout_open_over_a_savepoint_that_is_released_ends_with_the_outer_one() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    leader
        .batch_execute(
            "BEGIN; SAVEPOINT outer_one; SAVEPOINT inner_one;
             DECLARE c CURSOR FOR SELECT (pg_background_fanout(ARRAY['SELECT 1', 'SELECT pg_sleep(600)'])).idx;
             FETCH c; RELEASE inner_one",
        )
        .expect("a cursor");
    sleeping_one(&mut observer);
    leader
        .batch_execute("ROLLBACK TO outer_one")
        .expect("rolled back");
    nothing_is_left(&mut observer);
    leader.batch_execute("COMMIT").expect("the block ends");
}

fn sleeping_one(observer: &mut postgres::Client) {
    eventually(
        observer,
        "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background' AND wait_event = 'PgSleep' AND datname = current_database())",
    );
}

#[test]
fn statements_that_have_committed_stay_committed() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    leader.batch_execute("BEGIN").expect("a block");
    let first: i32 = leader
        .query_one(
            "SELECT (f).idx FROM (SELECT pg_background_fanout(ARRAY['INSERT INTO t VALUES (1)', 'INSERT INTO t SELECT 2 FROM pg_sleep(600)'], 2) AS f LIMIT 1) s",
            &[],
        )
        .expect("one row")
        .get(0);
    assert_eq!(first, 1);
    leader.batch_execute("ROLLBACK").expect("rolled back");
    nothing_is_left(&mut leader);
    let rows: Vec<i32> = leader
        .query("SELECT n FROM t", &[])
        .expect("read")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(rows, [1]);
}

#[test]
fn many_fanouts_at_once_all_come_to_their_end() {
    let database = Database::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut leader = database.session();
                for _ in 0..5 {
                    let (rows, sum): (i64, i64) = {
                        let row = leader
                            .query_one(
                                "SELECT count(*) FILTER (WHERE ok), sum((result->0->>'n')::int8)::int8
                                 FROM pg_background_fanout(ARRAY(SELECT 'SELECT ' || g || ' AS n' FROM generate_series(1, 400) g))",
                                &[],
                            )
                            .expect("it ends");
                        (row.get(0), row.get(1))
                    };
                    assert_eq!((rows, sum), (400, 400 * 401 / 2));
                }
            });
        }
    });
    nothing_is_left(&mut database.session());
}

#[test]
fn a_fanout_whose_job_waits_for_its_own_transaction_is_a_deadlock() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("CREATE TABLE t (n int4); SET deadlock_timeout = '50ms'")
        .expect("a table");
    leader.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
    let result = leader.batch_execute(
        "SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1', 'INSERT INTO t VALUES (1)'])",
    );
    assert_eq!(sqlstate(result), "40P01");
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    nothing_is_left(&mut leader);
}

#[test]
fn a_fanout_without_background_worker_slots_is_an_error_that_says_so() {
    let database = Database::new();
    let setting = Setting::new("pg_background.max_pool_workers", "0");
    let mut leader = database.session();
    let call = "SELECT ok FROM pg_background_fanout(ARRAY['SELECT 1'], timeout_ms => 10000)";
    assert_eq!(sqlstate(leader.query(call, &[])), "53000");
    drop(setting);
    let mut leader = database.session();
    assert!(value::<bool>(&mut leader, call));
}

#[test]
fn a_fanout_waits_for_a_worker_as_long_as_a_launch_does() {
    let database = Database::new();
    let (mut leader, role) = (database.session(), Role::new());
    let setting = Setting::new("pg_background.max_pool_workers", "1");
    // A job of another lane has the only worker slot.
    let mut other = database.session_as(&role.name);
    let handle = launch(&mut other, "SELECT pg_sleep(600)");
    leader
        .batch_execute("LOAD 'pg_background'; SET pg_background.launch_timeout = '200ms'")
        .expect("a setting");
    let call = "SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2'])";
    assert_eq!(sqlstate(leader.query(call, &[])), "53000");
    leader
        .batch_execute("SET pg_background.on_exhaustion = queue")
        .expect("a setting");
    let waiting = std::thread::spawn(move || value::<i64>(&mut leader, call));
    eventually(
        &mut database.session(),
        "(SELECT jobs_queued = 2 FROM pg_background_resources())",
    );
    pause(std::time::Duration::from_millis(400));
    assert_eq!(cancel_and_forget(&mut other, handle), "canceled");
    assert_eq!(waiting.join().expect("the fan-out comes to its end"), 2);
    drop(setting);
    nothing_is_left(&mut database.session());
}
