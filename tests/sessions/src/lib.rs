//! Helpers of the multi-session tests.
//!
//! They run against the server that `PGB_TEST_URL` names, with the extension installed; `make test` starts
//! one. One at a time: they count workers and slots, which the whole server shares. Each test makes the
//! roles and databases it needs and drops them. A [`Witness`] checks that no test makes the server
//! restart. A test that needs settings of its own, or looks at the log, starts its own [`Server`].

mod limit;
mod server;
mod signal;

pub use limit::Limit;
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
pub use server::Server;
pub use signal::{Signal, signal};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A time limit: nothing here takes as long.
pub const LONG: Duration = Duration::from_secs(30);

/// The server under test.
///
/// # Panics
/// When `PGB_TEST_URL` is not set.
pub fn config() -> Config {
    let url = std::env::var("PGB_TEST_URL").expect(
        "PGB_TEST_URL must name a server with the extension installed; `make test` starts one",
    );
    url.parse().expect("PGB_TEST_URL is a connection string")
}

fn open(config: &Config) -> Client {
    config
        .connect(NoTls)
        .expect("the server accepts the connection")
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// A database of its own, dropped at the end.
pub struct Database {
    /// Its name.
    pub name: String,
}

impl Database {
    /// A new one with nothing in it.
    pub fn empty() -> Self {
        let name = unique("pgb_sessions");
        open(&config())
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .expect("the database is created");
        Self { name }
    }

    /// A new one with the extension in it.
    pub fn new() -> Self {
        let database = Self::empty();
        database
            .session()
            .batch_execute("CREATE EXTENSION pg_background")
            .expect("the extension is created");
        database
    }

    /// A session as the superuser.
    pub fn session(&self) -> Client {
        open(config().dbname(&self.name))
    }

    /// A session as another role.
    pub fn session_as(&self, role: &str) -> Client {
        open(config().dbname(&self.name).user(role))
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Workers of the database exit within their idle limit; WITH FORCE does not wait for that.
        let Ok(mut client) = config().connect(NoTls) else {
            return;
        };
        let _ = client.batch_execute(&format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.name
        ));
    }
}

/// A role with the extension's role, dropped at the end.
pub struct Role {
    /// Its name.
    pub name: String,
}

impl Role {
    /// A new one that may log in and use the extension.
    pub fn new() -> Self {
        let name = unique("pgb_role");
        open(&config())
            .batch_execute(&format!(
                "CREATE ROLE {name} LOGIN; GRANT pgbackground_role TO {name}"
            ))
            .expect("the role is created");
        Self { name }
    }
}

impl Default for Role {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let Ok(mut client) = config().connect(NoTls) else {
            return;
        };
        let _ = client.batch_execute(&format!("DROP ROLE IF EXISTS {}", self.name));
    }
}

/// An idle connection, and the start time of the server: a crash restart would change both.
pub struct Witness {
    client: Client,
    started: String,
}

const STARTED: &str = "SELECT pg_postmaster_start_time()::text";

impl Witness {
    /// Begins to watch.
    pub fn new() -> Self {
        let mut client = open(&config());
        let started = client
            .query_one(STARTED, &[])
            .expect("the server answers")
            .get(0);
        Self { client, started }
    }

    /// # Panics
    /// When the connection was dropped.
    pub fn check(mut self) {
        let now: String = self
            .client
            .query_one(STARTED, &[])
            .expect("the witness's connection was never dropped")
            .get(0);
        assert_eq!(now, self.started);
        self.client
            .query_one("SELECT pg_backend_pid()", &[])
            .expect("the server still answers");
    }
}

impl Default for Witness {
    fn default() -> Self {
        Self::new()
    }
}

/// A job's handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    /// Pid of the worker.
    pub pid: i32,
    /// The cookie.
    pub cookie: i64,
}

/// Launches a job.
///
/// # Errors
/// The server's.
pub fn try_launch(client: &mut Client, sql: &str) -> Result<Handle, postgres::Error> {
    let row = client.query_one(
        "SELECT pid, cookie FROM pg_background_launch_v2($1)",
        &[&sql],
    )?;
    Ok(Handle {
        pid: row.get(0),
        cookie: row.get(1),
    })
}

/// Launches a job.
///
/// # Panics
/// When that fails.
pub fn launch(client: &mut Client, sql: &str) -> Handle {
    try_launch(client, sql).expect("the job is launched")
}

