//! What a job gets from the configuration and from its leader's session, and what a RESET in it goes back to.

use postgres::{Client, NoTls};
use session_tests::*;
use std::sync::{Arc, Mutex};
use std::thread;

/// One worker serves everything, so that each job runs where the one before it ran.
fn one_worker(name: &str) -> Server {
    Server::start(
        name,
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_idle_timeout=60s",
        ],
    )
}

fn do_it(session: &mut Client, sql: &str) {
    session
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn pid(leader: &mut Client) -> String {
    run(leader, "SELECT pg_backend_pid()::text").expect("a pid")
}

/// Changes the configuration, and waits until the session and new processes have it.
fn configure(session: &mut Client, settings: &[(&str, &str)]) {
    do_it(session, "LOAD 'pg_background'");
    for (name, value) in settings {
        do_it(session, &format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    do_it(session, "SELECT pg_reload_conf()");
    for (name, value) in settings {
        eventually(session, &format!("current_setting('{name}') = '{value}'"));
    }
}

/// The value of the last row, in the session itself.
fn here(session: &mut Client, sql: &str) -> Option<String> {
    let messages = session
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).map(String::from)),
        _ => None,
    });
    rows.last().flatten()
}

/// A session whose messages are kept.
fn listening(server: &Server, role: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&messages);
    let mut config = server.config().clone();
    config.user(role).notice_callback(move |notice| {
        let text = format!("{}: {}", notice.severity(), notice.message());
        kept.lock().expect("nobody panicked").push(text);
    });
    (config.connect(NoTls).expect("a connection"), messages)
}

/// A session that gives options when it connects.
fn with_options(server: &Server, role: &str, options: &str) -> Client {
    let mut config = server.config().clone();
    config.user(role).options(options);
    config.connect(NoTls).expect("a connection")
}

const QUIET: &str = "workers_busy = 0 AND jobs_queued = 0";

fn resources(what: &str) -> String {
    format!("(SELECT {what} FROM pg_background_resources())")
}

#[test]
fn a_chain_of_jobs_goes_by_the_configuration_as_it_is_now() {
    let server = Server::start("chain", &["pg_background.worker_idle_timeout=60s"]);
    server.role("evil");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE TABLE seen (work_mem text, log_statement text, log_checkpoints text, max_pool_workers text);
         GRANT SELECT, INSERT ON seen TO PUBLIC;
         CREATE FUNCTION link() RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM pg_background_submit_v2('SELECT link()');
             INSERT INTO seen SELECT current_setting('work_mem'), current_setting('log_statement'),
                 current_setting('log_checkpoints'), current_setting('pg_background.max_pool_workers');
         END $$",
    );
    let mut evil = server.session_as("evil");
    run(&mut evil, "SELECT link()::text");
    drop(evil);
    eventually(&mut admin, "(SELECT count(*) > 10 FROM seen)");
    configure(
        &mut admin,
        &[
            ("work_mem", "33MB"),
            ("log_statement", "ddl"),
            ("log_checkpoints", "off"),
            ("pg_background.max_pool_workers", "3"),
        ],
    );
    eventually(
        &mut admin,
        "EXISTS (SELECT FROM seen WHERE concat_ws(' ', work_mem, log_statement, log_checkpoints, max_pool_workers) = '33MB ddl off 3')",
    );
    configure(&mut admin, &[("pg_background.enabled", "off")]);
    eventually(&mut admin, &resources(QUIET));
    let links: i64 = value(&mut admin, "SELECT count(*) FROM seen");
    let mut late = server.session_as("evil");
    assert_eq!(sqlstate(try_run(&mut late, "SELECT 1")), "55000");
    configure(&mut admin, &[("pg_background.enabled", "on")]);
    assert_eq!(run(&mut late, "SELECT 'on'").as_deref(), Some("on"));
    assert_eq!(value::<i64>(&mut admin, "SELECT count(*) FROM seen"), links);
}

/// Launches and reads jobs until one fails, or the job's answer is `until`, in one command.
fn loop_until(until: &str, sql: &str) -> String {
    format!(
        "DO $do$
         DECLARE
             h pg_background_handle;
             answer text;
         BEGIN
             LOOP
                 h := pg_background_launch_v2($sql${sql}$sql$);
                 SELECT t INTO answer FROM pg_background_result_v2(h.pid, h.cookie) AS (t text);
                 EXIT WHEN answer = '{until}';
             END LOOP;
         END $do$"
    )
}

