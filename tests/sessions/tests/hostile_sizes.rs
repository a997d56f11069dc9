//! Values that are nested very deeply, or are very long.
//!
//! No user may crash a process: the server would then end all sessions.

use session_tests::*;

const DEEP: &str = "CREATE FUNCTION deep(n int) RETURNS record LANGUAGE plpgsql AS $$
    DECLARE r record; BEGIN r := ROW(1); FOR i IN 1..n LOOP r := ROW(r); END LOOP; RETURN r; END $$";

/// Levels of nesting that need more than the minimum of `max_stack_depth`.
const LEVELS: i32 = 4000;

fn session_with_deep(database: &Database) -> postgres::Client {
    let mut session = database.session();
    session.batch_execute(DEEP).expect("the function is made");
    session
}

#[test]
fn a_record_that_is_nested_too_deeply_is_no_parameter() {
    let database = Database::new();
    let mut session = session_with_deep(&database);
    session
        .batch_execute("SET max_stack_depth = '100kB'")
        .expect("set");
    for parameter in ["deep($1)", "ARRAY[deep($1)]", "ROW(1, ARRAY[deep($1)])"] {
        let launched = session.query_one(
            // The type of the innermost has been seen by then, so that nothing is looked up there.
            &format!("SELECT pg_background_launch_params('SELECT 1', ROW(1), {parameter})"),
            &[&LEVELS],
        );
        assert_eq!(sqlstate(launched), "54001", "{parameter}");
    }
    nothing_is_left(&mut session);
}

#[test]
fn a_record_that_is_nested_too_deeply_fails_the_job_that_sends_it() {
    let database = Database::new();
    let mut session = session_with_deep(&database);
    session
        .batch_execute("SET max_stack_depth = '100kB'")
        .expect("set");
    let read = session.query(
        &format!(
            "SELECT 1 FROM pg_background_run_query('SELECT ROW(1), deep({LEVELS})') AS (a record, b record)"
        ),
        &[],
    );
    assert_eq!(sqlstate(read), "54001");
    nothing_is_left(&mut session);
}

#[test]
fn a_record_that_is_nested_too_deeply_for_its_reader_is_an_error_of_the_reader() {
    let database = Database::new();
    let mut session = session_with_deep(&database);
    session
        .batch_execute("SET max_stack_depth = '100kB'")
        .expect("set");
    for (column, value) in [
        ("record", format!("deep({LEVELS})")),
        ("record[]", format!("ARRAY[deep({LEVELS})]")),
    ] {
        let read = session.query(
            &format!(
                "SELECT 1 FROM pg_background_run_query('SET max_stack_depth = ''1MB''; SELECT {value}') AS (r {column})"
            ),
            &[],
        );
        assert_eq!(sqlstate(read), "54001", "{column}");
    }
    nothing_is_left(&mut session);
}

#[test]
fn what_is_nested_comes_out_as_it_was() {
    let database = Database::new();
    let mut session = session_with_deep(&database);
    // Small ones and large ones, with short headers and long ones, in rows and in arrays.
    for value in [
        "deep(5)",
        "ROW(ROW(1, 'x'::text), ROW(2, repeat('y', 500)), NULL::record)",
        "ROW(repeat('a', 200), ARRAY[ROW(1, ROW(2)), NULL, ROW(3, ROW(repeat('b', 130)))])",
        "ROW(ARRAY[ARRAY[ROW(1), ROW(2)], ARRAY[ROW(3), ROW(4)]], 7)",
    ] {
        let plain: String = self::value(&mut session, &format!("SELECT ({value})::text"));
        for launch in [
            format!("pg_background_run_query($q$SELECT {value}$q$)"),
            format!(
                "pg_background_launch_params('SELECT $1', {value}) h, pg_background_result(h.pid, h.cookie)"
            ),
        ] {
            let read: String = self::value(
                &mut session,
                &format!("SELECT r::text FROM {launch} AS x(r record)"),
            );
            assert_eq!(read, plain, "{launch}");
        }
    }
}

