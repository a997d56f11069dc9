//! Statements that start transactions of their own, launched by a security-definer function: allowed where going
//! back to the session's users gains nothing.

use postgres::Client;
use session_tests::*;

const STARTING: [&str; 7] = [
    "VACUUM work.t",
    "REINDEX TABLE CONCURRENTLY work.t",
    "CREATE INDEX CONCURRENTLY extra ON work.t (n)",
    "DROP INDEX CONCURRENTLY work.extra",
    "CLUSTER work.t USING t_pkey",
    "REINDEX SCHEMA work",
    "ALTER TABLE work.p DETACH PARTITION work.p1 CONCURRENTLY",
];

/// Functions of `owner` for the jobs of others. The wait is not in the function that launches, nor in one statement
/// at all: its snapshot would block a statement that waits for all snapshots.
fn create_helper(admin: &mut Client, owner: &str) {
    admin
        .batch_execute(&format!(
            "CREATE FUNCTION launch_as_{owner}(sql text) RETURNS pg_background_handle LANGUAGE plpgsql
             SECURITY DEFINER AS $$ BEGIN RETURN public.pg_background_launch_v2(sql); END $$;
             ALTER FUNCTION launch_as_{owner}(text) OWNER TO {owner};
             CREATE FUNCTION outcome_as_{owner}(pid int4, cookie int8) RETURNS text LANGUAGE sql
             SECURITY DEFINER AS $$
                 SELECT o.state || COALESCE(' ' || o.sqlstate, '')
                 FROM public.pg_background_outcome_v2(pid, cookie) o WHERE o.completed
             $$;
             ALTER FUNCTION outcome_as_{owner}(int4, int8) OWNER TO {owner}"
        ))
        .expect("functions");
}

fn create_tables(admin: &mut Client, owner: &str) {
    admin
        .batch_execute(&format!(
            "DROP SCHEMA IF EXISTS work CASCADE;
             CREATE SCHEMA work AUTHORIZATION {owner};
             SET ROLE {owner};
             CREATE TABLE work.t (n int4 PRIMARY KEY);
             INSERT INTO work.t SELECT generate_series(1, 100);
             CREATE TABLE work.p (n int4) PARTITION BY LIST (n);
             CREATE TABLE work.p1 PARTITION OF work.p FOR VALUES IN (1);
             RESET ROLE"
        ))
        .expect("tables");
}

fn launch_as(caller: &mut Client, owner: &str, sql: &str) -> Handle {
    let row = caller
        .query_one(
            &format!("SELECT h.pid, h.cookie FROM launch_as_{owner}($1) h"),
            &[&sql],
        )
        .expect("launched");
    Handle {
        pid: row.get(0),
        cookie: row.get(1),
    }
}

fn outcome_as(caller: &mut Client, owner: &str, handle: Handle) -> String {
    let outcome = format!("outcome_as_{owner}({}, {})", handle.pid, handle.cookie);
    eventually(caller, &format!("{outcome} IS NOT NULL"));
    let outcome = value(caller, &format!("SELECT {outcome}"));
    call(caller, "pg_background_detach_v2", handle).expect("detached");
    outcome
}

fn outcomes(caller: &mut Client, owner: &str) -> Vec<String> {
    let mut outcomes: Vec<String> = STARTING
        .iter()
        .map(|statement| {
            let handle = launch_as(caller, owner, statement);
            outcome_as(caller, owner, handle)
        })
        .collect();
    outcomes.dedup();
    outcomes
}

fn server(name: &str, settings: &[&str]) -> (Server, Client) {
    let server = Server::start(name, settings);
    server.role("helper");
    server.role("caller");
    let mut admin = server.session();
    create_helper(&mut admin, "helper");
    create_helper(&mut admin, "postgres");
    (server, admin)
}

#[test]
fn a_superusers_helper_works_for_ordinary_callers() {
    let (server, mut admin) = server("helper", &[]);
    let mut caller = server.session_as("caller");
    for owner in ["caller", "helper", "postgres"] {
        create_tables(&mut admin, owner);
        assert_eq!(outcomes(&mut caller, "postgres"), ["stopped"], "{owner}");
    }
}

#[test]
fn a_helper_that_can_be_its_caller_works_and_another_does_not() {
    let (server, mut admin) = server("member", &[]);
    let mut caller = server.session_as("caller");
    create_tables(&mut admin, "helper");
    assert_eq!(outcomes(&mut caller, "helper"), ["error 42501"]);
    admin
        .batch_execute("GRANT caller TO helper")
        .expect("granted");
    assert_eq!(outcomes(&mut caller, "helper"), ["stopped"]);
    // A function that a superuser calls would gain everything by switching back, even if the superuser has set a role.
    create_tables(&mut admin, "helper");
    for become_user in [
        "SELECT 1",
        "SET ROLE caller",
        "SET SESSION AUTHORIZATION caller",
    ] {
        admin.batch_execute(become_user).expect("another");
        assert_eq!(
            outcomes(&mut admin, "helper"),
            ["error 42501"],
            "{become_user}"
        );
        admin
            .batch_execute("RESET SESSION AUTHORIZATION; RESET ROLE")
            .expect("back");
    }
    // A caller's own function has no other user to switch back to.
    create_helper(&mut admin, "caller");
    create_tables(&mut admin, "caller");
    assert_eq!(outcomes(&mut caller, "caller"), ["stopped"]);
    // Privileges that are not inherited.
    create_tables(&mut admin, "helper");
    let grants: &[&str] = if major_version(&mut admin) < 16 {
        &["SELECT grant_pg_background_privileges('helper'); ALTER ROLE helper NOINHERIT"]
    } else {
        &[
            "GRANT caller TO helper WITH INHERIT FALSE, SET TRUE",
            "GRANT caller TO helper WITH INHERIT TRUE, SET FALSE",
        ]
    };
    for grant in grants {
        admin.batch_execute(grant).expect(grant);
        assert_eq!(outcomes(&mut caller, "helper"), ["error 42501"], "{grant}");
    }
}

#[test]
fn privileges_are_checked_when_the_statement_runs() {
    let (server, mut admin) = server("moment", &["pg_background.max_pool_workers=1"]);
    let mut caller = server.session_as("caller");
    create_tables(&mut admin, "helper");
    caller
        .batch_execute("SELECT pg_background_stats(); SET pg_background.on_exhaustion = queue")
        .expect("a setting");
    for (before, meanwhile, expected) in [
        (
            "GRANT caller TO helper",
            "REVOKE caller FROM helper",
            "error 42501",
        ),
        ("SELECT 1", "GRANT caller TO helper", "stopped"),
    ] {
        admin.batch_execute(before).expect(before);
        let first = launch(&mut caller, "SELECT pg_sleep(600)");
        asleep(&mut caller, first);
        let handle = launch_as(&mut caller, "helper", "VACUUM work.t");
        admin.batch_execute(meanwhile).expect(meanwhile);
        assert_eq!(cancel_and_forget(&mut caller, first), "canceled");
        assert_eq!(outcome_as(&mut caller, "helper", handle), expected);
    }
}
