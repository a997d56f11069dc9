//! Runs targets without an eye on what their inputs reach: on the corpus, and on changed inputs of it.
//!
//! ```text
//! blind list
//! blind run TARGET CORPUS FAILURES SECONDS SEED
//! ```
//!
//! An input that fails is written into the directory FAILURES, and its path is printed.

use fuzz::{TARGETS, named};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Inputs are not made longer than this.
const LONGEST: usize = 4096;

/// A generator of random numbers (splitmix64): the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// An input of the corpus with one to eight changes, or none of it.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = match corpus.len() {
            0 => Vec::new(),
            count => corpus[self.below(count)].clone(),
        };
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => {
                    let new = (0..self.below(64))
                        .map(|_| self.next() as u8)
                        .collect::<Vec<_>>();
                    bytes.splice(at..at, new);
                }
                1 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                2 => {
                    let end = (at + self.below(64)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                3 => {
                    let extreme = [0_u8, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    let end = (at + self.below(9)).min(bytes.len());
                    bytes[at..end].fill(extreme);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

fn run(
    name: &str,
    corpus: &Path,
    failures: &Path,
    seconds: u64,
    seed: u64,
) -> std::io::Result<bool> {
    let target = named(name);
    let mut inputs = Vec::new();
    if corpus.is_dir() {
        let mut paths = std::fs::read_dir(corpus)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            inputs.push(std::fs::read(path)?);
        }
    }
    let begin = Instant::now();
    let mut random = Random(seed);
    let mut executions = 0_u64;
    while (executions as usize) < inputs.len() || begin.elapsed() < Duration::from_secs(seconds) {
        let input = match inputs.get(executions as usize) {
            Some(input) => input.clone(),
            None => random.input(&inputs),
        };
        executions += 1;
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let path = failures.join(format!("{name}-{seed}-{executions}"));
            std::fs::create_dir_all(failures)?;
            std::fs::write(&path, &input)?;
            println!("{name}: fails with {}", path.display());
            return Ok(false);
        }
    }
    println!(
        "{name}: {executions} executions, {} inputs in the corpus",
        inputs.len()
    );
    Ok(true)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments[..] {
        ["list"] => {
            for target in TARGETS {
                println!("{}", target.name);
            }
            ExitCode::SUCCESS
        }
        ["run", name, corpus, failures, seconds, seed] => {
            let (corpus, failures) = (Path::new(corpus), Path::new(failures));
            match run(name, corpus, failures, number(seconds), number(seed)) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => panic!("{}: {error}", corpus.display()),
            }
        }
        _ => panic!("blind list, or blind run TARGET CORPUS FAILURES SECONDS SEED"),
    }
}
