//! The pictures, and those of their measures that have no line in the table.

use postgres::Client;

use crate::clients::{self, PgBench};
use crate::markdown::table;
use crate::measure::call;
use plotters::style::BLACK;

use crate::plot::{Axis, Chart, DBLINK, Dash, Line, OURS, OURS_TOO, PLAIN, Point};
use crate::report::{Picture, Row, Target};
use crate::roles;
use crate::series::{Series, alternate, figure, quantile};
use crate::server::Server;
use crate::steps::{Size, Step};
use crate::volume;

fn heads<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

fn thousands(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else {
        format!("{}k", figure(value / 1000.0))
    }
}

fn micros(value: f64) -> String {
    if value < 1000.0 {
        format!("{} µs", figure(value))
    } else {
        format!("{} ms", figure(value / 1000.0))
    }
}

fn bytes(value: f64) -> String {
    if value < 1000.0 {
        format!("{} B", figure(value))
    } else {
        format!("{} kB", figure(value / 1000.0))
    }
}

/// A curve or a column: of each x a series.
struct Side {
    name: &'static str,
    color: plotters::style::RGBColor,
    dash: Dash,
    series: Vec<Series>,
}

/// The picture of several sides over the same values of x.
fn picture(
    name: &'static str,
    title: &'static str,
    (x, y): (Axis, Axis),
    sides: Vec<Side>,
    of_x: fn(f64) -> String,
) -> Picture {
    let xs = x.ticks.clone();
    let head = std::iter::once(x.label.to_owned()).chain(sides.iter().map(|side| side.name.into()));
    let lines = xs.iter().enumerate().map(|(index, &x)| {
        let cells = sides.iter().map(|side| side.series[index].to_string());
        std::iter::once(of_x(x)).chain(cells).collect()
    });
    let text = table(std::iter::once(head.collect()).chain(lines));
    let raw = sides.iter().flat_map(|side| {
        let of = |x: &f64| format!("{}, {}", side.name, of_x(*x));
        xs.iter().map(of).zip(side.series.iter().cloned())
    });
    Picture {
        name,
        table: text,
        raw: raw.collect(),
        chart: Chart {
            title,
            lines: sides
                .iter()
                .map(|side| Line {
                    name: side.name.into(),
                    color: side.color,
                    dash: side.dash,
                    points: xs
                        .iter()
                        .zip(&side.series)
                        .filter_map(|(&x, series)| Point::of(x, series))
                        .collect(),
                })
                .collect(),
            x,
            y,
        },
    }
}

/// What is drawn of a row: how its sides are called there, and their dash.
fn curves_of(row: &Row) -> Option<(&'static str, &'static str, Dash)> {
    match row.id {
        "T1" if row.what.contains("pause") => Some((
            "pg_background, after 2 ms",
            "dblink, after 2 ms",
            Dash::Dashed,
        )),
        "T1" => Some((
            "pg_background, back to back",
            "dblink, back to back",
            Dash::Solid,
        )),
        "T10" => Some((
            "pg_background, first job",
            "dblink, new connection",
            Dash::Dotted,
        )),
        _ => None,
    }
}

/// The distribution of the rounds' times: the part of the rounds that took at most so long. From the rows T1 and
/// T10; `None` when they were not measured.
pub fn latency(rows: &[Row]) -> Option<Picture> {
    let head = heads(["µs", "10 %", "50 %", "90 %", "99 %", "rounds"]);
    let (mut lines, mut cells) = (Vec::new(), vec![head]);
    for row in rows {
        let (Some((ours, theirs, dash)), Some(peer)) = (curves_of(row), &row.peer) else {
            continue;
        };
        for (name, color, series) in [(ours, OURS, &row.ours), (theirs, DBLINK, peer)] {
            let sorted = series.sorted();
            let quantiles = [0.1, 0.5, 0.9, 0.99].map(|part| figure(quantile(&sorted, part)));
            let mut line = vec![name.to_owned()];
            line.extend(quantiles);
            line.push(figure(sorted.len() as f64));
            cells.push(line);
            lines.push(Line {
                name: name.to_owned(),
                color,
                dash,
                points: distribution(&sorted),
            });
        }
    }
    (!lines.is_empty()).then(|| Picture {
        name: "latency",
        table: table(cells),
        raw: Vec::new(),
        chart: Chart {
            title: "Launch a job and read its row: distribution of the time taken",
            x: Axis {
                label: "time (logarithmic)",
                logarithmic: true,
                ticks: Vec::new(),
                format: micros,
            },
            y: Axis {
                label: "rounds that took so long or less, %",
                logarithmic: false,
                ticks: (0..=5).map(|step| f64::from(step) * 20.0).collect(),
                format: figure,
            },
            lines,
        },
    })
}