#[test]
fn a_row_type_is_looked_at_once_however_often_it_occurs_in_a_type() {
    const LEVELS: i32 = 34;
    let database = Database::new();
    let mut session = database.session();
    // Two columns each of the type before: 2^34 columns in all. The server itself walks all of what is below a type
    // when that is made, and all above when it is altered, so the second columns come from the middle.
    session
        .batch_execute(&format!(
            "DO $$ BEGIN
                CREATE TYPE t0 AS (a int);
                FOR i IN 1..{LEVELS} LOOP EXECUTE format('CREATE TYPE t%s AS (a t%s)', i, i - 1); END LOOP;
                FOR i IN 1..{LEVELS} / 2 LOOP EXECUTE format('ALTER TYPE t%s ADD ATTRIBUTE b t%s', i, i - 1); END LOOP;
             END $$;
             DO $$ BEGIN
                FOR i IN REVERSE {LEVELS}..{LEVELS} / 2 + 1 LOOP EXECUTE format('ALTER TYPE t%s ADD ATTRIBUTE b t%s', i, i - 1); END LOOP;
             END $$;
             SET statement_timeout = '60s'"
        ))
        .expect("the types are made");
    let read = session.query_one(
        &format!(
            "SELECT r IS NULL FROM pg_background_run_query('SELECT NULL::t{LEVELS}') AS (r text)"
        ),
        &[],
    );
    assert!(read.expect("it is read").get::<_, bool>(0));
}

/// Limits a process to so much memory more than it has now. Runs as the server's user: only that one and the
/// administrator may do it.
fn limit_memory(server: &mut postgres::Client, pid: i32, megabytes: u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("a process");
    let pages: u64 = status
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .expect("a number of pages");
    let limit = pages * 4096 + (megabytes << 20);
    set_limit(server, pid, &format!("--as={limit}:"));
}

fn set_limit(server: &mut postgres::Client, pid: i32, limit: &str) {
    server
        .batch_execute(&format!(
            "CREATE TEMP TABLE IF NOT EXISTS output (line text);
             COPY output FROM PROGRAM 'prlimit --pid={pid} {limit}'"
        ))
        .expect("the limit is set");
}

fn own_pid(session: &mut postgres::Client) -> i32 {
    value(session, "SELECT pg_backend_pid()")
}

/// A session whose table `h` has the handle of a job that has ended with a value of the type `mood`.
fn session_with_mood(server: &Server) -> postgres::Client {
    let mut session = server.session();
    session
        .batch_execute(
            "CREATE TEMP TABLE h AS SELECT * FROM pg_background_launch_v2($$SELECT 'sad'::mood AS m$$);
             SELECT pg_background_wait_v2(pid, cookie) FROM h",
        )
        .expect("a job");
    session
}

/// The operating system refuses a segment of shared memory in the middle of the server's own allocation, which has the
/// lock of the area then. What the call has begun is given up at once, and that needs the same lock.
#[test]
fn a_segment_that_is_refused_in_an_allocation_leaves_no_lock() {
    let server = Server::start(
        "refused-segment",
        &[
            "pg_background.max_memory=1GB",
            "pg_background.max_jobs=200",
            "pg_background.role_max_jobs=200",
            "pg_background.role_max_memory=1GB",
            "pg_background.max_workers=200",
        ],
    );
    let mut witness = server.session();
    witness
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad');
             CREATE FUNCTION launch(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
                 FOR n IN 1..100 LOOP
                     PERFORM pg_background_launch_v2('SELECT 1 --' || repeat('x', 3900000));
                 END LOOP;
                 RETURN '1';
             END $$;
             CREATE CAST (mood AS json) WITH FUNCTION launch(mood)",
        )
        .expect("what the calls need");
    let mut session = session_with_mood(&server);
    // Larger than a file of the write-ahead log; the area grows by larger ones at last.
    let limit = 20 << 20;
    let pid = own_pid(&mut session);
    set_limit(&mut witness, pid, &format!("--fsize={limit}:"));
    let (sender, ended) = std::sync::mpsc::channel();
    // A process that waits for a lock that it has cannot be ended.
    std::thread::spawn(move || {
        let read =
            session.batch_execute("SELECT * FROM h, pg_background_result_json(h.pid, h.cookie)");
        let goes_on: i32 = value(
            &mut session,
            "SELECT r FROM pg_background_launch_v2('SELECT 1') h, pg_background_result(h.pid, h.cookie) AS (r int)",
        );
        let _ = sender.send((sqlstate(read), goes_on));
    });
    let (code, goes_on) = ended.recv_timeout(LONG).expect("the call ends");
    assert_eq!((code.as_str(), goes_on), ("53200", 1));
    nothing_is_left(&mut witness);
}

