//! `trace [--coverage FILE] LOG ...`: replays the logs, prints what they cover, and fails if the tables do not allow
//! what is in them. The names of the arcs are appended to FILE.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use trace::{Report, check};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let mut coverage = None;
    if arguments
        .next_if(|argument| argument == "--coverage")
        .is_some()
    {
        coverage = arguments.next();
    }
    let mut total = Report::default();
    let mut logs = 0;
    for path in arguments {
        let path = Path::new(&path);
        let bytes =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let report = check(
            &path.display().to_string(),
            &String::from_utf8_lossy(&bytes),
        );
        if report.steps > 0 {
            println!("{}: {report}", path.display());
        }
        total.add(report);
        logs += 1;
    }
    if let Some(file) = coverage {
        let arcs: String = total.arcs.iter().map(|arc| format!("{arc}\n")).collect();
        let opened = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file);
        let written = opened.and_then(|mut file| file.write_all(arcs.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    for fault in &total.faults {
        eprintln!("{fault}");
    }
    println!("trace: {logs} logs, {total}");
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
