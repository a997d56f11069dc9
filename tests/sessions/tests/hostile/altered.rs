//! A row type that is altered between two rows of a result is noticed, whoever alters it: its values would be read
//! beyond their end.

use postgres::Client;
use session_tests::*;

const TYPES: &str = "
    CREATE TYPE inner_pair AS (a int4, b int4);
    CREATE TYPE pair AS (a int4, b int4);
    CREATE TYPE outer_pair AS (p pair, q pair[]);
    CREATE DOMAIN pair_domain AS pair";

/// What a job returns, and as what it is read.
const RESULTS: [(&str, &str); 7] = [
    ("SELECT g, g FROM generate_series(1, 100) g", "NULL::pair"),
    (
        "SELECT g, g FROM generate_series(1, 100) g",
        "NULL::pair_domain",
    ),
    (
        "SELECT ROW(g, g)::pair FROM generate_series(1, 100) g",
        "NULL::text",
    ),
    (
        "SELECT ARRAY[ROW(g, g)::pair] FROM generate_series(1, 100) g",
        "NULL::pair[]",
    ),
    (
        "SELECT ROW(ROW(g, g), ARRAY[ROW(g, g)::pair])::outer_pair FROM generate_series(1, 100) g",
        "NULL::text",
    ),
    (
        "SELECT ROW(g, ROW(g, g)::pair) FROM generate_series(1, 100) g",
        "NULL::text",
    ),
    (
        "SELECT ROW(g, g)::pair_domain FROM generate_series(1, 100) g",
        "NULL::text",
    ),
];

const ALTERATIONS: [&str; 4] = [
    "ALTER TYPE pair ALTER ATTRIBUTE a TYPE text",
    "ALTER TYPE pair DROP ATTRIBUTE a",
    "ALTER TYPE pair ADD ATTRIBUTE c text",
    "ALTER TYPE pair DROP ATTRIBUTE b, ADD ATTRIBUTE b text",
];

fn fetches(
    session: &mut Client,
    altering: &mut dyn FnMut(&mut Client),
    sql: &str,
    row_type: &str,
) -> String {
    let handle = launch(session, sql);
    session
        .batch_execute(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT pg_background_result({}, {}, {row_type}); FETCH 3 FROM c",
            handle.pid, handle.cookie
        ))
        .expect("the first rows");
    altering(session);
    let state = match session.batch_execute("FETCH 3 FROM c") {
        Ok(()) => String::from("00000"),
        Err(error) => sqlstate::<()>(Err(error)),
    };
    session
        .batch_execute("ROLLBACK; SELECT pg_background_detach_all()")
        .expect("ended");
    state
}

/// What a fan-out gets. The last one is made of anonymous records, in which nothing refers to the row type any more.
const ELEMENTS: [(&str, &str); 7] = [
    ("ARRAY[ROW(1, 1), ROW(2, 2), NULL]::pair[]", "42804"),
    ("ARRAY[ROW(1, 1), ROW(2, 2), NULL]::pair_domain[]", "42804"),
    (
        "ARRAY[ROW(ROW(1, 1), ARRAY[ROW(1, 1)::pair]), ROW(NULL, NULL)]::outer_pair[]",
        "42804",
    ),
    (
        "ARRAY[ROW(1, ROW(1, 1)::pair), ROW(2, ROW(2, 2)::pair)]",
        "42804",
    ),
    (
        "ARRAY[ROW(ROW(ROW(1, ARRAY[ROW(1, 1)::pair]))), ROW(ROW(ROW(2, ARRAY[ROW(2, 2)::pair])))]",
        "42804",
    ),
    (
        "ARRAY[ROW(NULL, ROW(1, 1)::pair_domain), ROW(2, 'x'::text)]",
        "42804",
    ),
    ("ARRAY[ROW(1, 1)::pair, ROW(2, 2)::pair]::record[]", "00000"),
];

/// The SQLSTATE of the second row of a fan-out over the elements, between whose first two rows something happens.
fn second_row(
    session: &mut Client,
    elements: &str,
    altering: &mut dyn FnMut(&mut Client),
) -> String {
    session
        .batch_execute(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT (f).ok, (f).sqlstate
             FROM (SELECT pg_background_fanout_params('SELECT 1', {elements}, 1) AS f) s; FETCH c"
        ))
        .expect("the first row");
    altering(session);
    let row = session.query_one("FETCH c", &[]).expect("the second row");
    let state = match row.get::<_, Option<String>>(1) {
        None => String::from("00000"),
        Some(state) => state,
    };
    assert_eq!(row.get::<_, bool>(0), state == "00000", "{elements}");
    session.batch_execute("ROLLBACK").expect("ended");
    state
}

#[test]
fn an_element_type_that_is_altered_between_two_fetches_is_noticed() {
    let database = Database::new();
    let (mut session, mut other) = (database.session(), database.session());
    session.batch_execute(TYPES).expect("types");
    let mut wrong = Vec::new();
    for (elements, expected) in ELEMENTS {
        for alteration in ALTERATIONS {
            let own = second_row(&mut session, elements, &mut |session| {
                session.batch_execute(alteration).expect("altered");
            });
            let by_other = second_row(&mut session, elements, &mut |_| {
                other.batch_execute(alteration).expect("altered");
            });
            for (who, state) in [("itself", own), ("another", by_other)] {
                if state != expected {
                    wrong.push(format!("{elements}: {alteration} by {who}: {state}"));
                }
            }
            session
                .batch_execute(&format!(
                    "DROP TYPE pair CASCADE; DROP TYPE outer_pair, inner_pair; {TYPES}"
                ))
                .expect("types");
        }
        let state = second_row(&mut session, elements, &mut |session| {
            session
                .batch_execute("COMMENT ON TYPE pair IS 'x'; ALTER TYPE inner_pair ADD ATTRIBUTE c text; ALTER TYPE pair RENAME ATTRIBUTE a TO c")
                .expect("altered");
        });
        if state != "00000" {
            wrong.push(format!("{elements}: nothing: {state}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_is_left(&mut session);
}

#[test]
fn a_type_that_is_altered_between_two_fetches_is_noticed() {
    let database = Database::new();
    let (mut session, mut other) = (database.session(), database.session());
    session.batch_execute(TYPES).expect("types");
    let mut wrong = Vec::new();
    for (sql, row_type) in RESULTS {
        for alteration in ALTERATIONS {
            // By the session itself; by another one.
            let own = fetches(
                &mut session,
                &mut |session| session.batch_execute(alteration).expect("altered"),
                sql,
                row_type,
            );
            let by_other = fetches(
                &mut session,
                &mut |_| other.batch_execute(alteration).expect("altered"),
                sql,
                row_type,
            );
            for (who, state) in [("itself", own), ("another", by_other)] {
                if state != "42804" {
                    wrong.push(format!(
                        "{sql} as {row_type}: {alteration} by {who}: {state}"
                    ));
                }
            }
            session
                .batch_execute(&format!(
                    "DROP TYPE pair CASCADE; DROP TYPE outer_pair, inner_pair; {TYPES}"
                ))
                .expect("types");
        }
        // Other changes around the type are no alteration.
        let state = fetches(
            &mut session,
            &mut |session| {
                session
                    .batch_execute("COMMENT ON TYPE pair IS 'x'; ALTER TYPE inner_pair ADD ATTRIBUTE c text; ALTER TYPE pair RENAME ATTRIBUTE a TO c")
                    .expect("altered");
            },
            sql,
            row_type,
        );
        if state != "00000" {
            wrong.push(format!("{sql} as {row_type}: nothing: {state}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_is_left(&mut session);
}
