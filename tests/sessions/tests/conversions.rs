//! Types that change and sessions that are canceled while rows are converted: the server goes on, and an error of
//! something else is not reported as the row's.

use session_tests::*;

const CAST_THAT_WAITS: &str = "CREATE TYPE mood AS ENUM ('bad');
     CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;
     CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood)";

/// A cancel that comes during the conversion of a row is the session's, not an error of that row.
#[test]
fn a_cancel_in_the_conversion_of_a_row_ends_the_fanout() {
    let witness = Witness::new();
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    leader.batch_execute(CAST_THAT_WAITS).expect("a cast");
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let call = std::thread::spawn(move || {
        leader.batch_execute(
            "SELECT * FROM pg_background_fanout(ARRAY['SELECT ''bad''::mood', 'SELECT 1'])",
        )
    });
    eventually(
        &mut observer,
        &format!("(SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid})"),
    );
    observer
        .execute("SELECT pg_cancel_backend($1)", &[&pid])
        .expect("canceled");
    assert_eq!(sqlstate(call.join().expect("the leader's thread")), "57014");
    nothing_is_left(&mut observer);
    witness.check();
}

/// The subtransactions of conversions that fail leave a transaction in which everything else still works.
#[test]
fn conversions_that_fail_by_the_thousand_leave_a_sound_transaction() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('bad');
             CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$
                 DECLARE n int4; BEGIN SELECT count(*) INTO n FROM pg_class; CREATE TEMP TABLE trace (); RAISE 'no'; END $$;
             CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
             CREATE TABLE seen (n int4)",
        )
        .expect("a cast");
    leader
        .batch_execute(
            "BEGIN; INSERT INTO seen VALUES (1);
             DECLARE c CURSOR FOR SELECT (f).idx, (f).ok, (f).sqlstate FROM (SELECT pg_background_fanout(array_fill('SELECT ''bad''::mood'::text, ARRAY[1000])) f) s;
             FETCH 10 FROM c; SAVEPOINT a; FETCH 10 FROM c; ROLLBACK TO a",
        )
        .expect("a cursor");
    let rest = leader
        .query("FETCH ALL FROM c", &[])
        .expect("the rest of the rows");
    assert_eq!(rest.len(), 980);
    assert!(rest.iter().all(|row| {
        row.get::<_, bool>(1) && row.get::<_, Option<String>>(2).as_deref() == Some("P0001")
    }));
    leader
        .batch_execute("INSERT INTO seen VALUES (2); COMMIT")
        .expect("committed");
    assert_eq!(value::<i64>(&mut leader, "SELECT count(*) FROM seen"), 2);
    nothing_is_left(&mut leader);
}

/// A parameter's type that was dropped while its job was queued.
#[test]
fn a_parameter_of_a_type_that_was_dropped_before_the_run_is_an_error_that_says_so() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    leader
        .batch_execute(
            "CREATE TYPE gone AS ENUM ('a'); CREATE TYPE gone_pair AS (a int4);
             SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
        )
        .expect("types and settings");
    for value_sql in ["'a'::gone", "ARRAY['a'::gone]", "ROW(1)::gone_pair"] {
        other
            .batch_execute(
                "DROP TYPE IF EXISTS gone, gone_pair; CREATE TYPE gone AS ENUM ('a'); CREATE TYPE gone_pair AS (a int4)",
            )
            .expect("types");
        let running = launch(&mut leader, "SELECT pg_sleep(600)");
        let row = leader
            .query_one(
                &format!("SELECT h.pid, h.cookie FROM pg_background_launch_params('SELECT $1::text', {value_sql}) h"),
                &[],
            )
            .expect("queued");
        let queued = Handle {
            pid: row.get(0),
            cookie: row.get(1),
        };
        other
            .batch_execute("DROP TYPE gone, gone_pair")
            .expect("dropped");
        call(&mut leader, "pg_background_cancel_v2", running).expect("canceled");
        call(&mut leader, "pg_background_wait_v2", queued).expect("waited for");
        let read = format!(
            "SELECT * FROM pg_background_result({}, {}) AS (r text)",
            queued.pid, queued.cookie
        );
        let error = leader.batch_execute(&read).expect_err("the type is gone");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "42704", "{value_sql}: {error:?}");
        assert!(error.detail().is_some() && error.hint().is_some());
        leader
            .batch_execute("SELECT pg_background_detach_all()")
            .expect("detached");
    }
}

