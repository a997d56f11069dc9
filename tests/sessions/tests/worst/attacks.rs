//! The attacks of the culprit.

use crate::{CULPRIT, DATABASES, Run};
use postgres::{Client, NoTls};
use session_tests::{LONG, pause, sqlstate};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sessions that attack at a time, beside one that ends workers and one that comes and goes.
pub const SESSIONS: usize = 6;

/// Functions and a table of the culprit's. The table's index starts jobs when somebody else maintains it.
const FURNITURE: &str = "
    SET search_path = worst, public;
    CREATE SEQUENCE jobs;
    CREATE FUNCTION deep(n int) RETURNS record LANGUAGE plpgsql AS $$
    DECLARE r record;
    BEGIN r := ROW(1); FOR i IN 1..n LOOP r := ROW(r); END LOOP; RETURN r; END $$;
    CREATE FUNCTION endless(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN worst.endless(n + 1); END $$;
    CREATE FUNCTION heedless() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        LOOP
            BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END;
        END LOOP;
    END $$;
    CREATE FUNCTION chain() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('worst.jobs');
        PERFORM public.pg_background_submit_v2('SELECT worst.chain()');
    END $$;
    CREATE FUNCTION stubborn_chain() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        LOOP
            BEGIN
                PERFORM nextval('worst.jobs');
                PERFORM public.pg_background_submit_v2('SELECT worst.stubborn_chain()');
                RETURN;
            EXCEPTION WHEN query_canceled OR OTHERS THEN NULL;
            END;
        END LOOP;
    END $$;
    CREATE FUNCTION breed() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('worst.jobs');
        PERFORM public.pg_background_submit_v2('SELECT worst.breed()') FROM generate_series(1, 2);
    END $$;
    CREATE FUNCTION gain() RETURNS bool LANGUAGE plpgsql AS $$
    DECLARE attempt text;
    BEGIN
        IF session_user = 'worst' AND current_user = 'worst' THEN RETURN true; END IF;
        FOREACH attempt IN ARRAY ARRAY['SELECT 1', 'SET ROLE NONE', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT'] LOOP
            BEGIN
                EXECUTE attempt;
                EXECUTE 'CREATE ROLE taken SUPERUSER LOGIN';
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
        RETURN true;
    END $$;
    CREATE PROCEDURE gain_later() LANGUAGE plpgsql AS $$
    BEGIN ROLLBACK; PERFORM worst.gain(); COMMIT; PERFORM worst.gain(); END $$;
    CREATE DOMAIN checked AS int CHECK (gain());
    CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n;
    CREATE FUNCTION index_of(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF n % 500 = 1 THEN
            PERFORM worst.gain();
            PERFORM public.pg_background_submit_v2('CREATE INDEX CONCURRENTLY ON worst.t ((n = ANY (''{1}''::worst.checked[])))');
        END IF;
        RETURN n;
    EXCEPTION WHEN OTHERS THEN RETURN n;
    END $$;
    CREATE INDEX ON t (index_of(n));
    GRANT USAGE ON SCHEMA worst TO PUBLIC;
    CREATE FUNCTION trap() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE job text;
    BEGIN
        FOREACH job IN ARRAY ARRAY['CALL worst.gain_later()', 'SELECT worst.gain()', 'VACUUM worst.t', 'REINDEX INDEX CONCURRENTLY worst.t_index_of_idx',
            'SET ROLE NONE; CREATE ROLE taken SUPERUSER', 'SELECT ''1''::worst.checked'] LOOP
            PERFORM public.pg_background_submit_v2(job);
        END LOOP;
    END $$;
    CREATE FUNCTION trap_chain() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN PERFORM public.pg_background_submit_v2('SELECT worst.chain()'); END $$";

/// Each is a few statements, run in one session. What fails is counted, and the next one run.
const ATTACKS: [(&str, &[&str]); 25] = [
    (
        "flood of launches",
        &[
            "SELECT count(*) FROM (SELECT pg_background_launch_v2('SELECT nextval(''worst.jobs'')') FROM generate_series(1, 3000)) x",
        ],
    ),
    (
        "flood of submits",
        &[
            "SELECT count(*) FROM (SELECT pg_background_submit_v2('SELECT nextval(''worst.jobs'')') FROM generate_series(1, 3000)) x",
        ],
    ),
    (
        "flood of sleepers",
        &[
            "SELECT count(*) FROM (SELECT pg_background_submit_v2('SELECT pg_sleep(60)') FROM generate_series(1, 500)) x",
        ],
    ),
    (
        "burners",
        &[
            "SELECT count(*) FROM (SELECT pg_background_submit_v2('SELECT count(*) FROM generate_series(1, 100000000)') FROM generate_series(1, 50)) x",
        ],
    ),
    (
        "fan-out",
        &[
            "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT nextval(''worst.jobs'')'::text, ARRAY[5000]), 1000)",
        ],
    ),
    (
        "fan-out that is left",
        &[
            "SELECT 1 FROM pg_background_fanout(array_fill('SELECT pg_sleep(1)'::text, ARRAY[5000]), 1000) LIMIT 1",
        ],
    ),
    (
        "giant request",
        &[
            "SELECT pg_background_launch_v2('SELECT 1 --' || repeat('x', 200000000))",
            "SELECT pg_background_launch_v2('SELECT 1 --' || repeat('x', 20000000)) FROM generate_series(1, 30)",
        ],
    ),
    (
        "giant parameters",
        &[
            "SELECT pg_background_launch_params('SELECT length($1)', repeat('x', 50000000)) FROM generate_series(1, 20)",
        ],
    ),
    (
        "giant settings",
        &[
            "SELECT set_config('worst.large', repeat('x', 20000000), false) <> ''",
            "SELECT pg_background_submit_v2('SELECT 1') FROM generate_series(1, 100)",
        ],
    ),
    (
        "giant rings",
        &[
            "SELECT pg_background_launch_v2('SELECT pg_sleep(1)', 256 << 20) FROM generate_series(1, 8)",
            "SELECT pg_background_launch_v2('SELECT pg_sleep(1)', 5 << 20) FROM generate_series(1, 300)",
        ],
    ),
    (
        "giant values, unread",
        &[
            "SELECT pg_background_launch_v2('SELECT repeat(''x'', 50000000) FROM generate_series(1, 10)') FROM generate_series(1, 4)",
            "SELECT pg_sleep(1)",
        ],
    ),
    (
        "many rows, unread",
        &[
            "SELECT pg_background_launch_v2('SELECT repeat(''x'', 1000) FROM generate_series(1, 20000)') FROM generate_series(1, 50)",
            "SELECT pg_sleep(2)",
        ],
    ),
    (
        "giant errors",
        &[
            "SELECT pg_background_launch_v2($$DO 'BEGIN RAISE EXCEPTION ''%'', repeat(''x'', 20000000); END'$$) FROM generate_series(1, 40)",
            "SELECT pg_sleep(1)",
        ],
    ),
    (
        "notices",
        &[
            "SELECT pg_background_launch_v2($$DO 'BEGIN FOR i IN 1..100000 LOOP RAISE NOTICE ''%'', repeat(''x'', 500); END LOOP; END'$$) FROM generate_series(1, 4)",
            "SELECT pg_sleep(1)",
        ],
    ),
    (
        "recursion",
        &[
            "SELECT pg_background_launch_params('SELECT 1', ROW(1), worst.deep(12000))",
            "SELECT * FROM pg_background_run_query('SELECT ROW(1) AS a, worst.deep(12000) AS b', col_def => 'a text, b text') AS (a text, b text)",
            "SELECT pg_background_run('SELECT worst.endless(1)')",
            "SELECT pg_background_run('SELECT ' || repeat('(', 100000) || '1' || repeat(')', 100000))",
            "SELECT pg_background_run('SELECT ''' || repeat('[', 100000) || '''::json')",
            "SELECT pg_background_run('SELECT pg_background_run(''SELECT pg_background_run(''''SELECT 1'''')'')')",
        ],
    ),
    (
        "chains",
        &[
            "SELECT pg_background_submit_v2('SELECT worst.chain()') FROM generate_series(1, 20)",
            "SELECT pg_background_submit_v2('SELECT worst.stubborn_chain()') FROM generate_series(1, 3)",
        ],
    ),
    (
        "breeding",
        &["SELECT pg_background_submit_v2('SELECT worst.breed()')"],
    ),
    (
        "heedless jobs",
        &[
            "SELECT pg_background_submit_v2('SELECT worst.heedless()') FROM generate_series(1, 4)",
            "SELECT pg_background_cancel_all()",
        ],
    ),
    (
        "cancel storm",
        &[
            "SELECT count(*) FROM (SELECT pg_background_cancel_v2(h.pid, h.cookie), pg_background_cancel_v2_grace(h.pid, h.cookie, 0) FROM generate_series(1, 300), LATERAL pg_background_launch_v2('SELECT pg_sleep(10)') h) x",
            "SELECT pg_background_cancel_all()",
            "SELECT pg_background_detach_all()",
            "SELECT pg_background_purge()",
        ],
    ),
    (
        "its own administrator",
        &[
            "SELECT pg_background_cancel_role('worst', 0)",
            "SELECT pg_background_purge_role('worst')",
            "SELECT pg_background_prewarm(1000)",
            "SELECT count(*) FROM pg_background_resources_by_role()",
        ],
    ),
    (
        "subtransactions and cursors",
        &[
            "DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN PERFORM pg_background_launch_v2('SELECT 1'); RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$",
            "BEGIN; DECLARE c CURSOR FOR SELECT * FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[1000])); FETCH 5 FROM c; ROLLBACK",
        ],
    ),
    (
        "locks",
        &[
            "BEGIN; LOCK TABLE worst.t; SELECT pg_background_launch_v2('SELECT count(*) FROM worst.t') FROM generate_series(1, 10); SELECT pg_background_run('SELECT count(*) FROM worst.t'); ROLLBACK",
            "ROLLBACK",
        ],
    ),
    (
        "temporary files and tables",
        &[
            "SELECT pg_background_launch_v2('SET work_mem = ''64kB''; CREATE TEMP TABLE x AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n ORDER BY 2') FROM generate_series(1, 6)",
        ],
    ),
    (
        // Autovacuum, a superuser's process, runs the functions in the table's index.
        "work for autovacuum",
        &["UPDATE worst.t SET n = n"],
    ),
    (
        "wrong handles",
        &[
            "SELECT pg_background_wait_all(array_fill(ROW(1, 2)::pg_background_handle, ARRAY[100000]), 0)",
            "SELECT count(*) FROM pg_background_launch_v2('SELECT 1') h, pg_background_drain(array_fill(ROW(h.pid, h.cookie)::pg_background_handle, ARRAY[20000]), 0)",
        ],
    ),
];

const MAKE_ROOM: &str =
    "SELECT pg_background_cancel_role('worst', 10); SELECT pg_background_purge_role('worst')";

/// What is refused to it, with 42501.
const REFUSED: [&str; 10] = [
    "SET pg_background.lane_max_workers = 0",
    "SET LOCAL pg_background.role_max_jobs = 4096",
    "SELECT set_config('pg_background.role_max_disk', '-1', false)",
    "ALTER ROLE worst SET pg_background.role_max_memory = -1",
    "CREATE FUNCTION worst.unbound() RETURNS int LANGUAGE sql SET pg_background.lane_max_workers = 0 AS 'SELECT 1'",
    "SELECT pg_background_cancel_role('good_one', 0)",
    "SELECT pg_background_purge_role('good_one')",
    "SELECT pg_background_cancel_role('postgres', 0)",
    "SELECT pg_background_retire_idle()",
    "SELECT pg_background_run('CREATE ROLE taken SUPERUSER')",
];

/// Makes its functions in a database.
pub fn furnish(client: &mut Client) {
    client
        .batch_execute(FURNITURE)
        .expect("the culprit's functions");
}

/// A session of the culprit, with every setting at the highest value that it can set.
fn session(run: &Run, database: &str, more: &str) -> Option<Client> {
    let mut config = run.server.config().clone();
    config.dbname(database).user(CULPRIT).options(&format!(
        "-c pg_background.lane_max_workers=0 -c pg_background.role_max_jobs=100000 -c pg_background.role_max_disk=-1 \
         -c pg_background.max_workers=1000 -c pg_background.on_exhaustion=queue -c pg_background.launch_timeout=100 \
         -c statement_timeout=5s {more}"
    ));
    run.note("connect", config.connect(NoTls))
}

/// Attacks until the end, and keeps some of its sessions.
pub fn attack(run: &Run, number: usize) {
    let mut kept = VecDeque::new();
    // Each begins at another attack and has another stride, so that all combinations occur.
    let mut next = number * 4;
    while run.goes_on() {
        let (name, statements) = ATTACKS[next % ATTACKS.len()];
        next += [1, 5, 7, 11, 13, 17][number % 6];
        let chatty = if next.is_multiple_of(3) {
            "-c client_min_messages=debug5"
        } else {
            ""
        };
        let Some(mut client) = session(run, DATABASES[next % 2], chatty) else {
            pause(Duration::from_millis(50));
            continue;
        };
        if next.is_multiple_of(3) {
            // Otherwise only floods would find slots.
            run.note("making room", client.batch_execute(MAKE_ROOM));
        }
        for statement in statements.iter().take_while(|_| run.goes_on()) {
            run.note(name, client.batch_execute(statement));
        }
        let _ = client.batch_execute("ROLLBACK");
        if next.is_multiple_of(4) {
            refused(run, &mut client);
        }
        if next.is_multiple_of(2) {
            kept.push_back(client);
        }
        if kept.len() > 2 {
            kept.pop_front();
        }
    }
}

fn refused(run: &Run, client: &mut Client) {
    // Before the library is loaded a SET is accepted unseen.
    run.note(
        "looking",
        client.batch_execute("SELECT pg_background_purge()"),
    );
    for statement in REFUSED {
        let code = client
            .batch_execute(statement)
            .err()
            .and_then(|error| error.code().cloned());
        let code = code.as_ref().map_or("ok", |code| code.code());
        run.count("refused", code);
        // Without a slot, or ended by another of its sessions, it gets another answer.
        let other = [
            "53400", "53000", "53200", "55000", "57014", "57P01", "0A000",
        ];
        let is_job = statement.contains("_run(");
        if code != "42501" && !(is_job && (code == "ok" || other.contains(&code))) {
            run.fail(format!("{statement}: {code}"));
        }
    }
}

/// Cancels and terminates its own workers.
pub fn end_own_workers(run: &Run) {
    let mut rounds = 0;
    while run.goes_on() {
        let Some(mut client) = session(run, "postgres", "") else {
            continue;
        };
        for _ in 0..20 {
            let function = ["pg_terminate_backend", "pg_cancel_backend"][rounds % 2];
            let end = format!(
                "SELECT {function}(pid) FROM pg_stat_activity WHERE usename = 'worst' AND backend_type = 'pg_background'"
            );
            run.note("ending own workers", client.batch_execute(&end));
            rounds += 1;
            pause(Duration::from_millis(if rounds % 40 < 20 {
                5
            } else {
                150
            }));
        }
    }
}

/// A new session for each job, which leaves at once.
pub fn come_and_go(run: &Run) {
    let mut rounds = 0;
    while run.goes_on() {
        rounds += 1;
        if let Some(mut client) = session(run, DATABASES[rounds % 2], "") {
            let launch = "SELECT pg_background_launch_v2('SELECT repeat(''x'', 1000) FROM generate_series(1, 1000)')";
            run.note("a session for each job", client.batch_execute(launch));
        }
    }
}

/// Leaves a long queue and chains, or jobs that sleep and ignore a cancel; and results in memory and in files that
/// nobody reads.
pub fn leave_running(client: &mut Client, chains: bool) {
    let jobs = if chains {
        "SELECT pg_background_submit_v2('SELECT worst.chain()') FROM generate_series(1, 200);
         SELECT pg_background_submit_v2('SELECT worst.stubborn_chain()')"
    } else {
        "SELECT pg_background_launch_v2('SELECT worst.heedless()');
         SELECT pg_background_launch_v2('SELECT pg_sleep(100)') FROM generate_series(1, 200)"
    };
    // A job of the attack that ignored its cancel may still run: until it has ended, new ones are refused.
    let start = Instant::now();
    while let Err(error) = client.batch_execute("SELECT pg_background_submit_v2('SELECT 1')") {
        assert_eq!(sqlstate(Err::<(), _>(error)), "55000");
        assert!(start.elapsed() < LONG, "the role is refused for ever");
        pause(Duration::from_millis(50));
    }
    client
        .batch_execute(&format!(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
             SET pg_background.launch_timeout = 100;
             SELECT pg_background_launch_v2('SELECT repeat(''x'', 1000) FROM generate_series(1, 2000)') FROM generate_series(1, 20);
             SELECT pg_background_wait_v2(pid, cookie) FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
                user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool);
             {jobs}"
        ))
        .expect("left running");
}
