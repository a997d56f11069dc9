# Sourced by `ci/package versions`: for each server version, the Debian package is built in the chroot of its release,
# and the tests of the package run in a copy of that chroot: installed, used, replaced, removed, and used in a directory
# outside of the server's.
#
# Ends with one line per test. SKIPPED means that a download failed.
# shellcheck shell=bash

source ci/lib/package-use.sh

[ $# -gt 0 ] || set -- 14 16 17 18 19
for version; do
    [ -n "$(release_of "$version")" ] || usage
done

# If interrupted, it stops the commands that it runs.
trap 'exit 130' INT TERM

mkdir -p "$target/package"
for version; do
    say "PostgreSQL $version"
    given=$target/package/$version
    log=$given.log
    : >"$log"
    debs=$target/matrix/$version/deb
    as_root rm -rf "$debs"
    if ! prepare_chroot "$version" "$log"; then
        lines+=("SKIPPED $version: $reason")
    elif ! attempt inside "$version" ci/setup >>"$log" 2>&1; then
        lines+=("SKIPPED $version: its packages could not be installed, see $log")
    elif ! inside "$version" ci/package deb; then
        note "$version" 1
    else
        give "$given" "$debs"/*.deb
        for test in deb elsewhere; do
            status=0
            try "$version" "$given" $test.sh || status=$?
            note "$version $test" $status
        done
    fi
done

say 'packages'
finish_lines
