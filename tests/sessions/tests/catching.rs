//! A job that catches its cancel: how often the cancel is thrown, and how the job ends.
//!
//! Sequences (`caught` and others) show at once, without a commit, what a job has done.

use postgres::Client;
use session_tests::*;
use std::time::Duration;

const SCHEMA: &str = "CREATE TABLE t (n int4); CREATE SEQUENCE caught; CREATE SEQUENCE also; CREATE SEQUENCE halt; CREATE TABLE locked ();
    CREATE FUNCTION catch_and(handler text, work text DEFAULT 'SELECT pg_sleep(600)') RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO t VALUES (0);
        BEGIN EXECUTE work;
        EXCEPTION WHEN query_canceled THEN PERFORM nextval('caught'); EXECUTE handler; END;
        INSERT INTO t VALUES (2);
    END $$";

/// Catches every cancel, and ends when it is told to by [`halt`].
const COUNTS: &str = "DO $$ BEGIN LOOP
    BEGIN EXIT WHEN (SELECT last_value FROM halt) = 2; PERFORM pg_sleep(0.5);
    EXCEPTION WHEN query_canceled THEN PERFORM nextval('caught'); END;
END LOOP; END $$";

fn session(database: &Database) -> Client {
    let mut session = database.session();
    session.batch_execute(SCHEMA).expect("a schema");
    session
}

fn times(client: &mut Client, sequence: &str) -> i64 {
    value(
        client,
        &format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"),
    )
}

fn rows(client: &mut Client) -> i64 {
    value(client, "SELECT count(*) FROM t")
}

fn cancel(client: &mut Client, handle: Handle) {
    call(client, "pg_background_cancel_v2", handle).expect("canceled");
}

/// State, SQLSTATE and message of a job that has ended or will end; detaches it.
fn end_of(client: &mut Client, handle: Handle) -> (String, String, String) {
    call(client, "pg_background_wait_v2", handle).expect("waited for");
    let row = client
        .query_one(
            "SELECT state, coalesce(sqlstate, ''), coalesce(error_message, '') FROM pg_background_outcome($1, $2)",
            &[&handle.pid, &handle.cookie],
        )
        .expect("an outcome");
    call(client, "pg_background_detach_v2", handle).expect("detached");
    (row.get(0), row.get(1), row.get(2))
}

/// As [`end_of`], without the message.
fn how(client: &mut Client, handle: Handle) -> String {
    let (state, sqlstate, _) = end_of(client, handle);
    format!("{state} {sqlstate}")
}

/// Launches a job that sleeps, and cancels it.
fn cancel_asleep(client: &mut Client, sql: &str) -> String {
    let handle = launch(client, sql);
    asleep(client, handle);
    cancel(client, handle);
    how(client, handle)
}

fn halt(client: &mut Client) {
    client
        .execute("SELECT setval('halt', 2)", &[])
        .expect("told to halt");
}

#[test]
fn a_handler_cleans_up_and_commits() {
    let database = Database::new();
    let mut leader = session(&database);
    let sql = "SELECT catch_and('INSERT INTO t SELECT 1 FROM pg_sleep(0.2)')";
    let handle = launch(&mut leader, sql);
    asleep(&mut leader, handle);
    cancel(&mut leader, handle);
    assert_eq!(how(&mut leader, handle), "stopped ");
    assert_eq!(rows(&mut leader), 3);
    assert_eq!(times(&mut leader, "caught"), 1);
    // The worker lives on.
    let pid = run(&mut leader, "SELECT pg_backend_pid()");
    assert_eq!(pid, Some(handle.pid.to_string()));
    // With a grace that is long enough.
    let handle = launch(&mut leader, sql);
    asleep(&mut leader, handle);
    leader
        .execute(
            "SELECT pg_background_cancel_v2_grace($1, $2, 20000)",
            &[&handle.pid, &handle.cookie],
        )
        .expect("canceled");
    assert_eq!(state(&mut leader, handle), "stopped");
    assert_eq!(how(&mut leader, handle), "stopped ");
    assert_eq!(rows(&mut leader), 6);
    for call in [
        "pg_background_cancel_all()",
        "pg_background_cancel_by_label('it')",
        "pg_background_cancel_by_label('it', 20000)",
    ] {
        let row = leader
            .query_one(
                "SELECT pid, cookie FROM pg_background_launch($1, 0, 'it')",
                &[&sql],
            )
            .expect("launched");
        let handle = Handle {
            pid: row.get(0),
            cookie: row.get(1),
        };
        asleep(&mut leader, handle);
        assert_eq!(value::<i32>(&mut leader, &format!("SELECT {call}")), 1);
        assert_eq!(how(&mut leader, handle), "stopped ", "{call}");
    }
    nothing_is_left(&mut leader);
}

