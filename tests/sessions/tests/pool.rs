//! Workers: how many, for whom, for how long.

use postgres::error::SqlState;
use session_tests::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background'";

fn no_worker_is_left(client: &mut postgres::Client) {
    eventually(client, &format!("({WORKERS}) = 0"));
    eventually(
        client,
        "(SELECT workers_idle + workers_busy + workers_starting = 0 FROM pg_background_resources())",
    );
}

#[test]
fn sixteen_sessions_at_once_are_all_served() {
    let database = Database::new();
    let mut observer = database.session();
    assert_eq!(
        value::<String>(&mut observer, "SHOW max_worker_processes"),
        "8"
    );
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let mut leader = database.session();
            std::thread::spawn(move || {
                for round in 0..30 {
                    let sql = format!("SELECT {number} * 1000 + {round} FROM pg_sleep(0.005)");
                    let expected = (number * 1000 + round).to_string();
                    assert_eq!(run(&mut leader, &sql), Some(expected));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every session is served");
    }
    nothing_is_left(&mut observer);
}

#[test]
fn sessions_of_many_roles_and_databases_are_all_served() {
    let databases = [Database::new(), Database::new()];
    let roles: Vec<_> = (0..6).map(|_| Role::new()).collect();
    let threads: Vec<_> = databases
        .iter()
        .flat_map(|database| roles.iter().map(move |role| (database, role)))
        .map(|(database, role)| {
            let mut leader = database.session_as(&role.name);
            let name = role.name.clone();
            std::thread::spawn(move || {
                for _ in 0..10 {
                    let user = run(&mut leader, "SELECT current_user || ' ' || session_user");
                    assert_eq!(user, Some(format!("{name} {name}")));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every session is served");
    }
    nothing_is_left(&mut databases[0].session());
}

#[test]
fn no_process_serves_two_login_roles() {
    let database = Database::new();
    let roles = [Role::new(), Role::new()];
    let mut pids = [HashSet::new(), HashSet::new()];
    for _ in 0..5 {
        for (role, pids) in roles.iter().zip(&mut pids) {
            let mut leader = database.session_as(&role.name);
            pids.insert(run(&mut leader, "SELECT pg_backend_pid()"));
        }
    }
    assert!(pids[0].is_disjoint(&pids[1]));
}

#[test]
fn idle_workers_exit_at_their_limit_and_not_before() {
    let database = Database::new();
    let mut leader = database.session();
    let start = Instant::now();
    let pid = run(&mut leader, "SELECT pg_backend_pid()");
    pause(Duration::from_millis(1500));
    assert_eq!(
        run(&mut leader, "SELECT pg_backend_pid()"),
        pid,
        "still the same worker"
    );
    no_worker_is_left(&mut leader);
    assert!(
        start.elapsed() > Duration::from_millis(4000),
        "1.5 s and the limit of 3 s"
    );
}

#[test]
fn idle_workers_can_be_retired_at_once() {
    let database = Database::new();
    let mut leader = database.session();
    let start = Instant::now();
    run(&mut leader, "SELECT 1");
    eventually(
        &mut leader,
        "(SELECT workers_idle > 0 FROM pg_background_resources())",
    );
    assert!(value::<i32>(&mut leader, "SELECT pg_background_retire_idle()") > 0);
    no_worker_is_left(&mut leader);
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_database_can_be_dropped_soon_after_use() {
    let mut server = Database::new();
    let name = server.name.clone();
    run(&mut server.session(), "SELECT 1");
    let mut client = config().connect(postgres::NoTls).expect("a connection");
    client
        .batch_execute(&format!("DROP DATABASE {name}"))
        .expect("the idle worker is gone in time");
    server.name = unique("gone");
}

#[test]
fn a_database_can_be_renamed_and_copied_soon_after_use() {
    let mut database = Database::new();
    let mut client = config().connect(postgres::NoTls).expect("a connection");
    run(&mut database.session(), "SELECT 1");
    let copy = Database {
        name: unique("pgb_copy"),
    };
    client
        .batch_execute(&format!(
            "CREATE DATABASE {} TEMPLATE {}",
            copy.name, database.name
        ))
        .expect("the idle worker is gone in time");
    run(&mut database.session(), "SELECT 1");
    let renamed = unique("pgb_renamed");
    client
        .batch_execute(&format!(
            "ALTER DATABASE {} RENAME TO {renamed}",
            database.name
        ))
        .expect("the idle worker is gone in time");
    database.name = renamed;
    assert_eq!(
        run(&mut database.session(), "SELECT 2"),
        Some(String::from("2"))
    );
    assert_eq!(
        run(&mut copy.session(), "SELECT 3"),
        Some(String::from("3"))
    );
}

#[test]
fn a_start_that_fails_for_good_fails_its_job_and_is_not_repeated() {
    let database = Database::new();
    let mut admin = database.session();
    for (take, give) in [
        ("ALTER ROLE {r} NOLOGIN", "ALTER ROLE {r} LOGIN"),
        (
            "REVOKE CONNECT ON DATABASE {d} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {d} TO PUBLIC",
        ),
    ] {
        let role = Role::new();
        let text = |sql: &str| {
            sql.replace("{r}", &role.name)
                .replace("{d}", &database.name)
        };
        let mut leader = database.session_as(&role.name);
        assert_eq!(run(&mut leader, "SELECT 1"), Some(String::from("1")));
        no_worker_is_left(&mut admin);
        admin.batch_execute(&text(take)).expect("taken");
        let handle = launch(&mut leader, "SELECT 1");
        assert!(try_result(&mut leader, handle).is_err(), "{take}");
        no_worker_is_left(&mut admin);
        admin.batch_execute(&text(give)).expect("given back");
        assert_eq!(
            run(&mut leader, "SELECT 2"),
            Some(String::from("2")),
            "{give}"
        );
    }
    nothing_is_left(&mut admin);
}

#[test]
fn revoked_rights_reach_a_warm_worker() {
    let database = Database::new();
    let mut admin = database.session();
    let (role, group) = (Role::new(), Role::new());
    admin
        .batch_execute(&format!("GRANT {} TO {}", group.name, role.name))
        .expect("granted");
    let mut leader = database.session_as(&role.name);
    assert_eq!(run(&mut leader, "SELECT 1"), Some(String::from("1")));
    admin
        .batch_execute(&format!("ALTER ROLE {} NOLOGIN", role.name))
        .expect("taken");
    assert_state(
        try_run(&mut leader, "SELECT 1"),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    admin
        .batch_execute(&format!("ALTER ROLE {} LOGIN", role.name))
        .expect("given back");
    leader
        .batch_execute(&format!("SET ROLE {}", group.name))
        .expect("a member");
    assert_eq!(
        run(&mut leader, "SELECT current_user"),
        Some(group.name.clone())
    );
    admin
        .batch_execute(&format!("REVOKE {} FROM {}", group.name, role.name))
        .expect("revoked");
    assert_state(
        try_run(&mut leader, "SELECT 1"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
}

#[test]
fn a_session_never_holds_two_v1_handles_of_one_pid() {
    let database = Database::new();
    let mut leader = database.session();
    let mut pids = HashSet::new();
    for number in 0..15 {
        let pid: i32 = value(
            &mut leader,
            &format!("SELECT pg_background_launch('SELECT {number}')"),
        );
        assert!(pids.insert(pid), "pid {pid} twice");
    }
    let sum: i64 = value(
        &mut leader,
        &format!(
            "SELECT sum(r.n) FROM unnest(ARRAY{:?}) p (pid), LATERAL pg_background_result(p.pid) AS r (n int4)",
            pids.iter().collect::<Vec<_>>()
        ),
    );
    assert_eq!(sum, (0..15).sum::<i64>());
    nothing_is_left(&mut leader);
}

#[test]
fn the_job_table_can_be_used_up_and_recovers() {
    let database = Database::new();
    let mut leader = database.session();
    leader
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
             SET pg_background.launch_timeout = '100ms'",
        )
        .expect("settings");
    let total: i32 = value(
        &mut leader,
        "SELECT slots_total FROM pg_background_resources()",
    );
    leader
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    leader
        .batch_execute("BEGIN; LOCK TABLE t")
        .expect("a lock that keeps the jobs");
    let mut handles = Vec::new();
    let refused = loop {
        match try_launch(&mut leader, "INSERT INTO t VALUES (1)") {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert_eq!(
        refused.code(),
        Some(&SqlState::INSUFFICIENT_RESOURCES),
        "{refused:?}"
    );
    assert_eq!(handles.len() as i32, total);
    leader.batch_execute("ROLLBACK").expect("the lock is gone");
    drop(leader);
    let mut observer = database.session();
    eventually(
        &mut observer,
        &format!("(SELECT count(*) = {total} FROM t)"),
    );
    nothing_is_left(&mut observer);
    assert_eq!(run(&mut observer, "SELECT 1"), Some(String::from("1")));
}