/// Runs `command` in a session of its own while `meanwhile` happens; the SQLSTATE it ended with.
fn in_one_command(server: &Server, command: &str, meanwhile: impl FnOnce()) -> String {
    let mut session = server.session();
    do_it(&mut session, "SET statement_timeout = '20s'");
    run(&mut session, "SELECT 1");
    let backend: i32 = value(&mut session, "SELECT pg_backend_pid()");
    let command = String::from(command);
    let looping = thread::spawn(move || match session.batch_execute(&command) {
        Ok(()) => String::from("00000"),
        Err(error) => sqlstate(Err::<(), _>(error)),
    });
    let mut watcher = server.session();
    eventually(
        &mut watcher,
        &format!("(SELECT query LIKE 'DO%' FROM pg_stat_activity WHERE pid = {backend})"),
    );
    meanwhile();
    looping.join().expect("it ends")
}

#[test]
fn a_session_in_a_long_command_goes_by_the_configuration_as_it_is_now() {
    let server = one_worker("long-command");
    let mut admin = server.session();
    let ended = in_one_command(&server, &loop_until("never", "SELECT 'on'"), || {
        configure(&mut admin, &[("pg_background.enabled", "off")]);
    });
    assert_eq!(ended, "55000", "launches stop");
    configure(&mut admin, &[("pg_background.enabled", "on")]);
    let fanout = "DO $$ BEGIN
        PERFORM pg_background_fanout(array_fill('SELECT pg_sleep(0.05)'::text, ARRAY[10000]), 1);
        END $$";
    let ended = in_one_command(&server, fanout, || {
        configure(&mut admin, &[("pg_background.enabled", "off")]);
    });
    assert_eq!(ended, "55000", "and so do those of one call");
    nothing_is_left(&mut admin);
    configure(&mut admin, &[("pg_background.enabled", "on")]);
    // Its jobs have the configuration that the worker has read, while the session has not.
    let show = "SELECT current_setting('work_mem')";
    let ended = in_one_command(&server, &loop_until("44MB", show), || {
        configure(&mut admin, &[("work_mem", "44MB")]);
    });
    assert_eq!(ended, "00000");
}

#[test]
fn a_limit_of_the_memory_holds_from_the_reload_on() {
    let server = Server::start("max-memory", &[]);
    let mut leader = server.session();
    let big = "SELECT pg_background_detach_v2(pid, cookie) IS NULL
               FROM pg_background_launch_v2('SELECT 1', 16777216)";
    leader.query_one(big, &[]).expect("there is no limit");
    nothing_is_left(&mut leader);
    configure(&mut leader, &[("pg_background.max_memory", "4MB")]);
    let bigger = big.replace("16777216", "67108864");
    assert_eq!(sqlstate(leader.query_one(&bigger, &[])), "53200");
    configure(&mut leader, &[("pg_background.max_memory", "1GB")]);
    leader.query_one(&bigger, &[]).expect("the limit is higher");
    nothing_is_left(&mut leader);
}

const WHO: &str = "concat_ws(' ', current_user, session_user, current_setting('role'),
    current_setting('session_authorization', true), current_setting('is_superuser'))";

/// Ways to change the role or the session user and to go back.
const BACK_AND_FORTH: &[&str] = &[
    "SELECT as_b() || ' ' || $who",
    "SELECT local_role(); SELECT $who",
    "CALL local_role_and_commit(); SELECT $who",
    "CALL local_role_and_rollback(); SELECT $who",
    "SELECT set_config('role', 'r_b', true); SELECT $who",
    "SET LOCAL ROLE r_b; SELECT $who",
    "SET ROLE r_b; RESET ROLE; SELECT $who",
    "RESET ROLE; SELECT $who",
    "SET ROLE NONE; SELECT $who",
    "SET ROLE NONE; RESET ROLE; SELECT $who",
    "RESET ALL; SELECT $who",
    "SELECT definer_b() || ' ' || $who",
    "RESET SESSION AUTHORIZATION; SELECT $who",
    "SET SESSION AUTHORIZATION DEFAULT; SET ROLE r_b; SELECT $who",
];

