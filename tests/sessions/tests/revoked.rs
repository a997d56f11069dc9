//! What an administrator takes away reaches processes that are warm, and what watches over a session watches
//! over its jobs.

use postgres::Client;
use session_tests::*;

/// One worker, which stays: what is asked of it has to reach it while it is warm.
fn one_worker(name: &str, settings: &[&str]) -> Server {
    let mut all = vec![
        "pg_background.max_pool_workers=1",
        "pg_background.worker_idle_timeout=60s",
    ];
    all.extend(settings);
    Server::start(name, &all)
}

fn do_it(admin: &mut Client, sql: &str) {
    admin
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// A session of role `leader`, with a worker that is warm and idle.
fn warm(server: &Server) -> Client {
    let mut leader = server.session_as("leader");
    for _ in 0..2 {
        assert_eq!(
            run(&mut leader, "SELECT session_user::text").as_deref(),
            Some("leader")
        );
    }
    leader
}

#[test]
fn a_warm_worker_runs_nothing_for_a_role_that_could_not_connect() {
    let server = one_worker("revoked", &[]);
    server.role("leader");
    let mut admin = server.session();
    for (take, give, state) in [
        (
            "ALTER ROLE leader NOLOGIN",
            "ALTER ROLE leader LOGIN",
            "28000",
        ),
        (
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
            "42501",
        ),
        (
            "UPDATE pg_database SET datallowconn = false WHERE datname = 'postgres'",
            "UPDATE pg_database SET datallowconn = true WHERE datname = 'postgres'",
            "55000",
        ),
        // The use of the extension is asked for at the launch.
        (
            "REVOKE pgbackground_role FROM leader",
            "GRANT pgbackground_role TO leader",
            "42501",
        ),
    ] {
        let mut leader = warm(&server);
        do_it(&mut admin, take);
        assert_eq!(
            sqlstate(try_run(&mut leader, "SELECT 'run'")),
            state,
            "{take}"
        );
        do_it(&mut admin, give);
        assert_eq!(run(&mut leader, "SELECT 'run'").as_deref(), Some("run"));
    }
    // Not even a superuser's job runs in a database that takes no connections.
    let handle = launch(&mut admin, "SELECT 1");
    assert!(try_result(&mut admin, handle).is_ok());
    do_it(
        &mut admin,
        "UPDATE pg_database SET datallowconn = false WHERE datname = 'postgres'",
    );
    assert_eq!(sqlstate(try_run(&mut admin, "SELECT 1")), "55000");
    do_it(
        &mut admin,
        "UPDATE pg_database SET datallowconn = true WHERE datname = 'postgres'",
    );
    nothing_is_left(&mut admin);
}

#[test]
fn a_job_that_was_queued_before_the_revocation_does_not_run_after_it() {
    let server = one_worker("revoked-queued", &[]);
    server.role("leader");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE TABLE done (by text); GRANT INSERT ON done TO PUBLIC",
    );
    for (take, give) in [
        ("ALTER ROLE leader NOLOGIN", "ALTER ROLE leader LOGIN"),
        (
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
        ),
    ] {
        let mut leader = warm(&server);
        let busy = launch(&mut leader, "SELECT pg_sleep(600)");
        asleep(&mut leader, busy);
        do_it(&mut leader, "SET pg_background.on_exhaustion = queue");
        let queued = launch(&mut leader, "INSERT INTO done VALUES (current_user)");
        do_it(&mut admin, take);
        cancel_and_forget(&mut leader, busy);
        call(&mut leader, "pg_background_wait_v2", queued).expect("waited for");
        assert_eq!(state(&mut leader, queued), "error", "{take}");
        do_it(&mut admin, give);
    }
    assert_eq!(value::<i64>(&mut admin, "SELECT count(*) FROM done"), 0);
}

