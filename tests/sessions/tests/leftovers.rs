//! What a job leaves in its process is removed before the next one: names of settings, connections and variables of
//! libraries, the seed.

use postgres::Client;
use session_tests::{
    Database, Role, config, forces_parallel, launch, run, sqlstate, try_run, value,
};

/// Runs a job; its process and its one value.
fn run_in(client: &mut Client, sql: &str) -> (i32, Option<String>) {
    let handle = launch(client, sql);
    let rows = session_tests::try_result(client, handle)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    (handle.pid, rows.last().cloned().flatten())
}

/// What a job sees of a setting: nothing, if it was never set.
fn seen(client: &mut Client, name: &str) -> (i32, Option<String>) {
    run_in(client, &format!("SELECT current_setting('{name}', true)"))
}

#[test]
fn a_setting_that_a_job_named_is_not_there_for_the_next() {
    let database = Database::new();
    let mut client = database.session();
    client
        .batch_execute(
            "CREATE FUNCTION sets() RETURNS int LANGUAGE sql SET app.five = '5' AS 'SELECT 5';
             CREATE TABLE t (n int);
             CREATE FUNCTION sets_in_a_trigger() RETURNS trigger LANGUAGE plpgsql SET app.six = '6' AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER sets BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION sets_in_a_trigger();
             CREATE PROCEDURE sets_and_commits() LANGUAGE plpgsql AS $$ BEGIN
                PERFORM set_config('app.seven', '7', false); COMMIT; SET LOCAL app.eight = 8; ROLLBACK; END $$",
        )
        .expect("functions");
    let jobs = [
        ("SET app.one = 1", "app.one"),
        ("SET LOCAL app.two = 2", "app.two"),
        ("SELECT set_config('app.three', '3', false)", "app.three"),
        ("SELECT set_config('app.four', '4', true)", "app.four"),
        ("SELECT sets()", "app.five"),
        ("INSERT INTO t VALUES (1)", "app.six"),
        ("CALL sets_and_commits()", "app.seven"),
        ("CALL sets_and_commits()", "app.eight"),
        ("DO $$ BEGIN SET app.nine = 9; END $$", "app.nine"),
        (
            "SET app.ten = 10; SELECT 1 / (random() < 0)::int",
            "app.ten",
        ),
        ("SET app.eleven = 11; RESET app.eleven", "app.eleven"),
        (
            "ALTER DATABASE template1 SET app.twelve = 12; ALTER DATABASE template1 RESET app.twelve",
            "app.twelve",
        ),
        ("SET \"App.Thirteen\" = 13", "app.thirteen"),
    ];
    let (first, _) = run_in(&mut client, "SELECT 1");
    for (sql, name) in jobs {
        // Twice: a name that is hidden is hidden again.
        for _ in 0..2 {
            let handle = launch(&mut client, sql);
            let ended = session_tests::try_result(&mut client, handle);
            assert_eq!(ended.is_err(), sql.contains("1 /"), "{sql}");
            assert_eq!(handle.pid, first, "{sql}: the process stays");
            assert_eq!(seen(&mut client, name), (first, None), "{sql}");
            assert_eq!(
                sqlstate(try_run(&mut client, &format!("SHOW {name}"))),
                "42704",
                "{sql}"
            );
        }
    }
    // Not listed, and no obstacle to a parallel worker or to a library with settings of these names.
    let names = "SELECT count(*) FROM pg_settings WHERE name LIKE 'app.%'";
    assert_eq!(run(&mut client, names).as_deref(), Some("0"));
    let force = forces_parallel(&mut client);
    assert_eq!(
        run(
            &mut client,
            &format!("SET {force} = on; SELECT count(*) FROM pg_class WHERE oid = 1259")
        )
        .as_deref(),
        Some("1")
    );
    // A job that fails in the first use of a name can use it in the next.
    assert_eq!(
        run(&mut client, "SET app.one = 'x'; SHOW app.one").as_deref(),
        Some("x")
    );
    assert_eq!(seen(&mut client, "app.one").1, None);
}

#[test]
fn a_leaders_setting_is_there_for_its_jobs_alone() {
    let database = Database::new();
    let (mut has, mut has_none) = (database.session(), database.session());
    has.batch_execute("SET app.user_id = '7'").expect("set");
    let (first, value) = seen(&mut has, "app.user_id");
    assert_eq!(value.as_deref(), Some("7"));
    for round in 0..300 {
        assert_eq!(seen(&mut has_none, "app.user_id"), (first, None), "{round}");
        has.batch_execute(&format!("SET app.user_id = '{round}'"))
            .expect("set");
        assert_eq!(
            seen(&mut has, "app.user_id"),
            (first, Some(round.to_string()))
        );
    }
    // As in a session of its own: what a job resets is empty for the rest of the job, and the next has it again.
    assert_eq!(
        run(&mut has, "RESET app.user_id; SHOW app.user_id").as_deref(),
        Some("")
    );
    assert_eq!(seen(&mut has, "app.user_id").1.as_deref(), Some("299"));
    assert_eq!(
        run(&mut has, "SET app.user_id = 'own'; SHOW app.user_id").as_deref(),
        Some("own")
    );
    assert_eq!(seen(&mut has, "app.user_id").1.as_deref(), Some("299"));
    assert_eq!(seen(&mut has_none, "app.user_id").1, None);
    has.batch_execute("RESET app.user_id").expect("reset");
    assert_eq!(seen(&mut has, "app.user_id").1, None);
}

