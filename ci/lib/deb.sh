# Sourced by `ci/package deb`: target/deb/postgresql-NN-pg-background_VERSION_ARCH.deb, named as the packages of
# extensions are. It is for the release on which it is built, or a newer one. The maintainer's name is taken from
# DEBFULLNAME and DEBEMAIL.
# shellcheck shell=bash

find_postgres
# It goes to where Debian's packages of the server are, and depends on them.
case $pg_libdir in
*"/usr/lib/postgresql/$pg_major/lib") ;;
*) die "the server of $PG_CONFIG is none of Debian's packages" "install into it with make install PG_CONFIG=$PG_CONFIG" ;;
esac
command -v dpkg-shlibdeps >/dev/null ||
    { as_root apt-get update -qq && as_root apt-get install -y -qq dpkg-dev </dev/null; }

package=postgresql-$pg_major-pg-background
version=$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)-1
maintainer="${DEBFULLNAME:-pg_background maintainers} <${DEBEMAIL:-pg-background@users.noreply.github.com}>"
work=$target/deb/$package
tree=$work/tree
doc=$tree/usr/share/doc/$package
rm -rf "$work"
mkdir -p "$work/debian" "$tree/DEBIAN" "$doc"

# The directories of Debian's server, even if this one is a copy elsewhere.
DESTDIR=$work/installed ci/install
# The same files make the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
# Set after the build, because some crates would be built again.
export SOURCE_DATE_EPOCH
lib=$tree/usr/lib/postgresql/$pg_major/lib
install -D -m 644 "$work/installed$pg_libdir/pg_background.so" "$lib/pg_background.so"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$lib/pg_background.so"
install -D -m 644 -t "$tree/usr/share/postgresql/$pg_major/extension" "$work/installed$pg_extdir"/*

{
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
    printf 'Upstream-Name: pg_background\n\nFiles: *\n'
    sed -n 's/^Copyright (c) /Copyright: /p' LICENSE
    printf 'License: PostgreSQL\n'
    sed '1,/^Copyright/d; /./,$!d; s/^$/./; s/^/ /' LICENSE
} >"$doc/copyright"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
{
    printf 'pg-background (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(date -uR -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.Debian.gz"
cp README.md SECURITY.md "$doc/"
ci/package notices | gzip -9n >"$doc/notices.gz"
chmod 644 "$doc"/*

# The program that looks up the libraries needs a source package.
printf 'Source: pg-background\n\nPackage: %s\nArchitecture: any\n' "$package" >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O "$lib/pg_background.so" 2>/dev/null) ||
    die "the libraries that pg_background.so needs belong to no package"
# Minor versions of a server have added functions that a library built for them may call.
# What comes before a release sorts before it: 19~rc1.
minor=$("$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9.]+)((alpha|beta|rc)[0-9]+)?.*/\1~\2/; s/~$//')
cat >"$tree/DEBIAN/control" <<END
Package: $package
Source: pg-background
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Installed-Size: $(du -k -s --apparent-size --exclude=DEBIAN "$tree" | cut -f1)
Depends: postgresql-$pg_major (>= $minor), ${libraries#shlibs:Depends=}
Section: database
Priority: optional
Homepage: $(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
Description: run SQL in PostgreSQL $pg_major background workers
 Statements that go on while the session does something else, work that
 commits whatever becomes of the caller's transaction, VACUUM from a
 function, and thousands of statements in one call.
 .
 CREATE EXTENSION pg_background makes the functions in a database; databases
 that have an older version get this one with ALTER EXTENSION ... UPDATE.
END
(cd "$tree" && find usr -type f -exec md5sum {} +) | sort -k2 >"$tree/DEBIAN/md5sums"
find "$tree" -type d -exec chmod 755 {} +
dpkg-deb --root-owner-group --build "$tree" "$target/deb" >/dev/null
rm -rf "$work"
say "built $target/deb/${package}_${version}_$(dpkg --print-architecture).deb"