#[test]
fn a_role_that_was_taken_away_or_dropped_is_not_played_by_a_job() {
    let server = one_worker("revoked-role", &[]);
    server.role("leader");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE ROLE part; GRANT part TO leader; GRANT pgbackground_role TO part",
    );
    let mut leader = warm(&server);
    do_it(&mut leader, "SET ROLE part");
    let whom = "SELECT current_user::text";
    assert_eq!(run(&mut leader, whom).as_deref(), Some("part"));
    do_it(&mut admin, "REVOKE part FROM leader");
    assert_eq!(sqlstate(try_run(&mut leader, whom)), "42501");
    do_it(&mut admin, "GRANT part TO leader");
    assert_eq!(run(&mut leader, whom).as_deref(), Some("part"));
    // The role is gone, and with it its right to launch; as the superuser the launch is allowed.
    let mut master = server.session();
    let busy = launch(&mut master, "SELECT pg_sleep(600)");
    asleep(&mut master, busy);
    do_it(
        &mut master,
        "SET pg_background.on_exhaustion = queue; SET ROLE part",
    );
    let orphan = launch(&mut master, "CREATE TABLE orphan ()");
    do_it(
        &mut admin,
        "REVOKE pgbackground_role FROM part; DROP ROLE part",
    );
    do_it(&mut master, "RESET ROLE");
    cancel_and_forget(&mut master, busy);
    call(&mut master, "pg_background_wait_v2", orphan).expect("waited for");
    assert_eq!(state(&mut master, orphan), "error");
    assert!(value::<bool>(
        &mut admin,
        "SELECT to_regclass('orphan') IS NULL"
    ));
}

#[test]
fn a_login_role_that_was_dropped_runs_no_job() {
    let server = one_worker("dropped", &[]);
    server.role("leader");
    let mut admin = server.session();
    let mut leader = warm(&server);
    let busy = launch(&mut leader, "SELECT pg_sleep(600)");
    asleep(&mut leader, busy);
    do_it(&mut leader, "SET pg_background.on_exhaustion = queue");
    let queued = launch(&mut leader, "SELECT 'run'");
    do_it(
        &mut admin,
        "REVOKE pgbackground_role FROM leader; DROP ROLE leader",
    );
    do_it(
        &mut admin,
        &format!("SELECT pg_cancel_backend({})", busy.pid),
    );
    // Nobody can manage it any more but the end of its session; it fails.
    eventually(
        &mut admin,
        "(SELECT jobs_queued = 0 AND workers_busy = 0 FROM pg_background_resources())",
    );
    let _ = queued;
    drop(leader);
    nothing_is_left(&mut admin);
    assert!(
        server.log().contains("does not exist"),
        "the job has failed for want of its role"
    );
}

#[test]
fn a_session_authorization_outlives_the_superuser_who_set_it_in_no_job() {
    let server = one_worker("authorization", &[]);
    server.role("other");
    let mut admin = server.session();
    do_it(&mut admin, "CREATE ROLE leader LOGIN SUPERUSER");
    let mut leader = warm(&server);
    do_it(&mut leader, "SET SESSION AUTHORIZATION other");
    let whom = "SELECT session_user::text";
    assert_eq!(run(&mut leader, whom).as_deref(), Some("other"));
    do_it(&mut admin, "ALTER ROLE leader NOSUPERUSER");
    assert_eq!(sqlstate(try_run(&mut leader, whom)), "42501");
}

#[test]
fn a_role_that_is_no_superuser_any_more_is_none_in_a_warm_worker() {
    let server = one_worker("demoted", &[]);
    let mut admin = server.session();
    do_it(&mut admin, "CREATE ROLE leader LOGIN SUPERUSER");
    for (attempt, allowed) in [
        ("SET SESSION AUTHORIZATION postgres", false),
        ("SET LOCAL SESSION AUTHORIZATION postgres", false),
        (
            "SELECT set_config('session_authorization', 'postgres', false)",
            false,
        ),
        ("SET SESSION AUTHORIZATION leader", true),
        ("RESET SESSION AUTHORIZATION", true),
    ] {
        // Its worker connects while it is a superuser.
        do_it(&mut admin, "ALTER ROLE leader SUPERUSER");
        let warm_one = run(&mut warm(&server), "SELECT pg_backend_pid()::text");
        do_it(
            &mut admin,
            "ALTER ROLE leader NOSUPERUSER; GRANT pgbackground_role TO leader",
        );
        // A session that never was one's.
        let mut leader = server.session_as("leader");
        let tried = try_run(
            &mut leader,
            &format!("{attempt}; SELECT pg_backend_pid()::text"),
        );
        if allowed {
            assert_eq!(tried.expect("allowed"), warm_one);
        } else {
            assert_eq!(sqlstate(tried), "42501", "{attempt}");
        }
        assert_ne!(
            run(&mut leader, "SELECT pg_backend_pid()::text"),
            warm_one,
            "it was replaced"
        );
        assert_eq!(
            sqlstate(try_run(&mut leader, "CREATE ROLE evil SUPERUSER")),
            "42501"
        );
    }
    // And the other way round.
    do_it(&mut admin, "ALTER ROLE leader SUPERUSER");
    let mut leader = server.session_as("leader");
    run(&mut leader, "SELECT 1");
    let whom = "SET SESSION AUTHORIZATION postgres; SELECT session_user::text";
    assert_eq!(run(&mut leader, whom).as_deref(), Some("postgres"));
}

