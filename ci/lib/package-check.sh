# Sourced by `ci/package check`: checks what users install.
#
#   library   the library exports exactly the names that the server looks up, and has no search path for libraries
#   meta      META.json fulfills its specification (PGXN's, 1.0.0), and the versions agree
#   archive   the archive for PGXN is built from what is in it, and gives the same
#   deb       the Debian package works in a clean chroot: installed with its dependencies, used, replaced, removed
#   elsewhere the extension works in a directory outside of the server's
#
# A line with SKIPPED means that a download failed. That is a failure only if PGB_SKIPPED_STATUS says so.
# shellcheck shell=bash

source ci/lib/package-use.sh

[ $# -gt 0 ] || set -- library meta archive deb elsewhere
for part; do
    case $part in library | meta | archive | deb | elsewhere) ;; *) usage ;; esac
done

ci/setup
find_postgres
given=$target/package/given
rm -rf "$given"
mkdir -p "$target/package"

# The names of the C functions in the scripts of this version and of the old ones.
c_functions() {
    cat sql/pg_background--3.0.sql tests/sessions/tests/upgrade/pg_background--*.sql |
        perl -0777 -ne 'print "$1\n" while /\x27MODULE_PATHNAME\x27,\s*\x27(\w+)\x27/g' | sort -u
}

library() {
    local file=$target/release/libpg_background.so exported wanted problems=0
    # The name of the worker's start function ends in the layout version of shared memory.
    exported=$(nm -D --defined-only "$file" | awk '{ print $3 }' |
        sed -E 's/^(pg_background_worker_layout_)[0-9]+$/\1N/' | sort -u)
    wanted=$({
        printf '%s\n' Pg_magic_func _PG_init pg_background_worker_layout_N
        c_functions | sed 'p; s/^/pg_finfo_/'
    } | sort -u)
    diff <(echo "$wanted") <(echo "$exported") >&2 ||
        { problems=1 && say 'above: < expected exports, > actual exports'; }
    ! readelf -d "$file" | grep -E 'RPATH|RUNPATH|TEXTREL' >&2 || problems=1
    readelf -lW "$file" | grep -E 'GNU_STACK' | grep -q 'RW ' || { problems=1 && say 'its stack is executable'; }
    return $problems
}

meta() {
    perl -MJSON::PP -e '
        my ($file, %is) = @ARGV;
        open my $in, "<", $file or die "$file: $!\n";
        my $meta = JSON::PP->new->utf8->decode(join "", <$in>);
        my @problems;
        my $must = sub { push @problems, $_[1] unless $_[0] };
        $must->(defined $meta->{$_}, "no $_")
            for qw(name version abstract maintainer license provides meta-spec);
        $must->(($meta->{"meta-spec"}{version} // "") eq "1.0.0", "meta-spec is not 1.0.0");
        $must->($meta->{version} =~ /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/, "the version has not three numbers");
        $must->($meta->{version} eq $is{package}, "the version is not that of Cargo.toml");
        $must->($is{package} =~ /^\Q$is{control}\E\.\d+$/, "the version of the control file is not that of Cargo.toml");
        while (my ($name, $what) = each %{ $meta->{provides} }) {
            $must->($what->{version} eq $is{package}, "provides another version of $name");
            $must->($what->{$_} && -e $what->{$_}, "provides: $_ of $name does not exist") for qw(file docfile);
            $must->(-e "$name.control", "provides $name, which has no control file");
        }
        print STDERR "META.json: $_\n" for @problems;
        exit !!@problems;
    ' META.json \
        package "$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)" \
        control "$(sed -n "s/^default_version = '\(.*\)'/\1/p" pg_background.control)"
}

# The package for the server of PG_CONFIG, for the tests that use it.
make_deb() {
    rm -rf "$target/deb"
    mkdir -p "$target/deb"
    ci/package deb && give "$given" "$target"/deb/*.deb
}

skip() {
    say "SKIPPED $1: $2"
    return "${PGB_SKIPPED_STATUS:-0}"
}

# Runs a test of tests/package in the chroot of the server's release, with the package.
in_chroot() {
    local log=$target/package/prepare.log status=0
    compgen -G "$given/*.deb" >/dev/null || make_deb || return
    : >"$log"
    if ! attempt install_debootstrap >>"$log" 2>&1; then
        skip "$1" "debootstrap could not be installed, see $log"
    elif ! attempt make_chroot "$pg_major" >>"$log" 2>&1; then
        skip "$1" "the chroot could not be made, see $log"
    else
        try "$pg_major" "$given" "$1.sh" || status=$?
        [ $status -ne $undone ] || { skip "$1" 'the packages that it depends on could not be downloaded' && return; }
        return $status
    fi
}

deb() {
    make_deb || return
    if command -v lintian >/dev/null; then
        # The one is about packages that Debian itself is to have.
        lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs \
            "$given"/*.deb || return
    fi
    in_chroot deb
}

elsewhere() { in_chroot elsewhere; }

# The archive has all that it takes to build, and is built as `pgxn install` does it: `make all`, `make install`. The
# library differs from ours in the paths of its sources, so its names are compared.
archive() {
    local work=$target/package/archive built
    rm -rf "$work"
    mkdir -p "$work"
    ci/package dist || return
    command -v unzip >/dev/null ||
        { as_root apt-get update -qq && as_root apt-get install -y -qq unzip </dev/null; }
    unzip -q "$target"/pg_background-*.zip -d "$work" || return
    # A client that unpacks links as files would make broken scripts of them.
    [ -z "$(find "$work" -type l)" ] || { echo 'the archive has symbolic links' >&2 && return 1; }
    (
        cd "$work"/pg_background-* &&
            export CARGO_TARGET_DIR=$target/package/build PG_CONFIG &&
            make --no-print-directory all && DESTDIR=$work/archive make --no-print-directory install
    ) || return
    DESTDIR=$work/ours ci/install || return
    for built in archive ours; do
        nm -D --defined-only "$work/$built$pg_libdir/pg_background.so" | awk '{ print $3 }' >"$work/$built.names"
        rm "$work/$built$pg_libdir/pg_background.so"
    done
    diff "$work/ours.names" "$work/archive.names" && diff -r "$work/ours" "$work/archive"
}

# Interrupted, it stops with what it runs.
trap 'exit 130' INT TERM

[[ " $* " != *' library '* ]] || ci/install
failed=()
for part; do
    say "$part"
    "$part" || failed+=("$part")
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'package: FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
say 'package: all well'
