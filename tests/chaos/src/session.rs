//! One session of many.

mod many;

use crate::Run;
use crate::jobs::{self, Kind};
use crate::ledger::Fate;
use crate::trouble::{ROLES, VOLATILE};
use postgres::{Client, NoTls};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use session_tests::{Handle, config, pause};
use std::collections::HashSet;
use std::time::Duration;

/// How the trouble may affect any statement: the statement was canceled, the session or the worker
/// terminated, the database dropped, the role's login revoked, launches disabled.
const TROUBLE: &[&str] = &[
    "57014", "57P01", "08006", "3D000", "28000", "42501", "53300",
];
/// The errors of a database that is not set up yet.
const UNFURNISHED: &[&str] = &["42883", "42P01", "42704", "3F000", "42846"];
/// The errors of a launch.
const LAUNCH: &[&str] = &["53000", "53200", "53400", "55000"];

struct Job {
    handle: Handle,
    kind: Kind,
    by_pid: bool,
    submitted: bool,
    canceled: bool,
    /// Launched to have a process of its own.
    alone: bool,
}

/// How a step ended.
enum Step {
    /// As expected.
    Done,
    /// The session is gone.
    Disconnected,
    /// With an error that must not happen.
    Wrong(String),
}

struct Session<'a> {
    run: &'a Run,
    rng: SmallRng,
    client: Client,
    jobs: Vec<Job>,
    in_volatile: bool,
    /// `Some`: each job has a process of its own. Those of the jobs so far.
    own_processes: Option<HashSet<i32>>,
}

/// Drives sessions one after the other until the run ends. Returns how many steps were made.
pub fn drive(run: &Run, seed: u64, number: u64) -> u64 {
    let mut rng = SmallRng::seed_from_u64(seed.wrapping_mul(1000) + number);
    let mut steps = 0;
    while run.goes_on() {
        let role = *[ROLES[0], ROLES[1], "postgres"]
            .choose(&mut rng)
            .expect("there are some");
        let in_volatile = rng.random_range(0..4) == 0;
        let mut wanted = config();
        wanted.user(role).application_name("chaos");
        if in_volatile {
            wanted.dbname(VOLATILE);
        }
        let Ok(client) = wanted.connect(NoTls) else {
            // The database is being dropped, or the role may not log in for the moment.
            pause(Duration::from_millis(10));
            continue;
        };
        let mut session = Session {
            run,
            rng: SmallRng::seed_from_u64(rng.random()),
            client,
            jobs: Vec::new(),
            in_volatile,
            own_processes: None,
        };
        for _ in 0..session.rng.random_range(5..200) {
            if !run.goes_on() {
                break;
            }
            steps += 1;
            match session.step() {
                Step::Done => {}
                Step::Disconnected => break,
                Step::Wrong(what) => {
                    run.fail(&format!("session {number}, step {steps}: {what}"));
                    break;
                }
            }
        }
    }
    steps
}

