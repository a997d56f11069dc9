//! Readers that are interrupted, come late, or exit; large results.

use postgres::Client;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use session_tests::*;

/// Cancels a statement of `client` once `ready` holds (asked by the observer); returns its SQLSTATE.
fn interrupt(client: &mut Client, observer: &mut Client, statement: &str, ready: &str) -> String {
    let pid: i32 = value(client, "SELECT pg_backend_pid()");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.simple_query(statement).map(|_| ()));
        eventually(observer, ready);
        observer
            .execute("SELECT pg_cancel_backend($1)", &[&pid])
            .expect("canceled");
        sqlstate(waiting.join().expect("the thread ends"))
    })
}

fn read_statement(handle: Handle, list: &str) -> String {
    format!(
        "SELECT * FROM pg_background_result_v2({}, {}) AS ({list})",
        handle.pid, handle.cookie
    )
}

#[test]
fn a_read_that_is_interrupted_before_the_first_row_can_be_repeated() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    // The columns are known and notices are said before the first row, which has an anonymous record.
    leader
        .batch_execute(
            "CREATE FUNCTION slowly(n int4) RETURNS int4 LANGUAGE plpgsql AS $$
             BEGIN RAISE NOTICE 'before'; PERFORM pg_sleep(0.7); RETURN n; END $$",
        )
        .expect("a function");
    let handle = launch(
        &mut leader,
        "SELECT ROW(slowly(g), 'x') FROM generate_series(1, 2) g",
    );
    asleep(&mut leader, handle);
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let waits =
        format!("(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = {pid})");
    let statement = read_statement(handle, "r record");
    let code = interrupt(&mut leader, &mut observer, &statement, &waits);
    assert_eq!(code, "57014");
    let rows = leader
        .query(&format!("SELECT r::text FROM ({statement}) s"), &[])
        .expect("it is read again");
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["(1,x)", "(2,x)"]);
    nothing_is_left(&mut observer);
}

/// A row that wakes nobody, because one just before it did or the reader was awake, and nothing follows it.
#[test]
fn rows_are_seen_as_they_come_even_if_no_other_follows() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let read = |leader: &mut Client, handle: Handle| {
        let mut transaction = leader.transaction().expect("a transaction");
        transaction
            .batch_execute(&format!(
                // No deadlock check either, because that would find rows as well.
                "SET LOCAL statement_timeout = '20s';
                 SET LOCAL deadlock_timeout = '1h';
                 DECLARE c CURSOR FOR SELECT pg_background_result({}, {}, NULL::int4)",
                handle.pid, handle.cookie
            ))
            .expect("a cursor");
        let rows = transaction.query("FETCH 3 FROM c", &[]);
        let rows = rows.expect("they are there, and the fourth is not waited for");
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    // The read was given up after it had begun, so the session has detached the job.
    let end = |observer: &mut Client, handle: Handle| {
        let worker = format!(
            "FROM pg_stat_activity WHERE pid = {} AND state = 'active'",
            handle.pid
        );
        let canceled = format!("SELECT pg_cancel_backend(pid) {worker}");
        observer.execute(&canceled, &[]).expect("canceled");
        eventually(observer, &format!("NOT EXISTS (SELECT {worker})"));
    };
    // The third row comes so much counting after the second.
    let job = |count: u32| {
        format!(
            "SELECT CASE WHEN g = 1 THEN (SELECT 1 FROM pg_advisory_lock(1))
                         WHEN g = 3 THEN (SELECT 3 + 0 * count(*)::int4 FROM generate_series(1, {count}))
                         WHEN g = 4 THEN (SELECT 4 FROM pg_sleep(600)) ELSE g END
             FROM generate_series(1, 4) g"
        )
    };

    // Before the reader comes.
    let handle = launch(&mut leader, &job(0));
    asleep(&mut leader, handle);
    assert_eq!(read(&mut leader, handle), [1, 2, 3]);
    end(&mut observer, handle);

    // While the reader sleeps, and just when it sleeps again.
    for count in [0, 400, 1000, 1800, 2800, 4000] {
        observer
            .batch_execute("SELECT pg_advisory_lock(1)")
            .expect("locked");
        let handle = launch(&mut leader, &job(count));
        let rows = std::thread::scope(|scope| {
            let reading = scope.spawn(|| read(&mut leader, handle));
            let waits = format!(
                "(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = {pid})"
            );
            eventually(&mut observer, &waits);
            observer
                .batch_execute("SELECT pg_advisory_unlock(1)")
                .expect("unlocked");
            reading.join().expect("the thread ends")
        });
        assert_eq!(rows, [1, 2, 3], "{count}");
        end(&mut observer, handle);
    }
    nothing_is_left(&mut observer);
}

