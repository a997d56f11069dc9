//! A process without memory: each allocation of a call, and of a job, is in turn the first that fails, and all after it.
//!
//! What is asked of it: the call is refused (53200), or the session ends with that; the server goes on, and neither a
//! job nor a lock of the server is left.

use postgres::Client;
use session_tests::{NOTHING_IS_LEFT, Server, eventually, run, value};

const PREPARE: &str = "
    CREATE TABLE victim (number int4);
    CREATE FUNCTION pgb_fault_no_memory(int4) RETURNS void LANGUAGE c STRICT
        AS '$libdir/pg_background', 'pgb_fault_no_memory'";

/// What a session does without memory, in a transaction that has locked a table. `j` is a job that has ended with rows,
/// and `c` has read one of them.
const CALLS: [&str; 8] = [
    "SELECT pg_background_launch_v2('SELECT 1')",
    "SELECT pg_background_detach_v2(h.pid, h.cookie) FROM pg_background_submit_v2('SELECT 1') h",
    // More than there is room for in what the session knows already.
    "SELECT count(pg_background_submit_v2('SELECT 1')) FROM generate_series(1, 12)",
    "SELECT count(*) FROM j, pg_background_result_json(j.pid, j.cookie)",
    "FETCH ALL FROM c",
    "SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 1/0', 'SELECT 2'])",
    "SELECT pg_background_run('SELECT 1/0')",
    "SELECT pg_background_cancel_by_label('x%', 0)",
];

/// What a job does after its process has no memory.
const JOBS: [&str; 4] = [
    "SELECT 1/0",
    "SELECT generate_series(1, 1000)",
    "DO $$ BEGIN RAISE NOTICE 'one'; RAISE EXCEPTION 'two'; END $$",
    "SELECT r FROM pg_background_launch_v2('SELECT 1') h, pg_background_result(h.pid, h.cookie) AS (r int)",
];

/// More than a call has.
const MOST: i32 = 600;

fn session_fails(server: &Server, call: &str, after: i32) -> bool {
    let mut session = server.session();
    session
        .batch_execute(
            "CREATE TEMP TABLE j AS SELECT * FROM pg_background_launch_v2('SELECT generate_series(1, 3)');
             CREATE TEMP TABLE k AS TABLE j;
             UPDATE k SET (pid, cookie) = (SELECT pid, cookie FROM pg_background_launch_v2('SELECT generate_series(1, 3)'));
             SELECT pg_background_wait_v2(pid, cookie) FROM (TABLE j UNION TABLE k) both_jobs;
             BEGIN; LOCK TABLE victim;
             DECLARE c CURSOR FOR SELECT pg_background_result_json(pid, cookie) FROM k;
             FETCH 1 FROM c",
        )
        .expect("prepared");
    let done = session.batch_execute(&format!("SELECT pgb_fault_no_memory({after}); {call}"));
    let Err(error) = done else {
        return false;
    };
    // If the session ends, the client may notice that before it reads why.
    let code = error.code().map(|code| code.code().to_owned());
    assert!(
        error.is_closed() || code.as_deref() == Some("53200"),
        "{call}, {after}: {error:?}"
    );
    true
}

fn nobody_holds_anything(witness: &mut Client, title: &str) {
    println!("  {title}");
    eventually(witness, NOTHING_IS_LEFT);
    eventually(
        witness,
        "NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'victim'::regclass)",
    );
}

/// # Panics
/// When the server does not go on, or something is left.
pub fn from_each_allocation_on() {
    let server = Server::start("no-memory", &["pg_background.max_pool_workers=2"]);
    let mut witness = server.session();
    witness.batch_execute(PREPARE).expect("prepared");
    let started: String = value(&mut witness, "SELECT pg_postmaster_start_time()::text");
    for call in CALLS {
        let has = (0..MOST).find(|&after| !session_fails(&server, call, after));
        nobody_holds_anything(&mut witness, &format!("{has:?} allocations: {call}"));
        assert!(has.is_some(), "it never succeeds: {call}");
    }
    let mut session = server.session();
    for job in JOBS {
        for after in 0..60 {
            // A fresh process for each.
            let _: i32 = value(&mut session, "SELECT pg_background_retire_idle()");
            let _: Option<bool> = value(
                &mut session,
                &format!(
                    "SELECT (pg_background_run($job$SELECT pgb_fault_no_memory({after}); {job}$job$)).has_error"
                ),
            );
        }
        nobody_holds_anything(&mut witness, &format!("a job: {job}"));
    }
    let _: i32 = value(&mut session, "SELECT pg_background_retire_idle()");
    assert_eq!(run(&mut session, "SELECT 1").as_deref(), Some("1"));
    let still: String = value(&mut witness, "SELECT pg_postmaster_start_time()::text");
    assert_eq!(still, started, "the server was restarted");
}
