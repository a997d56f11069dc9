//! `coverage DIRECTORY [PAGE]`: says which arcs of the tables the tests have reached, from the files in the directory,
//! and fails if there is one that nothing has reached. Puts the matrix into the page; then everything has to have run.

use std::path::Path;
use std::process::ExitCode;
use trace::coverage::{Coverage, publish};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("no directory")?;
    let coverage = Coverage::read(Path::new(&directory))?;
    print!("{}", coverage.summary());
    let missing: Vec<_> = coverage.missing().collect();
    if !missing.is_empty() {
        println!("not run: {}", missing.join(", "));
    }
    if let Some(path) = arguments.next() {
        if !missing.is_empty() {
            return Err(String::from(
                "the matrix is published when everything has run",
            ));
        }
        let page = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let page = publish(&page, &coverage.matrix())?;
        std::fs::write(&path, page).map_err(|error| format!("{path}: {error}"))?;
    }
    let gaps = coverage.gaps();
    if gaps.is_empty() {
        println!("every arc was reached");
        return Ok(());
    }
    Err(format!("nothing has reached\n  {}", gaps.join("\n  ")))
}