const ROLES: &str = "
    CREATE ROLE r_a; CREATE ROLE r_b; CREATE ROLE r_c;
    CREATE ROLE plain LOGIN NOINHERIT; CREATE ROLE fixed LOGIN; CREATE ROLE master LOGIN SUPERUSER;
    GRANT r_a, r_b, r_c TO plain, fixed; GRANT r_b TO r_a;
    GRANT pgbackground_role TO plain, fixed, r_a, r_b, r_c;
    GRANT CREATE ON SCHEMA public TO PUBLIC;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO plain;
    ALTER ROLE fixed SET role = 'r_c';
    CREATE FUNCTION as_b() RETURNS text LANGUAGE sql SET role = 'r_b' AS 'SELECT current_user::text';
    CREATE FUNCTION definer_b() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
    ALTER FUNCTION definer_b() OWNER TO r_b;
    CREATE FUNCTION local_role() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        SET LOCAL ROLE r_b;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
    END $$;
    CREATE PROCEDURE local_role_and_commit() LANGUAGE plpgsql AS 'BEGIN SET LOCAL ROLE r_b; COMMIT; END';
    CREATE PROCEDURE local_role_and_rollback() LANGUAGE plpgsql AS 'BEGIN SET ROLE r_b; ROLLBACK; END'";

/// What a session does before it launches.
const BEFORE: &[&str] = &[
    "SELECT 1",
    "SET ROLE r_a",
    "SET ROLE r_b",
    "SET ROLE NONE",
    "RESET ROLE",
];

