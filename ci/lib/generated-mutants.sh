# Sourced by ci/engine: the mutants that cargo-mutants makes of the engine, and the list of its survivors.
# shellcheck shell=bash
#
# tests/mutants/survivors lists the mutants that the engine's tests need not catch, each with the reason (its head
# describes the form). tests/mutants/last-run is the record of the last run of all mutants.
#
# A mutant is identified by its file and what it replaces in which function, without line and column, so that the list
# survives edits elsewhere. Of equal ones in a file the second gets ` #2`, and so on.
#
# A run of all takes pieces, and notes the outcome of each mutant. What was caught (or did not end, or did not compile)
# is not examined again while the mutated sources are the same: tests are not among them, so tests may be added while
# the run goes on. What survived is examined again with other tests. A test that is taken away, or made weaker, is not
# noticed before the sources change: remove target/generated/all then.

survivors=$root/tests/mutants/survivors
last_run=$root/tests/mutants/last-run
work=$target/generated

# A run with a limit, or a piece of all, takes this many mutants, of a second or two each.
LIMIT=45
# Seconds of the processor after which the tests are killed. They need less than half a second.
CPU_LIMIT=4

cargo_mutants() {
    cargo mutants --config ci/lib/mutants.toml -p pg_background_engine "$@"
}

# Prints "ID<tab>NAME" for each mutant; the name is cargo-mutants', with line and column.
identified() {
    cargo_mutants --list | awk '{
        id = $0
        sub(/:[0-9]+:[0-9]+:/, ":", id)
        if (++count[id] > 1) id = id " #" count[id]
        print id "\t" $0
    }'
}

# Prints "ID<tab>REASON" for each survivor in the list.
excused() {
    awk '
        function finish() { for (i = 1; i <= count; i++) print id[i] "\t" reason; count = 0; reason = "" }
        /^#/ || /^$/ { next }
        /^ / { sub(/^ +/, ""); reason = reason (reason == "" ? "" : " ") $0; next }
        reason != "" { finish() }
        { id[++count] = $0 }
        END { finish() }' "$survivors"
}

# Fails if an entry has no reason of a known kind, or names a mutant that does not exist (any more).
check_survivors() {
    local wrong
    identified >"$work/identified"
    [ -s "$work/identified" ] || die 'cargo-mutants finds no mutants'
    excused >"$work/excused"
    wrong=$(grep -vE $'\t(equivalent|unneeded|model [a-z_]+::[a-z_]+|unexamined): .' "$work/excused" || true)
    [ -z "$wrong" ] || die "$survivors: no reason of a known kind:" "$wrong"
    wrong=$(cut -f1 "$work/excused" | sort | uniq -d)
    [ -z "$wrong" ] || die "$survivors: more than once:" "$wrong"
    wrong=$(awk -F'\t' 'NR == FNR { exists[$1]; next } !($1 in exists) { print $1 }' "$work/identified" "$work/excused")
    [ -z "$wrong" ] || die "$survivors: no such mutant (any more):" "$wrong"
}

# Sets `selected`: the arguments of cargo-mutants that select the mutants with the IDs in the input. Those that delete a
# field come with every selection.
select_ids() {
    mapfile -t selected < <(
        awk -F'\t' 'NR == FNR { wanted[$0]; next } $1 in wanted { print $2 }' - "$work/identified" |
            sed 's/[][\.|$(){}?+*^]/\\&/g; s/.*/--re\n^&$/'
    )
}

# Prints the IDs of the mutants with this outcome in the run whose $output is given.
with_outcome() {
    awk -F'\t' 'NR == FNR { id[$2] = $1; next } { print id[$1] }' "$work/identified" "$output/mutants.out/$1.txt"
}