#[test]
fn rows_of_a_type_that_their_job_creates_can_be_read_while_it_runs() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute("SET statement_timeout = '20s'")
        .expect("a setting");
    // The type is there for others when the job has committed. More rows than the ring holds.
    let sql = "CREATE TYPE mood AS ENUM (''fine''); SELECT ''fine''::mood, repeat(''x'', 1000),
                      CASE WHEN g < 3 THEN pg_sleep(0.3)::text END FROM generate_series(1, 1000) g";
    let count: i64 = value(
        &mut leader,
        &format!(
            "SELECT count(*) FROM pg_background_run_query('{sql}') AS (m text, x text, s text)
             WHERE m = 'fine'"
        ),
    );
    assert_eq!(count, 1000);
    // One that fails has an error, and no rows of a type that never was.
    let error = leader.batch_execute(
        "SELECT * FROM pg_background_run_query('CREATE TYPE never AS ENUM (''a'');
             SELECT ''a''::never, 1 / (3 - g), pg_sleep(0.1) FROM generate_series(1, 3) g') AS (a text, b int4, s text)",
    );
    assert_state(error, &SqlState::DIVISION_BY_ZERO);
    nothing_is_left(&mut leader);
}

/// The bytes of a value are those of the columns that its type had when it was made.
#[test]
fn a_value_is_not_taken_for_one_of_a_row_type_that_was_altered() {
    let database = Database::new();
    let (mut leader, mut other) = (database.session(), database.session());
    leader
        .batch_execute(
            "CREATE TABLE pairs (a int4, b int4); INSERT INTO pairs VALUES (1, 2);
             CREATE DOMAIN pair AS pairs;
             SET statement_timeout = '20s'; SET pg_background.on_exhaustion = queue",
        )
        .expect("tables and settings");
    let results = [
        ("SELECT pairs FROM pairs", "pairs"),
        ("SELECT ARRAY[pairs::pair] FROM pairs", "text"),
        ("SELECT ROW(pairs) FROM pairs", "text"),
    ];
    let jobs = results.map(|(sql, wanted)| (launch(&mut leader, sql), wanted));
    for (handle, _) in jobs {
        call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
    }
    // The last of the jobs that wait for a worker slot gets a parameter.
    leader
        .batch_execute("SET pg_background.max_workers = 1")
        .expect("a setting");
    let running = launch(&mut leader, "SELECT pg_sleep(600)");
    let queued: Handle = {
        let sql = "SELECT h.pid, h.cookie FROM pg_background_launch_params('SELECT $1', ROW(1, 2)::pairs) h";
        let row = leader.query_one(sql, &[]).expect("queued");
        Handle {
            pid: row.get(0),
            cookie: row.get(1),
        }
    };
    other
        .batch_execute("ALTER TABLE pairs ALTER COLUMN b TYPE text")
        .expect("altered");
    for (handle, wanted) in jobs {
        let read = format!(
            "SELECT * FROM pg_background_result({}, {}) AS (r {wanted})",
            handle.pid, handle.cookie
        );
        assert_state(leader.batch_execute(&read), &SqlState::DATATYPE_MISMATCH);
    }
    call(&mut leader, "pg_background_cancel_v2", running).expect("canceled");
    let read = format!(
        "SELECT * FROM pg_background_result({}, {}) AS (r pairs)",
        queued.pid, queued.cookie
    );
    assert_state(leader.batch_execute(&read), &SqlState::DATATYPE_MISMATCH);

    // Altered by the job itself, which has not committed yet when its row is there.
    let rows: String = value(
        &mut leader,
        "SELECT string_agg(r::text, ' ') FROM pg_background_run_query(
             'ALTER TABLE pairs ADD c int4 DEFAULT 3; SELECT pairs, pg_sleep(0.3)::text FROM pairs') AS (r pairs, s text)",
    );
    assert_eq!(rows, "(1,2,3)");
    leader
        .execute("SELECT pg_background_detach_all()", &[])
        .expect("detached");
    nothing_is_left(&mut leader);
}

