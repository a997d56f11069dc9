//! `trace LOG ...`: replays the logs, prints what they cover, and fails if the tables do not allow what is in them.

use std::path::Path;
use std::process::ExitCode;
use trace::{Report, check};

fn main() -> ExitCode {
    let mut total = Report::default();
    for path in std::env::args_os().skip(1) {
        let path = Path::new(&path);
        let bytes =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let report = check(
            &path.display().to_string(),
            &String::from_utf8_lossy(&bytes),
        );
        println!("{}: {report}", path.display());
        total.add(report);
    }
    total.note_coverage();
    for fault in &total.faults {
        eprintln!("{fault}");
    }
    if total.steps == 0 {
        eprintln!("there is no transition in the logs: were they written at DEBUG2?");
        return ExitCode::FAILURE;
    }
    if total.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