#[test]
fn localizing_needs_memory_for_one_copy() {
    let database = Database::new();
    let mut session = session_with_deep(&database);
    let _: i32 = value(
        &mut session,
        "SELECT r FROM pg_background_run_query('SELECT 1') AS (r int)",
    );
    let pid = own_pid(&mut session);
    limit_memory(&mut database.session(), pid, 100);
    // A copy for each level were some 300 MB.
    let size: i32 = value(
        &mut session,
        "SELECT pg_column_size(r) FROM pg_background_run_query('SELECT deep(5000) AS r') AS (r record)",
    );
    assert!(size > 100_000);
}

#[test]
fn a_request_that_is_too_large_is_refused_before_it_takes_memory() {
    let database = Database::new();
    let mut session = database.session();
    for launch in [
        "SELECT pg_background_launch_params('SELECT 1 --' || repeat(' ', 600000000), repeat('x', 500000000))",
        "SELECT set_config('pgb_test.large', repeat('x', 500000000), false) <> '', pg_background_launch_v2('SELECT 1 --' || repeat(' ', 600000000))",
    ] {
        let error = session.query_one(launch, &[]).expect_err("it is refused");
        let error = error.as_db_error().expect("the server's");
        assert_eq!(error.code().code(), "54000", "{error:?}");
        assert!(error.detail().is_some() && error.hint().is_some());
    }
    session
        .batch_execute("RESET pgb_test.large")
        .expect("taken back");
    let length: i32 = value(
        &mut session,
        "SELECT r FROM pg_background_launch_params('SELECT length($1)', repeat('x', 200000000)) h,
            pg_background_result(h.pid, h.cookie) AS (r int)",
    );
    assert_eq!(length, 200_000_000);
    nothing_is_left(&mut session);
}

#[test]
fn many_parameters_are_refused_before_they_are_made() {
    let database = Database::new();
    let mut session = database.session();
    let launched = session.query_one(
        "SELECT pg_background_launch_params('SELECT 1', VARIADIC array_fill(1, ARRAY[100000]))",
        &[],
    );
    assert_eq!(sqlstate(launched), "54023");
    // The same stored value over and over: what is fetched is counted.
    session
        .batch_execute(
            "CREATE TABLE large (v text);
             ALTER TABLE large ALTER v SET STORAGE EXTERNAL;
             INSERT INTO large SELECT repeat('x', 50000000)",
        )
        .expect("a large value");
    let pid = own_pid(&mut session);
    limit_memory(&mut database.session(), pid, 1500);
    let columns = vec!["v"; 90].join(", ");
    let launched = session.query_one(
        &format!("SELECT pg_background_launch_params('SELECT 1', {columns}) FROM large"),
        &[],
    );
    assert_eq!(sqlstate(launched), "54000");
    nothing_is_left(&mut session);
}

#[test]
fn arrays_of_handles_may_be_of_any_size_and_shape() {
    let database = Database::new();
    let mut session = database.session();
    session
        .batch_execute(
            "CREATE TABLE h AS SELECT * FROM pg_background_launch_v2('SELECT repeat(''x'', 1000)');
             CREATE VIEW handles AS SELECT array_fill(ROW(pid, cookie)::pg_background_handle, ARRAY[1000, 1000]) a FROM h;
             SET statement_timeout = '120s'",
        )
        .expect("a job");
    let waited: i32 = value(
        &mut session,
        "SELECT pg_background_wait_all(a, 0) FROM handles",
    );
    assert_eq!(waited, 1_000_000);
    let any: bool = value(
        &mut session,
        "SELECT (pg_background_wait_any(a, 0)).pid = h.pid FROM handles, h",
    );
    assert!(any);
    for array in [
        "array_append(ARRAY[]::pg_background_handle[], NULL)",
        "ARRAY[ROW(1, NULL)::pg_background_handle]",
        "ARRAY[ROW(NULL, 1)::pg_background_handle]",
        "array_fill(NULL::pg_background_handle, ARRAY[1000000])",
    ] {
        let refused = session.query(&format!("SELECT pg_background_wait_all({array}, 0)"), &[]);
        assert_eq!(sqlstate(refused), "22004", "{array}");
        let skipped: bool = value(
            &mut session,
            &format!("SELECT pg_background_wait_any({array}, 0) IS NULL"),
        );
        assert!(skipped, "{array}");
    }
    let drained: i64 = value(
        &mut session,
        "SELECT count(*) FROM handles, pg_background_drain(a, 0)",
    );
    assert_eq!(drained, 1_000_000);
    nothing_is_left(&mut session);
}