#[test]
fn one_cancel_is_thrown_once_and_another_again() {
    let database = Database::new();
    let mut leader = session(&database);
    let handle = launch(&mut leader, COUNTS);
    asleep(&mut leader, handle);
    for round in 1..=200 {
        cancel(&mut leader, handle);
        eventually(
            &mut leader,
            &format!("(SELECT last_value = {round} AND is_called FROM caught)"),
        );
        pause(Duration::from_micros(round * 37 % 3000));
        assert_eq!(times(&mut leader, "caught"), round as i64, "given twice");
    }
    assert_eq!(state(&mut leader, handle), "running");
    halt(&mut leader);
    assert_eq!(how(&mut leader, handle), "stopped ");
    assert_eq!(times(&mut leader, "caught"), 200);
}

#[test]
fn cancels_that_come_before_the_first_is_thrown_are_one() {
    let database = Database::new();
    let mut leader = session(&database);
    let handle = launch(&mut leader, COUNTS);
    asleep(&mut leader, handle);
    for round in 1..=20 {
        signal(handle.pid, Signal::STOP);
        for _ in 0..3 {
            cancel(&mut leader, handle);
        }
        signal(handle.pid, Signal::CONT);
        eventually(
            &mut leader,
            &format!("(SELECT last_value >= {round} AND is_called FROM caught)"),
        );
        pause(Duration::from_millis(30));
        assert_eq!(times(&mut leader, "caught"), round);
    }
    halt(&mut leader);
    assert_eq!(how(&mut leader, handle), "stopped ");
}

#[test]
fn a_storm_of_cancels_is_neither_lost_nor_multiplied() {
    let database = Database::new();
    let mut leader = session(&database);
    let mut asked = 0;
    for round in 0..40 {
        let handle = launch(&mut leader, COUNTS);
        asleep(&mut leader, handle);
        for each in 0..50 {
            cancel(&mut leader, handle);
            asked += 1;
            pause(Duration::from_micros(round * each % 300));
        }
        let before = times(&mut leader, "caught");
        assert!(before <= asked, "{before} of {asked}");
        // The last one comes while the job sleeps, unless one before came where the job does not catch it.
        if state(&mut leader, handle) == "running" {
            pause(Duration::from_millis(1));
            cancel(&mut leader, handle);
            asked += 1;
            eventually(
                &mut leader,
                &format!(
                    "((SELECT is_called AND last_value > {before} FROM caught)
                      OR 'canceled' = (SELECT state FROM pg_background_outcome({}, {})))",
                    handle.pid, handle.cookie
                ),
            );
            call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
            asked += 1;
        }
        leader
            .execute(
                "SELECT pg_background_cancel_v2($1, $2, 1)",
                &[&handle.pid, &handle.cookie],
            )
            .expect("canceled");
        asked += 1;
        let how = how(&mut leader, handle);
        assert!(how.starts_with("canceled 57"), "{how}");
    }
    let caught = times(&mut leader, "caught");
    assert!((1..=asked).contains(&caught), "{caught} of {asked}");
    nothing_is_left(&mut leader);
}

