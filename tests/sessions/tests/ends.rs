//! A process that prints while its job ends must not write into memory that is no longer the job's.
//!
//! Each test has a server of its own, whose log is checked for crashes when it stops.

use postgres::Client;
use session_tests::*;

/// Prints notices of every level, in the session and so in its jobs.
fn verbose(client: &mut Client, level: &str) {
    client
        .batch_execute(&format!("SET client_min_messages = {level}"))
        .expect("a setting");
}

/// The worker is gone.
fn gone(client: &mut Client, pid: i32) {
    eventually(
        client,
        &format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})"),
    );
}

#[test]
fn a_worker_that_exits_in_a_job_prints_nothing_into_memory_that_is_gone() {
    let server = Server::start("exit-verbose", &[]);
    server.role("chatty");
    let mut control = server.session();
    control
        .batch_execute(
            "CREATE TABLE slow (n int4);
             CREATE FUNCTION sleep_at_commit() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(600); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER sleeps AFTER INSERT ON slow
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep_at_commit();
             GRANT ALL ON slow TO chatty",
        )
        .expect("prepared");
    let jobs = [
        "SELECT pg_sleep(600)",
        "INSERT INTO slow VALUES (1)",
        "DO $$ BEGIN RAISE NOTICE 'said'; PERFORM pg_sleep(600); END $$",
        "SELECT repeat('x', 1000) FROM generate_series(1, 1000) UNION ALL SELECT pg_sleep(600)::text",
    ];
    for level in ["debug5", "debug3", "debug1", "notice"] {
        for sql in jobs {
            let mut leader = server.session_as("chatty");
            verbose(&mut leader, level);
            let handle = launch(&mut leader, sql);
            asleep(&mut leader, handle);
            let pid = worker_of(&mut leader, handle);
            control
                .execute("SELECT pg_terminate_backend($1)", &[&pid])
                .expect("terminated");
            gone(&mut control, pid);
            let result = leader.query(
                "SELECT t::text FROM pg_background_result_v2($1, $2) AS (t text)",
                &[&handle.pid, &handle.cookie],
            );
            assert!(result.is_err(), "{level}, {sql}");
        }
        let mut leader = server.session_as("chatty");
        verbose(&mut leader, level);
        let suicide = try_run(
            &mut leader,
            "SELECT pg_terminate_backend(pg_backend_pid())::text",
        );
        assert_eq!(sqlstate(suicide), "57P01", "{level}");
    }
    nothing_is_left(&mut control);
}

#[test]
fn a_worker_that_waits_for_its_reader_can_exit_while_it_prints_everything() {
    let server = Server::start("exit-sending", &[]);
    let mut control = server.session();
    for level in ["debug5", "debug3"] {
        let mut leader = server.session();
        verbose(&mut leader, level);
        let handle = launch(
            &mut leader,
            "SELECT repeat('x', 1000)::text FROM generate_series(1, 1000000)",
        );
        let pid = handle.pid;
        let killer = {
            let mut client = server.session();
            std::thread::spawn(move || {
                eventually(
                    &mut client,
                    "(SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_background_result_v2%' AND pid <> pg_backend_pid())",
                );
                client
                    .execute("SELECT pg_terminate_backend($1)", &[&pid])
                    .expect("terminated");
            })
        };
        assert_eq!(
            sqlstate(leader.query(
                "SELECT count(*) FROM pg_background_result_v2($1, $2) AS (t text)",
                &[&handle.pid, &handle.cookie],
            )),
            "57P01"
        );
        killer.join().expect("terminated");
        gone(&mut control, pid);
    }
    nothing_is_left(&mut control);
}

#[test]
fn a_server_with_chatty_jobs_shuts_down_in_order() {
    let server = Server::start("shutdown-verbose", &[]);
    server.role("chatty");
    let mut leaders: Vec<_> = ["debug5", "debug3", "debug2"]
        .into_iter()
        .map(|level| {
            let mut leader = server.session_as("chatty");
            verbose(&mut leader, level);
            let handle = launch(&mut leader, "SELECT pg_sleep(600)");
            asleep(&mut leader, handle);
            leader
        })
        .collect();
    server.stop();
    let log = server.log();
    assert!(log.contains("database system is shut down"), "{log}");
    assert!(!log.contains("abnormal database system shutdown"), "{log}");
    assert!(
        leaders
            .iter_mut()
            .all(|leader| leader.is_closed() || leader.batch_execute("").is_err())
    );
}

#[test]
fn a_worker_whose_job_was_refused_writes_into_nobody_elses_block() {
    let server = Server::start("refused-verbose", &["pg_background.max_pool_workers=1"]);
    server.role("chatty");
    let mut control = server.session();
    control
        .batch_execute("ALTER ROLE chatty SET client_min_messages = debug2")
        .expect("a setting");
    let mut refused = 0;
    for round in 0..200_u64 {
        let mut leader = server.session_as("chatty");
        // The worker's messages about a first job that is canceled before it has begun would go into a ring
        // that lies where the text of the second job is.
        let first: (i32, i64) = {
            let row = leader
                .query_one(
                    "SELECT pid, cookie FROM pg_background_launch_v2('SELECT 1', 131072)",
                    &[],
                )
                .expect("launched");
            (row.get(0), row.get(1))
        };
        if round % 2 == 0 {
            pause(std::time::Duration::from_micros(round * 20));
        }
        let handle = Handle {
            pid: first.0,
            cookie: first.1,
        };
        call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
        if let Err(error) = try_result(&mut leader, handle) {
            let detail = error.as_db_error().and_then(|error| error.detail());
            refused += i32::from(detail == Some("The job was canceled before it began."));
        }
        // The failed read has kept the job or detached it.
        let _ = call(&mut leader, "pg_background_detach_v2", handle);
        let text = "x".repeat(65_000);
        let row = leader
            .query_one(
                "SELECT pid, cookie FROM pg_background_launch_v2($1, 65536)",
                &[&format!("SELECT md5('{text}')")],
            )
            .expect("launched");
        let second = Handle {
            pid: row.get(0),
            cookie: row.get(1),
        };
        let expected: String = leader
            .query_one("SELECT md5($1)", &[&text])
            .expect("the session goes on")
            .get(0);
        assert_eq!(
            try_result(&mut leader, second).expect("its own text is run"),
            [Some(expected)]
        );
        // The next round needs a new process, whose first job can be canceled before it begins.
        eventually(
            &mut control,
            "(SELECT workers_busy = 0 AND workers_starting = 0 FROM pg_background_resources())",
        );
        control
            .batch_execute("SELECT pg_background_retire_idle()")
            .expect("sent home");
        gone(&mut control, second.pid);
    }
    assert!(refused > 0, "no cancel came in time");
    nothing_is_left(&mut control);
}

