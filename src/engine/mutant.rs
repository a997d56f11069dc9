//! Mutants: defects on purpose, one at a time, to show that the models can fail.
//!
//! Where a rule of the engine could be broken, the code names the mutant that breaks it. The rule stands first.
//! A mutant of several steps is a function in the file's own `mutants`.
//!
//! | macro | without the mutant | with it |
//! |---|---|---|
//! | `mutant!("name", value => other)` | the value | the other |
//! | `mutant!("name" => instead)` | nothing | `instead` replaces the code that follows |
//! | `checked!("name", condition)` | the condition | false: the condition is ignored |
//! | `exchange!("name", word, now, wanted, success, failure)` | a compare-exchange of the word | a store: the change is in two steps |
//! | `fenced!("name", ordering)` | a fence | nothing |
//! | `weakened!("name", ordering)` | the ordering | `Relaxed` |
//!
//! An ordinary build contains only the code without the mutant. Builds for models (`--cfg loom`, `--cfg
//! shuttle`) look at the environment variable `PGB_MUTANT`: one build has all mutants, and a run of a model has
//! one of them.
//!
//! `docs/models.md` lists them, each with the models that must fail. `ci/engine mutants models` and `ci/engine
//! mutants schedules` check that these models fail and that the list is complete.

#[cfg(any(loom, shuttle))]
pub use selected::is;

#[cfg(any(loom, shuttle))]
mod selected {
    use std::sync::OnceLock;

    /// Whether this mutant is the one that runs.
    #[must_use]
    pub fn is(name: &str) -> bool {
        static SELECTED: OnceLock<Option<String>> = OnceLock::new();
        let selected = SELECTED.get_or_init(|| std::env::var("PGB_MUTANT").ok());
        selected.as_deref() == Some(name)
    }
}

#[cfg(any(loom, shuttle))]
macro_rules! mutant {
    ($name:literal => $($instead:tt)+) => {
        if $crate::mutant::is($name) {
            $($instead)+
        }
    };
    ($name:literal, $value:expr => $other:expr) => {
        if $crate::mutant::is($name) {
            $other
        } else {
            $value
        }
    };
}

#[cfg(not(any(loom, shuttle)))]
macro_rules! mutant {
    ($name:literal => $($instead:tt)+) => {};
    ($name:literal, $value:expr => $other:expr) => {
        $value
    };
}

macro_rules! checked {
    ($name:literal, $condition:expr) => {
        mutant!($name, $condition => false)
    };
}

macro_rules! exchange {
    ($name:literal, $word:expr, $now:expr, $wanted:expr, $success:expr, $failure:expr $(,)?) => {
        mutant!(
            $name,
            $word.compare_exchange_weak($now, $wanted, $success, $failure) => {
                $word.store($wanted, $crate::sync::Ordering::Release);
                Ok::<u64, u64>($now)
            }
        )
    };
}

macro_rules! fenced {
    ($name:literal, $ordering:expr) => {
        mutant!($name, $crate::sync::fence($ordering) => ())
    };
}

macro_rules! weakened {
    ($name:literal, $ordering:expr) => {
        mutant!($name, $ordering => $crate::sync::Ordering::Relaxed)
    };
}
