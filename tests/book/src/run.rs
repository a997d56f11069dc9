//! Runs the examples of a page.

use crate::compare::fits;
use crate::page::{Example, Page};
use crate::psql::{Answer, Psql};
use crate::root;
use postgres::{Client, NoTls};
use session_tests::{LONG, Server, pause, unique};
use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// psql's message for a backslash command that it does not accept.
const COMPLAINTS: [&str; 6] = [
    "ERROR: ",
    "FATAL: ",
    "invalid command",
    "unrecognized ",
    "no rows returned for",
    "more than one row returned for",
];

/// The roles of [`Example::role`], and who they are for the server.
const ROLES: [(&str, &str); 3] = [
    ("app", "app"),
    ("admin", "postgres"),
    ("stranger", "stranger"),
];

/// The server on which examples run, with the roles that they use.
pub struct Host {
    server: Server,
}

/// A page that has a server of its own for each host name that it mentions.
struct Others {
    servers: Vec<(String, Server)>,
}

/// A database of the page's, dropped at the end.
pub(crate) struct Home<'a> {
    host: &'a Host,
    pub(crate) database: String,
}

/// The catalogs of the older versions, where the server finds them; removed at the end.
struct OldVersions;

impl OldVersions {
    fn put() -> Self {
        Self::call("put");
        Self
    }

    fn call(what: &str) {
        let script = root().join("ci/server-tests");
        let output = Command::new(script).args(["old-versions", what]).output();
        let output = output.expect("`ci/server-tests` can be run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for OldVersions {
    fn drop(&mut self) {
        Self::call("remove");
    }
}

impl Host {
    /// Starts it.
    pub fn start() -> Self {
        let server = Server::start("book", &[]);
        server
            .session()
            .batch_execute(
                "CREATE ROLE app LOGIN; GRANT pgbackground_role TO app; CREATE ROLE stranger LOGIN",
            )
            .expect("the roles are created");
        Self { server }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn session_of(&self, database: &str) -> Client {
        let mut config = self.server.config().clone();
        let client = config.dbname(database).connect(NoTls);
        client.expect("the server accepts the connection")
    }

    pub(crate) fn home(&self, bare: bool) -> Home<'_> {
        let database = unique("book");
        self.server
            .session()
            .batch_execute(&format!("CREATE DATABASE {database} OWNER app"))
            .expect("the database is created");
        if !bare {
            self.session_of(&database)
                .batch_execute("CREATE EXTENSION pg_background")
                .expect("the extension is created");
        }
        Home {
            host: self,
            database,
        }
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        let _ = self.host.server.session().batch_execute(&sql);
    }
}

impl Others {
    /// For each host name a server with a database `app` that belongs to the role `app`, whose password is asked
    /// for.
    fn start(names: &str) -> Self {
        let start = |name: &str| {
            let server = Server::start("other", &[]);
            let mut admin = server.session();
            admin
                .batch_execute(
                    "CREATE ROLE app LOGIN PASSWORD 'secret'; GRANT pgbackground_role TO app",
                )
                .expect("the role is created");
            admin
                .batch_execute("CREATE DATABASE app OWNER app")
                .expect("the database is created");
            let mut config = server.config().clone();
            let mut database = config.dbname("app").connect(NoTls).expect("a session");
            database
                .batch_execute("CREATE EXTENSION pg_background")
                .expect("the extension is created");
            let file: String = session_tests::value(&mut admin, "SHOW hba_file");
            let rules = "(VALUES ('local all app scram-sha-256'), ('local all all trust'))";
            admin
                .batch_execute(&format!("COPY {rules} TO '{file}'"))
                .expect("the rules are written");
            admin
                .batch_execute("SELECT pg_reload_conf()")
                .expect("reloaded");
            (String::from(name), server)
        };
        Self {
            servers: names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(start)
                .collect(),
        }
    }

    /// The same text with addresses in place of the names.
    fn addressed(&self, sql: &str) -> String {
        let mut sql = String::from(sql);
        for (name, server) in &self.servers {
            let path = match server.config().get_hosts().first() {
                Some(postgres::config::Host::Unix(path)) => path.to_string_lossy().into_owned(),
                other => panic!("a server on this machine: {other:?}"),
            };
            sql = sql.replace(name, &path);
        }
        sql
    }
}

/// Asks in the example's session until its condition has become true.
fn await_condition(psql: &mut Psql, condition: &str) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let answer = psql.run(&format!("SELECT ({condition}) AS until;"))?;
        if answer.printed.lines().any(|line| line.trim() == "t") {
            return Ok(());
        }
        if answer.sqlstate != "00000" || start.elapsed() > LONG {
            return Err(format!(
                "it never came true: {condition}\n{}",
                answer.printed
            ));
        }
        pause(Duration::from_millis(10));
    }
}

