# Sourced by ci/engine: liveness, with Spin (see tests/liveness/).
# shellcheck shell=bash

# SPECIFICATION PROPERTY [SIZE ...]: what holds.
properties=(
    'gate enters'
    'gate leaves'
    'slots first_is_served'
    'slots last_is_served'
    'slots first_is_served SESSIONS=4 SLOTS=2 LAUNCHES=1'
    'slots last_is_served SESSIONS=4 SLOTS=2 LAUNCHES=1'
    'lanes first_lane_is_served'
    'lanes second_lane_is_served'
    'lanes what_has_a_worker_ends'
    'lanes what_nobody_holds_is_freed'
    'lanes first_lane_is_served ONE_LANE'
)

# MUTANT SPECIFICATION PROPERTY [SIZE ...]: what does not hold with it. Each property is here.
counterexamples=(
    'purge_wakes_nobody gate enters'
    'refused_and_waits_in_two_steps gate enters'
    'session_stays_within gate leaves'
    'waiter_calls_nobody slots first_is_served'
    'waiter_calls_nobody slots last_is_served'
    'wait_without_second_look slots first_is_served'
    'wait_without_second_look slots last_is_served SESSIONS=4 SLOTS=2 LAUNCHES=1'
    'nobody_looks_at_other_lanes lanes first_lane_is_served'
    'nobody_looks_at_other_lanes lanes second_lane_is_served'
    'turns_do_not_end lanes second_lane_is_served'
    'turn_end_forgotten lanes first_lane_is_served'
    'worker_rests_without_looking lanes first_lane_is_served ONE_LANE'
    'worker_dies_with_its_job lanes what_has_a_worker_ends'
    'last_out_frees_nothing lanes what_nobody_holds_is_freed'
)

get_spin() {
    local missing=()
    command -v spin >/dev/null || missing+=(spin)
    command -v gcc >/dev/null || missing+=(gcc libc6-dev)
    [ ${#missing[@]} -eq 0 ] || {
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
    }
}

# Searches all states for an execution that is fair to each process and violates the property: search SPECIFICATION
# PROPERTY [DEFINITION ...]. The verifier's output is in $work/output.
search() {
    local specification=$1 property=$2
    shift 2
    (
        cd "$work"
        spin "${@/#/-D}" -a "$specification.pml" >output 2>&1 &&
            gcc -O2 -w -DNFAIR=3 -DMEMLIM=4000 -o pan pan.c >>output 2>&1 &&
            ./pan -a -f -m1000000 -N "$property" >output 2>&1
    ) || true
    # An incomplete search says nothing.
    grep -q 'errors: ' "$work/output" && ! grep -qE 'max search depth too small|out of memory' "$work/output" || {
        cat "$work/output" >&2
        die "the search of $specification for $property was not complete"
    }
}

check_liveness() {
    local words passed=0 failed=0 checked states
    get_spin
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cargo run --quiet --locked -p liveness >"$work/words.pml"
    cp tests/liveness/*.pml "$work"

    for checked in "${properties[@]}"; do
        read -ra words <<<"$checked"
        search "${words[@]}"
        states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$work/output")
        if grep -q 'errors: 0' "$work/output"; then
            passed=$((passed + 1))
            printf 'holds           %-62s %9s states\n' "$checked" "$states"
        else
            failed=$((failed + 1))
            printf 'DOES NOT HOLD   %s\n' "$checked"
            (cd "$work" && spin -t -g "${words[0]}.pml" | tail -n 40) || true
        fi
    done
    for checked in "${counterexamples[@]}"; do
        read -ra words <<<"$checked"
        search "${words[@]:1}" "MUTANT_${words[0]}"
        if grep -q 'errors: 0' "$work/output"; then
            failed=$((failed + 1))
            printf 'SURVIVED        %s\n' "$checked"
        else
            passed=$((passed + 1))
            printf 'counterexample  %s\n' "$checked"
        fi
    done
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
}
