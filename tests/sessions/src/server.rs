//! A server that belongs to one test.

use crate::{LONG, pause, unique};
use postgres::{Client, Config, NoTls};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What must not be in the log of a server.
const TROUBLE: [&str; 4] = [
    "PANIC:",
    "TRAP:",
    "was terminated by signal",
    "terminating any other active server",
];

/// A throw-away server with settings of its own and the extension in its database `postgres`; stopped at
/// the end. Its log stays when the test fails.
pub struct Server {
    name: String,
    config: Config,
    log: PathBuf,
    may_crash: bool,
    lacks_lines: bool,
    copy: Option<Copied>,
}

/// The files of a server that a test may change.
struct Copied {
    directory: PathBuf,
    library: PathBuf,
}

impl Copied {
    /// `None`: this server's programs (Debian's of 14) use a fixed directory for their files.
    fn new(name: &str) -> Option<(Self, String)> {
        let directory = std::env::temp_dir().join(name);
        let path = directory.to_str().expect("a path in UTF-8");
        let pg_config = script(&["copy", path]);
        let output = Command::new(&pg_config)
            .arg("--pkglibdir")
            .output()
            .expect("pg_config can be run");
        let libraries = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let library = Path::new(&libraries).join("pg_background.so");
        let is_its_own = library.starts_with(&directory);
        let copied = Self { directory, library };
        is_its_own.then_some((copied, pg_config))
    }

    fn aside(&self) -> PathBuf {
        self.library.with_extension("aside")
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn script(arguments: &[&str]) -> String {
    script_with(arguments, &[])
}

fn script_with(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(root().join("ci/server"))
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("`ci/server` can be run");
    assert!(
        output.status.success(),
        "ci/server {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from(String::from_utf8_lossy(&output.stdout).trim())
}

impl Server {
    /// Starts one. `name` is for those who look at the log of a test that has failed; a setting is
    /// `NAME=VALUE`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(name: &str, settings: &[&str]) -> Self {
        Self::start_with(name, settings, &[])
    }

    /// Starts one with `NAME=VALUE` (several, between spaces) in the environment of its processes.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_in(name: &str, settings: &[&str], environment: &str) -> Self {
        Self::start_with(name, settings, &[("PGB_ENVIRONMENT", environment)])
    }

    /// Starts one with these arguments on the command line of the server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with_arguments(name: &str, arguments: &str) -> Self {
        Self::start_with(name, &[], &[("PGB_ARGUMENTS", arguments)])
    }

    /// Starts one from a copy of the server's files, in which the library can be removed or replaced. `None`: a
    /// copy of this server would use the files of the server itself; the test prints this.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_copy(name: &str, settings: &[&str]) -> Option<Self> {
        let Some((copy, pg_config)) = Copied::new(&unique(&format!("pgb-copy-{name}"))) else {
            eprintln!("SKIPPED {name}: this server cannot be copied");
            return None;
        };
        let mut server = Self::start_with(name, settings, &[("PG_CONFIG", &pg_config)]);
        server.copy = Some(copy);
        Some(server)
    }

    fn copied(&self) -> &Copied {
        self.copy
            .as_ref()
            .expect("it was started with files of its own")
    }

    /// Removes the library.
    ///
    /// # Panics
    /// When it cannot be moved, or the files are not the server's own.
    pub fn remove_library(&self) {
        let copy = self.copied();
        std::fs::rename(&copy.library, copy.aside()).expect("the library is there");
    }

    /// Replaces it by one with another layout: the worker's start function has another name.
    ///
    /// # Panics
    /// As [`Server::remove_library`].
    pub fn replace_library(&self) {
        self.remove_library();
        let copy = self.copied();
        let output = std::fs::File::create(&copy.library).expect("the library can be written");
        // Names of the same length: nothing moves.
        let status = Command::new("sed")
            .env("LC_ALL", "C")
            .arg("s/pg_background_worker_layout_/qg_background_worker_layout_/g")
            .arg(copy.aside())
            .stdout(output)
            .status()
            .expect("sed can be run");
        assert!(status.success(), "the library is replaced");
    }

    /// Restores it.
    ///
    /// # Panics
    /// As [`Server::remove_library`].
    pub fn restore_library(&self) {
        let copy = self.copied();
        std::fs::rename(copy.aside(), &copy.library).expect("the library can be moved back");
    }

    fn start_with(name: &str, settings: &[&str], environment: &[(&str, &str)]) -> Self {
        // Two runs at the same time must not use each other's server.
        let name = unique(&format!("test-{name}"));
        let mut arguments = vec!["start", &name];
        arguments.extend(settings);
        script_with(&arguments, environment);
        let server = Self {
            config: script(&["url", &name])
                .parse()
                .expect("`ci/server` gives a connection string"),
            log: root().join(script(&["log", &name])),
            name,
            may_crash: false,
            lacks_lines: false,
            copy: None,
        };
        server
            .session()
            .batch_execute("CREATE EXTENSION pg_background")
            .expect("the extension is created");
        server
    }

    /// The test makes it crash on purpose.
    pub fn may_crash(&mut self) {
        self.may_crash = true;
    }

    /// Some of its processes cannot write to its log, or log at another level. So its transitions cannot be put in order.
    pub fn log_lacks_lines(&mut self) {
        self.lacks_lines = true;
    }

    /// Where it can be reached.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What `ci/server` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A session as the superuser.
    ///
    /// # Panics
    /// When no connection can be made within [`LONG`] (a server may be restarting).
    pub fn session(&self) -> Client {
        self.session_as("postgres")
    }

    /// A session as another role.
    ///
    /// # Panics
    /// As [`Server::session`].
    pub fn session_as(&self, role: &str) -> Client {
        let start = Instant::now();
        loop {
            match self.config.clone().user(role).connect(NoTls) {
                Ok(client) => return client,
                Err(error) => assert!(start.elapsed() < LONG, "no connection: {error:?}"),
            }
            pause(Duration::from_millis(50));
        }
    }

    /// Makes a role that may log in and use the extension.
    ///
    /// # Panics
    /// When that fails.
    pub fn role(&self, name: &str) {
        self.session()
            .batch_execute(&format!(
                "CREATE ROLE {name} LOGIN; GRANT pgbackground_role TO {name}"
            ))
            .expect("the role is created");
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).expect("the server has a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Starts it again with its data, as a hot standby that no primary feeds. Sessions end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn become_standby(&self) {
        script(&["standby", &self.name]);
    }

    /// Stops it, with everything that runs on it.
    pub fn stop(&self) {
        script(&["stop", &self.name]);
    }
}

impl Server {
    /// The tables of the engine allow what it has logged until it stopped.
    fn check_transitions(&self) {
        if self.lacks_lines {
            return;
        }
        let traced = trace::check(&self.log.display().to_string(), &self.log());
        traced.note_coverage();
        assert!(
            traced.faults.is_empty(),
            "transitions that the tables do not allow:\n{}",
            traced.faults.join("\n")
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let log = self.log();
        // A test that has failed says why itself.
        if std::thread::panicking() {
            let _ = Command::new(root().join("ci/server"))
                .args(["stop", &self.name])
                .output();
            return;
        }
        self.stop();
        self.check_transitions();
        let trouble = TROUBLE.iter().find(|words| log.contains(**words));
        assert!(
            self.may_crash || trouble.is_none(),
            "{trouble:?} in {}",
            self.log.display()
        );
        if let Some(home) = self.log.parent() {
            let _ = std::fs::remove_dir_all(home);
        }
    }
}
