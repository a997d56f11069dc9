#!/usr/bin/env bash
# What the Dockerfile gives: a server with the files of its last stage in it, and one into which its stage `volume` is
# mounted, for reading only.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh

without_server
install "postgresql-$major"

if [ "$major" -ge 18 ]; then
    server start
    pg_conftool "$major" main set pg_background.worker_idle_timeout 1s
    configure "dynamic_library_path = '/given/volume/lib:\$libdir'"
    configure "extension_control_path = '/given/volume/share:\$system'"
    server restart
    for preload in DEFAULT pg_background; do
        configure "shared_preload_libraries = $preload"
        server restart
        on -f /given/elsewhere.sql
        on -c 'DROP EXTENSION pg_background'
    done
    configure 'shared_preload_libraries = DEFAULT'
    configure 'dynamic_library_path = DEFAULT'
    configure 'extension_control_path = DEFAULT'
    server stop
    echo 'image: a server into which the volume is mounted'
else
    echo "image: PostgreSQL $major has no extension_control_path: the volume is not tested"
fi

cp -r /given/final/. /
server start
use_twice "$extensions"
echo 'image: a server with what the steps of the Dockerfile have built'
