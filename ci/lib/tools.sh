# Sourced by the scripts that need a program that cargo can build.
# shellcheck shell=bash

# Puts `cargo SUBCOMMAND` on the PATH: the machine's own if it has that version, otherwise one that is built and kept in
# target/tools. A version has to match exactly; 'any' accepts every version.
cargo_tool() {
    local subcommand=$1 version=$2 tools=$target/tools
    PATH=$tools/bin:$PATH
    has() { "cargo-$subcommand" "$subcommand" --version 2>/dev/null | grep -qE "${version/any/.}"; }
    has || {
        say "building cargo-$subcommand"
        [ "$version" != any ] || version='*'
        CARGO_TARGET_DIR=$target/tools/build \
            cargo install --quiet --locked --root "$tools" "cargo-$subcommand" --version "$version"
        rm -rf "$target/tools/build"
    }
}
