//! The checks fail when they should, on trees of a few lines.

use crate::floors::{upward, without_file, without_floor};
use crate::graph::Graph;
use crate::tree::{Root, Tree};

const EXTENSION: Root = Root {
    name: "extension",
    file: "src/lib.rs",
};
const ENGINE: Root = Root {
    name: "engine",
    file: "src/engine/lib.rs",
};

fn read(files: &[(&str, &str)]) -> Result<Tree, String> {
    let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
    let sources = files.iter().map(owned).collect();
    let roots: &[&Root] = if files.iter().any(|(path, _)| *path == ENGINE.file) {
        &[&EXTENSION, &ENGINE]
    } else {
        &[&EXTENSION]
    };
    Tree::read(&sources, roots)
}

fn graph(files: &[(&str, &str)]) -> Graph {
    Graph::of(&read(files).unwrap())
}

/// Each use as `user:line used path`, without the folder `src/`.
fn uses(files: &[(&str, &str)]) -> Vec<String> {
    let graph = graph(files);
    let short = |file| graph.file(file).strip_prefix("src/").unwrap();
    let mut uses = Vec::new();
    for (&(user, used), positions) in &graph.edges {
        for at in positions {
            uses.push(format!(
                "{}:{} {} {}",
                short(user),
                at.line,
                short(used),
                at.path
            ));
        }
    }
    uses.sort();
    uses
}

const FLOORS: &[&[&str]] = &[
    &["src/lib.rs"],
    &["src/left/", "src/right/", "src/low/high.rs"],
    &["src/low/"],
];

#[test]
fn an_import_of_a_floor_above_is_found() {
    let graph = graph(&[
        ("src/lib.rs", "mod left;\nmod low;"),
        (
            "src/left/mod.rs",
            "use crate::low::below;\npub fn above() { below() }",
        ),
        (
            "src/low/mod.rs",
            "pub fn below() {\n    crate::left::above();\n}",
        ),
    ]);
    assert_eq!(
        upward(&graph, FLOORS),
        ["src/low/mod.rs:2: `crate::left::above` is of src/left/mod.rs, a floor above"]
    );
}

#[test]
fn neighbours_do_not_use_each_other() {
    let graph = graph(&[
        ("src/lib.rs", "mod left;\nmod right;"),
        ("src/left/mod.rs", "mod inner;\npub fn f() { inner::g() }"),
        ("src/left/inner.rs", "\npub fn g() { crate::right::h() }"),
        ("src/right/mod.rs", "pub fn h() {}"),
    ]);
    assert_eq!(
        upward(&graph, FLOORS),
        [
            "src/left/inner.rs:2: `crate::right::h` is of src/right/mod.rs, a neighbour on the same floor"
        ]
    );
}

#[test]
fn a_file_may_be_on_another_floor_than_its_folder() {
    let graph = graph(&[
        ("src/lib.rs", "mod low;"),
        ("src/low/mod.rs", "pub mod high;\nuse high::f;"),
        ("src/low/high.rs", "pub fn f() {}"),
    ]);
    assert_eq!(
        upward(&graph, FLOORS),
        ["src/low/mod.rs:2: `high::f` is of src/low/high.rs, a floor above"]
    );
}

#[test]
fn the_table_of_floors_and_the_files_agree() {
    let graph = graph(&[
        ("src/lib.rs", "mod left;\nmod other;"),
        ("src/left/mod.rs", ""),
        ("src/other.rs", ""),
    ]);
    let floors: &[&[&str]] = &[&["src/lib.rs"], &["src/left/", "src/right/"]];
    let without = without_floor(&graph, floors);
    assert!(
        without.len() == 1 && without[0].starts_with("src/other.rs "),
        "{without:?}"
    );
    assert_eq!(
        without_file(&graph, floors),
        ["src/right/ has a floor and no file"]
    );
}

#[test]
fn a_circle_of_two_is_found() {
    let graph = graph(&[
        ("src/lib.rs", "mod a;\nmod b;"),
        ("src/a.rs", "use crate::b::B;\npub struct A(B);"),
        ("src/b.rs", "pub struct B;\nfn f(_: &super::a::A) {}"),
    ]);
    assert_eq!(
        graph.circles_in_words(),
        ["a circle of 2 files:\
          \n  src/a.rs:1: `crate::b::B` is of src/b.rs\
          \n  src/b.rs:2: `super::a::A` is of src/a.rs"]
    );
}

#[test]
fn a_circle_of_three_is_found_beside_files_outside_of_it() {
    let graph = graph(&[
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\nmod e;"),
        ("src/a.rs", "pub fn f() { crate::b::f() }"),
        ("src/b.rs", "pub fn f() { crate::c::f(); crate::e::f() }"),
        ("src/c.rs", "pub fn f() { crate::a::f() }"),
        ("src/d.rs", "pub fn f() { crate::a::f() }"),
        ("src/e.rs", "pub fn f() {}"),
    ]);
    let circles = graph.circles();
    let files: Vec<_> = circles
        .iter()
        .flatten()
        .map(|&file| graph.file(file))
        .collect();
    assert_eq!(circles.len(), 1);
    assert_eq!(files, ["src/a.rs", "src/b.rs", "src/c.rs"]);
}

