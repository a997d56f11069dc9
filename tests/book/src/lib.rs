//! Helpers of the tests of the documentation.
//!
//! Every page under `docs/`, and those at the root, are read with a Markdown parser ([`page`]). Its examples run in
//! order, through psql, in a database of their own ([`run`]).
//!
//! # How a page says how its examples run
//!
//! A block of code is an example when the first word after its fence is `sql`. It runs in the page's psql
//! session of the role `app`, which owns the database and has `pgbackground_role`. Words that may follow:
//!
//! | word | meaning |
//! |---|---|
//! | `as=ROLE` | in a session of that role: `admin` is the superuser, `stranger` has no rights |
//! | `session=NAME` | in another session of the role |
//! | `error=SQLSTATE` | exactly one of its statements fails, with that; the page must name the SQLSTATE in its text |
//! | `until="condition"` | it runs when the condition, an SQL expression, has become true in its session |
//! | `since=VERSION` | it runs where the server has that major version or a later one |
//! | `norun="reason"` | it cannot be run; the number of these is limited |
//!
//! A block whose first word is `text` and that follows an example directly shows what psql prints, which is
//! compared ([`compare`]). An HTML comment that begins with `sql` is an example that the reader does not see:
//! tables that a page takes for granted. A comment that begins with `examples:` is for the whole page:
//! `bare` (the extension is not there yet; an example creates it), `old-versions` (the catalogs of the older
//! versions can be created), `servers=NAME,NAME` (host names that stand for further servers, each with a
//! database `app` and the role `app`, whose password is `secret`).
//!
//! Blocks in the languages of drivers are programs, with the same kind of block for what they print. The blocks of one
//! language on a page are one program ([`clients`]). `ci/docs clients` installs the drivers and runs them.

pub mod clients;
pub mod compare;
pub mod page;
pub mod psql;
pub mod run;
pub mod source;

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .canonicalize()
        .expect("this package is in the repository")
}

/// Reads a file of the repository.
///
/// # Panics
/// When that fails.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a directory whose names end so, in order.
///
/// # Panics
/// When the directory cannot be read.
pub fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("an entry of the directory").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The documentation: the pages of the book, and the pages at the root that belong to the project.
///
/// # Panics
/// When one cannot be read.
pub fn pages() -> Vec<page::Page> {
    let root = root();
    let mut paths = files(&root.join("docs"), ".md");
    paths.extend(
        [
            "README.md",
            "SECURITY.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
        ]
        .map(|name| root.join(name)),
    );
    let name = |path: &Path| {
        let relative = path.strip_prefix(&root).expect("below the root");
        relative.to_string_lossy().into_owned()
    };
    paths
        .iter()
        .map(|path| {
            let text = read(path);
            let mut page = page::Page::parse(&name(path), &text);
            // What is included has its headings here, too; its examples run once, on its own page.
            for included in included(&text) {
                let path = path.parent().expect("of a file").join(included);
                let there = page::Page::parse(&page.name, &read(&path));
                page.headings.extend(there.headings);
            }
            page
        })
        .collect()
}

/// The files that the book puts into a page.
fn included(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.split("{{#include ").skip(1);
    directives.filter_map(|rest| rest.split("}}").next())
}
