//! End-to-end benchmark: what a session on a real server sees, with dblink measured beside it in
//! the same run.
//!
//! `PGB_BENCH_URL` names the server (a superuser's connection over a unix socket; the server must be
//! on this machine, for its processes' counters are read from `/proc`). `PGB_BENCH_WIDE_URL` names one with
//! a job table of 131072, for the longest queue. Arguments name the measures
//! to run: `T1 T3`; none means all. Targets are printed, not asserted: the exit code tells only
//! whether the benchmark could run.

mod series;
mod volume;
mod wakeups;

use std::env;

use postgres::{Client, NoTls};
use series::Series;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Of ours and the peer by turns, so that whatever else the machine does meets both.
const BATCHES: usize = 25;

/// What the figures must be.
enum Target {
    /// Ours at most so many microseconds.
    Micros(f64),
    /// Ours at most so many times the peer's time.
    TimesPeer(f64),
    /// Ours at least so many times the peer's rate.
    RateTimesPeer(f64),
    /// Ours at least so much.
    Rate(f64),
}

impl Target {
    fn is_met(&self, ours: f64, peer: f64) -> bool {
        match self {
            Target::Micros(limit) => ours <= *limit,
            Target::TimesPeer(limit) => ours / peer <= *limit,
            Target::RateTimesPeer(limit) => ours / peer >= *limit,
            Target::Rate(limit) => ours >= *limit,
        }
    }

    fn text(&self) -> String {
        match self {
            Target::Micros(limit) => format!("<= {limit} us"),
            Target::TimesPeer(limit) => format!("<= {limit} x peer"),
            Target::RateTimesPeer(limit) => format!(">= {limit} x peer"),
            Target::Rate(limit) => format!(">= {limit}"),
        }
    }
}

/// One line of the table whose two sides are functions of `measures.sql`.
struct Comparison {
    id: &'static str,
    what: &'static str,
    ours: &'static str,
    peer: &'static str,
    /// Argument of both functions: rounds of a batch, or jobs for the waves.
    rounds: i32,
    batches: usize,
    /// Whether each batch must find no worker. The peer's too: it shall meet the same machine, with
    /// the same pause before and no worker of ours about.
    cold: bool,
    target: Target,
}

const COMPARISONS: [Comparison; 12] = [
    Comparison {
        id: "T1",
        what: "launch + read, back to back, us",
        ours: "ours_round_trip",
        peer: "dblink_round_trip",
        rounds: 200,
        batches: BATCHES,
        cold: false,
        target: Target::TimesPeer(1.0),
    },
    Comparison {
        id: "T1",
        what: "launch + read, after 2 ms pause, us",
        ours: "ours_after_pause",
        peer: "dblink_after_pause",
        rounds: 50,
        batches: BATCHES,
        cold: false,
        target: Target::TimesPeer(1.0),
    },
    Comparison {
        id: "T2",
        what: "launch alone, warm, us",
        ours: "ours_launch",
        peer: "dblink_send",
        rounds: 200,
        batches: BATCHES,
        cold: false,
        target: Target::Micros(15.0),
    },
    Comparison {
        id: "T3",
        what: "400 jobs in waves of 16, jobs/s",
        ours: "ours_waves",
        peer: "dblink_waves",
        rounds: 400,
        batches: BATCHES,
        cold: false,
        target: Target::RateTimesPeer(1.0),
    },
    Comparison {
        id: "T4",
        what: "10 000 statements fanned out, stmts/s",
        ours: "ours_fanout",
        peer: "dblink_waves",
        rounds: 10_000,
        batches: 9,
        cold: false,
        target: Target::RateTimesPeer(1.5),
    },
    Comparison {
        id: "T5",
        what: "late return of wait, us",
        ours: "ours_late_return",
        peer: "dblink_late_return",
        rounds: 5,
        batches: 8,
        cold: false,
        target: Target::Micros(500.0),
    },
    Comparison {
        id: "T6",
        what: "cancel until wait returns, us",
        ours: "ours_cancel",
        peer: "dblink_cancel",
        rounds: 5,
        batches: 8,
        cold: false,
        target: Target::Micros(400.0),
    },
    Comparison {
        id: "T7",
        what: "1 M int4 rows, rows/s",
        ours: "ours_ints",
        peer: "dblink_ints",
        rounds: 1000000,
        batches: 5,
        cold: false,
        target: Target::RateTimesPeer(2.0),
    },
    Comparison {
        id: "T8",
        what: "300 k rows of 5 columns, rows/s",
        ours: "ours_wide",
        peer: "dblink_wide",
        rounds: 300000,
        batches: 5,
        cold: false,
        target: Target::RateTimesPeer(3.3),
    },
    Comparison {
        id: "T9",
        what: "5000 values of 100 kB, MB/s",
        ours: "ours_large",
        peer: "dblink_large",
        rounds: 5000,
        batches: 5,
        cold: false,
        target: Target::Rate(800.0),
    },
    Comparison {
        id: "T9",
        what: "the same one by one, MB/s",
        ours: "ours_large_one_by_one",
        peer: "dblink_large",
        rounds: 5000,
        batches: 5,
        cold: false,
        target: Target::Rate(800.0),
    },
    Comparison {
        id: "T10",
        what: "first job of a lane, us",
        ours: "ours_round_trip",
        peer: "dblink_new_connection",
        rounds: 1,
        batches: BATCHES,
        cold: true,
        target: Target::TimesPeer(1.2),
    },
];