#[test]
fn a_session_that_ends_while_it_reads_prints_nothing_into_memory_that_is_gone() {
    let server = Server::start("reader-verbose", &[]);
    server.role("chatty");
    let mut control = server.session();
    let pid_of = |leader: &mut Client| value::<i32>(leader, "SELECT pg_backend_pid()");
    let open_cursor = |leader: &mut Client| {
        leader
            .batch_execute(
                "BEGIN; CREATE TEMP TABLE h AS SELECT * FROM pg_background_launch_v2(
                    'SELECT repeat(''x'', 1000) FROM generate_series(1, 100000)');
                 DECLARE c CURSOR FOR SELECT pg_background_result_json(pid, cookie) FROM h;
                 FETCH 3 FROM c",
            )
            .expect("a cursor");
    };
    for level in ["debug5", "debug2"] {
        // The session ends, orderly or not, with a cursor that has taken a row.
        let mut leader = server.session_as("chatty");
        verbose(&mut leader, level);
        open_cursor(&mut leader);
        let pid = pid_of(&mut leader);
        drop(leader);
        gone(&mut control, pid);

        let mut leader = server.session_as("chatty");
        verbose(&mut leader, level);
        open_cursor(&mut leader);
        let pid = pid_of(&mut leader);
        control
            .execute("SELECT pg_terminate_backend($1)", &[&pid])
            .expect("terminated");
        gone(&mut control, pid);

        // The job is detached in the middle, the rest of its result is dropped, and the session goes on.
        let mut leader = server.session_as("chatty");
        verbose(&mut leader, level);
        open_cursor(&mut leader);
        leader
            .batch_execute("SELECT pg_background_detach_v2(pid, cookie) FROM h")
            .expect("detached");
        let rest = leader.batch_execute("FETCH 3 FROM c");
        assert_eq!(sqlstate(rest), "42704");
        leader.batch_execute("ROLLBACK").expect("rolled back");
        assert_eq!(run(&mut leader, "SELECT 'on'").as_deref(), Some("on"));
        drop(leader);

        // In the middle of reading everything.
        let mut leader = server.session_as("chatty");
        verbose(&mut leader, level);
        let handle = launch(
            &mut leader,
            "SELECT 'x' UNION ALL SELECT pg_sleep(600)::text",
        );
        asleep(&mut leader, handle);
        let pid = pid_of(&mut leader);
        let mut killer = server.session();
        let killer = std::thread::spawn(move || {
            eventually(
                &mut killer,
                &format!(
                    "(SELECT query LIKE '%result_v2%' AND state = 'active' FROM pg_stat_activity WHERE pid = {pid})"
                ),
            );
            killer
                .execute("SELECT pg_terminate_backend($1)", &[&pid])
                .expect("terminated");
        });
        assert!(try_result(&mut leader, handle).is_err());
        killer.join().expect("terminated");
        gone(&mut control, pid);
        control
            .execute("SELECT pg_terminate_backend($1)", &[&handle.pid])
            .expect("the job too");
        gone(&mut control, handle.pid);
    }
    nothing_is_left(&mut control);
}

#[test]
fn no_backtrace_reaches_a_client() {
    let server = Server::start_in("backtrace", &[], "RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=1");
    let mut leader = server.session();
    let failing = [
        "SELECT pg_background_detach_v2(1, 1)",
        "SELECT * FROM pg_background_launch_v2('SELECT 1') h, pg_background_result_v2(h.pid, h.cookie) AS (a int, b int)",
        "SELECT * FROM pg_background_launch_v2('SELECT 1/0') h, pg_background_result_v2(h.pid, h.cookie) AS (a int)",
        "SELECT pg_background_launch_v2('SELECT 1', 1)",
        // Errors of the server that pass through Rust.
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         SELECT * FROM pg_background_launch_v2('SELECT -1') h, pg_background_result_v2(h.pid, h.cookie) AS (a positive)",
        "SET statement_timeout = '300ms';
         SELECT pg_background_wait_v2(pid, cookie)
         FROM pg_background_launch_v2('SET statement_timeout = 0; SELECT pg_sleep(600)')",
    ];
    for sql in failing {
        let error = leader.batch_execute(sql).expect_err("it fails");
        let error = error.as_db_error().expect("an error of the server");
        let detail = error.detail().unwrap_or_default();
        assert!(
            !detail.contains("pg_background::") && !detail.contains("   0: "),
            "{sql}: {detail}"
        );
    }
    for row in leader
        .query("SELECT * FROM pg_background_fanout(ARRAY['SELECT 1/0', 'SELECT repeat(''x'', -1)::int'])", &[])
        .expect("rows")
    {
        let message: Option<String> = row.get("error_message");
        assert!(!message.unwrap_or_default().contains("   0: "));
    }
}