/// Rows of the job's own types that a cursor fetches long after the job and its worker are gone.
#[test]
fn rows_of_a_temporary_table_outlive_its_worker() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    let sql = "CREATE TEMP TABLE t AS SELECT g AS a, repeat('x', 1000) AS b FROM generate_series(1, 5000) g; SELECT t FROM t";
    let handle = launch(&mut leader, sql);
    leader
        .batch_execute(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result({}, {}, NULL::text); FETCH 10 FROM c",
            handle.pid, handle.cookie
        ))
        .expect("the first rows");
    eventually(
        &mut observer,
        "(SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'pg_background' AND datname = current_database() AND state = 'idle')",
    );
    eventually(
        &mut observer,
        "(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_background' AND datname = current_database())",
    );
    let rest = leader
        .query("FETCH ALL FROM c", &[])
        .expect("the rest of the rows");
    assert_eq!(rest.len(), 4990);
    assert!(rest.iter().all(|row| row.get::<_, String>(0).len() > 1000));
    leader.batch_execute("COMMIT").expect("the block ends");
    nothing_is_left(&mut leader);
}

/// Types nested as deep as they can be made, and as wide: an error at most.
#[test]
fn types_of_the_job_that_are_nested_deep_stop_nobody() {
    let server = Server::start("deep-types", &[]);
    server.role("somebody");
    server
        .session()
        .batch_execute("GRANT CREATE ON SCHEMA public TO somebody")
        .expect("granted");
    let mut leader = server.session_as("somebody");
    leader
        .batch_execute(
            "SET statement_timeout = '120s';
             CREATE FUNCTION nest(depth int4) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 CREATE TYPE pg_temp.n0 AS (a int4);
                 FOR i IN 1..depth LOOP
                     EXECUTE format('CREATE TYPE pg_temp.n%s AS (v pg_temp.n%s)', i, i - 1);
                 END LOOP;
             END $$;
             CREATE FUNCTION deep(n int4) RETURNS record LANGUAGE plpgsql AS $$
             DECLARE r record;
             BEGIN
                 CREATE TYPE pg_temp.d AS (a int4);
                 EXECUTE 'SELECT ROW(1)::pg_temp.d' INTO r;
                 FOR i IN 1..n LOOP r := ROW(r); END LOOP;
                 RETURN r;
             END $$",
        )
        .expect("functions");
    let read = |leader: &mut postgres::Client, sql: &str| {
        let call =
            format!("SELECT length(r) FROM pg_background_run_query($q${sql}$q$) AS (r text)");
        match leader.query_one(&call, &[]) {
            Ok(row) => row
                .get::<_, Option<i32>>(0)
                .map_or_else(|| String::from("NULL"), |len| len.to_string()),
            Err(error) => sqlstate::<()>(Err(error)),
        }
    };
    assert_eq!(
        read(&mut leader, "SELECT nest(300); SELECT NULL::pg_temp.n300"),
        "NULL"
    );
    assert_eq!(
        read(
            &mut leader,
            "SELECT nest(20); SELECT ROW(NULL)::pg_temp.n20"
        ),
        "2"
    );
    assert_eq!(
        read(&mut leader, "SELECT nest(1500); SELECT NULL::pg_temp.n1500"),
        "NULL"
    );
    assert_eq!(read(&mut leader, "SELECT deep(20000)"), "54001");
    let directly: i32 = value(&mut leader, "SELECT length(deep(3)::text)");
    assert_eq!(read(&mut leader, "SELECT deep(3)"), directly.to_string());
    let log = server.log();
    assert!(!log.contains("was terminated by signal"), "a crash");
}

/// The code of a cancel does not make one: users' code raises it, and a job that a conversion waits for is canceled
/// without the statement that waits.
#[test]
fn an_error_with_the_code_of_a_cancel_is_the_rows() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('raised', 'job', 'timeout');
             CREATE FUNCTION mood_json(m mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
                 IF m = 'raised' THEN RAISE 'mine' USING ERRCODE = 'query_canceled'; END IF;
                 IF m = 'timeout' THEN PERFORM pg_sleep(600); END IF;
                 PERFORM * FROM pg_background_run_query('SELECT pg_sleep(600)', timeout_ms => 100) AS (n text);
                 RETURN '1'; END $$;
             CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood)",
        )
        .expect("a cast");
    let rows = leader
        .query(
            "SELECT ok, sqlstate FROM pg_background_fanout(
                 ARRAY['SELECT ''raised''::mood', 'SELECT ''job''::mood', 'SELECT 1']) ORDER BY idx",
            &[],
        )
        .expect("the call goes on");
    let seen: Vec<(bool, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let canceled = Some("57014".to_owned());
    assert_eq!(
        seen,
        [(true, canceled.clone()), (true, canceled), (true, None)]
    );
    let timed_out = leader.batch_execute(
        "SET statement_timeout = '1s';
         SELECT * FROM pg_background_fanout(ARRAY['SELECT ''timeout''::mood'])",
    );
    assert_eq!(sqlstate(timed_out), "57014");
    leader
        .batch_execute("RESET statement_timeout")
        .expect("reset");
    nothing_is_left(&mut leader);
}

