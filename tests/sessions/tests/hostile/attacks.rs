//! Ways in which an ordinary user once became a superuser.

use crate::{create_as_owner, gained, job_of, nobody_has_gained};
use postgres::Client;
use postgres::error::SqlState;
use session_tests::*;

/// Evil's payload for the session of another user: it takes that session's privileges if it can.
const EVIL: &str = "
    CREATE SCHEMA evil AUTHORIZATION evil;
    SET ROLE evil;
    CREATE FUNCTION evil.payload(n int4) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        IF session_user = 'evil' THEN
            RETURN true;
        END IF;
        BEGIN
            EXECUTE 'SET ROLE NONE';
            EXECUTE 'CREATE ROLE pwned SUPERUSER';
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'payload: %', SQLSTATE;
        END;
        BEGIN
            EXECUTE 'RESET SESSION AUTHORIZATION';
            EXECUTE 'CREATE ROLE pwned_too SUPERUSER';
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'payload: %', SQLSTATE;
        END;
        RETURN true;
    END $$;
    CREATE DOMAIN evil.d AS int4 CHECK (evil.payload(VALUE));
    CREATE TABLE evil.t AS SELECT g AS n FROM generate_series(1, 1000) g;
    ALTER TABLE evil.t ADD PRIMARY KEY (n);
    CLUSTER evil.t USING t_pkey;
    CREATE TABLE evil.pk (n int4 PRIMARY KEY) PARTITION BY LIST (n);
    CREATE TABLE evil.pk1 PARTITION OF evil.pk FOR VALUES IN (1);
    CREATE TABLE evil.pk2 PARTITION OF evil.pk FOR VALUES IN (2);
    INSERT INTO evil.pk VALUES (1), (2);
    CREATE TABLE evil.fk (n int4 REFERENCES evil.pk);
    INSERT INTO evil.fk VALUES (1), (2);
    ALTER TABLE evil.fk ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON evil.fk USING (NOT evil.payload(n));
    RESET ROLE";

