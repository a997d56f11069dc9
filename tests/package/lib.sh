# Sourced by the tests of this directory, which run as root in a temporary copy of a chroot, with the major version as
# their first argument, and with this directory, packages and an old version's script at /given.
# shellcheck shell=bash disable=SC2034

set -euo pipefail
major=$1
shift
prefix=/usr/lib/postgresql/$major
extensions=/usr/share/postgresql/$major/extension

# A failed download is no failed test.
download() { "$@" || exit 75; }

# The chroot may have a server and its headers from builds. The test begins without them.
without_server() {
    download apt-get update -qq
    apt-get purge -y -qq '^postgresql' '^libpq' >/dev/null 2>&1
    apt-get autoremove -y -qq --purge >/dev/null 2>&1
    if command -v pg_ctlcluster; then exit 1; fi
}

# Installs packages or files of packages. That they can be installed here is tested; then come the downloads.
install() {
    apt-get install -s -qq --no-install-recommends --allow-downgrades "$@" >/dev/null
    download apt-get install -y -qq --no-install-recommends --allow-downgrades --download-only "$@"
    apt-get install -y -qq --no-install-recommends --allow-downgrades "$@"
}

# The server has a cluster, `main`, from the installation of its package.
server() { pg_ctlcluster "$major" main "$1"; }

# psql as a superuser, until the first error.
on() { runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -At "$@"; }
configure() { on -c "ALTER SYSTEM SET $1"; }

# Twice: as it is, and preloaded.
use_twice() {
    local preload
    cp /given/pg_background--1.6.sql "$1/"
    for preload in DEFAULT pg_background; do
        configure "shared_preload_libraries = $preload"
        server restart
        on -f /given/use.sql
    done
    configure 'shared_preload_libraries = DEFAULT'
    server restart
}
