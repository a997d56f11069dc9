//! The floors of the source, and the check that no file uses one above its own.

use crate::graph::{Graph, Use};

/// From top to bottom. A file may use the files of its own entry, and of every floor below. Entries of one floor stand
/// side by side and may not use each other. The longest entry that a path begins with counts, so that a single file can
/// be on another floor than its folder.
///
/// The C files of `src/shim/` belong to `src/pg/`, which alone calls them. They are not looked at here: the functions
/// of Rust that C calls are the `extern` lines of `src/shim/shim.h`.
pub const FLOORS: &[&[&str]] = &[
    &["src/lib.rs"],
    &["src/api/"],
    &["src/exit.rs"],
    &["src/session/", "src/worker/"],
    &["src/cluster/"],
    &["src/settings.rs"],
    &["src/settings/"],
    &["src/pg/"],
    &["src/engine/"],
    &["src/protocol_kit/"],
];

/// An entry of the table: which floor, and which of those side by side.
fn entry_of(floors: &[&[&str]], file: &str) -> Option<(usize, usize)> {
    floors
        .iter()
        .enumerate()
        .flat_map(|(floor, entries)| {
            let numbered = entries.iter().enumerate();
            numbered.map(move |(side, &entry)| (entry, (floor, side)))
        })
        .filter(|&(entry, _)| file == entry || entry.ends_with('/') && file.starts_with(entry))
        .max_by_key(|&(entry, _)| entry.len())
        .map(|(_, place)| place)
}

/// The files that no entry covers.
#[must_use]
pub fn without_floor(graph: &Graph, floors: &[&[&str]]) -> Vec<String> {
    let files = graph.files.iter();
    files
        .filter(|file| entry_of(floors, file).is_none())
        .map(|file| {
            format!("{file} is on no floor: add it to FLOORS in tests/structure/src/floors.rs")
        })
        .collect()
}

/// The entries that cover no file.
#[must_use]
pub fn without_file(graph: &Graph, floors: &[&[&str]]) -> Vec<String> {
    let covered: Vec<_> = graph
        .files
        .iter()
        .map(|file| entry_of(floors, file))
        .collect();
    let mut empty = Vec::new();
    for (floor, entries) in floors.iter().enumerate() {
        for (side, entry) in entries.iter().enumerate() {
            if !covered.contains(&Some((floor, side))) {
                empty.push(format!("{entry} has a floor and no file"));
            }
        }
    }
    empty
}

/// The uses of a floor above, or of a neighbour on the same floor.
#[must_use]
pub fn upward(graph: &Graph, floors: &[&[&str]]) -> Vec<String> {
    let mut found = Vec::new();
    for (&(from, to), uses) in &graph.edges {
        let (user, used) = (graph.file(from), graph.file(to));
        let (Some(own), Some(other)) = (entry_of(floors, user), entry_of(floors, used)) else {
            continue; // `without_floor` reports it.
        };
        let what = if other.0 < own.0 {
            "a floor above"
        } else if other.0 == own.0 && other.1 != own.1 {
            "a neighbour on the same floor"
        } else {
            continue;
        };
        for Use { line, path } in uses {
            found.push(format!("{user}:{line}: `{path}` is of {used}, {what}"));
        }
    }
    found
}