impl Session<'_> {
    fn step(&mut self) -> Step {
        match self.rng.random_range(0..31) {
            0..8 => self.launch(),
            8..12 => self.read(),
            12 => self.wait(),
            13 | 14 => self.cancel(),
            15 => self.detach(),
            16 => self.look(),
            17 | 18 => self.misuse(),
            19 => self.configure(),
            20 => self.transaction(),
            21 | 22 => self.read_some(),
            23 | 24 => self.fan_out(),
            25 | 26 => self.many(),
            27 => self.run_one(),
            28 => self.flood(),
            29 => self.reuse(),
            _ => self.hurried(),
        }
    }

    /// How a statement ended: `allowed` are the SQLSTATEs with which it may fail.
    fn judge<T>(&self, what: &str, result: Result<T, postgres::Error>, allowed: &[&str]) -> Step {
        let operation = what.split(' ').next().unwrap_or(what);
        let Err(error) = result else {
            self.run.count(operation, "ok");
            return Step::Done;
        };
        let Some(code) = error.code().map(|code| code.code().to_owned()) else {
            self.run.count(operation, "disconnected");
            return Step::Disconnected;
        };
        self.run.count(operation, &code);
        let fatal = error
            .as_db_error()
            .is_some_and(|error| error.severity() == "FATAL");
        let unfurnished = self.in_volatile && UNFURNISHED.contains(&code.as_str());
        if !unfurnished && !TROUBLE.contains(&code.as_str()) && !allowed.contains(&code.as_str()) {
            return Step::Wrong(format!("{what}: {error:?}"));
        }
        if fatal || self.client.is_closed() {
            Step::Disconnected
        } else {
            Step::Done
        }
    }

    fn launch(&mut self) -> Step {
        let entry = self.run.ledger.number();
        let mut kind = jobs::draw(&mut self.rng, entry);
        // The table of the volatile database goes with it.
        if self.in_volatile {
            kind.entry = None;
        }
        let queue_size = if self.rng.random_range(0..4) == 0 {
            4096
        } else {
            0
        };
        let version = self.rng.random_range(0..12);
        let (by_pid, submitted) = (matches!(version, 0 | 6), matches!(version, 1 | 2));
        let sql = match version {
            0 | 6 => "SELECT pg_background_launch($1, $2), 0::int8",
            1 => "SELECT pid, cookie FROM pg_background_submit_v2($1, $2)",
            2 => {
                "SELECT pid, cookie FROM pg_background_submit_params($1, $2::int4, row(1, 'x'), NULL::text)"
            }
            3 => {
                "SELECT pid, cookie FROM pg_background_launch_params($1, $2::int4, ARRAY[row(1, 'x')])"
            }
            4 | 5 => {
                "SELECT pid, cookie FROM pg_background_launch($1, $2::int4, 'label ' || $2::int4::text)"
            }
            _ => "SELECT pid, cookie FROM pg_background_launch_v2($1, $2)",
        };
        match self.client.query_one(sql, &[&kind.sql, &queue_size]) {
            Ok(row) => {
                if let Some(entry) = kind.entry {
                    self.run.ledger.note(entry, Fate::Unknown);
                }
                let handle = Handle {
                    pid: row.get(0),
                    cookie: row.get(1),
                };
                self.jobs.push(Job {
                    handle,
                    kind,
                    by_pid,
                    submitted,
                    canceled: false,
                    alone: self.own_processes.is_some(),
                });
                self.run.count("launch", "ok");
                Step::Done
            }
            // Whether the job was accepted before the session was interrupted is not known: it is not noted.
            failed => self.judge("launch", failed, LAUNCH),
        }
    }

    fn any(&mut self) -> Option<usize> {
        (!self.jobs.is_empty()).then(|| self.rng.random_range(0..self.jobs.len()))
    }

    fn read(&mut self) -> Step {
        let Some(index) = self.any() else {
            return Step::Done;
        };
        let endless = self.jobs[index].kind.sql.contains("pg_sleep(2)");
        if endless && !self.jobs[index].canceled {
            return self.cancel_job(index);
        }
        let job = self.jobs.swap_remove(index);
        let Handle { pid, cookie } = job.handle;
        let sql = match self.rng.random_range(0..6) {
            _ if job.by_pid => format!("SELECT t FROM pg_background_result({pid}) AS (t text)"),
            0 => format!("SELECT pg_background_result_json({pid}, {cookie})::text"),
            1 => format!("SELECT j::text FROM pg_background_result_json({pid}, {cookie}) j"),
            2 => format!("SELECT pg_background_result({pid}, {cookie}, NULL::text)"),
            _ => format!("SELECT t FROM pg_background_result_v2({pid}, {cookie}) AS (t text)"),
        };
        let result = self.client.query(sql.as_str(), &[]);
        if job.submitted {
            return match self.judge("result of a submitted job", result, &["0A000"]) {
                Step::Done => self.forget(&job),
                other => other,
            };
        }
        if let Some(entry) = job.kind.entry {
            let fate = match &result {
                Ok(_) => Fate::Committed,
                // Its own error or its cancel, raised with the worker's line of context.
                Err(error) if is_the_jobs(error) => Fate::Aborted,
                Err(_) => Fate::Unknown,
            };
            self.run.ledger.note(entry, fate);
        }
        // One that failed may have the pid of a process that could not connect, and so failed others as well.
        if result.is_ok()
            && job.alone
            && pid != 0
            && let Some(processes) = &mut self.own_processes
            && !processes.insert(pid)
        {
            return Step::Wrong(format!("a second job in process {pid}"));
        }
        // A read that was interrupted before its first row leaves the job.
        let interrupted = result.as_ref().is_err_and(|error| !is_the_jobs(error));
        let allowed = [
            job.kind.errors,
            &["42P09", "40P01", "53000", "53400", "55000", "25P02"],
        ]
        .concat();
        match self.judge(&format!("result of {}", job.kind.sql), result, &allowed) {
            Step::Done if interrupted => self.forget(&job),
            other => other,
        }
    }

    fn forget(&mut self, job: &Job) -> Step {
        let Handle { pid, cookie } = job.handle;
        // A read that was interrupted may have detached the job. Then the pid alone names another job that this
        // session has on the same process, or that was queued and got that process.
        let means_another = |other: &Job| other.handle.pid == pid || other.handle.pid == 0;
        if job.by_pid && self.jobs.iter().any(means_another) {
            return Step::Done;
        }
        let sql = if job.by_pid {
            format!("SELECT pg_background_detach({pid})")
        } else {
            format!("SELECT pg_background_detach_v2({pid}, {cookie})")
        };
        let result = self.client.batch_execute(&sql);
        self.judge("detach", result, &["42704", "42P09", "25P02", "55000"])
    }

    fn wait(&mut self) -> Step {
        let Some(index) = self.any().filter(|&index| !self.jobs[index].by_pid) else {
            return Step::Done;
        };
        let Handle { pid, cookie } = self.jobs[index].handle;
        let limit = self.rng.random_range(-5..80);
        let result = self.client.batch_execute(&format!(
            "SELECT pg_background_wait_v2_timeout({pid}, {cookie}, {limit})"
        ));
        self.judge("wait", result, &["40P01"])
    }

    fn cancel(&mut self) -> Step {
        match self.any() {
            Some(index) => self.cancel_job(index),
            None => Step::Done,
        }
    }

    fn cancel_job(&mut self, index: usize) -> Step {
        if self.jobs[index].by_pid {
            let job = self.jobs.swap_remove(index);
            return self.forget(&job);
        }
        self.jobs[index].canceled = true;
        let Handle { pid, cookie } = self.jobs[index].handle;
        let sql = if self.rng.random_range(0..3) == 0 {
            let grace = self.rng.random_range(-1..40);
            format!("SELECT pg_background_cancel_v2_grace({pid}, {cookie}, {grace})")
        } else {
            format!("SELECT pg_background_cancel_v2({pid}, {cookie})")
        };
        let result = self.client.batch_execute(&sql);
        self.judge("cancel", result, &["40P01"])
    }

    fn detach(&mut self) -> Step {
        let Some(index) = self.any() else {
            return Step::Done;
        };
        if self.jobs[index].kind.sql.contains("pg_sleep(2)") && !self.jobs[index].canceled {
            return self.cancel_job(index);
        }
        let job = self.jobs.swap_remove(index);
        self.forget(&job)
    }

    fn look(&mut self) -> Step {
        let result = self.client.batch_execute(
            "SELECT count(*) FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
                 user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool);
             SELECT * FROM pg_background_resources()",
        );
        match self.judge("look", result, &[]) {
            Step::Done => self.statistics(),
            other => other,
        }
    }

    fn statistics(&mut self) -> Step {
        let result = self.client.query_one(
            "SELECT workers_launched = workers_completed + workers_failed + workers_canceled + workers_active
                AND workers_active >= 0, s::text FROM pg_background_stats_v2() s",
            &[],
        );
        if let Ok(row) = &result
            && !row.get::<_, bool>(0)
        {
            return Step::Wrong(format!("statistics: {}", row.get::<_, &str>(1)));
        }
        self.judge("statistics", result, &[])
    }

    /// Many jobs for few slots: launches that wait for one, give up or are served, and all slots are free at once.
    fn flood(&mut self) -> Step {
        let mode = ["wait", "queue", "error"]
            .choose(&mut self.rng)
            .expect("there are some");
        let limit = self.rng.random_range(0..30);
        let result = self.client.batch_execute(&format!(
            "SET pg_background.on_exhaustion = {mode}; SET pg_background.launch_timeout = {limit};
             SET pg_background.max_workers = 100"
        ));
        let mut step = self.judge("flood", result, &[]);
        for _ in 0..self.rng.random_range(5..40) {
            if !matches!(step, Step::Done) {
                return step;
            }
            let entry = self.run.ledger.number();
            let job = format!("INSERT INTO ledger VALUES ({entry})");
            let sql = "SELECT (pg_background_submit_v2($1)).cookie";
            let result = self.client.execute(sql, &[&job]);
            if result.is_ok() && !self.in_volatile {
                self.run.ledger.note(entry, Fate::Unknown);
            }
            step = self.judge("submit", result, LAUNCH);
        }
        if !matches!(step, Step::Done) {
            return step;
        }
        for job in std::mem::take(&mut self.jobs) {
            if let Some(entry) = job.kind.entry {
                self.run.ledger.note(entry, Fate::Unknown);
            }
        }
        let result = self.client.batch_execute(
            "SELECT pg_background_detach_all();
             RESET pg_background.on_exhaustion; RESET pg_background.launch_timeout; RESET pg_background.max_workers",
        );
        match self.judge("detach_all", result, &[]) {
            Step::Done => self.statistics(),
            other => other,
        }
    }

    /// From now on each job has a process of its own, or not.
    fn reuse(&mut self) -> Step {
        let on = self.own_processes.is_some() || self.rng.random_range(0..3) > 0;
        self.own_processes = (!on).then(HashSet::new);
        let result = self
            .client
            .batch_execute(&format!("SET pg_background.worker_reuse = {on}"));
        self.judge("reuse", result, &[])
    }

    /// Handles that name no job, and wrong arguments.
    fn misuse(&mut self) -> Step {
        let Some(index) = self.any() else {
            let result = self
                .client
                .batch_execute("SELECT pg_background_detach_v2(1, 1)");
            return self.judge("detach of nothing", result, &["42704"]);
        };
        let Handle { pid, cookie } = self.jobs[index].handle;
        let forged = cookie ^ (1 << self.rng.random_range(0..63));
        let (sql, allowed): (_, &[&str]) = match self.rng.random_range(0..5) {
            0 => (
                format!("SELECT pg_background_detach_v2({pid}, {forged})"),
                &["42704", "55000"],
            ),
            1 => (
                format!("SELECT pg_background_cancel_v2({pid}, {forged})"),
                &["42704", "55000"],
            ),
            2 => (
                format!("SELECT * FROM pg_background_result_v2({pid}, {forged}) AS (t text)"),
                &["42704"],
            ),
            3 => (
                String::from("SELECT pg_background_launch_v2('SELECT 1', 5)"),
                &["22023", "55000", "53400"],
            ),
            _ if self.jobs[index].by_pid || self.jobs[index].kind.sql.contains("pg_sleep(2)") => {
                return Step::Done;
            }
            _ => {
                self.note_unknown(index);
                (
                    format!(
                        "SELECT * FROM pg_background_result_v2({pid}, {cookie}) AS (a int4, b point, c int4)"
                    ),
                    &[
                        "42804", "0A000", "40P01", "22012", "42883", "42704", "53000", "53400",
                        "55000",
                    ],
                )
            }
        };
        let result = self.client.batch_execute(&sql);
        let taken = result.as_ref().is_ok_and(|()| sql.contains("point"))
            || result.as_ref().is_err_and(is_the_jobs);
        if taken {
            // No rows to be compared, or an error: the result is read to its end.
            self.jobs.swap_remove(index);
        }
        self.judge(&format!("misuse {sql}"), result, allowed)
    }

    fn note_unknown(&self, index: usize) {
        if let Some(entry) = self.jobs[index].kind.entry {
            self.run.ledger.note(entry, Fate::Unknown);
        }
    }

    fn configure(&mut self) -> Step {
        let choices = [
            "SET pg_background.on_exhaustion = wait",
            "SET pg_background.on_exhaustion = queue",
            "SET pg_background.on_exhaustion = error",
            "SET pg_background.launch_timeout = '50ms'",
            "SET pg_background.launch_timeout = '5s'",
            "SET pg_background.max_workers = 3",
            "SET pg_background.max_workers = 100",
            "SET pg_background.worker_timeout = '30ms'",
            "RESET pg_background.worker_timeout",
            "SET pg_background.default_queue_size = '4kB'",
            "SET work_mem = '1MB'",
            "SET client_min_messages = debug5",
            "SET client_min_messages = debug2",
            "SET client_min_messages = warning",
            "SET chaos.session = 'x'",
            "SET chaos.left_1 = 'x'; RESET chaos.left_1",
            "SET default_transaction_isolation = serializable",
            "RESET ALL",
        ];
        let sql = *choices.choose(&mut self.rng).expect("there are some");
        if sql == "RESET ALL" {
            self.own_processes = None;
        }
        let result = self.client.batch_execute(sql);
        self.judge(&format!("configure {sql}"), result, &[])
    }

    fn transaction(&mut self) -> Step {
        let end = ["COMMIT", "ROLLBACK"]
            .choose(&mut self.rng)
            .expect("there are some");
        let result = self.client.batch_execute(&format!(
            "BEGIN; SAVEPOINT s;
             SELECT r.t FROM pg_background_launch_v2('SELECT 1::text') h, pg_background_result_v2(h.pid, h.cookie) AS r (t text);
             ROLLBACK TO s; {end}"
        ));
        let step = self.judge("transaction", result, LAUNCH);
        if matches!(step, Step::Done) {
            let result = self.client.batch_execute("ROLLBACK");
            return self.judge("rollback", result, &[]);
        }
        step
    }

    /// A step that its own timeout interrupts, at any point.
    fn hurried(&mut self) -> Step {
        let limit = self.rng.random_range(1..12);
        let result = self
            .client
            .batch_execute(&format!("SET statement_timeout = {limit}"));
        if let Step::Disconnected = self.judge("hurry", result, &[]) {
            return Step::Disconnected;
        }
        let step = self.something_long();
        if !matches!(step, Step::Done) {
            return step;
        }
        let result = self.client.batch_execute("RESET statement_timeout");
        self.judge("no more hurry", result, &[])
    }
}

/// Whether an error is the job's, and not one of the statement that reads it.
fn is_the_jobs(error: &postgres::Error) -> bool {
    error
        .as_db_error()
        .and_then(|error| error.where_())
        .is_some_and(|context| context.contains("background worker, pid"))
}
