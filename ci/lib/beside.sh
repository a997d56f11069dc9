# Sourced by scripts that run one command beside others, because one of the two mostly waits.
# shellcheck shell=bash

beside=()
beside_output=
beside_process=
beside_status=0

# Begins a command. Until `wait_beside` has run, the script's EXIT trap has to call `stop_beside`.
start_beside() {
    beside=("$@")
    beside_output=$(mktemp)
    setsid "$@" >"$beside_output" 2>&1 &
    beside_process=$!
}

# Ends it, with all that it has started.
stop_beside() {
    [ -z "$beside_process" ] || kill -- -"$beside_process" 2>/dev/null || true
    [ -z "$beside_output" ] || rm -f "$beside_output"
}

wait_beside() {
    beside_status=0
    wait "$beside_process" || beside_status=$?
    beside_process=
}

# What it printed, after `wait_beside`. Its status.
beside_result() {
    cat "$beside_output"
    rm -f "$beside_output"
    return "$beside_status"
}
