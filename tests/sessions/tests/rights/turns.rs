//! Many login roles share few worker slots: each is served, in turns.

use postgres::Client;
use session_tests::{LONG, Server, nothing_is_left, pause, run};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What an ordinary role must be served.
const JOBS: usize = 40;

const FLOOD: &str =
    "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[200]))";
const SLEEP: &str = "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT pg_sleep(0.1)'::text, ARRAY[16]))";
/// Each job waits for a job of its own.
const NEST: &str = "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT pg_background_run(''SELECT 1'')'::text, ARRAY[4]))";

/// Calls until it is told to end. Returns how often.
fn again_and_again(mut client: Client, sql: &str, ends: &AtomicBool) -> usize {
    let mut calls = 0;
    while !ends.load(Ordering::Relaxed) {
        client.query_one(sql, &[]).expect("the call succeeds");
        calls += 1;
    }
    calls
}

/// Launches a job and reads its result, again and again. Returns in how many processes they ran.
fn one_after_the_other(mut client: Client) -> usize {
    let pids: HashSet<_> = (0..JOBS)
        .map(|_| run(&mut client, "SELECT pg_backend_pid()").expect("a pid"))
        .collect();
    pids.len()
}

#[test]
fn thirty_two_roles_share_eight_worker_slots() {
    const SETTINGS: &[&str] = &[
        "max_worker_processes=12",
        "pg_background.max_pool_workers=8",
    ];
    let server = Server::start("turns", SETTINGS);
    let names: Vec<String> = (0..32).map(|number| format!("r{number}")).collect();
    for name in &names {
        server.role(name);
    }
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let session = |role: &str| server.session_as(role);
        let loud: Vec<_> = [FLOOD, SLEEP, NEST]
            .into_iter()
            .zip(&names)
            .map(|(sql, name)| {
                let (client, ends) = (session(name), &ends);
                scope.spawn(move || again_and_again(client, sql, ends))
            })
            .collect();
        let quiet: Vec<_> = names[3..]
            .iter()
            .map(|name| {
                let client = session(name);
                scope.spawn(move || one_after_the_other(client))
            })
            .collect();
        let began = Instant::now();
        while !quiet.iter().all(|thread| thread.is_finished()) && began.elapsed() < LONG {
            pause(Duration::from_millis(20));
        }
        let served = quiet.iter().filter(|thread| thread.is_finished()).count();
        ends.store(true, Ordering::Relaxed);
        assert_eq!(
            served,
            quiet.len(),
            "so many of the quiet roles were served"
        );
        let processes: Vec<usize> = quiet
            .into_iter()
            .map(|quiet| quiet.join().unwrap())
            .collect();
        let all: usize = processes.iter().sum();
        assert!(
            all * 2 < processes.len() * JOBS,
            "a process was started for nearly every job: {processes:?}"
        );
        for (sql, thread) in [FLOOD, SLEEP, NEST].into_iter().zip(loud) {
            assert!(thread.join().unwrap() > 0, "was never served: {sql}");
        }
    });
    nothing_is_left(&mut server.session());
}
