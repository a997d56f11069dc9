//! A server on which one of four roles does its worst.
//!
//! | part | does |
//! |---|---|
//! | [`attacks`] | what the culprit does, in many sessions and in two databases |
//! | [`others`] | the three other roles' jobs, and what the server and its administrator do meanwhile |
//! | [`watch`] | looks whether the limits hold |
//! | [`segments`] | the server's shared memory segments, as the operating system has them |
//!
//! `PGB_WORST_SECONDS` says for how long; `ci/server-tests worst` takes minutes.
//!
//! What must hold: the others' jobs start within a second and never fail; the server finds workers for its own queries
//! and autovacuum goes on; the culprit has no more than its limits and gains no rights; an administrator ends what it
//! has left running with three functions, while its sessions are still there; and afterwards nothing is left.

mod attacks;
mod others;
mod segments;
mod watch;

use postgres::Client;
use postgres::error::SqlState;
use segments::Segments;
use session_tests::{LONG, NOTHING_IS_LEFT, Server, eventually, pause, value};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use watch::Seen;

/// The role that does its worst.
const CULPRIT: &str = "worst";
/// The roles that want to work.
const OTHERS: [&str; 3] = ["good_one", "good_two", "good_three"];
/// The culprit may connect to both, and has a lane in each; the others use the first.
const DATABASES: [&str; 2] = ["postgres", "other"];

/// Workers of the extension: three quarters of the server's 16.
const POOL: i64 = 12;
/// Workers of a lane. Six lanes are busy: the culprit's two, the others' three, the administrator's. So each lane finds
/// its workers whatever the other lanes have: the pool's size divided by the number of lanes.
const LANE_WORKERS: i64 = 2;
/// Bytes of a role's files.
const DISK: i64 = 64 << 20;

/// What all threads share.
pub struct Run {
    server: Server,
    end: Instant,
    failures: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<(&'static str, String), u64>>,
    over: AtomicBool,
}

impl Run {
    /// Whether to go on.
    fn goes_on(&self) -> bool {
        Instant::now() < self.end && !self.over.load(Ordering::Relaxed)
    }

    /// Something that must not happen has happened.
    fn fail(&self, what: String) {
        eprintln!("worst: {what}");
        self.failures.lock().expect("not poisoned").push(what);
        self.over.store(true, Ordering::Relaxed);
    }

    fn count(&self, what: &'static str, outcome: &str) {
        let mut counts = self.counts.lock().expect("not poisoned");
        *counts.entry((what, outcome.to_owned())).or_default() += 1;
    }

    /// Counts how a call ended: "ok", or its SQLSTATE.
    fn note<T>(&self, what: &'static str, result: Result<T, postgres::Error>) -> Option<T> {
        match result {
            Ok(value) => {
                self.count(what, "ok");
                Some(value)
            }
            Err(error) => {
                let code = error.code().map_or("none", |code| code.code());
                self.count(what, code);
                // An internal error, data that are damaged, a server that restarts, a connection that is gone.
                if code.starts_with("XX") || code == "57P02" || code == "none" {
                    self.fail(format!("{what}: {error:?}"));
                }
                None
            }
        }
    }
}

fn seconds() -> u64 {
    let seconds = std::env::var("PGB_WORST_SECONDS").ok();
    seconds.map_or(20, |seconds| seconds.parse().expect("a number of seconds"))
}

fn start() -> Server {
    let lane_workers = format!("pg_background.lane_max_workers={LANE_WORKERS}");
    let disk = format!("pg_background.role_max_disk={}kB", DISK >> 10);
    Server::start(
        "worst",
        &[
            "max_worker_processes=16",
            "max_connections=60",
            "autovacuum_naptime=1s",
            // Errors are the culprit's business, crashes are not.
            "log_min_messages=log",
            // A worker that is terminated would log its text, however long.
            "log_min_error_statement=panic",
            &lane_workers,
            &disk,
        ],
    )
}

fn furnish(server: &Server) {
    let mut admin = server.session();
    for role in OTHERS {
        server.role(role);
    }
    server.role(CULPRIT);
    admin
        .batch_execute(&format!("ALTER ROLE {CULPRIT} CONNECTION LIMIT 25"))
        .expect("a limit of the server's own");
    admin.batch_execute("CREATE DATABASE other").expect("made");
    others::furnish(&mut admin);
    for database in DATABASES {
        let mut admin = session(server, database, "postgres");
        admin
            .batch_execute(&format!(
                "CREATE EXTENSION IF NOT EXISTS pg_background;
                 CREATE SCHEMA {CULPRIT} AUTHORIZATION {CULPRIT}"
            ))
            .expect("furnished");
        attacks::furnish(&mut session(server, database, CULPRIT));
    }
}

fn session(server: &Server, database: &str, role: &str) -> Client {
    let mut config = server.config().clone();
    config.dbname(database).user(role);
    config
        .connect(postgres::NoTls)
        .expect("the server accepts the connection")
}

/// Of the culprit's jobs of all databases, one of the columns of `pg_background_resources_by_role()`.
fn culprits(column: &str) -> String {
    format!(
        "(SELECT coalesce(sum({column}), 0)::int8 FROM pg_background_resources_by_role() WHERE login_role = '{CULPRIT}')"
    )
}

const ACTIVE: &str = "jobs_queued + jobs_held_back + jobs_running";

/// An administrator ends all jobs of the culprit.
fn cancel_role(admin: &mut Client) -> i32 {
    value(
        admin,
        &format!("SELECT pg_background_cancel_role('{CULPRIT}')"),
    )
}

/// Waits until the culprit may launch again: its jobs that the administrator has canceled may still be ending.
fn eventually_launches(holder: &mut Client) {
    let begun = Instant::now();
    while let Err(error) = holder.batch_execute("SELECT pg_background_run('SELECT 1')") {
        assert_eq!(
            error.code(),
            Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE),
            "{error:?}"
        );
        assert!(begun.elapsed() < LONG, "the culprit is refused for ever");
        pause(Duration::from_millis(10));
    }
}