/// What is wrong with what an example printed.
fn faults(example: &Example, answer: &Answer, page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    let complaints: Vec<&str> = answer
        .printed
        .lines()
        .filter(|line| COMPLAINTS.iter().any(|words| line.starts_with(words)))
        .collect();
    match &example.error {
        None => {
            if answer.sqlstate != "00000" || !complaints.is_empty() {
                faults.push(format!("it fails with {}", answer.sqlstate));
            }
        }
        Some(expected) => {
            if answer.sqlstate != *expected {
                faults.push(format!("fails with {}, not {expected}", answer.sqlstate));
            }
            if complaints.len() != 1 {
                faults.push(format!("{} statements fail, not one", complaints.len()));
            }
            if !page.text.contains(expected.as_str()) {
                faults.push(format!("the page does not speak of {expected}"));
            }
        }
    }
    if let Some(shown) = &example.output
        && !fits(shown, &answer.printed)
    {
        faults.push(String::from("it does not print what the page shows"));
    }
    faults
}

/// Runs the examples of a page in order and says what is wrong.
pub fn run(host: &Host, page: &Page) -> Vec<String> {
    let mut wrong = page.faults.clone();
    let has = |option: &str| page.options.iter().any(|word| word == option);
    let names = page
        .options
        .iter()
        .find_map(|word| word.strip_prefix("servers="));
    let _old_versions = has("old-versions").then(OldVersions::put);
    let others = Others::start(names.unwrap_or_default());
    let version = session_tests::major_version(&mut host.server.session());
    let home = host.home(has("bare"));
    let mut sessions: HashMap<(&str, &str), Psql> = HashMap::new();
    for example in page
        .examples
        .iter()
        .filter(|example| example.not_run.is_none())
        .filter(|example| example.since.is_none_or(|since| since <= version))
    {
        let Some((_, user)) = ROLES.iter().find(|(role, _)| *role == example.role) else {
            wrong.push(format!("line {}: who is {}?", example.line, example.role));
            continue;
        };
        let psql = sessions
            .entry((&example.role, &example.session))
            .or_insert_with(|| {
                let script = root().join("ci/server");
                let name = host.server.name();
                let arguments = ["psql", name, "-d", &home.database, "-U", user];
                Psql::start(&script.to_string_lossy(), &arguments)
            });
        let condition = example.until.as_deref();
        let ran = condition
            .map_or(Ok(()), |condition| await_condition(psql, condition))
            .and_then(|()| psql.run(&others.addressed(&example.sql)));
        match ran {
            Ok(answer) => {
                let faults = faults(example, &answer, page);
                if !faults.is_empty() {
                    wrong.push(format!(
                        "line {}: {}\n{}---- printed:\n{}",
                        example.line,
                        faults.join("; "),
                        example.sql,
                        answer.printed.trim_end()
                    ));
                }
            }
            Err(fault) => {
                wrong.push(format!("line {}: {fault}", example.line));
                break;
            }
        }
    }
    wrong
}
