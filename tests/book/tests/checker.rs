//! The tests of the documentation fail when an example is broken.

use book_tests::compare::fits;
use book_tests::page::Page;
use book_tests::run::{Host, run};
use book_tests::source::raised;

#[test]
fn what_is_printed_must_be_what_is_shown() {
    let printed = " id |  name\n----+--------\n  1 | one\n  2 | two\n(2 rows)\n\n";
    for shown in [
        printed,
        "id | name\n---+---\n1 | one\n2 | two\n(2 rows)",
        "id | name\n---+---\n… | one\n2 | t…\n(2 rows)",
        "id | name\n---+---\n…\n(2 rows)",
        "…",
    ] {
        assert!(fits(shown, printed), "{shown}");
    }
    for shown in [
        "",
        "id | name\n---+---\n1 | one\n(2 rows)",
        "id | name\n---+---\n1 | one\n3 | two\n(2 rows)",
        "id | name\n---+---\n2 | two\n1 | one\n(2 rows)",
        "id | name\n---+---\n…1 | two\n2 | two\n(2 rows)",
        "…\n(3 rows)",
    ] {
        assert!(!fits(shown, printed), "{shown}");
    }
}

#[test]
fn a_broken_example_is_a_fault_of_its_page() {
    let host = Host::start();
    let faults = |source: &str| run(&host, &Page::parse("made up", source));
    let good = "An error, 22012.\n\n```sql\nSELECT 1 AS n;\n```\n```text\nn\n--\n1\n(1 row)\n```\n\n\
        ```sql error=22012\nSELECT 1 / 0;\n```\n\n```sql as=stranger\nSELECT current_user;\n```\n\
        ```text\n…\nstranger\n…\n```\n\n<!-- sql\nCREATE TABLE hidden ();\n-->\n\n\
        ```sql until=\"true\"\nTABLE hidden;\n```\n\n```sql norun=\"made up, too\"\nnonsense;\n```\n";
    assert_eq!(faults(good), [""; 0]);
    for (right, broken, why) in [
        ("SELECT 1 AS n", "SELECT 2 AS n", "does not print"),
        ("SELECT 1 AS n", "SELECT m", "it fails with 42703"),
        ("SELECT 1 / 0", "SELECT 1", "fails with 00000, not 22012"),
        ("SELECT 1 / 0", "SELECT x", "fails with 42703, not 22012"),
        (
            "SELECT 1 / 0;",
            "SELECT 1 / 0; SELECT 1 / 0;",
            "2 statements fail",
        ),
        ("An error, 22012", "An error", "does not speak of 22012"),
        ("\nTABLE hidden", "\nTABLE nowhere", "it fails with 42P01"),
        ("\nTABLE hidden;", "\n\\nonsense", "it fails with 00000"),
        ("as=stranger", "as=nobody", "who is nobody"),
        ("as=stranger", "", "does not print"),
        ("error=22012", "eror=22012", "what is 'eror=22012'"),
        (
            "until=\"true\"",
            "until=\"truly\"",
            "never came true: truly",
        ),
        ("norun=\"made up, too\"", "norun=\"\"", "what is 'norun='"),
    ] {
        let faults = faults(&good.replace(right, broken));
        assert!(
            faults.iter().any(|fault| fault.contains(why)),
            "{broken}: {faults:?}"
        );
    }
}

#[test]
fn the_errors_of_the_source_are_found() {
    let raised = raised();
    for (message, sqlstate) in [
        ("queue size must be at least … bytes", "22023"),
        (
            "deadlock detected between this session and its background job",
            "40P01",
        ),
        ("lost connection to worker process with PID …", "08006"),
        ("remote query did not return rows", "42804"),
        ("a background job can have at most … parameters", "54023"),
        ("permission denied to set role \"…\"", "42501"),
        ("canceling background job due to timeout", "57014"),
        ("canceling statement: the fan-out has taken … ms", "57014"),
        ("out of memory", "53200"),
    ] {
        let wanted = (String::from(message), String::from(sqlstate));
        assert!(raised.contains(&wanted), "{message}: {raised:#?}");
    }
}
