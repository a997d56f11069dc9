//! Privileges: here, that a job never has more than its launching user had; in the modules, who may call what
//! ([`surface`]), the effect of revoked privileges ([`revoked`]), what is not allowed within a
//! security-restricted operation ([`restricted`]), what others learn of a job ([`secrecy`]), and the limits of a role
//! ([`roles`]).

mod restricted;
mod revoked;
mod roles;
mod secrecy;
mod surface;
mod turns;

use postgres::Client;
use postgres::error::SqlState;
use session_tests::*;

/// Functions of a handle that need privileges, with their arguments after the handle.
const OF_A_HANDLE: [(&str, &str); 4] = [
    ("pg_background_wait_v2", ""),
    ("pg_background_wait_v2_timeout", ", 1"),
    ("pg_background_cancel_v2", ""),
    ("pg_background_cancel_v2_grace", ", 1"),
];

/// A function of `owner` that launches a job with the owner's privileges and reads its one value, if any.
fn create_definer(admin: &mut Client, owner: &str) {
    admin
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {owner};
             SET ROLE {owner};
             CREATE FUNCTION run_as_{owner}(sql text) RETURNS text
             LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE
                 h public.pg_background_handle;
                 value text;
             BEGIN
                 h := pg_background_launch_v2(sql);
                 SELECT r.t INTO value FROM pg_background_result_v2(h.pid, h.cookie) AS r (t text);
                 RETURN value;
             END $$;
             RESET ROLE"
        ))
        .expect("the function is created");
}

fn call_definer(
    client: &mut Client,
    owner: &str,
    sql: &str,
) -> Result<Option<String>, postgres::Error> {
    client
        .query_one(&format!("SELECT run_as_{owner}($1)"), &[&sql])
        .map(|row| row.get(0))
}

/// Procedures of `owner` that try, each in its way, to get more privileges after the transaction
/// in which they were called.
fn create_escalations(admin: &mut Client, owner: &str) {
    let attempts = [
        ("rollback", "ROLLBACK"),
        ("commit", "COMMIT"),
        (
            "subtransaction",
            "BEGIN RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END",
        ),
        (
            "rollback_in_handler",
            "BEGIN RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; ROLLBACK; COMMIT",
        ),
        ("nothing", "NULL"),
    ];
    for (name, first) in attempts {
        admin
            .batch_execute(&format!(
                "GRANT CREATE ON SCHEMA public TO {owner};
                 SET ROLE {owner};
                 CREATE PROCEDURE try_{name}() LANGUAGE plpgsql AS $$
                 BEGIN
                     {first};
                     CREATE ROLE {owner}_{name} SUPERUSER;
                 END $$;
                 RESET ROLE"
            ))
            .expect("the procedure is created");
    }
}

const ATTEMPTS: [&str; 5] = [
    "rollback",
    "commit",
    "subtransaction",
    "rollback_in_handler",
    "nothing",
];

fn no_superuser_was_made(admin: &mut Client, owner: &str) {
    let made: i64 = value(
        admin,
        &format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{owner}\\_%'"),
    );
    if made > 0 {
        for name in ATTEMPTS {
            let _ = admin.batch_execute(&format!("DROP ROLE IF EXISTS {owner}_{name}"));
        }
    }
    assert_eq!(made, 0, "{owner} has made a superuser");
}

