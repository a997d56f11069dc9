# Sourced by `ci/server-tests matrix`: builds the extension for other server versions and runs the whole server test
# suite on each.
#
# A version is tested in a chroot of a release that packages it (Debian's, for 14 and 16 Ubuntu's), with this machine's
# Rust toolchain mounted into it. target/chroot/VERSION is created on first use and kept: remove it, as root, to create
# it again. target/matrix/VERSION holds the build and the logs.
#
# Ends with one line per version. SKIPPED means that a download failed and nothing was tested. The script fails only if
# a build or a test fails.
# shellcheck shell=bash

source ci/lib/debian.sh
source ci/lib/suite.sh

[ $# -gt 0 ] || set -- 18 19
for version; do
    case $version in 14 | 16 | 17 | 18 | 19) ;; *) usage ;; esac
done

# The summary of a version's test logs, on one line.
counts() {
    find "$target/matrix/$1/test-logs" -type f -exec cat {} + | awk '
        BEGIN { regression = "no tests" }
        /^#? ?(All )?[0-9]+ (of [0-9]+ )?tests (passed|failed)/ {
            sub(/^[# ]*/, ""); sub(/\.? *$/, ""); regression = $0
        }
        /^test result:/ { passed += $4; failed += $6 }
        END { printf "regression: %s; sessions: %d passed, %d failed\n", regression, passed, failed }'
}

# A build that takes half the time. The builds that users get are tested on the oldest server, and by `ci/package`.
quick_build=(env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16)

# If this machine's C library is not newer than the chroot's, the multi-session tests are built once, here.
build_clients() {
    local libraries
    PGB_CLIENTS=
    libraries=$(getconf GNU_LIBC_VERSION && inside "$1" getconf GNU_LIBC_VERSION) || return
    sort -VC <<<"$libraries" || return 0
    cargo test --locked --no-run "${clients[@]}" || return
    PGB_CLIENTS=$target
}

skip() { lines+=("SKIPPED $1: $2"); }

test_version() {
    local version=$1 log=$target/matrix/$1/prepare.log
    mkdir -p "$target/matrix/$version"
    : >"$log"
    if [ "$toolchain" = /usr ]; then
        skip "$version" 'the Rust toolchain is a part of this system, a chroot cannot have it'
    elif ! attempt install_debootstrap >>"$log" 2>&1; then
        skip "$version" "debootstrap could not be installed, see $log"
    elif ! attempt cargo fetch --locked >>"$log" 2>&1; then
        skip "$version" "the crates could not be downloaded, see $log"
    elif ! attempt make_chroot "$version" >>"$log" 2>&1; then
        skip "$version" "the chroot could not be made, see $log"
    elif ! attempt inside "$version" ci/setup >>"$log" 2>&1; then
        skip "$version" "its packages could not be installed, see $log"
    elif build_clients "$version" && PGB_CLIENTS=$PGB_CLIENTS inside "$version" "${quick_build[@]}" ci/server-tests suite; then
        lines+=("passed $version: $(counts "$version")")
    else
        lines+=("FAILED $version: $(counts "$version")")
        failed+=("$version")
    fi
}

# If interrupted, it stops the commands that it runs.
trap 'exit 130' INT TERM

for version; do
    say "PostgreSQL $version"
    test_version "$version"
done

say 'versions'
finish_lines
