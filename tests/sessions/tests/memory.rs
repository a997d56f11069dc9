//! Shared memory that is used up, and its release.
//!
//! The servers here keep dynamic segments as files of their data directory, so that those of others do not count.

use postgres::Client;
use session_tests::*;
use std::sync::Barrier;

/// The maximum of a job's result queue.
const LARGE: i32 = 1 << 20;

#[test]
fn a_launch_without_memory_fails_and_takes_nothing_from_those_before_it() {
    let server = Server::start(
        "no-memory",
        &[
            "pg_background.max_memory=16MB",
            "pg_background.max_pool_workers=1",
        ],
    );
    let witness = server.session();
    let mut leader = server.session();
    leader
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
             CREATE TABLE done (n int4)",
        )
        .expect("settings");
    for round in 0..3 {
        let busy = launch(&mut leader, "SELECT pg_sleep(600)");
        asleep(&mut leader, busy);
        let mut accepted = Vec::new();
        let refused = loop {
            let launched = leader.query_one(
                "SELECT pid, cookie FROM pg_background_launch_v2('INSERT INTO done VALUES (1)', $1)",
                &[&LARGE],
            );
            match launched {
                Ok(row) => accepted.push(Handle {
                    pid: row.get(0),
                    cookie: row.get(1),
                }),
                Err(error) => break error,
            }
            assert!(accepted.len() < 100, "there is a limit");
        };
        assert_eq!(sqlstate::<()>(Err(refused)), "53200");
        assert!(accepted.len() >= 4, "{}", accepted.len());
        // The error of a job is reported all the same, however long it is: its room is reserved.
        let failing = launch(
            &mut leader,
            "DO $$ BEGIN RAISE EXCEPTION 'long %', repeat('x', 5000000); END $$",
        );
        call(&mut leader, "pg_background_cancel_v2", busy).expect("canceled");
        for handle in &accepted {
            call(&mut leader, "pg_background_wait_v2", *handle).expect("waited for");
            assert_eq!(state(&mut leader, *handle), "stopped");
        }
        let error = try_result(&mut leader, failing).expect_err("it has failed");
        let message = error.as_db_error().expect("the server's").message();
        assert!(message.starts_with("long xxx"), "{}", &message[..20]);
        leader
            .batch_execute("SELECT pg_background_detach_all()")
            .expect("detached");
        let done: i64 = value(&mut leader, "SELECT count(*) FROM done");
        assert_eq!(done as usize, accepted.len(), "round {round}");
        leader.batch_execute("TRUNCATE done").expect("emptied");
        nothing_is_left(&mut leader);
    }
    drop(witness);
}

/// A queue that is too large for the arena.
const OWN_SEGMENT: i32 = 32 << 20;

/// No segment of that size exists, not even one that a process still has mapped.
const NO_LARGE_SEGMENT: &str = "(NOT EXISTS (SELECT FROM pg_ls_dir('pg_dynshmem') AS file
    WHERE (pg_stat_file('pg_dynshmem/' || file, true)).size >= 4 << 20))";

fn with_files(name: &str, settings: &[&str]) -> Server {
    let mut all = vec!["dynamic_shared_memory_type=mmap"];
    all.extend(settings);
    Server::start(name, &all)
}

fn try_launch_large(client: &mut Client, sql: &str) -> Result<Handle, postgres::Error> {
    let row = client.query_one(
        "SELECT pid, cookie FROM pg_background_launch_v2($1, $2)",
        &[&sql, &OWN_SEGMENT],
    )?;
    Ok(Handle {
        pid: row.get(0),
        cookie: row.get(1),
    })
}

fn launch_large(client: &mut Client, sql: &str) -> Handle {
    let handle = try_launch_large(client, sql).expect("the job is launched");
    let there = format!("SELECT NOT {NO_LARGE_SEGMENT}");
    assert!(value::<bool>(client, &there), "it has a segment of its own");
    handle
}

fn terminate(observer: &mut Client, pid: i32) {
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("terminated");
}

fn own_pid(client: &mut Client) -> i32 {
    value(client, "SELECT pg_backend_pid()")
}

/// Only the size to which the arena has grown stays.
fn all_is_back(observer: &mut Client, what: &str) {
    let start = std::time::Instant::now();
    let back = format!(
        "SELECT {NO_LARGE_SEGMENT} AND {NOTHING_IS_LEFT}
            AND (SELECT memory_unused = memory_allocated AND memory_allocated <= 8 << 20
                 FROM pg_background_resources())"
    );
    while !value::<bool>(observer, &back) {
        assert!(start.elapsed() < LONG, "{what}: memory is not given back");
        pause(std::time::Duration::from_millis(10));
    }
}

