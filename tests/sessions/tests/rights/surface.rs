//! Every function that SQL can call: who may call it, and that it is described.
//!
//! What there is comes from the catalog, and a call of it that does no harm from the names of its arguments. So a new
//! function is looked at without being named here, unless it is for administrators, or does something else than others
//! when it is called with a handle that names no job.

use postgres::{Client, Row};
use session_tests::*;
use std::collections::BTreeSet;
use std::path::Path;

/// What only a superuser may use; everything else is for those who have `pgbackground_role`, and nothing for others.
const ADMINISTRATORS: [&str; 8] = [
    "grant_pg_background_privileges",
    "pg_background_grant_privileges",
    "pg_background_grant_privileges_v2",
    "revoke_pg_background_privileges",
    "pg_background_revoke_privileges",
    "pg_background_revoke_privileges_v2",
    "pg_background_drop_executor_role",
    "pg_background_retire_idle",
];

/// Those that return for an unknown job; the others raise an error.
const MEET_UNKNOWN_JOBS: [&str; 7] = [
    "pg_background_outcome",
    "pg_background_outcome_v2",
    "pg_background_get_progress_v2",
    "pg_background_drain",
    "pg_background_drain_v2",
    "pg_background_wait_any",
    "pg_background_wait_any_v2",
];

const IN_JOBS_ONLY: [&str; 2] = ["pg_background_progress", "pg_background_report_progress"];

/// Those whose caller has to name the columns, where it is not one number.
const COLUMNS: &str =
    "pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
    sql_preview text, last_error text, consumed bool";

/// How a call that is allowed ends.
const DONE: &str = "00000";
const UNKNOWN: &str = "42704";
const NOT_HERE: &str = "0A000";
const FORBIDDEN: &str = "42501";
/// A procedure ends the transaction, and a transaction block does not let it.
const IN_TRANSACTION: &str = "2D000";

/// A member of the extension, a function or a view.
struct Member {
    /// As `regprocedure` has it; of a view `view NAME`.
    member: String,
    name: String,
    /// The arguments without a default.
    arguments: Vec<String>,
    /// The caller says which columns the result has.
    names_columns: bool,
    is_procedure: bool,
}

impl Member {
    fn new(row: &Row) -> Self {
        Self {
            member: row.get(0),
            name: row.get(1),
            arguments: row.get(2),
            names_columns: row.get(3),
            is_procedure: row.get(4),
        }
    }

    fn has(&self, argument: &str) -> bool {
        self.arguments.iter().any(|name| name == argument)
    }

    fn value(&self, argument: &str) -> &'static str {
        match argument {
            "sql" if self.has("params") => "'SELECT $1'",
            "sql" if self.member.contains("text[]") => "ARRAY['SELECT 1']",
            "sql" => "'SELECT 1'",
            "pid" | "queue_size" => "0",
            "params" if self.member.contains("anyarray") => "ARRAY[1]",
            "cookie" | "grace_ms" | "timeout_ms" | "n" | "params" | "pct" => "1",
            "handles" => "ARRAY[(0, 1)::pg_background_handle]",
            "label" => "'label'",
            "pattern" => "'%'",
            "role" => "session_user::regrole",
            "role_name" => "'outsider'",
            "row_type" | "returns" => "NULL::int4",
            other => panic!("{}: what is a value of {other}?", self.member),
        }
    }

    /// A call that does no harm. A handle in it names no job.
    fn call(&self) -> String {
        let name = &self.name;
        if self.member.starts_with("view ") {
            return format!("SELECT * FROM {name}");
        }
        let values: Vec<_> = self.arguments.iter().map(|name| self.value(name)).collect();
        let columns = match (self.names_columns, values.is_empty()) {
            (false, _) => String::new(),
            (true, true) => format!("AS ({COLUMNS})"),
            (true, false) => String::from("AS (n int4)"),
        };
        let values = values.join(", ");
        if self.is_procedure {
            return format!("CALL {name}({values})");
        }
        format!("SELECT * FROM {name}({values}) {columns}")
    }

    fn done(&self) -> &'static str {
        let name = self.name.as_str();
        if IN_JOBS_ONLY.contains(&name) {
            NOT_HERE
        } else if self.is_procedure {
            IN_TRANSACTION
        } else if (self.has("pid") || self.has("handles")) && !MEET_UNKNOWN_JOBS.contains(&name) {
            UNKNOWN
        } else {
            DONE
        }
    }
}

const MEMBERS: &str = "SELECT CASE WHEN p.oid IS NOT NULL THEN p.oid::regprocedure::text ELSE 'view ' || c.oid::regclass::text END,
        coalesce(p.proname, c.relname)::text,
        coalesce(p.proargnames[1 : p.pronargs - p.pronargdefaults], '{}'),
        coalesce(p.prorettype = 'record'::regtype AND NOT p.proargmodes && '{o,t}', p.prorettype = 'record'::regtype, false),
        coalesce(p.prokind = 'p', false)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE e.extname = 'pg_background' AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)";

fn members(client: &mut Client) -> Vec<Member> {
    let rows = client.query(MEMBERS, &[]).expect("the catalog can be read");
    rows.iter().map(Member::new).collect()
}

fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .query(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Uses a member, undoes it, and detaches what was launched; the SQLSTATE.
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
    let members = members(&mut admin);
    for name in ADMINISTRATORS
        .iter()
        .chain(&MEET_UNKNOWN_JOBS)
        .chain(&IN_JOBS_ONLY)
    {
        assert!(
            members.iter().any(|member| member.name == *name),
            "there is no {name}"
        );
    }

    let mut outsider = server.session_as("outsider");
    let mut user = server.session_as("member");
    for member in &members {
        let (call, name) = (member.call(), &member.member);
        assert_eq!(
            attempt(&mut outsider, &call),
            FORBIDDEN,
            "{name} by an outsider"
        );
        let is_for_users = !ADMINISTRATORS.contains(&member.name.as_str());
        let expected = if is_for_users {
            member.done()
        } else {
            FORBIDDEN
        };
        assert_eq!(attempt(&mut user, &call), expected, "{name} by a member");
        assert_eq!(
            attempt(&mut admin, &call),
            member.done(),
            "{name} by the superuser"
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
    WHERE e.extname = 'pg_background' AND d.classid <> 'pg_cast'::regclass
      AND (y.oid IS NULL OR y.typcategory <> 'A' AND v.oid IS NULL)";

#[test]
fn everything_is_described_and_what_is_old_or_dangerous_says_so() {
    let database = Database::new();
    let mut session = database.session();
    let described = session
        .query(COMMENTS, &[])
        .expect("the catalog can be read");
    assert!(described.len() > members(&mut session).len(), "types too");
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