#[test]
fn what_ends_the_job_decides_how_it_ended() {
    let database = Database::new();
    let mut leader = session(&database);
    let cases = [
        // The handler fails.
        ("SELECT 1 / 0", "error 22012"),
        ("INSERT INTO nowhere VALUES (1)", "error 42P01"),
        // It passes the cancel on.
        (
            "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''query_canceled'', MESSAGE = ''canceling statement due to user request''; END'",
            "canceled 57014",
        ),
        // An error of its own that has the same code.
        (
            "DO 'BEGIN RAISE EXCEPTION ''mine'' USING ERRCODE = ''query_canceled''; END'",
            "error 57014",
        ),
        // A cancel from another session, which has the same text.
        (
            "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(600)",
            "error 57014",
        ),
        ("SELECT 1", "stopped "),
    ];
    for (handler, wanted) in cases {
        leader.batch_execute("TRUNCATE t").expect("truncated");
        let quoted = handler.replace('\'', "''");
        let found = cancel_asleep(&mut leader, &format!("SELECT catch_and('{quoted}')"));
        assert_eq!(found, wanted, "{handler}");
        let committed = if wanted == "stopped " { 2 } else { 0 };
        assert_eq!(rows(&mut leader), committed, "{handler}");
    }
    let passed_on = "DO $$ BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE; END; END $$";
    assert_eq!(cancel_asleep(&mut leader, passed_on), "canceled 57014");
    let not_caught = "DO $$ BEGIN BEGIN BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN division_by_zero THEN NULL; END;
        EXCEPTION WHEN OTHERS THEN NULL; END; END $$";
    assert_eq!(cancel_asleep(&mut leader, not_caught), "canceled 57014");
    // Nobody has canceled these.
    for sql in [
        "DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to user request' USING ERRCODE = 'query_canceled'; END $$",
        "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(600)",
        "SET statement_timeout = 20; SELECT pg_sleep(600)",
    ] {
        let handle = launch(&mut leader, sql);
        assert_eq!(how(&mut leader, handle), "error 57014", "{sql}");
    }
    // A cancel before its statement times out, and one that the job has caught before.
    let sql = "SET statement_timeout = '1s'; SELECT catch_and('SELECT pg_sleep(600)')";
    let handle = launch(&mut leader, sql);
    asleep(&mut leader, handle);
    cancel(&mut leader, handle);
    let (state, _, message) = end_of(&mut leader, handle);
    assert_eq!(state, "error");
    assert_eq!(message, "canceling statement due to statement timeout");
    nothing_is_left(&mut leader);
}

#[test]
fn a_handler_is_canceled_by_the_next_cancel_only() {
    let database = Database::new();
    let mut leader = session(&database);
    let handle = launch(
        &mut leader,
        "SELECT catch_and('SELECT catch_and(''SELECT pg_sleep(600)'')')",
    );
    for round in 1..=2 {
        asleep(&mut leader, handle);
        cancel(&mut leader, handle);
        eventually(
            &mut leader,
            &format!("(SELECT last_value = {round} AND is_called FROM caught)"),
        );
    }
    asleep(&mut leader, handle);
    assert_eq!(cancel_and_forget(&mut leader, handle), "canceled");
    assert_eq!(rows(&mut leader), 0);
}

