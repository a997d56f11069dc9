//! Chaos: many sessions do everything at random on one server, while others take away what they use.
//!
//! ```text
//! chaos SECONDS [SEED]     with PGB_TEST_URL and PGB_TEST_LOG, as `ci/server-tests chaos` sets them
//! ```
//!
//! | part | does |
//! |---|---|
//! | [`session`] | one session of many: launches, reads, waits, cancels, detaches, wrong handles, transactions, timeouts |
//! | [`jobs`] | the SQL that is launched, and how it may end |
//! | [`trouble`] | terminates and cancels workers and sessions, changes the configuration, drops databases |
//! | [`ledger`] | which inserts must have happened exactly once, and which never |
//!
//! Each session draws from a generator of its own that is seeded from the run's seed, which is printed: a
//! session does the same things again with the same seed. How the sessions' steps interleave is
//! up to the scheduler, and is not repeated.
//!
//! What must hold: an operation fails only with the SQLSTATEs that it may fail with; a job that was reported
//! as completed has happened once, one that was reported as failed or canceled not at all, any other at
//! most once; the counts of a session's jobs add up; a session that asks for it has one process for each job, and no
//! job finds what another has left in its process; a witness connection is never dropped; in the end nothing is left.
//! A last phase crashes the server, after which jobs must run again.

mod crash;
mod jobs;
mod ledger;
mod session;
mod trouble;

use ledger::Ledger;
use session_tests::{Witness, config, eventually, nothing_is_left};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Sessions at a time: more than there are workers.
const SESSIONS: u64 = 10;

/// What all threads share.
pub struct Run {
    /// The sessions end at this moment.
    end: Instant,
    ledger: Ledger,
    failed: AtomicBool,
    outcomes: Mutex<BTreeMap<(String, String), u64>>,
}

impl Run {
    /// Whether to go on.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.end && !self.failed.load(Ordering::Relaxed)
    }

    /// Counts how an operation ended: "ok", or its SQLSTATE.
    pub fn count(&self, operation: &str, outcome: &str) {
        let mut outcomes = self.outcomes.lock().expect("no thread panicked with it");
        *outcomes
            .entry((operation.to_owned(), outcome.to_owned()))
            .or_default() += 1;
    }

    /// Something that must not happen has happened.
    pub fn fail(&self, what: &str) {
        eprintln!("chaos: {what}");
        self.failed.store(true, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(30);
    let seed = arguments
        .next()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |since| since.as_secs())
        });
    println!("chaos: {seconds} s, {SESSIONS} sessions, seed {seed}");

    trouble::prepare();
    let witness = Witness::new();
    let run = Run {
        end: Instant::now() + Duration::from_secs(seconds),
        ledger: Ledger::default(),
        failed: AtomicBool::new(false),
        outcomes: Mutex::new(BTreeMap::new()),
    };
    let steps: u64 = std::thread::scope(|scope| {
        let run = &run;
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|number| scope.spawn(move || session::drive(run, seed, number)))
            .collect();
        scope.spawn(move || trouble::make(run, seed));
        sessions
            .into_iter()
            .map(|session| {
                session.join().unwrap_or_else(|_| {
                    run.fail("a session's thread panicked");
                    0
                })
            })
            .sum()
    });
    trouble::calm();
    let mut client = connect();
    nothing_is_left(&mut client);
    eventually(
        &mut client,
        "(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_background')",
    );
    eventually(
        &mut client,
        "(SELECT count(*) = 0 FROM pg_ls_dir('base/pgsql_tmp', true, false))",
    );
    let checked = run.ledger.check(&run, &mut client);
    witness.check();
    drop(client);
    crash::crash_and_go_on();

    for ((operation, outcome), count) in &*run.outcomes.lock().expect("no thread panicked with it")
    {
        println!("chaos: {operation}: {outcome} {count}");
    }
    let failed = run.failed.load(Ordering::Relaxed);
    println!("chaos: {steps} steps, {checked} inserts accounted for, seed {seed}");
    println!(
        "chaos: {} passed, {} failed",
        u32::from(!failed),
        u32::from(failed)
    );
    ExitCode::from(u8::from(failed))
}

/// A session of the superuser in the database that stays.
pub fn connect() -> postgres::Client {
    config()
        .application_name("chaos checker")
        .connect(postgres::NoTls)
        .expect("the server accepts the connection")
}
