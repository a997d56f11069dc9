//! The jobs of a session, and what may be done with them after the session has become another user.

use session_tests::*;

/// A pooler's login role: a member of its tenants that does not inherit their privileges.
fn pooler(name: &str) -> Server {
    let server = Server::start(name, &["pg_background.max_workers=3"]);
    server.role("login");
    server.role("tenant");
    server.role("next_tenant");
    server
        .session()
        .batch_execute(
            "SELECT grant_pg_background_privileges('login');
             -- Since 16 a membership keeps what its member was when it was granted.
             ALTER ROLE login NOINHERIT;
             GRANT tenant, next_tenant TO login",
        )
        .expect("roles");
    server
}

#[test]
fn a_poolers_reset_query_detaches_the_jobs_of_a_tenant() {
    let server = pooler("pooler");
    let mut session = server.session_as("login");
    for reset in [
        "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; SELECT pg_background_detach_all()",
        "RESET ROLE; SELECT pg_background_detach_all_v2()",
        "SET ROLE next_tenant; SELECT pg_background_detach_all()",
    ] {
        session.batch_execute("SET ROLE tenant").expect("a tenant");
        for _ in 0..3 {
            launch(&mut session, "SELECT 1");
        }
        session.batch_execute(reset).expect(reset);
        session
            .batch_execute("SET ROLE next_tenant")
            .expect("a tenant");
        let handle = launch(&mut session, "SELECT current_user::text");
        assert_eq!(
            try_result(&mut session, handle).expect("a result"),
            [Some(String::from("next_tenant"))]
        );
    }
    nothing_is_left(&mut server.session());
}

#[test]
fn a_session_detaches_a_job_whatever_its_role_is_and_does_nothing_else_with_it() {
    let server = pooler("let-go");
    let mut session = server.session_as("login");
    session.batch_execute("SET ROLE tenant").expect("a tenant");
    let running = launch(&mut session, "SELECT pg_sleep(600)");
    let finished = launch(&mut session, "SELECT 1");
    call(&mut session, "pg_background_wait_v2", finished).expect("waited for");
    let by_pid: i32 = value(&mut session, "SELECT pg_background_launch('SELECT 2')");
    let canceled =
        |session: &mut postgres::Client| value::<i32>(session, "SELECT pg_background_cancel_all()");
    for role in ["next_tenant", "login"] {
        session
            .batch_execute(&format!("SET ROLE {role}"))
            .expect("a role");
        for function in [
            "pg_background_cancel_v2",
            "pg_background_wait_v2",
            "pg_background_full_sql",
        ] {
            assert_eq!(
                sqlstate(call(&mut session, function, running)),
                "42501",
                "{function}"
            );
        }
        assert_eq!(sqlstate(try_result(&mut session, finished)), "42501");
        assert_eq!(canceled(&mut session), 0);
        assert_eq!(
            value::<i64>(
                &mut session,
                "SELECT count(*) FROM pg_background_list()
                AS (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4,
                    state text, sql_preview text, last_error text, consumed bool)"
            ),
            0
        );
    }
    assert!(value::<i32>(&mut session, "SELECT pg_background_purge()") >= 1);
    let one = format!(
        "SELECT pg_background_detach_v2({}, {})",
        running.pid, running.cookie
    );
    session.batch_execute(&one).expect("detached");
    assert_eq!(sqlstate(session.batch_execute(&one)), "42704");
    session
        .batch_execute(&format!(
            "DO $$ BEGIN PERFORM pg_background_detach({by_pid});
                                 EXCEPTION WHEN undefined_object THEN NULL; END $$"
        ))
        .expect("detached, or purged");
    session.batch_execute("SET ROLE tenant").expect("a tenant");
    assert_eq!(
        value::<i32>(&mut session, "SELECT pg_background_detach_all()"),
        0
    );
    // The job goes on: a detach stops nothing.
    let mut admin = server.session();
    eventually(
        &mut admin,
        "(SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep')",
    );
    admin
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        )
        .expect("ended");
    nothing_is_left(&mut admin);
}

#[test]
fn a_fanouts_cursor_is_for_the_user_of_its_first_row() {
    let server = pooler("fanout-cursor");
    let mut session = server.session_as("login");
    const OPEN: &str = "BEGIN; SET LOCAL ROLE tenant;
         DECLARE c NO SCROLL CURSOR FOR SELECT f.ok, f.result::text FROM
             (SELECT (pg_background_fanout(ARRAY(SELECT 'SELECT current_user' FROM generate_series(1, 5)), 1)).*
              OFFSET 0) f";
    let fetch = "FETCH c";
    let row = |session: &mut postgres::Client| -> Result<Option<String>, postgres::Error> {
        Ok(session.query_opt(fetch, &[])?.map(|row| row.get(1)))
    };
    let tenant = Some(String::from("[{\"current_user\": \"tenant\"}]"));
    session.batch_execute(OPEN).expect("a cursor");
    assert_eq!(row(&mut session).expect("a row"), tenant);
    for other in ["SET LOCAL ROLE next_tenant", "SET LOCAL ROLE NONE"] {
        session
            .batch_execute(&format!("SAVEPOINT s; {other}"))
            .expect(other);
        assert_eq!(sqlstate(row(&mut session)), "42501", "{other}");
        // The server has ended the cursor with the error.
        session
            .batch_execute(&format!("ROLLBACK; {OPEN}; FETCH c"))
            .expect("begun again");
    }
    // Away and back.
    session
        .batch_execute("SET LOCAL ROLE next_tenant; SET LOCAL ROLE tenant")
        .expect("back");
    assert_eq!(row(&mut session).expect("a row"), tenant);
    session.batch_execute("COMMIT").expect("ended");
    // A function of another user that gets the cursor.
    server
        .session()
        .batch_execute(
            "GRANT CREATE ON SCHEMA public TO next_tenant; SET ROLE next_tenant;
             CREATE FUNCTION fetch_for(c refcursor) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE r record;
             BEGIN FETCH c INTO r; RETURN r.result; END $$",
        )
        .expect("a function");
    session
        .batch_execute(&format!("{OPEN}; FETCH c"))
        .expect("a cursor");
    assert_eq!(
        sqlstate(session.query_one("SELECT fetch_for('c')", &[])),
        "42501"
    );
    session.batch_execute("ROLLBACK").expect("ended");
    nothing_is_left(&mut server.session());
}
