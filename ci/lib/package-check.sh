# Sourced by `ci/package check`: checks what users install.
#
#   library   the library exports exactly the names that the server looks up, and has no search path for libraries
#   meta      META.json fulfills its specification (PGXN's, 1.0.0), and the versions agree
#   deb       the Debian package works in a clean chroot, installed with its dependencies
#
# A line with SKIPPED means that a download failed. That is a failure only if PGB_SKIPPED_STATUS says so.
# shellcheck shell=bash

source ci/lib/debian.sh

[ $# -gt 0 ] || set -- library meta deb
for part; do
    case $part in library | meta | deb) ;; *) usage ;; esac
done

ci/setup
find_postgres

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

use_deb() {
    # shellcheck disable=SC2016
    aside "$pg_major" "$1" bash -euc '
        major=$1
        # Both are downloads; what is tested comes after them.
        apt-get update -qq && apt-get install -y -qq --no-install-recommends --download-only /given/*.deb || exit 75
        apt-get install -y -qq --no-install-recommends /given/*.deb
        package=$(dpkg-deb -f /given/*.deb Package)
        dpkg -V "$package"
        cp /given/pg_background--1.6.sql "/usr/share/postgresql/$major/extension/"
        pg_ctlcluster "$major" main start
        # Twice: as it is, and preloaded.
        for preload in DEFAULT pg_background; do
            runuser -u postgres -- psql -Xqc "ALTER SYSTEM SET shared_preload_libraries = $preload"
            pg_ctlcluster "$major" main restart
            runuser -u postgres -- psql -XqAtf /given/use.sql
        done
        pg_ctlcluster "$major" main stop
        apt-get purge -y -qq "$package"
        left=$(find /usr -name "*pg_background*" ! -name "*--1.6.sql") && [ -z "$left" ]
    ' bash "$pg_major"
}

skip() {
    say "SKIPPED deb: $1"
    return "${PGB_SKIPPED_STATUS:-0}"
}

deb() {
    local given=$target/deb/given log=$target/deb/prepare.log status=0
    rm -rf "$target/deb"
    mkdir -p "$given"
    : >"$log"
    ci/package deb || return
    cp "$target"/deb/*.deb tests/package/use.sql tests/sessions/tests/upgrade/pg_background--1.6.sql "$given/"
    if command -v lintian >/dev/null; then
        # The one is about packages that Debian itself is to have.
        lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs \
            "$given"/*.deb || return
    fi
    if ! attempt install_debootstrap >>"$log" 2>&1; then
        skip "debootstrap could not be installed, see $log"
    elif ! attempt make_chroot "$pg_major" >>"$log" 2>&1; then
        skip "the chroot could not be made, see $log"
    else
        use_deb "$given" || status=$?
        case $status in
        75) skip 'the packages that it depends on could not be downloaded' ;;
        *) return $status ;;
        esac
    fi
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
