//! Updates from the versions of the C extension.
//!
//! Beside it are the catalogs of those versions, and what must work with each (`use-*.sql`); they are
//! in the server's directory while a test here runs. A database goes through: the catalog of an older version,
//! used with this library; dependent objects; the update; the same use again, and what is new.

mod catalog;
mod dependents;
mod hostile;
mod versions;

use catalog::{MEMBERS, catalog};
use dependents::*;
use session_tests::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use versions::VERSIONS;

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).to_path_buf()
}

fn run_command(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the command can be run");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn old_versions(what: &str) -> Command {
    let mut command = Command::new(root().join("ci/server-tests"));
    command.args(["old-versions", what]);
    command
}

/// The scripts of the older versions, where the server finds them; removed at the end.
struct OldVersions;

impl OldVersions {
    fn put() -> Self {
        run_command(&mut old_versions("put"));
        Self
    }
}

impl Drop for OldVersions {
    fn drop(&mut self) {
        let _ = old_versions("remove").output();
    }
}

/// A database with the catalog of an older version.
fn database(version: &str) -> Database {
    let database = Database::empty();
    execute(
        &database,
        &format!("CREATE EXTENSION pg_background VERSION '{version}'"),
    );
    database
}

/// In a session of its own.
fn execute(database: &Database, sql: &str) {
    database
        .session()
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn update(database: &Database) {
    execute(database, "ALTER EXTENSION pg_background UPDATE TO '3.0'");
}

fn in_use(database: &Database, scripts: &[&str]) {
    for script in scripts {
        let path = root().join(format!("tests/sessions/tests/upgrade/use-{script}.sql"));
        execute(
            database,
            &std::fs::read_to_string(path).expect("the script is there"),
        );
    }
}

#[test]
fn an_older_catalog_works_with_this_library_and_after_the_update() {
    let _scripts = OldVersions::put();
    let witness = Witness::new();
    for version in VERSIONS {
        let database = database(version.number);
        in_use(&database, version.uses);
        update(&database);
        in_use(&database, version.uses);
        in_use(&database, &["3.0"]);
        nothing_is_left(&mut database.session());
    }
    witness.check();
}

#[test]
fn what_depends_on_the_extension_outlives_the_update() {
    let _scripts = OldVersions::put();
    for version in VERSIONS {
        let (form, form_works) = match version.number {
            "1.6" | "1.7" => ("", ""),
            "2.0" => (DEPENDENTS_OF_2_0, DEPENDENTS_OF_2_0_WORK),
            _ => (DEPENDENTS_OF_1_8, DEPENDENTS_OF_1_8_WORK),
        };
        let database = database(version.number);
        execute(&database, DEPENDENTS);
        execute(&database, form);
        let before: Vec<String> = value(&mut database.session(), MEMBERS);
        // A session that has planned calls of the old functions goes on with the new ones.
        let mut session = database.session();
        session
            .batch_execute(DEPENDENTS_WORK)
            .expect("they work before");
        update(&database);
        session
            .batch_execute(DEPENDENTS_WORK)
            .expect("they work after, in the same session");
        execute(&database, DEPENDENTS_WORK);
        execute(&database, form_works);
        let after: Vec<String> = value(&mut database.session(), MEMBERS);
        let lost: Vec<_> = before
            .iter()
            .filter(|member| !after.contains(member))
            .collect();
        assert!(lost.is_empty(), "{}: {lost:?}", version.number);
    }
}

#[test]
fn an_updated_catalog_is_that_of_a_new_one_but_for_the_forms_it_keeps() {
    let _scripts = OldVersions::put();
    let new = catalog(&Database::new());
    for version in VERSIONS {
        let database = database(version.number);
        update(&database);
        let updated = catalog(&database);
        let mut expected = new.clone();
        for (aspect, form) in version.keeps {
            match form {
                Some(form) => {
                    expected.insert(String::from(*aspect), String::from(*form));
                }
                None => {
                    let member = format!("{aspect}: ");
                    let count = expected.len();
                    expected.retain(|aspect, _| !aspect.starts_with(&member));
                    assert!(expected.len() < count, "a new one has no {aspect}");
                }
            }
        }
        for aspect in expected.keys().chain(updated.keys()) {
            assert_eq!(
                updated.get(aspect),
                expected.get(aspect),
                "{}: {aspect}",
                version.number
            );
        }
    }
}

/// What an administrator has done before the update; `$role` stands for a role.
const BY_HAND: &str = "
    GRANT EXECUTE ON FUNCTION pg_background_launch_v2(text, int4), pg_background_wait_v2_timeout(int4, int8, int4)
        TO $role;
    GRANT USAGE ON TYPE pg_background_handle TO $role;
    GRANT EXECUTE ON FUNCTION pg_background_list_v2() TO PUBLIC;
    REVOKE EXECUTE ON FUNCTION pg_background_submit_v2(text, int4) FROM pgbackground_role;";

const BY_HAND_STANDS: &str = "DO $$
    BEGIN
        ASSERT has_function_privilege('$role', 'pg_background_launch_v2(text, int4)', 'EXECUTE');
        ASSERT has_function_privilege('$role', 'pg_background_wait_v2_timeout(int4, int8, int4)', 'EXECUTE');
        ASSERT has_type_privilege('$role', 'pg_background_handle', 'USAGE');
        ASSERT NOT has_function_privilege('$role', 'pg_background_result_v2(int4, int8)', 'EXECUTE');
        ASSERT has_function_privilege('public', 'pg_background_list_v2()', 'EXECUTE');
        ASSERT NOT has_function_privilege('pgbackground_role', 'pg_background_submit_v2(text, int4)', 'EXECUTE');
    END $$";

/// A role that may not use the extension.
fn outsider() -> Role {
    // The extension's role comes with the extension.
    let database = Database::new();
    let role = Role::new();
    execute(
        &database,
        &format!("REVOKE pgbackground_role FROM {}", role.name),
    );
    role
}

/// Version 2.0 has no `wait_v2_timeout`.
fn by_hand(sql: &str, version: &str, role: &str) -> String {
    let sql = sql.replace("$role", role);
    if version == "2.0" {
        return sql.replace(
            "pg_background_wait_v2_timeout(int4",
            "pg_background_wait_v2(int4",
        );
    }
    sql
}

#[test]
fn rights_that_were_granted_or_revoked_by_hand_stay() {
    let _scripts = OldVersions::put();
    let role = outsider();
    for version in VERSIONS {
        let database = database(version.number);
        execute(&database, &by_hand(BY_HAND, version.number, &role.name));
        update(&database);
        execute(
            &database,
            &by_hand(BY_HAND_STANDS, version.number, &role.name),
        );
        execute(&database, &format!("DROP OWNED BY {}", role.name));
    }
}

#[test]
fn comments_stay() {
    let _scripts = OldVersions::put();
    for version in VERSIONS {
        let database = database(version.number);
        let has_view = version.number == "2.0";
        execute(
            &database,
            "COMMENT ON FUNCTION pg_background_launch_v2(text, int4) IS 'it''s ours';
             COMMENT ON FUNCTION pg_background_result_v2(int4, int8) IS NULL;
             COMMENT ON TYPE pg_background_handle IS 'our handle'",
        );
        if has_view {
            execute(
                &database,
                "COMMENT ON VIEW pg_background_list IS 'our list'",
            );
        }
        update(&database);
        execute(
            &database,
            "DO $$ BEGIN
                 ASSERT obj_description('pg_background_launch_v2(text, int4)'::regprocedure, 'pg_proc') = 'it''s ours';
                 ASSERT obj_description('pg_background_result_v2(int4, int8)'::regprocedure, 'pg_proc') ~ 'rows';
                 ASSERT obj_description('pg_background_handle'::regtype, 'pg_type') = 'our handle';
             END $$",
        );
        let of_view: bool = value(
            &mut database.session(),
            "SELECT obj_description('pg_background_list'::regclass, 'pg_class') = 'our list'",
        );
        assert_eq!(of_view, has_view, "{}", version.number);
    }
}

/// Runs a program of the server's, with the database as its last argument and these options of its session.
fn program(name: &str, arguments: &[&str], options: &str, database: &Database) -> Vec<u8> {
    let bin: String = value(
        &mut database.session(),
        "SELECT setting FROM pg_config WHERE name = 'BINDIR'",
    );
    let url = std::env::var("PGB_TEST_URL").expect("the server under test");
    let url = url.replacen("/postgres?", &format!("/{}?", database.name), 1);
    run_command(
        Command::new(Path::new(&bin).join(name))
            .args(arguments)
            .arg(format!("--dbname={url}"))
            .env("PGOPTIONS", options),
    )
}

/// Restores the dump of a database into another, in a session with these options.
fn restore(from: &Database, into: &Database, options: &str) {
    let dump = std::env::temp_dir().join(format!("{}.sql", from.name));
    let dump = dump.to_str().expect("a path in plain text");
    program("pg_dump", &["--file", dump], "", from);
    program(
        "psql",
        &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump],
        options,
        into,
    );
    let _ = std::fs::remove_file(dump);
}

