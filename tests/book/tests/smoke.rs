//! The administrators' smoke test succeeds on a good server, and fails on a bad one.

use book_tests::root;
use session_tests::Server;
use std::process::{Command, Output};

fn smoke_test(server: &Server, database: &str, role: &str) -> Output {
    Command::new(root().join("ci/server"))
        .args(["psql", server.name(), "-d", database, "-U", role, "-f"])
        .arg(root().join("docs/smoke-test.sql"))
        .output()
        .expect("psql can be run")
}

#[test]
fn the_smoke_test_tells_a_good_server_from_a_bad_one() {
    let server = Server::start("smoke", &[]);
    server.role("app");
    let mut admin = server.session();
    admin
        .batch_execute("GRANT CREATE ON DATABASE postgres TO app; CREATE ROLE stranger LOGIN")
        .expect("the role may make a schema");
    let good = smoke_test(&server, "postgres", "app");
    let printed = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success(), "{good:?}");
    assert!(
        printed.trim_end().ends_with("smoke test: passed"),
        "{printed}"
    );
    session_tests::nothing_is_left(&mut admin);
    let schemas: i64 = session_tests::value(
        &mut admin,
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'smoke%'",
    );
    assert_eq!(schemas, 0);

    assert!(
        !smoke_test(&server, "postgres", "stranger").status.success(),
        "no rights"
    );
    assert!(
        !smoke_test(&server, "template1", "app").status.success(),
        "no extension"
    );
    admin
        .batch_execute("LOAD 'pg_background'")
        .expect("the library is loaded");
    admin
        .batch_execute("ALTER SYSTEM SET pg_background.enabled = off")
        .expect("a setting");
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .expect("reloaded");
    session_tests::eventually(
        &mut admin,
        "current_setting('pg_background.enabled') = 'off'",
    );
    assert!(
        !smoke_test(&server, "postgres", "app").status.success(),
        "disabled"
    );
}