/// While its process is stopped, the job reaches a time limit and is canceled.
#[test]
fn a_limit_that_is_reached_in_the_moment_of_a_cancel_does_not_hide_it() {
    let database = Database::new();
    let mut leader = session(&database);
    let mut other = database.session();
    let mut locks = other.transaction().expect("a transaction");
    locks.batch_execute("LOCK TABLE locked").expect("a lock");
    let cases = [
        // The job catches the limit, and the cancel comes in the handler.
        (
            "SET lock_timeout = 300; DO $$ BEGIN BEGIN LOCK TABLE locked; EXCEPTION WHEN lock_not_available THEN
                PERFORM pg_sleep(600); END; END $$",
            "canceled 57014",
        ),
        (
            "SET lock_timeout = 300; DO $$ BEGIN
                BEGIN LOCK TABLE locked; EXCEPTION WHEN lock_not_available THEN PERFORM pg_sleep(600); END;
             EXCEPTION WHEN query_canceled THEN PERFORM nextval('caught'), pg_sleep(0.1); END $$",
            "stopped ",
        ),
        (
            "SET statement_timeout = 300; DO $$ BEGIN BEGIN LOCK TABLE locked; EXCEPTION WHEN query_canceled THEN
                PERFORM pg_sleep(600); END; END $$",
            "canceled 57014",
        ),
        // It is not.
        ("SET lock_timeout = 300; LOCK TABLE locked", "error 55P03"),
        ("SET statement_timeout = 300; LOCK TABLE locked", "error 57014"),
    ];
    for (sql, wanted) in cases {
        let handle = launch(&mut leader, sql);
        eventually(
            &mut leader,
            &format!(
                "(SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {})",
                handle.pid
            ),
        );
        signal(handle.pid, Signal::STOP);
        pause(Duration::from_millis(400));
        cancel(&mut leader, handle);
        signal(handle.pid, Signal::CONT);
        assert_eq!(how(&mut leader, handle), wanted, "{sql}");
    }
    assert_eq!(times(&mut leader, "caught"), 1);
}

#[test]
fn a_procedure_that_commits_is_canceled_between_its_transactions() {
    let database = Database::new();
    let mut leader = session(&database);
    leader
        .batch_execute(
            "CREATE PROCEDURE works(catches bool) LANGUAGE plpgsql AS $$
             BEGIN LOOP
                INSERT INTO t VALUES (1);
                COMMIT;
                IF catches THEN
                    BEGIN PERFORM pg_sleep(0.001); EXCEPTION WHEN query_canceled THEN
                        PERFORM nextval('caught'); INSERT INTO t VALUES (2); EXIT;
                    END;
                END IF;
             END LOOP; COMMIT; END $$",
        )
        .expect("a procedure");
    for round in 0..30 {
        leader.batch_execute("TRUNCATE t").expect("truncated");
        let handle = launch(&mut leader, "CALL works(false)");
        eventually(&mut leader, "(SELECT count(*) > 2 FROM t)");
        pause(Duration::from_micros(round * 97));
        cancel(&mut leader, handle);
        assert_eq!(how(&mut leader, handle), "canceled 57014");
        assert!(rows(&mut leader) > 2);
    }
    let mut stopped = 0;
    for round in 0..30 {
        leader.batch_execute("TRUNCATE t").expect("truncated");
        let handle = launch(&mut leader, "CALL works(true)");
        eventually(&mut leader, "(SELECT count(*) > 2 FROM t)");
        pause(Duration::from_micros(round * 97));
        cancel(&mut leader, handle);
        let cleaned = "SELECT count(*) FROM t WHERE n = 2";
        match how(&mut leader, handle).as_str() {
            "stopped " => {
                stopped += 1;
                assert_eq!(value::<i64>(&mut leader, cleaned), 1);
            }
            // The cancel came outside of the block.
            "canceled 57014" => assert_eq!(value::<i64>(&mut leader, cleaned), 0),
            other => panic!("{other}"),
        }
    }
    assert!(stopped > 0, "no cancel met the block");
    nothing_is_left(&mut leader);
}

#[test]
fn work_deferred_until_the_commit_is_canceled_or_catches() {
    let database = Database::new();
    let mut leader = session(&database);
    leader
        .batch_execute(
            "CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
             CREATE FUNCTION catches() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(600); RETURN NULL;
             EXCEPTION WHEN query_canceled THEN INSERT INTO t VALUES (3); RETURN NULL; END $$;
             CREATE TABLE one (n int4); CREATE TABLE two (n int4);
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON one INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleeps();
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON two INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION catches();
             CREATE PROCEDURE commits_before() LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO t VALUES (7); COMMIT; INSERT INTO one VALUES (1); END $$",
        )
        .expect("triggers");
    assert_eq!(
        cancel_asleep(&mut leader, "INSERT INTO one VALUES (1)"),
        "canceled 57014"
    );
    assert_eq!(
        value::<i64>(&mut leader, "SELECT count(*) FROM one"),
        0,
        "it has aborted"
    );
    assert_eq!(
        cancel_asleep(&mut leader, "INSERT INTO two VALUES (1)"),
        "stopped "
    );
    assert_eq!(rows(&mut leader), 1);
    assert_eq!(
        cancel_asleep(&mut leader, "CALL commits_before()"),
        "canceled 57014"
    );
    assert_eq!(rows(&mut leader), 2);
}

