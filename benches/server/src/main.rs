//! End-to-end benchmark: what a session on a real server sees, with dblink measured beside it in
//! the same run. `ci/bench` starts the servers and says where they are:
//!
//! | variable | meaning |
//! |---|---|
//! | `PGB_BENCH_URL` | the server: a superuser's connection over a unix socket |
//! | `PGB_BENCH_WIDE_URL` | one with a job table of 131072, for the longest queue |
//! | `PGB_BENCH_ROLES_URL` | one with eight worker slots (`max_pool_workers`), for many roles |
//! | `PGB_BENCH_PGBENCH` | the program pgbench |
//! | `PGB_BENCH_PAGES` | directory for the page and its pictures |
//! | `PGB_BENCH_RAW` | directory for every figure of the run |
//! | `PGB_BENCH_CRITERION` | directory of the engine's benchmarks, for the picture `steps` |
//! | `PGB_BENCH_DATE`, `PGB_BENCH_COMMIT` | what the page says about when and what |
//!
//! Arguments: `[quick] [MEASURE ...]`, where a measure is `T1` to `T17` or one of the pictures
//! (`latency`, `parallel`, `clients`, `width`, `queue`, `steps`); none means all. Or `[quick] compare SCHEMA
//! [LIBRARY]`, beside the version of the extension on the server of `PGB_BENCH_OTHER_URL` (see
//! [`compare`]).
//!
//! Targets are printed, not asserted: the exit code tells only whether the benchmark could run.

mod autonomous;
mod clients;
mod compare;
mod conditions;
mod figures;
mod markdown;
mod measure;
mod plot;
mod report;
mod roles;
mod series;
mod server;
mod steps;
mod values;
mod volume;
mod wakeups;

use std::path::PathBuf;
use std::{env, fs};

use postgres::Client;

use clients::PgBench;
use conditions::Conditions;
use measure::MEASURES;
use report::{Picture, Row, Target};
use series::{Series, alternate};
use server::Server;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Batches of a measure at most.
    batches: usize,
    /// Batches of the points of a picture.
    points: usize,
    /// Runs of pgbench, and how long each takes.
    runs: usize,
    seconds: u32,
    /// Runs of each side where a run of ours and one of the peer take turns.
    alternations: usize,
}

const FULL: Effort = Effort {
    batches: usize::MAX,
    points: 7,
    runs: 3,
    seconds: 3,
    alternations: 5,
};

/// Enough to see that everything works.
const QUICK: Effort = Effort {
    batches: 3,
    points: 2,
    runs: 1,
    seconds: 1,
    alternations: 1,
};

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let effort = match arguments.first().map(String::as_str) {
        Some("quick") => {
            arguments.remove(0);
            QUICK
        }
        _ => FULL,
    };
    match arguments.first().map(String::as_str) {
        Some("compare") => compare_with_other(&arguments[1..], effort),
        _ => beside_dblink(&arguments, effort),
    }
}

fn from_caller(name: &str) -> Outcome<String> {
    env::var(name).map_err(|_| format!("{name} is not set: see ci/bench").into())
}

fn pgbench(server: &Server, effort: Effort) -> Outcome<PgBench<'_>> {
    Ok(PgBench {
        program: from_caller("PGB_BENCH_PGBENCH")?.into(),
        server,
        seconds: effort.seconds,
        scripts: from_caller("PGB_BENCH_RAW")?.into(),
    })
}

/// A session on the server that `variable` names, with everything in it.
fn session(variable: &str) -> Outcome<(Server, Client)> {
    let server = Server {
        url: from_caller(variable)?,
        schema: None,
    };
    let mut db = server.connect()?;
    db.batch_execute(
        "CREATE EXTENSION IF NOT EXISTS pg_background; CREATE EXTENSION IF NOT EXISTS dblink",
    )?;
    db.batch_execute(include_str!("measures.sql"))?;
    db.execute("SELECT pgbackground_bench.connect()", &[])?;
    Ok((server, db))
}

/// What the names of measures ask for.
struct Chosen<'a>(&'a [String]);

impl Chosen<'_> {
    fn has(&self, id: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| name == id)
    }

    /// The picture of latencies is drawn from rows of the table.
    fn has_measure(&self, id: &str) -> bool {
        self.has(id) || (matches!(id, "T1" | "T10") && self.has("latency"))
    }

    fn check(&self) -> Outcome<()> {
        const PICTURES: [&str; 6] = ["latency", "parallel", "clients", "width", "queue", "steps"];
        let of_other_kinds = [values::ID, "T12", "T13", "T17"];
        let ids = MEASURES.iter().map(|measure| measure.id);
        let known: Vec<&str> = ids
            .chain(autonomous::IDS)
            .chain(of_other_kinds)
            .chain(PICTURES)
            .collect();
        match self.0.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("there is no measure '{name}'").into()),
            None => Ok(()),
        }
    }
}

