//! Many jobs of all kinds, and nothing left of them.

use session_tests::*;

/// Jobs in each of the sessions.
const JOBS: i32 = 2500;
const SESSIONS: i32 = 8;

fn segments() -> usize {
    std::fs::read_dir("/dev/shm").map_or(0, |entries| entries.count())
}

fn work(database_client: impl Fn() -> postgres::Client, seed: i32) {
    let mut leader = database_client();
    for number in 0..JOBS {
        match (number + seed) % 10 {
            0 | 1 => {
                assert_eq!(
                    run(&mut leader, &format!("SELECT {number}")),
                    Some(number.to_string())
                );
            }
            2 => assert!(try_run(&mut leader, "SELECT 1 / 0").is_err()),
            3 => {
                let handle = launch(&mut leader, "SELECT pg_sleep(600)");
                call(&mut leader, "pg_background_cancel_v2", handle).expect("canceled");
                call(&mut leader, "pg_background_wait_v2", handle).expect("waited for");
                call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
            }
            4 => {
                let handle = launch(
                    &mut leader,
                    "SELECT repeat('x', 1000) FROM generate_series(1, 200)",
                );
                call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
            }
            5 => {
                let handle = launch(&mut leader, "INSERT INTO t VALUES (1)");
                call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
            }
            6 => {
                leader
                    .batch_execute(
                        "SELECT pg_background_detach_v2(h.pid, h.cookie)
                         FROM pg_background_submit_v2('INSERT INTO t VALUES (1)') h",
                    )
                    .expect("submitted");
            }
            7 => {
                // A wrong column list, an error while converting, then the rest.
                let handle = launch(&mut leader, "SELECT 1, 2");
                assert!(try_result(&mut leader, handle).is_err());
                call(&mut leader, "pg_background_detach_v2", handle).expect("detached");
            }
            8 => {
                let rows: i64 = value(
                    &mut leader,
                    "SELECT count(*) FROM pg_background_launch_v2('SELECT repeat(''y'', 3000) FROM generate_series(1, 40)') h,
                         pg_background_result_v2(h.pid, h.cookie) AS r (t text)",
                );
                assert_eq!(rows, 40);
            }
            _ => {
                launch(&mut leader, "INSERT INTO t VALUES (1)");
                if number % 50 == seed % 50 {
                    // The leader exits with unread jobs, and another session replaces it.
                    leader = database_client();
                } else {
                    leader
                        .batch_execute(
                            "SELECT pg_background_detach_v2(pid, cookie) FROM pg_background_list_v2()
                                 AS (pid int4, cookie int8, a timestamptz, b oid, c int4, d text, e text, f text, g bool)",
                        )
                        .expect("detached");
                }
            }
        }
    }
}

#[test]
fn twenty_thousand_mixed_jobs_leave_nothing() {
    let witness = Witness::new();
    let database = Database::new();
    let mut observer = database.session();
    observer
        .batch_execute("CREATE TABLE t (n int4)")
        .expect("a table");
    run(&mut observer, "SELECT 1");
    let before = segments();
    std::thread::scope(|scope| {
        for seed in 0..SESSIONS {
            let database = &database;
            scope.spawn(move || work(|| database.session(), seed));
        }
    });
    // What inserts was accepted, so it has run: three kinds in ten.
    let inserts = i64::from(SESSIONS * JOBS / 10 * 3);
    eventually(
        &mut observer,
        &format!("(SELECT count(*) = {inserts} FROM t)"),
    );
    nothing_is_left(&mut observer);
    eventually(
        &mut observer,
        "(SELECT workers_idle + workers_busy + workers_starting = 0 FROM pg_background_resources())",
    );
    // The arena keeps what it has grown to, in segments that double: a handful, whatever the number of jobs.
    assert!(
        segments() <= before + 8,
        "{before} segments before, {} after",
        segments()
    );
    let temp_files: i64 = value(&mut observer, "SELECT count(*) FROM pg_ls_tmpdir()");
    assert_eq!(temp_files, 0);
    witness.check();
}
