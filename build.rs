//! Compiles the C shim.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "runs when the extension is built"
)]

use std::process::Command;

const SOURCES: [&str; 21] = [
    "root.c",
    "execute.c",
    "session.c",
    "settings.c",
    "leftovers.c",
    "signal.c",
    "comm.c",
    "error.c",
    "convert.c",
    "memory.c",
    "rows.c",
    "record.c",
    "lasting.c",
    "shape.c",
    "json.c",
    "spill.c",
    "params.c",
    "pin.c",
    "trace.c",
    "library.c",
    "clock.c",
];

fn main() {
    println!("cargo:rerun-if-changed=src/shim");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    let pg_config =
        std::env::var("PGRX_PG_CONFIG_PATH").unwrap_or_else(|_| String::from("pg_config"));
    let mut build = cc::Build::new();
    build
        .include(ask(&pg_config, "--includedir-server"))
        .include(ask(&pg_config, "--pkgincludedir"))
        .flag("-std=gnu11")
        .flag("-fvisibility=hidden")
        .flag("-fexceptions")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-sign-compare")
        .flag("-Wno-missing-field-initializers")
        .warnings_into_errors(true);
    if std::env::var_os("CARGO_FEATURE_FAULTS").is_some() {
        build.define("PGB_FAULTS", None);
    }
    // `ci/server-tests sanitizers`. The server brings the library of the address sanitizer; that of the other is
    // named because Rust links without the compiler's own.
    println!("cargo:rerun-if-env-changed=PGB_SANITIZERS");
    if std::env::var_os("PGB_SANITIZERS").is_some() {
        build
            .flag("-fsanitize=address,undefined")
            .flag("-fno-sanitize-recover=undefined")
            .flag("-fno-omit-frame-pointer");
        println!("cargo:rustc-cdylib-link-arg=-lubsan");
    }
    for source in SOURCES {
        build.file(format!("src/shim/{source}"));
    }
    build.compile("pg_background_shim");
}

fn ask(pg_config: &str, what: &str) -> String {
    let output = Command::new(pg_config)
        .arg(what)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {pg_config}: {error}"));
    assert!(output.status.success(), "{pg_config} {what} failed");
    String::from_utf8(output.stdout)
        .expect("pg_config prints text")
        .trim()
        .to_owned()
}