#[test]
fn outcomes_are_not_all_in_memory_at_once() {
    let database = Database::new();
    let mut session = database.session();
    session
        .batch_execute(
            "CREATE TABLE h AS SELECT * FROM pg_background_launch_v2($$DO 'BEGIN RAISE EXCEPTION ''%'', repeat(''x'', 2000000); END'$$);
             SELECT pg_background_wait_v2(pid, cookie) FROM h",
        )
        .expect("a job that has failed");
    let pid = own_pid(&mut session);
    limit_memory(&mut database.session(), pid, 200);
    // 400 MB of messages.
    let drained: i64 = value(
        &mut session,
        "SELECT count(*) FROM h, pg_background_drain(array_fill(ROW(pid, cookie)::pg_background_handle, ARRAY[200]), 0)",
    );
    assert_eq!(drained, 200);
}

/// What is called, with little memory; what prepares it comes first.
const CALLS: [(&str, &str); 14] = [
    (
        "",
        "SELECT 1 FROM pg_background_run_query('SELECT 1', col_def => repeat('a int,', 12000000)) AS (a int)",
    ),
    (
        "",
        "SELECT 1 FROM pg_background_run_query('SELECT 1', col_def => 'a ' || repeat('x', 30000000)) AS (a int)",
    ),
    (
        "",
        "SELECT pg_background_launch_v2('SELECT 1 --' || repeat(' ', 30000000))",
    ),
    (
        "",
        "SELECT pg_background_launch_params('SELECT 1', repeat('x', 30000000), repeat('y', 30000000))",
    ),
    (
        "SELECT set_config('pgb_test.large', repeat('x', 20000000), false)",
        "SELECT pg_background_launch_v2('SELECT 1')",
    ),
    (
        "",
        "SELECT pg_background_wait_any(array_fill(ROW(pid, cookie)::pg_background_handle, ARRAY[1000000]), 0) FROM h",
    ),
    (
        "",
        "SELECT pg_background_wait_all(array_fill(ROW(pid, cookie)::pg_background_handle, ARRAY[1000000]), 0) FROM h",
    ),
    (
        "",
        "SELECT count(*) FROM h, pg_background_drain(array_fill(ROW(pid, cookie)::pg_background_handle, ARRAY[1000000]), 0)",
    ),
    (
        "",
        "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[1000000]), 1, false, 100)",
    ),
    (
        "",
        "SELECT count(*) FROM pg_background_fanout_params('SELECT 1', array_fill(1, ARRAY[2000000]), 1, false, 100)",
    ),
    (
        "",
        "SELECT count(*) FROM pg_background_fanout_params('SELECT 1', array_fill(ROW(repeat('x', 100), ROW(1)), ARRAY[300000]), 1, false, 100)",
    ),
    (
        "SET pg_background.on_exhaustion = queue; SELECT pg_background_launch_v2('SELECT 1', 0, 'x' || n) FROM generate_series(1, 500) n",
        "SELECT pg_background_cancel_by_label(repeat('x%', 10000000), 0)",
    ),
    (
        "SELECT pg_background_launch_v2('SELECT repeat(''x'', 30000000) FROM generate_series(1, 3)') h ",
        "SELECT count(*) FROM pg_background_run_query('SELECT repeat(''x'', 30000000) FROM generate_series(1, 3)') AS (t text)",
    ),
    (
        "",
        "SELECT r FROM pg_background_launch_v2('SELECT 1') h, pg_background_result(h.pid, h.cookie, NULL::refused) r",
    ),
];

