//! A psql that waits for its next lines, as a user's does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// No example takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What psql says when it has come to the end of an example.
const END: &str = "@@ the example ends";

/// A running psql.
pub struct Psql {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// What an example printed, and the SQLSTATE of the last statement of it that failed.
pub struct Answer {
    /// Results and messages in order.
    pub printed: String,
    /// `00000`: none failed.
    pub sqlstate: String,
}

impl Psql {
    /// Starts one; `program` and arguments name the server, the database and the role.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // A psql that writes into a pipe keeps what it writes for itself until there is much of it.
        let mut child = Command::new("stdbuf")
            .args(["-oL", program])
            .args(arguments)
            .args(["-q", "-v", "VERBOSITY=default", "-P", "pager=off"])
            .env("PGTZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(writer)
            .spawn()
            .expect("stdbuf (of the coreutils) and psql can be run");
        let input = child.stdin.take().expect("it has a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            lines,
        }
    }

    /// Runs an example.
    ///
    /// # Errors
    /// What is wrong when psql does not come to its end.
    pub fn run(&mut self, sql: &str) -> Result<Answer, String> {
        let script = format!(
            "\\set LAST_ERROR_SQLSTATE 00000\n{sql}\n\\echo\n\\echo {END} :LAST_ERROR_SQLSTATE\n"
        );
        self.input
            .write_all(script.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| format!("psql takes no more: {error}"))?;
        let mut printed = String::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    if let Some(sqlstate) = line.strip_prefix(END) {
                        let sqlstate = String::from(sqlstate.trim());
                        return Ok(Answer { printed, sqlstate });
                    }
                    printed.push_str(&line);
                    printed.push('\n');
                }
                Err(_) => {
                    return Err(format!(
                        "psql did not come to the end; it printed\n{printed}"
                    ));
                }
            }
        }
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        // Not at the prompt, perhaps: in the middle of a statement that does not end.
        let _ = self.input.write_all(b"\\q\n");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