/// Too short for `passwordcheck`.
const WEAK: &str = "ALTER ROLE leader PASSWORD 'short'";

#[test]
fn a_library_that_watches_over_a_session_watches_over_its_jobs() {
    let server = one_worker("preload", &[]);
    server.role("leader");
    let mut admin = server.session();
    // A session, and a worker, from before the administrator's decision.
    let mut before = warm(&server);
    run(&mut before, WEAK);
    do_it(
        &mut admin,
        "ALTER ROLE leader SET session_preload_libraries = 'passwordcheck'",
    );
    // The warm worker serves a session that has the library.
    let mut leader = server.session_as("leader");
    assert_eq!(sqlstate(leader.batch_execute(WEAK)), "22023", "the session");
    assert_eq!(sqlstate(try_run(&mut leader, WEAK)), "22023", "its job");
    // And a fresh one does.
    do_it(&mut admin, "SELECT pg_background_retire_idle()");
    assert_eq!(sqlstate(try_run(&mut leader, WEAK)), "22023", "its job");
    // A process that has loaded it serves no session without it twice.
    let pid = |client: &mut Client| run(client, "SELECT pg_backend_pid()::text");
    let loaded = pid(&mut leader);
    assert_eq!(pid(&mut leader), loaded, "the library is there already");
    pid(&mut before);
    assert_ne!(pid(&mut before), loaded);
    run(&mut before, WEAK);
}

#[test]
fn a_library_that_cannot_be_loaded_fails_the_job_as_it_fails_the_session() {
    let server = one_worker("no-library", &[]);
    server.role("leader");
    let mut admin = server.session();
    let mut leader = warm(&server);
    do_it(
        &mut admin,
        "SET session_preload_libraries = 'no_such_library'",
    );
    assert_eq!(sqlstate(try_run(&mut admin, "SELECT 1")), "58P01");
    do_it(&mut admin, "RESET session_preload_libraries");
    assert_eq!(run(&mut admin, "SELECT 'run'").as_deref(), Some("run"));
    // A user's own list is taken from the directory of plugins alone.
    do_it(&mut leader, "SET local_preload_libraries = 'passwordcheck'");
    assert_eq!(sqlstate(try_run(&mut leader, "SELECT 1")), "58P01");
    do_it(&mut leader, "RESET local_preload_libraries");
    assert_eq!(run(&mut leader, "SELECT 'run'").as_deref(), Some("run"));
}

#[test]
fn row_security_holds_in_a_job_as_in_its_session() {
    let server = one_worker("row-security", &[]);
    server.role("leader");
    server.role("other");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE TABLE t (owner name, v text);
         INSERT INTO t VALUES ('leader', 'mine'), ('other', 'not mine');
         ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON t USING (owner = current_user);
         GRANT SELECT ON t TO leader, other",
    );
    let mut leader = warm(&server);
    let seen = "SELECT string_agg(v, ',' ORDER BY v) FROM t";
    assert_eq!(run(&mut admin, seen).as_deref(), Some("mine,not mine"));
    assert_eq!(run(&mut leader, seen).as_deref(), Some("mine"));
    // off does not widen what is seen: it is an error instead.
    assert_eq!(
        sqlstate(try_run(
            &mut leader,
            &format!("SET row_security = off; {seen}")
        )),
        "42501"
    );
    assert_eq!(run(&mut leader, seen).as_deref(), Some("mine"));
    do_it(&mut leader, "SET row_security = off");
    assert_eq!(sqlstate(try_run(&mut leader, seen)), "42501");
    // A plan made for one role is not used for another.
    do_it(
        &mut admin,
        "CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS
             'BEGIN RETURN (SELECT string_agg(v, '','' ORDER BY v) FROM t); END'",
    );
    for (role, expected) in [
        ("leader", "mine"),
        ("other", "not mine"),
        ("postgres", "mine,not mine"),
        ("leader", "mine"),
    ] {
        do_it(&mut admin, &format!("SET ROLE {role}"));
        assert_eq!(run(&mut admin, "SELECT seen()").as_deref(), Some(expected));
    }
}
