//! Mutants: defects on purpose, one at a time, to show that the models can fail.
//!
//! Where a rule of a protocol could be broken, the code names the mutant that breaks it. The rule stands first.
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
//! A list outside of the code says which model must fail for each of them, and a script runs those models with each
//! mutant (in this project `docs/models.md` and `ci/engine mutants`).

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

/// A place in the code where a mutant may be; see the module.
#[cfg(any(loom, shuttle))]
#[macro_export]
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

/// A place in the code where a mutant may be; see the module.
#[cfg(not(any(loom, shuttle)))]
#[macro_export]
macro_rules! mutant {
    ($name:literal => $($instead:tt)+) => {};
    ($name:literal, $value:expr => $other:expr) => {
        $value
    };
}

/// A condition that a mutant ignores.
#[macro_export]
macro_rules! checked {
    ($name:literal, $condition:expr) => {
        $crate::mutant!($name, $condition => false)
    };
}

/// A compare-exchange that a mutant does in two steps.
#[macro_export]
macro_rules! exchange {
    ($name:literal, $word:expr, $now:expr, $wanted:expr, $success:expr, $failure:expr $(,)?) => {
        $crate::mutant!(
            $name,
            $word.compare_exchange_weak($now, $wanted, $success, $failure) => {
                $word.store($wanted, $crate::sync::Ordering::Release);
                Ok::<u64, u64>($now)
            }
        )
    };
}

/// A fence that a mutant leaves out.
#[macro_export]
macro_rules! fenced {
    ($name:literal, $ordering:expr) => {
        $crate::mutant!($name, $crate::sync::fence($ordering) => ())
    };
}

/// An ordering that a mutant weakens.
#[macro_export]
macro_rules! weakened {
    ($name:literal, $ordering:expr) => {
        $crate::mutant!($name, $ordering => $crate::sync::Ordering::Relaxed)
    };
}