#[test]
fn a_job_goes_back_to_the_users_that_its_leader_would_go_back_to() {
    let server = one_worker("users");
    let mut admin = server.session();
    do_it(&mut admin, ROLES);
    let mut wrong = Vec::new();
    for login in ["master", "plain", "fixed"] {
        let mut befores = Vec::from(BEFORE);
        if login == "master" {
            befores.extend([
                "SET SESSION AUTHORIZATION plain",
                "SET SESSION AUTHORIZATION plain; SET ROLE r_a",
                "SET SESSION AUTHORIZATION r_a; SET SESSION AUTHORIZATION DEFAULT",
            ]);
        }
        for before in befores {
            for way in BACK_AND_FORTH {
                let way = way.replace("$who", WHO);
                let mut leader = server.session_as(login);
                do_it(&mut leader, "SET search_path = public");
                do_it(&mut leader, before);
                let there = try_run(&mut leader, &way);
                // The next job of the worker, of the same session.
                let next = run(&mut leader, &format!("SELECT {WHO}"));
                if next != here(&mut leader, &format!("SELECT {WHO}")) {
                    wrong.push(format!("{login}, {before}, after {way}: {next:?}"));
                }
                let here = match leader.simple_query(&way) {
                    Ok(_) => {
                        // Once more from the start, for a session that changes itself.
                        let mut again = server.session_as(login);
                        do_it(&mut again, "SET search_path = public");
                        do_it(&mut again, before);
                        Ok(here(&mut again, &way))
                    }
                    Err(error) => Err(sqlstate(Err::<(), _>(error))),
                };
                let there = there.map_err(|error| sqlstate(Err::<(), _>(error)));
                if there != here {
                    wrong.push(format!(
                        "{login}, {before}, {way}: {there:?} instead of {here:?}"
                    ));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_reset_in_a_job_goes_back_to_what_it_does_in_its_leader() {
    let server = Server::start(
        "reset",
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_idle_timeout=60s",
            "maintenance_work_mem=71MB",
            "search_path=public, of_file",
            "extra_float_digits=2",
        ],
    );
    server.role("someone");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "ALTER ROLE someone SET work_mem = '9MB'; ALTER DATABASE postgres SET DateStyle = 'German, DMY';
         ALTER ROLE someone SET own.role = 'role'; ALTER DATABASE postgres SET geqo_seed = 0.25",
    );
    let options = "-c hash_mem_multiplier=3 -c own.client=client -c constraint_exclusion=on";
    const NAMES: &str = "work_mem maintenance_work_mem search_path extra_float_digits DateStyle own.role geqo_seed
        hash_mem_multiplier own.client constraint_exclusion enable_seqscan TimeZone application_name statement_timeout";
    let show: Vec<String> = NAMES
        .split_whitespace()
        .map(|name| format!("current_setting('{name}', true)"))
        .collect();
    let show = format!("SELECT concat_ws('|', {})", show.join(", "));
    let reset_each: String = NAMES
        .split_whitespace()
        .map(|name| format!("RESET {name}; "))
        .collect();
    let set = "SET work_mem = '11MB'; SET maintenance_work_mem = '12MB'; SET search_path = public, of_session;
        SET extra_float_digits = 1; SET DateStyle = 'SQL, MDY'; SET own.role = 'session'; SET geqo_seed = 0.5;
        SET hash_mem_multiplier = 4; SET own.client = 'session'; SET constraint_exclusion = off;
        SET enable_seqscan = off; SET TimeZone = 'Asia/Tokyo'; SET application_name = 'session';
        SET statement_timeout = '1h'";
    for _ in 0..3 {
        let mut leader = with_options(&server, "someone", options);
        for way in ["", "RESET ALL; ", reset_each.as_str()] {
            for before in ["SELECT 1", set] {
                do_it(&mut leader, "RESET ALL");
                do_it(&mut leader, before);
                let sql = format!("{way}{show}");
                let there = run(&mut leader, &sql);
                assert_eq!(there, here(&mut leader, &sql), "{before}; {way}");
            }
        }
        // A session without all that, on the same worker.
        let mut other = server.session();
        let sql = format!("RESET ALL; {show}");
        assert_eq!(run(&mut other, &sql), here(&mut other, &sql));
    }
}

#[test]
fn sessions_from_before_and_after_a_change_of_their_defaults_share_a_worker() {
    let server = one_worker("changed-defaults");
    server.role("someone");
    let mut admin = server.session();
    let show = "SELECT concat_ws('|', current_setting('work_mem'), current_setting('log_min_duration_statement'),
        current_setting('search_path'))";
    let mut sessions = vec![server.session_as("someone")];
    for change in [
        "ALTER ROLE someone SET work_mem = '9MB'",
        "ALTER DATABASE postgres SET work_mem = '10MB'",
        "ALTER ROLE someone IN DATABASE postgres SET work_mem = '11MB'",
        "ALTER ROLE someone SET log_min_duration_statement = '1h'",
        "ALTER ROLE someone IN DATABASE postgres RESET work_mem",
        "ALTER ROLE someone RESET ALL",
        "ALTER DATABASE postgres RESET work_mem",
    ] {
        do_it(&mut admin, change);
        sessions.push(server.session_as("someone"));
        for session in &mut sessions {
            let there = run(session, show);
            assert_eq!(there, here(session, show), "after {change}");
            // What only a superuser may set stays as it was set.
            let evade = "SET log_min_duration_statement = -1";
            assert_eq!(sqlstate(try_run(session, evade)), "42501");
        }
    }
    run(&mut admin, "SELECT 1");
    // And the first job of a process, whose own defaults are not its leader's.
    for session in &mut sessions {
        eventually(
            &mut admin,
            "(SELECT pg_background_retire_idle() >= 0)
             AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background')",
        );
        let reset = format!("RESET work_mem; {show}");
        let there = run(session, &reset);
        assert_eq!(there, here(session, &reset));
    }
}

#[test]
fn a_setting_that_its_worker_does_not_admit_fails_no_job() {
    let server = one_worker("placeholders");
    server.role("someone");
    let mut admin = server.session();
    // Not known to be wrong by a session that has not loaded the library.
    do_it(
        &mut admin,
        "ALTER ROLE someone SET plpgsql.old_name = 'left over'",
    );
    let load = "DO $$ BEGIN NULL; END $$";
    let mut loads = server.session_as("someone");
    let warm = pid(&mut loads);
    run(&mut loads, load);
    for (set, warns) in [
        ("SELECT 1", false),
        ("SET plpgsql.extra_warn = 'all'", false),
        ("SET plpgsql.variable_conflict = 'nonsense'", true),
        ("SET own.setting = 'fine'", false),
    ] {
        let (mut leader, messages) = listening(&server, "someone");
        do_it(&mut leader, set);
        for _ in 0..2 {
            assert_eq!(pid(&mut leader), warm, "{set}");
        }
        let said = messages.lock().expect("nobody panicked").join("\n");
        assert_eq!(
            said.contains(
                "WARNING: permission denied to set parameter \"plpgsql.variable_conflict\""
            ),
            warns,
            "{set}: {said}"
        );
        assert!(warns || said.is_empty(), "{set}: {said}");
        // Another session on that worker gets no message.
        let (mut other, messages) = listening(&server, "someone");
        assert_eq!(pid(&mut other), warm);
        assert_eq!(
            *messages.lock().expect("nobody panicked"),
            Vec::<String>::new()
        );
    }
}

#[test]
fn settings_of_a_job_do_not_delay_the_cleanup_after_it() {
    let server = one_worker("cleanup");
    let mut leader = server.session();
    do_it(&mut leader, "CREATE TABLE t (n int4)");
    // A deferrable serializable transaction waits for its end.
    let mut third = server.session();
    do_it(
        &mut third,
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)",
    );
    let slow = "SET default_transaction_isolation = serializable;
         SET default_transaction_read_only = on; SET default_transaction_deferrable = on";
    let warm = pid(&mut leader);
    run(
        &mut leader,
        &format!("CREATE TEMP TABLE x (n int4); {slow}"),
    );
    do_it(&mut leader, "SET pg_background.launch_timeout = '5s'");
    assert_eq!(pid(&mut leader), warm);
    do_it(&mut third, "ROLLBACK");
}

#[test]
fn an_option_of_the_client_does_not_hide_what_the_configuration_forbids() {
    let server = Server::start("hidden", &["pg_background.enabled=off"]);
    server.role("someone");
    do_it(
        &mut server.session(),
        "ALTER DATABASE postgres SET pg_background.enabled = on",
    );
    for options in ["", "-c pg_background.enabled=on"] {
        let mut leader = with_options(&server, "someone", options);
        assert_eq!(sqlstate(try_run(&mut leader, "SELECT 1")), "55000");
    }
}

const LIMITS: &str = "SELECT concat_ws('|', current_setting('pg_background.role_max_jobs'),
    current_setting('pg_background.lane_max_workers'), current_setting('pg_background.role_max_memory'))";