#[test]
fn a_dump_is_restored_with_what_depends_on_the_extension_and_the_rights() {
    let _scripts = OldVersions::put();
    let role = outsider();
    for version in VERSIONS {
        let database = database(version.number);
        execute(&database, DEPENDENTS);
        execute(&database, &by_hand(BY_HAND, version.number, &role.name));
        update(&database);
        let copy = Database::empty();
        restore(&database, &copy, "");
        // The copy has the forms of a new install.
        execute(&copy, DEPENDENTS_WORK);
        in_use(&copy, &["1.6", "1.8", "3.0"]);
        execute(&copy, &by_hand(BY_HAND_STANDS, version.number, &role.name));
        for database in [database, copy] {
            execute(&database, &format!("DROP OWNED BY {}", role.name));
        }
    }
}

#[test]
fn a_dump_is_restored_to_old_forms_where_the_extension_was_made_with_them() {
    let _scripts = OldVersions::put();
    for (version, form, form_works) in [
        ("1.8", DEPENDENTS_OF_1_8, DEPENDENTS_OF_1_8_WORK),
        ("2.0", DEPENDENTS_OF_2_0, DEPENDENTS_OF_2_0_WORK),
    ] {
        let [database, copy] = [(); 2].map(|()| database(version));
        execute(&database, form);
        update(&database);
        update(&copy);
        restore(&database, &copy, "");
        execute(&copy, form_works);
    }
}

