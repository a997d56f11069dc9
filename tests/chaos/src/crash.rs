//! The server crashes, and jobs run again.

use crate::connect;
use postgres::{Client, NoTls};
use session_tests::{LONG, Signal, config, launch, nothing_is_left, pause, run, signal, value};
use std::time::{Duration, Instant};

/// Jobs of every state at the moment of the crash.
fn occupy(client: &mut Client) {
    client
        .batch_execute(
            "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 100",
        )
        .expect("settings");
    for _ in 0..20 {
        launch(client, "SELECT pg_sleep(600)");
        launch(
            client,
            "SELECT repeat('x', 1000) FROM generate_series(1, 1000)",
        );
    }
}

/// Kills a worker, twice; everything that was in shared memory is gone, and work goes on.
///
/// # Panics
/// When it does not.
pub fn crash_and_go_on() {
    for _ in 0..2 {
        let mut client = connect();
        run(&mut client, "SELECT 1");
        let pid: i32 = value(
            &mut client,
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_background' LIMIT 1",
        );
        occupy(&mut client);
        signal(pid, Signal::KILL);
        let start = Instant::now();
        while client.query_one("SELECT 1", &[]).is_ok() {
            assert!(start.elapsed() < LONG, "the server did not notice");
            pause(Duration::from_millis(20));
        }
        let mut client = again();
        for number in 0..50 {
            let number = number.to_string();
            assert_eq!(
                run(&mut client, &format!("SELECT '{number}'")),
                Some(number)
            );
        }
        nothing_is_left(&mut client);
    }
}

fn again() -> Client {
    let start = Instant::now();
    loop {
        match config().connect(NoTls) {
            Ok(client) => return client,
            Err(error) => assert!(start.elapsed() < LONG, "no connection: {error:?}"),
        }
        pause(Duration::from_millis(50));
    }
}
