//! The measures whose two sides are functions of `measures.sql`, and how a pair is taken.

use postgres::Client;

use crate::Outcome;
use crate::report::{Row, Target};
use crate::series::{Series, alternate};

/// One line of the table.
pub struct Measure {
    pub id: &'static str,
    pub what: &'static str,
    /// Call of the function on either side.
    pub ours: &'static str,
    pub peer: &'static str,
    pub batches: usize,
    /// Makes of our workers what each batch must find. The peer's too, so that it has the same conditions: the same pause
    /// before, and the same workers of ours.
    pub before: fn(&mut Client) -> Outcome<()>,
    /// What one unit of the function's result counts for.
    pub unit: f64,
    pub target: Target,
    /// Whether `ours` needs nothing that the C extension does not have.
    pub for_any_version: bool,
}

/// Enough batches for figures that depend on the scheduler.
const MANY: usize = 25;

const DEFAULT: Measure = Measure {
    id: "",
    what: "",
    ours: "",
    peer: "",
    batches: MANY,
    before: |_| Ok(()),
    unit: 1.0,
    target: Target::None,
    for_any_version: true,
};

pub const MEASURES: [Measure; 13] = [
    Measure {
        id: "T1",
        what: "launch + read, back to back, µs",
        ours: "ours_round_trip(200)",
        peer: "dblink_round_trip(200)",
        target: Target::AtMostTimesPeer(1.0),
        ..DEFAULT
    },
    Measure {
        id: "T1",
        what: "launch + read, after 2 ms pause, µs",
        ours: "ours_after_pause(50)",
        peer: "dblink_after_pause(50)",
        target: Target::AtMostTimesPeer(1.0),
        ..DEFAULT
    },
    Measure {
        id: "T2",
        what: "launch alone, warm, µs",
        ours: "ours_launch(200)",
        peer: "dblink_send(200)",
        target: Target::AtMost(15.0),
        ..DEFAULT
    },
    Measure {
        id: "T3",
        what: "400 jobs in waves of 16, jobs/s",
        ours: "ours_waves(400)",
        peer: "dblink_waves(400)",
        target: Target::AtLeastTimesPeer(1.0),
        ..DEFAULT
    },
    Measure {
        id: "T4",
        what: "10 000 statements fanned out, statements/s",
        ours: "ours_fanout(10000, NULL)",
        peer: "dblink_waves(10000)",
        batches: 9,
        target: Target::AtLeastTimesPeer(1.5),
        for_any_version: false,
        ..DEFAULT
    },
    Measure {
        id: "T5",
        what: "late return of wait, µs",
        ours: "ours_late_return(5)",
        peer: "dblink_late_return(5)",
        batches: 8,
        target: Target::AtMost(500.0),
        ..DEFAULT
    },
    Measure {
        id: "T6",
        what: "cancel until wait returns, µs",
        ours: "ours_cancel(5)",
        peer: "dblink_cancel(5)",
        batches: 8,
        target: Target::AtMost(400.0),
        ..DEFAULT
    },
    Measure {
        id: "T7",
        what: "1 M int4 rows, rows/s",
        ours: "ours_ints(1000000)",
        peer: "dblink_ints(1000000)",
        batches: 5,
        target: Target::AtLeastTimesPeer(2.0),
        ..DEFAULT
    },
    Measure {
        id: "T8",
        what: "300 k rows of 5 columns, rows/s",
        ours: "ours_mixed(300000)",
        peer: "dblink_mixed(300000)",
        batches: 5,
        target: Target::AtLeastTimesPeer(3.3),
        ..DEFAULT
    },
    Measure {
        id: "T9",
        what: "5000 values of 100 kB in FROM, MB/s",
        ours: "ours_text(5000, 100000)",
        peer: "dblink_text(5000, 100000)",
        batches: 5,
        unit: 0.1,
        target: Target::AtLeast(800.0),
        ..DEFAULT
    },
    Measure {
        id: "T9",
        what: "the same in a select list, MB/s",
        ours: "ours_text_one_by_one(5000, 100000)",
        peer: "dblink_text(5000, 100000)",
        batches: 5,
        unit: 0.1,
        target: Target::AtLeast(800.0),
        for_any_version: false,
        ..DEFAULT
    },
    Measure {
        id: "T10",
        what: "first job of a lane, µs",
        ours: "ours_round_trip(1)",
        peer: "dblink_new_connection(1)",
        batches: 100,
        before: send_workers_home,
        target: Target::AtMostTimesPeer(1.2),
        ..DEFAULT
    },
    Measure {
        id: "T10",
        what: "the same with a worker that is kept ready, µs",
        ours: "ours_round_trip(1)",
        peer: "dblink_new_connection(1)",
        batches: 10,
        before: keep_one,
        for_any_version: false,
        target: Target::AtMostTimesPeer(0.5),
        ..DEFAULT
    },
];

impl Measure {
    /// The measure beside dblink, both in one session.
    pub fn take(&self, db: &mut Client, batches: usize) -> Row {
        self.row(batches, |side| {
            (self.before)(db)?;
            call(db, if side == 0 { self.ours } else { self.peer })
        })
    }

    /// The measure on two servers, by the same functions.
    pub fn compare(&self, ours: &mut Client, peer: &mut Client, batches: usize) -> Row {
        let mut row = self.row(batches, |side| {
            (self.before)(ours)?;
            call(if side == 0 { &mut *ours } else { &mut *peer }, self.ours)
        });
        row.target = Target::None;
        row
    }

    fn row(&self, batches: usize, mut batch: impl FnMut(usize) -> Outcome<Vec<f64>>) -> Row {
        let batches = self.batches.min(batches);
        // The first time does not count: caches, plans, and on our side the workers.
        let mut warm = [false; 2];
        let [ours, peer]: [Series; 2] = alternate(batches, |side| {
            if !std::mem::replace(&mut warm[side], true) {
                batch(side)?;
            }
            batch(side)
        });
        let in_unit = |series: &Series| series.map(|value| value * self.unit);
        Row {
            id: self.id,
            what: self.what.to_owned(),
            ours: in_unit(&ours),
            peer: Some(in_unit(&peer)),
            target: self.target,
        }
    }
}

/// One batch: what a function of `measures.sql` returns.
pub fn call(db: &mut Client, function: &str) -> Outcome<Vec<f64>> {
    let row = db.query_one(&format!("SELECT pgbackground_bench.{function}"), &[])?;
    Ok(row.get(0))
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

/// Returns when one worker is left, which has been idle for longer than the idle limit (3 s).
fn keep_one(db: &mut Client) -> Outcome<()> {
    send_workers_home(db)?;
    db.execute(
        "ALTER ROLE CURRENT_USER SET pg_background.keep_workers = 1",
        &[],
    )?;
    call(db, "ours_round_trip(1)")?;
    db.execute(
        "ALTER ROLE CURRENT_USER RESET pg_background.keep_workers",
        &[],
    )?;
    db.execute("SELECT pg_sleep(3.3)", &[])?;
    Ok(())
}
