//! Everything that SQL can call: who may, and that it is described.
//!
//! The lists come from the catalog: whoever adds a function or a view has to say here who may use it.

use postgres::Client;
use session_tests::*;
use std::collections::BTreeSet;
use std::path::Path;

/// Who besides the superuser may use a member of the extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// Those who have `pgbackground_role`.
    Members,
    /// Nobody.
    Administrators,
}
use Who::{Administrators, Members};

/// What becomes of a call that is allowed: that of a handle which names no job is an error.
const DONE: &str = "00000";
const UNKNOWN: &str = "42704";
const IN_JOBS_ONLY: &str = "0A000";

/// A member, a use of it that does no harm, what comes of that where it is allowed, and to whom it is.
const SURFACE: &[(&str, &str, &str, Who)] = &[
    ("grant_pg_background_privileges(text,boolean)", "SELECT grant_pg_background_privileges('outsider')", DONE, Administrators),
    ("pg_background_grant_privileges(text,boolean)", "SELECT pg_background_grant_privileges('outsider')", DONE, Administrators),
    ("pg_background_grant_privileges_v2(text,boolean)", "SELECT pg_background_grant_privileges_v2('outsider')", DONE, Administrators),
    ("revoke_pg_background_privileges(text,boolean)", "SELECT revoke_pg_background_privileges('outsider')", DONE, Administrators),
    ("pg_background_revoke_privileges(text,boolean)", "SELECT pg_background_revoke_privileges('outsider')", DONE, Administrators),
    ("pg_background_revoke_privileges_v2(text,boolean)", "SELECT pg_background_revoke_privileges_v2('outsider')", DONE, Administrators),
    ("pg_background_drop_executor_role()", "SELECT pg_background_drop_executor_role()", DONE, Administrators),
    ("pg_background_retire_idle()", "SELECT pg_background_retire_idle()", DONE, Administrators),
    ("pg_background_launch(text,integer)", "SELECT pg_background_launch('SELECT 1')", DONE, Members),
    ("pg_background_launch(text,integer,text)", "SELECT pg_background_launch('SELECT 1', 0, 'label')", DONE, Members),
    ("pg_background_launch_v2(text,integer)", "SELECT pg_background_launch_v2('SELECT 1')", DONE, Members),
    ("pg_background_launch_v2(text,integer,text)", "SELECT pg_background_launch_v2('SELECT 1', 0, 'label')", DONE, Members),
    ("pg_background_launch_params(text,\"any\")", "SELECT pg_background_launch_params('SELECT $1', 1)", DONE, Members),
    ("pg_background_submit(text,integer)", "SELECT pg_background_submit('SELECT 1')", DONE, Members),
    ("pg_background_submit(text,integer,text)", "SELECT pg_background_submit('SELECT 1', 0, 'label')", DONE, Members),
    ("pg_background_submit_v2(text,integer)", "SELECT pg_background_submit_v2('SELECT 1')", DONE, Members),
    ("pg_background_submit_v2(text,integer,text)", "SELECT pg_background_submit_v2('SELECT 1', 0, 'label')", DONE, Members),
    ("pg_background_submit_params(text,\"any\")", "SELECT pg_background_submit_params('SELECT $1', 1)", DONE, Members),
    ("pg_background_run(text,integer,integer,text)", "SELECT pg_background_run('SELECT 1')", DONE, Members),
    ("pg_background_run_v2(text,integer,integer,text)", "SELECT pg_background_run_v2('SELECT 1')", DONE, Members),
    ("pg_background_run_query(text,integer,integer,text,text)", "SELECT * FROM pg_background_run_query('SELECT 1') AS (n int4)", DONE, Members),
    ("pg_background_run_query_v2(text,integer,integer,text,text)", "SELECT * FROM pg_background_run_query_v2('SELECT 1') AS (n int4)", DONE, Members),
    ("pg_background_fanout(text[],integer,boolean,integer)", "SELECT * FROM pg_background_fanout(ARRAY['SELECT 1'])", DONE, Members),
    ("pg_background_prewarm(integer)", "SELECT pg_background_prewarm(1)", DONE, Members),
    ("pg_background_result(integer)", "SELECT * FROM pg_background_result(0) AS (n int4)", UNKNOWN, Members),
    ("pg_background_result(integer,bigint)", "SELECT * FROM pg_background_result(0, 1) AS (n int4)", UNKNOWN, Members),
    ("pg_background_result(integer,bigint,anyelement)", "SELECT pg_background_result(0, 1, NULL::int4)", UNKNOWN, Members),
    ("pg_background_result_v2(integer,bigint)", "SELECT * FROM pg_background_result_v2(0, 1) AS (n int4)", UNKNOWN, Members),
    ("pg_background_result_json(integer,bigint)", "SELECT pg_background_result_json(0, 1)", UNKNOWN, Members),
    ("pg_background_detach(integer)", "SELECT pg_background_detach(0)", UNKNOWN, Members),
    ("pg_background_detach(integer,bigint)", "SELECT pg_background_detach(0, 1)", UNKNOWN, Members),
    ("pg_background_detach_v2(integer,bigint)", "SELECT pg_background_detach_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_detach_all()", "SELECT pg_background_detach_all()", DONE, Members),
    ("pg_background_detach_all_v2()", "SELECT pg_background_detach_all_v2()", DONE, Members),
    ("pg_background_purge()", "SELECT pg_background_purge()", DONE, Members),
    ("pg_background_purge_v2()", "SELECT pg_background_purge_v2()", DONE, Members),
    ("pg_background_cancel(integer,bigint,integer)", "SELECT pg_background_cancel(0, 1)", UNKNOWN, Members),
    ("pg_background_cancel_v2(integer,bigint)", "SELECT pg_background_cancel_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_cancel_v2(integer,bigint,integer)", "SELECT pg_background_cancel_v2(0, 1, 1)", UNKNOWN, Members),
    ("pg_background_cancel_v2_grace(integer,bigint,integer)", "SELECT pg_background_cancel_v2_grace(0, 1, 1)", UNKNOWN, Members),
    ("pg_background_cancel_all()", "SELECT pg_background_cancel_all()", DONE, Members),
    ("pg_background_cancel_all_v2()", "SELECT pg_background_cancel_all_v2()", DONE, Members),
    ("pg_background_cancel_by_label(text,integer)", "SELECT pg_background_cancel_by_label('%')", DONE, Members),
    ("pg_background_cancel_by_label_v2(text,integer)", "SELECT pg_background_cancel_by_label_v2('%')", DONE, Members),
    ("pg_background_wait(integer,bigint,integer)", "SELECT pg_background_wait(0, 1)", UNKNOWN, Members),
    ("pg_background_wait_v2(integer,bigint)", "SELECT pg_background_wait_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_wait_v2(integer,bigint,integer)", "SELECT pg_background_wait_v2(0, 1, 1)", UNKNOWN, Members),
    ("pg_background_wait_v2_timeout(integer,bigint,integer)", "SELECT pg_background_wait_v2_timeout(0, 1, 1)", UNKNOWN, Members),
    ("pg_background_wait_all(pg_background_handle[],integer)", "SELECT pg_background_wait_all(ARRAY[(0, 1)::pg_background_handle])", UNKNOWN, Members),
    ("pg_background_wait_any(pg_background_handle[],integer)", "SELECT pg_background_wait_any(ARRAY[(0, 1)::pg_background_handle])", UNKNOWN, Members),
    ("pg_background_wait_any_v2(pg_background_handle[],integer)", "SELECT pg_background_wait_any_v2(ARRAY[(0, 1)::pg_background_handle])", UNKNOWN, Members),
    ("pg_background_drain(pg_background_handle[],integer)", "SELECT pg_background_drain(ARRAY[(0, 1)::pg_background_handle])", DONE, Members),
    ("pg_background_drain_v2(pg_background_handle[],integer)", "SELECT pg_background_drain_v2(ARRAY[(0, 1)::pg_background_handle])", DONE, Members),
    ("pg_background_outcome(integer,bigint)", "SELECT pg_background_outcome(0, 1)", DONE, Members),
    ("pg_background_outcome_v2(integer,bigint)", "SELECT pg_background_outcome_v2(0, 1)", DONE, Members),
    ("pg_background_result_info(integer,bigint)", "SELECT pg_background_result_info(0, 1)", UNKNOWN, Members),
    ("pg_background_result_info_v2(integer,bigint)", "SELECT pg_background_result_info_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_error_info(integer,bigint)", "SELECT pg_background_error_info(0, 1)", UNKNOWN, Members),
    ("pg_background_error_info_v2(integer,bigint)", "SELECT pg_background_error_info_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_full_sql(integer,bigint)", "SELECT pg_background_full_sql(0, 1)", UNKNOWN, Members),
    ("pg_background_full_sql_v2(integer,bigint)", "SELECT pg_background_full_sql_v2(0, 1)", UNKNOWN, Members),
    ("pg_background_spilled(integer,bigint)", "SELECT pg_background_spilled(0, 1)", UNKNOWN, Members),
    ("pg_background_get_progress(integer,bigint)", "SELECT pg_background_get_progress(0, 1)", DONE, Members),
    ("pg_background_get_progress_v2(integer,bigint)", "SELECT pg_background_get_progress_v2(0, 1)", DONE, Members),
    ("pg_background_progress(integer,text)", "SELECT pg_background_progress(1)", IN_JOBS_ONLY, Members),
    ("pg_background_report_progress(integer,text)", "SELECT pg_background_report_progress(1)", IN_JOBS_ONLY, Members),
    ("pg_background_list()", "SELECT * FROM pg_background_list", DONE, Members),
    ("pg_background_list_v2()", "SELECT * FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
        user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool)", DONE, Members),
    ("pg_background_stats()", "SELECT pg_background_stats()", DONE, Members),
    ("pg_background_stats_v2()", "SELECT pg_background_stats_v2()", DONE, Members),
    ("pg_background_record_timeout()", "SELECT pg_background_record_timeout()", DONE, Members),
    ("pg_background_record_timeout_v2()", "SELECT pg_background_record_timeout_v2()", DONE, Members),
    ("pg_background_resources()", "SELECT * FROM pg_background_resources()", DONE, Members),
    ("pg_background_resources_by_role()", "SELECT * FROM pg_background_resources_by_role()", DONE, Members),
    ("pg_background_cancel_role(regrole,integer)", "SELECT pg_background_cancel_role(session_user::regrole)", DONE, Members),
    ("pg_background_purge_role(regrole)", "SELECT pg_background_purge_role(session_user::regrole)", DONE, Members),
    ("view pg_background_list", "SELECT * FROM pg_background_list", DONE, Members),
    ("view pg_background_activity", "SELECT * FROM pg_background_activity", DONE, Members),
];

