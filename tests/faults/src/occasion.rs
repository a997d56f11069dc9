//! The occasions, which pass the points: sessions that launch, read, wait, cancel and exit.
//!
//! A session goes on after an error as a user would: jobs that were launched and can still be named are read or
//! detached when the session ends.

use crate::story::{Fate, Story};
use crate::world::{LEADER, REFUSED, SLOTS, number};
use postgres::Client;
use session_tests::{
    Handle, LONG, NOTHING_IS_LEFT, asleep, call, eventually, pause, run, try_launch, value,
    worker_of,
};
use std::time::{Duration, Instant};

/// One of them.
pub struct Occasion {
    /// As in the library's list of points.
    pub name: &'static str,
    /// The role of the session.
    pub role: &'static str,
    /// Before the fault is armed.
    pub prepare: fn(&mut Scene),
    /// The actions that pass the point.
    pub act: fn(&mut Scene),
    /// Every accepted job is done, even if the session fails.
    pub lets_jobs_run: bool,
    /// Others wait meanwhile: for a slot, or for a worker slot.
    pub others_wait: bool,
    /// It happens once in the life of a server.
    pub needs_fresh_server: bool,
}

const fn occasion(name: &'static str, act: fn(&mut Scene)) -> Occasion {
    Occasion {
        name,
        role: LEADER,
        prepare: |_| {},
        act,
        lets_jobs_run: true,
        others_wait: false,
        needs_fresh_server: false,
    }
}

/// All of them.
pub const ALL: &[Occasion] = &[
    occasion("job", Scene::one_job),
    Occasion {
        prepare: Scene::one_job,
        ..occasion("warm", Scene::one_job)
    },
    occasion("v1", Scene::one_v1_job),
    Occasion {
        lets_jobs_run: false,
        ..occasion("oneshot", Scene::oneshot)
    },
    Occasion {
        lets_jobs_run: false,
        ..occasion("call", Scene::autonomous_statement)
    },
    occasion("rows", Scene::rows),
    occasion("spill", Scene::spilled_rows),
    occasion("emptied", Scene::overtaken_rows),
    occasion("wide", Scene::wide_rows_and_a_long_error),
    occasion("cursor", Scene::cursor),
    Occasion {
        lets_jobs_run: false,
        ..occasion("fanout", Scene::fanout)
    },
    Occasion {
        lets_jobs_run: false,
        ..occasion("cancel", Scene::cancel)
    },
    occasion("detach", Scene::detach),
    occasion("chatty", Scene::chatty_job),
    Occasion {
        prepare: Scene::one_job,
        ..occasion("fresh", Scene::one_job_in_a_fresh_process)
    },
    occasion("leaves", Scene::jobs_that_leave_settings),
    occasion("left", Scene::left),
    occasion("throttled", Scene::left_with_a_throttled_job),
    Occasion {
        lets_jobs_run: false,
        ..occasion("ended", Scene::ended_worker)
    },
    Occasion {
        lets_jobs_run: false,
        ..occasion("v1-ended", Scene::ended_v1_worker)
    },
    Occasion {
        prepare: Scene::one_job,
        ..occasion("retired", Scene::retired_worker)
    },
    Occasion {
        prepare: Scene::others_have_the_only_worker_slot,
        others_wait: true,
        ..occasion("moved", Scene::one_job_in_a_worker_slot_of_others)
    },
    Occasion {
        role: REFUSED,
        prepare: Scene::login_is_revoked,
        lets_jobs_run: false,
        ..occasion("refused", Scene::refused_jobs)
    },
    Occasion {
        prepare: Scene::fill_the_table,
        others_wait: true,
        ..occasion("room", Scene::one_job_when_there_is_room)
    },
    Occasion {
        needs_fresh_server: true,
        ..occasion("first", Scene::one_job)
    },
];

/// The occasion of that name.
///
/// # Panics
/// When there is none.
pub fn named(name: &str) -> &'static Occasion {
    ALL.iter()
        .find(|occasion| occasion.name == name)
        .unwrap_or_else(|| panic!("no occasion is called {name}"))
}

