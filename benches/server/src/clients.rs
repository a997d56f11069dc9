//! Many clients at once, by pgbench.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use postgres::Client;

use crate::Outcome;
use crate::server::Server;

/// Launch a job and read its row.
pub const OURS: &str = "SELECT r.n FROM pg_background_launch_v2($$SELECT 1$$) h, \
     pg_background_result_v2(h.pid, h.cookie) AS r (n int4);\n";
/// The same with the functions of version 1: a statement with one function, which is quicker to plan.
pub const OURS_V1: &str =
    "SELECT n FROM pg_background_result(pg_background_launch($$SELECT 1$$)) AS r (n int4);\n";
/// The statement itself.
pub const SELECT: &str = "SELECT 1;\n";
/// The statement through dblink; each client opens its connection in its first transaction.
pub const DBLINK: &str = "\\if :opened = 0\n\
     SELECT dblink_connect('c', pgbackground_bench.address());\n\
     \\set opened 1\n\
     \\endif\n\
     SELECT n FROM dblink('c', 'SELECT 1') AS r (n int4);\n";

/// Name of the measure with so many clients.
pub fn what(count: u32) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} client{plural}, launch + read, jobs/s")
}

/// How pgbench is run.
pub struct PgBench<'a> {
    pub program: PathBuf,
    pub server: &'a Server,
    pub seconds: u32,
    /// Where the scripts are put.
    pub scripts: PathBuf,
}

impl PgBench<'_> {
    /// Transactions a second of so many clients with this script.
    pub fn rate(&self, db: &mut Client, script: &str, clients: u32) -> Outcome<f64> {
        self.rate_of(db, script, clients, "simple")
    }

    /// The same with prepared statements.
    pub fn prepared_rate(&self, db: &mut Client, script: &str, clients: u32) -> Outcome<f64> {
        self.rate_of(db, script, clients, "prepared")
    }

    fn rate_of(&self, db: &mut Client, script: &str, clients: u32, protocol: &str) -> Outcome<f64> {
        fs::create_dir_all(&self.scripts)?;
        let file = self.scripts.join("transaction.sql");
        fs::write(&file, script)?;
        let clients = clients.to_string();
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--define=opened=0"])
            .args(["--protocol", protocol])
            .args(["--client", &clients, "--jobs", &clients])
            .args(["--time", &self.seconds.to_string()])
            .arg("--file")
            .arg(&file)
            .arg(&self.server.url)
            .env("PGOPTIONS", self.server.options())
            .output()?;
        // Sessions that have just ended still count as connections for a moment.
        db.execute("SELECT pg_sleep(0.1)", &[])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        // A client that gave up counts too: otherwise the others' rate would look better.
        if !output.status.success() || errors.contains("aborted") {
            // The server's own message, without pgbench's position.
            let reason = errors
                .lines()
                .find_map(|line| line.find("ERROR:").map(|at| &line[at..]));
            return Err(reason.unwrap_or("pgbench failed").into());
        }
        let rate = text
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next())
            .ok_or("pgbench printed no rate")?;
        Ok(rate.parse()?)
    }
}