#[test]
fn without_memory_a_call_fails_and_the_server_goes_on() {
    let server = Server::start("little-memory", &[]);
    let mut witness = server.session();
    witness
        .batch_execute(
            "CREATE TYPE one AS (a int);
             CREATE FUNCTION refuse(one) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', repeat('x', 20000000); END $$;
             CREATE DOMAIN refused AS one CHECK (refuse(VALUE))",
        )
        .expect("what the calls need");
    for (prepare, call) in CALLS {
        let mut refused = 0;
        for megabytes in [1, 24, 56, 88, 160, 400] {
            let mut session = server.session();
            session
                .batch_execute(&format!(
                    "CREATE TEMP TABLE h AS SELECT * FROM pg_background_launch_v2('SELECT 1');
                     SELECT pg_background_wait_v2(pid, cookie) FROM h; {prepare}"
                ))
                .expect("a job");
            limit_memory(&mut witness, own_pid(&mut session), megabytes);
            let Err(error) = session.batch_execute(call) else {
                continue;
            };
            refused += 1;
            let code = error.code().map_or("none", |code| code.code());
            assert!(
                // No memory (an error or the end of the session), or what the call says when there is enough.
                ["53200", "42804", "54000", "P0001"].contains(&code),
                "{call} with {megabytes} MB: {error:?}"
            );
        }
        assert!(refused > 0, "{call}");
        assert_eq!(value::<i32>(&mut witness, "SELECT 1"), 1, "{call}");
    }
    nothing_is_left(&mut witness);
}

/// What a job does with little memory.
const JOBS: [&str; 4] = [
    "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    "SELECT repeat('x', 20000000) FROM generate_series(1, 3)",
    "DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 20000000); END $$",
    "DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE '%', repeat('x', 200); END LOOP; END $$",
];

#[test]
fn without_memory_a_job_fails_and_the_server_goes_on() {
    let server = Server::start("little-memory-jobs", &["pg_background.max_pool_workers=1"]);
    let mut session = server.session();
    let mut witness = server.session();
    for job in JOBS {
        for megabytes in [0, 1, 2, 4, 8, 16, 32, 64] {
            // A fresh process for each.
            session
                .batch_execute("SELECT pg_background_retire_idle()")
                .expect("sent home");
            let pid: i32 = value(
                &mut session,
                "SELECT r FROM pg_background_run_query('SELECT pg_backend_pid()') AS (r int)",
            );
            limit_memory(&mut witness, pid, megabytes);
            let handle = launch(&mut session, job);
            call(&mut session, "pg_background_wait_v2", handle).expect("it ends");
            call(&mut session, "pg_background_detach_v2", handle).expect("detached");
        }
    }
    nothing_is_left(&mut session);
}

/// The error of a user's function is as long as he likes: there may be memory for it, and none for its copies.
#[test]
fn an_error_for_whose_copies_there_is_no_memory_is_an_error() {
    let server = Server::start("long-errors", &[]);
    let mut witness = server.session();
    witness
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad');
             CREATE FUNCTION refuse(mood) RETURNS json LANGUAGE plpgsql AS $$
             BEGIN
                 RAISE EXCEPTION USING MESSAGE = repeat('m', 25000000), DETAIL = repeat('d', 25000000),
                     HINT = repeat('h', 25000000);
             END $$;
             CREATE CAST (mood AS json) WITH FUNCTION refuse(mood)",
        )
        .expect("what the calls need");
    let mut codes = Vec::new();
    for megabytes in (40..=520).step_by(20) {
        let mut session = session_with_mood(&server);
        limit_memory(&mut witness, own_pid(&mut session), megabytes);
        let error = session
            .batch_execute("SELECT pg_background_result_json(pid, cookie) FROM h")
            .expect_err("the cast refuses");
        let code = error.code().map_or("none", |code| code.code()).to_owned();
        // The session goes on: there is memory for what is small.
        assert_eq!(
            value::<i32>(&mut session, "SELECT 1"),
            1,
            "{megabytes} MB: {error:?}"
        );
        codes.push(code);
    }
    assert!(codes.contains(&"53200".to_owned()), "{codes:?}");
    assert!(codes.contains(&"P0001".to_owned()), "{codes:?}");
    nothing_is_left(&mut witness);
}
