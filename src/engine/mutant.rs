//! Mutants: defects on purpose, one at a time, to show that the models can fail.
//!
//! Where a rule of the engine could be broken, the code asks `mutant!("name")`, and breaks it if that is
//! the one selected; `weakened!("name", ordering)` is the ordering, or `Relaxed` if it is. In every
//! ordinary build the first is the constant `false` and the second the ordering, so nothing of them is
//! left in the machine code. Only builds for models (`--cfg loom`, `--cfg shuttle`) look, at the
//! environment variable `PGB_MUTANT`: all mutants are in one build, and a run of a model has one of them.
//!
//! `docs/models.md` lists them, each with the models that must fail; `ci/engine mutants models` and
//! `ci/engine mutants schedules` see to it that they do, and that the list is complete.

#[cfg(any(loom, shuttle))]
pub use selected::is;

#[cfg(any(loom, shuttle))]
mod selected {
    use std::sync::OnceLock;

    /// Whether it is this one.
    #[must_use]
    pub fn is(name: &str) -> bool {
        static SELECTED: OnceLock<Option<String>> = OnceLock::new();
        let selected = SELECTED.get_or_init(|| std::env::var("PGB_MUTANT").ok());
        selected.as_deref() == Some(name)
    }
}

#[cfg(any(loom, shuttle))]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutant::is($name)
    };
}

#[cfg(not(any(loom, shuttle)))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

macro_rules! weakened {
    ($name:literal, $ordering:expr) => {
        if mutant!($name) {
            $crate::sync::Ordering::Relaxed
        } else {
            $ordering
        }
    };
}
