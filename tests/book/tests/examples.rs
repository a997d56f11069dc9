//! Every example of the documentation does what its page says.
//!
//! `PGB_BOOK_PAGE=NAME` runs only the pages whose path contains it.

use book_tests::pages;
use book_tests::run::{Host, run};
use session_tests::nothing_is_left;

/// Examples that cannot be run, in all of the documentation.
const NOT_RUN_AT_MOST: usize = 3;

#[test]
fn every_example_does_what_its_page_says() {
    let wanted = std::env::var("PGB_BOOK_PAGE").unwrap_or_default();
    let host = Host::start();
    let mut wrong = Vec::new();
    let mut ran = 0;
    for page in pages() {
        if page.examples.is_empty() || !page.name.contains(&wanted) {
            continue;
        }
        println!("{}: {} examples", page.name, page.examples.len());
        ran += page.examples.len();
        let faults = run(&host, &page);
        wrong.extend(faults.iter().map(|fault| format!("{}: {fault}", page.name)));
        nothing_is_left(&mut host.server().session());
    }
    assert!(ran > 0, "there are no examples");
    assert!(
        wrong.is_empty(),
        "{} faults\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn few_examples_are_not_run() {
    let pages = pages();
    let not_run: Vec<String> = pages
        .iter()
        .flat_map(|page| page.examples.iter().map(move |example| (page, example)))
        .filter_map(|(page, example)| {
            let reason = example.not_run.as_ref()?;
            Some(format!("{}:{}: {reason}", page.name, example.line))
        })
        .collect();
    assert!(not_run.len() <= NOT_RUN_AT_MOST, "{not_run:#?}");
}
