//! Thousands of jobs: queues, a full job table, a lane that floods, leaders that leave in the middle.

use session_tests::*;
use std::time::{Duration, Instant};

/// What a leader of many jobs sets.
const QUEUE: &str =
    "SET pg_background.on_exhaustion = queue; SET pg_background.launch_timeout = '60s'";

fn pid_of(client: &mut postgres::Client) -> i32 {
    value(client, "SELECT pg_backend_pid()")
}

#[test]
fn every_accepted_job_of_a_leader_that_is_ended_in_the_middle_commits_once() {
    let witness = Witness::new();
    let database = Database::new();
    let mut leader = database.session();
    let mut observer = database.session();
    observer
        .batch_execute("CREATE TABLE t (n int4); CREATE TABLE accepted (n int4)")
        .expect("tables");
    leader.batch_execute(QUEUE).expect("settings");
    let pid = pid_of(&mut leader);
    // The first half in a transaction that commits, so that the accepted jobs are known; then more and more
    // until the session is ended. More jobs than slots: the launches wait for room.
    leader
        .batch_execute(
            "SELECT count(pg_background_detach(h.pid, h.cookie))
             FROM generate_series(1, 5000) g,
                  LATERAL pg_background_submit('INSERT INTO t VALUES (' || g || ')') h",
        )
        .expect("the first half is accepted");
    let rest = std::thread::spawn(move || {
        leader.batch_execute(
            "SELECT count(*)
             FROM generate_series(5001, 10000) g,
                  LATERAL pg_background_launch('INSERT INTO t SELECT ' || g || ' FROM pg_sleep(0.001)', 0, NULL) h",
        )
    });
    eventually(&mut observer, "(SELECT count(*) > 5500 FROM t)");
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    assert!(rest.join().expect("the leader's thread").is_err());
    nothing_is_left(&mut observer);
    let (count, distinct, first, least, most): (i64, i64, i64, i32, i32) = {
        let row = observer
            .query_one(
                "SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n <= 5000), min(n), max(n) FROM t",
                &[],
            )
            .expect("counted");
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
    };
    assert_eq!(count, distinct, "none ran twice");
    assert_eq!(first, 5000, "every one that was accepted ran");
    // Launched one after the other, the last perhaps withdrawn: no gap before it.
    assert_eq!((least, i64::from(most)), (1, count), "none was lost");
    assert!(count < 10_000, "the leader was ended in the middle");
    witness.check();
}

#[test]
fn a_lane_that_floods_does_not_keep_out_another() {
    let database = Database::new();
    let (flooding, modest) = (Role::new(), Role::new());
    let mut flood = database.session_as(&flooding.name);
    let mut other = database.session_as(&modest.name);
    flood.batch_execute(QUEUE).expect("settings");
    flood
        .batch_execute(
            "SET pg_background.max_workers = 1000;
             SELECT count(pg_background_launch_v2('SELECT pg_sleep(0.05)')) FROM generate_series(1, 1000)",
        )
        .expect("a thousand jobs of 50 ms");
    let start = Instant::now();
    assert_eq!(run(&mut other, "SELECT 1"), Some(String::from("1")));
    let waited = start.elapsed();
    // The flood needs 7 s or more; the other's job only the time of those that run now and of a new process.
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    flood
        .batch_execute("SELECT pg_background_cancel_all()")
        .expect("canceled");
    drop(flood);
    nothing_is_left(&mut database.session());
}

#[test]
fn launches_wait_for_room_in_the_table_and_none_is_forgotten() {
    const LEADERS: usize = 6;
    const JOBS: i32 = 300;
    let server = Server::start("room", &["pg_background.max_jobs=16"]);
    let mut observer = server.session();
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    std::thread::scope(|scope| {
        for _ in 0..LEADERS {
            scope.spawn(|| {
                let mut leader = server.session();
                leader.batch_execute(QUEUE).expect("settings");
                for number in 0..JOBS {
                    let handle = launch(&mut leader, &format!("INSERT INTO t VALUES ({number})"));
                    call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
                }
            });
        }
    });
    let total = LEADERS as i32 * JOBS;
    eventually(
        &mut observer,
        &format!("(SELECT count(*) = {total} FROM t)"),
    );
    nothing_is_left(&mut observer);
}

