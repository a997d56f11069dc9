//! Takes away what the sessions use.

use crate::{Run, connect};
use postgres::{Client, NoTls};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use session_tests::{config, pause};
use std::time::Duration;

/// A database that is created and dropped again and again.
pub const VOLATILE: &str = "chaos_volatile";
/// Roles that the sessions log in as, beside the superuser.
pub const ROLES: [&str; 2] = ["chaos_one", "chaos_two"];

const SETTINGS: [(&str, &[&str]); 3] = [
    ("worker_idle_timeout", &["0", "20ms", "500ms", "3s"]),
    ("worker_max_jobs", &["1", "7", "10000"]),
    ("max_pool_workers", &["-1", "1", "3"]),
];

/// What the sessions need, in a database.
fn furnish(client: &mut Client) {
    client
        .batch_execute(
            "CREATE EXTENSION IF NOT EXISTS pg_background;
             CREATE TABLE IF NOT EXISTS ledger (entry int8);
             GRANT INSERT ON ledger TO PUBLIC;
             CREATE OR REPLACE PROCEDURE commit_twice() LANGUAGE plpgsql AS
                 $$ BEGIN COMMIT; PERFORM 1; COMMIT; END $$;
             DO $$ BEGIN
                IF to_regtype('chaos_value') IS NULL THEN
                    CREATE TYPE chaos_value AS ENUM ('v0', 'v1', 'v2', 'v3', 'v4', 'v5');
                    CREATE FUNCTION chaos_to_json(v chaos_value) RETURNS json LANGUAGE plpgsql AS $f$ BEGIN
                        CASE v
                            WHEN 'v0' THEN RAISE 'raised while it was converted' USING ERRCODE = 'XY123';
                            WHEN 'v1' THEN PERFORM pg_background_run('SELECT 1');
                            WHEN 'v2' THEN PERFORM pg_background_submit_v2('SELECT pg_sleep(0.01)');
                            WHEN 'v3' THEN PERFORM pg_sleep(0.005);
                            WHEN 'v4' THEN PERFORM pg_background_stats();
                            ELSE NULL;
                        END CASE;
                        RETURN to_json(v::text);
                    END $f$;
                    CREATE CAST (chaos_value AS json) WITH FUNCTION chaos_to_json(chaos_value);
                    CREATE FUNCTION chaos_check(n int) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN
                        IF n = 0 THEN RAISE 'raised by a check' USING ERRCODE = 'XY124'; END IF;
                        RETURN true;
                    END $f$;
                    CREATE DOMAIN chaos_domain AS int CHECK (chaos_check(VALUE));
                END IF;
             END $$",
        )
        .expect("the database is furnished");
}

/// Before the sessions begin.
pub fn prepare() {
    let mut client = connect();
    furnish(&mut client);
    for role in ROLES {
        client
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; GRANT pgbackground_role TO {role}"
            ))
            .expect("the role is created");
    }
    client
        .batch_execute(&format!("CREATE DATABASE {VOLATILE}"))
        .expect("the database is created");
    furnish(
        &mut config()
            .dbname(VOLATILE)
            .connect(NoTls)
            .expect("the database is there"),
    );
}

/// Makes trouble while the run goes on.
pub fn make(run: &Run, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = connect();
    client
        .batch_execute("LOAD 'pg_background'")
        .expect("the library is loaded");
    while run.goes_on() {
        pause(Duration::from_millis(rng.random_range(5..120)));
        if let Err(error) = one(&mut rng, &mut client) {
            run.fail(&format!("trouble: {error:?}"));
        }
        check(run, &mut client);
    }
}

fn one(rng: &mut SmallRng, client: &mut Client) -> Result<(), postgres::Error> {
    let a_worker = "(SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_background' ORDER BY random() LIMIT 1)";
    let a_session = "(SELECT pid FROM pg_stat_activity WHERE application_name = 'chaos' AND backend_type = 'client backend'
                      ORDER BY random() LIMIT 1)";
    match rng.random_range(0..13) {
        12 => {
            let role = ROLES.choose(rng).expect("there are some");
            let level = ["debug5", "debug3", "debug1", "notice", "error"]
                .choose(rng)
                .expect("there are some");
            client.batch_execute(&format!(
                "ALTER ROLE {role} SET client_min_messages = {level}"
            ))
        }
        0..3 => client.batch_execute(&format!("SELECT pg_terminate_backend({a_worker})")),
        3..5 => client.batch_execute(&format!("SELECT pg_cancel_backend({a_worker})")),
        5 => client.batch_execute(&format!("SELECT pg_terminate_backend({a_session})")),
        6 => client.batch_execute(&format!("SELECT pg_cancel_backend({a_session})")),
        7 | 8 => {
            let (name, values) = SETTINGS.choose(rng).expect("there are some");
            let value = values.choose(rng).expect("there are some");
            client.batch_execute(&format!(
                "ALTER SYSTEM SET pg_background.{name} = '{value}'"
            ))?;
            client.batch_execute("SELECT pg_reload_conf()")
        }
        9 => client.batch_execute("SELECT pg_background_retire_idle()"),
        10 if rng.random() => {
            for enabled in ["off", "on"] {
                client.batch_execute(&format!(
                    "ALTER SYSTEM SET pg_background.enabled = {enabled}"
                ))?;
                client.batch_execute("SELECT pg_reload_conf()")?;
                pause(Duration::from_millis(20));
            }
            Ok(())
        }
        10 => {
            let role = ROLES.choose(rng).expect("there are some");
            client.batch_execute(&format!("ALTER ROLE {role} NOLOGIN"))?;
            pause(Duration::from_millis(30));
            client.batch_execute(&format!("ALTER ROLE {role} LOGIN"))
        }
        _ => {
            client.batch_execute(&format!("DROP DATABASE {VOLATILE} WITH (FORCE)"))?;
            client.batch_execute(&format!("CREATE DATABASE {VOLATILE}"))?;
            // A session that was quicker may block it; then the next round sets it up.
            if let Ok(mut fresh) = config().dbname(VOLATILE).connect(NoTls) {
                furnish(&mut fresh);
            }
            Ok(())
        }
    }
}

fn check(run: &Run, client: &mut Client) {
    let row = client.query_one(
        "SELECT slots_used BETWEEN 0 AND slots_total AND arena_bytes >= 0
            AND memory_allocated <= memory_limit AND jobs_queued BETWEEN 0 AND slots_used
         FROM pg_background_resources()",
        &[],
    );
    match row {
        Ok(row) if row.get(0) => {}
        other => run.fail(&format!("resources: {other:?}")),
    }
}

/// After the sessions have ended: the configuration is as it was.
pub fn calm() {
    let mut client = connect();
    client
        .batch_execute("LOAD 'pg_background'")
        .expect("the library is loaded");
    for (name, _) in SETTINGS {
        client
            .batch_execute(&format!("ALTER SYSTEM RESET pg_background.{name}"))
            .expect("the setting is reset");
    }
    client
        .batch_execute("SELECT pg_reload_conf()")
        .expect("the configuration is reloaded");
    client
        .batch_execute(&format!("DROP DATABASE {VOLATILE} WITH (FORCE)"))
        .expect("the database is dropped");
}
