# Sourced by the parts of `ci/package` that use packages: tests in temporary copies of the chroots (see debian.sh). They
# are in tests/package, and get a directory of this machine as /given, for reading only.
# shellcheck shell=bash

source ci/lib/debian.sh

# The exit status of a test in which a download failed, and nothing was tested.
undone=75

# Fills a directory for the tests: with the tests, what they need, and the files that are named: give DIRECTORY FILE ...
give() {
    local given=$1
    shift
    # The tests write as root.
    as_root rm -rf "$given"
    mkdir -p "$given"
    cp tests/package/* tests/sessions/tests/upgrade/pg_background--1.6.sql "$@" "$given/"
}

# Runs a test in a copy of the chroot of a version: try VERSION DIRECTORY TEST [ARGUMENT ...]
try() {
    local version=$1 given=$2 test=$3
    shift 3
    aside "$version" "$given" bash "/given/$test" "$version" "$@"
}

# Makes the chroot of a version, in which this machine's toolchain can build. If that fails, `reason` says why. What it
# prints goes into the log: prepare_chroot VERSION LOG
prepare_chroot() {
    local version=$1 log=$2
    if [ "$toolchain" = /usr ]; then
        reason='the Rust toolchain is a part of this system, a chroot cannot have it'
    elif ! attempt install_debootstrap >>"$log" 2>&1; then
        reason="debootstrap could not be installed, see $log"
    elif ! attempt cargo fetch --locked >>"$log" 2>&1; then
        reason="the crates could not be downloaded, see $log"
    elif ! attempt make_chroot "$version" >>"$log" 2>&1; then
        reason="the chroot could not be made, see $log"
    else
        return 0
    fi
    return 1
}

# The project's files as they are, in a directory: give_source DIRECTORY
give_source() {
    mkdir -p "$1/source"
    git ls-files -z | tar -c --null -T - | tar -x -C "$1/source"
}

# Notes the result of a test for the last lines: note NAME STATUS
note() {
    case $2 in
    0) lines+=("passed $1") ;;
    "$undone") lines+=("SKIPPED $1: what it needs could not be downloaded") ;;
    *) lines+=("FAILED $1") && failed+=("$1") ;;
    esac
}
