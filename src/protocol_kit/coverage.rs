//! Checks each transition against its table, and notes which arcs were taken.
//!
//! A transition that the table does not have is a panic, so the test or the model fails that made it. An arc that is
//! taken for the first time in a process is appended to the file that the environment variable `PROTOCOL_COVERAGE`
//! names, as a line `WORD ARC`. So a run of several programs adds up in one file, and one that aborts loses nothing.

use crate::table::{Arc, Table};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The environment variable that names the file.
pub const VARIABLE: &str = "PROTOCOL_COVERAGE";

struct Coverage {
    /// Word and arc.
    taken: HashSet<(&'static str, Arc)>,
    file: Option<File>,
}

/// Not an explored mutex: the explorers run one thread at a time, and none of them stops in here.
static COVERAGE: LazyLock<Mutex<Coverage>> = LazyLock::new(|| {
    let file = std::env::var_os(VARIABLE).map(|path| {
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", path.display()))
    });
    Mutex::new(Coverage {
        taken: HashSet::new(),
        file,
    })
});

/// Checks a transition and notes it.
///
/// # Panics
/// When the table does not have it.
pub(crate) fn note(table: &'static Table, transition: usize, before: u64, after: u64) {
    let (before, after) = ((table.decode)(before), (table.decode)(after));
    let Some(arc) = table.find(transition, &before, &after) else {
        panic!(
            "no edge of the table: {} {}: {} -> {}",
            table.word,
            table.transitions[transition].name,
            table.describe(&before),
            table.describe(&after),
        );
    };
    let mut coverage = COVERAGE.lock().unwrap_or_else(PoisonError::into_inner);
    if coverage.taken.insert((table.word, arc))
        && let Some(file) = &mut coverage.file
    {
        let line = format!("{} {}\n", table.word, table.arc_name(arc));
        file.write_all(line.as_bytes())
            .expect("the file of the coverage can be written");
    }
}
