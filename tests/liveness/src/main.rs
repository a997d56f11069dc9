//! Prints the tables of transitions in Promela, for the specifications beside this crate.

use engine::transitions::TABLES;
use protocol_kit::promela::words;

fn main() {
    for table in TABLES {
        println!("{}", words(table));
    }
}
