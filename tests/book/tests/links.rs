//! Links lead somewhere, commands exist, the book has all of its pages.

use book_tests::page::Page;
use book_tests::{pages, read, root};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

fn is_external(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://") || link.starts_with("mailto:")
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// What is wrong with a link of a page.
fn fault(pages: &[Page], page: &Page, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        PathBuf::from(&page.name)
    } else {
        plain(
            &Path::new(&page.name)
                .parent()
                .expect("of a file")
                .join(path),
        )
    };
    if !root().join(&target).exists() {
        return Some(String::from("there is no such file"));
    }
    if page.name.starts_with("docs/") && !target.starts_with("docs") {
        return Some(String::from("leads out of the book"));
    }
    if anchor.is_empty() {
        return None;
    }
    let target = target.to_string_lossy().into_owned();
    let Some(target) = pages.iter().find(|page| page.name == target) else {
        return Some(String::from("an anchor in what is no page"));
    };
    let found = target
        .headings
        .iter()
        .any(|heading| heading.anchor == anchor);
    (!found).then(|| String::from("there is no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut external = BTreeSet::new();
    for page in &pages {
        for (line, link) in &page.links {
            if is_external(link) {
                external.insert(link.clone());
            } else if let Some(fault) = fault(&pages, page, link) {
                wrong.push(format!("{}:{line}: {link}: {fault}", page.name));
            }
        }
    }
    // Not fetched: for those who want to look at them.
    println!("external links:");
    for link in &external {
        println!("  {link}");
        assert!(link.starts_with("https://"), "{link}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let page = Page::parse(
        "docs/models.md",
        "# Title\n\n## A `b_c` (d)\n\n## A `b_c` (d)\n",
    );
    let others = [page.clone(), Page::parse("docs/index.md", "# Title\n")];
    for good in [
        "#title",
        "#a-b_c-d",
        "#a-b_c-d-1",
        "index.md",
        "index.md#title",
        "./architecture.md",
    ] {
        assert_eq!(fault(&others, &page, good), None, "{good}");
    }
    for broken in [
        "#a-b_c-d-2",
        "nowhere.md",
        "index.md#nowhere",
        "../README.md",
    ] {
        assert!(fault(&others, &page, broken).is_some(), "{broken}");
    }
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    read(&root().join("Makefile"))
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(names, _)| !names.starts_with(['.', '\t', '#']))
        .flat_map(|(names, _)| names.split_whitespace().map(String::from))
        .collect()
}

/// What is wrong with a command, if it is one of the project's.
fn command_fault(targets: &BTreeSet<String>, command: &str) -> Option<String> {
    let command = command.split(" #").next().unwrap_or_default();
    let mut words = command.split_whitespace().skip_while(|word| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_uppercase() || c == '_'))
    });
    let program = words.next()?;
    if program == "make" {
        let unknown = words.find(|word| !word.contains('=') && !targets.contains(*word))?;
        return Some(format!("make has no target {unknown}"));
    }
    if ["ci/", ".ci/"]
        .iter()
        .any(|directory| program.starts_with(directory))
    {
        let path = root().join(program);
        let executable = path
            .metadata()
            .is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
        // Those with an ending are read by others, like `ci/lib/common.sh`.
        let is_read = path.exists() && path.extension().is_some();
        return (!executable && !is_read).then(|| format!("{program} cannot be run"));
    }
    None
}

#[test]
fn every_command_exists() {
    let targets = targets();
    assert!(targets.contains("test"), "{targets:?}");
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, command) in page.commands.iter().chain(&page.spans) {
            for part in command.split("&&") {
                if let Some(fault) = command_fault(&targets, part.trim()) {
                    wrong.push(format!("{}:{line}: {fault}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for broken in [
        "make nonsense",
        "ci/nowhere",
        "PG_CONFIG=x ci/nowhere engine",
        "make test nonsense",
    ] {
        assert!(command_fault(&targets, broken).is_some(), "{broken}");
    }
}

#[test]
fn every_file_that_is_named_exists() {
    let roots = [
        "src/",
        "docs/",
        "tests/",
        "loom_tests/",
        "benches/",
        "demo/",
        "sql/",
    ];
    let mut wrong = Vec::new();
    for page in pages() {
        // The changelog uses the names of its time.
        if page.name == "CHANGELOG.md" {
            continue;
        }
        for (line, span) in &page.spans {
            let is_path = roots.iter().any(|root| span.starts_with(root))
                && span
                    .chars()
                    .all(|c| c.is_alphanumeric() || "/._-".contains(c));
            if is_path && !root().join(span).exists() {
                wrong.push(format!("{}:{line}: {span}", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_book_has_all_of_its_pages() {
    let pages = pages();
    let summary = pages.iter().find(|page| page.name == "docs/SUMMARY.md");
    let summary = summary.expect("the book has a table of contents");
    let listed: BTreeSet<String> = summary
        .links
        .iter()
        .map(|(_, link)| format!("docs/{link}"))
        .collect();
    let existing: BTreeSet<String> = pages
        .iter()
        .filter(|page| page.name.starts_with("docs/") && page.name != "docs/SUMMARY.md")
        .map(|page| page.name.clone())
        .collect();
    assert_eq!(listed, existing);
}

#[test]
fn titles_are_unique_and_pages_have_one() {
    let mut titles = BTreeSet::new();
    for page in pages() {
        if page.name == "docs/SUMMARY.md" || page.name == "docs/security.md" {
            continue;
        }
        let mut found = page
            .headings
            .iter()
            .filter(|heading| heading.level as usize == 1);
        let title = found
            .next()
            .unwrap_or_else(|| panic!("{} has no title", page.name));
        assert!(found.next().is_none(), "{} has two titles", page.name);
        assert!(
            titles.insert(title.text.clone()) || page.name == "README.md",
            "there are two pages '{}'",
            title.text
        );
    }
}