/// A session, and a second one that helps it.
pub struct Scene {
    client: Client,
    /// `None` while it is at work elsewhere.
    helper: Option<Client>,
    held: Vec<Handle>,
    story: Story,
}

/// Rows of a result that does not fit into its ring.
const MANY: i32 = 5000;

/// Enough that some are in the lane when a worker has failed, however the two sides fall together.
const REFUSED_JOBS: usize = 10;

/// SQLSTATEs that belong to the occasion itself.
const NOTHING: &[&str] = &[];

fn one_row(number: i32) -> String {
    format!("INSERT INTO ledger VALUES ({number}) RETURNING 'done'::text")
}

fn long(number: i32) -> String {
    format!("INSERT INTO ledger VALUES ({number}); SELECT pg_sleep(1)::text")
}

fn rows(number: i32, count: i32, more: &str) -> String {
    format!(
        "WITH written AS (INSERT INTO ledger VALUES ({number}))
         SELECT repeat('x', 200) {more} FROM generate_series(1, {count}) AS i"
    )
}

impl Scene {
    pub fn new(client: Client, helper: Client) -> Self {
        Self {
            client,
            helper: Some(helper),
            held: Vec::new(),
            story: Story::default(),
        }
    }

    /// What the session has seen. If it lives, it runs one more job, and holds nothing after it has detached
    /// the jobs whose handles the user has. It exits.
    pub fn end(mut self) -> Story {
        if self.client.batch_execute("ROLLBACK").is_ok() {
            self.one_job();
            let detach = "SELECT pg_background_detach_all()";
            if self.client.batch_execute(detach).is_ok() {
                self.nothing_is_left();
            }
        }
        self.story
    }

    /// Now or in a moment, once somebody has launched: that frees what others could not.
    fn nothing_is_left(&mut self) {
        let start = Instant::now();
        let nothing = format!("SELECT {NOTHING_IS_LEFT}");
        loop {
            run(self.helper(), "SELECT 1");
            if value(self.helper(), &nothing) {
                return;
            }
            assert!(start.elapsed() < LONG, "something is left");
            pause(Duration::from_millis(5));
        }
    }

    fn helper(&mut self) -> &mut Client {
        self.helper.as_mut().expect("the helper is here")
    }

    fn launch(&mut self, sql: impl FnOnce(i32) -> String) -> Option<(i32, Handle)> {
        let number = number();
        self.story.note(number, Fate::NotAccepted);
        match try_launch(&mut self.client, &sql(number)) {
            Ok(handle) => {
                self.story.note(number, Fate::Accepted);
                Some((number, handle))
            }
            Err(error) => {
                self.story.saw(&error);
                None
            }
        }
    }

    /// An error of a job, raised in the session that reads it, has a line of context that says so. One of
    /// `expected` is what the job is for.
    fn note_end<T>(&mut self, number: i32, result: Result<T, postgres::Error>, expected: &[&str]) {
        let Err(error) = result else {
            self.story.note(number, Fate::Done);
            return;
        };
        let context = error.as_db_error().and_then(|error| error.where_());
        let is_jobs = context.is_some_and(|context| context.contains("background worker, pid"));
        if is_jobs {
            self.story.note(number, Fate::Failed);
        }
        let code = error.code().map_or("", |code| code.code());
        if !is_jobs || !expected.contains(&code) {
            self.story.saw(&error);
        }
    }

    fn read(&mut self, number: i32, handle: Handle, expected: &[&str]) {
        let result = self.client.query(
            "SELECT t FROM pg_background_result_v2($1, $2) AS (t text)",
            &[&handle.pid, &handle.cookie],
        );
        self.note_end(number, result, expected);
    }

    fn call(&mut self, function: &str, handle: Handle) {
        if let Err(error) = call(&mut self.client, function, handle) {
            self.story.saw(&error);
        }
    }

    fn one_job(&mut self) {
        if let Some((number, handle)) = self.launch(one_row) {
            self.read(number, handle, NOTHING);
        }
    }