#[test]
fn the_end_of_the_grace_ends_the_process_of_a_job_that_goes_on() {
    let database = Database::new();
    let mut leader = session(&database);
    let handle = launch(&mut leader, COUNTS);
    asleep(&mut leader, handle);
    leader
        .execute(
            "SELECT pg_background_cancel_v2_grace($1, $2, 300)",
            &[&handle.pid, &handle.cookie],
        )
        .expect("canceled");
    assert_eq!(state(&mut leader, handle), "canceled");
    assert_eq!(how(&mut leader, handle), "canceled 57P01");
    assert_eq!(
        times(&mut leader, "caught"),
        1,
        "given twice within the grace"
    );
    // Terminated by another session, long after it has caught its cancel.
    let handle = launch(&mut leader, COUNTS);
    asleep(&mut leader, handle);
    cancel(&mut leader, handle);
    eventually(&mut leader, "(SELECT last_value = 2 FROM caught)");
    leader
        .execute("SELECT pg_terminate_backend($1)", &[&handle.pid])
        .expect("terminated");
    assert_eq!(how(&mut leader, handle), "error 57P01");
}

#[test]
fn a_job_that_has_caught_its_cancel_goes_on_without_its_session() {
    let database = Database::new();
    let mut leader = session(&database);
    let mut observer = database.session();
    let handle = launch(&mut leader, "SELECT catch_and('SELECT pg_sleep(0.5)')");
    asleep(&mut leader, handle);
    cancel(&mut leader, handle);
    drop(leader);
    eventually(&mut observer, "(SELECT count(*) = 2 FROM t)");
    assert_eq!(times(&mut observer, "caught"), 1);
    nothing_is_left(&mut observer);
}

#[test]
fn an_insistent_cancel_is_thrown_until_the_job_ends() {
    let server = Server::start("insists", &[]);
    server.role("culprit");
    let mut admin = server.session();
    admin.batch_execute(SCHEMA).expect("a schema");
    admin
        .batch_execute("GRANT ALL ON t, caught TO PUBLIC")
        .expect("rights");
    let once = "SELECT catch_and('SELECT pg_sleep(600)')";
    let stubborn = "DO $$ BEGIN LOOP
        BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN PERFORM nextval('caught'); END;
    END LOOP; END $$";
    let ended = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background' AND state = 'active')";
    for job in [once, stubborn] {
        let quoted = job.replace('\'', "''");
        let mut leader = server.session();
        // A limit of time.
        let state: String = value(
            &mut leader,
            &format!("SELECT state FROM pg_background_run('{quoted}', timeout_ms => 200)"),
        );
        assert_eq!(state, "canceled");
        eventually(&mut admin, ended);
        let error = leader.batch_execute(&format!(
            "SELECT * FROM pg_background_run_query('{quoted}', timeout_ms => 200) AS (v text)"
        ));
        assert_eq!(sqlstate(error), "57014");
        eventually(&mut admin, ended);
        let code: String = value(
            &mut leader,
            &format!(
                "SELECT sqlstate FROM pg_background_fanout(ARRAY['{quoted}'], timeout_ms => 200)"
            ),
        );
        assert_eq!(code, "57014");
        eventually(&mut admin, ended);
        // A fan-out that ends.
        leader
            .batch_execute(&format!(
                "SELECT pg_background_fanout(ARRAY['SELECT FROM pg_sleep(0.2)', '{quoted}']) LIMIT 1"
            ))
            .expect("a row");
        eventually(&mut admin, ended);
        // A call that is interrupted.
        let interrupted = leader.batch_execute(&format!(
            "SET statement_timeout = 300; SELECT pg_background_run('SET statement_timeout = 0; {quoted}')"
        ));
        assert_eq!(sqlstate(interrupted), "57014");
        eventually(&mut admin, ended);
        // The jobs of a role.
        let mut culprit = server.session_as("culprit");
        let handle = launch(&mut culprit, job);
        asleep(&mut culprit, handle);
        let count: i32 = value(&mut admin, "SELECT pg_background_cancel_role('culprit', 0)");
        assert_eq!(count, 1);
        let (state, _, _) = end_of(&mut culprit, handle);
        assert_eq!(state, "canceled");
        eventually(&mut admin, ended);
    }
    assert_eq!(rows(&mut admin), 0, "the work of a handler was committed");
    nothing_is_left(&mut admin);
}