/// Launches evil's job from an index expression when another user maintains the table.
const TRAP: &str = "
    SET ROLE evil;
    CREATE FUNCTION evil.trap(n int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF session_user <> 'evil' AND n = 1 THEN
            PERFORM public.pg_background_submit_v2(
                $job$CREATE INDEX CONCURRENTLY ON evil.t ((n = ANY ('{1}'::evil.d[])))$job$);
            RAISE LOG 'trap: launched';
        END IF;
        RETURN n;
    EXCEPTION WHEN OTHERS THEN
        RAISE LOG 'trap: %', SQLSTATE;
        RETURN n;
    END $$;
    CREATE TABLE evil.bait AS SELECT g AS n FROM generate_series(1, 1000) g;
    RESET ROLE;
    SET SESSION AUTHORIZATION evil;
    CREATE INDEX ON evil.bait (evil.trap(n));
    RESET SESSION AUTHORIZATION";

fn evil(server: &Server) -> Client {
    server.role("evil");
    let mut admin = server.session();
    admin.batch_execute(EVIL).expect("evil's objects");
    create_as_owner(&mut admin, "evil");
    admin
}

/// No job of evil's was launched, or it has gained nothing by it.
fn trap_was_refused(server: &Server) {
    let mut admin = server.session();
    nothing_is_left(&mut admin);
    nobody_has_gained(&mut admin);
    let log = server.log();
    assert!(log.contains("trap: 42501"), "the trap was evaluated");
    assert!(!log.contains("trap: launched"), "and refused");
}

#[test]
fn maintenance_by_a_superuser_launches_nothing() {
    let server = Server::start("trap", &["autovacuum=off"]);
    let mut admin = evil(&server);
    admin.batch_execute(TRAP).expect("a trap");
    for maintenance in [
        "ANALYZE evil.bait",
        "REINDEX TABLE evil.bait",
        "REINDEX TABLE CONCURRENTLY evil.bait",
        "VACUUM FULL evil.bait",
        "CLUSTER evil.bait USING bait_trap_idx",
        "CREATE INDEX ON evil.bait (evil.trap(n))",
        "CREATE INDEX CONCURRENTLY ON evil.bait (evil.trap(n))",
    ] {
        admin.batch_execute(maintenance).expect(maintenance);
        nobody_has_gained(&mut admin);
    }
    drop(admin);
    trap_was_refused(&server);
}

#[test]
fn autovacuum_launches_nothing() {
    let server = Server::start(
        "autovacuum",
        &[
            "autovacuum_naptime=1s",
            "autovacuum_analyze_threshold=1",
            "autovacuum_analyze_scale_factor=0",
        ],
    );
    let mut admin = evil(&server);
    admin.batch_execute(TRAP).expect("a trap");
    admin
        .batch_execute("ALTER TABLE evil.bait SET (autovacuum_vacuum_threshold = 1000000)")
        .expect("altered");
    drop(admin);
    // The user that writes to it can even be evil itself.
    let mut owner = server.session_as("evil");
    owner
        .batch_execute("INSERT INTO evil.bait SELECT generate_series(1001, 3000)")
        .expect("written");
    eventually(
        &mut owner,
        "(SELECT autoanalyze_count > 0 FROM pg_stat_all_tables WHERE relid = 'evil.bait'::regclass)",
    );
    trap_was_refused(&server);
}

/// Each makes the server evaluate evil's payload in some way while it starts transactions of its own.
const STARTING: [&str; 12] = [
    "CREATE INDEX CONCURRENTLY ON evil.t ((n = ANY ('{1}'::evil.d[])))",
    "CREATE INDEX CONCURRENTLY ON evil.t (n) WHERE n = ANY ('{1}'::evil.d[])",
    "CREATE UNIQUE INDEX CONCURRENTLY ON evil.t ((n + (1::evil.d)::int4))",
    "DROP INDEX CONCURRENTLY evil.by_domain",
    "REINDEX INDEX CONCURRENTLY evil.by_domain",
    "REINDEX TABLE evil.t",
    "REINDEX SCHEMA evil",
    "CLUSTER evil.t",
    "CLUSTER",
    "VACUUM evil.t",
    "VACUUM (FULL, ANALYZE) evil.t",
    "ALTER TABLE evil.pk DETACH PARTITION evil.pk1 CONCURRENTLY",
];

const STARTING_SINCE_19: [&str; 2] = ["REPACK evil.t", "REPACK"];

const AS_IN_A_FUNCTION: [&str; 3] = [
    "ANALYZE evil.t",
    "ANALYZE evil.t, evil.fk",
    "CREATE INDEX ON evil.t ((n = ANY ('{1}'::evil.d[])))",
];

const BY_DOMAIN: &str = "SET SESSION AUTHORIZATION evil;
     CREATE INDEX by_domain ON evil.t ((n = ANY ('{1}'::evil.d[])));
     RESET SESSION AUTHORIZATION";

#[test]
fn statements_that_start_transactions_do_not_escape_a_definer_functions_privileges() {
    let server = Server::start("starting", &[]);
    server.role("login");
    let mut admin = evil(&server);
    admin.batch_execute(BY_DOMAIN).expect("an index");
    admin
        .batch_execute("GRANT postgres TO login")
        .expect("granted");
    let newer: &[&str] = if major_version(&mut admin) >= 19 {
        &STARTING_SINCE_19
    } else {
        &[]
    };
    let mut wrong = Vec::new();
    // A superuser who calls evil's function; one who has become somebody else; one who can become a superuser.
    for (login, first) in [
        ("postgres", "SELECT 1"),
        ("postgres", "SET SESSION AUTHORIZATION login"),
        ("postgres", "SET ROLE login"),
        ("login", "SELECT 1"),
        ("login", "SET ROLE postgres"),
    ] {
        let mut victim = server.session_as(login);
        victim.batch_execute(first).expect(first);
        let mut told = |what: String| wrong.push(format!("{login}, {first}: {what}"));
        let evaluated = server.log().matches("payload").count();
        for statement in STARTING.iter().chain(newer) {
            match job_of(&mut victim, "evil", statement) {
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
                other => told(format!("{statement}: {other:?}")),
            }
            for role in gained(&mut admin) {
                told(format!("{statement}: {role}"));
            }
        }
        if server.log().matches("payload").count() > evaluated {
            told(String::from("part of a refused statement was evaluated"));
        }
        // What is not refused runs as a function would run it.
        for statement in AS_IN_A_FUNCTION {
            if let Err(error) = job_of(&mut victim, "evil", statement) {
                told(format!("{statement}: {error:?}"));
            }
            for role in gained(&mut admin) {
                told(format!("{statement}: {role}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_foreign_key_check_of_a_detached_partition_gains_nothing() {
    let server = Server::start("detach", &[]);
    let mut admin = evil(&server);
    let result = job_of(
        &mut admin,
        "evil",
        "ALTER TABLE evil.pk DETACH PARTITION evil.pk1 CONCURRENTLY",
    );
    nobody_has_gained(&mut admin);
    assert_eq!(sqlstate(result), "42501");
}
