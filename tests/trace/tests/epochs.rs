//! What the check makes of logs that are not those of one orderly run.

use trace::check;

const START: &str = "2026-01-01 10:00:00.000 UTC [1] LOG:  starting PostgreSQL 15.0";
const CRASH: &str =
    "2026-01-01 10:00:20.000 UTC [1] LOG:  all server processes terminated; reinitializing";
const SHUT_DOWN: &str = "2026-01-01 10:00:30.000 UTC [1] LOG:  database system is shut down";

fn step(second: u32, process: u32, text: &str) -> String {
    format!("2026-01-01 10:00:{second:02}.000 UTC [{process}] DEBUG:  pg_background: {text}")
}

/// A job of leader 10 and worker 20 that is begun in this second, and ended and freed a second later.
fn life(second: u32, generation: u32) -> Vec<String> {
    let job = format!("job 0/{generation}");
    let next = generation + 1;
    [
        (0, 10, "reserve: free -> reserved leader"),
        (0, 10, "publish: reserved leader -> queued leader worker"),
        (
            0,
            20,
            "bind: queued leader worker -> starting leader worker",
        ),
        (
            0,
            20,
            "begin: starting leader worker -> running leader worker",
        ),
        (1, 20, "finish: running leader worker -> completed leader"),
        (1, 10, "detach: completed leader -> completed"),
        (
            1,
            10,
            &format!("free: completed -> free, generation {next}"),
        ),
    ]
    .map(|(later, process, text)| step(second + later, process, &format!("{job}: {text}")))
    .to_vec()
}

fn faults(lines: &[String], end: &str) -> Vec<String> {
    let log = [&[String::from(START)], lines, &[String::from(end)]].concat();
    check("log", &log.join("\n")).faults
}

#[test]
fn two_lives_of_a_slot_are_one_history() {
    let lines = [life(1, 1), life(3, 2)].concat();
    assert_eq!(faults(&lines, SHUT_DOWN), Vec::<String>::new());
}

#[test]
fn what_a_crash_took_with_it_is_not_missed() {
    let mut lines = life(19, 1);
    lines.remove(2);
    assert_eq!(faults(&lines, CRASH), Vec::<String>::new());
    // It is missed where nothing has crashed.
    assert_eq!(faults(&lines, SHUT_DOWN).len(), 1);
}

#[test]
fn a_step_that_is_missing_long_before_a_crash_is_missed() {
    let mut lines = life(1, 1);
    lines.remove(2);
    assert_eq!(faults(&lines, CRASH).len(), 1);
}

#[test]
fn after_a_crash_everything_begins_anew() {
    let again = life(22, 1);
    let lines = [life(19, 1), vec![String::from(CRASH)], again].concat();
    assert_eq!(faults(&lines, SHUT_DOWN), Vec::<String>::new());
    // Without the crash the generation is used twice.
    let lines = [life(19, 1), life(22, 1)].concat();
    assert_eq!(faults(&lines, SHUT_DOWN).len(), 1);
}

#[test]
fn a_job_that_runs_when_the_server_has_shut_down_is_a_fault() {
    let mut lines = life(1, 1);
    lines.truncate(4);
    let found = faults(&lines, SHUT_DOWN);
    assert!(
        found[0].contains("left it in generation 1: running leader worker"),
        "{found:?}"
    );
}

#[test]
fn a_job_that_two_processes_run_is_a_fault() {
    let mut lines = life(1, 1);
    lines[4] = lines[4].replace("[20]", "[21]");
    let found = faults(&lines, SHUT_DOWN);
    assert!(
        found[0].contains("two processes act as one side"),
        "{found:?}"
    );
}

#[test]
fn an_edge_that_the_table_does_not_have_is_a_fault() {
    let mut lines = life(1, 1);
    lines[3] = step(
        1,
        20,
        "job 0/1: begin: queued leader worker -> running leader worker",
    );
    assert!(faults(&lines, SHUT_DOWN)[0].contains("the table has no such edge"));
    // Also in the last moments before a crash.
    assert!(faults(&lines, CRASH)[0].contains("the table has no such edge"));
}

#[test]
fn a_line_that_cannot_be_read_is_a_fault() {
    let lines = [step(1, 10, "job 0/1: reserve: free -> somewhere")];
    assert_eq!(faults(&lines, SHUT_DOWN).len(), 1);
    let lines = [step(1, 10, "3 transitions could not be remembered")];
    assert_eq!(faults(&lines, SHUT_DOWN).len(), 1);
}
