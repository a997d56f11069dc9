//! Prints which file of the extension uses which.

use std::process::ExitCode;
use structure::graph::Graph;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => {}
        [word] if word == "draw" => {}
        _ => {
            eprintln!("usage: cargo run -p structure [-- draw]");
            return ExitCode::from(2);
        }
    }
    match structure::project() {
        Ok(tree) => {
            print!("{}", Graph::of(&tree).in_words());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