#[test]
fn a_read_that_is_interrupted_after_the_first_row_leaves_nothing_and_its_worker_goes_on() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    let handle = launch(
        &mut leader,
        "SELECT CASE WHEN g > 10000 THEN pg_sleep(100)::text ELSE g::text END FROM generate_series(1, 20000) g",
    );
    // All rows that there are have been taken.
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let taken = format!(
        "(SELECT count(*) = 2 FROM pg_stat_activity
          WHERE pid = {} AND wait_event = 'PgSleep' OR pid = {pid} AND wait_event_type = 'Extension')",
        handle.pid
    );
    let statement = read_statement(handle, "t text");
    let code = interrupt(&mut leader, &mut observer, &statement, &taken);
    assert_eq!(code, "57014");
    assert_state(try_result(&mut leader, handle), &SqlState::UNDEFINED_OBJECT);
    // The job itself was not canceled, and has no leader now.
    let pid: i32 = handle.pid;
    observer
        .execute("SELECT pg_cancel_backend($1)", &[&pid])
        .expect("its statement is canceled");
    nothing_is_left(&mut observer);
    let next = run(&mut leader, "SELECT pg_backend_pid()");
    assert_eq!(next, Some(pid.to_string()), "the same worker");
}

#[test]
fn a_reader_that_is_terminated_in_the_middle_of_a_cursor_leaves_nothing() {
    let database = Database::new();
    let (mut leader, mut observer) = (database.session(), database.session());
    let handle = launch(
        &mut leader,
        "SELECT g, repeat('x', 100) FROM generate_series(1, 300000) g",
    );
    leader
        .batch_execute(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result_json({}, {}); MOVE 1000 FROM c;
             SELECT pg_background_wait_v2({0}, {1}); MOVE 1000 FROM c",
            handle.pid, handle.cookie
        ))
        .expect("a cursor");
    let spilled: bool = value(
        &mut observer,
        "SELECT spill_files = 1 AND spill_bytes > 0 FROM pg_background_resources()",
    );
    assert!(spilled);
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
    nothing_is_left(&mut observer);
    eventually(
        &mut observer,
        "NOT EXISTS (SELECT FROM pg_ls_tmpdir() WHERE name ~ 'pgb')",
    );
}

#[test]
fn a_worker_that_spilled_takes_its_next_job_while_the_result_waits() {
    let database = Database::new();
    let mut leader = database.session();
    let first = launch(
        &mut leader,
        "SELECT repeat('x', 1000) || g FROM generate_series(1, 20000) g",
    );
    call(&mut leader, "pg_background_wait_v2", first).expect("it finishes, unread");
    for round in 0..20 {
        let sql = format!("SELECT {round} || '/' || pg_backend_pid()");
        let expected = format!("{round}/{}", first.pid);
        assert_eq!(run(&mut leader, &sql), Some(expected));
    }
    let rows = try_result(&mut leader, first).expect("it is whole");
    assert_eq!(rows.len(), 20000);
    for (number, row) in (1..).zip(rows) {
        let row = row.expect("not null");
        assert_eq!(row.len(), 1000 + format!("{number}").len());
        assert!(row.ends_with(&format!("x{number}")));
    }
    nothing_is_left(&mut leader);
}

