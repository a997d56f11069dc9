//! The SQL that is launched.

use rand::RngExt;
use rand::rngs::SmallRng;

/// A job to be launched.
pub struct Kind {
    /// Its text.
    pub sql: String,
    /// The insert into the ledger that it makes if it commits.
    pub entry: Option<i64>,
    /// SQLSTATEs of its own errors, beside those that the trouble causes.
    pub errors: &'static [&'static str],
}

/// One of every kind that there is. `entry` is a number that no other job has.
pub fn draw(rng: &mut SmallRng, entry: i64) -> Kind {
    let number = rng.random_range(0..1000);
    let plain = |sql: String| Kind {
        sql,
        entry: None,
        errors: &[],
    };
    match rng.random_range(0..20) {
        0..4 => Kind {
            sql: format!("INSERT INTO ledger VALUES ({entry})"),
            entry: Some(entry),
            errors: &[],
        },
        4 => Kind {
            sql: format!(
                "SELECT pg_sleep({}); INSERT INTO ledger VALUES ({entry})",
                f64::from(number) / 20_000.0
            ),
            entry: Some(entry),
            errors: &[],
        },
        5 => Kind {
            sql: format!("INSERT INTO ledger VALUES ({entry}); SELECT 1 / 0"),
            entry: Some(entry),
            errors: &["22012"],
        },
        6 => plain(format!("SELECT {number}::text")),
        7 => plain(format!(
            "SELECT n::text FROM generate_series(1, {}) n",
            number * 20
        )),
        8 => plain(format!(
            "SELECT repeat('x', {}) FROM generate_series(1, 30)",
            number * 100
        )),
        9 => plain(format!("SELECT pg_sleep({})", f64::from(number) / 5000.0)),
        10 => plain(String::from("SELECT pg_sleep(2)")),
        11 => plain(String::from(
            "DO $$ BEGIN FOR i IN 1..3 LOOP BEGIN PERFORM pg_sleep(0.05); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
        )),
        12 => plain(format!(
            "CREATE TEMP TABLE t AS SELECT {number} AS n; SELECT n::text FROM t"
        )),
        13 => plain(format!(
            "SET work_mem = '{}kB'; SELECT pg_advisory_lock({number})::text",
            number + 64
        )),
        14 => Kind {
            sql: String::from("SELECT no_such_function()"),
            entry: None,
            errors: &["42883"],
        },
        15 => plain(String::from(
            "DO $$ BEGIN FOR i IN 1..200 LOOP RAISE NOTICE 'notice % %', i, repeat('y', 300); END LOOP; END $$",
        )),
        16 => plain(format!(
            "SELECT r.t FROM pg_background_launch_v2('SELECT {number}::text') h, pg_background_result_v2(h.pid, h.cookie) AS r (t text)"
        )),
        17 => plain(String::from("CALL commit_twice()")),
        18 => plain(String::from("VACUUM pg_catalog.pg_description")),
        _ => Kind {
            sql: format!(
                "SELECT {number}::text FROM pg_background_progress({}, 'half way')",
                number % 101
            ),
            entry: None,
            errors: &[],
        },
    }
}