#[test]
fn a_dump_of_the_forms_of_2_0_is_restored_to_a_new_install_with_the_setting() {
    let _scripts = OldVersions::put();
    let database = database("2.0");
    execute(&database, DEPENDENTS_OF_2_0);
    update(&database);
    let copy = Database::empty();
    restore(&database, &copy, "-c pg_background.forms=2.0");
    execute(&copy, DEPENDENTS_OF_2_0_WORK);
    in_use(&copy, &["2.0", "3.0"]);
}

#[test]
fn an_updated_extension_moves_to_another_schema_and_is_dropped_without_a_trace() {
    let _scripts = OldVersions::put();
    for version in VERSIONS {
        let database = Database::empty();
        execute(
            &database,
            &format!(
                "CREATE SCHEMA \"Odd schema\";
                 CREATE EXTENSION pg_background VERSION '{}' SCHEMA \"Odd schema\"",
                version.number
            ),
        );
        update(&database);
        execute(
            &database,
            "DO $$
             DECLARE
                 h \"Odd schema\".pg_background_handle := \"Odd schema\".pg_background_launch_v2('SELECT 1');
             BEGIN
                 PERFORM \"Odd schema\".pg_background_detach_v2(h.pid, h.cookie);
             END $$;
             ALTER EXTENSION pg_background SET SCHEMA public",
        );
        in_use(&database, version.uses);
        in_use(&database, &["3.0"]);
        let left: i64 = value(
            &mut database.session(),
            "SELECT count(*) FROM pg_proc WHERE pronamespace = '\"Odd schema\"'::regnamespace",
        );
        assert_eq!(left, 0, "{}", version.number);
        execute(&database, "DROP EXTENSION pg_background");
        let left: i64 = value(
            &mut database.session(),
            "SELECT (SELECT count(*) FROM pg_proc WHERE proname ~ 'pg_background')
                  + (SELECT count(*) FROM pg_type WHERE typname ~ 'pg_background')
                  + (SELECT count(*) FROM pg_class WHERE relname ~ 'pg_background')
                  + (SELECT count(*) FROM pg_init_privs i WHERE classoid = 'pg_proc'::regclass
                         AND NOT EXISTS (SELECT FROM pg_proc WHERE oid = i.objoid))
                  + (SELECT count(*) FROM pg_shdepend s WHERE refobjid = 'pgbackground_role'::regrole
                         AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        );
        assert_eq!(left, 0, "{}", version.number);
    }
}

#[test]
fn a_database_that_began_with_version_1_4_is_updated() {
    let _scripts = OldVersions::put();
    let database = database("1.6");
    for verb in ["grant", "revoke"] {
        let name = format!("{verb}_pg_background_privileges");
        execute(
            &database,
            &format!(
                "ALTER EXTENSION pg_background DROP FUNCTION {name};
                 DROP FUNCTION {name};
                 CREATE FUNCTION {name}(user_name text, print_commands bool DEFAULT false) RETURNS bool
                     LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN true; END';
                 ALTER EXTENSION pg_background ADD FUNCTION {name}"
            ),
        );
    }
    update(&database);
    assert_eq!(catalog(&database), catalog(&Database::new()));
}

#[test]
fn what_is_in_the_schema_and_not_the_extensions_is_never_taken_for_it() {
    let _scripts = OldVersions::put();
    for squatter in [
        "CREATE TYPE pg_background_outcome AS (pid int4)",
        "CREATE FUNCTION pg_background_fanout(text[], int4, bool, int4) RETURNS int4 LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_background_launch(text, int4) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION pg_background_outcome(p_pid int4, p_cookie int8) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "CREATE VIEW pg_background_activity AS SELECT 1 AS pid",
    ] {
        let database = Database::empty();
        execute(&database, squatter);
        let created = database
            .session()
            .batch_execute("CREATE EXTENSION pg_background");
        assert!(created.is_err(), "{squatter}");
    }
    let database = database("1.8");
    execute(
        &database,
        "CREATE TYPE pg_background_outcome AS (pid int4, cookie int8)",
    );
    let updated = database
        .session()
        .batch_execute("ALTER EXTENSION pg_background UPDATE");
    assert_eq!(sqlstate(updated), "42710");
}
