//! The same measures on two servers: ours, and one that has another version of the extension, such as
//! the C extension. Only what every version has is used: launch, result, wait, cancel and detach in
//! their `_v2` forms.

use postgres::Client;

use crate::clients;
use crate::conditions::Conditions;
use crate::measure::MEASURES;
use crate::report::{Row, Target, heads, print_cells};
use crate::series::{Series, alternate};
use crate::server::Server;
use crate::wakeups;
use crate::{Effort, Outcome};

/// The version that ours is compared with.
pub struct Other {
    pub server: Server,
    /// Name of its library, if its functions are to be made from that: then the schema must not exist
    /// yet, and is dropped in the end. `None`: the schema has the functions.
    pub library: Option<String>,
}

/// Definitions of what the measures use.
const FROM_LIBRARY: &str = "
CREATE TYPE {schema}.pg_background_handle AS (pid int4, cookie int8);
CREATE FUNCTION {schema}.pg_background_launch_v2(text, int4 DEFAULT 65536)
    RETURNS {schema}.pg_background_handle LANGUAGE c STRICT AS {library}, 'pg_background_launch_v2';
CREATE FUNCTION {schema}.pg_background_result_v2(int4, int8)
    RETURNS SETOF record LANGUAGE c STRICT AS {library}, 'pg_background_result_v2';
CREATE FUNCTION {schema}.pg_background_wait_v2(int4, int8)
    RETURNS void LANGUAGE c STRICT AS {library}, 'pg_background_wait_v2';
CREATE FUNCTION {schema}.pg_background_cancel_v2(int4, int8)
    RETURNS void LANGUAGE c STRICT AS {library}, 'pg_background_cancel_v2';
CREATE FUNCTION {schema}.pg_background_detach_v2(int4, int8)
    RETURNS void LANGUAGE c STRICT AS {library}, 'pg_background_detach_v2';
";

impl Other {
    /// Creates what the measures need; `remove` drops all of it again.
    pub fn prepare(&self) -> Outcome<Client> {
        let mut db = self.server.connect()?;
        if let (Some(library), Some(schema)) = (&self.library, &self.server.schema) {
            let schema = quoted(&mut db, "quote_ident", schema)?;
            let library = quoted(&mut db, "quote_literal", library)?;
            let functions = FROM_LIBRARY
                .replace("{schema}", &schema)
                .replace("{library}", &library);
            db.batch_execute(&format!("CREATE SCHEMA {schema}; {functions}"))?;
        }
        db.batch_execute(include_str!("measures.sql"))?;
        Ok(db)
    }

    pub fn remove(&self, db: &mut Client) -> Outcome<()> {
        db.batch_execute("DROP SCHEMA pgbackground_bench CASCADE")?;
        if let (Some(_), Some(schema)) = (&self.library, &self.server.schema) {
            let schema = quoted(db, "quote_ident", schema)?;
            db.batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))?;
        }
        Ok(())
    }
}

fn quoted(db: &mut Client, function: &str, text: &str) -> Outcome<String> {
    Ok(db
        .query_one(&format!("SELECT {function}($1)"), &[&text])?
        .get(0))
}

/// Prints the table as it comes; returns it with the conditions.
pub fn run(
    ours: &Server,
    ours_db: &mut Client,
    other: &Other,
    effort: Effort,
) -> Outcome<(Vec<Row>, Conditions)> {
    let mut other_db = other.prepare()?;
    let measured = measure((ours, ours_db), (&other.server, &mut other_db), effort);
    other.remove(&mut other_db)?;
    measured
}

type Side<'a> = (&'a Server, &'a mut Client);

fn measure(ours: Side, other: Side, effort: Effort) -> Outcome<(Vec<Row>, Conditions)> {
    let ((ours, ours_db), (other, other_db)) = (ours, other);
    let mut conditions = Conditions::ask(ours_db)?;
    conditions.add_server("other", other_db)?;
    conditions.print();

    let mut rows = Vec::new();
    let mut add = |row: Row| {
        row.print();
        rows.push(row);
    };
    let same = |id, what, [ours, peer]: [Series; 2]| Row {
        id,
        what,
        ours,
        peer: Some(peer),
        target: Target::None,
    };
    print_cells(&heads("ours", "other"));
    for measure in MEASURES.iter().filter(|measure| measure.for_any_version) {
        add(measure.compare(ours_db, other_db, effort.batches));
    }
    for count in [1, 4, 16] {
        let rates = alternate(effort.runs, |side| {
            let server = if side == 0 { ours } else { other };
            let pgbench = crate::pgbench(server, effort)?;
            Ok(vec![pgbench.rate(ours_db, clients::OURS, count)?])
        });
        let what = clients::what(count);
        add(same("T11", what, rates));
    }
    let waiting = &wakeups::MEASURES[0];
    let counts = alternate(1, |side| {
        Ok(vec![(waiting.count)(if side == 0 { ours } else { other })?])
    });
    add(same("T12", waiting.what.to_owned(), counts));
    Ok((rows, conditions))
}
