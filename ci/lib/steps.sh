# Sourced by .ci/run and .ci/nightly: steps, all of which run even if one has failed.
# shellcheck shell=bash

exec </dev/null
export CI=true CARGO_TERM_COLOR=never

failed=()

# Prints when a step begins and its expected minutes on two processors, then runs it: step MINUTES COMMAND...
step() {
    local minutes=$1
    shift
    printf '== %d:%02d  %s (%s min)\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" "$minutes"
    "$@" || failed+=("$*")
}

# Fails if a step has.
finish() {
    local command
    for command in ${failed[@]+"${failed[@]}"}; do
        echo "$0: FAILED: $command" >&2
    done
    [ ${#failed[@]} -eq 0 ]
}