#[test]
fn a_full_table_is_an_error_at_once_or_after_the_time_limit() {
    let server = Server::start("full", &["pg_background.max_jobs=16"]);
    let mut holder = server.session();
    holder
        .batch_execute(
            "SELECT count(pg_background_launch_v2('SELECT 1')) FROM generate_series(1, 16)",
        )
        .expect("all slots");
    let mut leader = server.session();
    for (mode, least, most) in [("error", 0, 200), ("wait", 300, 5000), ("queue", 300, 5000)] {
        leader
            .batch_execute(&format!(
                "SET pg_background.launch_timeout = '300ms'; SET pg_background.on_exhaustion = {mode}"
            ))
            .expect("settings");
        let start = Instant::now();
        assert_eq!(sqlstate(try_launch(&mut leader, "SELECT 1")), "53000");
        let taken = start.elapsed();
        assert!(
            taken >= Duration::from_millis(least) && taken < Duration::from_millis(most),
            "{mode}: {taken:?}"
        );
    }
    // A fan-out waits too when none of its own jobs is in flight.
    assert_eq!(
        sqlstate(leader.batch_execute("SELECT pg_background_fanout(ARRAY['SELECT 1'])")),
        "53000"
    );
    // A waiter that is terminated leaves the queue; the one behind it gets the slot.
    leader
        .batch_execute("SET pg_background.launch_timeout = '60s'")
        .expect("a setting");
    let mut second = server.session();
    second
        .batch_execute("SET pg_background.launch_timeout = '60s'")
        .expect("a setting");
    let pid = pid_of(&mut leader);
    let first = std::thread::spawn(move || try_launch(&mut leader, "SELECT 1").is_err());
    let mut observer = server.session();
    let waits = |pid: i32| {
        format!("(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = {pid})")
    };
    eventually(&mut observer, &waits(pid));
    let second_pid = pid_of(&mut second);
    let second = std::thread::spawn(move || run(&mut second, "SELECT 2"));
    eventually(&mut observer, &waits(second_pid));
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    assert!(first.join().expect("the first waiter"));
    holder
        .batch_execute("SELECT pg_background_wait_all(ARRAY[(pid, cookie)::pg_background_handle]), pg_background_detach(pid, cookie) FROM pg_background_list LIMIT 1")
        .expect("one slot is given back");
    assert_eq!(second.join().expect("the second"), Some(String::from("2")));
    drop(holder);
    nothing_is_left(&mut observer);
}

#[test]
fn ten_thousand_handles_are_waited_for_without_quadratic_work() {
    let server = Server::start("handles", &["pg_background.max_jobs=16384"]);
    let mut leader = server.session();
    leader.batch_execute(QUEUE).expect("settings");
    let start = Instant::now();
    let finished: i32 = value(
        &mut leader,
        "WITH h AS MATERIALIZED (SELECT pg_background_launch_v2('SELECT 1') h FROM generate_series(1, 10000))
         SELECT pg_background_wait_all(array_agg(h)) FROM h",
    );
    assert_eq!(finished, 10_000);
    let drained: i64 = value(
        &mut leader,
        "SELECT count(*) FROM pg_background_drain((SELECT array_agg((pid, cookie)::pg_background_handle) FROM pg_background_list)) WHERE state = 'stopped'",
    );
    assert_eq!(drained, 10_000);
    // Ten thousand times ten thousand steps would take longer.
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(20), "{taken:?}");
    nothing_is_left(&mut leader);
}

#[test]
fn permits_are_given_back_when_workers_die() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(&format!("{QUEUE}; SET pg_background.max_workers = 1"))
        .expect("settings");
    let first = launch(&mut leader, "SELECT pg_sleep(600)");
    asleep(&mut leader, first);
    let behind: Vec<Handle> = (0..3).map(|_| launch(&mut leader, "SELECT 1")).collect();
    let pid = worker_of(&mut leader, first);
    leader
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    for handle in behind {
        assert_eq!(
            try_result(&mut leader, handle).expect("it runs"),
            [Some(String::from("1"))]
        );
    }
    assert_eq!(sqlstate(try_result(&mut leader, first)), "57P01");
    nothing_is_left(&mut leader);
}

#[test]
fn what_was_throttled_has_workers_of_its_own_when_the_session_has_ended() {
    let database = Database::new();
    let mut leader = database.session();
    run(&mut leader, "SELECT 1");
    leader
        .batch_execute("SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1")
        .expect("settings");
    for _ in 0..3 {
        launch(&mut leader, "SELECT pg_sleep(4) /* throttled */");
    }
    drop(leader);
    eventually(
        &mut database.session(),
        "(SELECT count(*) >= 2 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%/* throttled */%' AND backend_type = 'pg_background' AND state = 'active')",
    );
}
