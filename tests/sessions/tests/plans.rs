//! Saved plans: what other sessions and libraries see of them, and how much there is of them.

use postgres::Client;
use session_tests::*;

/// Calls the text until its plan is saved, and once more.
fn from_saved(client: &mut Client, sql: &str) -> Option<String> {
    for _ in 0..100 {
        call_text(client, sql);
        if saved(client, sql) > 0 {
            return call_text(client, sql);
        }
    }
    panic!("no plan was saved: {sql}")
}

fn call_text(client: &mut Client, sql: &str) -> Option<String> {
    client
        .query_one("SELECT pg_background_call($1, NULL::text)", &[&sql])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}

/// How many plans of the text the worker has.
fn saved(client: &mut Client, sql: &str) -> i64 {
    client
        .query_one(
            "SELECT pg_background_call('SELECT count(*) FROM pg_backend_memory_contexts
                WHERE name = ''CachedPlanSource'' AND ident = $1', 0::bigint, $1::text)",
            &[&sql],
        )
        .expect("a number")
        .get(0)
}

/// Whatever the other tests run with.
const SAVES_PLANS: &str = "pg_background.plan_cache_size=8MB";

/// A server on which one worker runs all jobs.
fn server(name: &str, settings: &[&str]) -> Server {
    let own = [SAVES_PLANS, "pg_background.max_pool_workers=1"];
    Server::start(name, &[&own, settings].concat())
}

#[test]
fn each_execution_of_a_saved_plan_is_seen_as_that_of_a_prepared_statement() {
    let server = server(
        "saved-plans-seen",
        &[
            "shared_preload_libraries=pg_stat_statements,auto_explain",
            "auto_explain.log_min_duration=0",
            "log_min_duration_statement=0",
            "log_statement=all",
        ],
    );
    let mut client = server.session();
    client
        .batch_execute("CREATE EXTENSION pg_stat_statements; CREATE TABLE t (n int); SELECT pg_stat_statements_reset()")
        .expect("a table");
    for _ in 0..10 {
        client
            .batch_execute("SELECT pg_background_exec('INSERT INTO t VALUES ($1) /* seen */', 7)")
            .expect("inserted");
    }
    assert_eq!(
        saved(&mut client, "INSERT INTO t VALUES ($1) /* seen */"),
        1
    );
    let calls: i64 = value(
        &mut client,
        "SELECT sum(calls)::bigint FROM pg_stat_statements WHERE query LIKE 'INSERT INTO t %'",
    );
    assert_eq!(calls, 10);
    let log = server.log();
    let count = |text: &str| log.matches(text).count();
    assert_eq!(count("statement: INSERT INTO t VALUES ($1) /* seen */"), 10);
    assert_eq!(
        count("Query Text: INSERT INTO t VALUES ($1) /* seen */"),
        10
    );
    assert_eq!(count("Insert on t"), 10);
    // The identifier of the query, while it runs.
    let job = "SELECT query_id = (SELECT queryid FROM pg_stat_statements WHERE query LIKE 'SELECT query_id = %' LIMIT 1)
               FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert_eq!(from_saved(&mut client, job).as_deref(), Some("true"));
}

/// `ci/server-tests eager-plans` leaves this one out.
#[test]
fn a_text_that_comes_once_is_not_saved() {
    let server = server("saved-plans-once", &[]);
    let mut client = server.session();
    call_text(&mut client, "SELECT 'once'");
    assert_eq!(saved(&mut client, "SELECT 'once'"), 0);
    // Any change of names lets plans be saved anew, and is another first time.
    from_saved(&mut client, "SELECT 'again'");
    client
        .batch_execute("CREATE TEMP TABLE other (n int)")
        .expect("a table");
    call_text(&mut client, "SELECT 'again'");
    assert_eq!(saved(&mut client, "SELECT 'again'"), 0);
}