/// Private memory of a process, in kilobytes.
fn own_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .expect("the line is there");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn memory_stays_flat_over_a_long_stream() {
    const ROWS: i64 = 1_000_000;
    const SLACK: u64 = 8 * 1024;
    let database = Database::new();
    let mut leader = database.session();
    let own: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    for call in [
        "pg_background_result($1, $2, NULL::text)::text",
        "pg_background_result_json($1, $2)::text",
    ] {
        let handle = launch(
            &mut leader,
            &format!("SELECT generate_series(1, {ROWS})::text AS n"),
        );
        let params: [&(dyn postgres::types::ToSql + Sync); 2] = [&handle.pid, &handle.cookie];
        let mut rows = leader
            .query_raw(&format!("SELECT {call}"), params)
            .expect("it streams");
        let (mut count, mut before) = (0, (0, 0));
        while let Some(_row) = rows.next().expect("a row") {
            count += 1;
            if count == ROWS / 10 {
                // A worker that was much faster than this reader may be gone already.
                let worker = std::path::Path::new(&format!("/proc/{}", handle.pid)).exists();
                before = (
                    own_memory(own),
                    if worker { own_memory(handle.pid) } else { 0 },
                );
            }
            if count == ROWS - 1000 {
                let after = own_memory(own);
                assert!(
                    after <= before.0 + SLACK,
                    "{call}: {} kB, then {after} kB",
                    before.0
                );
                // The worker may have finished, and gone, long ago.
                if std::path::Path::new(&format!("/proc/{}", handle.pid)).exists() {
                    let after = own_memory(handle.pid);
                    assert!(after <= before.1 + SLACK, "the worker: {after} kB");
                }
            }
        }
        assert_eq!(count, ROWS);
    }
}

/// A session, and its notices as they come.
fn listening(database: &Database) -> (postgres::Client, std::sync::mpsc::Receiver<String>) {
    let (sender, said) = std::sync::mpsc::channel();
    let mut config = config();
    config
        .dbname(&database.name)
        .notice_callback(move |notice| {
            let _ = sender.send(String::from(notice.message()));
        });
    (config.connect(postgres::NoTls).expect("connected"), said)
}

#[test]
fn notices_that_find_the_ring_full_are_said_later_and_in_order() {
    let database = Database::new();
    let (mut leader, said) = listening(&database);
    let handle = launch(
        &mut leader,
        "DO $$ BEGIN FOR i IN 1 .. 30 LOOP RAISE NOTICE '% %', i, repeat('x', 20000); END LOOP; END $$",
    );
    call(&mut leader, "pg_background_wait_v2", handle).expect("it finishes, unread");
    assert!(try_result(&mut leader, handle).is_ok());
    let said: Vec<String> = said.try_iter().filter(|text| text.len() > 20000).collect();
    assert_eq!(said.len(), 30);
    for (number, text) in (1..).zip(said) {
        assert!(text.starts_with(&format!("{number} ")));
    }
}

/// More than is kept in all, after a burst for which the ring has no room, from a statement that sends nothing else.
#[test]
fn notices_after_a_burst_arrive_while_the_statement_goes_on() {
    const COUNT: usize = 90;
    let database = Database::new();
    let (mut leader, said) = listening(&database);
    leader
        .batch_execute(&format!(
            "SELECT pg_background_exec($job$DO $$ BEGIN
                 FOR i IN 1 .. {COUNT} LOOP
                     IF i > 30 THEN PERFORM pg_sleep(0.03); END IF;
                     RAISE NOTICE '% %', i, repeat('x', 20000);
                 END LOOP; END $$$job$)"
        ))
        .expect("it runs");
    let said: Vec<String> = said.try_iter().filter(|text| text.len() > 20000).collect();
    assert_eq!(said.len(), COUNT);
    for (number, text) in (1..).zip(said) {
        assert!(text.starts_with(&format!("{number} ")));
    }
}
