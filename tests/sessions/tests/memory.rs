//! When shared memory is used up.

use session_tests::*;

/// As much of it as a job's result queue may have.
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
        // What fails in a job is told all the same, however long it is: its room was set aside.
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
