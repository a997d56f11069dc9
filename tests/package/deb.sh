#!/usr/bin/env bash
# A Debian package, from its installation to its removal.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh

without_server
# An older package of the same files. The one at /given replaces it while a session is using it.
name=$(dpkg-deb -f /given/*.deb Package)
dpkg-deb -R /given/*.deb /tmp/older
sed -i 's/^Version: .*/Version: 2.9-1/' /tmp/older/DEBIAN/control
dpkg-deb --root-owner-group --build /tmp/older /tmp/older.deb >/dev/null

# Where the distribution has the C extension under this name, this package replaces it.
if apt-cache show "$name" >/dev/null 2>&1; then
    install "$name"
    server start
    on -c 'CREATE EXTENSION pg_background' -c 'SELECT extversion FROM pg_extension'
    install /given/*.deb
    on -c 'ALTER EXTENSION pg_background UPDATE' -c "SELECT 1 / (pg_background_call('SELECT 1', 0) = 1)::int" >/dev/null
    on -c 'DROP EXTENSION pg_background'
    server stop
    apt-get purge -y -qq "$name"
    echo "deb: $name replaced the distribution's"
fi

install /tmp/older.deb
dpkg -V "$name"
server start
use_twice "$extensions"

meeting=$(mktemp -d)
chmod 777 "$meeting"
on <<SQL &
SET client_min_messages = warning;
SET pg_background.forms = '1.8';
CREATE EXTENSION pg_background;
SELECT 1 / (pg_background_call('SELECT 1', 0) = 1)::int \g /dev/null
\! touch $meeting/used; until [ -e $meeting/replaced ]; do sleep 0.1; done
SELECT pg_background_retire_idle() \g /dev/null
SELECT 1 / (pg_background_call('SELECT 2', 0) = 2)::int \g /dev/null
\c
SELECT 1 / (pg_background_call('SELECT 3', 0) = 3)::int \g /dev/null
DROP EXTENSION pg_background;
SQL
session=$!
until [ -e "$meeting/used" ] || ! kill -0 $session; do sleep 0.1; done
install /given/*.deb
dpkg -V "$name"
touch "$meeting/replaced"
wait $session
[ "$(dpkg-query -W -f '${Version}' "$name")" = "$(dpkg-deb -f /given/*.deb Version)" ]

use_twice "$extensions"
server stop
apt-get purge -y -qq "$name"
left=$(find /usr /etc -name '*pg_background*' ! -name '*--1.6.sql') && [ -z "$left" ]
echo "deb: $name was installed, used, replaced under a session, used, removed"
