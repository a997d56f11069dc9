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

/// A job of a random kind. `entry` is a number that no other job has.
pub fn draw(rng: &mut SmallRng, entry: i64) -> Kind {
    let number = rng.random_range(0..1000);
    let plain = |sql: String| Kind {
        sql,
        entry: None,
        errors: &[],
    };
    match rng.random_range(0..27) {
        20 => leaves_settings(number),
        21 => leaves_a_way_to_begin(number),
        22 => plain(format!(
            "SELECT setseed({}); PREPARE p AS SELECT 1; SELECT random()::text",
            f64::from(number) / 1000.0
        )),
        23 | 24 => converts(number),
        25 => plain(format!(
            "SET client_min_messages = debug{}; SELECT count(*)::text FROM pg_class",
            number % 5 + 1
        )),
        26 => Kind {
            sql: format!(
                "INSERT INTO ledger VALUES ({entry}); SELECT ({number} % 3)::chaos_domain::text"
            ),
            entry: Some(entry),
            errors: &["XY124"],
        },
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

/// A name that no job finds, whatever the previous job of the process has left.
fn leaves_settings(number: u32) -> Kind {
    let (name, local) = (number % 5, number.is_multiple_of(2));
    let sets = match number % 4 {
        0 => format!("SET chaos.left_{name} = 1;"),
        1 => format!("SET LOCAL chaos.left_{name} = 1;"),
        _ => format!("PERFORM set_config('chaos.left_{name}', 'x', {local});"),
    };
    let fails = if number.is_multiple_of(7) {
        "PERFORM 1 / 0;"
    } else {
        ""
    };
    Kind {
        sql: format!(
            "DO $$ BEGIN
                IF current_setting('chaos.left_{name}', true) IS NOT NULL THEN
                    RAISE 'left by another job' USING ERRCODE = 'XX901';
                END IF;
                {sets} {fails}
             END $$"
        ),
        entry: None,
        errors: &["22012"],
    }
}

/// Settings under which a transaction waits for others, and something to be cleaned up.
fn leaves_a_way_to_begin(number: u32) -> Kind {
    let role = if number.is_multiple_of(2) {
        "SET role = pgbackground_role;"
    } else {
        ""
    };
    Kind {
        sql: format!(
            "CREATE TEMP TABLE t AS SELECT {number} AS n; {role} SET default_transaction_isolation = serializable;
             SET default_transaction_read_only = on; SET default_transaction_deferrable = on;
             SET statement_timeout = '1h'; SET lock_timeout = 1"
        ),
        entry: None,
        errors: &[],
    }
}

/// Rows whose conversion to JSON, in the session that reads them, raises, launches, or waits.
fn converts(number: u32) -> Kind {
    Kind {
        sql: format!(
            "SELECT ('v' || n % 6)::chaos_value FROM generate_series({number}, {number} + 2) n"
        ),
        entry: None,
        errors: &[
            "XY123", "40P01", "42P09", "53000", "53200", "53400", "55000", "25P02",
        ],
    }
}
