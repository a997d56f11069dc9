#!/usr/bin/env bash
# An RPM package, from its installation to its removal. Where the server comes from Debian, its RPM database does not
# have it: dependencies are not checked.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh

without_server
install rpm "postgresql-$major"
name=$(rpm -qp --qf '%{NAME}' /given/*.rpm)
rpm -i --nodeps /given/*.rpm
rpm -V --nodeps "$name"
server start
use_twice "$extensions"
rpm -U --nodeps --replacepkgs /given/*.rpm
rpm -V --nodeps "$name"
on -f /given/use.sql
rpm -e "$name"
left=$(find /usr/lib /usr/share -name '*pg_background*' ! -name '*--1.6.sql') && [ -z "$left" ]
echo "rpm: $name was installed, used, replaced under a server, removed"
