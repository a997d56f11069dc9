# Sourced by `ci/package rpm`: target/rpm/RPMS/ARCH/pg_background_NN-VERSION.rpm from ci/rpm/pg_background.spec and the
# archive of the last commit. Checks that it has the files of ci/install. Then the package is installed, used and
# removed in a chroot: of Debian, where RPM works too, because the servers of the tests are Debian's.
# shellcheck shell=bash

source ci/lib/package-use.sh

ci/setup
find_postgres
{ command -v rpmbuild && command -v unzip && command -v cpio; } >/dev/null ||
    { as_root apt-get update -qq && as_root apt-get install -y -qq rpm unzip cpio </dev/null; }

top=$target/rpm
rm -rf "$top"
mkdir -p "$top/SOURCES" "$top/tmp"
ci/package dist
cp "$target/pg_background-$(package_version).zip" "$top/SOURCES/"
# The packages that it needs to be built are there, as packages of Debian. Cargo goes on from earlier builds.
CARGO_TARGET_DIR=$target/package/build rpmbuild -bb --nodeps --quiet \
    --define "_topdir $top" --define "_tmppath $top/tmp" \
    --define "pgmajorversion $pg_major" --define "pg_config $PG_CONFIG" ci/rpm/pg_background.spec

# Beside it there may be packages with its debug information.
package=$(compgen -G "$top/RPMS/*/pg_background_$pg_major-[0-9]*.rpm")
DESTDIR=$top/installed ci/install
# Beside it there are documents, and the links by which debuggers find the debug information.
diff <(cd "$top/installed" && find . -type f | sed 's/^\.//' | sort) \
    <(rpm -qlp "$package" | grep -vE '^/usr/(share/(doc|licenses)|lib/\.build-id)(/|$)' | sort)
mkdir "$top/unpacked"
(cd "$top/unpacked" && rpm2cpio "$package" | cpio -idm --quiet)
for tree in installed unpacked; do
    rm "$top/$tree$pg_libdir/pg_background.so"
done
diff -r "$top/installed$pg_extdir" "$top/unpacked$pg_extdir"
say "built $package"

given=$target/package/rpm
give "$given" "$package"
status=0
if attempt install_debootstrap && attempt make_chroot "$pg_major"; then
    try "$pg_major" "$given" rpm.sh || status=$?
else
    status=$undone
fi
note rpm $status
finish_lines
