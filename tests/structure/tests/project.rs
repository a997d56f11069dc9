//! What must hold of the project's own files.

use std::sync::LazyLock;
use structure::floors::{FLOORS, upward, without_file, without_floor};
use structure::graph::Graph;

static GRAPH: LazyLock<Graph> = LazyLock::new(|| match structure::project() {
    Ok(tree) => Graph::of(&tree),
    Err(error) => panic!("{error}"),
});

fn none(found: &[String]) {
    assert!(
        found.is_empty(),
        "{} found:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn no_file_uses_a_floor_above_its_own() {
    none(&upward(&GRAPH, FLOORS));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    none(&GRAPH.circles_in_words());
}

#[test]
fn every_file_is_on_a_floor() {
    none(&without_floor(&GRAPH, FLOORS));
}

#[test]
fn every_floor_has_files() {
    none(&without_file(&GRAPH, FLOORS));
}