/// Sleeping jobs occupy all workers that the culprit can have. The others' workers have exited, and start all the same.
fn others_start_beside_sleepers(run: &Run, admin: &mut Client, holders: &mut [Client]) {
    // What the attacks have left may occupy the culprit's workers for longer than a launch waits.
    cancel_role(admin);
    for holder in holders {
        eventually_launches(holder);
        holder
            .batch_execute(
                "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000;
                 SELECT pg_background_submit_v2('SELECT pg_sleep(100)') FROM generate_series(1, 100)",
            )
            .expect("sleepers");
    }
    eventually(
        admin,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background' AND usename LIKE 'good%')",
    );
    for role in OTHERS {
        let start: f64 = value(
            &mut session(&run.server, "postgres", role),
            "SELECT start_ms()",
        );
        println!("worst: {role}: beside sleepers a job started after {start:.1} ms");
        assert!(start < others::START_MS, "{role}: {start} ms");
    }
    cancel_role(admin);
}

/// The attackers have left chains of jobs that launch themselves again, and sessions that hold results. An
/// administrator ends them.
fn stop(run: &Run) {
    let server = &run.server;
    let mut holders: Vec<Client> = DATABASES
        .map(|database| session(server, database, CULPRIT))
        .into();
    let mut admin = server.session();
    others_start_beside_sleepers(run, &mut admin, &mut holders);
    for (number, holder) in holders.iter_mut().enumerate() {
        attacks::leave_running(holder, number == 0);
    }
    eventually(&mut admin, &format!("{} > 100", culprits(ACTIVE)));
    eventually(&mut admin, &format!("{} > 20", culprits("jobs_finished")));
    eventually(&mut admin, &format!("{} > 1000000", culprits("file_bytes")));
    let before: i64 = value(&mut admin, "SELECT last_value FROM worst.jobs");
    eventually(
        &mut admin,
        &format!("(SELECT last_value > {before} FROM worst.jobs)"),
    );

    let begun = Instant::now();
    let canceled = cancel_role(&mut admin);
    let took = begun.elapsed();
    eventually(&mut admin, &format!("{} = 0", culprits(ACTIVE)));
    let ended = begun.elapsed();
    println!("worst: cancel_role ended {canceled} in {took:?}, the last was gone after {ended:?}");
    assert!(
        ended < Duration::from_secs(10),
        "the culprit's jobs do not end"
    );
    let purged: i32 = value(
        &mut admin,
        &format!("SELECT pg_background_purge_role('{CULPRIT}')"),
    );
    println!("worst: purge_role released {purged}");
    assert!(canceled > 100 && purged > 20);
    // With the culprit's sessions still there.
    eventually(&mut admin, NOTHING_IS_LEFT);
    let stopped: i64 = value(&mut admin, "SELECT last_value FROM worst.jobs");
    // The culprit may go on, within its limits.
    for holder in &mut holders {
        let again: i32 = value(
            holder,
            "SELECT r FROM pg_background_run_query('SELECT 1') AS (r int)",
        );
        assert_eq!(again, 1);
    }
    let after: i64 = value(&mut admin, "SELECT last_value FROM worst.jobs");
    assert_eq!(stopped, after, "a chain goes on");
}

