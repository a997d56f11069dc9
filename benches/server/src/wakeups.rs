//! How often idle processes wake.

use std::fs;
use std::sync::mpsc;
use std::thread;

use postgres::Client;

use crate::Outcome;
use crate::server::Server;

/// One line of the table.
pub struct Measure {
    pub what: &'static str,
    pub count: fn(&Server) -> Outcome<f64>,
    /// At most so many wake-ups.
    pub limit: f64,
}

pub const MEASURES: [Measure; 2] = [
    // The self-deadlock checks, at doubling intervals from deadlock_timeout on, are allowed.
    Measure {
        what: "wake-ups of a waiting leader, 15 s",
        count: of_waiting_leader,
        limit: 5.0,
    },
    Measure {
        what: "wake-ups of an idle worker, 2 s",
        count: of_idle_worker,
        limit: 0.0,
    },
];

const LAUNCH: &str = "SELECT pid, cookie FROM pg_background_launch_v2($1)";
const WAIT: &str = "SELECT pg_background_wait_v2($1, $2)";
const DETACH: &str = "SELECT pg_background_detach_v2($1, $2)";

fn of_waiting_leader(server: &Server) -> Outcome<f64> {
    let mut leader = server.connect()?;
    let mut watch = server.connect()?;
    let leader_pid: i32 = leader.query_one("SELECT pg_backend_pid()", &[])?.get(0);

    let (launched, launch) = mpsc::channel();
    let waiter = thread::spawn(move || -> Result<(), postgres::Error> {
        let job = leader.query_one(LAUNCH, &[&"SELECT pg_sleep(60)"])?;
        let (pid, cookie): (i32, i64) = (job.get(0), job.get(1));
        // The other side has ended only if it has failed, and then reports that itself.
        let _ = launched.send(pid);
        leader.execute(WAIT, &[&pid, &cookie])?;
        leader.execute(DETACH, &[&pid, &cookie])?;
        Ok(())
    });
    let counted = launch.recv().ok().map(|worker| -> Outcome<f64> {
        let count = switches_during(&mut watch, leader_pid, 0.2, 15.0);
        watch.execute("SELECT pg_cancel_backend($1)", &[&worker])?;
        count
    });
    waiter
        .join()
        .map_err(|_| "the waiting session panicked")??;
    counted.ok_or("the waiting session launched nothing")?
}

fn of_idle_worker(server: &Server) -> Outcome<f64> {
    let mut leader = server.connect()?;
    let mut watch = server.connect()?;
    let job = leader.query_one(LAUNCH, &[&"SELECT 1"])?;
    let (pid, cookie): (i32, i64) = (job.get(0), job.get(1));
    leader.execute(WAIT, &[&pid, &cookie])?;
    leader.execute(DETACH, &[&pid, &cookie])?;
    // Together well below the default idle limit of 3 s.
    switches_during(&mut watch, pid, 0.3, 2.0)
}

/// Voluntary context switches of a process over some seconds, after some others to settle. A process
/// that sleeps and is left alone has none.
fn switches_during(watch: &mut Client, pid: i32, settle: f64, seconds: f64) -> Outcome<f64> {
    watch.execute("SELECT pg_sleep($1)", &[&settle])?;
    let before = voluntary_switches(pid)?;
    watch.execute("SELECT pg_sleep($1)", &[&seconds])?;
    Ok((voluntary_switches(pid)? - before) as f64)
}

fn voluntary_switches(pid: i32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .ok_or("no voluntary_ctxt_switches in /proc/PID/status")?;
    Ok(count.trim().parse()?)
}
