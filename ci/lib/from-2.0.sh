# Sourced by `ci/server-tests from-2.0`: what comes from version 2.0 of the C extension, with Debian's package of it, in
# the chroot of its release (see matrix.sh). The tests are in tests/from-2.0.
#
#   compare    one script with everything that 2.0 has, on both: each difference is in a list, with its reason
#   takeover   this library and update on the data directory of the package, and the way back
#   upgrade    pg_upgrade from this machine's major version, with databases that use the extension
#
# target/from-2.0 holds what the tests get, target/matrix/18/from-2.0 what they print. Ends with one line per test.
# SKIPPED means that a download failed, or that the servers alone do not do it, and nothing was tested.
# shellcheck shell=bash

source ci/lib/debian.sh

[ $# -gt 0 ] || set -- compare takeover upgrade
for part; do
    case $part in compare | takeover | upgrade) ;; *) usage ;; esac
done

version=18
given=$target/from-2.0
log=$given/prepare.log
rm -rf "$given"
mkdir -p "$given"

get_package() {
    inside "$version" apt-get update -qq &&
        inside "$version" bash -c 'cd "$1" && apt-get download -q -o APT::Sandbox::User=root "$2"' bash \
            "$given" "postgresql-$version-pg-background" &&
        dpkg-deb -x "$given"/*-pg-background_*.deb "$given/c"
}

# The server of this machine's release, without the updates that came later: a minor version that is newer than that of
# the chroot may write what pg_upgrade cannot read there. Our library, built for it, is in it; what its programs need of
# this machine is beside it.
get_old_server() {
    local version packages
    version=$(apt-cache madison "postgresql-$PG_MAJOR" | awk 'END { print $3 }') || return
    packages=(postgresql-{,client-,server-dev-}"$PG_MAJOR=$version")
    (cd "$given" && apt-get download -q -o APT::Sandbox::User=root "${packages[@]}") || return
    for package in "$given"/postgresql-*"$PG_MAJOR"_*.deb; do
        dpkg-deb -x "$package" "$given/old" || return
    done
    PG_CONFIG=$given/old/usr/lib/postgresql/$PG_MAJOR/bin/pg_config CARGO_TARGET_DIR=$target/older ci/install || return
    mkdir "$given/libraries" &&
        ldd "$given/old/usr/lib/postgresql/$PG_MAJOR"/bin/* | sed -nE 's|.*=> (/[^ ]+) .*|\1|p' | sort -u |
        grep -vE '/lib(c|m|dl|rt|pthread|resolv)\.so' | xargs cp -Lt "$given/libraries"
}

prepare() {
    if [ "$toolchain" = /usr ]; then
        reason='the Rust toolchain is a part of this system, a chroot cannot have it'
    elif ! attempt install_debootstrap; then
        reason='debootstrap could not be installed'
    elif ! attempt cargo fetch --locked; then
        reason='the crates could not be downloaded'
    elif ! attempt make_chroot "$version"; then
        reason='the chroot could not be made'
    elif ! attempt inside "$version" ci/setup; then
        reason='its packages could not be installed'
    elif ! attempt get_package; then
        reason='the package of version 2.0 could not be downloaded'
    else
        return 0
    fi
    return 1
}

test_part() {
    local status=0
    if [ "$1" = upgrade ] && ! attempt get_old_server >>"$log" 2>&1; then
        lines+=("SKIPPED $1: the older server could not be prepared, see $log")
        return
    fi
    inside "$version" tests/from-2.0/run "$1" "$given" || status=$?
    case $status in
    0) lines+=("passed $1") ;;
    75) lines+=("SKIPPED $1: pg_upgrade fails with these two servers also without the extension") ;;
    *) lines+=("FAILED $1") && failed+=("$1") ;;
    esac
}

# If interrupted, it stops the commands that it runs.
trap 'exit 130' INT TERM

if prepare >>"$log" 2>&1; then
    for part; do
        say "$part"
        test_part "$part"
    done
else
    lines+=("SKIPPED $*: $reason, see $log")
fi
say "from version 2.0, on PostgreSQL $version"
finish_lines
