//! Every kind of statement as a job from every context: it and the next statement of the job run as the user that has
//! launched the job, and the next job of the worker runs as the next user.

use crate::contexts::{CONTEXTS, Context, OBJECTS};
use crate::statements::{KINDS, STATEMENTS, Statement};
use postgres::Client;
use session_tests::*;
use std::time::Duration;

/// Raised by the checks in a job.
const SOMEBODY_ELSE: &str = "H0001";

struct Run<'a> {
    admin: Client,
    session: Client,
    context: &'a Context,
    wrong: Vec<String>,
}

/// A number that no other statement has.
fn number() -> i32 {
    use std::sync::atomic::{AtomicI32, Ordering};
    static NEXT: AtomicI32 = AtomicI32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Run<'_> {
    fn tell(&mut self, statement: &Statement, sql: &str, what: &str) {
        let (context, kind) = (self.context.name, statement.kind);
        self.wrong.push(format!("{context}: {kind}: {sql}: {what}"));
    }

    /// Launches it from the context; its outcome.
    fn outcome(&mut self, statement: &Statement, sql: &str) -> Option<String> {
        let session = &mut self.session;
        session
            .query_one(
                "SELECT set_config('h.job', $1, false), set_config('h.armed', 'on', false)",
                &[&sql],
            )
            .expect("prepared");
        let launched = session.batch_execute(self.context.launch);
        if self.context.refused {
            match sqlstate(launched).as_str() {
                "42501" => {}
                state => self.tell(statement, sql, &format!("refused with {state}")),
            }
            return None;
        }
        launched.expect(self.context.name);
        let row = session
            .query_one(
                "SELECT current_setting('h.pid')::int4, current_setting('h.cookie')::int8,
                        split_part(current_setting('h.expected'), ' ', 1), current_setting('h.armed')",
                &[],
            )
            .expect("launched");
        let (pid, cookie, user, armed): (i32, i64, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!((user.as_str(), armed.as_str()), (self.context.user, "off"));
        if !statement.alone {
            session
                .execute("SELECT h.wait($1, $2)", &[&pid, &cookie])
                .expect("waited for");
        }
        // A statement that waits for all snapshots would wait for that of a waiting statement.
        let outcome = loop {
            let row = session
                .query_one("SELECT h.outcome($1, $2)", &[&pid, &cookie])
                .expect("an outcome");
            if let Some(outcome) = row.get(0) {
                break outcome;
            }
            pause(Duration::from_millis(1));
        };
        call(session, "pg_background_detach_v2", Handle { pid, cookie }).expect("detached");
        Some(outcome)
    }

    fn run(&mut self, statement: &Statement, in_several: bool) {
        let number = number();
        let fill = |text: &str| {
            text.replace("{n}", &number.to_string())
                .replace("{me}", self.context.user)
        };
        let mut sql = fill(statement.sql);
        if !self.context.refused {
            let (admin, before) = (fill(statement.admin), fill(statement.before));
            let user = self.context.user;
            self.admin
                .batch_execute(&format!("{admin}; SET ROLE {user}; {before}"))
                .unwrap_or_else(|error| panic!("{}: {error:?}", statement.sql));
            self.admin.batch_execute("RESET ROLE").expect("back");
        }
        let after = fill(statement.after);
        if in_several {
            sql.push_str("; SELECT h.check()");
        }
        if let Some(outcome) = self.outcome(statement, &sql) {
            self.judge(statement, &sql, &outcome, in_several);
        }
        if let Err(error) = self.session.batch_execute("SELECT h.next_job()") {
            self.tell(statement, &sql, &format!("the next job: {error:?}"));
        }
        if !self.context.refused {
            self.admin
                .batch_execute(&after)
                .unwrap_or_else(|error| panic!("{after}: {error:?}"));
        }
    }

    fn judge(&mut self, statement: &Statement, sql: &str, outcome: &str, in_several: bool) {
        let state = outcome.split(' ').nth(1).unwrap_or_default();
        if state == SOMEBODY_ELSE {
            self.tell(statement, sql, outcome);
        }
        if statement.users && self.context.confined && state != "42501" {
            self.tell(statement, sql, outcome);
        }
        // As a superuser's job each succeeds.
        if self.context.name == "a superuser" && !in_several && state != statement.fails {
            self.tell(statement, sql, outcome);
        }
        // And in no context is there an internal error.
        if state.starts_with("XX") || state == "57014" || state == "40P01" {
            self.tell(statement, sql, outcome);
        }
    }
}

#[test]
fn every_kind_of_statement_is_there() {
    let missing: Vec<&&str> = KINDS
        .iter()
        .filter(|kind| STATEMENTS.iter().all(|each| each.kind != **kind))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_statement_from_anywhere_is_run_by_somebody_else() {
    let server = Server::start(
        "matrix",
        &[
            "autovacuum=off",
            "statement_timeout=60s",
            "pg_background.max_pool_workers=1",
            "pg_background.worker_idle_timeout=60s",
        ],
    );
    let mut admin = server.session();
    admin.batch_execute(OBJECTS).expect("objects");
    let version = major_version(&mut admin);
    let mut wrong = Vec::new();
    for context in CONTEXTS {
        let mut session = server.session_as(context.login);
        session
            .batch_execute(context.first)
            .expect("the context's own");
        // A superuser gains nothing by switching back, so statements that start transactions run without a context.
        if context.confined && context.user != "postgres" {
            session
                .batch_execute("SET h.confined = on")
                .expect("a setting");
        }
        let mut run = Run {
            admin: server.session(),
            session,
            context,
            wrong: Vec::new(),
        };
        for statement in STATEMENTS.iter().filter(|each| each.since <= version) {
            run.run(statement, false);
            // A user that has become another one on purpose, and may, is that one in the next statement.
            let changes = statement.users && !context.confined;
            if !statement.alone && !changes && !context.refused && !statement.sql.is_empty() {
                run.run(statement, true);
            }
        }
        wrong.append(&mut run.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_is_left(&mut admin);
}
