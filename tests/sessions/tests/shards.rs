//! Jobs that use other servers: each server runs its part in workers of its own.

use postgres::Client;
use postgres::config::Host;
use session_tests::*;
use std::time::{Duration, Instant};

/// A server with two others that its jobs reach as `east` and `west`.
struct Shards {
    here: Server,
    east: Server,
    west: Server,
}

fn socket(server: &Server) -> String {
    match server.config().get_hosts().first() {
        Some(Host::Unix(path)) => path.to_string_lossy().into_owned(),
        other => panic!("a server on this machine: {other:?}"),
    }
}

impl Shards {
    fn start() -> Self {
        let shards = Self {
            here: Server::start("here", &[]),
            east: Server::start("east", &[]),
            west: Server::start("west", &[]),
        };
        let mut admin = shards.here.session();
        admin
            .batch_execute("CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink")
            .expect("extensions");
        for (name, server) in [("east", &shards.east), ("west", &shards.west)] {
            server
                .session()
                .batch_execute(&format!(
                    "CREATE FUNCTION slow() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(600)';
                     CREATE VIEW slow AS SELECT slow() AS n;
                     CREATE VIEW here AS SELECT '{name}'::text AS name, pg_backend_pid() AS pid"
                ))
                .expect("views");
            let address = socket(server);
            admin
                .batch_execute(&format!(
                    "CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw
                         OPTIONS (host '{address}', port '5432', dbname 'postgres');
                     CREATE USER MAPPING FOR postgres SERVER {name} OPTIONS (user 'postgres');
                     CREATE FOREIGN TABLE {name}_slow (n int) SERVER {name} OPTIONS (table_name 'slow');
                     CREATE FOREIGN TABLE {name}_here (name text, pid int) SERVER {name} OPTIONS (table_name 'here')"
                ))
                .expect("a foreign server");
        }
        shards
    }
}

/// Its clients that come from a job here.
const FOREIGN: &str = "(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postgres_fdw' AND state = 'active')";

/// Each server is given a list of statements, which it fans out itself.
fn fan_out_everywhere(client: &mut Client, statement: &str) -> Vec<(i32, bool, Option<String>)> {
    let rows = client.query(
        "SELECT f.idx, f.ok AND NOT f.result @> '[{\"ok\": false}]', f.result::text
         FROM pg_background_fanout(ARRAY(
             SELECT format('SELECT * FROM dblink(%L, %L) AS r (idx int, ok bool, result jsonb)', server,
                           format('SELECT idx, ok, result FROM pg_background_fanout(%L)', array_fill($1::text, ARRAY[8])))
             FROM unnest(ARRAY['east', 'west']) server)) f
         ORDER BY f.idx",
        &[&statement],
    );
    let rows = rows.expect("fanned out");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[test]
fn each_server_runs_its_part_in_workers_of_its_own() {
    let shards = Shards::start();
    let mut leader = shards.here.session();
    let rows = fan_out_everywhere(
        &mut leader,
        // A client's process always has its type there; a worker's has none (NULL) until the postmaster has
        // noted its pid, which a busy machine may have it do after the worker has begun.
        "SELECT h.name, a.backend_type IS DISTINCT FROM 'client backend' AS in_a_worker
         FROM here h, pg_stat_activity a WHERE a.pid = pg_backend_pid()",
    );
    for (row, name) in rows.iter().zip(["east", "west"]) {
        let (_, ok, result) = row;
        let result = result.as_deref().unwrap_or_default();
        assert!(ok, "{row:?}");
        assert_eq!(
            result.matches("\"in_a_worker\": true").count(),
            8,
            "{row:?}"
        );
        assert_eq!(result.matches(&format!("\"{name}\"")).count(), 8, "{row:?}");
    }
    for server in [&shards.here, &shards.east, &shards.west] {
        nothing_is_left(&mut server.session());
    }
}

#[test]
fn a_cancel_reaches_the_query_on_the_other_server() {
    let shards = Shards::start();
    let mut leader = shards.here.session();
    let job = launch(&mut leader, "SELECT n FROM east_slow");
    let mut east = shards.east.session();
    eventually(&mut east, &format!("{FOREIGN} = 1"));
    assert_eq!(cancel_and_forget(&mut leader, job), "canceled");
    eventually(&mut east, &format!("{FOREIGN} = 0"));
    nothing_is_left(&mut leader);
}

#[test]
fn a_server_that_stops_fails_its_own_statements_only() {
    let shards = Shards::start();
    let mut leader = shards.here.session();
    let fanout = std::thread::spawn(move || {
        let rows = leader.query(
            "SELECT idx, ok, sqlstate FROM pg_background_fanout(ARRAY[
                 'SELECT n FROM east_slow', 'SELECT name FROM west_here']) ORDER BY idx",
            &[],
        );
        (rows, leader)
    });
    eventually(&mut shards.east.session(), &format!("{FOREIGN} = 1"));
    let start = Instant::now();
    shards.east.stop();
    let (rows, mut leader) = fanout.join().expect("the fan-out has ended");
    assert!(start.elapsed() < Duration::from_secs(20));
    let rows = rows.expect("a row for each");
    let seen: Vec<(bool, Option<&str>)> = rows.iter().map(|row| (row.get(1), row.get(2))).collect();
    assert!(!seen[0].0, "{seen:?}");
    assert!(
        matches!(seen[0].1, Some("57P01" | "08006" | "08000")),
        "{seen:?}"
    );
    assert_eq!(seen[1], (true, None));
    nothing_is_left(&mut leader);
}