/// An error says where in the server it was raised, also after the extension has raised it again. (On a server with
/// assertions freed memory is overwritten, and would show there.)
#[test]
fn an_error_of_a_conversion_says_where_it_was_raised() {
    let database = Database::new();
    let mut leader = database.session();
    let error = leader
        .batch_execute(
            "SELECT r.* FROM pg_background_launch_v2($$SELECT 'abcdef'::varchar$$) h,
                             pg_background_result_v2(h.pid, h.cookie) AS r (v varchar(3))",
        )
        .expect_err("it is too long");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(
        (error.code().code(), error.file(), error.routine()),
        ("22001", Some("varchar.c"), Some("varchar"))
    );
}

/// What other sessions have altered is taken in before a value is read. That may fail: a relation that is open is read
/// again, from a catalog that somebody has locked.
#[test]
fn an_error_while_invalidations_are_taken_in_is_an_error_of_the_call() {
    const CALLS: [(&str, &str); 3] = [
        ("", "pg_background_call('SELECT 1', NULL::one)"),
        (
            "SELECT ROW(1)::one",
            "(SELECT count(*) FROM handles h, pg_background_columns(h.pid, h.cookie))",
        ),
        (
            "SELECT ROW(1)::one",
            "(SELECT pg_background_result_json(h.pid, h.cookie) FROM handles h)",
        ),
    ];
    for (job, call) in CALLS {
        let database = Database::new();
        let (mut caller, mut other, mut gate) =
            (database.session(), database.session(), database.session());
        caller
            .batch_execute(
                "CREATE TYPE one AS (a int); CREATE TABLE t AS SELECT 1 AS n;
                 CREATE TABLE handles (pid int4, cookie int8)",
            )
            .expect("a table");
        // The caches have what the call needs.
        for _ in 0..3 {
            caller
                .batch_execute(&format!(
                    "TRUNCATE handles; INSERT INTO handles SELECT * FROM pg_background_launch_v2('{job}');
                     SELECT pg_background_wait_v2(pid, cookie) FROM handles;
                     SELECT CASE WHEN pg_advisory_lock_shared(1)::text = '' THEN {call} END IS NULL FROM t"
                ))
                .expect("it is called");
        }
        caller
            .batch_execute(&format!(
                "TRUNCATE handles; INSERT INTO handles SELECT * FROM pg_background_launch_v2('{job}');
                 SELECT pg_background_wait_v2(pid, cookie) FROM handles; SELECT pg_advisory_unlock_all();
                 SET lock_timeout = '3s'"
            ))
            .expect("prepared");
        gate.batch_execute("SELECT pg_advisory_lock(1)")
            .expect("closed");
        let pid: i32 = value(&mut caller, "SELECT pg_backend_pid()");
        let called = std::thread::spawn(move || {
            let ended = caller.batch_execute(&format!(
                "SELECT CASE WHEN pg_advisory_lock_shared(1)::text = '' THEN {call} END IS NULL FROM t"
            ));
            (caller, ended)
        });
        eventually(
            &mut other,
            &format!("EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"),
        );
        for statement in [
            "ALTER TABLE t SET (fillfactor = 90)",
            "BEGIN",
            "LOCK TABLE pg_class",
        ] {
            other.batch_execute(statement).expect("altered, and locked");
        }
        gate.batch_execute("SELECT pg_advisory_unlock(1)")
            .expect("open");
        let (mut caller, ended) = called.join().expect("the session is still there");
        assert_eq!(sqlstate(ended), "55P03", "{call}");
        other.batch_execute("ROLLBACK").expect("unlocked");
        assert_eq!(value::<i32>(&mut caller, "SELECT 1"), 1, "{call}");
    }
}