/// Points of the distribution up to 99 %: beyond, a few rounds would stretch the axis.
fn distribution(sorted: &[f64]) -> Vec<Point> {
    let shares = (0..=198).map(|half| f64::from(half) / 200.0);
    shares
        .map(|share| Point {
            x: quantile(sorted, share),
            y: share * 100.0,
            range: None,
        })
        // A side that failed has none.
        .filter(|point| point.x.is_finite())
        .collect()
}

/// Statements a second by how many go on side by side.
pub fn parallel(db: &mut Client, batches: usize) -> Picture {
    const WIDTHS: [u32; 5] = [1, 2, 4, 8, 16];
    const STATEMENTS: u32 = 4000;
    let calls = ["ours_fanout", "ours_waves", "dblink_waves"];
    let mut sides = [Vec::new(), Vec::new(), Vec::new()];
    for width in WIDTHS {
        let series: [Series; 3] = alternate(batches, |side| {
            call(db, &format!("{}({STATEMENTS}, {width})", calls[side]))
        });
        for (side, series) in sides.iter_mut().zip(series) {
            side.push(series);
        }
    }
    let [fanout, waves, dblink] = sides;
    picture(
        "parallel",
        "SELECT 1, many times: throughput by how many are in flight",
        (
            Axis {
                label: "statements in flight",
                logarithmic: true,
                ticks: WIDTHS.map(f64::from).to_vec(),
                format: figure,
            },
            Axis {
                label: "statements a second",
                logarithmic: false,
                ticks: Vec::new(),
                format: thousands,
            },
        ),
        vec![
            Side {
                name: "fan-out",
                color: OURS,
                dash: Dash::Solid,
                series: fanout,
            },
            Side {
                name: "launch and read in waves",
                color: OURS_TOO,
                dash: Dash::Solid,
                series: waves,
            },
            Side {
                name: "dblink in waves",
                color: DBLINK,
                dash: Dash::Solid,
                series: dblink,
            },
        ],
        figure,
    )
}

/// T17: jobs a second of so many roles, beside one role alone, and how long a role waited at most.
pub fn roles(server: &Server, batches: usize, seconds: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for count in &roles::COUNTS[1..] {
        let mut longest = Series::default();
        let mut least = Series::default();
        let [ours, alone] = alternate(batches, |side| {
            let served = roles::served(server, if side == 0 { *count } else { 1 }, seconds)?;
            if side == 0 {
                longest.push(vec![served.longest]);
                least.push(vec![served.least * *count as f64]);
            }
            Ok(vec![served.rate])
        });
        let row = |what: String, ours: Series, peer: Option<Series>, target| Row {
            id: "T17",
            what: format!("{count} roles, {what}"),
            ours,
            peer,
            target,
        };
        let total = ours.clone();
        rows.push(row(
            "jobs/s, beside one".into(),
            ours,
            Some(alone),
            Target::AtLeastTimesPeer(0.5),
        ));
        rows.push(row(
            "the least served, of its share".into(),
            least,
            Some(total),
            Target::None,
        ));
        rows.push(row(
            "longest wait, ms".into(),
            longest,
            None,
            Target::AtMost(1000.0),
        ));
    }
    rows
}