#[test]
fn a_saved_plan_follows_statistics() {
    let server = server(
        "saved-plans-statistics",
        &[
            "session_preload_libraries=auto_explain",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_nested_statements=off",
        ],
    );
    let mut client = server.session();
    client
        .batch_execute(
            "CREATE TABLE skewed (n int, filler text) WITH (autovacuum_enabled = off);
             INSERT INTO skewed SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g;
             CREATE INDEX ON skewed (n);
             ANALYZE skewed",
        )
        .expect("a table");
    let sql = "SELECT count(filler) FROM skewed WHERE n = 5";
    let plans = |server: &Server| {
        let log = server.log();
        ["Index Scan using skewed_n_idx", "Seq Scan on skewed"]
            .map(|node| log.matches(node).count())
    };
    assert_eq!(from_saved(&mut client, sql).as_deref(), Some("1"));
    let [by_index, by_table] = plans(&server);
    assert!(by_index >= 2, "{by_index}");
    assert_eq!(by_table, 0);
    for sql in ["UPDATE skewed SET n = 5", "VACUUM ANALYZE skewed"] {
        client.batch_execute(sql).expect("other statistics");
    }
    let [_, by_table] = plans(&server);
    assert_eq!(from_saved(&mut client, sql).as_deref(), Some("20000"));
    let [by_index_now, by_table_now] = plans(&server);
    assert_eq!(by_index_now, by_index);
    assert!(by_table_now >= by_table + 2, "{by_table_now}");
}

#[test]
fn a_saved_plan_follows_what_other_sessions_change() {
    let server = server("saved-plans-followed", &[]);
    let (mut client, mut other) = (server.session(), server.session());
    client
        .batch_execute("CREATE TABLE followed (n int); INSERT INTO followed VALUES (0)")
        .expect("a table");
    let change = |client: &mut Client, sql: String| client.batch_execute(&sql).expect("changed");
    for round in 0..100 {
        change(
            &mut other,
            format!(
                "CREATE OR REPLACE FUNCTION inlined() RETURNS text LANGUAGE sql STABLE AS 'SELECT ''{round}''::text';
                 CREATE OR REPLACE VIEW viewed AS SELECT '{round}'::text AS word"
            ),
        );
        for _ in 0..3 {
            let expected = format!("{round}");
            for sql in ["SELECT inlined()", "SELECT word FROM viewed"] {
                assert_eq!(call_text(&mut client, sql).as_deref(), Some(&*expected));
            }
        }
        change(
            &mut other,
            format!("ALTER TABLE followed ADD COLUMN added{round} int DEFAULT {round}"),
        );
        for _ in 0..3 {
            let row = call_text(&mut client, "SELECT followed FROM followed").expect("a row");
            assert!(row.ends_with(&format!(",{round})")), "{row}");
        }
    }
}

#[test]
fn jobs_and_changes_at_the_same_time_agree() {
    let server = Server::start("saved-plans-raced", &[SAVES_PLANS]);
    let mut client = server.session();
    client
        .batch_execute(
            "CREATE TABLE raced (a int, b int); INSERT INTO raced VALUES (1, 1);
             CREATE PROCEDURE change(rounds int) LANGUAGE plpgsql AS $$
             BEGIN
                FOR i IN 1..rounds LOOP
                    ALTER TABLE raced DROP COLUMN b;
                    ALTER TABLE raced ADD COLUMN b int DEFAULT 1;
                    COMMIT;
                    CREATE INDEX raced_index ON raced (a);
                    COMMIT;
                    DROP INDEX raced_index;
                    TRUNCATE raced;
                    INSERT INTO raced VALUES (1, 1);
                    COMMIT;
                END LOOP;
             END $$;
             CREATE FUNCTION look(rounds int) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                FOR i IN 1..rounds LOOP
                    ASSERT pg_background_call('SELECT sum(a + b) FROM raced', 0::bigint) = 2;
                    ASSERT pg_background_call('SELECT sum(a + b) FROM raced WHERE a = $1', 0::bigint, 1) = 2;
                    ASSERT pg_background_exec('UPDATE raced SET b = b') = 1;
                END LOOP;
             END $$",
        )
        .expect("functions");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                server
                    .session()
                    .batch_execute("SELECT look(500)")
                    .expect("what the jobs saw");
            });
        }
        client.batch_execute("CALL change(100)").expect("changes");
    });
    nothing_is_left(&mut client);
}

