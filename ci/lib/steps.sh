# Sourced by .ci/run and .ci/nightly: steps, all of which run even if one has failed.
# shellcheck shell=bash

source ci/lib/results.sh
source ci/lib/beside.sh

exec </dev/null
export CI=true CARGO_TERM_COLOR=never

failed=()
# Words, of which a step's command must contain one; none: all steps run.
wanted=()
# Those that a step had.
declare -A known=()
# Whether docs/models.md gets the results.
records=no

is_wanted() {
    local word found=1
    [ ${#wanted[@]} -gt 0 ] || return 0
    for word in "${wanted[@]}"; do
        case " $* " in *" $word "*) found=0 known[$word]=yes ;; esac
    done
    return $found
}

# Prints when a step begins and its expected minutes on two processors, then runs it: step MINUTES COMMAND...
step() {
    local minutes=$1 status=0 began=$SECONDS output
    shift
    is_wanted "$@" || return 0
    began "$* ($minutes min)"
    if [ "$records" = yes ]; then
        output=$(mktemp)
        "$@" 2>&1 | tee "$output" || status=$?
        record $(((SECONDS - began + 30) / 60)) "$status" "$output" "$@"
        rm -f "$output"
    else
        "$@" || status=$?
    fi
    [ "$status" -eq 0 ] || failed+=("$*")
}

began() { printf '== %d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# Begins a command that runs beside the steps that follow, until `await_beside`: it mostly waits, and they compute.
beside() {
    is_wanted "$@" || return 0
    began "begins beside the others: $*"
    trap stop_beside EXIT
    trap 'exit 130' INT TERM
    start_beside "$@"
}

# Waits for it, prints what it printed, and notes whether it failed.
await_beside() {
    [ -n "$beside_process" ] || return 0
    wait_beside
    began "what ran beside the others: ${beside[*]}"
    beside_result || failed+=("${beside[*]}")
}

# Fails if a step has, or if no step has one of the words.
finish() {
    local command word
    for word in ${wanted[@]+"${wanted[@]}"}; do
        [ -n "${known[$word]:-}" ] || failed+=("no step has the word $word")
    done
    for command in ${failed[@]+"${failed[@]}"}; do
        echo "$0: FAILED: $command" >&2
    done
    [ ${#failed[@]} -eq 0 ]
}
