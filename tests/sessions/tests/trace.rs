//! At DEBUG1 the log has the events of a job, at DEBUG2 every transition of the words that processes share.

use postgres::Client;
use session_tests::*;
use trace::check;

/// The log's lines of events, each as `INDEX/GENERATION words`, without pids.
fn events(server: &Server) -> Vec<String> {
    const MARK: &str = "DEBUG:  pg_background: job ";
    server
        .log()
        .lines()
        .filter_map(|line| Some(line.split_once(MARK)?.1))
        .filter(|line| !line.contains(" -> "))
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
fn life(events: &[String], job: &str) -> Vec<String> {
    events
        .iter()
        .filter_map(|line| line.strip_prefix(job)?.strip_prefix(' '))
        .map(String::from)
        .collect()
}

/// Slot 0 of a new server is used again and again, so the jobs are 0/1, 0/2 and so on.
#[test]
fn every_transition_is_in_the_log_and_a_log_without_one_is_refused() {
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
    signal(deaf.pid, Signal::STOP);
    leader
        .batch_execute(&format!(
            "SELECT pg_background_cancel_v2_grace({}, {}, 50)",
            deaf.pid, deaf.cookie
        ))
        .expect("canceled");
    signal(deaf.pid, Signal::CONT);
    call(&mut leader, "pg_background_wait_v2", deaf).expect("waited for");
    call(&mut leader, "pg_background_detach_v2", deaf).expect("detached");
    nothing_is_left(&mut leader);

    drop(leader);
    server.stop();

    let events = events(&server);
    assert_eq!(life(&events, "0/1"), ["is queued", "is completed"]);
    let dispatched = "is dispatched to the worker";
    assert_eq!(life(&events, "0/2"), [dispatched, "is completed"]);
    assert_eq!(life(&events, "0/3"), [dispatched, "has failed"]);
    assert_eq!(life(&events, "1/1"), ["is queued", "is canceled"]);
    let mut canceled = life(&events, "0/5");
    // Those of the leader and of the worker may come in either order.
    canceled.sort();
    assert_eq!(
        canceled,
        [
            "has a cancel requested",
            "has its worker terminated",
            "is canceled",
            dispatched,
        ]
    );

    let log = server.log();
    let report = check("log", &log);
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!((report.whole, report.cut), (1, 0));
    for arc in [
        "job publish reserved",
        "job cancel_queued queued, the leader holds it",
        "job cancel running, once",
        "job cancel running, with its worker",
        "job finish running, failed, the leader holds it",
        "job finish running, canceled, the leader holds it",
        "job detach completed, last out",
        "job free canceled",
        "worker assign idle",
        "worker vacate busy",
        "gate leave within, nobody has asked",
        "usage release_role_slot used, the last",
    ] {
        assert!(report.arcs.contains(arc), "{arc}: {:?}", report.arcs);
    }
    refuses_every_change_of(&log);
}

/// A log in which the line of a transition is missing, is there twice, or stands before an earlier one of its word and
/// its process is refused.
fn refuses_every_change_of(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let is_refused = |lines: &[&str]| !check("changed", &lines.join("\n")).faults.is_empty();
    let is_step = |line: &&str| line.contains("DEBUG:  pg_background: ") && line.contains(" -> ");
    // Process and word.
    let whose = |line: &str| {
        let (prefix, text) = line.split_once("DEBUG:  pg_background: ").expect("a step");
        let process = prefix.split(['[', ']']).nth(1).expect("a PID");
        let word = text.split([':', '/']).next().expect("a word");
        format!("{process} {word}")
    };
    let steps: Vec<usize> = (0..lines.len())
        .filter(|&line| is_step(&lines[line]))
        .collect();
    assert!(steps.len() > 60, "{} steps", steps.len());
    let mut exchanged = 0;
    for (number, &step) in steps.iter().enumerate() {
        let line = lines[step];
        let mut doubled = lines.clone();
        doubled.insert(step, line);
        assert!(is_refused(&doubled), "twice: {line}");

        let is_last_of_its_word = || {
            let word = |line: &str| String::from(whose(line).split_once(' ').expect("two").1);
            steps[number + 1..]
                .iter()
                .all(|&later| word(lines[later]) != word(line))
        };
        let mut without = lines.clone();
        without.remove(step);
        assert!(
            is_refused(&without) || is_last_of_its_word(),
            "missing: {line}"
        );

        let later = &steps[number + 1..];
        let text = |line: &str| String::from(line.split_once("DEBUG:").expect("a step").1);
        let next = later
            .iter()
            .find(|&&later| whose(lines[later]) == whose(line))
            .filter(|&&next| text(lines[next]) != text(line));
        if let Some(&next) = next {
            let mut other = lines.clone();
            other.swap(step, next);
            assert!(is_refused(&other), "exchanged: {line} and {}", lines[next]);
            exchanged += 1;
        }
    }
    assert!(exchanged > 30, "{exchanged} exchanges");
}

#[test]
fn debug1_has_what_was_asked_for_and_how_it_ended() {
    let server = Server::start("trace1", &["log_min_messages=debug1"]);
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    nothing_is_left(&mut leader);
    assert_eq!(life(&events(&server), "0/1"), ["is queued", "is completed"]);
}

#[test]
fn a_session_that_wants_to_know_is_told_and_nobody_else() {
    let mut server = Server::start("untraced", &["log_min_messages=warning"]);
    server.log_lacks_lines();
    let mut leader = server.session();
    run(&mut leader, "SELECT 1");
    nothing_is_left(&mut leader);
    assert_eq!(events(&server), Vec::<String>::new());
    // A superuser's session, its jobs included.
    leader
        .batch_execute("SET log_min_messages = debug2")
        .expect("a setting");
    run(&mut leader, "SELECT 1");
    let told = server.log();
    for words in ["is completed", ": free: completed -> free, generation"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
