//! `pg_background.worker_reuse = off`: each job of the session has a process of its own.

use postgres::Client;
use session_tests::{Database, Server, eventually, launch, nothing_is_left, run, value};
use std::collections::HashSet;

const OFF: &str = "SET pg_background.worker_reuse = off";

/// Notes processes. None of them may have been noted before.
#[derive(Default)]
struct Seen(HashSet<i32>);

impl Seen {
    fn note(&mut self, pid: i32) {
        assert!(pid > 0 && self.0.insert(pid), "{pid} has run another job");
    }
}

fn pids(client: &mut Client, sql: &str) -> Vec<i32> {
    let rows = client
        .query(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn each_job_of_the_session_has_a_process_of_its_own() {
    let database = Database::new();
    let (mut client, mut warm) = (database.session(), database.session());
    let mut seen = Seen::default();
    run(&mut warm, "SELECT 1");
    client.batch_execute(OFF).expect("set");
    let own = "SELECT pg_backend_pid()";
    for _ in 0..5 {
        let job = launch(&mut client, own);
        assert_eq!(
            session_tests::try_result(&mut client, job).expect("its process"),
            [Some(job.pid.to_string())]
        );
        seen.note(job.pid);
        // The other session's jobs stay where they are, and go on meanwhile.
        let others: i32 = run(&mut warm, own)
            .expect("a pid")
            .parse()
            .expect("a number");
        assert!(!seen.0.contains(&others));
        for sql in [
            "SELECT p FROM pg_background_result(pg_background_launch('SELECT pg_backend_pid()')) AS (p int)",
            "SELECT p FROM pg_background_run_query('SELECT pg_backend_pid()', 0, 0, NULL, 'p int') AS (p int)",
            "SELECT (result->0->>'pg_backend_pid')::int FROM pg_background_fanout(array_fill('SELECT pg_backend_pid()'::text, ARRAY[20]))",
            "SELECT (h).pid FROM (SELECT pg_background_submit('SELECT 1') AS h OFFSET 0) AS submitted",
        ] {
            for pid in pids(&mut client, sql) {
                seen.note(pid);
            }
        }
        client
            .batch_execute("SELECT pg_background_detach_all()")
            .expect("detached");
    }
    assert!(seen.0.len() > 100, "{}", seen.0.len());
    nothing_is_left(&mut client);
    // They end with their jobs; the other session's process is still there.
    let mut others = HashSet::new();
    others.insert(run(&mut warm, own));
    eventually(
        &mut client,
        "count(*) <= 1 FROM pg_stat_activity WHERE backend_type LIKE 'pg_background%'",
    );
    others.insert(run(&mut warm, own));
    assert_eq!(others.len(), 1, "{others:?}");
}

#[test]
fn queued_jobs_have_processes_of_their_own() {
    let database = Database::new();
    let mut client = database.session();
    // By itself: the statements of one string are one transaction, and a job may run before its end.
    client
        .batch_execute("CREATE TABLE ran (pid int)")
        .expect("a table");
    client
        .batch_execute(
            "SET pg_background.worker_reuse = off; SET pg_background.on_exhaustion = queue;
             SET pg_background.max_workers = 1000;
             DO $$ BEGIN
                FOR i IN 1..60 LOOP
                    PERFORM pg_background_submit_v2('INSERT INTO ran VALUES (pg_backend_pid())');
                END LOOP;
             END $$",
        )
        .expect("queued");
    // Jobs that may run anywhere overtake none of them for ever.
    let mut warm = database.session();
    let mut seen = Seen::default();
    eventually(
        &mut warm,
        "count(*) = 60 FROM ran, LATERAL (SELECT FROM pg_background_run('SELECT 1')) AS warm",
    );
    for pid in pids(&mut client, "SELECT pid FROM ran") {
        seen.note(pid);
    }
}

#[test]
fn idle_processes_make_room_for_a_fresh_one() {
    let server = Server::start(
        "fresh",
        &[
            "pg_background.max_pool_workers=2",
            "pg_background.worker_idle_timeout=1h",
        ],
    );
    let mut client = server.session();
    assert_eq!(
        value::<i32>(&mut client, "SELECT pg_background_prewarm(2)"),
        2
    );
    eventually(
        &mut client,
        "workers_idle = 2 FROM pg_background_resources()",
    );
    let mut seen = Seen::default();
    for pid in pids(
        &mut client,
        "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_background%'",
    ) {
        seen.note(pid);
    }
    client.batch_execute(OFF).expect("set");
    for _ in 0..20 {
        let job = launch(&mut client, "SELECT 1");
        seen.note(job.pid);
        session_tests::try_result(&mut client, job).expect("it runs");
    }
    // At the limit of the role's workers, too.
    client
        .batch_execute(
            "SET pg_background.worker_reuse = on; SET pg_background.lane_max_workers = 1",
        )
        .expect("set");
    for _ in 0..5 {
        run(&mut client, "SELECT 1");
        client.batch_execute(OFF).expect("set");
        let job = launch(&mut client, "SELECT 1");
        seen.note(job.pid);
        session_tests::try_result(&mut client, job).expect("it runs");
        client
            .batch_execute("SET pg_background.worker_reuse = on")
            .expect("set");
    }
}

#[test]
fn a_job_launches_as_its_session_does() {
    let database = Database::new();
    let mut client = database.session();
    client.batch_execute(OFF).expect("set");
    let of_a_job =
        "SELECT count(DISTINCT p) FROM generate_series(1, 5) n, LATERAL pg_background_run_query(
        'SELECT pg_backend_pid() -- ' || n, 0, 0, NULL, 'p int') AS q (p int)";
    assert_eq!(run(&mut client, of_a_job).as_deref(), Some("5"));
}