const MEMBERS: &str = "SELECT CASE WHEN p.oid IS NOT NULL THEN p.oid::regprocedure::text ELSE 'view ' || c.oid::regclass::text END
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE e.extname = 'pg_background' AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)";

fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .query(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Uses a member, undoes it, and lets go of what was launched; the SQLSTATE.
fn attempt(client: &mut Client, sql: &str) -> String {
    client.batch_execute("BEGIN").expect("begun");
    let done = match client.batch_execute(sql) {
        Ok(()) => String::from(DONE),
        Err(error) => sqlstate::<()>(Err(error)),
    };
    client.batch_execute("ROLLBACK").expect("undone");
    done
}

#[test]
fn everybody_may_do_what_the_rights_model_says_and_nothing_else() {
    // Its own: one of the functions drops the role, and the rights of PUBLIC are changed.
    let server = Server::start("surface", &[]);
    server.role("member");
    let mut admin = server.session();
    admin
        .batch_execute("CREATE ROLE outsider LOGIN")
        .expect("a role");
    let known: BTreeSet<_> = SURFACE
        .iter()
        .map(|(member, ..)| String::from(*member))
        .collect();
    assert_eq!(known.len(), SURFACE.len(), "one is listed twice");
    let members: BTreeSet<_> = texts(&mut admin, MEMBERS).into_iter().collect();
    assert_eq!(
        members, known,
        "what there is, and what this test knows the rights of"
    );

    let mut outsider = server.session_as("outsider");
    let mut user = server.session_as("member");
    for (member, call, done, who) in SURFACE {
        assert_eq!(
            attempt(&mut outsider, call),
            "42501",
            "{member} by an outsider"
        );
        let expected = match who {
            Members => done,
            Administrators => "42501",
        };
        assert_eq!(attempt(&mut user, call), *expected, "{member} by a member");
        assert_eq!(
            attempt(&mut admin, call),
            *done,
            "{member} by the superuser"
        );
    }

    // Nobody may write to a view, and types are for members alone.
    for view in ["pg_background_list", "pg_background_activity"] {
        for role in ["member", "outsider"] {
            let writes: bool = value(
                &mut admin,
                &format!(
                    "SELECT has_table_privilege('{role}', '{view}', 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
                ),
            );
            assert!(!writes, "{view} by {role}");
        }
    }
    let types = "SELECT y.oid::regtype::text FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
        WHERE e.extname = 'pg_background' AND y.typcategory <> 'A'
          AND NOT EXISTS (SELECT FROM pg_class v WHERE v.oid = y.typrelid AND v.relkind = 'v')";
    for name in texts(&mut admin, types) {
        for (role, may) in [("member", true), ("outsider", false)] {
            let uses: bool = value(
                &mut admin,
                &format!("SELECT has_type_privilege('{role}', '{name}', 'USAGE')"),
            );
            assert_eq!(uses, may, "{name} by {role}");
        }
    }
    for session in [&mut user, &mut admin] {
        session
            .batch_execute("SELECT pg_background_detach_all()")
            .expect("detached");
    }
    nothing_is_left(&mut admin);
}

#[test]
fn rights_on_a_view_alone_are_not_enough() {
    let role = Role::new();
    let database = Database::new();
    database
        .session()
        .batch_execute(&format!(
            "REVOKE pgbackground_role FROM {0};
             GRANT SELECT ON pg_background_list, pg_background_activity TO {0}",
            role.name
        ))
        .expect("granted");
    let mut reader = database.session_as(&role.name);
    for view in ["pg_background_list", "pg_background_activity"] {
        let read = reader.batch_execute(&format!("SELECT * FROM {view}"));
        assert_eq!(sqlstate(read), "42501", "{view}");
    }
}

/// A member and its comment.
const COMMENTS: &str = "SELECT coalesce(p.oid::regprocedure::text, c.oid::regclass::text, y.oid::regtype::text),
           coalesce(obj_description(d.objid, d.classid::regclass::name), ''), coalesce(p.prosecdef, false)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
    LEFT JOIN pg_class v ON v.oid = y.typrelid AND v.relkind = 'v'
    WHERE e.extname = 'pg_background' AND (y.oid IS NULL OR y.typcategory <> 'A' AND v.oid IS NULL)";

#[test]
fn everything_is_described_and_what_is_old_or_dangerous_says_so() {
    let database = Database::new();
    let described = database
        .session()
        .query(COMMENTS, &[])
        .expect("the catalog can be read");
    assert!(described.len() > SURFACE.len(), "types too");
    let v1 = [
        "pg_background_launch(text,integer)",
        "pg_background_result(integer)",
        "pg_background_detach(integer)",
    ];
    let mut deprecated = 0;
    for row in described {
        let (member, comment, definer): (String, String, bool) =
            (row.get(0), row.get(1), row.get(2));
        assert!(comment.len() > 10, "{member}: {comment:?}");
        let says = comment.starts_with("Deprecated: use pg_background_");
        assert_eq!(says, v1.contains(&member.as_str()), "{member}: {comment:?}");
        deprecated += u32::from(says);
        assert_eq!(
            comment.contains("WARNING: this function is SECURITY DEFINER"),
            definer,
            "{member}: {comment:?}"
        );
    }
    assert_eq!(deprecated, 3);
}

/// What a page calls a test, as file and function.
fn named_tests(page: &str) -> BTreeSet<(&str, &str)> {
    page.split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(|(file, name)| {
            [file, name].into_iter().all(|part| {
                !part.is_empty()
                    && part
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            })
        })
        .collect()
}

fn names_tests_that_exist(page: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(here.join("../..").join(page)).expect("the page");
    let tests = named_tests(&text);
    assert!(tests.len() > 30, "{}", tests.len());
    for (file, name) in tests {
        let found = [
            format!("tests/{file}.rs"),
            format!("tests/{file}/main.rs"),
            format!("tests/upgrade/{file}.rs"),
            format!("tests/hostile/{file}.rs"),
            format!("tests/rights/{file}.rs"),
        ]
        .iter()
        .filter_map(|path| std::fs::read_to_string(here.join(path)).ok())
        .any(|source| source.contains(&format!("fn {name}()")));
        assert!(found, "{page}: {file}::{name}");
    }
}

#[test]
fn the_review_of_1_6_names_tests_that_exist() {
    names_tests_that_exist("docs/review-1.6.md");
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    names_tests_that_exist("SECURITY.md");
}
