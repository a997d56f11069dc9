//! The reference of the documentation is that of the extension: its functions, types and views, its settings,
//! its errors.

use book_tests::page::{Page, Section};
use book_tests::pages;
use book_tests::source::raised;
use session_tests::Database;
use std::collections::BTreeSet;

fn page(name: &str) -> Page {
    let mut pages = pages();
    let at = pages.iter().position(|page| page.name == name);
    pages.swap_remove(at.unwrap_or_else(|| panic!("there is no page {name}")))
}

fn reference() -> Vec<Page> {
    let mut pages = pages();
    pages.retain(|page| page.name.starts_with("docs/api/"));
    assert!(!pages.is_empty(), "there are no pages in docs/api");
    pages
}

/// Blanks have no width.
fn normal(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("( ", "(")
        .replace(" )", ")")
}

/// What a block `signature` declares: one a paragraph.
fn signatures(section: &Section) -> Vec<String> {
    let blocks = section
        .blocks
        .iter()
        .filter(|(info, _)| info == "signature");
    blocks
        .flat_map(|(_, code)| {
            code.split("\n\n")
                .map(normal)
                .filter(|text| !text.is_empty())
        })
        .collect()
}

/// How the entry of a procedure begins.
const PROCEDURE: &str = "PROCEDURE ";

fn same(documented: &BTreeSet<String>, existing: &BTreeSet<String>) {
    let missing: Vec<_> = existing.difference(documented).collect();
    let made_up: Vec<_> = documented.difference(existing).collect();
    assert!(
        missing.is_empty() && made_up.is_empty(),
        "not documented: {missing:#?}\ndoes not exist: {made_up:#?}"
    );
}

fn texts(database: &Database, sql: &str) -> BTreeSet<String> {
    let mut client = database.session();
    let rows = client.query(sql, &[]);
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| normal(row.get(0))).collect()
}

/// Functions as `name(arguments) → result`, procedures as `PROCEDURE name(arguments)`; types and views as
/// `TYPE name (attributes)`.
const MEMBERS: &str = "
    SELECT CASE WHEN p.prokind = 'p' THEN format('PROCEDURE %s(%s)', p.proname, pg_get_function_arguments(p.oid))
           WHEN p.oid IS NOT NULL THEN
               format('%s(%s) → %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
           ELSE format('%s %s (%s)', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TYPE' END, c.relname,
               (SELECT string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                                  ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
           END
    FROM pg_depend d
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typtype = 'c'
    LEFT JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
                         OR d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE e.extname = 'pg_background' AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)";

#[test]
fn every_function_type_and_view_has_its_entry() {
    let documented = reference()
        .iter()
        .flat_map(|page| &page.headings)
        .flat_map(|heading| signatures(&heading.section))
        .collect();
    same(&documented, &texts(&Database::new(), MEMBERS));
}

#[test]
fn every_entry_of_a_function_has_errors_and_an_example() {
    let mut wrong = Vec::new();
    for page in reference() {
        for heading in &page.headings {
            let signatures = signatures(&heading.section);
            let is_called = |text: &String| text.contains('→') || text.starts_with(PROCEDURE);
            if !signatures.iter().any(is_called) {
                continue;
            }
            let section = &heading.section;
            if !section.text.contains("Errors:") {
                wrong.push(format!("{}: {} tells no errors", page.name, heading.text));
            }
            let called = |name: &str| {
                let call = format!("{name}(");
                let mut blocks = section.blocks.iter();
                blocks.any(|(info, code)| info.starts_with("sql") && code.contains(&call))
            };
            // Of functions in one block the first stands for its other forms and older spellings.
            for (_, block) in section
                .blocks
                .iter()
                .filter(|(info, _)| info == "signature")
            {
                let name = block.split('(').next().unwrap_or_default().trim();
                let name = name.strip_prefix(PROCEDURE).unwrap_or(name);
                let is_function = !name.starts_with("TYPE ") && !name.starts_with("VIEW ");
                if is_function && !called(name) {
                    wrong.push(format!("{}: no example of {name}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The names of ours in an example.
fn named(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| name.starts_with("pg_background_"))
}

#[test]
fn examples_use_one_name_for_each_purpose() {
    // The one that has no other form with the same meaning in every database.
    let recommended = "pg_background_launch_v2";
    let mut wrong = Vec::new();
    for page in pages() {
        // Code that is written for older versions is the subject there.
        if page.name == "docs/migration.md" {
            continue;
        }
        for heading in &page.headings {
            let blocks = heading.section.blocks.iter();
            for (_, code) in blocks.filter(|(info, _)| info.starts_with("sql")) {
                let older = named(code).filter(|name| name.contains("_v2") && *name != recommended);
                wrong.extend(older.map(|name| format!("{}: {}: {name}", page.name, heading.text)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_setting_has_its_row() {
    let database = Database::new();
    let mut client = database.session();
    client
        .batch_execute("LOAD 'pg_background'")
        .expect("loaded");
    let rows = client
        .query(
            "SELECT name, context, current_setting(name) FROM pg_settings WHERE name LIKE 'pg\\_background.%'",
            &[],
        )
        .expect("settings");
    let existing: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let who = match row.get(1) {
                "user" => "session",
                "superuser" => "superuser",
                "sighup" => "configuration",
                other => panic!("what is a setting of context {other}?"),
            };
            format!(
                "{}: {}, {who}",
                row.get::<_, &str>(0),
                row.get::<_, &str>(2)
            )
        })
        .collect();
    let rows = page("docs/settings.md").rows;
    let documented = rows
        .iter()
        .filter(|row| row[0].starts_with("pg_background."))
        .map(|row| format!("{}: {}, {}", row[0].trim(), row[1].trim(), row[2].trim()))
        .collect();
    same(&documented, &existing);
}

#[test]
fn every_error_that_the_source_raises_has_its_row() {
    let documented = page("docs/troubleshooting.md")
        .rows
        .iter()
        .filter(|row| row.len() == 3 && row[0].trim().len() == 5 && row[0].trim() != "state")
        .map(|row| format!("{} {}", row[0].trim(), row[1].trim()))
        .collect();
    let existing = raised()
        .into_iter()
        .map(|(message, sqlstate)| format!("{sqlstate} {message}"))
        .collect();
    same(&documented, &existing);
}

#[test]
fn every_name_of_ours_in_the_running_text_exists() {
    let database = Database::new();
    let mut client = database.session();
    client
        .batch_execute("LOAD 'pg_background'")
        .expect("loaded");
    let names = client
        .query(
            "SELECT proname::text FROM pg_proc UNION SELECT relname::text FROM pg_class
             UNION SELECT typname::text FROM pg_type UNION SELECT name FROM pg_settings
             UNION SELECT rolname::text FROM pg_roles
             UNION SELECT 'pg_background.' || attname::text FROM pg_attribute",
            &[],
        )
        .expect("names");
    let names: BTreeSet<String> = names.iter().map(|row| row.get(0)).collect();
    // What versions of the C extension had, and words that are no names of the catalog: files and a package.
    let others = [
        "pg_background_status_v2",
        "pg_background.control",
        "pg_background.so",
        "pg_background.spec",
        "pg_background_NN",
    ];
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, span) in &page.spans {
            for word in span.split(|c: char| !c.is_alphanumeric() && !"_.".contains(c)) {
                let word = word.trim_end_matches('.');
                let ours = word.starts_with("pg_background_") || word.starts_with("pg_background.");
                if ours && !names.contains(word) && !others.contains(&word) {
                    wrong.push(format!("{}:{line}: {word}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
