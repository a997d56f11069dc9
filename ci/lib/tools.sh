# Sourced by the scripts that need a program that cargo can build.
# shellcheck shell=bash

# Puts `cargo SUBCOMMAND` on the PATH: the machine's own if it has that version, otherwise one that is built and kept in
# target/tools. The version has to match exactly.
cargo_tool() {
    local subcommand=$1 version=$2 tools=$target/tools
    PATH=$tools/bin:$PATH
    has() { "cargo-$subcommand" "$subcommand" --version 2>/dev/null | grep -qwF "$version"; }
    has || {
        say "building cargo-$subcommand"
        CARGO_TARGET_DIR=$target/tools/build \
            cargo install --quiet --locked --debug --root "$tools" "cargo-$subcommand" --version "$version"
        rm -rf "$target/tools/build"
    }
}

# Puts the programs of ci/lib/python/requirements.txt on the PATH. pip installs them into target/tools/python, anew when
# that list has changed. Fails, with pip's words in target/tools/python.log, if they cannot be installed.
python_tools() {
    local home=$target/tools/python list=$root/ci/lib/python/requirements.txt log=$target/tools/python.log
    PATH=$home/bin:$PATH
    ! cmp -s "$list" "$home/installed.txt" || return 0
    say "installing $(sed -nE 's/==.*//p' "$list" | paste -sd ' ')"
    rm -rf "$home"
    mkdir -p "$target/tools"
    {
        python3 -c 'import ensurepip' || {
            as_root apt-get update -qq
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
                python3 python3-venv </dev/null
        }
        python3 -m venv "$home" &&
            "$home/bin/pip" --disable-pip-version-check --no-input install --only-binary :all: --require-hashes \
                --requirement "$list" &&
            cp "$list" "$home/installed.txt"
    } >"$log" 2>&1
}
