//! One statement from launch to end in a function of PL/pgSQL, which many clients of pgbench call: launch and read (T11),
//! one call (T14), and an INSERT of bound values (T15), each beside dblink's open connection called the same way.

use postgres::Client;

use crate::Outcome;
use crate::clients::PgBench;
use crate::measure;
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

/// What a statement costs: the end of the names of its functions, and what it is.
const STATEMENTS: [(&str, &str); 3] = [
    ("constant", "constant text"),
    ("bound", "INSERT of bound values"),
    ("joined", "join of five tables by a bound key"),
];

/// Who runs it, as the names of its functions begin.
const SIDES: [&str; 5] = ["ours", "ours", "dblink", "prepared", "own"];

/// The name of these figures.
pub const COSTS: &str = "exec";

/// Calls of a function in a batch.
const CALLS: u32 = 1000;

fn set_plan_cache(db: &mut Client, is_on: bool) -> Outcome<()> {
    db.batch_execute("LOAD 'pg_background'")?;
    db.batch_execute(if is_on {
        "ALTER SYSTEM RESET pg_background.plan_cache_size"
    } else {
        "ALTER SYSTEM SET pg_background.plan_cache_size = 0"
    })?;
    // The worker reads it before its next job, when the signal has reached it.
    db.batch_execute("SELECT pg_reload_conf(); SELECT pg_sleep(0.1)")?;
    Ok(())
}

/// One statement in a transaction of its own, with saved plans and without, beside dblink's open connection, with its text
/// and with a statement that was prepared there; and in the session.
pub fn costs(db: &mut Client, batches: usize) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (statement, what) in STATEMENTS {
        let [saved, unsaved, text, prepared, own]: [Series; 5] = alternate(batches, |side| {
            set_plan_cache(db, side != 1)?;
            measure::call(db, &format!("{}_{statement}({CALLS})", SIDES[side]))
        });
        set_plan_cache(db, true)?;
        let mut add = |how: &str, ours: Series, peer: Option<Series>| {
            rows.push(Row {
                id: COSTS,
                what: format!("{what}, {how}, µs"),
                ours,
                peer,
                target: Target::None,
            });
        };
        add("saved plan / dblink, prepared", saved, Some(prepared));
        add("no saved plan / dblink, text", unsaved, Some(text));
        add("in the session", own, None);
    }
    Ok(rows)
}
