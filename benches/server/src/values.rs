//! One statement over many values (T16): a fan-out over an array, beside pgbench with the statement prepared and as
//! many clients as there are worker slots.

use std::time::Instant;

use postgres::Client;

use crate::Outcome;
use crate::clients::PgBench;
use crate::report::{Row, Target};
use crate::series::{Series, alternate};

/// The name of the measure.
pub const ID: &str = "T16";

const VALUES: i32 = 100_000;

/// The least ratio to the peer.
const TARGET: f64 = 1.0;

const OURS: &str = "SELECT count(*) FILTER (WHERE ok)
    FROM pg_background_fanout_params('UPDATE pgbackground_bench.numbered SET n = n + 1 WHERE id = $1',
                                     (SELECT array_agg(id ORDER BY random()) FROM pgbackground_bench.numbered))";

fn peer() -> String {
    format!(
        "\\set id random(1, {VALUES})\nUPDATE pgbackground_bench.numbered SET n = n + 1 WHERE id = :id;\n"
    )
}

/// Statements a second of one fan-out over all values.
fn fan_out(db: &mut Client) -> Outcome<f64> {
    let start = Instant::now();
    let done: i64 = db.query_one(OURS, &[])?.get(0);
    let taken = start.elapsed().as_secs_f64();
    if done != i64::from(VALUES) {
        return Err(format!("{done} of {VALUES} statements succeeded").into());
    }
    Ok(f64::from(VALUES) / taken)
}

/// The row of the measure.
pub fn measure(pgbench: &PgBench, db: &mut Client, batches: usize) -> Outcome<Row> {
    db.batch_execute(&format!(
        "DROP TABLE IF EXISTS pgbackground_bench.numbered;
         CREATE TABLE pgbackground_bench.numbered AS SELECT id, 0 AS n FROM generate_series(1, {VALUES}) AS id;
         ALTER TABLE pgbackground_bench.numbered ADD PRIMARY KEY (id)"
    ))?;
    // As many workers as the pool has slots for, which is how many there are.
    let slots: i32 = db
        .query_one("SELECT pg_background_prewarm(1000)", &[])?
        .get(0);
    let [ours, peer]: [Series; 2] = alternate(batches, |side| {
        db.batch_execute("VACUUM ANALYZE pgbackground_bench.numbered")?;
        Ok(vec![match side {
            0 => fan_out(db)?,
            _ => pgbench.prepared_rate(db, &peer(), slots.unsigned_abs())?,
        }])
    });
    Ok(Row {
        id: ID,
        what: format!(
            "one UPDATE over {VALUES} values, against {slots} clients of pgbench, statements/s"
        ),
        ours,
        peer: Some(peer),
        target: Target::AtLeastTimesPeer(TARGET),
    })
}
