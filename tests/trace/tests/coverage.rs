//! The coverage of arcs, and the matrix that is published.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use trace::all_arcs;
use trace::coverage::{COLUMNS, Coverage, published};

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("coverage-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("it can be made");
    path
}

#[test]
fn an_arc_that_nothing_reaches_is_a_gap() {
    let directory = directory("gap");
    let arcs: Vec<String> = all_arcs().collect();
    let (gap, reached) = arcs.split_last().expect("there are arcs");
    let (first, second) = reached.split_at(20);
    fs::write(directory.join("models"), first.join("\n")).expect("written");
    fs::write(directory.join("chaos"), second.join("\n")).expect("written");
    let coverage = Coverage::read(&directory).expect("readable");
    assert_eq!(coverage.gaps(), std::slice::from_ref(gap));
    assert_eq!(coverage.missing().count(), COLUMNS.len() - 2);
    fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn an_arc_that_no_table_has_is_an_error() {
    let directory = directory("unknown");
    fs::write(directory.join("models"), "job jump queued\n").expect("written");
    assert!(Coverage::read(&directory).is_err());
    fs::remove_dir_all(directory).expect("removed");
}

/// Whoever adds an arc publishes what reaches it, and an arc that nothing reaches is not published.
#[test]
fn the_published_matrix_has_all_arcs_and_no_gap() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let matrix = published(&page).expect("the page has a matrix");
    let rows = matrix.lines().skip(2);
    let mut arcs = BTreeSet::new();
    for row in rows {
        let arc = row.split('|').nth(1).expect("a row has cells").trim();
        assert!(row.contains('●'), "nothing reaches {arc}");
        arcs.insert(String::from(arc));
    }
    assert_eq!(arcs, all_arcs().collect::<BTreeSet<_>>());
}