#[test]
fn a_roles_setting_goes_with_the_sessions_that_have_it() {
    let database = Database::new();
    let role = Role::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!("ALTER ROLE {} SET app.tenant = 'a'", role.name))
        .expect("set");
    let mut has = database.session_as(&role.name);
    assert_eq!(seen(&mut has, "app.tenant").1.as_deref(), Some("a"));
    admin
        .batch_execute(&format!("ALTER ROLE {} RESET app.tenant", role.name))
        .expect("reset");
    let mut has_none = database.session_as(&role.name);
    for _ in 0..2 {
        assert_eq!(seen(&mut has_none, "app.tenant").1, None);
        assert_eq!(seen(&mut has, "app.tenant").1.as_deref(), Some("a"));
    }
}

#[test]
fn a_process_with_too_many_names_is_replaced() {
    let database = Database::new();
    let mut client = database.session();
    let mut processes = std::collections::HashSet::new();
    for round in 0..400 {
        let name = format!(
            "SELECT set_config('app.name_{round}', 'x', {})",
            round % 2 == 0
        );
        let (pid, _) = run_in(&mut client, &name);
        processes.insert(pid);
        assert_eq!(seen(&mut client, &format!("app.name_{round}")).1, None);
    }
    assert!((2..=8).contains(&processes.len()), "{processes:?}");
    // In one job more than are hidden.
    let many = "SELECT count(set_config('app.many_' || n, 'x', false))::text FROM generate_series(1, 500) n";
    assert_eq!(run(&mut client, many).as_deref(), Some("500"));
    for n in [1, 250, 500] {
        assert_eq!(seen(&mut client, &format!("app.many_{n}")).1, None);
    }
}

fn connection_string(database: &Database) -> String {
    let config = config();
    let host = match &config.get_hosts()[0] {
        postgres::config::Host::Tcp(host) => host.clone(),
        postgres::config::Host::Unix(path) => path.display().to_string(),
    };
    let (port, user) = (
        config.get_ports()[0],
        config.get_user().unwrap_or("postgres"),
    );
    format!(
        "host={host} port={port} user={user} dbname={}",
        database.name
    )
}

#[test]
fn a_connection_that_a_job_opened_is_not_there_for_the_next() {
    let database = Database::new();
    let mut client = database.session();
    client
        .batch_execute("CREATE EXTENSION dblink")
        .expect("dblink");
    let connect = format!(
        "SELECT dblink_connect('c', '{}')",
        connection_string(&database)
    );
    let open = "SELECT dblink_get_connections()::text";
    for _ in 0..2 {
        assert_eq!(run(&mut client, &connect).as_deref(), Some("OK"));
        assert_eq!(run(&mut client, open), None);
    }
    // What is closed at the end of its statement keeps nothing.
    let once = connect
        .replace("dblink_connect('c', ", "n::text FROM dblink(")
        .replace("')", "', 'SELECT 1') AS d (n int)");
    let (first, one) = run_in(&mut client, &once);
    assert_eq!(one.as_deref(), Some("1"));
    assert_eq!(run_in(&mut client, "SELECT 1").0, first);
    // Through a function, and in a trigger.
    client
        .batch_execute(&format!(
            "CREATE FUNCTION connects() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {}; RETURN NEW; END $$;
             CREATE TABLE t (n int); CREATE TRIGGER c BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION connects()",
            connect.replacen("SELECT", "PERFORM", 1)
        ))
        .expect("a trigger");
    run(&mut client, "INSERT INTO t VALUES (1)");
    assert_eq!(run(&mut client, open), None);
    // Loaded before any job, it keeps nothing of a job that has not used it.
    client
        .batch_execute("SET session_preload_libraries = 'dblink'")
        .expect("set");
    run(
        &mut client,
        "SELECT 'a process that was there without it leaves'",
    );
    let (unused, _) = run_in(&mut client, "SELECT 1");
    assert_eq!(run_in(&mut client, "SELECT 2").0, unused);
    for _ in 0..2 {
        let (used, _) = run_in(&mut client, &connect);
        let (next, connections) = run_in(&mut client, open);
        assert_ne!(next, used);
        assert_eq!(connections, None);
    }
}

#[test]
fn a_seed_that_a_job_set_is_not_the_next_ones() {
    let database = Database::new();
    let mut client = database.session();
    let expected: String = value(
        &mut client,
        "SELECT random()::text FROM (SELECT setseed(0.5) OFFSET 0) AS seeded",
    );
    let (first, _) = run_in(&mut client, "SELECT setseed(0.5)");
    let (pid, number) = run_in(&mut client, "SELECT random()");
    assert_eq!(pid, first);
    assert_ne!(number, Some(expected.clone()));
    let seeded = "SELECT random()::text FROM (SELECT setseed(0.5) OFFSET 0) AS seeded";
    assert_eq!(run(&mut client, seeded), Some(expected));
}