const ROWS: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
const SLEEP: &str = "SELECT pg_sleep(600)::text";

/// Launches a job with a large block and ends it: the session that does it, and another.
type Ending = fn(Client, &mut Client);

const ENDINGS: &[(&str, Ending)] = &[
    ("read to the end", |mut leader, _| {
        let handle = launch_large(&mut leader, ROWS);
        assert_eq!(try_result(&mut leader, handle).expect("rows").len(), 20000);
        // The session stays, and must not keep the memory of what it has read.
        std::mem::forget(leader);
    }),
    ("detached unread", |mut leader, _| {
        let handle = launch_large(&mut leader, ROWS);
        call(&mut leader, "pg_background_wait_v2", handle).expect("it ends");
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
        std::mem::forget(leader);
    }),
    ("detached while it runs", |mut leader, observer| {
        let handle = launch_large(&mut leader, SLEEP);
        asleep(&mut leader, handle);
        call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
        observer
            .execute("SELECT pg_cancel_backend($1)", &[&handle.pid])
            .expect("canceled");
        std::mem::forget(leader);
    }),
    ("canceled", |mut leader, _| {
        let handle = launch_large(&mut leader, SLEEP);
        asleep(&mut leader, handle);
        assert_eq!(cancel_and_forget(&mut leader, handle), "canceled");
        std::mem::forget(leader);
    }),
    ("failed", |mut leader, _| {
        let handle = launch_large(&mut leader, "SELECT (1 / 0)::text");
        assert_eq!(sqlstate(try_result(&mut leader, handle)), "22012");
        std::mem::forget(leader);
    }),
    ("worker terminated", |mut leader, observer| {
        let handle = launch_large(&mut leader, SLEEP);
        asleep(&mut leader, handle);
        terminate(observer, handle.pid);
        assert_eq!(sqlstate(try_result(&mut leader, handle)), "57P01");
        std::mem::forget(leader);
    }),
    (
        "worker terminated, which says much on its way",
        |mut leader, observer| {
            leader
                .batch_execute("SET client_min_messages = debug5")
                .expect("set");
            let handle = launch_large(&mut leader, SLEEP);
            asleep(&mut leader, handle);
            terminate(observer, handle.pid);
            assert_eq!(sqlstate(try_result(&mut leader, handle)), "57P01");
            std::mem::forget(leader);
        },
    ),
    ("leader terminated", |mut leader, observer| {
        let handle = launch_large(&mut leader, SLEEP);
        asleep(&mut leader, handle);
        terminate(observer, own_pid(&mut leader));
        eventually(
            observer,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend')",
        );
        observer
            .execute("SELECT pg_cancel_backend($1)", &[&handle.pid])
            .expect("canceled");
    }),
    ("connection dropped", |mut leader, observer| {
        let handle = launch_large(&mut leader, SLEEP);
        asleep(&mut leader, handle);
        drop(leader);
        eventually(
            observer,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend')",
        );
        observer
            .execute("SELECT pg_cancel_backend($1)", &[&handle.pid])
            .expect("canceled");
    }),
    (
        "reader interrupted in the middle",
        |mut leader, observer| {
            let sql = "SELECT CASE WHEN g > 10 THEN pg_sleep(600)::text ELSE g::text END FROM generate_series(1, 20) g";
            let handle = launch_large(&mut leader, sql);
            leader
                .batch_execute("SET statement_timeout = '1s'")
                .expect("a limit");
            assert_eq!(sqlstate(try_result(&mut leader, handle)), "57014");
            observer
                .execute("SELECT pg_cancel_backend($1)", &[&handle.pid])
                .expect("canceled");
            std::mem::forget(leader);
        },
    ),
    ("cursor closed", |mut leader, _| {
        let handle = launch_large(&mut leader, ROWS);
        leader
            .batch_execute(&format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result_json({}, {}); MOVE 10 FROM c; CLOSE c; COMMIT",
                handle.pid, handle.cookie
            ))
            .expect("a cursor");
        std::mem::forget(leader);
    }),
    (
        "leader terminated within a cursor",
        |mut leader, observer| {
            let handle = launch_large(&mut leader, ROWS);
            leader
            .batch_execute(&format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result_json({}, {}); MOVE 10 FROM c",
                handle.pid, handle.cookie
            ))
            .expect("a cursor");
            terminate(observer, own_pid(&mut leader));
        },
    ),
    ("detached while it is read", |mut leader, _| {
        let handle = launch_large(&mut leader, ROWS);
        leader
            .batch_execute(&format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result_json({0}, {1}); MOVE 10 FROM c;
                 SELECT pg_background_detach_v2({0}, {1})",
                handle.pid, handle.cookie
            ))
            .expect("a cursor");
        assert_eq!(sqlstate(leader.batch_execute("MOVE 10 FROM c")), "42704");
        leader.batch_execute("ROLLBACK").expect("rolled back");
        std::mem::forget(leader);
    }),
    ("queued when its leader leaves", |mut leader, observer| {
        leader
            .batch_execute(
                "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
            )
            .expect("settings");
        let first = launch(&mut leader, SLEEP);
        asleep(&mut leader, first);
        let queued = launch_large(&mut leader, "SELECT 1::text");
        assert_eq!(state(&mut leader, queued), "queued");
        drop(leader);
        eventually(
            observer,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend')",
        );
        observer
            .execute("SELECT pg_cancel_backend($1)", &[&first.pid])
            .expect("canceled");
    }),
    ("canceled in the queue", |mut leader, _| {
        leader
            .batch_execute(
                "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
            )
            .expect("settings");
        let first = launch(&mut leader, SLEEP);
        asleep(&mut leader, first);
        let queued = launch_large(&mut leader, "SELECT 1::text");
        assert_eq!(cancel_and_forget(&mut leader, queued), "canceled");
        assert_eq!(cancel_and_forget(&mut leader, first), "canceled");
        std::mem::forget(leader);
    }),
    ("submitted", |mut leader, observer| {
        let sql = format!("SELECT pg_sleep(600) /* {} */", "x".repeat(8 << 20));
        leader
            .execute("SELECT pg_background_submit_v2($1)", &[&sql])
            .expect("submitted");
        drop(leader);
        eventually(
            observer,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep')",
        );
        observer
            .batch_execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
            )
            .expect("canceled");
    }),
    ("a long text, and its error", |mut leader, _| {
        let sql = format!(
            "DO $$ BEGIN RAISE EXCEPTION 'long %', repeat('x', 6000000); END $$ /* {} */",
            "x".repeat(8 << 20)
        );
        let handle = launch(&mut leader, &sql);
        call(&mut leader, "pg_background_wait_v2", handle).expect("it ends");
        let whole: i64 = value(
            &mut leader,
            &format!(
                "SELECT length(pg_background_full_sql_v2({}, {}))::int8",
                handle.pid, handle.cookie
            ),
        );
        assert_eq!(whole, sql.len() as i64);
        let error = try_result(&mut leader, handle).expect_err("it fails");
        let message = error.as_db_error().expect("the server's").message();
        assert_eq!(message.len(), "long ".len() + 6_000_000);
        std::mem::forget(leader);
    }),
    ("a launch that is taken back", |mut leader, _| {
        leader
            .batch_execute(
                "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1",
            )
            .expect("settings");
        let first = launch(&mut leader, SLEEP);
        asleep(&mut leader, first);
        // Its memory is there before it is seen that no worker is.
        leader
            .batch_execute(
                "SET pg_background.on_exhaustion = wait; SET pg_background.launch_timeout = 50;
                 SET pg_background.max_workers = 1000",
            )
            .expect("settings");
        assert_eq!(
            sqlstate(try_launch_large(&mut leader, "SELECT 1::text")),
            "53000"
        );
        assert_eq!(cancel_and_forget(&mut leader, first), "canceled");
        std::mem::forget(leader);
    }),
];

