//! Many login roles at once, on a server with fewer worker slots than roles.

use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::Outcome;
use crate::server::Server;

/// How many roles.
pub const COUNTS: [usize; 6] = [1, 4, 8, 9, 16, 32];

/// Jobs of one call.
const JOBS: i64 = 16;

const FANOUT: &str =
    "SELECT count(*) FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[16]))";

/// What so many roles got.
pub struct Served {
    /// Jobs a second, of all roles.
    pub rate: f64,
    /// The longest time that a role waited for one call of [`JOBS`] jobs, milliseconds; or for its first.
    pub longest: f64,
    /// Jobs a second of the role that got least.
    pub least: f64,
}

/// Creates the roles.
pub fn prepare(db: &mut Client) -> Outcome<()> {
    for role in 0..COUNTS[COUNTS.len() - 1] {
        db.batch_execute(&format!(
            "CREATE ROLE pgbackground_bench_{role} LOGIN IN ROLE pgbackground_role"
        ))?;
    }
    Ok(())
}

fn connect(server: &Server, role: usize) -> Outcome<Client> {
    let mut config: Config = server.url.parse()?;
    config.user(&format!("pgbackground_bench_{role}"));
    Ok(config.connect(NoTls)?)
}

/// Calls again and again until `end`. Returns how many calls, and the longest of them.
fn flood(mut client: Client, end: Instant) -> Result<(i64, Duration), postgres::Error> {
    let (mut calls, mut longest) = (0, Duration::ZERO);
    let statement = client.prepare(FANOUT)?;
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok((calls, longest));
        }
        client.execute(&statement, &[])?;
        calls += 1;
        longest = longest.max(start.elapsed());
    }
}

/// Has so many roles flood the pool for some seconds.
pub fn served(server: &Server, roles: usize, seconds: u32) -> Outcome<Served> {
    let clients: Vec<Client> = (0..roles)
        .map(|role| connect(server, role))
        .collect::<Outcome<_>>()?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.into());
    let threads: Vec<_> = clients
        .into_iter()
        .map(|client| thread::spawn(move || flood(client, end)))
        .collect();
    let mut of_each = Vec::new();
    for thread in threads {
        of_each.push(thread.join().map_err(|_| "a client panicked")??);
    }
    let taken = start.elapsed().as_secs_f64();
    let jobs = |calls: i64| (calls * JOBS) as f64 / taken;
    Ok(Served {
        rate: jobs(of_each.iter().map(|(calls, _)| calls).sum()),
        longest: of_each
            .iter()
            .map(|(_, longest)| longest.as_secs_f64() * 1e3)
            .fold(0.0, f64::max),
        least: jobs(of_each.iter().map(|(calls, _)| *calls).min().unwrap_or(0)),
    })
}
