//! Runs the target that `PGB_TARGET` names under libFuzzer, whose arguments it takes.
#![no_main]

use fuzz::{Target, named};
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> =
    LazyLock::new(|| named(&std::env::var("PGB_TARGET").expect("PGB_TARGET names a target")));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