#[test]
fn an_option_of_the_client_does_not_hide_the_limits_of_its_role_and_database() {
    let server = Server::start("hidden_limits", &["pg_background.role_max_memory=64MB"]);
    server.role("someone");
    do_it(
        &mut server.session(),
        "ALTER ROLE someone SET pg_background.role_max_jobs = 2;
         ALTER DATABASE postgres SET pg_background.role_max_jobs = 7;
         ALTER DATABASE postgres SET pg_background.lane_max_workers = 3",
    );
    let options = "-c pg_background.role_max_jobs=99 -c pg_background.lane_max_workers=99
        -c pg_background.role_max_memory=1GB -c pg_background.max_workers=5";
    let in_capitals = options.replace("pg_background", "PG_Background");
    for options in ["", options, &in_capitals] {
        let mut leader = with_options(&server, "someone", options);
        let first = launch(&mut leader, "SELECT 1");
        assert_eq!(here(&mut leader, LIMITS).as_deref(), Some("2|3|64MB"));
        assert_eq!(run(&mut leader, LIMITS).as_deref(), Some("2|3|64MB"));
        let _second = launch(&mut leader, "SELECT 1");
        do_it(&mut leader, "SET pg_background.launch_timeout = 0");
        assert_eq!(sqlstate(try_launch(&mut leader, "SELECT 1")), "53400");
        call(&mut leader, "pg_background_detach_v2", first).expect("it is detached");
        if !options.is_empty() {
            let allowed = here(&mut leader, "SHOW pg_background.max_workers");
            assert_eq!(allowed.as_deref(), Some("5"), "what a client may say");
        }
    }
}

#[test]
fn an_option_of_the_client_does_not_hide_the_command_line() {
    let server = Server::start_with_arguments(
        "hidden_arguments",
        "-c pg_background.enabled=off --pg_background.role-max-jobs=2",
    );
    server.role("someone");
    let options = "-c pg_background.enabled=on -c pg_background.role_max_jobs=99";
    for options in ["", options] {
        let mut leader = with_options(&server, "someone", options);
        assert_eq!(sqlstate(try_run(&mut leader, "SELECT 1")), "55000");
        let limit = here(&mut leader, "SHOW pg_background.role_max_jobs");
        assert_eq!(limit.as_deref(), Some("2"));
    }
}

/// A superuser has no limit; what somebody else's function launches in a superuser's session has the session's.
#[test]
fn a_function_that_a_superuser_calls_has_limits() {
    let server = Server::start("definer_limits", &[]);
    server.role("someone");
    let mut admin = server.session();
    do_it(
        &mut admin,
        "CREATE FUNCTION launches(count int4) RETURNS void SECURITY DEFINER LANGUAGE sql AS
             $$ SELECT pg_background_submit('SELECT 1') FROM generate_series(1, count) $$;
         LOAD 'pg_background'; SET pg_background.launch_timeout = 0; SET pg_background.on_exhaustion = queue;
         SET pg_background.role_max_jobs = 2; SELECT launches(3);
         SELECT pg_background_detach_all(); ALTER FUNCTION launches OWNER TO someone",
    );
    eventually(
        &mut admin,
        "(SELECT slots_used = 0 FROM pg_background_resources())",
    );
    let ended = admin.batch_execute("SELECT launches(3)");
    assert_eq!(sqlstate(ended), "53400");
    let _ = launch(&mut admin, "SELECT 1");
}

