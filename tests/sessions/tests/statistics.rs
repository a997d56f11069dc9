//! A session's launched jobs are those that have completed, failed, were canceled or are active, whoever saw them end.

use postgres::Client;
use session_tests::{
    Database, Role, asleep, call, eventually, launch, nothing_is_left, run, try_run, value,
};

/// Completed, failed, canceled, active.
fn counts(client: &mut Client) -> [i64; 4] {
    let row = client
        .query_one(
            "SELECT workers_launched, workers_completed, workers_failed, workers_canceled, workers_active::int8
             FROM pg_background_stats()",
            &[],
        )
        .expect("the statistics");
    let counts = [1, 2, 3, 4].map(|column| row.get(column));
    assert_eq!(
        row.get::<_, i64>(0),
        counts.iter().sum::<i64>(),
        "{counts:?}"
    );
    counts
}

const NONE_IS_ACTIVE: &str = "workers_active = 0 FROM pg_background_stats()";

#[test]
fn a_detached_job_is_counted_when_it_ends() {
    let database = Database::new();
    let mut client = database.session();
    for sql in [
        "SELECT pg_sleep(0.2)",
        "SELECT 1 / pg_sleep(0.2)::text::int",
    ] {
        let job = launch(&mut client, sql);
        call(&mut client, "pg_background_detach_v2", job).expect("detached");
    }
    let canceled = launch(&mut client, "SELECT pg_sleep(100)");
    asleep(&mut client, canceled);
    call(&mut client, "pg_background_cancel_v2", canceled).expect("canceled");
    call(&mut client, "pg_background_detach_v2", canceled).expect("detached");
    assert_eq!(counts(&mut client).iter().sum::<i64>(), 3);
    eventually(&mut client, NONE_IS_ACTIVE);
    assert_eq!(counts(&mut client), [1, 1, 1, 0]);
    let average: f64 = value(
        &mut client,
        "SELECT avg_execution_ms FROM pg_background_stats()",
    );
    assert!(average > 100.0, "their run times count too: {average}");
    // The next session with this entry begins with nothing.
    drop(client);
    let mut client = database.session();
    assert_eq!(counts(&mut client), [0, 0, 0, 0]);
    run(&mut client, "SELECT 1");
    assert_eq!(counts(&mut client), [1, 0, 0, 0]);
}

#[test]
fn jobs_that_end_while_they_are_detached_are_counted_once() {
    let database = Database::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = database.session();
                client
                    .batch_execute(
                        "SET pg_background.max_workers = 1000; SET pg_background.on_exhaustion = queue;
                         CREATE PROCEDURE pg_temp.rounds() LANGUAGE plpgsql AS $$
                         DECLARE h pg_background_handle; s pg_background_stats;
                         BEGIN
                            FOR i IN 1..600 LOOP
                                h := CASE i % 4 WHEN 3 THEN pg_background_submit_v2('SELECT 1')
                                    ELSE pg_background_launch_v2(CASE WHEN i % 4 = 0 THEN 'SELECT 1/0' ELSE 'SELECT 1' END) END;
                                PERFORM pg_background_wait_v2(h.pid, h.cookie, 1) FROM generate_series(1, i % 3);
                                IF i % 5 = 0 THEN
                                    PERFORM pg_background_stats();
                                END IF;
                                PERFORM pg_background_detach_v2(h.pid, h.cookie);
                                s := pg_background_stats();
                                ASSERT s.workers_launched = s.workers_completed + s.workers_failed + s.workers_canceled
                                    + s.workers_active, s::text;
                            END LOOP;
                         END $$;
                         CALL pg_temp.rounds()",
                    )
                    .expect("the rounds");
                eventually(&mut client, NONE_IS_ACTIVE);
                assert_eq!(counts(&mut client), [450, 150, 0, 0]);
            });
        }
    });
    nothing_is_left(&mut database.session());
}

#[test]
fn jobs_that_others_end_or_purge_are_counted() {
    let database = Database::new();
    let role = Role::new();
    let (mut admin, mut client) = (database.session(), database.session_as(&role.name));
    client
        .batch_execute("SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 2")
        .expect("settings");
    launch(&mut client, "SELECT 1");
    let failed = launch(&mut client, "SELECT 1 / 0");
    call(&mut client, "pg_background_wait_v2", failed).expect("waited");
    eventually(
        &mut admin,
        "count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pg_background%' AND state = 'active'",
    );
    let purge = format!("SELECT pg_background_purge_role('{}')", role.name);
    assert_eq!(value::<i32>(&mut admin, &purge), 2);
    assert_eq!(counts(&mut client), [1, 1, 0, 0]);
    // Running and queued; detached and not.
    for round in 0..4 {
        let job = launch(&mut client, "SELECT pg_sleep(100)");
        if round % 2 == 0 {
            call(&mut client, "pg_background_detach_v2", job).expect("detached");
        }
    }
    assert_eq!(counts(&mut client), [1, 1, 0, 4]);
    let cancel = format!("SELECT pg_background_cancel_role('{}')", role.name);
    assert_eq!(value::<i32>(&mut admin, &cancel), 4);
    assert_eq!(counts(&mut client), [1, 1, 4, 0]);
    // The worker of one is terminated.
    let job = launch(&mut client, "SELECT pg_sleep(100)");
    asleep(&mut client, job);
    let pid = session_tests::worker_of(&mut client, job);
    call(&mut client, "pg_background_detach_v2", job).expect("detached");
    admin
        .batch_execute(&format!("SELECT pg_terminate_backend({pid})"))
        .expect("terminated");
    eventually(&mut client, NONE_IS_ACTIVE);
    assert_eq!(counts(&mut client), [1, 2, 4, 0]);
    // The handles of these were never returned.
    client
        .batch_execute("SELECT pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2'])")
        .expect("fanned out");
    client
        .batch_execute("SET pg_background.max_workers = 16; SET statement_timeout = 300")
        .expect("settings");
    try_run(&mut client, "SELECT pg_sleep(100)").expect_err("interrupted");
    client
        .batch_execute("SET statement_timeout = 0")
        .expect("settings");
    let [completed, failed, canceled, active] = counts(&mut client);
    // The job has the limit too, and may have been ended by it or by the interrupted reader.
    assert_eq!((completed, failed + canceled + active), (1, 7));
    client
        .batch_execute("SELECT pg_background_cancel_all(), pg_background_detach_all()")
        .expect("detached");
    eventually(&mut client, NONE_IS_ACTIVE);
}

#[test]
fn a_job_that_launches_has_statistics_of_its_own() {
    let database = Database::new();
    let mut client = database.session();
    // The same process runs both; what the first left running ends while the second runs.
    let leaves = "SELECT pg_background_detach_v2(h.pid, h.cookie) FROM pg_background_launch_v2('SELECT pg_sleep(0.3)') h";
    for _ in 0..2 {
        run(&mut client, leaves);
    }
    let own = "SELECT workers_launched || ' ' || workers_completed || ' ' || workers_active FROM pg_background_stats(),
        LATERAL (SELECT pg_sleep(0.5)) AS s";
    let own = format!("SELECT count(*) FROM pg_background_launch_v2('SELECT 1'); {own}");
    assert!(["1 1 0", "1 0 1"].contains(&run(&mut client, &own).expect("counts").as_str()));
    eventually(
        &mut client,
        "count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    );
}
