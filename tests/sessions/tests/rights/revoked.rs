//! Privileges that an administrator revokes are revoked in warm processes too, and libraries that watch a session
//! watch its jobs.

use postgres::Client;
use session_tests::*;

/// A database with a lane of its own, whose worker stays while a test goes on.
struct Scene {
    admin: Client,
    // In the order in which they have to be dropped.
    database: Database,
    leader: Role,
    other: Role,
    _idle: Setting,
}

impl Scene {
    fn new() -> Self {
        let database = Database::new();
        Self {
            admin: database.session(),
            database,
            leader: Role::new(),
            other: Role::new(),
            _idle: Setting::new("pg_background.worker_idle_timeout", "60s"),
        }
    }

    /// The names for `$leader`, `$other` and `$database`.
    fn text(&self, sql: &str) -> String {
        sql.replace("$leader", &self.leader.name)
            .replace("$other", &self.other.name)
            .replace("$database", &self.database.name)
    }

    /// By the administrator.
    fn take(&mut self, sql: &str) {
        let sql = self.text(sql);
        do_it(&mut self.admin, &sql);
    }

    fn run(&self, session: &mut Client, sql: &str) -> Option<String> {
        run(session, &self.text(sql))
    }

    /// The SQLSTATE that a job fails with.
    fn refused(&self, session: &mut Client, sql: &str) -> String {
        sqlstate(try_run(session, &self.text(sql)))
    }

    fn session(&self) -> Client {
        self.database.session_as(&self.leader.name)
    }

    /// A session of `$leader`, with a worker that is warm and idle.
    fn warm(&self) -> Client {
        let mut leader = self.session();
        for _ in 0..2 {
            let user = run(&mut leader, "SELECT session_user::text");
            assert_eq!(user.as_ref(), Some(&self.leader.name));
        }
        leader
    }
}