#[test]
fn a_large_block_is_given_back_however_its_job_ends() {
    let server = with_files(
        "given-back",
        &[
            "pg_background.max_pool_workers=1",
            "pg_background.worker_idle_timeout=1h",
        ],
    );
    let mut observer = server.session();
    for (what, ending) in ENDINGS {
        let leader = server.session();
        ending(leader, &mut observer);
        all_is_back(&mut observer, what);
        // Sessions that were left open: what they have mapped counts.
        observer
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            )
            .expect("terminated");
        eventually(
            &mut observer,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend')",
        );
    }
}

#[test]
fn as_many_of_the_largest_queues_as_fit_leave_nothing() {
    let server = with_files("largest", &["pg_background.max_memory=1100MB"]);
    let mut client = server.session();
    client
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.default_queue_size = '256MB'",
        )
        .expect("settings");
    for _ in 0..2 {
        for _ in 0..2 {
            launch(&mut client, "SELECT 'large'");
        }
        let refused = try_launch(&mut client, "SELECT 'one too many'").expect_err("no memory");
        let hint = refused.as_db_error().expect("the server's").hint();
        assert!(
            hint.is_some_and(|hint| hint.contains("pg_background.max_memory")),
            "{refused:?}"
        );
        assert_eq!(sqlstate::<()>(Err(refused)), "53200");
        let shown: bool = value(
            &mut client,
            "SELECT memory_allocated BETWEEN 2 * 256 << 20 AND memory_limit FROM pg_background_resources()",
        );
        assert!(shown);
        client
            .batch_execute("SELECT pg_background_detach_all()")
            .expect("detached");
        all_is_back(&mut client, "the largest queues");
    }
}

