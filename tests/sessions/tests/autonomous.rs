//! Statements in transactions of their own (`pg_background_exec`, `pg_background_call`, and a fan-out over values)
//! where one session is not enough: on a standby, in parallel plans, with a type that another session alters, with
//! types of users who want to see what is run as whom.

use postgres::Client;
use session_tests::*;

/// A call of each kind. Each reads three rows of `t`, in one job or in three.
const CALLS: [&str; 3] = [
    "SELECT pg_background_exec('SELECT n FROM t WHERE n <= $1', 3)",
    "SELECT pg_background_call('SELECT count(*) FROM t WHERE n <= $1', NULL::int8, 3)",
    "SELECT sum(row_count)::int8 FROM pg_background_fanout_params('SELECT n FROM t WHERE n = $1', ARRAY[1, 2, 3])",
];

#[test]
fn on_a_standby_they_read_and_may_not_write() {
    let server = Server::start("standby", &[]);
    server
        .session()
        .batch_execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 10) n")
        .expect("a table");
    server.become_standby();
    let mut session = server.session();
    assert!(value::<bool>(&mut session, "SELECT pg_is_in_recovery()"));
    for sql in CALLS {
        assert_eq!(value::<i64>(&mut session, sql), 3, "{sql}");
    }
    assert_eq!(
        run(&mut session, "SELECT count(*) FROM t").as_deref(),
        Some("10")
    );
    for sql in [
        "SELECT pg_background_exec('INSERT INTO t VALUES (11)')",
        "SELECT pg_background_exec('CREATE TEMP TABLE u ()')",
        "SELECT pg_background_call('DELETE FROM t RETURNING n', NULL::int4)",
    ] {
        assert_eq!(sqlstate(session.batch_execute(sql)), "25006", "{sql}");
    }
    let refused =
        "SELECT sqlstate FROM pg_background_fanout_params('DELETE FROM t WHERE n = $1', ARRAY[1])";
    assert_eq!(value::<String>(&mut session, refused), "25006");
    nothing_is_left(&mut session);
}

fn explain(session: &mut Client, sql: &str) -> String {
    let rows = session
        .query(&format!("EXPLAIN {sql}"), &[])
        .expect("it is planned");
    rows.iter().map(|row| row.get::<_, String>(0)).collect()
}

/// A query that calls them has no parallel plan. A function that is wrongly said to be safe, or restricted, calls them
/// in one: there they refuse, in a parallel worker and in its leader.
#[test]
fn parallel_plans_have_none_of_them() {
    let server = Server::start("parallel-calls", &[]);
    server.role("someone");
    server
        .session()
        .batch_execute(
            "CREATE TABLE t AS SELECT n FROM generate_series(1, 100000) n; ANALYZE t;
             GRANT SELECT ON t TO someone; GRANT CREATE ON SCHEMA public TO someone",
        )
        .expect("a table");
    let mut session = server.session_as("someone");
    session
        .batch_execute(
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET parallel_leader_participation = off",
        )
        .expect("settings");
    for (number, call) in CALLS.into_iter().enumerate() {
        let unsafe_query = format!("SELECT ({call}) FROM t");
        assert!(
            !explain(&mut session, &unsafe_query).contains("Gather"),
            "{call}"
        );
        for (safety, argument) in [("safe", "n"), ("restricted", "max(n)")] {
            session
                .batch_execute(&format!(
                    "CREATE FUNCTION {safety}{number}(n int4) RETURNS int8 PARALLEL {safety} LANGUAGE plpgsql AS $$
                     BEGIN RETURN ({call}); END $$"
                ))
                .expect("a function");
            let query = format!("SELECT {safety}{number}({argument}) FROM t");
            assert!(explain(&mut session, &query).contains("Gather"), "{query}");
            assert_eq!(
                sqlstate(session.simple_query(&query)),
                "25000",
                "{query}: {call}"
            );
            // After that the session is like any other.
            assert_eq!(value::<i64>(&mut session, call), 3, "{call}");
        }
    }
    nothing_is_left(&mut session);
}

/// A third session alters the type between the commit and the moment at which the caller looks at the value.
#[test]
fn a_caller_learns_that_a_statement_has_committed_whose_value_it_cannot_read() {
    let database = Database::new();
    let (mut caller, mut observer) = (database.session(), database.session());
    observer
        .batch_execute("CREATE TABLE done (n int4); CREATE TYPE pair AS (a int4, b int4)")
        .expect("a table and a type");
    let pid: i32 = value(&mut caller, "SELECT pg_backend_pid()");
    for (change, expected) in [
        ("ALTER TYPE pair ALTER ATTRIBUTE a TYPE text", "42804"),
        ("DROP TYPE pair", "42704"),
    ] {
        observer
            .batch_execute("TRUNCATE done; SELECT pg_advisory_lock(1)")
            .expect("locked");
        let call = std::thread::spawn(move || {
            let ended = caller.batch_execute(
                "SELECT pg_background_call('INSERT INTO done SELECT 1 FROM pg_advisory_xact_lock(1) RETURNING ROW(1, 2)::pair',
                                           NULL::pair)",
            );
            (caller, ended)
        });
        eventually(
            &mut observer,
            "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background' AND wait_event = 'advisory' AND datname = current_database())",
        );
        signal(pid, Signal::STOP);
        observer
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .expect("unlocked");
        eventually(&mut observer, "(SELECT count(*) = 1 FROM done)");
        observer.batch_execute(change).expect("altered");
        signal(pid, Signal::CONT);
        let (session, ended) = call.join().expect("the caller's thread");
        caller = session;
        let error = ended.expect_err("the value has the old form");
        let error = error.as_db_error().expect("the extension's");
        assert_eq!(error.code().code(), expected, "{error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(detail.contains("has been committed"), "{error:?}");
        observer
            .batch_execute("DROP TYPE IF EXISTS pair; CREATE TYPE pair AS (a int4, b int4)")
            .expect("a type");
        nothing_is_left(&mut observer);
    }
}

