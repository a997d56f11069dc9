//! Which inserts must have happened.

use crate::Run;
use postgres::Client;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

/// What is known of an insert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its job was accepted; its end was not seen.
    Unknown,
    /// Its job was reported as completed.
    Committed,
    /// Its job was reported as failed or canceled.
    Aborted,
}

/// What is known of all inserts.
#[derive(Default)]
pub struct Ledger {
    next: AtomicI64,
    entries: Mutex<HashMap<i64, Fate>>,
}

impl Ledger {
    /// A number for an insert.
    pub fn number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes what was seen of it.
    pub fn note(&self, entry: i64, fate: Fate) {
        let mut entries = self.entries.lock().expect("no thread panicked with it");
        entries.insert(entry, fate);
    }

    /// Compares with the table. Returns how many were compared.
    pub fn check(&self, run: &Run, client: &mut Client) -> usize {
        let rows = client
            .query("SELECT entry, count(*) FROM ledger GROUP BY entry", &[])
            .expect("the ledger can be read");
        let mut found: HashMap<i64, i64> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let entries = self.entries.lock().expect("no thread panicked with it");
        for (entry, fate) in &*entries {
            let count = found.remove(entry).unwrap_or(0);
            let right = match fate {
                Fate::Unknown => count <= 1,
                Fate::Committed => count == 1,
                Fate::Aborted => count == 0,
            };
            if !right {
                run.fail(&format!("insert {entry}, {fate:?}, is there {count} times"));
            }
        }
        // Launched by a session that ended before it had the handle: at most once.
        for (entry, count) in found {
            if count > 1 {
                run.fail(&format!("insert {entry} is there {count} times"));
            }
        }
        entries.len()
    }
}