# Runs the unit and property tests with each of the mutants that the arguments of cargo-mutants select. Writes
# "OUTCOME<tab>ID" for each into $work/outcomes.
#
# A property has a quarter of its usual cases (that of the pool has all), of a fixed seed, so that a run can be
# repeated. It does not shrink a failure: nobody reads it. A mutant that runs without end is killed by the time of the
# processor that it has used, which other work on the machine does not change, and counts as caught; one that sleeps
# without end, by the clock. One that takes memory without end must not take the machine's.
try_mutants() {
    local output=$work/run status=0 outcome began=$SECONDS
    rm -rf "$output"
    mkdir -p "$output"
    : >"$work/outcomes"
    (
        ulimit -v 16000000
        export CARGO_TARGET_DIR=$work/build RUST_BACKTRACE=0
        export PROPTEST_CASES=64 PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
        cargo_mutants --profile mutants --jobs 1 --cargo-arg=--lib \
            --cargo-arg="--config=target.'cfg(all())'.runner='prlimit --cpu=$CPU_LIMIT'" \
            --timeout 30 --build-timeout 120 --output "$output" "$@"
    ) || status=$?
    # Some were missed, or not ended.
    case $status in 0 | 2 | 3) ;; *) die "cargo-mutants failed (exit code $status)" ;; esac
    [ -e "$output/mutants.out/outcomes.json" ] || { say 'no mutants to examine' && return; }
    for outcome in caught timeout unviable missed; do
        with_outcome "$outcome" | sed "s/^/$outcome\t/"
    done >"$work/outcomes"
    say "$(counts "$work/outcomes"), in $((SECONDS - began)) s"
}

counts() {
    awk -F'\t' '{ n[$1]++ } END {
        printf "caught %d, did not end %d, ", n["caught"], n["timeout"]
        printf "did not compile %d, survived %d", n["unviable"], n["missed"]
    }' "$1"
}

# Fails if, of these outcomes, one survived that is not in the list, or one was caught that is.
judge() {
    local unlisted unexpected
    unlisted=$(comm -23 <(sed -n 's/^missed\t//p' "$1" | sort) <(cut -f1 "$work/excused" | sort))
    unexpected=$(comm -12 <(sed -nE 's/^(caught|timeout)\t//p' "$1" | sort) <(cut -f1 "$work/excused" | sort))
    [ -z "$unlisted" ] || printf 'SURVIVED, and is not in %s:\n%s\n' "${survivors#"$root/"}" "$unlisted" >&2
    [ -z "$unexpected" ] || printf 'CAUGHT, and is in %s:\n%s\n' "${survivors#"$root/"}" "$unexpected" >&2
    [ -z "$unlisted$unexpected" ]
}

# Examines the mutants that the arguments of cargo-mutants select.
examine() {
    try_mutants "$@"
    judge "$work/outcomes"
}

# The same for at most LIMIT of the mutants that the arguments select: another part of them each day.
examine_some() {
    local count pieces piece
    count=$(cargo_mutants --list "$@" | grep -c . || true)
    [ "$count" -gt 0 ] || { say 'no mutants to examine' && return; }
    pieces=$(((count + LIMIT - 1) / LIMIT))
    piece=$(($(date +%s) / 86400 % pieces))
    say "$count mutants, of which this run examines part $((piece + 1)) of $pieces"
    examine "$@" --sharding round-robin --shard "$piece/$pieces"
}

# The mutants of the lines that differ from a commit.
examine_changed() {
    local commit=${1:-$(sed -n 's/^commit //p' "$last_run")}
    if git cat-file -e "$commit^{commit}" 2>/dev/null; then
        git diff "$commit" -- src/engine >"$work/diff"
        say "the lines of src/engine that are not in $(git log -1 --format='%h of %cs' "$commit")"
        [ -s "$work/diff" ] || { say 'no mutants to examine' && return; }
        examine_some --in-diff "$work/diff"
    else
        say "commit ${commit:-of the last run} is not in this clone: some mutants of the whole engine instead"
        examine_some
    fi
}

# The sources that are mutated, without the tests: those in the same file are its end.
mutated_sources() {
    git ls-files src/engine | grep '\.rs$' | grep -vE '/models\.rs$|/tests\.rs$|/tests/' |
        while read -r file; do
            awk -v file="$file" 'BEGIN { print file } /^mod tests \{/ { exit } { print }' "$file"
        done
}