/// What a user who may create types puts into them, and into what converts them. Each function notes as whom it runs.
const TRAPS: &str = "
    CREATE TABLE runs (who name, what text);
    GRANT INSERT ON runs TO PUBLIC;
    SET ROLE mallory;
    CREATE SCHEMA mallory;
    CREATE FUNCTION mallory.note(what text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.runs VALUES (current_user, what); END $$;
    CREATE TYPE mallory.pair AS (a int4, b text);
    CREATE FUNCTION mallory.check_pair(p mallory.pair) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN PERFORM mallory.note('domain'); RETURN true; END $$;
    CREATE DOMAIN mallory.checked AS mallory.pair CHECK (mallory.check_pair(VALUE));
    CREATE FUNCTION mallory.number(p mallory.pair) RETURNS int4 LANGUAGE plpgsql AS $$
    BEGIN PERFORM mallory.note('cast'); RETURN p.a; END $$;
    CREATE CAST (mallory.pair AS int4) WITH FUNCTION mallory.number AS IMPLICIT;
    CREATE TYPE mallory.mood AS ENUM ('bad');
    CREATE FUNCTION mallory.json(m mallory.mood) RETURNS json LANGUAGE plpgsql AS $$
    BEGIN PERFORM mallory.note('json'); RETURN '1'; END $$;
    CREATE CAST (mallory.mood AS json) WITH FUNCTION mallory.json(mallory.mood);
    CREATE FUNCTION mallory.diff(a int4, b int4) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM mallory.note('range'); RETURN a - b; END $$;
    CREATE TYPE mallory.span AS RANGE (subtype = int4, subtype_diff = mallory.diff);
    RESET ROLE;
    GRANT USAGE ON SCHEMA mallory TO PUBLIC";

/// Values of others' types are bound as they are: nothing of these types runs, neither in the session nor in the job.
#[test]
fn binding_values_runs_no_code_of_their_types() {
    let server = Server::start("traps", &[]);
    for role in ["mallory", "victim"] {
        server.role(role);
    }
    let mut admin = server.session();
    admin
        .batch_execute("GRANT CREATE ON DATABASE postgres TO mallory; GRANT ALL ON SCHEMA public TO mallory, victim")
        .expect("granted");
    admin.batch_execute(TRAPS).expect("traps");
    let mut victim = server.session_as("victim");
    victim
        .batch_execute(
            "CREATE TABLE kept AS SELECT ARRAY[ROW(1, 'x')]::mallory.checked[] AS checked",
        )
        .expect("a value");
    admin.batch_execute("TRUNCATE runs").expect("forgotten");
    for params in [
        "ARRAY[ROW(1, 'x'), NULL]::mallory.pair[]",
        "(SELECT checked FROM kept)",
        "ARRAY[ROW(ROW(1, 'x')::mallory.pair, ARRAY[ROW(1, 'x')::mallory.pair])]",
        "ARRAY['[1,5)'::mallory.span]",
        "ARRAY['bad', NULL]::mallory.mood[]",
        "ARRAY[ROW(1, 'x')::mallory.pair]::record[]",
    ] {
        let sql =
            format!("SELECT bool_and(ok) FROM pg_background_fanout_params('SELECT 1', {params})");
        assert!(value::<bool>(&mut victim, &sql), "{params}");
    }
    for sql in [
        "SELECT pg_background_exec('SELECT 1', ROW(1, 'x')::mallory.pair, (SELECT checked[1] FROM kept))",
        "SELECT pg_background_call('SELECT 1::int8', 0::int8, ROW(1, 'x')::mallory.pair, (SELECT checked FROM kept))",
    ] {
        assert_eq!(value::<i64>(&mut victim, sql), 1, "{sql}");
    }
    assert_eq!(value::<i64>(&mut admin, "SELECT count(*) FROM runs"), 0);
    nothing_is_left(&mut admin);
}

/// What a statement does with a value is done as its user, with all the type brings along.
#[test]
fn code_of_types_in_a_job_has_the_rights_of_its_user() {
    let server = Server::start("traps-used", &[]);
    for role in ["mallory", "victim"] {
        server.role(role);
    }
    let mut admin = server.session();
    admin
        .batch_execute("GRANT CREATE ON DATABASE postgres TO mallory; GRANT ALL ON SCHEMA public TO mallory, victim")
        .expect("granted");
    admin.batch_execute(TRAPS).expect("traps");
    let mut victim = server.session_as("victim");
    let rows = victim
        .query(
            "SELECT f.* FROM unnest(ARRAY['SELECT ROW($1, $2)::mallory.checked', 'SELECT (ROW($1, $2)::mallory.pair)::int4',
                               'SELECT ''bad''::mallory.mood']) sql,
                 pg_background_fanout_params(sql, ARRAY[ROW(1, 'x'), ROW(2, 'y')]::mallory.pair[]) f",
            &[],
        )
        .expect("a row for each");
    assert!(rows.iter().all(|row| row.get::<_, bool>("ok")));
    let seen: Vec<String> = admin
        .query(
            "SELECT DISTINCT who || ' ' || what FROM runs ORDER BY 1",
            &[],
        )
        .expect("notes")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(seen, ["victim cast", "victim domain", "victim json"]);
}
