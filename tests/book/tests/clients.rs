//! The programs of the documentation print what their pages show, with the real drivers.

use book_tests::clients::run;
use book_tests::page::Page;
use book_tests::pages;
use book_tests::run::Host;
use session_tests::nothing_is_left;

#[test]
#[ignore = "needs the drivers: ci/docs clients installs them and runs this"]
fn every_program_prints_what_its_page_shows() {
    let host = Host::start();
    let pages = pages();
    let with_programs = pages.iter().filter(|page| !page.programs.is_empty());
    let mut ran = 0;
    for page in with_programs {
        let faults = run(&host, page);
        assert!(faults.is_empty(), "{}: {}", page.name, faults.join("\n"));
        nothing_is_left(&mut host.server().session());
        ran += page.programs.len();
    }
    assert!(ran > 0, "there are no programs");

    // What is wrong is noticed, in each language.
    for (language, code) in [
        ("python", "print(2)"),
        ("js", "console.log(2)"),
        ("java", "System.out.println(2);"),
    ] {
        let page = |output: &str| {
            Page::parse(
                "made up",
                &format!("```{language}\n{code}\n```\n```text\n{output}\n```\n"),
            )
        };
        assert!(run(&host, &page("2")).is_empty(), "{language}");
        assert!(!run(&host, &page("3")).is_empty(), "{language}");
    }
}
