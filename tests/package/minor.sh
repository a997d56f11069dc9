#!/usr/bin/env bash
# A library that was built for one minor version, at /given/installed, runs on another: PACKAGE_VERSION. The server
# looks up everything that a library calls when it loads it. So what is missing there is noticed even if no test calls
# it.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh
minor=$1

without_server
install "postgresql-$major=$minor" "postgresql-client-$major=$minor"
cp -r /given/installed/. /
server start
use_twice "$extensions"
echo "minor versions: built for $(cat /given/built-for), used on $("$prefix/bin/postgres" --version)"