/// T11: transactions a second of so many clients; rows of the table, and the picture.
pub fn clients(pgbench: &PgBench, db: &mut Client, batches: usize) -> (Vec<Row>, Picture) {
    const COUNTS: [u32; 3] = [1, 4, 16];
    let scripts = [
        clients::OURS,
        clients::OURS_V1,
        clients::SELECT,
        clients::DBLINK,
    ];
    let mut sides = [const { Vec::new() }; 4];
    let mut rows = Vec::new();
    for count in COUNTS {
        let series: [Series; 4] = alternate(batches, |side| {
            Ok(vec![pgbench.rate(db, scripts[side], count)?])
        });
        let [ours, ours_v1, select, _] = &series;
        let what = clients::what(count);
        let what_v1 = format!("{what}, by v1 functions");
        rows.extend([(what, ours), (what_v1, ours_v1)].map(|(what, ours)| Row {
            id: "T11",
            what,
            ours: ours.clone(),
            peer: Some(select.clone()),
            target: Target::AtLeastTimesPeer(0.25),
        }));
        for (side, series) in sides.iter_mut().zip(series) {
            side.push(series);
        }
    }
    let [ours, ours_v1, select, dblink] = sides;
    let picture = picture(
        "clients",
        "Clients that each launch and read, one job after the other",
        (
            Axis {
                label: "clients of pgbench",
                logarithmic: true,
                ticks: COUNTS.map(f64::from).to_vec(),
                format: figure,
            },
            Axis {
                label: "transactions a second",
                logarithmic: false,
                ticks: Vec::new(),
                format: thousands,
            },
        ),
        vec![
            Side {
                name: "SELECT 1, plain pgbench",
                color: PLAIN,
                dash: Dash::Solid,
                series: select,
            },
            Side {
                name: "pg_background, v1 functions",
                color: OURS_TOO,
                dash: Dash::Solid,
                series: ours_v1,
            },
            Side {
                name: "pg_background, v2 functions",
                color: OURS,
                dash: Dash::Solid,
                series: ours,
            },
            Side {
                name: "dblink, open connection",
                color: DBLINK,
                dash: Dash::Solid,
                series: dblink,
            },
        ],
        figure,
    );
    (rows, picture)
}

/// Megabytes a second by bytes in a row.
pub fn width(db: &mut Client, batches: usize) -> Picture {
    /// Bytes of the row's only column, and how many rows. The first are the integers.
    const WIDTHS: [(u32, u32); 8] = [
        (4, 500_000),
        (16, 500_000),
        (64, 300_000),
        (256, 200_000),
        (1_000, 100_000),
        (4_000, 40_000),
        (16_000, 10_000),
        (100_000, 2_000),
    ];
    let mut sides = [Vec::new(), Vec::new(), Vec::new()];
    for (wide, rows) in WIDTHS {
        let of = if wide == 4 { "ints" } else { "text" };
        let calls = [
            format!("ours_{of}_one_by_one({rows}, {wide})"),
            format!("ours_{of}({rows}, {wide})"),
            format!("dblink_{of}({rows}, {wide})"),
        ];
        let series: [Series; 3] = alternate(batches, |side| call(db, &calls[side]));
        for (side, series) in sides.iter_mut().zip(series) {
            side.push(series.map(|rate| rate * f64::from(wide) / 1e6));
        }
    }
    let [select_list, from, dblink] = sides;
    picture(
        "width",
        "Reading a long result: rate by width of the row",
        (
            Axis {
                label: "bytes in a row (logarithmic)",
                logarithmic: true,
                ticks: WIDTHS.map(|(wide, _)| f64::from(wide)).to_vec(),
                format: bytes,
            },
            Axis {
                label: "MB a second (logarithmic)",
                logarithmic: true,
                ticks: Vec::new(),
                format: figure,
            },
        ),
        vec![
            Side {
                name: "in a select list",
                color: OURS,
                dash: Dash::Solid,
                series: select_list,
            },
            Side {
                name: "in FROM",
                color: OURS_TOO,
                dash: Dash::Solid,
                series: from,
            },
            Side {
                name: "dblink (in FROM)",
                color: DBLINK,
                dash: Dash::Solid,
                series: dblink,
            },
        ],
        bytes,
    )
}

