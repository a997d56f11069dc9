//! Compiles the C shim, and generates Rust from `shared.h`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "runs when the extension is built"
)]

use std::path::Path;
use std::process::Command;

const SOURCES: [&str; 29] = [
    "root.c",
    "execute.c",
    "plans.c",
    "time_limit.c",
    "session.c",
    "settings.c",
    "placeholders.c",
    "leftovers.c",
    "signal.c",
    "comm.c",
    "error.c",
    "convert.c",
    "memory.c",
    "rows.c",
    "value.c",
    "xact_end.c",
    "record.c",
    "lasting.c",
    "shape.c",
    "json.c",
    "spill.c",
    "params.c",
    "elements.c",
    "drop.c",
    "login.c",
    "pin.c",
    "trace.c",
    "library.c",
    "clock.c",
];

fn main() {
    println!("cargo:rerun-if-changed=src/shim");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    // `ci/lint`. Another compiler, or other options, may warn of more, and the library must build there too.
    println!("cargo:rerun-if-env-changed=PGB_STRICT");
    let pg_config =
        std::env::var("PGRX_PG_CONFIG_PATH").unwrap_or_else(|_| String::from("pg_config"));
    let mut build = cc::Build::new();
    build
        .include(ask(&pg_config, "--includedir-server"))
        .include(ask(&pg_config, "--pkgincludedir"))
        .flag("-fvisibility=hidden")
        .flag("-fexceptions")
        // The server's headers are written for these two; it is built with them too.
        .flag("-fno-strict-aliasing")
        .flag("-fwrapv")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-sign-compare")
        .flag("-Wno-missing-field-initializers")
        .warnings_into_errors(std::env::var_os("PGB_STRICT").is_some());
    // Their headers declare functions without parameters. In C of 2023 that means that they have none.
    if ["CARGO_FEATURE_PG14", "CARGO_FEATURE_PG15"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        build.flag_if_supported("-std=gnu17");
    }
    if std::env::var_os("CARGO_FEATURE_FAULTS").is_some() {
        build.define("PGB_FAULTS", None);
    }
    if std::env::var_os("CARGO_FEATURE_EAGER_PLANS").is_some() {
        build.define("PGB_EAGER_PLANS", None);
    }
    // `ci/server-tests sanitizers`. The server links the library of the address sanitizer. That of the other one has to
    // be named, because Rust does not link the C compiler's own libraries.
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
    let shared = std::fs::read_to_string("src/shim/shared.h").expect("shared.h can be read");
    let directory = std::env::var_os("OUT_DIR").expect("cargo names it");
    std::fs::write(Path::new(&directory).join("shared.rs"), translate(&shared))
        .expect("it can be written");
}

/// The constants of `shared.h` as constants, and its layouts as assertions.
fn translate(header: &str) -> String {
    without_comments(header)
        .lines()
        .map(translate_line)
        .collect()
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let code = parts.next().unwrap_or_default().to_owned();
    parts.fold(code, |code, part| {
        code + part.split_once("*/").expect("a comment ends").1
    })
}

fn translate_line(line: &str) -> String {
    let words: Vec<_> = line
        .split([' ', '\t', '(', ')', ',', '\\'])
        .filter(|word| !word.is_empty())
        .collect();
    match words[..] {
        [] | ["#ifndef" | "#define", "PGB_SHARED_H"] | ["#endif"] => String::new(),
        ["#define", "PGB_LAYOUTS", "STRUCT", "MEMBER"] => String::new(),
        ["#define", name, text] if text.starts_with('"') => {
            format!("pub const {name}: &str = {text};\n")
        }
        ["#define", name, number] => format!("pub const {name}: u32 = {number};\n"),
        ["STRUCT", name, size] => format!(
            "const _: () = assert!(size_of::<{name}>() as u32 == {size}, \"{name} has another size than shared.h says\");\n"
        ),
        ["MEMBER", name, member, at, size] => format!(
            "const _: () = assert!(offset_of!({name}, {member}) == {at} && member_size(|it: &{name}| &it.{member}) == {size}, \"{name}.{member} is not laid out as shared.h says\");\n"
        ),
        _ => panic!("shared.h: {line}"),
    }
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