    fn v1_job(&mut self, sql: fn(i32) -> String, meanwhile: fn(&mut Self, i32), expected: &[&str]) {
        let number = number();
        self.story.note(number, Fate::NotAccepted);
        let launched = self
            .client
            .query_one("SELECT pg_background_launch($1)", &[&sql(number)]);
        match launched {
            Ok(row) => {
                self.story.note(number, Fate::Accepted);
                let pid: i32 = row.get(0);
                meanwhile(self, pid);
                let result = self.client.query(
                    "SELECT t FROM pg_background_result($1) AS (t text)",
                    &[&pid],
                );
                self.note_end(number, result, expected);
            }
            Err(error) => self.story.saw(&error),
        }
    }

    fn oneshot(&mut self) {
        self.in_one_call("SELECT t FROM pg_background_run_query($1) AS (t text)");
    }

    fn autonomous_statement(&mut self) {
        self.in_one_call("SELECT pg_background_call($1, NULL::text)");
    }

    /// The user is never given a handle: once the call is over, however, the session holds nothing.
    fn in_one_call(&mut self, sql: &str) {
        let number = number();
        self.story.note(number, Fate::NotAccepted);
        let result = self.client.query(sql, &[&one_row(number)]);
        match result {
            Ok(_) => self.story.note(number, Fate::Done),
            Err(error) => self.story.saw(&error),
        }
        let held = "SELECT count(*) FROM pg_background_list_v2() AS (pid int4, cookie int8,
            launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text,
            last_error text, consumed bool)";
        if let Ok(row) = self.client.query_one(held, &[]) {
            assert_eq!(row.get::<_, i64>(0), 0, "the session holds a job");
        }
    }

    fn one_v1_job(&mut self) {
        self.v1_job(one_row, |_, _| {}, NOTHING);
    }

    fn rows(&mut self) {
        if let Some((number, handle)) = self.launch(|number| rows(number, MANY, "")) {
            self.read(number, handle, NOTHING);
        }
    }

    fn spilled_rows(&mut self) {
        if let Some((number, handle)) = self.launch(|number| rows(number, MANY, "")) {
            self.call("pg_background_wait_v2", handle);
            self.read(number, handle, NOTHING);
        }
    }

    /// A reader that comes when there is a file already, and is faster than the job.
    fn overtaken_rows(&mut self) {
        let slowly = "|| CASE WHEN i % 20000 = 0 THEN pg_sleep(0.05)::text ELSE '' END";
        if let Some((number, handle)) = self.launch(|number| rows(number, 20 * MANY, slowly)) {
            let start = Instant::now();
            let is_spilled = "SELECT spill_bytes > 0 FROM pg_background_resources()";
            // Not for long: what is armed may have ended the job before.
            while start.elapsed() < Duration::from_secs(1)
                && !value::<bool>(self.helper(), is_spilled)
            {
                pause(Duration::from_millis(1));
            }
            self.read(number, handle, NOTHING);
        }
    }

    /// Both the columns and the error are too long for the room that every job has for them.
    fn wide_rows_and_a_long_error(&mut self) {
        let wide = self.launch(|number| {
            let columns = (0..8).map(|column| format!("1 AS {}{column}", "c".repeat(60)));
            let columns = columns.collect::<Vec<_>>().join(", ");
            format!("WITH written AS (INSERT INTO ledger VALUES ({number})) SELECT {columns}")
        });
        if let Some((number, handle)) = wide {
            let result = self.client.query(
                "SELECT count(*) FROM pg_background_result_json($1, $2)",
                &[&handle.pid, &handle.cookie],
            );
            self.note_end(number, result, NOTHING);
        }
        let failing = self.launch(|number| {
            format!(
                "INSERT INTO ledger VALUES ({number});
                 DO $$ BEGIN RAISE '%', repeat('x', 10000); END $$"
            )
        });
        if let Some((number, handle)) = failing {
            self.read(number, handle, &["P0001"]);
        }
    }

    fn cursor(&mut self) {
        if let Some((number, handle)) = self.launch(|number| rows(number, MANY, "")) {
            let Handle { pid, cookie } = handle;
            let result = self.client.batch_execute(&format!(
                "BEGIN;
                 DECLARE c CURSOR FOR SELECT pg_background_result_json({pid}, {cookie});
                 FETCH 10 FROM c; FETCH ALL FROM c;
                 COMMIT"
            ));
            self.note_end(number, result, NOTHING);
        }
    }

    fn fanout(&mut self) {
        let numbers = [(); 5].map(|()| number());
        let statements = numbers.map(|number| format!("INSERT INTO ledger VALUES ({number})"));
        for number in numbers {
            self.story.note(number, Fate::NotAccepted);
        }
        let result = self.client.query(
            "SELECT idx, ok FROM pg_background_fanout($1, 2)",
            &[&statements.as_slice()],
        );
        match result {
            Ok(rows) => {
                for row in &rows {
                    let (index, ok): (i32, bool) = (row.get(0), row.get(1));
                    let fate = if ok { Fate::Done } else { Fate::Failed };
                    self.story.note(numbers[index as usize - 1], fate);
                }
            }
            Err(error) => self.story.saw(&error),
        }
    }

    fn cancel(&mut self) {
        if let Some((number, handle)) = self.launch(long) {
            asleep(&mut self.client, handle);
            self.call("pg_background_cancel_v2", handle);
            self.read(number, handle, &["57014"]);
        }
    }

    /// The worker is the last to hold the job.
    fn detach(&mut self) {
        let launched = self.launch(|number| {
            format!("INSERT INTO ledger VALUES ({number}); SELECT pg_sleep(0.05)::text")
        });
        if let Some((_, handle)) = launched {
            self.call("pg_background_detach_v2", handle);
        }
    }

    /// The session exits, and is the last to hold its job.
    fn left(&mut self) {
        if let Some((_, handle)) = self.launch(one_row) {
            self.call("pg_background_wait_v2", handle);
        }
        self.exit();
    }

    fn exit(&mut self) {
        if let Ok(row) = self.client.query_one("SELECT pg_backend_pid()", &[]) {
            self.terminate(row.get(0));
        }
        while self.client.query_one("SELECT 1", &[]).is_ok() {
            pause(Duration::from_millis(1));
        }
    }

    /// The session exits while it may have no more workers: its exit starts one for the job that had to wait for that.
    fn left_with_a_throttled_job(&mut self) {
        self.set("SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1");
        for _ in 0..2 {
            let _ = self.launch(long);
        }
        self.exit();
    }

    fn terminate(&mut self, process: i32) {
        let start = Instant::now();
        let sql = format!("SELECT pg_terminate_backend({process})");
        // A worker has a pid some time before the server knows it by that.
        while !value::<bool>(self.helper(), &sql) && start.elapsed() < Duration::from_millis(500) {
            pause(Duration::from_millis(1));
        }
    }

    fn ended_worker(&mut self) {
        if let Some((number, handle)) = self.launch(long) {
            asleep(&mut self.client, handle);
            let worker = worker_of(&mut self.client, handle);
            self.terminate(worker);
            self.read(number, handle, &["57P01"]);
        }
    }

    /// The job may not have begun.
    fn ended_v1_worker(&mut self) {
        self.v1_job(long, Self::terminate, &["57P01", "08006"]);
    }

    fn retired_worker(&mut self) {
        self.helper()
            .batch_execute("SELECT pg_background_retire_idle()")
            .expect("the helper lives");
    }

    fn login_is_revoked(&mut self) {
        self.helper()
            .batch_execute(&format!("ALTER ROLE {REFUSED} NOLOGIN"))
            .expect("the helper lives");
    }

    /// One that may run at once, others behind it; no worker can log in.
    fn refused_jobs(&mut self) {
        let settings = "SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1";
        if let Err(error) = self.client.batch_execute(settings) {
            self.story.saw(&error);
        }
        let numbers = [(); REFUSED_JOBS].map(|()| number());
        let statements = numbers.map(|number| format!("INSERT INTO ledger VALUES ({number})"));
        for number in numbers {
            self.story.note(number, Fate::NotAccepted);
        }
        // At once, so that there are more when a worker has failed to start for one.
        let launched = self.client.query(
            "SELECT pid, cookie FROM unnest($1::text[]) AS sql, pg_background_launch_v2(sql)",
            &[&statements.as_slice()],
        );
        match launched {
            Ok(rows) => {
                for (number, row) in numbers.into_iter().zip(rows) {
                    let (pid, cookie) = (row.get(0), row.get(1));
                    self.story.note(number, Fate::Accepted);
                    self.read(number, Handle { pid, cookie }, &["28000"]);
                }
            }
            Err(error) => self.story.saw(&error),
        }
        self.login_is_granted();
    }

    fn login_is_granted(&mut self) {
        self.helper()
            .batch_execute(&format!("ALTER ROLE {REFUSED} LOGIN"))
            .expect("the helper lives");
    }

    fn cap(&mut self, change: &str, shown: &str) {
        let change = format!("ALTER SYSTEM {change}; SELECT pg_reload_conf()");
        for statement in change.split("; ") {
            self.helper()
                .batch_execute(statement)
                .expect("the helper lives");
        }
        let shows = format!("current_setting('pg_background.max_pool_workers') = '{shown}'");
        eventually(self.helper(), &shows);
        let start = Instant::now();
        let shows = format!("SELECT {shows}");
        while start.elapsed() < LONG
            && matches!(self.client.query_one(&shows, &[]), Ok(row) if !row.get::<_, bool>(0))
        {
            pause(Duration::from_millis(1));
        }
    }

    /// An idle worker of another lane.
    fn others_have_the_only_worker_slot(&mut self) {
        run(self.helper(), "SELECT 1");
        // It knows the setting when it knows the library.
        self.client
            .batch_execute("SELECT pg_background_stats_v2()")
            .expect("the session is new");
        self.cap("SET pg_background.max_pool_workers = 1", "1");
    }

    fn one_job_in_a_worker_slot_of_others(&mut self) {
        self.one_job();
        self.cap("RESET pg_background.max_pool_workers", "-1");
    }

    fn fill_the_table(&mut self) {
        // One is left for superusers.
        for _ in 1..SLOTS {
            let handle = try_launch(self.helper(), "SELECT 1").expect("there is room");
            call(self.helper(), "pg_background_wait_v2", handle).expect("it ends");
            self.held.push(handle);
        }
    }

    fn one_job_when_there_is_room(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut helper = self.helper.take().expect("the helper is here");
        let makes_room = std::thread::spawn(move || {
            pause(Duration::from_millis(100));
            for handle in held {
                call(&mut helper, "pg_background_detach_v2", handle).expect("the helper lives");
            }
            helper
        });
        self.one_job();
        self.helper = Some(makes_room.join().expect("the helper lives"));
    }

    /// Messages of its process go to the session, at every level.
    fn chatty_job(&mut self) {
        self.set("SET client_min_messages = debug5");
        self.one_job();
        self.set("RESET client_min_messages");
    }

    /// A process that has run a job is there.
    fn one_job_in_a_fresh_process(&mut self) {
        self.set("SET pg_background.worker_reuse = off");
        self.one_job();
        self.set("SET pg_background.worker_reuse = on");
    }

    /// Each names a setting, leaves it and what has to be cleaned up, and must not find it named.
    fn jobs_that_leave_settings(&mut self) {
        for _ in 0..2 {
            let job = self.launch(|number| {
                format!(
                    "SELECT 1 / (current_setting('faults.left', true) IS NULL)::int, setseed(0.5),
                        set_config('faults.left', 'x', false);
                     CREATE TEMP TABLE t (n int); SET default_transaction_read_only = on;
                     INSERT INTO ledger VALUES ({number}) RETURNING 'done'::text"
                )
            });
            if let Some((number, handle)) = job {
                self.read(number, handle, NOTHING);
            }
        }
    }

    fn set(&mut self, settings: &str) {
        if let Err(error) = self.client.batch_execute(settings) {
            self.story.saw(&error);
        }
    }
}
