//! One statement from launch to end in a function of PL/pgSQL, which many clients of pgbench call: launch and read (T11),
//! one call (T14), and an INSERT of bound values (T15), each beside dblink's open connection called the same way.

use postgres::Client;

use crate::Outcome;
use crate::clients::PgBench;
use crate::report::{Row, Target};
use crate::series::{Series, alternate};

/// A measure. Its two sides are functions of `measures.sql` that take no arguments.
struct Measure {
    id: &'static str,
    what: &'static str,
    ours: &'static str,
    peer: &'static str,
    /// Clients, and the least ratio to the peer.
    targets: &'static [(u32, f64)],
}

const MEASURES: [Measure; 3] = [
    Measure {
        id: "T11",
        what: "launch + read in PL/pgSQL, jobs/s",
        ours: "launch_and_read",
        peer: "dblink_read",
        targets: &[(1, 1.0), (4, 1.0), (16, 1.0)],
    },
    Measure {
        id: "T14",
        what: "pg_background_call in PL/pgSQL, jobs/s",
        ours: "call",
        peer: "dblink_read",
        targets: &[(1, 2.0), (4, 1.5), (16, 1.5)],
    },
    Measure {
        id: "T15",
        what: "autonomous INSERT of bound values, jobs/s",
        ours: "insert_bound",
        peer: "dblink_insert",
        targets: &[(1, 2.0), (4, 2.0)],
    },
];

/// The names of the measures.
pub const IDS: [&str; 3] = [MEASURES[0].id, MEASURES[1].id, MEASURES[2].id];

/// Calls one of the functions. Each client opens dblink's connection in its first transaction.
fn script(function: &str) -> String {
    let open = if function.starts_with("dblink") {
        "\\if :opened = 0\n\
         SELECT dblink_connect('c', pgbackground_bench.address());\n\
         \\set opened 1\n\
         \\endif\n"
    } else {
        ""
    };
    format!("{open}SELECT pgbackground_bench.{function}();\n")
}

/// The rows of the measures that `is_wanted` names.
pub fn measures(
    pgbench: &PgBench,
    db: &mut Client,
    batches: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for measure in MEASURES.iter().filter(|measure| is_wanted(measure.id)) {
        let scripts = [measure.ours, measure.peer].map(script);
        for &(count, ratio) in measure.targets {
            let [ours, peer]: [Series; 2] = alternate(batches, |side| {
                db.batch_execute("TRUNCATE pgbackground_bench.inserted")?;
                Ok(vec![pgbench.prepared_rate(db, &scripts[side], count)?])
            });
            let plural = if count == 1 { "" } else { "s" };
            rows.push(Row {
                id: measure.id,
                what: format!("{count} client{plural}, {}", measure.what),
                ours,
                peer: Some(peer),
                target: Target::AtLeastTimesPeer(ratio),
            });
        }
    }
    Ok(rows)
}
