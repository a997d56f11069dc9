//! A job and its text are hidden from users that may not manage it.
//!
//! Every function and view is called by a role without privileges on the session's jobs, with their
//! true handles, and nothing that comes back, the fields of errors included, may hold any of their secrets.

use postgres::{Client, SimpleQueryMessage};
use session_tests::*;

/// Part of every text of the jobs here.
const SECRET: &str = "secret";

/// What can be asked about jobs: views, and functions but those that launch one, are for administrators, end the jobs
/// of a whole role for anyone with its privileges, or detach the session's jobs, which needs no privileges. Procedures
/// return nothing.
const ASKING: &str = "
    SELECT p.proname::text, oidvectortypes(p.proargtypes), pg_get_function_result(p.oid)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE e.extname = 'pg_background' AND p.prokind = 'f' AND NOT p.prosecdef AND p.proname !~ 'retire_idle|prewarm|cancel_role|detach|purge'
      AND NOT 'sql' = ANY (coalesce(p.proargnames, '{}'))";

const LIST: &str =
    "(pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
    sql_preview text, last_error text, consumed bool, label text)";

/// Every question, about this job where it is about one.
fn questions(admin: &mut Client, job: Handle) -> Vec<String> {
    let Handle { pid, cookie } = job;
    let mut questions: Vec<String> = ["pg_background_list", "pg_background_activity"]
        .map(|view| format!("SELECT v::text FROM {view} v"))
        .into();
    for row in admin.query(ASKING, &[]).expect("the catalog can be read") {
        let (name, types, result): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let types: Vec<&str> = types.split(", ").collect();
        let arguments = match types.as_slice() {
            [""] => String::new(),
            ["integer"] => format!("{pid}"),
            ["integer", "text"] => String::from("1, 'x'"),
            ["integer", "bigint"] => format!("{pid}, {cookie}"),
            ["integer", "bigint", "integer"] => format!("{pid}, {cookie}, 1"),
            ["integer", "bigint", "anyelement"] => format!("{pid}, {cookie}, NULL::text"),
            ["pg_background_handle[]", "integer"] => {
                format!("ARRAY[({pid}, {cookie})::pg_background_handle], 1")
            }
            ["text", "integer"] => String::from("'%', 1"),
            _ => panic!("{name} takes {types:?}, which this test does not know"),
        };
        let columns = match (result.as_str(), types.as_slice()) {
            ("SETOF record", [""]) => format!(" AS q{LIST}"),
            ("SETOF record", _) => String::from(" AS q(v text)"),
            _ => String::from(" q"),
        };
        questions.push(format!("SELECT q::text FROM {name}({arguments}){columns}"));
    }
    assert!(questions.len() > 40, "{}", questions.len());
    questions
}

/// The answer. The only errors may be a missing privilege, and that the call is not in a job.
fn answer(client: &mut Client, question: &str) -> String {
    match client.simple_query(question) {
        Ok(messages) => messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => {
            let error = error.as_db_error().expect("the server's");
            let code = error.code().code();
            // A pid is cast to the handle of a job that was launched by the function that returns a pid. No other job
            // is found by it.
            let is_unknown = code == "42704" && question.contains("pg_background_handle(");
            // 42P09: by its pid alone, where several jobs ran in one process.
            assert!(
                is_unknown || ["42501", "0A000", "42P09"].contains(&code),
                "{question}: {error:?}"
            );
            format!(
                "{} {:?} {:?} {:?}",
                error.message(),
                error.detail(),
                error.hint(),
                error.where_()
            )
        }
    }
}

/// Launches one that has failed, one that runs, one with rows, whose every text is secret.
fn launch_secrets(client: &mut Client) -> [Handle; 3] {
    let mut launch = |sql: &str| {
        let row = client
            .query_one(
                "SELECT pid, cookie FROM pg_background_launch_v2($1, 0, 'secret label')",
                &[&sql],
            )
            .expect("launched");
        Handle {
            pid: row.get(0),
            cookie: row.get(1),
        }
    };
    let jobs = [
        launch(
            "/* secret text */ DO $$ BEGIN
                 RAISE EXCEPTION 'secret error' USING DETAIL = 'secret detail', HINT = 'secret hint';
             END $$",
        ),
        launch("/* secret text */ SELECT pg_background_progress(7, 'secret progress'); SELECT pg_sleep(600)"),
        launch("/* secret text */ DO $$ BEGIN RAISE NOTICE 'secret notice'; END $$; SELECT 'secret row'"),
    ];
    for ended in [jobs[0], jobs[2]] {
        call(client, "pg_background_wait_v2", ended).expect("waited for");
    }
    jobs
}

/// Checks that the session's current role learns nothing of these jobs, and changes nothing.
fn learns_nothing(client: &mut Client, admin: &mut Client, jobs: &[Handle], who: &str) {
    for job in jobs {
        for question in questions(admin, *job) {
            let answer = answer(client, &question);
            assert!(!answer.contains(SECRET), "{who}: {question}: {answer}");
        }
    }
}