/// What one job costs when so many are queued. dblink has no queue: beside it stands what a statement costs
/// when as many are sent over 16 connections.
pub fn queue(db: &mut Client, batches: usize) -> Picture {
    let mut sides = [Vec::new(), Vec::new(), Vec::new()];
    for length in volume::LENGTHS {
        // Launching and running come from one and the same batch.
        let mut runs = Series::default();
        let [launches, dblink]: [Series; 2] = alternate(batches, |side| {
            if side == 1 {
                let rates = call(db, &format!("dblink_waves({length})"))?;
                return Ok(rates.iter().map(|rate| 1e6 / rate).collect());
            }
            let cost = volume::cost_at(db, length)?;
            runs.push(vec![cost.run]);
            Ok(vec![cost.launch])
        });
        for (side, series) in sides.iter_mut().zip([launches, runs, dblink]) {
            side.push(series);
        }
    }
    let [launches, runs, dblink] = sides;
    picture(
        "queue",
        "What a job costs, by how many are queued",
        (
            Axis {
                label: "jobs queued",
                logarithmic: true,
                ticks: volume::LENGTHS.map(f64::from).to_vec(),
                format: figure,
            },
            Axis {
                label: "µs a job",
                logarithmic: false,
                ticks: Vec::new(),
                format: figure,
            },
        ),
        vec![
            Side {
                name: "to launch it",
                color: OURS_TOO,
                dash: Dash::Solid,
                series: launches,
            },
            Side {
                name: "to run it",
                color: OURS,
                dash: Dash::Solid,
                series: runs,
            },
            Side {
                name: "dblink in waves of 16",
                color: DBLINK,
                dash: Dash::Solid,
                series: dblink,
            },
        ],
        figure,
    )
}

/// What a step of the engine costs, by how many jobs are queued: the smallest and the largest pool as curves, all of them
/// in the table.
pub fn steps(scheduling: &[Step], deadlock: &[Step]) -> Picture {
    const COLORS: [plotters::style::RGBColor; 5] = [OURS, OURS_TOO, DBLINK, PLAIN, BLACK];
    let all = || scheduling.iter().chain(deadlock);
    let sizes: Vec<Size> = scheduling
        .iter()
        .flat_map(|step| step.at.iter().map(|(size, _)| *size))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let head = ["worker slots", "lanes", "jobs queued"]
        .into_iter()
        .map(String::from);
    let head = head.chain(all().map(|step| format!("{}, µs", step.name)));
    let lines = sizes.iter().map(|size| {
        let of = |step: &Step| {
            let at = step.at.iter().find(|(at, _)| at == size);
            at.map_or_else(String::new, |(_, series)| series.to_string())
        };
        let counts = [size.worker_slots, size.lanes, size.jobs];
        let counts = counts.into_iter().map(|count| figure(count.into()));
        counts.chain(all().map(of)).collect()
    });
    let text = table(std::iter::once(head.collect()).chain(lines));
    let raw = all().flat_map(|step| {
        step.at.iter().map(|(size, series)| {
            let Size {
                worker_slots,
                lanes,
                jobs,
            } = size;
            let what = format!(
                "{}, {worker_slots} worker slots, {lanes} lanes, {jobs} jobs",
                step.name
            );
            (what, series.clone())
        })
    });
    // The deadlock check was measured with one lane.
    let curve = |step: &Step, color, of: Option<&Size>, dash| {
        let slots = of?.worker_slots;
        let lanes = step
            .at
            .iter()
            .map(|(size, _)| size.lanes)
            .max()?
            .min(of?.lanes);
        let is_in = |size: &Size| (size.worker_slots, size.lanes) == (slots, lanes);
        let of_curve = step.at.iter().filter(|(size, _)| is_in(size));
        Some(Line {
            name: format!("{} ({slots})", step.name),
            color,
            dash,
            points: of_curve
                // There is no 0 on a logarithmic axis.
                .filter_map(|(size, series)| Point::of(f64::from(size.jobs.max(1)), series))
                .collect(),
        })
    };

    let lines = all().zip(COLORS).flat_map(|(step, color)| {
        [
            curve(step, color, sizes.first(), Dash::Solid),
            curve(step, color, sizes.last(), Dash::Dashed),
        ]
    });
    Picture {
        name: "steps",
        table: text,
        raw: raw.collect(),
        chart: Chart {
            title: "A step of scheduling, with so many worker slots",
            x: Axis {
                label: "jobs queued (logarithmic; 0 at the left)",
                logarithmic: true,
                ticks: vec![1.0, 1_000.0, 100_000.0],
                format: |jobs| figure(if jobs < 2.0 { 0.0 } else { jobs }),
            },
            y: Axis {
                label: "µs (logarithmic)",
                logarithmic: true,
                ticks: Vec::new(),
                format: figure,
            },
            lines: lines.flatten().collect(),
        },
    }
}