#[test]
fn circles_that_share_a_file_are_all_found() {
    let graph = graph(&[
        ("src/lib.rs", "mod a;\nmod b;\nmod c;"),
        ("src/a.rs", "pub fn f() { crate::b::f(); crate::c::f() }"),
        ("src/b.rs", "pub fn f() { crate::a::f() }"),
        ("src/c.rs", "pub fn f() { crate::a::f() }"),
    ]);
    assert_eq!(graph.circles().len(), 2);
}

#[test]
fn a_child_that_uses_its_parent_is_in_a_circle_only_if_the_parent_uses_the_child() {
    let child = ("src/a/child.rs", "use super::A;\npub struct Child(A);");
    let declared = [
        ("src/lib.rs", "mod a;"),
        ("src/a.rs", "mod child;\npub struct A;"),
        child,
    ];
    assert!(graph(&declared).circles().is_empty());
    let used = [
        ("src/lib.rs", "mod a;"),
        (
            "src/a.rs",
            "mod child;\npub use child::Child;\npub struct A;",
        ),
        child,
    ];
    assert_eq!(graph(&used).circles().len(), 1);
}

#[test]
fn a_reexport_is_followed_to_the_file_that_defines_the_thing() {
    let files = [
        ("src/lib.rs", "mod a;\nmod user;"),
        (
            "src/a/mod.rs",
            "mod b;\nmod c;\npub use b::Thing as Renamed;\npub use c::*;",
        ),
        ("src/a/b.rs", "pub struct Thing;"),
        ("src/a/c.rs", "pub fn through_a_glob() {}"),
        (
            "src/user.rs",
            "use crate::a;\nuse a::{Renamed, through_a_glob};\nfn f(_: a::Renamed) {}",
        ),
    ];
    assert_eq!(
        uses(&files),
        [
            "a/mod.rs:3 a/b.rs b::Thing",
            "a/mod.rs:4 a/c.rs c",
            "user.rs:2 a/b.rs a::Renamed",
            "user.rs:2 a/c.rs a::through_a_glob",
            "user.rs:3 a/b.rs a::Renamed",
        ]
    );
}

#[test]
fn a_parents_private_import_leads_a_child_to_the_definition() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;"),
        (
            "src/a/mod.rs",
            "mod child;\nuse crate::b::B;\nuse std::fmt::Debug;\nfn f(_: B) {}",
        ),
        ("src/a/child.rs", "use super::{B, Debug};"),
        ("src/b.rs", "pub struct B;"),
    ];
    assert_eq!(
        uses(&files),
        ["a/child.rs:1 b.rs super::B", "a/mod.rs:2 b.rs crate::b::B"]
    );
}

#[test]
fn what_another_crate_has_is_of_the_file_that_gives_it_on() {
    let files = [
        ("src/lib.rs", "mod sync;\nmod user;"),
        (
            "src/sync.rs",
            "#[cfg(a)]\npub use loom::Atomic;\n#[cfg(not(a))]\npub use std::Atomic;",
        ),
        ("src/user.rs", "use crate::sync::Atomic;"),
    ];
    assert_eq!(uses(&files), ["user.rs:1 sync.rs crate::sync::Atomic"]);
}

#[test]
fn a_module_and_a_function_of_one_name_are_told_apart() {
    let files = [
        ("src/lib.rs", "mod thing;\nmod user;"),
        ("src/thing.rs", "pub fn thing() {}"),
        (
            "src/user.rs",
            "use crate::thing::{self, thing};\nfn f() { thing::thing() }",
        ),
    ];
    assert_eq!(
        uses(&files),
        [
            "user.rs:1 thing.rs crate::thing",
            "user.rs:1 thing.rs crate::thing::thing",
            "user.rs:2 thing.rs thing::thing",
        ]
    );
}

#[test]
fn a_module_that_is_imported_and_only_gone_through_is_not_used_itself() {
    let files = [
        ("src/lib.rs", "mod a;\nmod other;\nmod user;"),
        ("src/a/mod.rs", "pub mod b;"),
        ("src/a/b.rs", "pub fn f() {}"),
        ("src/user.rs", "use crate::a;\nfn f() { a::b::f() }"),
        ("src/other.rs", "use crate::a;"),
    ];
    assert_eq!(
        uses(&files),
        ["other.rs:1 a/mod.rs crate::a", "user.rs:2 a/b.rs a::b::f"]
    );
}

#[test]
fn macros_and_attributes_are_looked_through() {
    let files = [
        ("src/lib.rs", "#[macro_use]\nmod a;\nmod user;"),
        (
            "src/a.rs",
            "macro_rules! bump { ($x:ident) => { $crate::a::f($x::g) } }\npub fn f() {}",
        ),
        (
            "src/user.rs",
            "#[with(crate::a::f)]\n\
             fn one() { format!(\"{}\", g(super::a::f())); }\n\
             macro_rules! two { () => { use crate::a::{self, f as h}; a::f() } }\n\
             fn three() { assert!(bump!(x)) }\n\
             // crate::a::f\n\
             const TEXT: &str = \"crate::a::f\";",
        ),
    ];
    assert_eq!(
        uses(&files),
        [
            "user.rs:1 a.rs crate::a::f",
            "user.rs:2 a.rs super::a::f",
            "user.rs:3 a.rs a::f",
            "user.rs:3 a.rs crate::a",
            "user.rs:3 a.rs crate::a::f",
            "user.rs:4 a.rs bump",
        ]
    );
}

