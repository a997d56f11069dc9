//! The engine's parsers and queues, run on input that was made to break them.
//!
//! # Words
//!
//! * A **target** is a function of bytes. It panics if what the code under test does with them is wrong: it panics
//!   itself, it differs from a reference, or it breaks a rule that its documentation states.
//! * The **corpus** of a target (`tests/fuzz/corpus/NAME`) is a few inputs that together reach all the code that was
//!   reached so far. Every run begins with it. The input of a defect becomes a unit test beside the code.
//! * A run is **guided** if libFuzzer does it: it keeps an input that reaches code which no input before it reached,
//!   and changes that further (`src/bin/guided.rs`). A run is **blind** if it changes inputs of the corpus at random
//!   (`src/bin/blind.rs`). Both run the same targets.
//!
//! `ci/engine fuzz` runs them. What is parsed outside the engine is listed in `docs/models.md`, section *Fuzzing*.

mod targets;

/// See the module documentation.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Panics if something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub static TARGETS: &[Target] = &[
    target("channel", targets::channel::run),
    target("column_list", targets::texts::column_list),
    target("cookie", targets::texts::cookie),
    target("deadlock", targets::deadlock::run),
    target("error_message", targets::texts::error_message),
    target("layout", targets::texts::layout),
    target("line", targets::protocol::line),
    target("log", targets::protocol::log),
    target("replay", targets::protocol::replay),
    target("ring", targets::ring::run),
    target("text", targets::texts::text),
];

/// Has a defect on purpose: the ring with a buffer that loses a byte now and then. Shows that a run finds something.
pub static PLANTED: Target = target("planted", targets::ring::run_with_a_damaged_buffer);

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// The target of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn named(name: &str) -> &'static Target {
    let mut all = TARGETS.iter().chain([&PLANTED]);
    all.find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there is no target {name}"))
}
