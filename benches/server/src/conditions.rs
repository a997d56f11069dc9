//! The conditions of the measurements, without which the figures have no meaning.

use std::{env, fs};

use postgres::Client;

use crate::Outcome;
use crate::markdown::table;

/// Name and value of each.
pub struct Conditions(Vec<(String, String)>);

impl Conditions {
    /// Asks the machine, the server, and the environment for what `ci/bench` knows.
    pub fn ask(db: &mut Client) -> Outcome<Self> {
        let from_caller = |name| env::var(name).unwrap_or_else(|_| "unknown".to_owned());
        let mut all = vec![
            ("date".to_owned(), from_caller("PGB_BENCH_DATE")),
            ("commit".to_owned(), from_caller("PGB_BENCH_COMMIT")),
            ("processors".to_owned(), processors()?),
            ("memory".to_owned(), memory()?),
            (
                "kernel".to_owned(),
                fs::read_to_string("/proc/sys/kernel/osrelease")?
                    .trim()
                    .to_owned(),
            ),
        ];
        all.extend(server(db)?);
        Ok(Self(all))
    }

    /// Adds what another server says of itself.
    pub fn add_server(&mut self, name: &str, db: &mut Client) -> Outcome<()> {
        let lines = server(db)?;
        self.0.extend(
            lines
                .into_iter()
                .map(|(what, value)| (format!("{name}: {what}"), value)),
        );
        Ok(())
    }

    pub fn print(&self) {
        for (name, value) in &self.0 {
            println!("{name:<24} {value}");
        }
        println!();
    }

    pub fn table(&self) -> String {
        let head = vec![String::from("what"), String::from("value")];
        let lines = self
            .0
            .iter()
            .map(|(name, value)| vec![name.clone(), value.clone()]);
        table(std::iter::once(head).chain(lines))
    }
}

/// What `path` says of `key`, in the form `key : value`.
fn field(path: &str, key: &str) -> Outcome<String> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    });
    Ok(value.unwrap_or_default())
}

fn processors() -> Outcome<String> {
    let model = field("/proc/cpuinfo", "model name")?;
    let flags = field("/proc/cpuinfo", "flags")?;
    let is_virtual = flags.split(' ').any(|flag| flag == "hypervisor");
    Ok(format!(
        "{} × {}{}",
        std::thread::available_parallelism()?,
        if model.is_empty() { "unknown" } else { &model },
        if is_virtual { " (virtual machine)" } else { "" }
    ))
}

fn memory() -> Outcome<String> {
    let total = field("/proc/meminfo", "MemTotal")?;
    let kilobytes: f64 = total.trim_end_matches(" kB").parse()?;
    Ok(format!("{:.1} GiB", kilobytes / 1024.0 / 1024.0))
}

fn server(db: &mut Client) -> Outcome<Vec<(String, String)>> {
    let version: String = db.query_one("SHOW server_version", &[])?.get(0);
    let extension = db
        .query_opt(
            "SELECT extversion FROM pg_extension WHERE extname = 'pg_background'",
            &[],
        )?
        .map_or_else(|| "not an extension".to_owned(), |row| row.get(0));
    // Of those with a prefix only what was changed, and not all of them exist in every version.
    let settings = db.query(
        "SELECT name || ' = ' || current_setting(name) FROM pg_settings \
         WHERE name LIKE 'pg\\_background.%' AND setting IS DISTINCT FROM boot_val \
            OR name IN ('fsync', 'max_worker_processes', 'shared_buffers', 'work_mem') \
         ORDER BY name",
        &[],
    )?;
    let settings: Vec<String> = settings.iter().map(|row| row.get(0)).collect();
    Ok(vec![
        ("PostgreSQL".to_owned(), version),
        ("pg_background".to_owned(), extension),
        ("settings".to_owned(), settings.join(", ")),
    ])
}
