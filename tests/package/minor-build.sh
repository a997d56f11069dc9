#!/usr/bin/env bash
# Builds the extension at /given/source for a minor version of the server: PACKAGE_VERSION TOOLCHAIN CARGO_HOME. The
# result is in /result/installed, /result/target is kept for the next build.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh
minor=$1 toolchain=$2
export CARGO_HOME=$3 CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/result/target PG_MAJOR=$major
# What is tested does not depend on it.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1

without_server
install "postgresql-$major=$minor" "postgresql-client-$major=$minor" "postgresql-server-dev-$major=$minor"
cp -r /given/source /source
cd /source
PATH=$toolchain/bin:$PATH ci/setup
rm -rf /result/installed
PATH=$toolchain/bin:$PATH DESTDIR=/result/installed ci/install
"$prefix/bin/pg_config" --version >/result/built-for