#[test]
fn the_limit_of_a_job_ends_one_that_catches_it() {
    let database = Database::new();
    let mut leader = session(&database);
    leader
        .batch_execute("LOAD 'pg_background'; SET pg_background.worker_timeout = 200")
        .expect("a limit");
    let once = launch(&mut leader, "SELECT catch_and('SELECT pg_sleep(600)')");
    let stubborn = launch(
        &mut leader,
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
    );
    let (state, _, message) = end_of(&mut leader, once);
    assert_eq!(state, "error");
    assert_eq!(message, "canceling statement due to statement timeout");
    assert_eq!(how(&mut leader, stubborn), "error 57P01");
    assert_eq!(rows(&mut leader), 0);
    // A limit of its own that the text sets, and catches, does not take its place.
    let handle = launch(
        &mut leader,
        "SET statement_timeout = 50; SELECT catch_and('SELECT pg_sleep(600)')",
    );
    let (_, _, message) = end_of(&mut leader, handle);
    assert_eq!(message, "canceling statement due to statement timeout");
    // It applies to the commit too; a statement's limit does not.
    leader
        .batch_execute(
            "CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
             CREATE TABLE one (n int4);
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON one INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleeps()",
        )
        .expect("a trigger");
    let handle = launch(&mut leader, "INSERT INTO one VALUES (1)");
    assert_eq!(how(&mut leader, handle), "error 57014");
    leader
        .batch_execute("RESET pg_background.worker_timeout")
        .expect("no limit");
    let handle = launch(
        &mut leader,
        "SET statement_timeout = 200; INSERT INTO one VALUES (1)",
    );
    assert_eq!(how(&mut leader, handle), "stopped ");
    // The next job of that worker has none.
    assert_eq!(
        run(&mut leader, "SELECT 'late' FROM pg_sleep(0.5)"),
        Some(String::from("late"))
    );
    nothing_is_left(&mut leader);
}

#[test]
fn a_cancel_while_subtransactions_abort_is_thrown_once() {
    let database = Database::new();
    let mut leader = session(&database);
    let aborts = "DO $$ BEGIN LOOP
        BEGIN INSERT INTO t VALUES (1); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN PERFORM nextval('also'); END;
    END LOOP; END $$";
    for round in 0..100 {
        let before = times(&mut leader, "also");
        let handle = launch(&mut leader, aborts);
        eventually(
            &mut leader,
            &format!("(SELECT last_value > {before} FROM also)"),
        );
        pause(Duration::from_micros(round * 53 % 1500));
        cancel(&mut leader, handle);
        assert_eq!(how(&mut leader, handle), "canceled 57014");
    }
    let catches = "DO $$ BEGIN
        WHILE (SELECT last_value FROM halt) = 1 LOOP BEGIN
            BEGIN INSERT INTO t VALUES (1); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN PERFORM nextval('also'); END;
        EXCEPTION WHEN query_canceled THEN PERFORM nextval('caught'); END; END LOOP; END $$";
    let handle = launch(&mut leader, catches);
    let before = times(&mut leader, "also");
    eventually(
        &mut leader,
        &format!("(SELECT last_value > {before} FROM also)"),
    );
    let mut given = 0;
    for round in 1..=100 {
        cancel(&mut leader, handle);
        given = round;
        let told = format!("(SELECT last_value = {round} AND is_called FROM caught)");
        // The cancel may have come outside of the block.
        eventually(
            &mut leader,
            &format!(
                "({told} OR 'canceled' = (SELECT state FROM pg_background_outcome({}, {})))",
                handle.pid, handle.cookie
            ),
        );
        if state(&mut leader, handle) == "canceled" {
            break;
        }
    }
    halt(&mut leader);
    let how = how(&mut leader, handle);
    assert!(how == "stopped " || how == "canceled 57014", "{how}");
    let caught = times(&mut leader, "caught");
    assert!(
        caught == given || caught == given - 1,
        "{caught} of {given}"
    );
    nothing_is_left(&mut leader);
}