#[test]
fn another_role_gets_nothing_from_a_saved_plan() {
    let server = server("saved-plans-rights", &[]);
    server.role("one");
    server.role("two");
    server
        .session()
        .batch_execute(
            "CREATE FUNCTION secret() RETURNS text LANGUAGE sql STABLE AS 'SELECT ''secret''::text';
             REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION secret TO one;
             CREATE FUNCTION as_one() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN RETURN pg_background_call(''SELECT secret()'', NULL::text); END';
             ALTER FUNCTION as_one OWNER TO one",
        )
        .expect("functions");
    // One lane: a worker runs the jobs of both users.
    let mut session = server.session_as("two");
    for round in 0..10 {
        let text: String = value(&mut session, "SELECT as_one()");
        assert_eq!(text, "secret", "in round {round}");
        let stolen = session.query(
            "SELECT pg_background_call('SELECT secret()', NULL::text)",
            &[],
        );
        assert_eq!(sqlstate(stolen), "42501", "in round {round}");
    }
    // What the plan of one session means by a name is not what that of another does.
    server
        .session()
        .batch_execute(
            "CREATE SCHEMA two AUTHORIZATION two;
             CREATE FUNCTION two.secret() RETURNS text LANGUAGE sql STABLE AS 'SELECT ''of two''::text'",
        )
        .expect("a schema");
    for round in 0..10 {
        let own: String = value(
            &mut session,
            "SELECT pg_background_call('SELECT secret()', NULL::text)",
        );
        assert_eq!(own, "of two", "in round {round}");
        let text: String = value(&mut session, "SELECT as_one()");
        assert_eq!(text, "secret", "in round {round}");
    }
}

#[test]
fn a_change_of_the_configuration_reaches_saved_plans() {
    let server = server("saved-plans-configuration", &[]);
    let mut client = server.session();
    let date = "SELECT to_char('01/02/2003'::date, 'YYYY-MM-DD')";
    let configure = |client: &mut Client, value_of: &str| {
        let before: String = value(client, "SELECT pg_conf_load_time()::text");
        client
            .batch_execute(&format!("ALTER SYSTEM SET DateStyle = '{value_of}'"))
            .and_then(|()| client.batch_execute("SELECT pg_reload_conf()"))
            .expect("configured");
        eventually(client, &format!("pg_conf_load_time()::text <> '{before}'"));
    };
    let mut expected = ["2003-01-02", "2003-02-01"].into_iter().cycle();
    for _ in 0..4 {
        for style in ["ISO, MDY", "ISO, DMY"] {
            configure(&mut client, style);
            // The worker reads it before a job, when the postmaster's signal has come.
            let shown = format!("pg_background_call('SHOW DateStyle', NULL::text) = '{style}'");
            eventually(&mut client, &shown);
            assert_eq!(from_saved(&mut client, date).as_deref(), expected.next());
        }
    }
}

/// The memory of the worker: all contexts.
fn memory(client: &mut Client) -> i64 {
    value(
        client,
        "SELECT pg_background_call('SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts', 0::bigint)",
    )
}

#[test]
fn a_hundred_thousand_texts_need_no_more_memory_than_a_few() {
    let server = Server::start(
        "saved-plans-memory",
        &[
            "pg_background.worker_max_jobs=1000000",
            "pg_background.max_pool_workers=1",
            "pg_background.plan_cache_size=1MB",
            "log_min_messages=warning",
        ],
    );
    let mut client = server.session();
    client
        .batch_execute("CREATE TABLE t (n int);
             CREATE FUNCTION run_texts(first int, last int) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                FOR i IN first..last BY 10000 LOOP
                    PERFORM count(*) FROM pg_background_fanout(ARRAY(
                        SELECT 'SELECT n + ' || g || ' FROM t WHERE n > ' || g
                        FROM generate_series(i, least(i + 9999, last)) AS g, generate_series(1, 2)));
                END LOOP;
             END $$")
        .expect("a function");
    let mut measured = [1, 10_000, 100_000].map(|last| {
        client
            .batch_execute(&format!("SELECT run_texts({}, {last})", last / 10 + 1))
            .expect("jobs");
        memory(&mut client)
    });
    let pids: i64 = value(
        &mut client,
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_background%'",
    );
    assert_eq!(pids, 1);
    let at_first = measured[0];
    measured.sort_unstable();
    // The plans, and what the allocator leaves unused between them.
    assert!(measured[2] < at_first + (3 << 20), "{measured:?}");
}