#[test]
fn without_the_role_nothing_can_be_called() {
    let server = Server::start("no-role", &[]);
    let mut admin = server.session();
    admin
        .batch_execute("CREATE ROLE outsider LOGIN")
        .expect("a role");
    let callable: Vec<String> = admin
        .query(
            "SELECT d.objid::regprocedure::text FROM pg_depend d
             JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
             WHERE e.extname = 'pg_background' AND d.classid = 'pg_proc'::regclass
               AND has_function_privilege('outsider', d.objid, 'EXECUTE')",
            &[],
        )
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(callable, Vec::<String>::new());
    let mut outsider = server.session_as("outsider");
    assert_state(
        outsider.batch_execute("SELECT pg_background_launch_v2('SELECT 1')"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    admin
        .batch_execute("GRANT pgbackground_role TO outsider")
        .expect("granted");
    assert_eq!(
        run(&mut outsider, "SELECT current_user::text"),
        Some(String::from("outsider"))
    );
}

#[test]
fn a_job_has_the_rights_of_the_user_who_launched_it() {
    let server = Server::start("user", &[]);
    server.role("worker_user");
    let mut admin = server.session();
    admin
        .batch_execute("CREATE TABLE secret (n int4)")
        .expect("a table");
    let mut user = server.session_as("worker_user");
    assert_eq!(
        run(&mut user, "SELECT session_user || ' ' || current_user").as_deref(),
        Some("worker_user worker_user")
    );
    for forbidden in [
        "SELECT n::text FROM secret",
        "CREATE ROLE more SUPERUSER",
        "SET SESSION AUTHORIZATION postgres",
        "SET ROLE postgres",
        "RESET ROLE; SELECT n::text FROM secret",
        "RESET SESSION AUTHORIZATION; SELECT n::text FROM secret",
    ] {
        assert_eq!(
            sqlstate(try_run(&mut user, forbidden)),
            "42501",
            "{forbidden}"
        );
    }
}

#[test]
fn a_job_of_another_user_is_refused() {
    let server = Server::start("others", &[]);
    server.role("alice");
    server.role("bob");
    let mut session = server.session();
    session.batch_execute("SET ROLE alice").expect("a role");
    let handle = launch(&mut session, "SELECT pg_sleep(600)");
    let by_pid: i32 = value(&mut session, "SELECT pg_background_launch('SELECT 5')");
    session.batch_execute("SET ROLE bob").expect("a role");
    for (function, rest) in OF_A_HANDLE {
        let sql = format!("SELECT {function}({}, {}{rest})", handle.pid, handle.cookie);
        assert_eq!(sqlstate(session.batch_execute(&sql)), "42501", "{function}");
    }
    assert_eq!(sqlstate(try_result(&mut session, handle)), "42501");
    let sql = format!("SELECT * FROM pg_background_result({by_pid}) AS (n int4)");
    assert_eq!(sqlstate(session.batch_execute(&sql)), "42501");
    let listed: i64 = value(
        &mut session,
        "SELECT count(*) FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
             user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool)",
    );
    assert_eq!(listed, 0);

    // A member of the launching role may, and so may a superuser.
    session
        .batch_execute("RESET ROLE; GRANT alice TO bob; SET ROLE bob")
        .expect("granted");
    assert_eq!(state(&mut session, handle), "running");
    let five: i32 = value(
        &mut session,
        &format!("SELECT n FROM pg_background_result({by_pid}) AS (n int4)"),
    );
    assert_eq!(five, 5);
    session.batch_execute("RESET ROLE").expect("a role");
    assert_eq!(cancel_and_forget(&mut session, handle), "canceled");
    nothing_is_left(&mut session);
}

#[test]
fn a_job_launched_by_a_definer_function_runs_as_its_owner() {
    let server = Server::start("definer", &[]);
    server.role("owner");
    server.role("caller");
    let mut admin = server.session();
    admin
        .batch_execute(
            "CREATE TABLE of_owner AS SELECT 'seen'::text AS t; ALTER TABLE of_owner OWNER TO owner",
        )
        .expect("a table");
    create_definer(&mut admin, "owner");
    for role in ["caller", "postgres"] {
        let mut caller = server.session_as(role);
        assert_eq!(
            call_definer(&mut caller, "owner", "SELECT current_user::text").expect("a value"),
            Some(String::from("owner"))
        );
        assert_eq!(
            call_definer(&mut caller, "owner", "SELECT t FROM of_owner").expect("a value"),
            Some(String::from("seen"))
        );
        // And the session's users are unchanged.
        assert_eq!(
            run(&mut caller, "SELECT current_user::text").as_deref(),
            Some(role)
        );
    }
}

#[test]
fn a_definer_functions_job_cannot_escape_its_owners_privileges() {
    let server = Server::start("confined", &[]);
    server.role("owner");
    let mut admin = server.session();
    create_definer(&mut admin, "owner");
    for way_out in [
        "RESET ROLE",
        "SET ROLE postgres",
        "SET ROLE NONE",
        "SET LOCAL ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET SESSION AUTHORIZATION",
        "DISCARD ALL",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT set_config('session_authorization', 'postgres', false)",
        "DO 'BEGIN EXECUTE ''SET ROLE postgres''; END'",
        "RESET ROLE; CREATE ROLE owner_x SUPERUSER",
        // Through a job of the job.
        "SELECT r.t FROM pg_background_launch_v2('RESET ROLE') h,
                         pg_background_result_v2(h.pid, h.cookie) AS r (t text)",
        "SELECT run_as_owner('SET ROLE postgres')",
    ] {
        assert_eq!(
            sqlstate(call_definer(&mut admin, "owner", way_out)),
            "42501",
            "{way_out}"
        );
        assert_eq!(
            call_definer(&mut admin, "owner", "SELECT current_user::text")
                .expect("the next job runs"),
            Some(String::from("owner"))
        );
    }
    // RESET ALL leaves users alone.
    assert_eq!(
        call_definer(&mut admin, "owner", "RESET ALL; SELECT current_user::text").expect("a value"),
        Some(String::from("owner"))
    );
    no_superuser_was_made(&mut admin, "owner");
}

#[test]
fn a_superuser_who_calls_a_definer_function_gives_its_job_no_rights() {
    let server = Server::start("escalation", &[]);
    server.role("evil");
    let mut admin = server.session();
    create_definer(&mut admin, "evil");
    create_escalations(&mut admin, "evil");
    for attempt in ATTEMPTS {
        let result = call_definer(&mut admin, "evil", &format!("CALL try_{attempt}()"));
        assert!(result.is_err(), "{attempt}");
        no_superuser_was_made(&mut admin, "evil");
    }
    // The worker that has run this serves the superuser as before.
    assert_eq!(
        run(&mut admin, "SELECT current_user || ' ' || session_user").as_deref(),
        Some("postgres postgres")
    );
}

#[test]
fn a_job_launched_under_set_role_keeps_that_role_across_transactions() {
    let server = Server::start("set-role", &[]);
    server.role("evil");
    let mut admin = server.session();
    create_escalations(&mut admin, "evil");
    admin.batch_execute("SET ROLE evil").expect("a role");
    for attempt in ATTEMPTS {
        assert_eq!(
            sqlstate(try_run(&mut admin, &format!("CALL try_{attempt}()"))),
            "42501",
            "{attempt}"
        );
    }
    assert_eq!(
        run(&mut admin, "SELECT current_user || ' ' || session_user").as_deref(),
        Some("evil postgres")
    );
    admin.batch_execute("RESET ROLE").expect("a role");
    no_superuser_was_made(&mut admin, "evil");
}

#[test]
fn an_index_function_run_by_a_superuser_gives_its_job_no_rights() {
    let server = Server::start("index-function", &[]);
    server.role("evil");
    let mut admin = server.session();
    create_escalations(&mut admin, "evil");
    for attempt in ATTEMPTS {
        // Maintenance runs the function as the owner of the table, in a restricted context.
        admin
            .batch_execute(&format!(
                "SET ROLE evil;
                 CREATE TABLE bait_{attempt} AS SELECT 1 AS n;
                 CREATE FUNCTION trap_{attempt}(n int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS $$
                 BEGIN
                     PERFORM public.pg_background_submit_v2('CALL public.try_{attempt}()');
                     RETURN n;
                 EXCEPTION WHEN OTHERS THEN
                     RETURN n;
                 END $$;
                 CREATE INDEX ON bait_{attempt} (trap_{attempt}(n));
                 RESET ROLE;
                 REINDEX TABLE bait_{attempt};
                 ANALYZE bait_{attempt}"
            ))
            .expect("maintained");
    }
    drop(admin);
    let mut admin = server.session();
    nothing_is_left(&mut admin);
    no_superuser_was_made(&mut admin, "evil");
}
