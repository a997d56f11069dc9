# Sourced by ci/lib/steps.sh: the last result of each step of .ci/nightly, in docs/models.md.
# shellcheck shell=bash

results_page=docs/models.md
results_begin='<!-- last results: written by .ci/nightly -->'
results_end='<!-- end of last results -->'
results_commit=$(git rev-parse --short HEAD)

# What the output of a step says of it: how many tests it ran, and its last line.
said() {
    local output=$1 regression tests
    regression=$(sed -nE 's/.*All ([0-9]+) tests passed.*/\1/p' "$output" | awk '{ sum += $1 } END { print sum + 0 }')
    tests=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed.*/\1 \2/p' "$output" |
        awk '{ passed += $1; failed += $2 } END { printf "%d%s", passed, failed ? " and " failed " that failed" : "" }')
    {
        [ "$regression" = 0 ] || echo "$regression regression tests"
        [ "$tests" = 0 ] || echo "$tests tests"
        grep . "$output" | tail -1 | sed -E 's/^== //; s:[^ ]*/::g' | cut -c1-200 || true
    } | awk '{ gsub(/\|/, "/"); printf "%s%s", (NR > 1 ? "; " : ""), $0 }'
}

# The seeds that the output names.
seeds() {
    grep -oE '(PGB_SEED=|[Ss]eeds? (from )?)[0-9]+' "$1" | grep -oE '[0-9]+$' | sort -u | paste -sd ' '
}

# Puts the row of a step into the page, in place of what was there: record MINUTES STATUS OUTPUT COMMAND...
record() {
    local minutes=$1 status=$2 output=$3 result row page
    shift 3
    result=$(said "$output")
    [ "$status" -eq 0 ] || result="**failed** ($status); $result"
    row="| \`$*\` | $(date -u +%F) | $results_commit | $minutes | $(seeds "$output" || true) | $result |"
    page=$(mktemp)
    ROW=$row NAME="| \`$*\` |" awk -v begin="$results_begin" -v end="$results_end" '
        $0 == begin { within = 1 }
        $0 == end { if (!done) print ENVIRON["ROW"]; within = 0 }
        within && index($0, ENVIRON["NAME"]) == 1 { if (!done) print ENVIRON["ROW"]; done = 1; next }
        { print }
    ' "$results_page" >"$page"
    cat "$page" >"$results_page"
    rm -f "$page"
}