#[test]
fn macros_are_reached_by_paths_and_from_the_other_crate() {
    let files = [
        ("src/lib.rs", "mod a;\nmod user;"),
        (
            "src/a.rs",
            "macro_rules! local { () => {} }\npub(crate) use local;",
        ),
        ("src/user.rs", "crate::a::local!();\nengine::shared!();"),
        ("src/engine/lib.rs", "mod b;"),
        (
            "src/engine/b.rs",
            "#[macro_export]\nmacro_rules! shared { () => {} }",
        ),
    ];
    assert_eq!(
        uses(&files),
        [
            "user.rs:1 a.rs crate::a::local",
            "user.rs:2 engine/b.rs engine::shared"
        ]
    );
}

#[test]
fn what_only_tests_need_does_not_count() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;"),
        (
            "src/a.rs",
            "#[cfg(test)]\nmod tests;\n\
             #[cfg(all(test, unix))]\nmod more { use crate::b::f; }\n\
             #[cfg(test)]\nuse crate::b::f;\n\
             struct A;\nimpl A { #[cfg(test)] fn g() { crate::b::f() } }\n\
             #[cfg(not(test))]\nfn counts() { crate::b::f() }\n\
             #[cfg(any(test, unix))]\nfn counts_too() { crate::b::f() }",
        ),
        (
            "src/a/tests.rs",
            "mod deeper;\nuse super::*;\nuse crate::b::f;",
        ),
        ("src/a/tests/deeper.rs", "use crate::b::f;"),
        ("src/b.rs", "pub fn f() {}"),
    ];
    assert_eq!(
        uses(&files),
        ["a.rs:10 b.rs crate::b::f", "a.rs:12 b.rs crate::b::f"]
    );
}

#[test]
fn crate_means_the_crate_in_which_it_is_written() {
    let files = [
        ("src/lib.rs", "mod word;\nmod user;"),
        ("src/word.rs", "pub struct Word;"),
        (
            "src/user.rs",
            "use engine::word::Word;\nfn f(_: ::engine::word::Word) {}",
        ),
        ("src/engine/lib.rs", "pub mod word;\nmod pool;"),
        ("src/engine/word.rs", "pub struct Word;"),
        ("src/engine/pool.rs", "use crate::word::Word;"),
    ];
    assert_eq!(
        uses(&files),
        [
            "engine/pool.rs:1 engine/word.rs crate::word::Word",
            "user.rs:1 engine/word.rs engine::word::Word",
            "user.rs:2 engine/word.rs ::engine::word::Word",
        ]
    );
}

#[test]
fn modules_within_a_file_and_by_path_are_found() {
    let files = [
        ("src/lib.rs", "mod a;\n#[path = \"odd/name.rs\"]\nmod b;"),
        (
            "src/a.rs",
            "mod inner { mod file;\npub fn f() { super::super::b::f() } }",
        ),
        (
            "src/a/inner/file.rs",
            "use super::f;\nuse crate::b::below::g;",
        ),
        ("src/odd/name.rs", "pub mod below;\npub fn f() {}"),
        ("src/odd/below.rs", "pub fn g() {}"),
    ];
    assert_eq!(
        uses(&files),
        [
            "a.rs:2 odd/name.rs super::super::b::f",
            "a/inner/file.rs:1 a.rs super::f",
            "a/inner/file.rs:2 odd/below.rs crate::b::below::g",
        ]
    );
}

#[test]
fn names_that_lead_in_a_circle_end() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;"),
        (
            "src/a.rs",
            "pub use crate::b::*;\npub use deep::deep;\nmod deep { pub fn deep() {} }",
        ),
        (
            "src/b.rs",
            "pub use crate::a::*;\nfn f() { crate::a::nowhere(); crate::a::deep() }",
        ),
    ];
    assert_eq!(
        uses(&files),
        [
            "a.rs:1 b.rs crate::b",
            "b.rs:1 a.rs crate::a",
            "b.rs:2 a.rs crate::a::deep",
            "b.rs:2 a.rs crate::a::nowhere",
        ]
    );
}

#[test]
fn a_file_without_a_crate_and_one_that_cannot_be_parsed_are_errors() {
    let lost = read(&[("src/lib.rs", ""), ("src/lost.rs", "")]);
    assert_eq!(
        lost.err().unwrap(),
        "src/lost.rs belongs to no crate: no `mod` leads to it"
    );
    let broken = read(&[("src/lib.rs", "mod a;"), ("src/a.rs", "\nfn (")]);
    assert!(broken.err().unwrap().starts_with("src/a.rs:2: "));
    let missing = read(&[("src/lib.rs", "mod a;")]);
    assert_eq!(missing.err().unwrap(), "src/a.rs is not there");
}
