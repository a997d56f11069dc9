//! Nothing is launched within a security-restricted operation, by whichever function.

use session_tests::*;

/// Everything that makes a job or starts a worker.
const LAUNCHES: [&str; 27] = [
    "SELECT pg_background_launch('SELECT 1')",
    "SELECT pg_background_launch('SELECT 1', 0)",
    "SELECT pg_background_launch('SELECT 1', 0, 'label')",
    "SELECT pg_background_launch_v2('SELECT 1')",
    "SELECT pg_background_launch_v2('SELECT 1', 0, 'label')",
    "SELECT pg_background_submit('SELECT 1')",
    "SELECT pg_background_submit('SELECT 1', 0, 'label')",
    "SELECT pg_background_submit_v2('SELECT 1')",
    "SELECT pg_background_submit_v2('SELECT 1', 0, 'label')",
    "SELECT pg_background_launch_params('SELECT $1', 1)",
    "SELECT pg_background_submit_params('SELECT $1', 1)",
    "SELECT pg_background_exec('SELECT 1')",
    "SELECT pg_background_exec('SELECT $1', 1)",
    "SELECT pg_background_call('SELECT 1', NULL::int4)",
    "SELECT pg_background_call('SELECT $1', NULL::int4, 1)",
    "SELECT pg_background_run('SELECT 1')",
    "SELECT pg_background_run_v2('SELECT 1')",
    "SELECT * FROM pg_background_run_query('SELECT 1') AS (n int4)",
    "SELECT * FROM pg_background_run_query_v2('SELECT 1') AS (n int4)",
    "SELECT * FROM pg_background_fanout(ARRAY['SELECT 1'])",
    "SELECT pg_background_fanout(ARRAY['SELECT 1'])",
    "SELECT * FROM pg_background_fanout_params('SELECT $1', ARRAY[1])",
    "SELECT pg_background_fanout_params('SELECT $1', ARRAY[1])",
    "SELECT pg_background_prewarm(1)",
    // Through a function of another user, and after attempts to leave the operation.
    "SELECT definer('SELECT pg_background_launch_v2(''SELECT 1'')')",
    "DO $$ BEGIN PERFORM pg_background_launch_v2('SELECT 1'); END $$",
    "SELECT with_settings('SELECT pg_background_launch_v2(''SELECT 1'')')",
];

/// What a user of the extension may try in a materialized view of his.
const OBJECTS: &str = "
    GRANT CREATE ON SCHEMA public TO plain;
    SET SESSION AUTHORIZATION plain;
    -- Since 17 such an operation has a search path of its own.
    CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql SET search_path = public AS $$
    BEGIN
        EXECUTE sql;
        RETURN '00000';
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
    END $$;
    CREATE FUNCTION definer(sql text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN EXECUTE sql; END $$;
    CREATE FUNCTION with_settings(sql text) RETURNS void LANGUAGE plpgsql SET work_mem = '1MB' AS $$
    BEGIN EXECUTE sql; END $$;
    CREATE TABLE attempts (number int4, sql text);
    CREATE MATERIALIZED VIEW made AS SELECT number, attempt(sql) AS outcome FROM attempts;
    RESET SESSION AUTHORIZATION";

#[test]
fn no_function_launches_within_a_security_restricted_operation() {
    let server = Server::start("restricted", &[]);
    server.role("plain");
    let mut admin = server.session();
    admin.batch_execute(OBJECTS).expect("objects");
    for (number, sql) in (0_i32..).zip(LAUNCHES) {
        admin
            .execute("INSERT INTO attempts VALUES ($1, $2)", &[&number, &sql])
            .expect("noted");
    }
    for refreshing in ["plain", "postgres"] {
        let mut session = server.session_as(refreshing);
        session
            .batch_execute("REFRESH MATERIALIZED VIEW made")
            .expect("refreshed");
        let allowed: Vec<(String, String)> = session
            .query(
                "SELECT a.sql, m.outcome FROM made m JOIN attempts a USING (number)
                 WHERE m.outcome <> '42501 cannot launch a background job within security-restricted operation'",
                &[],
            )
            .expect("read")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        assert_eq!(allowed, Vec::new());
    }
    assert_eq!(
        value::<i64>(&mut admin, "SELECT count(*) FROM made"),
        LAUNCHES.len() as i64
    );
    nothing_is_left(&mut admin);
    // Outside of one they all work.
    let mut session = server.session_as("plain");
    for sql in LAUNCHES {
        session.batch_execute(sql).expect(sql);
    }
}

#[test]
fn nothing_is_detached_within_a_restricted_operation() {
    let server = Server::start("restricted-hold", &[]);
    server.role("plain");
    let mut admin = server.session();
    admin.batch_execute(OBJECTS).expect("objects");
    let handle = launch(&mut admin, "SELECT 'kept'");
    call(&mut admin, "pg_background_wait_v2", handle).expect("waited for");
    for (number, sql) in [
        format!(
            "SELECT pg_background_detach_v2({}, {})",
            handle.pid, handle.cookie
        ),
        String::from("SELECT pg_background_detach_all()"),
        String::from("SELECT pg_background_purge()"),
    ]
    .iter()
    .enumerate()
    {
        let number = number as i32;
        admin
            .execute("INSERT INTO attempts VALUES ($1, $2)", &[&number, sql])
            .expect("noted");
    }
    admin
        .batch_execute("REFRESH MATERIALIZED VIEW made")
        .expect("refreshed");
    let outcomes: Vec<String> = admin
        .query("SELECT left(outcome, 5) FROM made ORDER BY number", &[])
        .expect("read")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(outcomes, ["42501", "00000", "00000"]);
    assert_eq!(
        try_result(&mut admin, handle).expect("still there"),
        [Some(String::from("kept"))]
    );
}