fn main() -> Outcome<()> {
    let url = env::var("PGB_BENCH_URL").map_err(|_| "PGB_BENCH_URL is not set: see ci/bench")?;
    let chosen: Vec<String> = env::args().skip(1).collect();
    let is_chosen = |id: &str| chosen.is_empty() || chosen.iter().any(|name| name == id);

    let mut db = Client::connect(&url, NoTls)?;
    db.batch_execute(
        "CREATE EXTENSION IF NOT EXISTS pg_background; CREATE EXTENSION IF NOT EXISTS dblink",
    )?;
    db.batch_execute(include_str!("measures.sql"))?;
    db.execute("SELECT bench.connect()", &[])?;

    print_conditions(&mut db)?;
    print_row(["", "measure", "ours", "peer", "ratio", "target", "met"]);
    for comparison in COMPARISONS
        .iter()
        .filter(|comparison| is_chosen(comparison.id))
    {
        match compare(&mut db, comparison) {
            Ok((ours, peer)) => {
                let (a, b) = (ours.median(), peer.median());
                print_row([
                    comparison.id,
                    comparison.what,
                    &ours.to_string(),
                    &peer.to_string(),
                    &format!("{:.2}", a / b),
                    &comparison.target.text(),
                    if comparison.target.is_met(a, b) {
                        "yes"
                    } else {
                        "no"
                    },
                ]);
            }
            Err(error) => print_failure(comparison.id, comparison.what, &*error),
        }
    }
    if is_chosen("T12") {
        for measure in wakeups::MEASURES {
            match (measure.count)(&url) {
                Ok(count) => print_row([
                    "T12",
                    measure.what,
                    &count.to_string(),
                    "",
                    "",
                    &format!("<= {}", measure.limit),
                    if count <= measure.limit { "yes" } else { "no" },
                ]),
                Err(error) => print_failure("T12", measure.what, &*error),
            }
        }
    }
    if is_chosen("queue") {
        queue_lengths();
    }
    if is_chosen("T13") {
        match volume::left_over(&url) {
            Ok(left) => print_row([
                "T13",
                "left of 100 000 jobs of all kinds",
                &left.to_string(),
                "",
                "",
                "0",
                if left == 0 { "yes" } else { "no" },
            ]),
            Err(error) => print_failure("T13", "left of 100 000 jobs", &*error),
        }
    }
    println!("median of the batches' medians (least..most); the peer is dblink");
    Ok(())
}

/// What one job costs when so many wait before it, beside the shortest queue.
fn queue_lengths() {
    let Ok(url) = env::var("PGB_BENCH_WIDE_URL") else {
        println!("PGB_BENCH_WIDE_URL is not set: no queue lengths");
        return;
    };
    let mut shortest = None;
    for length in volume::LENGTHS {
        let what = format!("{length} queued: launch, run; us a job");
        match volume::cost_at(&url, length) {
            Ok(cost) => {
                let first = *shortest.get_or_insert(cost.launch + cost.run);
                print_row([
                    "-",
                    &what,
                    &format!("{:.1}, {:.1}", cost.launch, cost.run),
                    "",
                    &format!("{:.2}", (cost.launch + cost.run) / first),
                    "",
                    "",
                ]);
            }
            Err(error) => print_failure("-", &what, &*error),
        }
    }
}

fn compare(db: &mut Client, comparison: &Comparison) -> Outcome<(Series, Series)> {
    let Comparison {
        ours, peer, rounds, ..
    } = comparison;
    let ours = format!("SELECT bench.{ours}({rounds})");
    let peer = format!("SELECT bench.{peer}({rounds})");
    let (mut our_series, mut peer_series) = (Series::default(), Series::default());

    // Both sides once without counting: caches, plans, and on our side the workers.
    db.query_one(&ours, &[])?;
    db.query_one(&peer, &[])?;
    for _ in 0..comparison.batches {
        if comparison.cold {
            send_workers_home(db)?;
        }
        our_series.push(db.query_one(&ours, &[])?.get(0));
        if comparison.cold {
            send_workers_home(db)?;
        }
        peer_series.push(db.query_one(&peer, &[])?.get(0));
    }
    Ok((our_series, peer_series))
}

/// Returns when the server has no worker of ours left.
fn send_workers_home(db: &mut Client) -> Outcome<()> {
    loop {
        db.execute("SELECT pg_background_retire_idle()", &[])?;
        // The pause also lets the postmaster reap what has just left the view.
        db.execute("SELECT pg_sleep(0.02)", &[])?;
        let workers: i64 = db
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_background'",
                &[],
            )?
            .get(0);
        if workers == 0 {
            return Ok(());
        }
    }
}

fn print_conditions(db: &mut Client) -> Outcome<()> {
    let version: String = db.query_one("SHOW server_version", &[])?.get(0);
    println!(
        "PostgreSQL {version}, {} processors",
        std::thread::available_parallelism()?
    );
    let settings = db.query(
        "SELECT name, current_setting(name) FROM pg_settings \
         WHERE name LIKE 'pg\\_background.%' OR name IN ('max_worker_processes', 'shared_buffers') \
         ORDER BY name",
        &[],
    )?;
    for setting in settings {
        println!(
            "  {} = {}",
            setting.get::<_, &str>(0),
            setting.get::<_, &str>(1)
        );
    }
    println!();
    Ok(())
}

fn print_row([id, measure, ours, peer, ratio, target, met]: [&str; 7]) {
    println!("{id:<4} {measure:<36} {ours:<24} {peer:<24} {ratio:>6}  {target:<15} {met}");
}

fn print_failure(id: &str, measure: &str, error: &dyn std::error::Error) {
    // The client's own message says only "db error"; the server's is its source.
    let reason = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    println!("{id:<4} {measure:<36} failed: {reason}");
}