fn do_it(session: &mut Client, sql: &str) {
    session
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn pid(session: &mut Client) -> Option<String> {
    run(session, "SELECT pg_backend_pid()::text")
}

/// A job of the session that runs, and behind it one that is throttled until the first has ended.
fn one_behind_another(session: &mut Client, sql: &str) -> [Handle; 2] {
    do_it(
        session,
        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
    );
    let busy = launch(session, "SELECT pg_sleep(600)");
    asleep(session, busy);
    let behind = launch(session, sql);
    assert_eq!(state(session, behind), "queued");
    [busy, behind]
}

const CLOSE: &str = "UPDATE pg_database SET datallowconn = false WHERE datname = '$database'";
const OPEN: &str = "UPDATE pg_database SET datallowconn = true WHERE datname = '$database'";

#[test]
fn a_warm_worker_runs_nothing_for_a_role_that_could_not_connect() {
    let mut scene = Scene::new();
    for (take, give, state) in [
        (
            "ALTER ROLE $leader NOLOGIN",
            "ALTER ROLE $leader LOGIN",
            "28000",
        ),
        (
            "REVOKE CONNECT ON DATABASE $database FROM PUBLIC",
            "GRANT CONNECT ON DATABASE $database TO PUBLIC",
            "42501",
        ),
        (CLOSE, OPEN, "55000"),
        // The privilege to use the extension is checked at the launch.
        (
            "REVOKE pgbackground_role FROM $leader",
            "GRANT pgbackground_role TO $leader",
            "42501",
        ),
    ] {
        let mut leader = scene.warm();
        scene.take(take);
        assert_eq!(scene.refused(&mut leader, "SELECT 'run'"), state, "{take}");
        scene.take(give);
        assert_eq!(run(&mut leader, "SELECT 'run'").as_deref(), Some("run"));
    }
    // Not even a superuser's job runs in a database that accepts no connections.
    let mut master = scene.database.session();
    run(&mut master, "SELECT 1");
    scene.take(CLOSE);
    assert_eq!(sqlstate(try_run(&mut master, "SELECT 1")), "55000");
    scene.take(OPEN);
    nothing_is_left(&mut master);
}

#[test]
fn a_job_that_was_queued_before_the_revocation_does_not_run_after_it() {
    let mut scene = Scene::new();
    scene.take("CREATE TABLE done (by text); GRANT INSERT ON done TO PUBLIC");
    for (take, give) in [
        ("ALTER ROLE $leader NOLOGIN", "ALTER ROLE $leader LOGIN"),
        (
            "REVOKE CONNECT ON DATABASE $database FROM PUBLIC",
            "GRANT CONNECT ON DATABASE $database TO PUBLIC",
        ),
    ] {
        let mut leader = scene.session();
        let [busy, queued] =
            one_behind_another(&mut leader, "INSERT INTO done VALUES (current_user)");
        scene.take(take);
        cancel_and_forget(&mut leader, busy);
        call(&mut leader, "pg_background_wait_v2", queued).expect("waited for");
        assert_eq!(state(&mut leader, queued), "error", "{take}");
        scene.take(give);
    }
    assert_eq!(
        value::<i64>(&mut scene.admin, "SELECT count(*) FROM done"),
        0
    );
}

#[test]
fn a_role_that_was_revoked_or_dropped_is_not_used_by_a_job() {
    let mut scene = Scene::new();
    scene.take("GRANT $other TO $leader");
    let mut leader = scene.warm();
    do_it(&mut leader, &scene.text("SET ROLE $other"));
    let whom = "SELECT current_user::text";
    let other = Some(scene.other.name.clone());
    assert_eq!(run(&mut leader, whom), other);
    scene.take("REVOKE $other FROM $leader");
    assert_eq!(scene.refused(&mut leader, whom), "42501");
    scene.take("GRANT $other TO $leader");
    assert_eq!(run(&mut leader, whom), other);
    // A superuser's session has launched the job in a role that is dropped before the job begins.
    scene.take("GRANT CREATE ON SCHEMA public TO PUBLIC");
    let mut master = scene.database.session();
    let [busy, _] = one_behind_another(&mut master, "SELECT 1");
    do_it(&mut master, &scene.text("SET ROLE $other"));
    let orphan = launch(&mut master, "CREATE TABLE orphan ()");
    do_it(&mut master, "RESET ROLE");
    scene.take("REVOKE pgbackground_role FROM $other; DROP ROLE $other");
    cancel_and_forget(&mut master, busy);
    call(&mut master, "pg_background_wait_v2", orphan).expect("waited for");
    assert_eq!(state(&mut master, orphan), "error");
    assert!(value::<bool>(
        &mut scene.admin,
        "SELECT to_regclass('orphan') IS NULL"
    ));
}

#[test]
fn a_login_role_that_was_dropped_runs_no_job() {
    let mut scene = Scene::new();
    scene.take("CREATE TABLE done (by text); GRANT INSERT ON done TO PUBLIC");
    let mut leader = scene.warm();
    let [busy, _] = one_behind_another(&mut leader, "INSERT INTO done VALUES ('run')");
    scene.take("REVOKE pgbackground_role FROM $leader; DROP ROLE $leader");
    scene
        .admin
        .execute("SELECT pg_cancel_backend($1)", &[&busy.pid])
        .expect("canceled");
    eventually(
        &mut scene.admin,
        "(SELECT jobs_queued = 0 AND workers_busy = 0 FROM pg_background_resources())",
    );
    // Nobody can manage its jobs any more but the end of its session.
    drop(leader);
    nothing_is_left(&mut scene.admin);
    assert_eq!(
        value::<i64>(&mut scene.admin, "SELECT count(*) FROM done"),
        0
    );
}

#[test]
fn a_session_authorization_outlives_the_superuser_who_set_it_in_no_job() {
    let mut scene = Scene::new();
    scene.take("ALTER ROLE $leader SUPERUSER");
    let mut leader = scene.warm();
    do_it(&mut leader, &scene.text("SET SESSION AUTHORIZATION $other"));
    let whom = "SELECT session_user::text";
    assert_eq!(run(&mut leader, whom).as_ref(), Some(&scene.other.name));
    scene.take("ALTER ROLE $leader NOSUPERUSER");
    assert_eq!(scene.refused(&mut leader, whom), "42501");
}

#[test]
fn a_role_that_is_no_superuser_any_more_is_none_in_a_warm_worker() {
    let mut scene = Scene::new();
    for (attempt, allowed) in [
        ("SET SESSION AUTHORIZATION postgres", false),
        ("SET LOCAL SESSION AUTHORIZATION postgres", false),
        (
            "SELECT set_config('session_authorization', 'postgres', false)",
            false,
        ),
        ("SET SESSION AUTHORIZATION $leader", true),
        ("RESET SESSION AUTHORIZATION", true),
    ] {
        // Its worker connects while it is a superuser.
        scene.take("ALTER ROLE $leader SUPERUSER");
        let warm = pid(&mut scene.warm());
        scene.take("ALTER ROLE $leader NOSUPERUSER");
        // A session that never was one's.
        let mut leader = scene.session();
        let then = scene.text(&format!("{attempt}; SELECT pg_backend_pid()::text"));
        let tried = try_run(&mut leader, &then);
        if allowed {
            assert_eq!(tried.expect("allowed"), warm);
        } else {
            assert_eq!(sqlstate(tried), "42501", "{attempt}");
        }
        assert_ne!(pid(&mut leader), warm, "it was replaced");
        assert_eq!(
            scene.refused(&mut leader, "CREATE ROLE evil SUPERUSER"),
            "42501"
        );
    }
    // And the other way round.
    scene.take("ALTER ROLE $leader SUPERUSER");
    let mut leader = scene.session();
    run(&mut leader, "SELECT 1");
    let whom = "SET SESSION AUTHORIZATION postgres; SELECT session_user::text";
    assert_eq!(run(&mut leader, whom).as_deref(), Some("postgres"));
}

/// Too short for `passwordcheck`.
const WEAK: &str = "ALTER ROLE $leader PASSWORD 'short'";

#[test]
fn a_library_that_watches_over_a_session_watches_over_its_jobs() {
    let mut scene = Scene::new();
    // A session, and a worker, from before the administrator's decision.
    let mut before = scene.warm();
    scene.run(&mut before, WEAK);
    scene.take("ALTER ROLE $leader SET session_preload_libraries = 'passwordcheck'");
    // The warm worker serves a session that has the library.
    let mut leader = scene.session();
    let refused = leader.batch_execute(&scene.text(WEAK));
    assert_eq!(sqlstate(refused), "22023", "the session");
    assert_eq!(scene.refused(&mut leader, WEAK), "22023", "its job");
    // And a fresh one does.
    scene.take("SELECT pg_background_retire_idle()");
    assert_eq!(scene.refused(&mut leader, WEAK), "22023", "its job");
    // A process that has loaded it serves no session without it twice.
    let loaded = pid(&mut leader);
    assert_eq!(pid(&mut leader), loaded, "the library is there already");
    pid(&mut before);
    assert_ne!(pid(&mut before), loaded);
    scene.run(&mut before, WEAK);
}

#[test]
fn a_library_that_cannot_be_loaded_fails_the_job_as_it_fails_the_session() {
    let scene = Scene::new();
    // A user's own list is taken from the directory of plugins alone.
    for (mut session, setting, library) in [
        (
            scene.database.session(),
            "session_preload_libraries",
            "no_such_library",
        ),
        (scene.warm(), "local_preload_libraries", "passwordcheck"),
    ] {
        do_it(&mut session, &format!("SET {setting} = '{library}'"));
        assert_eq!(
            scene.refused(&mut session, "SELECT 1"),
            "58P01",
            "{setting}"
        );
        do_it(&mut session, &format!("RESET {setting}"));
        assert_eq!(run(&mut session, "SELECT 'run'").as_deref(), Some("run"));
    }
}

#[test]
fn row_security_holds_in_a_job_as_in_its_session() {
    let mut scene = Scene::new();
    scene.take(
        "CREATE TABLE t (owner name, v text);
         INSERT INTO t VALUES ('$leader', 'mine'), ('$other', 'not mine');
         ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON t USING (owner = current_user);
         GRANT SELECT ON t TO $leader, $other;
         CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS
             'BEGIN RETURN (SELECT string_agg(v, '','' ORDER BY v) FROM t); END'",
    );
    let mut leader = scene.warm();
    let seen = "SELECT string_agg(v, ',' ORDER BY v) FROM t";
    let mut master = scene.database.session();
    assert_eq!(run(&mut master, seen).as_deref(), Some("mine,not mine"));
    assert_eq!(run(&mut leader, seen).as_deref(), Some("mine"));
    // off does not widen what is seen: it is an error instead.
    let off = format!("SET row_security = off; {seen}");
    assert_eq!(scene.refused(&mut leader, &off), "42501");
    assert_eq!(run(&mut leader, seen).as_deref(), Some("mine"));
    do_it(&mut leader, "SET row_security = off");
    assert_eq!(scene.refused(&mut leader, seen), "42501");
    // A plan made for one role is not used for another.
    for (role, expected) in [
        ("$leader", "mine"),
        ("$other", "not mine"),
        ("postgres", "mine,not mine"),
        ("$leader", "mine"),
    ] {
        do_it(&mut master, &scene.text(&format!("SET ROLE {role}")));
        assert_eq!(run(&mut master, "SELECT seen()").as_deref(), Some(expected));
    }
}
