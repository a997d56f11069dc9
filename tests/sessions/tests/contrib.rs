//! The functions of the server's contrib modules, called in jobs: a background worker has no client, and no function
//! that relies on one may crash the server.
//!
//! On a server of its own, whose log is checked for crashes when it stops.

use postgres::Client;
use session_tests::*;

/// Extensions that conflict with others, or need another one.
const NOT_THESE: &str = "'pg_background', 'plpgsql'";

/// Functions that wreck a table on purpose, in a session as in a job.
const NOT_CALLED: &str =
    "'pg_background_.*|pg_surgery.*|heap_force_.*|pg_logdir_.*|old_snapshot_.*_sleep'";

/// Installs every module that can be installed; their names.
fn install(client: &mut Client) -> Vec<String> {
    let rows = client
        .query(
            &format!(
                "SELECT name FROM pg_available_extensions WHERE name NOT IN ({NOT_THESE}) ORDER BY name"
            ),
            &[],
        )
        .expect("a list");
    rows.iter()
        .map(|row| row.get::<_, String>(0))
        // Modules that cannot be installed here (another language's library is missing) are skipped.
        .filter(|name| {
            client
                .batch_execute(&format!(
                    "CREATE EXTENSION IF NOT EXISTS \"{name}\" CASCADE"
                ))
                .is_ok()
        })
        .collect()
}

/// Calls of every function of the modules, with each of three sets of arguments: NULL, ordinary and small values.
const CALLS: &str = "
    SELECT coalesce(string_agg(format('SELECT count(*) FROM %s(%s)', p.oid::regproc, arguments), E'\\n'), '')
    FROM pg_depend d
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
    CROSS JOIN generate_series(0, 2) AS variant
    CROSS JOIN LATERAL (
        SELECT string_agg(
            CASE variant WHEN 0 THEN 'NULL::' || t.oid::regtype
            ELSE CASE
                WHEN t.typcategory = 'N' THEN (variant - 1)::text
                WHEN t.typcategory = 'B' THEN 'true'
                WHEN t.typcategory = 'S' THEN CASE variant WHEN 1 THEN quote_literal('pg_class') ELSE quote_literal('') END
                WHEN t.typcategory = 'D' AND t.typname IN ('date', 'timestamp', 'timestamptz') THEN quote_literal('2001-01-01')
                WHEN t.typname IN ('bytea', 'text', 'json', 'jsonb', 'hstore') THEN quote_literal('1')
                ELSE 'NULL' END || '::' || t.oid::regtype END,
            ', ' ORDER BY position)
        FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, position)
        JOIN pg_type t ON t.oid = a.type
    ) AS made (arguments)
    WHERE e.extname = $1 AND p.prokind = 'f' AND p.pronargs <= 4
      AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype,
            'fdw_handler'::regtype, 'tsm_handler'::regtype, 'index_am_handler'::regtype)
      AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[])
      AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) AS a (type) JOIN pg_type t ON t.oid = a.type WHERE t.typtype = 'p')
      AND p.proname !~ ('^(' || $2 || ')$')";

#[test]
fn what_the_contrib_modules_offer_can_be_called_in_a_job() {
    let server = Server::start("contrib", &["log_line_prefix=%m [%p] %b %q%u@%d %a %h "]);
    let mut control = server.session();
    let modules = install(&mut control);
    assert!(modules.iter().any(|name| name == "sslinfo"), "{modules:?}");
    let mut calls = 0;
    for module in &modules {
        let list: String = control
            .query_one(CALLS, &[module, &NOT_CALLED])
            .expect("the calls of a module")
            .get(0);
        // One job for each, all of the module at once; a call may fail, but its worker lives.
        let statements: Vec<&str> = list.lines().collect();
        let batch = control
            .query(
                "SELECT error_message, sqlstate FROM pg_background_fanout($1) ORDER BY idx",
                &[&statements],
            )
            .unwrap_or_else(|error| panic!("{module}: {error:?}"));
        assert_eq!(batch.len(), statements.len());
        for (row, statement) in batch.iter().zip(&statements) {
            let state: Option<String> = row.get(1);
            assert!(
                !matches!(state.as_deref(), Some("08006" | "57P01" | "57P02")),
                "{module}, {statement}: {:?}",
                row.get::<_, Option<String>>(0)
            );
        }
        calls += statements.len();
    }
    assert!(calls > 500, "only {calls} calls");
    // Code that needs a connection finds an empty one.
    assert_eq!(
        run(
            &mut control,
            "SELECT concat_ws(',', ssl_is_used(), ssl_client_cert_present(), ssl_version() IS NULL,
                inet_client_addr() IS NULL, inet_server_port() IS NULL)"
        )
        .as_deref(),
        Some("f,f,t,t,t")
    );
    // Settings of connections can be changed as in a session over a unix socket, and have no effect.
    assert_eq!(
        run(
            &mut control,
            "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
             SET tcp_user_timeout = 1000; SET client_connection_check_interval = 100;
             SELECT current_setting('tcp_keepalives_idle') FROM pg_sleep(0.3)"
        )
        .as_deref(),
        Some("0")
    );
    nothing_is_left(&mut control);
}

#[test]
fn the_log_says_whose_job_it_is() {
    let server = Server::start("prefix", &["log_line_prefix=[%p] %b|%q%u@%d|%a| "]);
    server.role("somebody");
    let mut leader = server.session_as("somebody");
    leader
        .batch_execute("SET application_name = 'the application'")
        .expect("a setting");
    assert_eq!(
        sqlstate(try_run(&mut leader, "SELECT (1 / 0)::text")),
        "22012"
    );
    let log = server.log();
    assert!(
        log.contains("pg_background|somebody@postgres|the application| ERROR:  division by zero"),
        "{log}"
    );
}
