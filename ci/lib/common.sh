# Sourced by every command of ci/: paths, the description of a command, and commands as another user.
# shellcheck shell=bash

set -euo pipefail

# Where programs for administrators are. Not everybody who is root has it: `su` leaves the PATH as it was.
PATH=$PATH:/usr/sbin:/sbin

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac

say() { printf '%s\n' "== $*"; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# Prints the comment at the head of the command.
describe() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }
usage() {
    describe >&2
    exit 2
}

# Prints the description and exits if the argument asks for it.
help_if_asked() {
    case ${1:-} in -h | --help) describe && exit ;; esac
}

# Runs a command with administrator's rights: directly as root, else through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this step needs administrator's rights, and sudo is not installed" \
            "run the following as root, then start again:" "  $*"
    fi
}

# The major version of the server that this release of Debian or Ubuntu packages; elsewhere that of Debian 12.
packaged_major() {
    case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null) in
    jammy) echo 14 ;;
    noble) echo 16 ;;
    trixie | plucky | questing) echo 17 ;;
    forky | resolute) echo 18 ;;
    *) echo 15 ;;
    esac
}

# The server for builds and tests: PG_CONFIG if given, otherwise the packaged PostgreSQL of the major version PG_MAJOR.
PG_MAJOR=${PG_MAJOR:-$(packaged_major)}
pg_config_is_given=${PG_CONFIG:+yes}
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}

# Sets pg_major, pg_bindir and so on. A function, because `ci/setup` runs before there is a pg_config.
find_postgres() {
    command -v "$PG_CONFIG" >/dev/null ||
        die "no pg_config at $PG_CONFIG" "run ci/setup, or pass PG_CONFIG=/path/to/pg_config"
    PG_CONFIG=$(command -v "$PG_CONFIG")
    pg_major=$("$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
    pg_bindir=$("$PG_CONFIG" --bindir)
    pg_libdir=$("$PG_CONFIG" --pkglibdir)
    pg_extdir=$("$PG_CONFIG" --sharedir)/extension
    export PGRX_PG_CONFIG_PATH=$PG_CONFIG
}

# A copy of the server in this directory, which finds its files beside itself. The programs are copied as files, because
# they look for the others relative to their own path, and so is our library; the rest are links. Needs find_postgres.
copy_server() {
    local copy=$1 sharedir
    sharedir=$("$PG_CONFIG" --sharedir)
    mkdir -p "$copy$pg_bindir" "$copy$pg_libdir" "$copy$sharedir"
    cp -r "$pg_bindir/." "$copy$pg_bindir"
    cp -rs "$pg_libdir/." "$copy$pg_libdir"
    cp -rs "$sharedir/." "$copy$sharedir"
    if [ -e "$pg_libdir/pg_background.so" ]; then
        cp --remove-destination "$pg_libdir/pg_background.so" "$copy$pg_libdir"
    fi
}

# PostgreSQL refuses to run as root. So for root a throw-away server belongs to the system's postgres user, otherwise to
# the caller.
as_server_user() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

# Has the transitions that the tests make noted for `ci/engine coverage` under this name, in place of what an earlier
# run has noted.
note_coverage() {
    mkdir -p "$target/coverage"
    export PROTOCOL_COVERAGE=$target/coverage/$1
    rm -f "$PROTOCOL_COVERAGE"
}

# Sets older_rust: flags of cargo for what is built for a server. pgrx declares a newer Rust than this project does, and
# the suite shows that it is good with ours. A Rust that is too old for this project is still refused. (The engine and
# the tests are built without pgrx, and need no flag.)
allow_older_rust() {
    local needed
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    older_rust=()
    ! printf '%s\n' "$needed" "$(rustc --version | cut -d' ' -f2)" | sort -VC || older_rust=(--ignore-rust-version)
}

# Prepares the server of PG_CONFIG with the extension in it.
install_extension() {
    ci/setup
    find_postgres
    ci/install
}

# Runs a throw-away server as long as this script: start_server NAME [SETTING=VALUE ...].
start_server() {
    # shellcheck disable=SC2064
    trap "ci/server stop $1" EXIT
    # An interrupted script stops its servers.
    trap 'exit 130' INT TERM
    ci/server start "$@"
}
