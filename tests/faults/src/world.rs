//! The server, the roles, the ledger, and the observers.

use crate::Point;
use crate::occasion::{Occasion, Scene};
use crate::story::Story;
use postgres::Client;
use session_tests::{LONG, NOTHING_IS_LEFT, Server, eventually, pause, run, value};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// The role of the sessions that faults happen to.
pub const LEADER: &str = "leader";
/// The role of the session that must go on.
const BYSTANDER: &str = "bystander";
/// A role that may not log in any more.
pub const REFUSED: &str = "refused";

/// As few as there can be: a full table is one of the occasions.
pub const SLOTS: usize = 16;

/// A server, and the observers.
pub struct World {
    server: Server,
    /// Arms and lifts faults, which never happen to this session.
    control: Client,
    /// Works all the time, in another lane.
    bystander: Client,
    /// Does nothing, so that it must never lose its connection.
    witness: Client,
    started: String,
    segments: Option<i64>,
}

static NEXT: AtomicI32 = AtomicI32::new(1);

/// A number for a job, to be found in the ledger.
pub fn number() -> i32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const STARTED: &str = "SELECT pg_postmaster_start_time()::text";

/// The server's own segments too: each is a file, whichever process made it.
const SEGMENTS: &str = "SELECT count(*) FROM pg_ls_dir('pg_dynshmem')";

const ALL_WORKERS_REST: &str =
    "(SELECT workers_busy = 0 AND workers_starting = 0 FROM pg_background_resources())";

const PREPARE: &str = "
    CREATE TABLE ledger (number int4);
    CREATE FUNCTION pgb_fault_points() RETURNS text LANGUAGE c STRICT
        AS '$libdir/pg_background', 'pgb_fault_points';
    CREATE FUNCTION pgb_fault_arm(text, text, text, int4) RETURNS void LANGUAGE c STRICT
        AS '$libdir/pg_background', 'pgb_fault_arm';
    CREATE FUNCTION pgb_fault_lift(text) RETURNS void LANGUAGE c STRICT
        AS '$libdir/pg_background', 'pgb_fault_lift';
    CREATE FUNCTION pgb_fault_state(text) RETURNS text LANGUAGE c STRICT
        AS '$libdir/pg_background', 'pgb_fault_state';";

impl World {
    /// A new server.
    pub fn new() -> Self {
        let server = Server::start(
            "faults",
            &[
                &format!("pg_background.max_jobs={SLOTS}"),
                // The table is to be full, not a role at its limit.
                &format!("pg_background.role_max_jobs={SLOTS}"),
                // Segments are files in the server's directory, and can be counted.
                "dynamic_shared_memory_type=mmap",
                "max_connections=30",
                // The transitions are checked at the end.
                "log_min_messages=debug2",
            ],
        );
        let mut control = server.session();
        control.batch_execute(PREPARE).expect("the world is made");
        for role in [LEADER, BYSTANDER, REFUSED] {
            server.role(role);
            control
                .batch_execute(&format!("GRANT ALL ON ledger TO {role}"))
                .expect("granted");
        }
        control
            .batch_execute(&format!("GRANT pg_signal_backend TO {LEADER}"))
            .expect("granted");
        let mut witness = server.session();
        let started = value(&mut witness, STARTED);
        Self {
            control,
            bystander: server.session_as(BYSTANDER),
            witness,
            started,
            segments: None,
            server,
        }
    }

    /// The library's list.
    pub fn points(&mut self) -> Vec<Point> {
        let lines: String = value(&mut self.control, "SELECT pgb_fault_points()");
        let list = |text: &str| text.split(',').map(String::from).collect();
        lines
            .lines()
            .map(|line| {
                let [name, side, section, faults, occasions] = line
                    .split(' ')
                    .collect::<Vec<_>>()
                    .try_into()
                    .expect("five words");
                Point {
                    name: String::from(name),
                    side: String::from(side),
                    section: String::from(section),
                    faults: list(faults),
                    occasions: list(occasions),
                }
            })
            .collect()
    }

    /// What an occasion needs. Its sessions are new.
    pub fn scene(&self, occasion: &Occasion) -> Scene {
        let client = self.server.session_as(occasion.role);
        let helper = self.server.session();
        Scene::new(client, helper)
    }

    /// Waits until no worker is left: the next job needs a new process.
    pub fn all_workers_leave(&mut self) {
        eventually(&mut self.control, ALL_WORKERS_REST);
        self.control
            .batch_execute("SELECT pg_background_retire_idle()")
            .expect("sent home");
        eventually(
            &mut self.control,
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_background')",
        );
    }

    /// The faults make it lose lines of its log.
    pub fn log_lacks_lines(&mut self) {
        self.server.log_lacks_lines();
    }