/// A chain that a function of the culprit starts in a superuser's session is the superuser's login role's.
fn stop_what_a_superuser_was_made_to_start(run: &Run) {
    let mut admin = run.server.session();
    let mut visitor = run.server.session();
    visitor
        .batch_execute("SELECT worst.trap_chain()")
        .expect("a function of the culprit's");
    drop(visitor);
    let chain = "EXISTS (SELECT FROM pg_background_resources_by_role() WHERE login_role = 'postgres' AND user_name = 'worst')";
    eventually(&mut admin, chain);
    let _: i32 = value(&mut admin, "SELECT pg_background_cancel_role('postgres')");
    eventually(&mut admin, &format!("NOT {chain}"));
}

fn nothing_is_left(run: &Run, before: &Segments) {
    let mut admin = run.server.session();
    eventually(&mut admin, NOTHING_IS_LEFT);
    eventually(
        &mut admin,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background')",
    );
    eventually(
        &mut admin,
        "NOT EXISTS (SELECT FROM pg_ls_dir('base/pgsql_tmp', true, false))",
    );
    let after = Segments::look(&mut admin);
    println!("worst: segments before {before:?}, after {after:?}");
    // What the area has grown to is the extension's, and nothing else.
    assert_eq!(
        after.bytes - before.bytes,
        after.allocated - before.allocated,
        "shared memory that nobody knows of"
    );
    let unused: bool = value(
        &mut admin,
        "SELECT memory_allocated <= memory_limit FROM pg_background_resources()",
    );
    assert!(unused);
}

#[test]
fn a_role_that_does_its_worst_does_no_harm_to_others() {
    let server = start();
    furnish(&server);
    let mut admin = server.session();
    // Makes what the extension has for good.
    let _: i32 = value(
        &mut admin,
        "SELECT r FROM pg_background_run_query('SELECT 1') AS (r int)",
    );
    eventually(&mut admin, NOTHING_IS_LEFT);
    let before = Segments::look(&mut admin);
    let rights = others::rights(&mut admin);
    let started: String = value(&mut admin, "SELECT pg_postmaster_start_time()::text");
    let run = Run {
        server,
        end: Instant::now() + Duration::from_secs(seconds()),
        failures: Mutex::default(),
        counts: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let (starts, seen) = std::thread::scope(|scope| {
        let run = &run;
        let starts: Vec<_> = OTHERS
            .iter()
            .map(|role| scope.spawn(move || others::work(run, role)))
            .collect();
        let watch = scope.spawn(move || watch::watch(run));
        scope.spawn(move || others::serve(run));
        scope.spawn(move || others::administrate(run));
        for number in 0..attacks::SESSIONS {
            scope.spawn(move || attacks::attack(run, number));
        }
        scope.spawn(move || attacks::end_own_workers(run));
        scope.spawn(move || attacks::come_and_go(run));
        let starts: Vec<_> = starts
            .into_iter()
            .map(|role| role.join().expect("its thread ends"))
            .collect();
        (starts, watch.join().expect("its thread ends"))
    });
    report(&run, &starts, &seen);
    let failures = run.failures.lock().expect("not poisoned").join("\n");
    assert!(failures.is_empty(), "{failures}");

    stop(&run);
    stop_what_a_superuser_was_made_to_start(&run);
    nothing_is_left(&run, &before);
    assert_eq!(
        others::rights(&mut admin),
        rights,
        "the culprit has gained rights"
    );
    let now: String = value(&mut admin, "SELECT pg_postmaster_start_time()::text");
    assert_eq!(now, started, "no session was dropped, no restart");
}

fn report(run: &Run, starts: &[Vec<f64>], seen: &Seen) {
    for ((what, outcome), count) in &*run.counts.lock().expect("not poisoned") {
        println!("worst: {what}: {outcome} {count}");
    }
    for (role, times) in OTHERS.iter().zip(starts) {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize);
        println!(
            "worst: {role}: {} jobs, start p50 {:.1?} ms, p99 {:.1?} ms, worst {:.1?} ms",
            times.len(),
            at(0.5).unwrap_or(&0.0),
            at(0.99).unwrap_or(&0.0),
            at(1.0).unwrap_or(&0.0)
        );
    }
    println!("worst: {seen:?}");
}
