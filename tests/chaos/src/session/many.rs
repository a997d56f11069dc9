//! Steps that concern many jobs at once, jobs without a handle, and results that are read in part.

use super::{LAUNCH, Session, Step, TROUBLE};
use crate::jobs::{self, Kind};
use crate::ledger::Fate;
use postgres::Row;
use rand::RngExt;
use rand::seq::IndexedRandom;
use session_tests::Handle;

/// What a job may fail with beside its own errors: those of jobs that launch jobs.
const NESTED: &[&str] = &[
    "40P01", "53000", "53200", "53400", "55000", "42P09", "25P02",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a job with this state has done, if that is known.
fn fate(state: Option<&str>) -> Fate {
    match state {
        Some("stopped") => Fate::Committed,
        Some("error" | "canceled") => Fate::Aborted,
        _ => Fate::Unknown,
    }
}

impl Session<'_> {
    fn note(&self, kind: &Kind, fate: Fate) {
        if let Some(entry) = kind.entry {
            self.run.ledger.note(entry, fate);
        }
    }

    fn draw(&mut self) -> Kind {
        let entry = self.run.ledger.number();
        let mut kind = jobs::draw(&mut self.rng, entry);
        if self.in_volatile {
            kind.entry = None;
        }
        self.note(&kind, Fate::Unknown);
        kind
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.rng).expect("there are some")
    }

    /// A cursor that takes some rows of one result, or of two in turn, and ends in one of many ways.
    pub(super) fn read_some(&mut self) -> Step {
        let Some(index) = self.any().filter(|&index| {
            let job = &self.jobs[index];
            !job.by_pid && !job.submitted && !job.kind.sql.contains("pg_sleep(2)")
        }) else {
            return Step::Done;
        };
        self.note_unknown(index);
        let job = self.jobs.swap_remove(index);
        let Handle { pid, cookie } = job.handle;
        let call = if self.rng.random() {
            format!("pg_background_result_json({pid}, {cookie})")
        } else {
            format!("pg_background_result({pid}, {cookie}, NULL::text)")
        };
        let (begin, end) = self.pick(&[
            ("", "CLOSE c; COMMIT"),
            ("", "COMMIT"),
            ("", "ROLLBACK"),
            ("", "FETCH ALL FROM c; COMMIT"),
            ("", "SELECT 1 / 0"),
            ("SAVEPOINT s;", "ROLLBACK TO s; COMMIT"),
            ("SAVEPOINT s;", "RELEASE s; FETCH 3 FROM c; ROLLBACK"),
            (
                "",
                "SELECT pg_background_detach_v2(PID, COOKIE); FETCH 3 FROM c",
            ),
        ]);
        let fetch = self.rng.random_range(0..60);
        let end = end
            .replace("PID", &pid.to_string())
            .replace("COOKIE", &cookie.to_string());
        let result = self.client.batch_execute(&format!(
            "BEGIN; {begin} DECLARE c CURSOR FOR SELECT {call}; FETCH {fetch} FROM c; {end}"
        ));
        let allowed = [job.kind.errors, NESTED, &["22012", "42704"]].concat();
        match self.judge(&format!("cursor over {}", job.kind.sql), result, &allowed) {
            Step::Done => {}
            other => return other,
        }
        let result = self.client.batch_execute("ROLLBACK");
        match self.judge("rollback", result, &[]) {
            Step::Done => self.forget(&job),
            other => other,
        }
    }

    /// A fan-out, read to its end or not.
    pub(super) fn fan_out(&mut self) -> Step {
        let timeout = self.pick(&[0, 0, 40, 400]);
        let fail_fast = self.rng.random_range(0..5) == 0;
        let parallel = self.pick(&["NULL", "1", "3", "50"]);
        let mut kinds: Vec<Kind> = Vec::new();
        for _ in 0..self.rng.random_range(1..15) {
            let kind = self.draw();
            if timeout > 0 || !kind.sql.contains("pg_sleep(2)") {
                kinds.push(kind);
            }
        }
        let statements: Vec<String> = kinds.iter().map(|kind| quoted(&kind.sql)).collect();
        let call = format!(
            "pg_background_fanout(ARRAY[{}]::text[], {parallel}, {fail_fast}, {timeout})",
            statements.join(", ")
        );
        let mut allowed: Vec<&str> = kinds
            .iter()
            .flat_map(|kind| kind.errors.iter().copied())
            .collect();
        allowed.extend(NESTED);
        let streamed =
            format!("SELECT (f).idx, (f).ok, (f).sqlstate FROM (SELECT {call} AS f OFFSET 0) s");
        let sql = match self.rng.random_range(0..6) {
            0 => format!("{streamed} LIMIT 1"),
            1 => {
                let result = self.client.batch_execute(&format!(
                    "BEGIN; SAVEPOINT s; DECLARE c CURSOR FOR {streamed}; FETCH 2 FROM c; ROLLBACK TO s; COMMIT"
                ));
                let step = self.judge("fan-out in a cursor", result, &allowed);
                if !matches!(step, Step::Done) {
                    return step;
                }
                let result = self.client.batch_execute("ROLLBACK");
                return self.judge("rollback", result, &[]);
            }
            2 | 3 => streamed,
            _ => format!("SELECT idx, ok, sqlstate FROM {call}"),
        };
        let result = self.client.query(sql.as_str(), &[]);
        if let Ok(rows) = &result
            && let Some(what) = self.check_rows(&kinds, rows, &allowed, sql.ends_with("LIMIT 1"))
        {
            return Step::Wrong(format!("{what} of {sql}"));
        }
        self.judge("fan-out", result, &allowed)
    }

    /// The errors in the rows of a fan-out.
    fn check_rows(
        &self,
        kinds: &[Kind],
        rows: &[Row],
        allowed: &[&str],
        some: bool,
    ) -> Option<String> {
        let mut seen = vec![false; kinds.len()];
        for row in rows {
            let index = row.get::<_, i32>(0) as usize - 1;
            if std::mem::replace(&mut seen[index], true) {
                return Some(format!("two rows for statement {index}"));
            }
            let (ok, code): (bool, Option<&str>) = (row.get(1), row.get(2));
            match code {
                _ if ok => self.note(&kinds[index], Fate::Committed),
                // Given up after the time limit: not known.
                Some("57014") => {}
                Some(code) if allowed.contains(&code) || TROUBLE.contains(&code) => {
                    self.note(&kinds[index], Fate::Aborted);
                }
                _ if self.in_volatile => {}
                code => return Some(format!("{code:?} for statement {index}")),
            }
        }
        (!some && seen.contains(&false)).then(|| String::from("a row is missing"))
    }

    /// A job that is launched and ends in one call.
    pub(super) fn run_one(&mut self) -> Step {
        let kind = self.draw();
        let timeout = self.pick(&[0, 1, 20, 3000]);
        let allowed = [kind.errors, NESTED, LAUNCH].concat();
        if self.rng.random() {
            let sql = format!(
                "SELECT t FROM pg_background_run_query({}, 0, {timeout}, 'label', 't text') AS (t text)",
                quoted(&kind.sql)
            );
            let result = self.client.query(sql.as_str(), &[]);
            if result.is_ok() {
                self.note(&kind, Fate::Committed);
            }
            return self.judge("run_query", result, &allowed);
        }
        let sql = format!(
            "SELECT state FROM pg_background_run({}, 0, {timeout})",
            quoted(&kind.sql)
        );
        let result = self.client.query_one(sql.as_str(), &[]);
        if let Ok(row) = &result {
            self.note(&kind, fate(row.get(0)));
        }
        self.judge("run", result, &allowed)
    }

    /// Functions of all jobs, or of an array of handles.
    pub(super) fn many(&mut self) -> Step {
        let handles: Vec<String> = self
            .jobs
            .iter()
            .chain(&self.jobs)
            .map(|job| format!("ROW({}, {})", job.handle.pid, job.handle.cookie))
            .collect();
        let handles = format!("ARRAY[{}]::pg_background_handle[]", handles.join(", "));
        let limit = self.rng.random_range(1..60);
        match self.rng.random_range(0..8) {
            0 => self.call(&format!("wait_any({handles}, {limit})")),
            1 => self.call(&format!("wait_all({handles}, {limit})")),
            2 | 3 => self.drain(&handles, limit),
            4 => {
                self.jobs.iter_mut().for_each(|job| job.canceled = true);
                self.call("cancel_all()")
            }
            5 => self.call(&format!("cancel_by_label('label %', {})", limit / 3)),
            6 => {
                for job in std::mem::take(&mut self.jobs) {
                    self.note(&job.kind, Fate::Unknown);
                }
                self.call("purge(), pg_background_detach_all()")
            }
            _ => self.look_at_one(),
        }
    }

    fn call(&mut self, call: &str) -> Step {
        let result = self
            .client
            .batch_execute(&format!("SELECT pg_background_{call}"));
        let what = call.split('(').next().unwrap_or(call);
        self.judge(what, result, &["40P01", "42704", "42P09", "55000"])
    }

    fn drain(&mut self, handles: &str, limit: i32) -> Step {
        let sql =
            format!("SELECT cookie, state, completed FROM pg_background_drain({handles}, {limit})");
        let result = self.client.query(sql.as_str(), &[]);
        if let Ok(rows) = &result {
            if rows.len() != 2 * self.jobs.len() {
                return Step::Wrong(format!("{} rows of {sql}", rows.len()));
            }
            let finished = |row: &Row| row.get::<_, Option<bool>>(2).unwrap_or(true);
            let all = std::mem::take(&mut self.jobs);
            // Each handle is there twice: a job that had finished at either is gone. So is the job for which it waited
            // at the time limit, the first that had not finished.
            let mut is_late = false;
            for (job, (first, second)) in all
                .into_iter()
                .zip(rows.iter().zip(&rows[rows.len() / 2..]))
            {
                let was_late = is_late;
                is_late |= !finished(first);
                if finished(first) || finished(second) {
                    self.note(&job.kind, fate(second.get(1)));
                } else if !was_late {
                    self.note(&job.kind, Fate::Unknown);
                } else {
                    self.jobs.push(job);
                }
            }
            return self.judge("drain", result, &[]);
        }
        // Interrupted before the function's end, it has detached none; after it, all that had finished.
        match self.judge("drain", result, &["40P01"]) {
            Step::Done => {
                for job in std::mem::take(&mut self.jobs) {
                    self.note(&job.kind, Fate::Unknown);
                    match self.forget(&job) {
                        Step::Done => {}
                        other => return other,
                    }
                }
                Step::Done
            }
            other => other,
        }
    }

    fn look_at_one(&mut self) -> Step {
        let Some(index) = self.any() else {
            return Step::Done;
        };
        let Handle { pid, cookie } = self.jobs[index].handle;
        let result = self.client.batch_execute(&format!(
            "SELECT count(*) FROM pg_background_list; SELECT count(*) FROM pg_background_activity;
             SELECT pg_background_outcome({pid}, {cookie}), pg_background_get_progress({pid}, {cookie});
             SELECT pg_background_result_info({pid}, {cookie}), pg_background_error_info({pid}, {cookie}),
                    pg_background_full_sql({pid}, {cookie}), pg_background_spilled({pid}, {cookie})"
        ));
        self.judge("look at one", result, &["42704", "42P09", "55000"])
    }

    /// Any of these, for a statement that is interrupted by its own timeout.
    pub(super) fn something_long(&mut self) -> Step {
        match self.rng.random_range(0..5) {
            0 => self.read(),
            1 => self.launch(),
            2 => self.fan_out(),
            3 => self.run_one(),
            _ => self.many(),
        }
    }
}
