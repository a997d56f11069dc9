//! At DEBUG1 and DEBUG2 the log has the transitions of a job.

use postgres::Client;
use session_tests::*;
use std::process::Command;

/// The log's lines about jobs, each as `INDEX/GENERATION words`, without pids.
fn lines(server: &Server) -> Vec<String> {
    const MARK: &str = "DEBUG:  pg_background: job ";
    server
        .log()
        .lines()
        .filter_map(|line| Some(line.split_once(MARK)?.1))
        .map(|line| match line.split_once(" with PID ") {
            Some((words, pid)) => {
                assert!(pid.parse::<u32>().is_ok(), "{line}");
                String::from(words)
            }
            None => String::from(line),
        })
        .collect()
}

/// Those of one job, in order, without its name.
fn life(lines: &[String], job: &str) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(job)?.strip_prefix(' '))
        .map(String::from)
        .collect()
}

fn signal(name: &str, pid: i32) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .expect("kill can be run");
    assert!(status.success(), "{name} to {pid}");
}

/// The lines of the leader, in order, and those of the worker. Which come first in the log is chance: each writes
/// its line after it has changed the job's word.
fn sides<S: AsRef<str>>(life: Vec<S>) -> (Vec<S>, Vec<S>) {
    const OF_THE_WORKER: [&str; 5] = [
        "is starting in the worker",
        "is running",
        "is completed",
        "has failed",
        "is canceled",
    ];
    life.into_iter()
        .partition(|line| !OF_THE_WORKER.contains(&line.as_ref()))
}

/// Slot 0 of a new server is used again and again, so the jobs are 0/1, 0/2 and so on.
#[test]
fn every_transition_of_a_job_is_in_the_log() {
    let server = Server::start(
        "trace",
        &[
            "log_min_messages=debug2",
            "pg_background.max_pool_workers=1",
        ],
    );
    let mut leader = server.session();
    // The worker may look for its next job after the leader has read of the last one's end.
    let rests = |leader: &mut Client| {
        eventually(
            leader,
            "(SELECT workers_idle = 1 FROM pg_background_resources())",
        );
    };
    // Queued, for there is no worker yet; then by one that is idle; then one that fails.
    run(&mut leader, "SELECT 1");
    rests(&mut leader);
    run(&mut leader, "SELECT 2");
    rests(&mut leader);
    assert!(try_run(&mut leader, "SELECT 1 / 0").is_err());
    rests(&mut leader);
    // Canceled while it runs, and again when it has ended; meanwhile another, that has not begun.
    let running = launch(&mut leader, "SELECT pg_sleep(600)");
    asleep(&mut leader, running);
    leader
        .batch_execute("SET pg_background.on_exhaustion = queue")
        .expect("a setting");
    let waiting = launch(&mut leader, "SELECT 3");
    assert_eq!(cancel_and_forget(&mut leader, waiting), "canceled");
    call(&mut leader, "pg_background_cancel_v2", running).expect("canceled");
    call(&mut leader, "pg_background_wait_v2", running).expect("waited for");
    assert_eq!(cancel_and_forget(&mut leader, running), "canceled");
    rests(&mut leader);
    // Ended with its worker, which does not answer.
    let deaf = launch(&mut leader, "SELECT pg_sleep(600)");
    asleep(&mut leader, deaf);
    signal("STOP", deaf.pid);
    leader
        .batch_execute(&format!(
            "SELECT pg_background_cancel_v2_grace({}, {}, 50)",
            deaf.pid, deaf.cookie
        ))
        .expect("canceled");
    signal("CONT", deaf.pid);
    call(&mut leader, "pg_background_wait_v2", deaf).expect("waited for");
    call(&mut leader, "pg_background_detach_v2", deaf).expect("detached");
    nothing_is_left(&mut leader);

    let lines = lines(&server);
    let begun = |first: &str, rest: &[&str]| {
        let mut life = vec![
            "is reserved",
            first,
            "is starting in the worker",
            "is running",
        ];
        life.extend(rest);
        life.extend(["is detached by its leader", "is freed"]);
        life.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let dispatched = "is dispatched to the worker";
    assert_eq!(
        sides(life(&lines, "0/1")),
        sides(begun("is queued", &["is completed"]))
    );
    assert_eq!(
        sides(life(&lines, "0/2")),
        sides(begun(dispatched, &["is completed"]))
    );
    assert_eq!(
        sides(life(&lines, "0/3")),
        sides(begun(dispatched, &["has failed"]))
    );
    assert_eq!(
        sides(life(&lines, "0/4")),
        sides(begun(
            dispatched,
            &[
                "has a cancel requested",
                "is canceled",
                "had finished before it was canceled",
            ]
        ))
    );
    assert_eq!(
        life(&lines, "1/1"),
        [
            "is reserved",
            "is queued",
            "is canceled",
            "is detached by its leader",
            "is freed",
        ]
    );
    assert_eq!(
        sides(life(&lines, "0/5")),
        sides(begun(
            dispatched,
            &[
                "has a cancel requested",
                "has its worker terminated",
                "is canceled",
            ]
        ))
    );
}

#[test]
fn debug1_has_what_was_asked_for_and_how_it_ended() {
    let server = Server::start("trace1", &["log_min_messages=debug1"]);
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    nothing_is_left(&mut leader);
    assert_eq!(life(&lines(&server), "0/1"), ["is queued", "is completed"]);
}

#[test]
fn a_session_that_wants_to_know_is_told_and_nobody_else() {
    let server = Server::start("untraced", &[]);
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    nothing_is_left(&mut leader);
    assert_eq!(lines(&server), Vec::<String>::new());
    // A superuser's session, its jobs included.
    leader
        .batch_execute("SET log_min_messages = debug2")
        .expect("a setting");
    run(&mut leader, "SELECT 1");
    let told = lines(&server);
    for words in ["is reserved", "is completed", "is freed"] {
        assert!(
            told.iter().any(|line| line.ends_with(words)),
            "{words}: {told:?}"
        );
    }
}