fn states(client: &mut Client, jobs: &[Handle]) -> Vec<String> {
    jobs.iter().map(|job| state(client, *job)).collect()
}

fn end(client: &mut Client) {
    client
        .batch_execute("SELECT pg_background_cancel_all(); SELECT pg_background_detach_all()")
        .expect("canceled");
    nothing_is_left(client);
}

/// As a role that may use the extension.
fn become_role(session: &mut Client, role: &Role) {
    session
        .batch_execute(&format!("SET ROLE {}", role.name))
        .expect("a role");
}

#[test]
fn those_without_rights_on_a_job_learn_nothing_of_it() {
    let [pooler, alice, bob, watcher] = [(); 4].map(|()| Role::new());
    let database = Database::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!(
            "GRANT pg_read_all_stats TO {watcher};
             ALTER ROLE {pooler} NOINHERIT;
             GRANT {alice}, {bob}, {watcher} TO {pooler}",
            watcher = watcher.name,
            pooler = pooler.name,
            alice = alice.name,
            bob = bob.name,
        ))
        .expect("granted");
    let mut session = database.session_as(&pooler.name);
    become_role(&mut session, &alice);
    let jobs = launch_secrets(&mut session);
    for role in [&bob, &watcher] {
        become_role(&mut session, role);
        learns_nothing(&mut session, &mut admin, &jobs, &role.name);
    }
    // A role with the privileges does get answers.
    become_role(&mut session, &alice);
    assert_eq!(
        states(&mut session, &jobs),
        ["error", "running", "stopped"],
        "nothing was done to them"
    );
    let told = questions(&mut admin, jobs[0])
        .iter()
        .filter(|question| {
            let reads = ["outcome", "error_info", "full_sql", "list"];
            reads.iter().any(|word| question.contains(word))
        })
        .map(|question| answer(&mut session, question))
        .filter(|answer| answer.contains(SECRET))
        .count();
    assert!(told >= 9, "{told}");
    end(&mut session);
}

#[test]
fn the_caller_of_a_definer_function_learns_nothing_of_its_job() {
    let [owner, caller] = [(); 2].map(|()| Role::new());
    let database = Database::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {0};
             SET ROLE {0};
             CREATE FUNCTION begin_work(OUT pid int4, OUT cookie int8) LANGUAGE sql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp AS $$
                 SELECT public.pg_background_launch_v2(
                     '/* secret text */ SELECT public.pg_background_progress(7, ''secret progress''); SELECT pg_sleep(600)',
                     0, 'secret label')
             $$;
             RESET ROLE",
            owner.name
        ))
        .expect("a function");
    let mut session = database.session_as(&caller.name);
    let row = session
        .query_one("SELECT pid, cookie FROM begin_work()", &[])
        .expect("launched");
    let job = Handle {
        pid: row.get(0),
        cookie: row.get(1),
    };
    learns_nothing(&mut session, &mut admin, &[job], "its caller");
    for function in ["pg_background_cancel_v2", "pg_background_wait_v2"] {
        assert_eq!(sqlstate(call(&mut session, function, job)), "42501");
    }
    admin
        .batch_execute(&format!("GRANT {} TO {}", owner.name, caller.name))
        .expect("granted");
    assert_eq!(state(&mut session, job), "running");
    end(&mut session);
}

/// What a role sees of the worker's statement in `pg_stat_activity`.
fn seen(client: &mut Client, job: Handle) -> Option<String> {
    value(
        client,
        &format!(
            "SELECT query FROM pg_stat_activity WHERE pid = {} AND datname IS NOT NULL",
            job.pid
        ),
    )
}

#[test]
fn the_text_of_a_job_is_in_pg_stat_activity_for_those_who_would_see_its_sessions() {
    let [pooler, member, stranger, watcher] = [(); 4].map(|()| Role::new());
    let database = Database::new();
    let mut admin = database.session();
    admin
        .batch_execute(&format!(
            "GRANT pg_read_all_stats TO {}; GRANT {} TO {}",
            watcher.name, pooler.name, member.name
        ))
        .expect("granted");
    let mut leader = database.session_as(&pooler.name);
    let job = launch(&mut leader, "/* secret text */ SELECT pg_sleep(600)");
    asleep(&mut leader, job);
    for (role, sees) in [
        (pooler.name.as_str(), true),
        (&member.name, true),
        (&watcher.name, true),
        ("postgres", true),
        (&stranger.name, false),
    ] {
        let query = seen(&mut database.session_as(role), job);
        assert_eq!(
            query.as_deref().is_some_and(|text| text.contains(SECRET)),
            sees,
            "{role}: {query:?}"
        );
    }
    // Parameters are never part of it.
    let row = leader
        .query_one(
            "SELECT pid, cookie FROM pg_background_launch_params('SELECT $1::text, pg_sleep(600)', 'secret value')",
            &[],
        )
        .expect("launched");
    let job = Handle {
        pid: row.get(0),
        cookie: row.get(1),
    };
    asleep(&mut leader, job);
    let query = seen(&mut admin, job).expect("shown");
    assert!(query.contains("$1") && !query.contains(SECRET), "{query}");
    end(&mut leader);
}