/// The server's own state is consistent whenever an error is raised again.
#[test]
fn a_cancel_that_is_raised_again_finds_no_half_aborted_subtransaction() {
    let server = Server::start("raised-again", &["log_min_messages=warning"]);
    let mut leader = server.session();
    leader.batch_execute(SCHEMA).expect("a schema");
    leader
        .batch_execute("SET client_min_messages = debug5")
        .expect("a level");
    let once = "SELECT catch_and('SELECT pg_sleep(600)')";
    let nested = "SELECT catch_and('SELECT catch_and(''SELECT pg_sleep(600)'')')";
    for job in [once, nested] {
        let ran = leader.query_one(
            "SELECT state FROM pg_background_run($1, timeout_ms => 200)",
            &[&job],
        );
        assert_eq!(ran.expect("a row").get::<_, String>(0), "canceled");
    }
    assert!(
        !server.log().contains("SubTransaction while in"),
        "the server warns"
    );
}

/// A lock blocks the connection of the worker.
#[test]
fn a_job_whose_worker_is_connecting_is_canceled() {
    let server = Server::start("connecting", &["pg_background.worker_idle_timeout=0"]);
    let mut leader = server.session();
    let mut observer = server.session();
    let mut blocker = server.session();
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    // What the sessions need is in their caches.
    for session in [&mut leader, &mut observer] {
        session
            .batch_execute("SELECT pg_background_run('SELECT 1'), count(*) FROM pg_stat_activity")
            .expect("it runs");
    }
    let waiting = "(SELECT count(*) = 1 FROM pg_locks WHERE NOT granted)";
    for grace in [0, 200] {
        for version in ["pg_background_launch_v2", "pg_background_launch"] {
            let mut locks = blocker.transaction().expect("a transaction");
            locks
                .batch_execute("LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE")
                .expect("a lock");
            let launched = leader
                .query_one(
                    &format!("SELECT {version}('INSERT INTO t VALUES (1)')::text"),
                    &[],
                )
                .expect("it has a worker");
            drop(launched);
            let row = leader
                .query_one(
                    "SELECT pid, cookie FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
                        user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool)",
                    &[],
                )
                .expect("the job");
            let handle = Handle {
                pid: row.get(0),
                cookie: row.get(1),
            };
            eventually(&mut observer, waiting);
            leader
                .execute(
                    "SELECT pg_background_cancel_v2($1, $2, $3)",
                    &[&handle.pid, &handle.cookie, &grace],
                )
                .expect("canceled");
            if grace > 0 {
                assert_eq!(state(&mut leader, handle), "canceled", "{version}");
            } else {
                assert_eq!(state(&mut leader, handle), "starting", "{version}");
            }
            locks.rollback().expect("unlocked");
            assert_eq!(
                how(&mut leader, handle),
                "canceled 57014",
                "{version}, {grace}"
            );
            assert_eq!(value::<i64>(&mut leader, "SELECT count(*) FROM t"), 0);
        }
    }
    assert_eq!(run(&mut leader, "SELECT 1"), Some(String::from("1")));
    nothing_is_left(&mut leader);
}
