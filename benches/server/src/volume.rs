//! Many jobs: what one costs when thousands wait before it, what is left of a hundred thousand, and what memory the worker
//! has that has run a million.

use std::fs;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::Outcome;
use crate::server::Server;

/// Lengths of the queue.
pub const LENGTHS: [i32; 3] = [1_000, 10_000, 100_000];

/// What one job costs at one length of the queue, microseconds.
pub struct Cost {
    /// To launch it behind all the others.
    pub launch: f64,
    /// From the moment that the first may go on until the last has ended, by job.
    pub run: f64,
}

fn per_job(taken: Duration, jobs: i32) -> f64 {
    taken.as_secs_f64() * 1e6 / f64::from(jobs)
}

/// Queues so many jobs behind a lock, then releases the lock.
pub fn cost_at(db: &mut Client, jobs: i32) -> Outcome<Cost> {
    db.batch_execute(
        "CREATE TABLE IF NOT EXISTS pgbackground_bench.gate (); LOAD 'pg_background';
         SET pg_background.on_exhaustion = queue; SET pg_background.max_workers = 1000",
    )?;
    db.batch_execute("BEGIN; LOCK TABLE pgbackground_bench.gate")?;
    // As many as the workers there are: they wait for the lock, and all others behind them.
    let blocked = "SELECT count(pg_background_submit_v2('SELECT count(*) FROM pgbackground_bench.gate')) FROM generate_series(1, 16)";
    db.execute(blocked, &[])?;
    let start = Instant::now();
    db.execute(
        "SELECT count(pg_background_submit_v2('SELECT 1')) FROM generate_series(1, $1)",
        &[&jobs],
    )?;
    let launch = per_job(start.elapsed(), jobs);
    // From before the release: the jobs do not wait for this process to get a processor.
    let start = Instant::now();
    db.batch_execute("COMMIT")?;
    db.execute(
        "SELECT pg_background_wait_all((SELECT array_agg((pid, cookie)::pg_background_handle) FROM pg_background_list))",
        &[],
    )?;
    let run = per_job(start.elapsed(), jobs);
    db.execute("SELECT pg_background_detach_all()", &[])?;
    Ok(Cost { launch, run })
}

/// Jobs of all kinds, by tens: read, failed, canceled, detached, submitted, and left unread by their sessions.
const KINDS: &str = "DO $$
DECLARE
    h pg_background_handle;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        h := pg_background_launch_v2('SELECT 1');
        PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (n int);
        BEGIN
            h := pg_background_launch_v2('SELECT 1 / 0');
            PERFORM * FROM pg_background_result_v2(h.pid, h.cookie) AS (n int);
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
        h := pg_background_launch_v2('SELECT pg_sleep(600)');
        PERFORM pg_background_cancel_v2(h.pid, h.cookie);
        PERFORM pg_background_detach_v2(h.pid, h.cookie);
        h := pg_background_launch_v2('SELECT repeat(''x'', 100) FROM generate_series(1, 100)');
        PERFORM pg_background_detach_v2(h.pid, h.cookie);
        h := pg_background_submit_v2('SELECT 1');
        PERFORM pg_background_detach_v2(h.pid, h.cookie);
        PERFORM pg_background_run('SELECT 1');
        PERFORM count(*) FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2', 'SELECT 1 / 0']);
    END LOOP;
    FOR i IN 1 .. 10 LOOP
        PERFORM pg_background_launch_v2('SELECT 1');
    END LOOP;
END $$";

/// What a hundred thousand jobs have left: slots, arena bytes, segments, spill files. Waits until that does not
/// change any more.
pub fn left_over(server: &Server) -> Outcome<f64> {
    for _ in 0..11 {
        // A session of its own, which ends with jobs unread.
        server.connect()?.batch_execute(KINDS)?;
    }
    let mut db = server.connect()?;
    let mut left = i64::MAX;
    for _ in 0..50 {
        left = db
            .query_one(
                "SELECT slots_used + arena_bytes + dsm_segments + spill_files FROM pg_background_resources()",
                &[],
            )?
            .get(0);
        if left == 0 {
            break;
        }
        db.execute("SELECT pg_sleep(0.1)", &[])?;
    }
    Ok(left as f64)
}

/// How many mixed jobs a worker has run.
pub const JOBS: [u32; 3] = [1, 10_000, 1_000_000];

/// Memory of its own that a worker has after so many mixed jobs, kB: heap and stack, not what processes share.
pub fn memory_of_worker(server: &Server, jobs: [u32; 3]) -> Outcome<[f64; 3]> {
    let mut db = server.connect()?;
    set_max_jobs(&mut db, "SET pg_background.worker_max_jobs = 100000000")?;
    db.execute("SELECT pg_background_retire_idle()", &[])?;
    let first = worker(&mut db)?;
    let mut kilobytes = [0.0; 3];
    let mut done = 1;
    for (have, jobs) in kilobytes.iter_mut().zip(jobs) {
        let rounds = i32::try_from(jobs.saturating_sub(done) / 10)?;
        db.execute("SELECT pgbackground_bench.mixed_jobs($1)", &[&rounds])?;
        done = jobs;
        if worker(&mut db)? != first {
            return Err("another worker has run the jobs".into());
        }
        *have = own_memory(first)?;
    }
    set_max_jobs(&mut db, "RESET pg_background.worker_max_jobs")?;
    Ok(kilobytes)
}

fn set_max_jobs(db: &mut Client, change: &str) -> Outcome<()> {
    db.batch_execute("LOAD 'pg_background'")?;
    db.batch_execute(&format!("ALTER SYSTEM {change}"))?;
    // Workers read it before their next job, when the signal has reached them.
    db.batch_execute("SELECT pg_reload_conf(); SELECT pg_sleep(0.1)")?;
    Ok(())
}

fn worker(db: &mut Client) -> Outcome<i32> {
    let sql = "SELECT pg_background_call('SELECT pg_backend_pid()', 0)";
    Ok(db.query_one(sql, &[])?.get(0))
}

fn own_memory(pid: i32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("the system does not tell it")?.parse()?)
}
