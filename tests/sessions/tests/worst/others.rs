//! The roles that want to work, the server's own work, and its administrator.

use crate::{CULPRIT, Run, session};
use postgres::Client;
use session_tests::{pause, value};
use std::time::{Duration, Instant};

/// A job of another role starts within so many milliseconds.
pub const START_MS: f64 = 1000.0;

/// What they need.
pub fn furnish(admin: &mut Client) {
    admin
        .batch_execute(
            "CREATE FUNCTION start_ms() RETURNS float8 LANGUAGE plpgsql AS $$
             DECLARE asked timestamptz := clock_timestamp(); h public.pg_background_handle; started timestamptz;
             BEGIN
                 h := public.pg_background_launch_v2('SELECT clock_timestamp()');
                 SELECT r INTO started FROM public.pg_background_result_v2(h.pid, h.cookie) AS (r timestamptz);
                 RETURN extract(epoch FROM started - asked) * 1000;
             END $$;
             CREATE TABLE large AS SELECT n, repeat('x', 100) t FROM generate_series(1, 20000) n;
             CREATE TABLE churn AS SELECT n FROM generate_series(1, 1000) n;
             GRANT SELECT ON large TO PUBLIC;
             ANALYZE large",
        )
        .expect("what the others need");
}

/// The roles, what they may do, and their members.
pub fn rights(admin: &mut Client) -> String {
    value(
        admin,
        "SELECT (SELECT string_agg(r::text, ';' ORDER BY oid) FROM pg_authid r) || (SELECT string_agg(m::text, ';' ORDER BY roleid, member) FROM pg_auth_members m)",
    )
}

/// Works, and returns how many milliseconds each job took to start.
pub fn work(run: &Run, role: &'static str) -> Vec<f64> {
    let mut client = session(&run.server, "postgres", role);
    let mut starts = Vec::new();
    let fail = |what: &str, error: postgres::Error| run.fail(format!("{role}: {what}: {error:?}"));
    while run.goes_on() {
        match client.query_one("SELECT start_ms()", &[]) {
            Ok(row) => starts.push(row.get(0)),
            Err(error) => {
                fail("a job", error);
                break;
            }
        }
        let last = starts[starts.len() - 1];
        if last > START_MS {
            run.fail(format!("{role}: a job started after {last} ms"));
        }
        pause(Duration::from_millis(10));
        if starts.len().is_multiple_of(50) {
            let sum = client.query_one(
                "SELECT sum((result->0->>'n')::int), bool_and(ok)
                 FROM pg_background_fanout(ARRAY(SELECT format('SELECT %s AS n', n) FROM generate_series(1, 20) n))",
                &[],
            );
            match sum {
                Ok(row) if (row.get(0), row.get(1)) == (Some(210_i64), Some(true)) => {}
                Ok(row) => run.fail(format!("{role}: a fan-out gave {row:?}")),
                Err(error) => fail("a fan-out", error),
            }
        }
        if starts.len().is_multiple_of(70) {
            // Ends before it is read: its rows go to a file.
            let count = client.query_one(
                "SELECT count(*) FROM (SELECT h.* FROM pg_background_launch_v2('SELECT t FROM large') h) h,
                    LATERAL (SELECT pg_background_wait_v2(h.pid, h.cookie) IS NULL) w,
                    LATERAL pg_background_result_v2(h.pid, h.cookie) AS (t text)",
                &[],
            );
            match count {
                Ok(row) if row.get::<_, i64>(0) == 20000 => {}
                Ok(row) => run.fail(format!("{role}: a result has {row:?}")),
                Err(error) => fail("a result", error),
            }
        }
        if starts.len().is_multiple_of(200) {
            // Its workers exit: the next job needs a new process.
            pause(Duration::from_millis(3500));
        }
    }
    starts
}

/// The server's own: parallel queries and autovacuum.
pub fn serve(run: &Run) {
    let mut client = run.server.session();
    client
        .batch_execute(
            "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0",
        )
        .expect("set");
    let vacuums = "SELECT coalesce(sum(autovacuum_count + autoanalyze_count), 0)::int8 FROM pg_stat_all_tables";
    let before: i64 = value(&mut client, vacuums);
    let begun = Instant::now();
    while run.goes_on() {
        // Processes that have exited but are not yet reaped can occupy the server's last worker slots for a moment.
        let asked = Instant::now();
        while run.goes_on() && !finds_workers(run, &mut client) {
            if asked.elapsed() > Duration::from_secs(1) {
                run.fail("parallel queries find no workers".into());
            }
            pause(Duration::from_millis(20));
        }
        client
            .batch_execute("UPDATE churn SET n = n + 1")
            .expect("something for autovacuum");
        pause(Duration::from_millis(500));
    }
    let after: i64 = value(&mut client, vacuums);
    println!("worst: autovacuum was there {} times", after - before);
    if after == before && begun.elapsed() > Duration::from_secs(15) {
        run.fail("autovacuum was never there".into());
    }
    let launcher: bool = value(
        &mut client,
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'logical replication launcher')",
    );
    assert!(launcher, "the logical replication launcher has left");
}

/// Whether a parallel query has workers.
fn finds_workers(run: &Run, client: &mut Client) -> bool {
    let plan = client
        .query(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT count(*) FROM large",
            &[],
        )
        .expect("a parallel query");
    let launched = plan
        .iter()
        .map(|row| row.get::<_, &str>(0).trim())
        .find(|line| line.starts_with("Workers Launched"))
        .unwrap_or("not parallel");
    run.count("parallel query", launched);
    ["Workers Launched: 1", "Workers Launched: 2"].contains(&launched)
}

/// The administrator visits the culprit's tables and functions, and ends its jobs now and then.
pub fn administrate(run: &Run) {
    let mut admin = run.server.session();
    let mut rounds = 0_u32;
    while run.goes_on() {
        for visit in [
            "ANALYZE worst.t",
            "REINDEX TABLE worst.t",
            "VACUUM worst.t",
            "SELECT worst.trap()",
            "SELECT pg_background_cancel_all()",
            "SELECT pg_background_detach_all()",
            "SELECT * FROM pg_background_resources_by_role()",
        ] {
            run.note("administrator", admin.batch_execute(visit));
        }
        rounds += 1;
        if rounds.is_multiple_of(5) {
            for (what, function) in [
                ("cancel_role under fire", "pg_background_cancel_role"),
                ("purge_role under fire", "pg_background_purge_role"),
            ] {
                let begun = Instant::now();
                run.note(
                    what,
                    admin.batch_execute(&format!("SELECT {function}('{CULPRIT}')")),
                );
                let took = begun.elapsed();
                if took > Duration::from_secs(10) {
                    run.fail(format!("{what} took {took:?}"));
                }
            }
        }
        pause(Duration::from_millis(500));
    }
}
