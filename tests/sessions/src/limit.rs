//! Limits of the operating system for a process of the test's own server.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// A limit of a running process; lifted at the end.
pub struct Limit {
    pid: i32,
    resource: &'static str,
}

impl Limit {
    /// `resource` as `prlimit` calls it. Only the soft limit, which can be raised again.
    ///
    /// # Panics
    /// When it cannot be set.
    #[must_use]
    pub fn new(pid: i32, resource: &'static str, limit: u64) -> Self {
        let this = Self { pid, resource };
        this.set(&limit.to_string());
        this
    }

    fn set(&self, limit: &str) {
        let status = prlimit(self.pid)
            .arg(format!("--{}={limit}:", self.resource))
            .status()
            .expect("prlimit can be run");
        assert!(status.success(), "the limit can be set");
    }
}

/// Runs as the server's user: nobody else may without special privileges.
fn prlimit(pid: i32) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = if is_root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    command.args(["--pid", &pid.to_string()]);
    command
}

impl Drop for Limit {
    fn drop(&mut self) {
        let output = prlimit(self.pid)
            .args([&format!("--{}", self.resource), "--output=HARD"])
            .args(["--noheadings", "--raw"])
            .output();
        // The process may be gone.
        if let Ok(output) = output
            && output.status.success()
        {
            self.set(String::from_utf8_lossy(&output.stdout).trim());
        }
    }
}