# All of them, in pieces of LIMIT, as many pieces as the argument says. When none is left, judges them and writes the
# record.
examine_all() {
    local pieces=${1:-1000} tests outcomes selected
    [ -z "$(git status --porcelain -- src/engine tests/mutants/survivors)" ] ||
        die 'src/engine or the list has changes that are not committed: the record names a commit'
    outcomes=$work/all/$(mutated_sources | git hash-object --stdin)
    tests=$(git rev-parse HEAD:src/engine)
    mkdir -p "$work/all"
    touch "$outcomes"
    while :; do
        # Survivors are settled with these tests only.
        awk -F'\t' -v tests="$tests" '
            FILENAME == ARGV[1] { settled[$2] = $1 != "missed" || $3 == tests; next }
            !settled[$1] { print $1 }' "$outcomes" "$work/identified" >"$work/left"
        [ -s "$work/left" ] || break
        say "$(wc -l <"$work/left") mutants are left"
        [ "$((pieces--))" -gt 0 ] || return 0
        select_ids < <(head -n "$LIMIT" "$work/left")
        try_mutants "${selected[@]}"
        [ "$(wc -l <"$work/outcomes")" -ge "$((${#selected[@]} / 2))" ] || die 'a mutant has no outcome'
        sed "s/\$/\t$tests/" "$work/outcomes" >>"$outcomes"
    done
    # The last outcome of each.
    awk -F'\t' 'NR == FNR { last[$2] = $1; next } { print last[$1] "\t" $1 }' \
        "$outcomes" "$work/identified" >"$work/all/last"
    judge "$work/all/last"
    {
        echo '# Written by `ci/engine mutants generated all`.'
        git log -1 --format='commit %H'
        date +'date %F'
        awk -F'\t' '{ n[$1]++ } END {
            print "mutants", NR
            print "caught", n["caught"] + 0
            print "endless", n["timeout"] + 0
            print "unviable", n["unviable"] + 0
            print "survived", n["missed"] + 0
        }' "$work/all/last"
    } >"$last_run"
    cat "$last_run"
}

# Shows that the models named in the list (of loom, or `schedules` of shuttle) catch the survivors whose reason they
# are.
examine_by_models() {
    local model file selected explorer output=$work/run count=0 status survives
    while read -r model <&3; do
        file=${model%%::*}
        awk -F'\t' -v model="model $model:" 'index($2, model) == 1 { print $1 }' "$work/excused" |
            grep -E -- "${1:-}" | sort >"$work/wanted" || continue
        say "$model: $(wc -l <"$work/wanted")"
        select_ids <"$work/wanted"
        explorer=loom
        [ "$file" != schedules ] || explorer=shuttle
        rm -rf "$output"
        mkdir -p "$output"
        status=0
        RUSTFLAGS="--cfg $explorer" CARGO_TARGET_DIR=$target/$explorer PGB_SECONDS=30 \
            cargo_mutants --profile models --jobs 1 --cargo-arg=--package=loom_tests --cargo-arg="--test=$file" \
            --timeout 120 --build-timeout 300 --output "$output" "${selected[@]}" -- \
            -- --exact "${model#*::}" || status=$?
        case $status in 0 | 2 | 3) ;; *) die "cargo-mutants failed (exit code $status)" ;; esac
        survives=$(comm -23 "$work/wanted" <(with_outcome caught | sort))
        [ -z "$survives" ] || die "$model does not catch:" "$survives"
        count=$((count + $(wc -l <"$work/wanted")))
    done 3< <(sed -nE 's/.*\tmodel ([a-z_]+::[a-z_]+):.*/\1/p' "$work/excused" | sort -u)
    say "models catch $count of the survivors"
}

run_generated() {
    source ci/lib/tools.sh
    cargo_tool mutants 27.1.0
    mkdir -p "$work"
    check_survivors
    case ${1:-changed} in
    changed) examine_changed "${@:2}" ;;
    all) examine_all "${@:2}" ;;
    matching) [ $# -eq 2 ] || usage; examine --re "$2" ;;
    models) examine_by_models "${@:2}" ;;
    [1-9]*/[1-9]*) examine --shard "$((${1%/*} - 1))/${1#*/}" ;;
    *) usage ;;
    esac
}
