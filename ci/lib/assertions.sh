# Sourced by `ci/server-tests assertions`, `valgrind` and `sanitizers` ($mode is the word): the server tests on a
# PostgreSQL that is built with assertions, overwrites freed memory and checks the ends of allocations. The extension is
# built with Rust's assertions and overflow checks. Valgrind reports reads of memory that was never written or is not
# allocated, in C and in Rust.
#
# The server is built from Debian's source, and kept in target/assertions/VERSION (with sanitizers: VERSION-sanitizers)
# with the build and the logs: remove that directory to get a newer source. A last line with SKIPPED means that a
# download failed and nothing was tested. That is a failure only if PGB_SKIPPED_STATUS says so.
#
# The version `head` is the newest commit of PostgreSQL's own repository, or that of PGB_SERVER_GIT. It is fetched and
# built anew each time.
# shellcheck shell=bash

source ci/lib/debian.sh

version=${1:-15}
[ $# -le 1 ] || usage
case $version in 15 | 17 | 18 | head) ;; *) usage ;; esac

name="$mode $version"
home=$target/assertions/$version
flags='-O1 -g -fno-omit-frame-pointer'
if [ "$mode" = sanitizers ]; then
    home+=-sanitizers
    flags+=' -fsanitize=address'
    # The server frees little before it exits, and its programs nothing. Tests preload a library for psql's output.
    export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0
fi
log=$home/prepare.log
mkdir -p "$home"
: >"$log"

# The server's user needs access to the programs.
server=$home/postgres
if [ "$(id -u)" -eq 0 ] && ! (cd / && as_server_user test -x "$home") 2>/dev/null; then
    server=/var/tmp/pg_background-server-$(basename "$home")
fi

