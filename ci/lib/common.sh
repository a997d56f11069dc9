# Sourced by every command of ci/: where things are, how a command tells what it can do, and how to act as another
# user.
# shellcheck shell=bash

set -euo pipefail

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

# What the comment at the head of the command says.
describe() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }
usage() {
    describe >&2
    exit 2
}

# Leaves with the description if that is all that was asked for.
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

# The server that everything is built for and tested with: PG_CONFIG if given, else Debian's
# PostgreSQL of the major version PG_MAJOR.
PG_MAJOR=${PG_MAJOR:-15}
pg_config_is_given=${PG_CONFIG:+yes}
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}

# Sets pg_major, pg_bindir and so on. Separate from the above because ci/setup runs before there
# is a pg_config to ask.
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

# A copy of the server in this directory, which finds its files beside itself wherever it is. The programs as files,
# because they look where they are, and what is ours; the rest as links. Needs find_postgres.
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

# PostgreSQL refuses to run as root: a throw-away server belongs to the system's postgres user then, and to the
# caller otherwise.
as_server_user() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

# What a command needs before it can use the server of PG_CONFIG with the extension in it.
install_extension() {
    ci/setup
    find_postgres
    ci/install
}

# Runs a throw-away server as long as this script: start_server NAME [SETTING=VALUE ...].
start_server() {
    # shellcheck disable=SC2064
    trap "ci/server stop $1" EXIT
    # Interrupted, a script stops with what it runs.
    trap 'exit 130' INT TERM
    ci/server start "$@"
}
