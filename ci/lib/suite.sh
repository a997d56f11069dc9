# Sourced by the commands that run the server's tests: regression and multi-session tests on a throw-away server, and
# a summary of several test runs.
# shellcheck shell=bash

source ci/lib/beside.sh

logs=$target/test-logs
ran=0
failed=()

begin_parts() {
    rm -rf "$logs" "$logs.summary"
    mkdir -p "$logs"
}

# All parts run before the script fails. The output is kept to repeat the summary lines.
run() {
    local name=$1
    shift
    say "$name"
    ran=$((ran + 1))
    "$@" 2>&1 | tee "$logs/$ran-${name// /-}" || failed+=("$name")
}

# Begins a part that computes beside the parts that follow, which mostly wait and go first.
run_beside() {
    beside_name=$1
    shift
    say "$beside_name: beside what follows"
    trap stop_beside EXIT
    trap 'exit 130' INT TERM
    start_beside nice -n 10 "$@"
}

# Waits for it.
await_beside() {
    [ -n "$beside_process" ] || return 0
    wait_beside
    run "$beside_name" beside_result
}

# Kept for `ci/test summary`.
summary() {
    local log
    {
        say 'summary'
        for log in "$logs"/*; do
            [ -e "$log" ] || continue
            grep -E '^test result:|[0-9]+ tests (passed|failed)' "$log" |
                sed "s/^ *//; s/^/$(basename "$log" | sed 's/^[0-9]*-//; s/-/ /g'): /" || true
        done
        if [ ${#failed[@]} -gt 0 ]; then
            printf 'FAILED: %s\n' "${failed[@]}"
            say "the server's log is $(ci/server log test)"
        else
            say 'all passed'
        fi
    } | tee "$logs.summary"
    [ ${#failed[@]} -eq 0 ] || exit 1
}

# pg_regress on the server `test`: pg_regress OUTPUT-DIRECTORY TEST...
pg_regress() {
    local driver output=$1
    shift
    driver=$(dirname "$("$PG_CONFIG" --pgxs)")/../test/regress/pg_regress
    mkdir -p "$output"
    "$driver" --inputdir=tests/regress --outputdir="$output" --bindir="$pg_bindir" \
        --dbname=pgb_regress --host="$(ci/server socket test)" --port="$(ci/server port test)" \
        --user=postgres "$@"
}

regress() {
    local output=$target/regress tests=(--schedule=tests/regress/schedule)
    [ -z "${PGB_REGRESS:-}" ] || read -ra tests <<<"$PGB_REGRESS"
    pg_regress "$output" "${tests[@]}" || {
        [ ! -e "$output/regression.diffs" ] || cat "$output/regression.diffs"
        return 1
    }
}

# The multi-session tests of some packages on the server `test`: sessions -p PACKAGE... One test at a time: they count
# workers and slots, which the whole server shares.
sessions() {
    local skip=() name
    for name in ${PGB_TEST_SKIP:-}; do skip+=(--skip "$name"); done
    PGB_TEST_URL=$(ci/server url test) PGB_TEST_LOG=$(ci/server log test) \
        CARGO_TARGET_DIR=${PGB_CLIENTS:-$target} cargo test --locked --no-fail-fast "$@" -- \
        --test-threads=1 ${skip[@]+"${skip[@]}"} ${PGB_TEST_FILTER:+"$PGB_TEST_FILTER"}
}

# Fails if the server's log has lines that must never be there, whatever the results of the tests.
server_log() {
    local trouble='PANIC: |TRAP: |was terminated by signal|terminating any other active server'
    ! grep -nE "$trouble" "$(ci/server log test)"
}

# The transitions in the server's log are those of the engine's tables. The servers that tests start for themselves are
# checked by the tests.
transitions() {
    CARGO_TARGET_DIR=${PGB_CLIENTS:-$target} cargo run --release --quiet --locked -p trace --bin trace -- "$(ci/server log test)"
}

# The multi-session tests, which are the same for every server version.
clients=(-p session_tests -p book_tests -p server_bench)

# Installs the extension, unless PGB_INSTALLED says that it is, and runs parts of the suite on a throw-away server:
# on_server [regress] [sessions]. If tests of one part are chosen, the other part is left out.
on_server() {
    local part
    if [ -z "${PGB_INSTALLED:-}" ]; then
        say 'release build'
        ci/install || return
    fi
    trap 'stop_beside; ci/server stop test; ci/server-tests old-versions remove' EXIT
    trap 'exit 130' INT TERM
    note_coverage suite
    # Every server of the tests logs its transitions; PGB_TRACE=no leaves their level as it is.
    [ "${PGB_TRACE:-yes}" = no ] || export PGB_SETTINGS="log_min_messages=debug2 ${PGB_SETTINGS:-}"
    ci/server start test || return
    for part; do
        case $part in
        regress) [ -n "${PGB_TEST_FILTER:-}" ] || run 'regression tests' regress ;;
        sessions) [ -n "${PGB_REGRESS:-}" ] || run 'multi-session tests' sessions "${clients[@]}" ;;
        esac
    done
    ci/server stop test
    trap stop_beside EXIT
    run 'server log' server_log
    [ "${PGB_TRACE:-yes}" = no ] || run 'transitions' transitions
}