/// Reads a result of one text column.
///
/// # Errors
/// The job's, or the server's.
pub fn try_result(
    client: &mut Client,
    handle: Handle,
) -> Result<Vec<Option<String>>, postgres::Error> {
    let rows = client.query(
        "SELECT t FROM pg_background_result_v2($1, $2) AS (t text)",
        &[&handle.pid, &handle.cookie],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Launches a job and reads its one value.
///
/// # Errors
/// The job's, or the server's.
pub fn try_run(client: &mut Client, sql: &str) -> Result<Option<String>, postgres::Error> {
    let handle = try_launch(client, sql)?;
    Ok(try_result(client, handle)?.pop().flatten())
}

/// As [`try_run`].
///
/// # Panics
/// When it fails.
pub fn run(client: &mut Client, sql: &str) -> Option<String> {
    try_run(client, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

/// Calls a function of a handle and ignores what it returns.
///
/// # Errors
/// The server's.
pub fn call(client: &mut Client, function: &str, handle: Handle) -> Result<(), postgres::Error> {
    let sql = format!("SELECT {function}({}, {})", handle.pid, handle.cookie);
    client.batch_execute(&sql)
}

/// The state of a job in its session's list.
///
/// # Panics
/// When it is not there.
pub fn state(client: &mut Client, handle: Handle) -> String {
    client
        .query_one(
            "SELECT state FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
                user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool)
             WHERE cookie = $1",
            &[&handle.cookie],
        )
        .expect("the session lists its job")
        .get(0)
}

/// The first column of the only row.
///
/// # Panics
/// When the query fails.
pub fn value<T: for<'a> postgres::types::FromSql<'a>>(client: &mut Client, sql: &str) -> T {
    client
        .query_one(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}

/// The server's major version.
pub fn major_version(client: &mut Client) -> i32 {
    value(
        client,
        "SELECT current_setting('server_version_num')::int4 / 10000",
    )
}

/// The setting that has the server use parallel workers although it need not.
pub fn forces_parallel(client: &mut Client) -> &'static str {
    if major_version(client) >= 16 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    }
}

/// Sleeps. A client has no latch: it can only ask the server again after a while.
#[expect(clippy::disallowed_methods, reason = "the rule is for the extension")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within [`LONG`].
pub fn eventually(client: &mut Client, condition: &str) {
    let start = Instant::now();
    while !value::<Option<bool>>(client, &format!("SELECT {condition}")).unwrap_or(false) {
        assert!(start.elapsed() < LONG, "never came true: {condition}");
        pause(Duration::from_millis(10));
    }
}

/// # Panics
/// When the result is not an error with this SQLSTATE.
pub fn assert_state<T: std::fmt::Debug>(result: Result<T, postgres::Error>, expected: &SqlState) {
    let error = result.expect_err("it fails");
    assert_eq!(error.code(), Some(expected), "{error:?}");
}

/// A setting of the server, restored at the end.
pub struct Setting {
    name: String,
}

impl Setting {
    /// Sets it, and waits until new sessions see it.
    pub fn new(name: &str, value: &str) -> Self {
        let mut client = open_with_settings();
        client
            .batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))
            .expect("the setting is accepted");
        let setting = Self {
            name: String::from(name),
        };
        reload(&mut client);
        setting
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let mut client = open_with_settings();
        let _ = client.batch_execute(&format!("ALTER SYSTEM RESET {}", self.name));
        reload(&mut client);
    }
}

/// A session that knows the extension's settings.
fn open_with_settings() -> Client {
    let mut client = open(&config());
    client
        .batch_execute("LOAD 'pg_background'")
        .expect("the library is loaded");
    client
}

fn reload(client: &mut Client) {
    let before: String = value(client, "SELECT pg_conf_load_time()::text");
    client
        .batch_execute("SELECT pg_reload_conf()")
        .expect("the configuration is reloaded");
    // A session reads its configuration between statements, after the postmaster has.
    let start = Instant::now();
    while value::<String>(client, "SELECT pg_conf_load_time()::text") == before {
        assert!(start.elapsed() < LONG, "the configuration was not reloaded");
        pause(Duration::from_millis(5));
    }
}

/// No job is left anywhere: no slot, no arena byte, no file.
pub const NOTHING_IS_LEFT: &str = "(SELECT slots_used = 0 AND arena_bytes = 0 AND dsm_segments = 0 AND jobs_queued = 0 AND spill_files = 0 AND spill_bytes = 0 FROM pg_background_resources())";

/// Checks [`NOTHING_IS_LEFT`], for some time.
///
/// # Panics
/// When something is left.
pub fn nothing_is_left(client: &mut Client) {
    eventually(client, NOTHING_IS_LEFT);
}

/// # Panics
/// When the result is not an error of the server; its SQLSTATE otherwise.
pub fn sqlstate<T: std::fmt::Debug>(result: Result<T, postgres::Error>) -> String {
    let error = result.expect_err("it fails");
    match error.code() {
        Some(code) => String::from(code.code()),
        None => panic!("not an error of the server: {error:?}"),
    }
}

/// Cancels, waits for the end, detaches; returns the state that the job ended in.
///
/// # Panics
/// When one of these fails.
pub fn cancel_and_forget(client: &mut Client, handle: Handle) -> String {
    call(client, "pg_background_cancel_v2", handle).expect("canceled");
    call(client, "pg_background_wait_v2", handle).expect("waited for");
    let state = state(client, handle);
    call(client, "pg_background_detach_v2", handle).expect("detached");
    state
}

/// The process that has a job of this session; 0 while there is none.
///
/// # Panics
/// When the session does not list the job.
pub fn worker_of(client: &mut Client, handle: Handle) -> i32 {
    client
        .query_one(
            "SELECT pid FROM pg_background_list_v2() AS (pid int4, cookie int8, launched_at timestamptz,
                user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool)
             WHERE cookie = $1",
            &[&handle.cookie],
        )
        .expect("the session lists its job")
        .get(0)
}

/// Waits until a job of this session sleeps in `pg_sleep`, so that it has surely begun.
///
/// # Panics
/// When it does not.
pub fn asleep(client: &mut Client, handle: Handle) {
    let start = Instant::now();
    loop {
        let pid = worker_of(client, handle);
        let sleeps = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep')"
        );
        if value(client, &sleeps) {
            return;
        }
        assert!(start.elapsed() < LONG, "the job does not sleep");
        pause(Duration::from_millis(5));
    }
}

/// The process that starts the others of this session's server.
pub fn postmaster(client: &mut Client) -> i32 {
    let file = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int4";
    value(client, file)
}