tools() {
    local missing=()
    for tool in bison flex xz; do
        command -v "$tool" >/dev/null || missing+=("${tool/#xz/xz-utils}")
    done
    [ "$version" != head ] || command -v git >/dev/null || missing+=(git)
    command -v dpkg-source >/dev/null || missing+=(dpkg-dev)
    [ -e /usr/include/valgrind/memcheck.h ] && command -v valgrind >/dev/null || missing+=(valgrind)
    [ -e /usr/include/libxml2/libxml/parser.h ] || missing+=(libxml2-dev)
    [ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
    [ ${#missing[@]} -eq 0 ] || {
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}" </dev/null
    }
}

# Downloads Debian's source of the server to $home/source, without Debian's patches, which always put the libraries below
# /usr. The lists that apt needs are kept in $home too: this machine's own configuration is not changed.
download() {
    local apt=$home/apt from security
    from=$(mirror)
    security=$(mirror Debian-Security)
    [ -n "$from" ] || { echo 'this machine has no Debian packages'; return 1; }
    rm -rf "$apt" "$home/source"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    {
        echo "$from $(release_of "$version")"
        [ "$version" = 18 ] || [ -z "$security" ] || echo "$security $(release_of "$version")-security"
    } | sed 's:.*:deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] & main:' >"$apt/sources.list"
    set -- -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User="$(id -un)"
    apt-get "$@" update || return
    # The newest available: a mirror may list a version before it has its files.
    local versions source
    versions=$(apt-cache "$@" showsrc --only-source "postgresql-$version" | sed -n 's/^Version: //p' | sort -Vru)
    for source in $versions; do
        if (cd "$apt" && apt-get "$@" source --download-only --only-source "postgresql-$version=$source"); then
            dpkg-source --skip-patches --no-copy -x "$apt"/*"${source##*:}".dsc "$home/source" && rm -rf "$apt"
            return
        fi
    done
    return 1
}

clone() {
    rm -rf "$home/source" "$server"
    git clone --quiet --depth 1 "${PGB_SERVER_GIT:-https://git.postgresql.org/git/postgresql.git}" "$home/source" &&
        git -C "$home/source" log -1 --format='PostgreSQL at %h of %cs: %s'
}

# The C of the extension, compiled against a server that pgrx does not know.
compile_shim() {
    local source status=0
    for source in src/shim/*.c; do
        cc -fsyntax-only -std=gnu11 -fexceptions -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
            -Wno-missing-field-initializers -I"$("$PG_CONFIG" --includedir-server)" \
            -I"$("$PG_CONFIG" --pkgincludedir)" "$source" || status=1
    done
    return $status
}

# The parts that the tests use. Without optimization it would be too slow even for tests that measure nothing.
build() {
    cd "$home/source"
    ./configure --quiet --prefix="$server" --enable-cassert --enable-debug \
        --with-libxml --with-ssl=openssl --without-readline --without-zlib --without-icu \
        CFLAGS="$flags" CPPFLAGS=-DUSE_VALGRIND &&
        make -s -j2 && make -s install || return
    make -s -j2 -C contrib all && make -s -C contrib install || return
    cp src/tools/valgrind.supp "$server/" && rm -rf "$home/source"
}

# A directory for a report of each process, which the server's user can write to.
make_reports() {
    reports=$(mktemp -d /tmp/pgb-reports.XXXXXX)
    [ "$(id -u)" -ne 0 ] || chown postgres: "$reports"
}

# The script that is started instead of the server's program. Known reports are in two lists, the server's and ours.
valgrind_server() {
    cp tests/valgrind.supp "$server/extension.supp"
    cat >"$server/postgres-under-valgrind" <<END
#!/bin/sh
exec valgrind --quiet --trace-children=yes --leak-check=no \
    --suppressions=$server/valgrind.supp --suppressions=$server/extension.supp \
    --gen-suppressions=all --error-markers=FOUND-BEGIN,FOUND-END --num-callers=30 \
    --log-file=$reports/%p $server/bin/postgres "\$@"
END
    chmod 755 "$server/postgres-under-valgrind"
}

# Keeps the reports beside the build. With an argument, only reports that contain it count.
findings() {
    cat "$reports"/* >"$home/$mode.log" 2>/dev/null || true
    rm -rf "$reports"
    ! grep -q "${1:-.}" "$home/$mode.log" || die "$mode: something was found, see $home/$mode.log"
}

skip() {
    say "SKIPPED $name: $1, see $log"
    exit "${PGB_SKIPPED_STATUS:-0}"
}

attempt tools >>"$log" 2>&1 || skip 'the tools for it could not be installed'
if [ "$version" = head ] || [ ! -e "$server/valgrind.supp" ]; then
    say "building PostgreSQL $version with assertions"
    if [ "$version" = head ]; then fetch=clone; else fetch=download; fi
    attempt "$fetch" >>"$log" 2>&1 || skip 'the source of the server could not be downloaded'
    (build) >>"$log" 2>&1 || die "the server could not be built, see $log"
fi
export PG_CONFIG=$server/bin/pg_config CARGO_TARGET_DIR=$home PGB_CLIENTS=$target

# pgrx learns of a version months after PostgreSQL's branch for it. Until then only the C is compiled.
if [ "$version" = head ]; then
    find_postgres
    grep -h '^PostgreSQL at ' "$log"
    if ! grep -q "^pg$pg_major = " Cargo.toml; then
        say "the C of the extension on PostgreSQL $pg_major"
        compile_shim || die "the C of the extension does not compile for PostgreSQL $pg_major"
        log=Cargo.toml
        skip "the C compiles, but there is no feature pg$pg_major, because pgrx has none"
    fi
fi
# Built like a release, so that the same code is tested, but quickly.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

status=0
case $mode in
assertions) ci/server-tests suite ;;
valgrind)
    make_reports
    valgrind_server
    # Only tests that measure no time, because everything takes thirty times as long.
    PGB_POSTGRES=$server/postgres-under-valgrind \
        PGB_REGRESS='install v1 errors row_types params notices transactions loops plpgsql' \
        ci/server-tests suite || status=$?
    findings FOUND-BEGIN
    ;;
sanitizers)
    make_reports
    # The sanitizer takes so much of the address space that no test can limit it.
    skip=$(sed -n '/^#\[test\]/ { n; s/^fn \(.*\)() {/\1/p }' tests/sessions/tests/hostile_sizes.rs)
    say "skipped: the tests of hostile_sizes.rs, which limit memory ($(wc -w <<<"$skip"))"
    PGB_TEST_SKIP=$skip PGB_SANITIZERS=yes ASAN_OPTIONS+=:log_path=$reports/address \
        UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/undefined ci/server-tests suite || status=$?
    findings
    ;;
esac
[ "$status" -eq 0 ] || exit "$status"
say "passed $name"
