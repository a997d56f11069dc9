//! The script in a schema where others create what they like.
//!
//! An extension's script runs with its schema in the search path, as a superuser. In the schemas here a user
//! has created operators and functions for every pair of types that the script could compare, each of which
//! fits better than the server's own would, and fails with [`HOSTILE`] whoever runs it.

use super::*;
use postgres::Client;

const HOSTILE: &str = "hostile code has run";

/// Types of catalog columns and of what they are compared with.
const TYPES: &str = "oid regclass regtype regprocedure regrole regnamespace name text \"char\" int2 int4 bool text[]";

const OPERATORS: &str = "= <> < > ~ !~ ~~ !~~ || + ->";

/// Functions that the script calls, and those that it is tempting to call.
const FUNCTIONS: &str = "format to_regrole to_regclass set_config current_setting lower upper replace array_agg bool_or \
    aclexplode acldefault pg_get_function_arguments format_type quote_ident quote_literal unnest \
    current_database current_schema has_function_privilege concat";

/// The objects that the user `mallory` creates in `public`.
fn plant(admin: &mut Client, mallory: &str) {
    let words = |words: &str| {
        let quoted: Vec<_> = words
            .split_whitespace()
            .map(|word| format!("'{word}'"))
            .collect();
        format!("ARRAY[{}]", quoted.join(", "))
    };
    admin
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {mallory};
             SET ROLE {mallory};
             DO $plant$
             DECLARE
                 a text; b text; name text;
                 body text := '$f$ BEGIN RAISE EXCEPTION ''{HOSTILE} as %'', current_user; END $f$';
             BEGIN
                 FOREACH a IN ARRAY {types} LOOP
                     FOREACH name IN ARRAY {functions} LOOP
                         EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS %s', name, a, body);
                     END LOOP;
                     FOREACH b IN ARRAY {types} LOOP
                         EXECUTE format('CREATE FUNCTION public.hostile(%s, %s) RETURNS bool LANGUAGE plpgsql AS %s', a, b, body);
                         FOREACH name IN ARRAY {operators} LOOP
                             EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.hostile)', name, a, b);
                         END LOOP;
                         FOREACH name IN ARRAY ARRAY['format', 'concat', 'lower', 'replace', 'set_config'] LOOP
                             EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS text LANGUAGE plpgsql AS %s', name, a, b, body);
                         END LOOP;
                     END LOOP;
                 END LOOP;
                 -- Overloads of ours, which fit a call with fewer arguments.
                 FOREACH name IN ARRAY ARRAY['grant_pg_background_privileges', 'revoke_pg_background_privileges'] LOOP
                     EXECUTE format('CREATE FUNCTION public.%I(text) RETURNS bool LANGUAGE plpgsql AS %s', name, body);
                     EXECUTE format('CREATE FUNCTION public.%I(name) RETURNS bool LANGUAGE plpgsql AS %s', name, body);
                 END LOOP;
             END
             $plant$;
             RESET ROLE",
            types = words(TYPES),
            functions = words(FUNCTIONS),
            operators = words(OPERATORS),
        ))
        .expect("mallory may create all that");
    // They work.
    let error = admin
        .batch_execute("SELECT 'pg_proc'::regclass = 1::oid")
        .expect_err("hostile");
    let message = error.as_db_error().expect("the server's").message();
    assert!(message.contains(HOSTILE), "{message}");
}

#[test]
fn no_operator_or_function_of_others_is_run_by_the_script() {
    let mallory = outsider();
    let database = Database::empty();
    plant(&mut database.session(), &mallory.name);
    database
        .session()
        .batch_execute("CREATE EXTENSION pg_background")
        .expect("the script runs nothing of mallory's");
}

#[test]
fn no_operator_or_function_of_others_is_run_by_an_update() {
    let _scripts = OldVersions::put();
    let mallory = outsider();
    for version in ["1.6", "1.10", "2.0"] {
        let database = database(version);
        plant(&mut database.session(), &mallory.name);
        update(&database);
    }
}

/// What is not written in C, which could only look names up by the path of its caller.
const NOT_C: &str = "SELECT p.oid::regprocedure::text, coalesce(p.proconfig::text, '')
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE e.extname = 'pg_background' AND l.lanname <> 'c' ORDER BY 1";

