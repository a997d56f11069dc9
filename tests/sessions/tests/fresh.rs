//! Settings in a session that has not loaded the library, for a role without rights: what `docs/settings.md`
//! recommends.

use postgres::error::SqlState;
use session_tests::*;

/// Runs a job, and returns what it has for the setting.
const LAUNCHES: &str =
    "SELECT public.pg_background_call('SHOW pg_background.on_exhaustion', NULL::text)";

fn with_clause(name: &str) -> String {
    format!(
        "CREATE FUNCTION {name}() RETURNS text LANGUAGE sql SET pg_background.on_exhaustion TO 'queue' AS $$ {LAUNCHES} $$"
    )
}

/// A database, and a role that may create functions in a schema of its own.
fn prepared() -> (Role, Database) {
    let role = Role::new();
    let database = Database::new();
    database
        .session()
        .batch_execute(&format!("CREATE SCHEMA AUTHORIZATION {}", role.name))
        .expect("a schema");
    (role, database)
}

/// Calls the function in a new session, where it sets the setting before the library is loaded.
fn calls(role: &Role, database: &Database, name: &str) {
    let mut session = database.session_as(&role.name);
    for _ in 0..2 {
        let got: String = value(&mut session, &format!("SELECT {name}()"));
        assert_eq!(got, "queue", "{name}");
        let after: String = value(&mut session, "SHOW pg_background.on_exhaustion");
        assert_eq!(after, "wait", "{name}");
    }
}

#[test]
fn a_function_sets_a_setting_in_its_body() {
    let (role, database) = prepared();
    database
        .session_as(&role.name)
        .batch_execute(&format!(
            "CREATE FUNCTION in_body() RETURNS text LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM set_config('pg_background.on_exhaustion', 'queue', true);
                 RETURN ({LAUNCHES});
             END $$"
        ))
        .expect("needs no rights");
    calls(&role, &database, "in_body");
}

#[test]
fn a_function_with_a_set_clause_can_be_created_once_the_library_is_loaded() {
    let (role, database) = prepared();
    let mut session = database.session_as(&role.name);
    assert_state(
        session.batch_execute(&with_clause("in_clause")),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    session
        .batch_execute("SELECT count(*) FROM pg_background_list")
        .expect("loaded");
    session
        .batch_execute(&with_clause("in_clause"))
        .expect("known");
    calls(&role, &database, "in_clause");
}

#[test]
fn a_library_that_each_session_loads_lets_everybody_create_such_a_function() {
    let (role, database) = prepared();
    database
        .session()
        .batch_execute(&format!(
            "ALTER DATABASE {} SET session_preload_libraries = 'pg_background'",
            database.name
        ))
        .expect("a setting");
    database
        .session_as(&role.name)
        .batch_execute(&with_clause("in_clause"))
        .expect("known from the beginning");
    calls(&role, &database, "in_clause");
}

#[test]
fn a_role_that_was_granted_the_setting_can_create_such_a_function() {
    let (role, database) = prepared();
    let mut admin = database.session();
    if major_version(&mut admin) < 15 {
        eprintln!("SKIPPED: this server grants no settings");
        return;
    }
    admin
        .batch_execute(&format!(
            "GRANT SET ON PARAMETER pg_background.on_exhaustion TO {}",
            role.name
        ))
        .expect("granted");
    database
        .session_as(&role.name)
        .batch_execute(&with_clause("in_clause"))
        .expect("granted");
    calls(&role, &database, "in_clause");
    admin
        .batch_execute(&format!(
            "REVOKE SET ON PARAMETER pg_background.on_exhaustion FROM {}",
            role.name
        ))
        .expect("revoked");
}
