# Sourced by `ci/server-tests debug5`: the regression and multi-session tests again, with every message printed.
# client_min_messages is debug5 in every session and so in every job. No message of a process, at any moment, may do harm.
# The results of the tests must be the same, except for the DEBUG lines, which the comparison leaves out.
# shellcheck shell=bash

source ci/lib/suite.sh

[ $# -gt 0 ] || set -- regress sessions
for part; do
    case $part in regress | sessions) ;; *) usage ;; esac
done

if [ -n "${PGB_INSTALLED:-}" ]; then
    find_postgres
else
    install_extension
fi

work=$target/debug5
rm -rf "$work"
mkdir -p "$work"

# Servers that the tests start use the setting too.
export PGB_SETTINGS='client_min_messages=debug5'
start_server test

# pg_regress compares with diff: this one leaves the DEBUG lines out, with the lines of context and of the statement's
# position that follow them.
filter() {
    awk '/^(DEBUG|LOG):  / { skip = 1; next }
        skip && /^(DETAIL|HINT|CONTEXT|LINE [0-9]+|QUERY|STATEMENT):  ?|^ +\^$|^background worker, pid / { next }
        { skip = 0; print }' "$1"
}

regress_at_debug5() {
    local name names=() differs=() output=$work/regress
    if [ -n "${PGB_REGRESS:-}" ]; then
        read -ra names <<<"$PGB_REGRESS"
    else
        mapfile -t names < <(sed -n 's/^test: //p' tests/regress/schedule)
    fi
    mkdir -p "$output"
    pg_regress "$output" "${names[@]}" >"$output/log" 2>&1 || true
    for name in "${names[@]}"; do
        if ! diff -u "tests/regress/expected/$name.out" <(filter "$output/results/$name.out"); then
            differs+=("$name")
        fi
    done
    say "${#names[@]} regression tests at debug5, ${#differs[@]} differ: ${differs[*]}"
    [ ${#differs[@]} -eq 0 ]
}

for part; do
    say "$part"
    case $part in
    regress) regress_at_debug5 ;;
    sessions) sessions -p session_tests ;;
    esac || failed+=("$part")
done
ci/server stop test
server_log || failed+=('server log')
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
say 'all passed'