/// In such an operation the server refuses to give a setting its configured value.
#[test]
fn limits_hold_in_a_parallel_operation() {
    let server = Server::start("parallel_limits", &["pg_background.enabled=off"]);
    server.role("someone");
    do_it(
        &mut server.session(),
        "ALTER ROLE someone SET pg_background.role_max_jobs = 2;
         CREATE TABLE t AS SELECT g FROM generate_series(1, 100000) g; ANALYZE t;
         GRANT SELECT ON t TO someone; GRANT CREATE ON SCHEMA public TO someone",
    );
    for (number, safety) in ["safe", "restricted"].into_iter().enumerate() {
        let mut leader = server.session_as("someone");
        do_it(
            &mut leader,
            &format!(
                "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
                 SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;
                 CREATE FUNCTION f{number}(int) RETURNS text PARALLEL {safety} LANGUAGE plpgsql AS $$
                 BEGIN RETURN pg_background_submit('SELECT 1'); END $$"
            ),
        );
        let argument = if safety == "safe" { "g" } else { "max(g)" };
        let query = format!("SELECT f{number}({argument}) FROM t");
        let plan = here(
            &mut leader,
            &format!(
                "CREATE FUNCTION plan() RETURNS text LANGUAGE plpgsql AS $$ DECLARE line text; lines text := ''; BEGIN
                 FOR line IN EXECUTE 'EXPLAIN {query}' LOOP lines := lines || line; END LOOP;
                 RETURN lines; END $$; SELECT plan() LIKE '%Gather%'"
            ),
        );
        assert_eq!(plan.as_deref(), Some("t"));
        do_it(&mut leader, "DROP FUNCTION plan()");
        assert_eq!(sqlstate(leader.simple_query(&query)), "25000", "{safety}");
        // After that the session is like any other.
        assert_eq!(sqlstate(try_run(&mut leader, "SELECT 1")), "55000");
        let limit = here(&mut leader, "SHOW pg_background.role_max_jobs");
        assert_eq!(limit.as_deref(), Some("2"));
    }
}

#[test]
fn a_value_that_nobody_checked_gives_no_rights_that_its_setter_had_not() {
    let server = Server::start("smuggle", &["pg_background.worker_idle_timeout=60s"]);
    server.role("someone");
    let show = "SELECT concat_ws('|', current_setting('pg_background.enabled'), current_setting('pg_background.spin'),
        current_setting('pg_background.worker_idle_timeout'), current_setting('pg_background.max_pool_workers'),
        current_setting('auto_explain.log_min_duration', true))";
    let options = "-c pg_background.enabled=off -c pg_background.spin=7 -c pg_background.worker_idle_timeout=0
        -c pg_background.max_pool_workers=1 -c auto_explain.log_min_duration=9s";
    let set = options.replace("-c ", "SET ").replace("=9s", "='9s'");
    let set = set.replace(" SET", "; SET");
    let explained = "LOAD 'auto_explain'; ";
    for role in ["someone", "postgres"] {
        let is_super = role == "postgres";
        for (options, set) in [(options, "SELECT 1"), ("", set.as_str())] {
            let mut leader = with_options(&server, role, options);
            do_it(&mut leader, set);
            // A superuser may set the spin, and nobody what is the configuration's.
            let expected = if is_super {
                "on|7|1min|-1|9s"
            } else {
                "on|200|1min|-1|9s"
            };
            assert_eq!(run(&mut leader, show).as_deref(), Some(expected), "{set}");
            assert_eq!(here(&mut leader, show).as_deref(), Some(expected), "{set}");
            // Nor in a job of the job.
            let nested = format!(
                "SELECT t FROM pg_background_run_query($q${show}$q$, col_def => 't text') AS (t text)"
            );
            assert_eq!(run(&mut leader, &nested).as_deref(), Some(expected));
            if is_super {
                let loaded = format!("{explained}{show}");
                assert_eq!(run(&mut leader, &loaded).as_deref(), Some(expected));
            }
        }
    }
}
