# Sourced by .ci/run and .ci/nightly: steps, all of which run even if one has failed.
# shellcheck shell=bash

source ci/lib/results.sh

exec </dev/null
export CI=true CARGO_TERM_COLOR=never

failed=()
# Words, of which a step's command must contain one; none: all steps run.
wanted=()
# Whether docs/models.md gets the results.
records=no

is_wanted() {
    local word
    [ ${#wanted[@]} -gt 0 ] || return 0
    for word in "${wanted[@]}"; do
        case " $* " in *" $word "*) return 0 ;; esac
    done
    return 1
}

# Prints when a step begins and its expected minutes on two processors, then runs it: step MINUTES COMMAND...
step() {
    local minutes=$1 status=0 began=$SECONDS output
    shift
    is_wanted "$@" || return 0
    printf '== %d:%02d  %s (%s min)\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" "$minutes"
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

# Fails if a step has.
finish() {
    local command
    for command in ${failed[@]+"${failed[@]}"}; do
        echo "$0: FAILED: $command" >&2
    done
    [ ${#failed[@]} -eq 0 ]
}
