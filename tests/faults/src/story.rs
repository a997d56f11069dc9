//! What a session has seen of its jobs, and what must be in the ledger because of that.

use postgres::Client;
use postgres::error::SqlState;
use std::collections::HashMap;

/// What is known of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its launch has failed, or not returned: at most once.
    NotAccepted,
    /// Its handle was returned; its end was not seen.
    Accepted,
    /// It was reported as completed: once.
    Done,
    /// It was reported as failed or canceled: not at all.
    Failed,
}

/// What a session has seen.
#[derive(Default, Debug)]
pub struct Story {
    jobs: HashMap<i32, Fate>,
    errors: Vec<String>,
}

/// Errors that a fault may lead to: its own, a cancel, a termination, and the end of the worker's job.
const MAY_HAPPEN: [&str; 5] = ["58000", "57014", "57P01", "08006", "closed"];

impl Story {
    /// What is known of a job.
    pub fn note(&mut self, number: i32, fate: Fate) {
        self.jobs.insert(number, fate);
    }

    /// An error that the session got.
    pub fn saw(&mut self, error: &postgres::Error) {
        let code = error.code().map_or("closed", SqlState::code);
        if error.as_db_error().is_some() || error.is_closed() || code == "closed" {
            self.errors.push(format!("{code}: {error:?}"));
        }
    }

    /// Only what fails on purpose has failed.
    pub fn is_plain(&self) -> bool {
        self.errors.is_empty()
    }

    /// Compares with the ledger. `all_accepted_run`: nothing has happened to workers.
    ///
    /// # Panics
    /// When the two do not agree, or an error was another than a fault may lead to.
    pub fn check(&self, client: &mut Client, all_accepted_run: bool) {
        let rows = client
            .query("SELECT number, count(*) FROM ledger GROUP BY number", &[])
            .expect("the ledger can be read");
        let found: HashMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (number, fate) in &self.jobs {
            let count = found.get(number).copied().unwrap_or(0);
            let right = match fate {
                Fate::NotAccepted => count <= 1,
                Fate::Accepted if all_accepted_run => count == 1,
                Fate::Accepted => count <= 1,
                Fate::Done => count == 1,
                Fate::Failed => count == 0,
            };
            assert!(
                right,
                "job {number}, {fate:?}, is in the ledger {count} times: {self:?}"
            );
        }
        for error in &self.errors {
            assert!(
                MAY_HAPPEN.iter().any(|code| error.starts_with(code)),
                "{error}"
            );
        }
    }
}
