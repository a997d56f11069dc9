//! Guessed or forged handles find nothing and change nothing, in every function.
//!
//! The job table belongs to the whole cluster, and a cookie names a slot of it; so the forger here knows
//! everything but the random bits: pids, slots, generations of jobs that live.

use postgres::Client;
use session_tests::*;

/// How many handles are guessed in each session.
const GUESSES: i64 = 1_000_000;

/// Bits of a cookie, from the lowest: slot, generation, random.
const SLOT_BITS: u32 = 17;
const RANDOM_SHIFT: u32 = 32;

/// Whether the expression `probe` finds a job. An error that says there is none is none.
const FOUND: &str = "
    CREATE FUNCTION found(probe text) RETURNS bool LANGUAGE plpgsql AS $$
    DECLARE
        found bool;
    BEGIN
        EXECUTE 'SELECT ' || probe INTO found;
        RETURN coalesce(found, false);
    EXCEPTION WHEN undefined_object OR object_not_in_prerequisite_state THEN
        RETURN false;
    END $$";

/// Every function that is given a handle, a pid, or handles. (A procedure that ends the transaction cannot be called
/// in a function: the regression test `await` gives it such handles.)
const TAKERS: &str = "
    SELECT p.proname::text, oidvectortypes(p.proargtypes), pg_get_function_result(p.oid)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE e.extname = 'pg_background' AND p.prokind = 'f' AND ('pid' = ANY (p.proargnames) OR 'handles' = ANY (p.proargnames))";

/// Expressions that are true when a function finds the job of `$pid` (and `$cookie`, if that is given).
struct Probes {
    by_pid: Vec<String>,
    by_handle: Vec<String>,
}

fn probes(admin: &mut Client) -> Probes {
    let mut probes = Probes {
        by_pid: Vec::new(),
        by_handle: Vec::new(),
    };
    for row in admin.query(TAKERS, &[]).expect("the catalog can be read") {
        let (name, types, result): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let types: Vec<&str> = types.split(", ").collect();
        let (handle, rest) = match types.as_slice() {
            ["integer"] => ("$pid", &types[1..]),
            ["integer", "bigint", ..] => ("$pid, $cookie", &types[2..]),
            ["pg_background_handle[]", ..] => {
                ("ARRAY[($pid, $cookie)::pg_background_handle]", &types[1..])
            }
            _ => {
                panic!("{name}({types:?}) is given a handle in a way that this test does not know")
            }
        };
        let mut call = format!("{name}({handle}");
        for extra in rest {
            call.push_str(match *extra {
                "integer" => ", 1",
                "anyelement" => ", NULL::int4",
                other => panic!("{name} takes a {other}"),
            });
        }
        call.push(')');
        let probe = if name.contains("outcome") || name.contains("drain") {
            format!("(SELECT bool_or(state <> 'unknown') FROM {call})")
        } else if name.contains("wait_any") {
            // It skips what it does not find, and returns NULL.
            format!("(SELECT {call} IS NOT NULL)")
        } else if name.contains("get_progress") {
            format!("(SELECT bool_or(progress_pct IS NOT NULL) FROM {call})")
        } else if result == "SETOF record" {
            format!("(SELECT count(*) >= 0 FROM {call} AS r (v text))")
        } else {
            format!("(SELECT count(*) >= 0 FROM (SELECT {call} OFFSET 0) q)")
        };
        if handle == "$pid" {
            probes.by_pid.push(probe);
        } else {
            probes.by_handle.push(probe);
        }
    }
    assert_eq!(
        probes.by_pid.len(),
        3,
        "those of version 1, and the cast of its pids"
    );
    assert!(probes.by_handle.len() >= 28, "{}", probes.by_handle.len());
    probes
}