#[test]
fn the_limit_is_finite_by_default_and_looked_at_as_it_is_now() {
    let server = with_files("limit-now", &["pg_background.max_jobs=16"]);
    let mut client = server.session();
    let limit: i64 = value(
        &mut client,
        "SELECT memory_limit FROM pg_background_resources()",
    );
    assert_eq!(limit, 640 << 20);
    for (limit, accepted) in [("16MB", false), ("1GB", true), ("1MB", false)] {
        client
            .batch_execute(&format!(
                "ALTER SYSTEM SET pg_background.max_memory = '{limit}'"
            ))
            .expect("set");
        client
            .batch_execute("SELECT pg_reload_conf()")
            .expect("reloaded");
        let seen = format!("(current_setting('pg_background.max_memory') = '{limit}')");
        eventually(&mut client, &seen);
        match try_launch_large(&mut client, "SELECT 1::text") {
            Ok(handle) => {
                assert!(accepted, "{limit}");
                try_result(&mut client, handle).expect("it runs");
            }
            Err(error) => {
                assert!(!accepted, "{limit}: {error}");
                assert_eq!(sqlstate::<()>(Err(error)), "53200");
            }
        }
        all_is_back(&mut client, limit);
    }
    // What needs little runs as long as the arena has room.
    assert_eq!(run(&mut client, "SELECT 'small'").as_deref(), Some("small"));
}

#[test]
fn sessions_that_launch_at_the_same_time_stay_below_the_limit_together() {
    let server = with_files("limit-together", &["pg_background.max_memory=400MB"]);
    let mut observer = server.session();
    let sessions = 4;
    let start = Barrier::new(sessions);
    let full = Barrier::new(sessions + 1);
    let done = Barrier::new(sessions + 1);
    std::thread::scope(|scope| {
        for _ in 0..sessions {
            scope.spawn(|| {
                let mut client = server.session();
                client
                    .batch_execute(
                        "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000",
                    )
                    .expect("settings");
                start.wait();
                let refused = loop {
                    if let Err(error) = try_launch_large(&mut client, "SELECT 1::text") {
                        break error;
                    }
                };
                full.wait();
                assert_eq!(sqlstate::<()>(Err(refused)), "53200");
                done.wait();
            });
        }
        full.wait();
        let row = observer
            .query_one(
                "SELECT slots_used, memory_allocated <= memory_limit, memory_limit
                 FROM pg_background_resources()",
                &[],
            )
            .expect("resources");
        done.wait();
        assert_eq!(row.get::<_, i32>(0), 6, "200 MB have room for so many");
        assert!(row.get::<_, bool>(1));
    });
    all_is_back(&mut observer, "many sessions");
}

#[test]
fn small_requests_that_fill_the_arena_leave_room_for_a_large_one() {
    let server = with_files(
        "arena-full",
        &[
            "pg_background.max_memory=80MB",
            "pg_background.max_jobs=4096",
        ],
    );
    let mut client = server.session();
    client
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
             SET pg_background.default_queue_size = '2MB'",
        )
        .expect("settings");
    // As many as the arena has room for, one after the other: those that follow get segments, up to the same limit.
    let refused = loop {
        if let Err(error) = try_launch(&mut client, "SELECT 'small'") {
            break error;
        }
    };
    assert_eq!(sqlstate::<()>(Err(refused)), "53200");
    client
        .batch_execute("SELECT pg_background_detach_all()")
        .expect("detached");
    nothing_is_left(&mut client);
    let kept: i64 = value(
        &mut client,
        "SELECT memory_allocated FROM pg_background_resources()",
    );
    assert!(kept <= 40 << 20, "the arena keeps {kept} bytes");
    let handle = launch_large(&mut client, "SELECT 'large'");
    let rows = try_result(&mut client, handle).expect("it runs");
    assert_eq!(rows, [Some(String::from("large"))]);
}