fn beside_dblink(names: &[String], effort: Effort) -> Outcome<()> {
    let chosen = Chosen(names);
    chosen.check()?;
    let (server, mut db) = session("PGB_BENCH_URL")?;
    let conditions = Conditions::ask(&mut db)?;
    conditions.print();

    let mut rows: Vec<Row> = Vec::new();
    let mut add = |row: Row| {
        row.print();
        rows.push(row);
    };
    report::print_cells(&report::heads("ours", "peer"));
    for measure in MEASURES.iter().filter(|one| chosen.has_measure(one.id)) {
        add(measure.take(&mut db, effort.batches));
    }
    let mut pictures: Vec<Picture> = Vec::new();
    if chosen.has("T11") || chosen.has("clients") {
        let pgbench = pgbench(&server, effort)?;
        let (clients, picture) = figures::clients(&pgbench, &mut db, effort.runs);
        clients.into_iter().for_each(&mut add);
        pictures.push(picture);
    }
    if autonomous::IDS.iter().any(|id| chosen.has(id)) {
        let pgbench = pgbench(&server, effort)?;
        autonomous::measures(&pgbench, &mut db, effort.alternations, |id| chosen.has(id))?
            .into_iter()
            .for_each(&mut add);
    }
    if chosen.has(values::ID) {
        let pgbench = pgbench(&server, effort)?;
        add(values::measure(&pgbench, &mut db, effort.alternations)?);
    }
    if chosen.has("T12") {
        for measure in wakeups::MEASURES {
            let [count]: [Series; 1] = alternate(1, |_| Ok(vec![(measure.count)(&server)?]));
            add(Row {
                id: "T12",
                what: measure.what.to_owned(),
                ours: count,
                peer: None,
                target: Target::AtMost(measure.limit),
            });
        }
    }
    if chosen.has("T13") {
        let [left]: [Series; 1] = alternate(1, |_| Ok(vec![volume::left_over(&server)?]));
        add(Row {
            id: "T13",
            what: "left of 100 000 jobs of all kinds".to_owned(),
            ours: left,
            peer: None,
            target: Target::AtMost(0.0),
        });
    }
    if chosen.has("T17") {
        let (server, mut wide) = session("PGB_BENCH_ROLES_URL")?;
        roles::prepare(&mut wide)?;
        figures::roles(&server, effort.runs, effort.seconds)
            .into_iter()
            .for_each(&mut add);
    }
    println!("median of the batches' medians (least..most); the peer is dblink, of T16 pgbench\n");

    pictures.extend(figures::latency(&rows));
    if chosen.has("parallel") {
        pictures.push(figures::parallel(&mut db, effort.points));
    }
    if chosen.has("width") {
        pictures.push(figures::width(&mut db, effort.points));
    }
    if chosen.has("queue") {
        let (_, mut wide) = session("PGB_BENCH_WIDE_URL")?;
        pictures.push(figures::queue(&mut wide, effort.points.min(3)));
    }
    if chosen.has("steps") {
        let criterion = PathBuf::from(from_caller("PGB_BENCH_CRITERION")?);
        pictures.push(figures::steps(
            &steps::read(&criterion, "scheduling")?,
            &steps::read(&criterion, "deadlock")?,
        ));
    }
    for picture in &pictures {
        println!("{}\n{}\n", picture.chart.title, picture.table);
    }
    let pages = PathBuf::from(from_caller("PGB_BENCH_PAGES")?);
    let raw = PathBuf::from(from_caller("PGB_BENCH_RAW")?);
    report::write(&pages, &raw, &conditions, &rows, &pictures)?;
    println!("written to {}", pages.join("README.md").display());
    Ok(())
}

fn compare_with_other(arguments: &[String], effort: Effort) -> Outcome<()> {
    let (schema, library) = match arguments {
        [schema] => (schema, None),
        [schema, library] => (schema, Some(library)),
        _ => return Err("compare takes SCHEMA and perhaps LIBRARY".into()),
    };
    let other = compare::Other {
        server: Server {
            url: from_caller("PGB_BENCH_OTHER_URL")?,
            schema: Some(schema.clone()),
        },
        library: library.cloned(),
    };
    let (server, mut db) = session("PGB_BENCH_URL")?;
    let (rows, conditions) = compare::run(&server, &mut db, &other, effort)?;
    let pages = PathBuf::from(from_caller("PGB_BENCH_PAGES")?);
    fs::create_dir_all(&pages)?;
    let page = pages.join(report::COMPARED);
    fs::write(&page, report::compared(&conditions, &rows))?;
    println!("written to {}", page.display());
    Ok(())
}
