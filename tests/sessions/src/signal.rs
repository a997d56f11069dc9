//! Signals to processes of the server, by the system call: the program `kill` is not installed everywhere.

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Sends `signal` to a process of the server.
///
/// # Panics
/// When that is not possible.
pub fn signal(pid: i32, signal: Signal) {
    let process = Pid::from_raw(pid).expect("a process");
    kill_process(process, signal).expect("the process can be signaled");
}