/// Which of the probes find something with which of the handles.
fn hits(session: &mut Client, probes: &[String], handles: &[Handle]) -> Vec<String> {
    let (pids, cookies): (Vec<i32>, Vec<i64>) = handles
        .iter()
        .map(|handle| (handle.pid, handle.cookie))
        .unzip();
    session
        .query(
            "SELECT p FROM unnest($1::int4[], $2::int8[]) h (pid, cookie), unnest($3::text[]) t (probe),
                 replace(replace(probe, '$pid', pid::text), '$cookie', cookie::text) p
             WHERE found(p)",
            &[&pids, &cookies, &probes],
        )
        .expect("asked")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

fn nothing() -> Vec<String> {
    Vec::new()
}

/// Every handle that differs from a live one in a bit of either part, or names a neighbour.
fn variants(live: Handle) -> Vec<Handle> {
    let with_cookie = |cookie| Handle { cookie, ..live };
    let with_pid = |pid| Handle { pid, ..live };
    let generation = 1 << SLOT_BITS;
    let mut forged: Vec<_> = (0..64)
        .map(|bit| with_cookie(live.cookie ^ (1 << bit)))
        .collect();
    for cookie in [
        live.cookie.wrapping_add(1),
        live.cookie.wrapping_sub(1),
        live.cookie.wrapping_add(generation),
        live.cookie.wrapping_sub(generation),
        live.cookie.wrapping_add(1 << RANDOM_SHIFT),
        live.cookie.wrapping_sub(1 << RANDOM_SHIFT),
        !live.cookie,
        live.cookie.swap_bytes(),
        0,
        1,
        -1,
        i64::MIN,
        i64::MAX,
    ] {
        forged.push(with_cookie(cookie));
    }
    // A cookie that is right, with another pid.
    forged.extend((0..32).map(|bit| with_pid(live.pid ^ (1 << bit))));
    forged.extend([0, -1, live.pid + 1, live.pid - 1].map(with_pid));
    forged.retain(|handle| *handle != live);
    forged
}

/// Guesses: half of them random altogether, half in a slot and generation that live.
fn guess(session: &mut Client, live: Handle, seed: i64) -> i64 {
    session
        .query_one(
            "SELECT count(*) FROM generate_series(1, $1::int8) g,
                 LATERAL (SELECT hashint8extended(g, $2::int8) AS random) r,
                 LATERAL (SELECT CASE g % 2 WHEN 0 THEN random
                                 ELSE (random & ~4294967295) | ($4::int8 & 4294967295) END AS cookie) c
             WHERE cookie <> $4::int8 AND (pg_background_outcome($3::int4, cookie)).state <> 'unknown'",
            &[&GUESSES, &seed, &live.pid, &live.cookie],
        )
        .expect("guessed")
        .get(0)
}

#[test]
fn guessed_and_forged_handles_find_nothing_and_touch_nothing() {
    let (role, another) = (Role::new(), Role::new());
    let database = Database::new();
    let mut admin = database.session();
    admin.batch_execute(FOUND).expect("a function");
    let probes = probes(&mut admin);

    // One that has finished, two that run, one that is queued.
    let mut owner = database.session_as(&role.name);
    let finished = launch(&mut owner, "SELECT 'kept'");
    call(&mut owner, "pg_background_wait_v2", finished).expect("finished");
    let running = launch(
        &mut owner,
        "SELECT pg_background_progress(5); SELECT pg_sleep(600)",
    );
    asleep(&mut owner, running);
    let by_pid: i32 = value(
        &mut owner,
        "SELECT pg_background_launch('SELECT pg_sleep(600)')",
    );
    owner
        .batch_execute("SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 2")
        .expect("settings");
    let queued = launch(&mut owner, "SELECT 'run later'");
    let live = [finished, running, queued];

    // A true handle is found, by the session that has it.
    for (handle, name) in [
        (running, "outcome("),
        (running, "get_progress("),
        (running, "full_sql("),
        (queued, "wait_v2_timeout("),
        (finished, "result_info("),
    ] {
        let found: Vec<_> = probes
            .by_handle
            .iter()
            .filter(|probe| probe.contains(name))
            .cloned()
            .collect();
        assert_eq!(hits(&mut owner, &found, &[handle]).len(), 1, "{name}");
    }

    let mut same = database.session_as(&role.name);
    let mut other = database.session_as(&another.name);
    let forged: Vec<Handle> = live.into_iter().flat_map(variants).collect();
    assert_eq!(hits(&mut owner, &probes.by_handle, &forged), nothing());
    for session in [&mut same, &mut other] {
        // Elsewhere not even the true ones are: a handle is its session's.
        assert_eq!(hits(session, &probes.by_handle, &live), nothing());
        let forged = variants(running);
        assert_eq!(hits(session, &probes.by_handle, &forged), nothing());
    }
    // Version 1: by pid. Its job is found by no cookie but the one that it is listed with.
    let of_pid = |pid| Handle { pid, cookie: 0 };
    let pids: Vec<_> = (0..32)
        .map(|bit| by_pid ^ (1 << bit))
        .chain([0, -1, by_pid + 1, by_pid - 1])
        .filter(|pid| live.iter().all(|handle| handle.pid != *pid))
        .map(of_pid)
        .collect();
    assert_eq!(hits(&mut owner, &probes.by_pid, &pids), nothing());
    for session in [&mut same, &mut other] {
        assert_eq!(
            hits(
                session,
                &probes.by_pid,
                &[of_pid(by_pid), of_pid(running.pid)]
            ),
            nothing()
        );
    }
    let with_cookies: Vec<_> = live
        .iter()
        .map(|handle| Handle {
            pid: by_pid,
            ..*handle
        })
        .filter(|handle| !live.contains(handle))
        .collect();
    assert_eq!(
        hits(&mut owner, &probes.by_handle, &with_cookies),
        nothing()
    );

    for (seed, session) in [&mut owner, &mut same, &mut other].into_iter().enumerate() {
        assert_eq!(guess(session, running, seed as i64), 0);
    }

    // And nothing has happened to any of them.
    let states = live.map(|handle| state(&mut owner, handle));
    assert_eq!(states, ["stopped", "running", "queued"]);
    let listed: String = value(
        &mut owner,
        &format!("SELECT state FROM pg_background_list WHERE pid = {by_pid} AND cookie = 0"),
    );
    assert_eq!(listed, "running");
    assert_eq!(
        try_result(&mut owner, finished).expect("its result"),
        [Some(String::from("kept"))]
    );
    cancel_and_forget(&mut owner, running);
    assert_eq!(
        try_result(&mut owner, queued).expect("its result"),
        [Some(String::from("run later"))]
    );
    owner
        .batch_execute("SELECT pg_background_cancel_all(); SELECT pg_background_detach_all()")
        .expect("canceled");
    nothing_is_left(&mut admin);
}

#[test]
fn a_handle_whose_job_is_gone_does_not_find_the_next_one_in_its_slot() {
    let _idle = Setting::new("pg_background.worker_idle_timeout", "60s");
    let database = Database::new();
    let mut owner = database.session();
    owner.batch_execute(FOUND).expect("a function");
    let probes = probes(&mut owner);
    let mut stale = Vec::new();
    for _ in 0..20 {
        let handle = launch(&mut owner, "SELECT 1");
        try_result(&mut owner, handle).expect("its result");
        stale.push(handle);
    }
    let live = launch(&mut owner, "SELECT pg_sleep(600)");
    asleep(&mut owner, live);
    let slot = |handle: Handle| handle.cookie & ((1 << SLOT_BITS) - 1);
    // The same process, the same slot: only the rest of the cookie tells them apart.
    assert!(
        stale
            .iter()
            .all(|handle| handle.pid == live.pid && slot(*handle) == slot(live))
    );
    assert_eq!(hits(&mut owner, &probes.by_handle, &stale), nothing());
    assert_eq!(state(&mut owner, live), "running");
    assert_eq!(cancel_and_forget(&mut owner, live), "canceled");
    nothing_is_left(&mut owner);
}