#[test]
fn no_operator_or_function_of_others_is_run_by_what_is_not_written_in_c() {
    // Its own: the role that is dropped here belongs to the cluster.
    let server = Server::start("hostile", &[]);
    let mut admin = server.session();
    admin
        .batch_execute(
            "CREATE ROLE mallory; CREATE SCHEMA ours; ALTER EXTENSION pg_background SET SCHEMA ours",
        )
        .expect("created");
    let written: Vec<(String, String)> = admin
        .query(NOT_C, &[])
        .expect("the catalog can be read")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(written.len(), 7, "{written:?}");
    for (function, settings) in &written {
        assert_eq!(
            settings, r#"{"search_path=pg_catalog, pg_temp"}"#,
            "{function}"
        );
    }
    plant(&mut admin, "mallory");
    admin
        .batch_execute(
            "GRANT CREATE ON SCHEMA ours TO mallory;
             SET ROLE mallory;
             CREATE FUNCTION ours.revoke_pg_background_privileges(text) RETURNS bool LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION 'hostile code has run'; END $$;
             RESET ROLE;
             CREATE ROLE somebody;
             -- Everything of mallory's comes before the server's own.
             SET search_path = public, pg_catalog;
             -- A relation in pg_temp comes first where the path does not name it.
             CREATE TEMP TABLE pg_extension (oid pg_catalog.oid, extname pg_catalog.name, extnamespace pg_catalog.oid);
             CREATE TEMP TABLE pg_depend (classid pg_catalog.oid)",
        )
        .expect("planted");
    for (function, _) in &written {
        let Some((name, "text,boolean)")) = function.split_once('(') else {
            continue;
        };
        let done: bool = value(&mut admin, &format!("SELECT {name}('somebody', false)"));
        assert!(done, "{function}");
    }
    for view in ["pg_background_list", "pg_background_activity"] {
        admin
            .batch_execute(&format!("SELECT * FROM ours.{view}"))
            .expect(view);
    }
    admin
        .batch_execute("SELECT ours.pg_background_drop_executor_role()")
        .expect("the role is dropped");
}

/// Every function and view of a new install, as statements that create one of the same form: were it not for
/// whose it is, the script could replace it.
const SQUATTERS: &str = "
    SELECT format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$BEGIN RETURN; END$$', p.proname,
                  pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE e.extname = 'pg_background'
    UNION ALL
    SELECT format('CREATE VIEW public.%I AS SELECT 1 AS pid', c.relname)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE e.extname = 'pg_background'";

/// Not a member of the extension; another form; there is such a thing already.
const REFUSALS: [&str; 4] = ["55000", "42P13", "42710", "42723"];

#[test]
fn what_others_have_created_under_a_name_of_ours_is_never_replaced() {
    let _scripts = OldVersions::put();
    let mallory = outsider();
    let database = Database::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {}",
            mallory.name
        ))
        .expect("granted");
    let squatters: Vec<String> = admin
        .query(SQUATTERS, &[])
        .expect("the catalog can be read")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(squatters.len() > 60, "{}", squatters.len());
    admin
        .batch_execute("DROP EXTENSION pg_background; CREATE EXTENSION pg_background VERSION '1.6'")
        .expect("an old version");
    // An update of a version that lacks most of them, then a new install, before which those cannot be made that
    // have types of ours.
    for (script, at_least) in [
        ("ALTER EXTENSION pg_background UPDATE TO '3.0'", 30),
        ("CREATE EXTENSION pg_background", 30),
    ] {
        let mut squatted = 0;
        for squatter in &squatters {
            admin
                .batch_execute(&format!(
                    "BEGIN; SET LOCAL check_function_bodies = off; SET ROLE {}",
                    mallory.name
                ))
                .expect("begun");
            if admin.batch_execute(squatter).is_ok() {
                squatted += 1;
                admin.batch_execute("RESET ROLE").expect("a role");
                let state = sqlstate(admin.batch_execute(script));
                assert!(REFUSALS.contains(&state.as_str()), "{squatter}: {state}");
            }
            admin.batch_execute("ROLLBACK").expect("undone");
        }
        assert!(squatted >= at_least, "{script}: {squatted}");
        admin
            .batch_execute("DROP EXTENSION IF EXISTS pg_background")
            .expect("dropped");
    }
}
