# Sourced by the scripts that run mutants: the table of docs/models.md.
# shellcheck shell=bash

# Prints "MUTANT TEST" for each test that column $1 of the table names.
listed() {
    awk -F'|' -v column="$1" '/^\| `[a-z-]+` \|/ {
        gsub(/[` ]/, "", $2)
        gsub(/[` ]/, "", $(column + 1))
        count = split($(column + 1), tests, ",")
        for (i = 1; i <= count; i++) if (tests[i] != "") print $2, tests[i]
    }' "$root/docs/models.md"
}

# Fails unless the table and the sources name the same mutants, and every mutant has a test.
check_list() {
    local in_source in_table
    in_source=$(grep -rhozP '(mutant!|checked!|exchange!|fenced!|weakened!|mutant::is)\(\s*"[a-z-]+"' \
        "$root"/src/engine "$root"/loom_tests --include='*.rs'  |
        tr '\0' '\n' | grep -oE '"[a-z-]+"' | tr -d '"' | sort -u)
    in_table=$({ listed 3; listed 4; } | cut -d' ' -f1 | sort -u)
    [ "$in_source" = "$in_table" ] ||
        die 'docs/models.md and the source do not name the same mutants' \
            "$(diff <(echo "$in_source") <(echo "$in_table") || true)"
}

# Runs every test of column $1 with its mutant, or those of the mutants that are named after it, with the caller's
# function `runs MUTANT TEST`. Fails if a test passes or does not end.
catch_all() {
    local column=$1 mutant test status count=0 began=$SECONDS survivors=() output
    shift
    output=$(mktemp)
    while read -r mutant test <&3; do
        [ $# -eq 0 ] || [[ " $* " = *" $mutant "* ]] || continue
        count=$((count + 1)) status=0
        runs "$mutant" "$test" >"$output" 2>&1 || status=$?
        case $status in
        # A panic, and one while another unwinds.
        101 | 134)
            printf 'caught    %-34s %s\n' "$mutant" "$test"
            ;;
        *)
            printf 'SURVIVED  %-34s %s (exit code %s)\n' "$mutant" "$test" "$status"
            survivors+=("$mutant")
            ;;
        esac
    done 3< <(listed "$column")
    rm -f "$output"
    [ "$count" -gt 0 ] || die "no mutant is called ${*:-anything}"
    if [ ${#survivors[@]} -gt 0 ]; then
        printf 'FAILED: %s of %s survived: %s\n' "${#survivors[@]}" "$count" "${survivors[*]}" >&2
        exit 1
    fi
    say "all $count caught, in $((SECONDS - began)) s"
}
