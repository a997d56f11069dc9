# Sourced by `ci/package minor-versions`: a library that was built for the oldest minor version that a release of the
# distribution has runs on the newest one, and back. For 14 and 16, whose releases of Ubuntu keep their first packages,
# the oldest is the second after the major version itself (14.2, 16.2).
#
# Ends with one line per direction. SKIPPED means that a download failed, or that there is only one minor version.
# shellcheck shell=bash

source ci/lib/package-use.sh

[ $# -gt 0 ] || set -- 14 16
for version; do
    [ -n "$(release_of "$version")" ] || usage
done

# The versions of the server's package in the chroot's release, the oldest first.
package_versions() {
    aside "$1" "$given" bash -c "apt-get update -qq && apt-cache madison postgresql-$1" |
        awk -F ' *[|] *' '{ print $2 }' | sort -Vu
}

# Builds for a minor version, and keeps the result: build_for VERSION PACKAGE_VERSION. Each has a directory of its own,
# because cargo does not notice that the headers of the server have changed.
build_for() {
    aside_reads=("$toolchain" "$cargo_home")
    aside_writes=$target/minor/$2
    mkdir -p "$aside_writes"
    local status=0
    try "$1" "$given" minor-build.sh "$2" "$toolchain" "$cargo_home" || status=$?
    aside_reads=() aside_writes=
    return $status
}

# Builds for one minor version and uses the library on another.
direction() {
    local version=$1 from=$2 to=$3 status=0 given=$given
    build_for "$version" "$from" || status=$?
    if [ $status -eq 0 ]; then
        given=$given.used
        give "$given"
        cp -r "$target/minor/$from/installed" "$target/minor/$from/built-for" "$given/"
        try "$version" "$given" minor.sh "$to" || status=$?
    fi
    note "$version: built for $from, used on $to" $status
}

trap 'exit 130' INT TERM

mkdir -p "$target/package"
for version; do
    say "PostgreSQL $version"
    given=$target/package/minor-$version
    log=$given.log
    : >"$log"
    if ! prepare_chroot "$version" "$log"; then
        lines+=("SKIPPED $version: $reason")
        continue
    fi
    give "$given"
    give_source "$given"
    mapfile -t minors < <(package_versions "$version")
    if [ ${#minors[@]} -lt 2 ]; then
        lines+=("SKIPPED $version: its release has only ${minors[*]:-none}")
        continue
    fi
    direction "$version" "${minors[0]}" "${minors[-1]}"
    direction "$version" "${minors[-1]}" "${minors[0]}"
done

say 'minor versions'
finish_lines
