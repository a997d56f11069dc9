# Sourced by ci/package: what .github/workflows/release.yml does for a tag.
# shellcheck shell=bash

package_version() { sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml; }

# The section of a version in CHANGELOG.md, without its heading: from `## VERSION`, after which a date may stand.
changelog_section() {
    VERSION=$1 awk '
        /^## / { within = $2 == ENVIRON["VERSION"]; next }
        within { lines = lines $0 "\n" }
        END { sub(/^\n+/, "", lines); sub(/\n+$/, "", lines); if (lines != "") print lines }
    ' CHANGELOG.md
}

# The tag's version, which is known to have the form of one.
version_of() {
    [[ $1 =~ ^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || die "$1 is no tag of a release" "it is vX.Y.Z"
    echo "${1#v}"
}

# Each place that has a version must have that of the tag. All that is wrong is printed.
release_check() {
    local tag=$1 version series wrong=0
    version=$(version_of "$tag") || exit
    # The version of the SQL objects. A release that changes none of them has another third number only.
    series=${version%.*}
    fault() {
        wrong=1
        echo "$tag: $1" >&2
    }
    must_be() { [ "$2" = "$3" ] || fault "$1 has ${2:-nothing}, not $3"; }
    must_be Cargo.toml "$(package_version)" "$version"
    must_be Cargo.lock "$(sed -n '/^name = "pg_background"$/{n;s/^version = "\(.*\)"/\1/p}' Cargo.lock)" "$version"
    must_be 'the control file' "$(sed -n "s/^default_version = '\(.*\)'/\1/p" pg_background.control)" "$series"
    # Its own, then that of what it provides. The last one is the specification's.
    must_be META.json "$(sed -n 's/^ *"version": "\(.*\)",*/\1/p' META.json | head -n -1 | paste -sd ' ')" \
        "$version $version"
    must_be 'ci/rpm/pg_background.spec' "$(sed -n 's/^Version: *//p' ci/rpm/pg_background.spec)" "$version"
    [ -f "sql/pg_background--$series.sql" ] || fault "there is no sql/pg_background--$series.sql"
    [ -n "$(changelog_section "$version")" ] || fault "CHANGELOG.md has no section '## $version'"
    [ -z "$(awk '/^## / { next_release = $0 == "## Next release"; next } next_release && NF' CHANGELOG.md)" ] ||
        fault "CHANGELOG.md has lines under 'Next release'"
    [ $wrong -eq 0 ] || die "$tag is not the version of this tree" "see 'Releases' in CONTRIBUTING.md"
    say "$tag: all places have this version"
}

# The commit of a tag, as the origin has it.
commit_of() { git ls-remote origin "refs/tags/$1" "refs/tags/$1^{}" | tail -n 1 | cut -f 1; }

# A release is made of a commit of main that every change and every night is checked like.
release_checked() {
    local tag=$1 commit workflow passed
    version_of "$tag" >/dev/null || exit
    commit=$(git rev-parse HEAD)
    [ "$(commit_of "$tag")" = "$commit" ] || die "$tag is not at this commit, $commit"
    git merge-base --is-ancestor "$commit" origin/main || die "$tag is not on main"
    for workflow in ci nightly; do
        passed=$(gh run list --workflow "$workflow.yml" --commit "$commit" --status success --limit 1 \
            --json databaseId --jq length)
        [ "$passed" = 1 ] || die "the workflow $workflow has not passed for $commit" "gh workflow run $workflow.yml"
    done
    say "$tag: on main, and checked"
}

# The versions of PostgreSQL for which the extension can be built, as a list in JSON.
servers() {
    sed -nE 's/^pg([0-9]+) = .*/\1/p' Cargo.toml | paste -sd , | sed 's/.*/[&]/'
}

# Installs the package that `ci/package deb` has made, and uses it on a throw-away server.
try_deb() {
    find_postgres
    as_root apt-get install -y -qq "$target/deb/postgresql-$pg_major-pg-background_"*.deb </dev/null
    trap 'ci/server stop deb; ci/server-tests old-versions remove' EXIT
    ci/server-tests old-versions put
    ci/server start deb
    ci/server psql deb -qAt -f tests/package/use.sql
    say "the package works on PostgreSQL $pg_major"
}

# SHA256SUMS in the directory, for `sha256sum --check`.
checksums() {
    local directory=$1 sums
    rm -f "$directory/SHA256SUMS"
    sums=$(cd "$directory" && find . -maxdepth 1 -type f -printf '%P\n' | sort | xargs -r -d '\n' sha256sum)
    [ -n "$sums" ] || die "there are no files in $directory"
    tee "$directory/SHA256SUMS" <<<"$sums"
}

# A draft on GitHub, of the repository and with the rights that gh finds in its environment. A maintainer publishes it.
draft() {
    local tag=$1 directory=$2 version
    release_check "$tag"
    version=$(version_of "$tag")
    # It may have been moved while the packages were built.
    [ "$(commit_of "$tag")" = "$(git rev-parse HEAD)" ] || die "$tag is at another commit by now"
    (cd "$directory" && sha256sum --quiet --check SHA256SUMS)
    # One that exists may have been published, and a maintainer may have written in it.
    ! gh release view "$tag" >/dev/null 2>&1 || die "there is a release $tag" "delete it first: gh release delete $tag"
    changelog_section "$version" |
        gh release create "$tag" --draft --verify-tag --title "pg_background $version" --notes-file - "$directory"/*
}
