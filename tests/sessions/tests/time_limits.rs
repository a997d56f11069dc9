//! A time limit is one moment for the whole call: what it waits for, a slot, a worker or its job, makes no difference.

use postgres::Client;
use session_tests::*;
use std::thread::JoinHandle;

/// A server whose only worker runs a job until [`Taken::give`], and a role that may use it.
struct Taken {
    server: Server,
    holder: Client,
}

impl Taken {
    fn new(name: &str) -> Self {
        let server = Server::start(
            name,
            &["pg_background.max_pool_workers=1", "statement_timeout=20s"],
        );
        let mut holder = server.session();
        holder
            .batch_execute("SELECT pg_advisory_lock(1)")
            .expect("locked");
        let handle = launch(&mut holder, "SELECT pg_advisory_lock(1)");
        let waits = format!(
            "EXISTS (SELECT FROM pg_locks WHERE pid = {} AND NOT granted)",
            worker_of(&mut holder, handle)
        );
        eventually(&mut holder, &waits);
        Self { server, holder }
    }

    fn give(&mut self) {
        self.holder
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .expect("unlocked");
    }
}

#[test]
fn a_call_that_gets_no_worker_ends_at_its_own_limit() {
    let taken = Taken::new("no-worker");
    let mut session = taken.server.session();
    // Longer than the statement may take.
    session
        .batch_execute("SET pg_background.launch_timeout = '10min'")
        .expect("a setting");
    for on_exhaustion in ["wait", "queue"] {
        session
            .batch_execute(&format!(
                "SET pg_background.on_exhaustion = {on_exhaustion}"
            ))
            .expect("a setting");
        let ended: String = value(
            &mut session,
            "SELECT concat_ws(' ', state, timed_out, sqlstate) FROM pg_background_run('SELECT 1', timeout_ms => 100)",
        );
        assert_eq!(ended, "canceled t 57014", "{on_exhaustion}");
        let error = session
            .query(
                "SELECT * FROM pg_background_run_query('SELECT 1', timeout_ms => 100) AS (n int4)",
                &[],
            )
            .expect_err("there is no worker");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(
            (error.code().code(), error.message(), error.detail()),
            (
                "57014",
                "canceling background job due to timeout",
                Some("The job did not begin: no worker became free within 100 ms.")
            ),
            "{on_exhaustion}"
        );
    }
    // Whoever does not want to wait for a worker does not.
    session
        .batch_execute("SET pg_background.on_exhaustion = error")
        .expect("a setting");
    let refused = session.batch_execute("SELECT pg_background_run('SELECT 1', timeout_ms => 100)");
    assert_eq!(sqlstate(refused), "53000");
    assert_eq!(
        value::<i64>(&mut session, "SELECT count(*) FROM pg_background_list"),
        0
    );
}

/// A call with a limit that is longer than this test, and what it returns.
const RUN: (&str, &str) = (
    "SELECT state FROM pg_background_run('SELECT 1', timeout_ms => 600000)",
    "stopped",
);
const FANOUT: (&str, &str) = (
    "SELECT string_agg(concat(ok, sqlstate), ' ') FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2'], timeout_ms => 600000)",
    "t t",
);

/// Makes a call in a session in which a launch waits a moment only.
fn patiently(mut session: Client, call: &'static str) -> JoinHandle<String> {
    session
        .batch_execute("SET pg_background.launch_timeout = '1ms'")
        .expect("a setting");
    std::thread::spawn(move || value(&mut session, call))
}

#[test]
fn a_launch_timeout_does_not_end_a_call_with_a_limit_of_its_own() {
    for (sql, ended) in [RUN, FANOUT] {
        launch_timeout_does_not_end(sql, ended);
    }
}

fn launch_timeout_does_not_end(sql: &'static str, ended: &str) {
    let mut taken = Taken::new("worker-later");
    let call = patiently(taken.server.session(), sql);
    let mut observer = taken.server.session();
    eventually(
        &mut observer,
        "(SELECT jobs_queued > 0 FROM pg_background_resources())",
    );
    // Longer than the launch timeout.
    observer
        .batch_execute("SELECT pg_sleep(0.1)")
        .expect("a moment");
    taken.give();
    assert_eq!(call.join().expect("the call returns"), ended);
}

#[test]
fn a_call_that_gets_no_slot_ends_at_its_own_limit() {
    let server = Server::start("no-slot", &["statement_timeout=20s"]);
    server.role("limited");
    server
        .session()
        .batch_execute("ALTER ROLE limited SET pg_background.role_max_jobs = 1")
        .expect("a limit");
    let mut holder = server.session_as("limited");
    let handle = launch(&mut holder, "SELECT 1");
    let mut session = server.session_as("limited");
    session
        .batch_execute("SET pg_background.launch_timeout = '10min'")
        .expect("a setting");
    let refused = session.batch_execute("SELECT pg_background_run('SELECT 1', timeout_ms => 100)");
    assert_eq!(sqlstate(refused), "53400");
    // A fan-out has rows for statements that were not launched before its limit.
    let ended: String = value(
        &mut session,
        "SELECT string_agg(concat(ok, sqlstate), ' ') FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2'], timeout_ms => 100)",
    );
    assert_eq!(ended, "f57014 f57014");
    let refused = session.batch_execute(
        "SELECT pg_background_fanout(ARRAY['SELECT 1'], fail_fast => true, timeout_ms => 100)",
    );
    assert_eq!(sqlstate(refused), "57014");
    gets_a_slot_later(&server, &mut holder, handle, RUN);
    let handle = launch(&mut holder, "SELECT 1");
    gets_a_slot_later(&server, &mut holder, handle, FANOUT);
}

/// The session of `holder` has the only slot for a job, and gives it up later.
fn gets_a_slot_later(
    server: &Server,
    holder: &mut Client,
    handle: Handle,
    (sql, ended): (&'static str, &str),
) {
    let call = patiently(server.session_as("limited"), sql);
    // No launch that ends after a millisecond is ever seen in two looks that are a tenth of a second apart.
    let mut observer = server.session();
    let waits = "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%600000%' AND pid <> pg_backend_pid() AND state = 'active')";
    eventually(&mut observer, waits);
    observer
        .batch_execute("SELECT pg_sleep(0.1)")
        .expect("a moment");
    session_tests::call(holder, "pg_background_detach_v2", handle).expect("detached");
    assert_eq!(call.join().expect("the call returns"), ended);
}
