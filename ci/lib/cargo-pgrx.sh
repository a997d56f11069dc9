# Sourced by `ci/package cargo-pgrx`: `cargo pgrx package` and `cargo pgrx install` give the same as ci/install, and the
# result works. Installs into the server of PG_CONFIG. Builds cargo-pgrx if the machine does not have the right one.
# shellcheck shell=bash

source ci/lib/tools.sh

ci/setup
find_postgres
cargo_tool pgrx "$(cargo metadata --format-version 1 --locked | grep -oE '"name":"pgrx","version":"[0-9.]+"' | cut -d'"' -f8)"

# The file that `cargo pgrx init` writes. That command also creates a cluster, and does not run as root.
export PGRX_HOME=$target/pgrx
rm -rf "$PGRX_HOME"
mkdir -p "$PGRX_HOME"
printf '[configs]\npg%s = "%s"\n' "$pg_major" "$PG_CONFIG" >"$PGRX_HOME/config.toml"
features=(--no-default-features --features "pg$pg_major")

# A build of its own, because cargo pgrx needs other flags of the linker to find its functions in the library.
export CARGO_TARGET_DIR=$PGRX_HOME/build

say 'cargo pgrx package'
cargo pgrx package --pg-config "$PG_CONFIG" --out-dir "$PGRX_HOME/package" "${features[@]}"

say 'compared with ci/install'
DESTDIR=$PGRX_HOME/installed CARGO_TARGET_DIR=$target ci/install
# cargo pgrx generates the installation script: all of it is compared except comments and empty lines. For the library
# only its existence is checked.
for tree in package installed; do
    script=$PGRX_HOME/$tree$pg_extdir/pg_background--3.0.sql
    perl -0777 -i -pe 's{/\*.*?\*/}{}gs; s{^\h*--.*\n}{}gm; s{^\s*\n}{}gm; s{\h*\\echo.*\n}{}g' "$script"
    : >"$PGRX_HOME/$tree$pg_libdir/pg_background.so"
done
diff -r "$PGRX_HOME/installed" "$PGRX_HOME/package"

say 'cargo pgrx install'
cargo pgrx install --release --pg-config "$PG_CONFIG" "${features[@]}"
trap 'CARGO_TARGET_DIR=$target ci/server stop pgrx; ci/server-tests old-versions remove' EXIT
ci/server-tests old-versions put
CARGO_TARGET_DIR=$target ci/server start pgrx
CARGO_TARGET_DIR=$target ci/server psql pgrx -qAt -f tests/package/use.sql