    pub fn arm(&mut self, point: &Point, fault: &str, passing: i32) {
        self.control
            .execute(
                "SELECT pgb_fault_arm($1, $2, $3, $4)",
                &[&point.name, &point.side, &fault, &passing],
            )
            .expect("armed");
    }

    fn state(&mut self, point: &Point) -> String {
        self.control
            .query_one("SELECT pgb_fault_state($1)", &[&point.name])
            .expect("the state is known")
            .get(0)
    }

    /// The process that stalls.
    ///
    /// # Panics
    /// When none does.
    pub fn await_stall(&mut self, point: &Point) -> i32 {
        let start = Instant::now();
        loop {
            let state = self.state(point);
            if let Some(pid) = state.strip_prefix("stalled ") {
                return pid.parse().expect("a pid");
            }
            assert!(start.elapsed() < LONG, "nobody passes the point: {state}");
            pause(Duration::from_millis(2));
        }
    }

    /// # Panics
    /// When the fault has not happened.
    pub fn assert_passed(&mut self, point: &Point) {
        let start = Instant::now();
        // A process that exits passes its points after its session is closed.
        while self.state(point) == "armed" {
            assert!(start.elapsed() < LONG, "nobody has passed the point");
            pause(Duration::from_millis(2));
        }
        self.lift(point);
    }

    pub fn lift(&mut self, point: &Point) {
        self.control
            .execute("SELECT pgb_fault_lift($1)", &[&point.name])
            .expect("lifted");
    }

    pub fn signal(&mut self, function: &str, pid: i32) {
        self.control
            .execute(&format!("SELECT {function}($1)"), &[&pid])
            .expect("signaled");
    }

    /// Until a process that was canceled does not sleep any more.
    pub fn await_end_of_stall(&mut self, pid: i32) {
        // It may sleep again at once, for something else: then this gives up, and the stall is lifted later.
        let start = Instant::now();
        let query = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'Extension'"
        );
        while start.elapsed() < Duration::from_millis(50)
            && value::<i64>(&mut self.control, &query) > 0
        {
            pause(Duration::from_millis(2));
        }
    }

    pub fn await_end_of_process(&mut self, pid: i32) {
        eventually(
            &mut self.control,
            &format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})"),
        );
    }

    /// # Panics
    /// When they do not.
    pub fn others_go_on(&mut self) {
        assert_eq!(
            run(&mut self.bystander, "SELECT 'on'").as_deref(),
            Some("on")
        );
    }

    /// How many segments there are, for comparison.
    pub fn note_segments(&mut self) {
        self.segments = Some(value(&mut self.control, SEGMENTS));
    }

    /// # Panics
    /// When something does not hold.
    pub fn check(&mut self, story: &Story, all_accepted_run: bool) {
        self.others_go_on();
        let mut fresh = self.server.session_as(LEADER);
        assert_eq!(run(&mut fresh, "SELECT 'next'").as_deref(), Some("next"));
        drop(fresh);
        eventually(&mut self.control, NOTHING_IS_LEFT);
        eventually(&mut self.control, ALL_WORKERS_REST);
        eventually(
            &mut self.control,
            "(SELECT workers_idle FROM pg_background_resources())
                = (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background')",
        );
        eventually(
            &mut self.control,
            "NOT EXISTS (SELECT FROM pg_ls_dir('base/pgsql_tmp', true, false))",
        );
        if let Some(segments) = self.segments {
            eventually(&mut self.control, &format!("({SEGMENTS}) = {segments}"));
        }
        story.check(&mut self.control, all_accepted_run);
        self.control
            .batch_execute("TRUNCATE ledger")
            .expect("truncated");
        let started: String = value(&mut self.witness, STARTED);
        assert_eq!(started, self.started, "the server was restarted");
    }
}

/// An error would leave half-changed lists to all processes.
///
/// # Panics
/// When the server goes on, or does not come back.
pub fn an_assertion_that_fails_under_the_lock_restarts_the_server() {
    let mut server = Server::start("under-lock", &[]);
    server.may_crash();
    let (mut client, mut witness) = (server.session(), server.session());
    run(&mut client, "SELECT 1");
    client
        .batch_execute(
            "CREATE FUNCTION pgb_fault_under_lock() RETURNS void LANGUAGE c STRICT
                AS '$libdir/pg_background', 'pgb_fault_under_lock'",
        )
        .expect("declared");
    let result = client.batch_execute("SELECT pgb_fault_under_lock()");
    assert!(result.is_err());
    let log = server.log();
    assert!(
        log.contains("PANIC:  lists of background jobs are corrupted")
            && log.contains("an assertion fails on purpose"),
        "{log}"
    );
    let start = Instant::now();
    while witness.batch_execute("SELECT 1").is_ok() {
        assert!(start.elapsed() < LONG, "the server goes on");
        pause(Duration::from_millis(10));
    }
    assert_eq!(
        run(&mut server.session(), "SELECT 'on'").as_deref(),
        Some("on")
    );
}
