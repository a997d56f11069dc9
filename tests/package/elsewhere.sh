#!/usr/bin/env bash
# The extension in a directory of its own, outside of the server's: the library, and from PostgreSQL 18 on, which has
# extension_control_path, also the control file and the scripts.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh

without_server
install "postgresql-$major"
own=/opt/pg_background
dpkg-deb -x /given/*.deb "$own"
if [ "$major" -lt 18 ]; then
    mv "$own$extensions"/pg_background* "$extensions/"
    scripts=$extensions
    echo "elsewhere: PostgreSQL $major has no extension_control_path: only the library is elsewhere"
else
    scripts=$own$extensions
fi

server start
pg_conftool "$major" main set pg_background.worker_idle_timeout 1s
configure "dynamic_library_path = '$own$prefix/lib:\$libdir'"
[ "$major" -lt 18 ] || configure "extension_control_path = '$own${extensions%/extension}:\$system'"
server restart
[ -z "$(find "$prefix" -name 'pg_background*')" ]
use_twice "$scripts"

# The file that the workers have loaded.
workers_file() {
    sed -nE 's/.* (\/.*pg_background\.so)$/\1/p' "/proc/$(on -c \
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_background' LIMIT 1")/maps" | sort -u
}

on -f /given/elsewhere.sql
[ "$(workers_file)" = "$own$prefix/lib/pg_background.so" ]

# A worker loads the file of its session, not what its own path would find. Here the path of the session alone finds the
# library, as it does if a database has that path.
on -c 'SELECT pg_background_retire_idle()' >/dev/null
configure 'dynamic_library_path = DEFAULT'
server restart
mkdir "$own/moved"
mv "$own$prefix/lib/pg_background.so" "$own/moved/"
on -c "ALTER DATABASE postgres SET dynamic_library_path = '$own/moved:\$libdir'"
on -f /given/elsewhere.sql
[ "$(workers_file)" = "$own/moved/pg_background.so" ]

# Two copies: a session that finds both is refused the second, and goes on with the first.
cp "$own/moved/pg_background.so" "$prefix/lib/"
on <<'SQL'
LOAD '$libdir/pg_background';
DO $$
BEGIN
    PERFORM pg_background_exec('SELECT');
    RAISE 'the second copy was loaded';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    ASSERT sqlerrm LIKE 'pg_background is already loaded from %', sqlerrm;
END $$;
SET dynamic_library_path = '$libdir';
SELECT pg_background_exec('SELECT') \g /dev/null
SQL
# One file under two names is loaded once.
ln -sf "$own/moved/pg_background.so" "$prefix/lib/pg_background.so"
on -c "LOAD '\$libdir/pg_background'" -c "SELECT pg_background_exec('SELECT')" >/dev/null

# Nobody else can have another library loaded.
on -c "CREATE ROLE app LOGIN" -c 'GRANT pgbackground_role TO app'
for statement in "SET dynamic_library_path = '/tmp'" "LOAD '/tmp/pg_background'" \
    "ALTER ROLE app SET dynamic_library_path = '/tmp'"; do
    if on -c 'SET SESSION AUTHORIZATION app' -c "$statement" 2>/dev/null; then
        echo "an ordinary user can: $statement" >&2
        exit 1
    fi
done
server stop
echo 'elsewhere: the extension works outside of the directories of the server'
