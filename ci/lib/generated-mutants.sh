# Sourced by ci/engine: the mutants that cargo-mutants makes of the engine, and the list of its survivors.
# shellcheck shell=bash
#
# tests/mutants/survivors lists the mutants that the engine's tests need not catch, each with the reason (its head
# describes the form). tests/mutants/last-run is the record of the last run of all mutants.
#
# A mutant is identified by its file and what it replaces in which function, without line and column, so that the list
# survives edits elsewhere. Of equal ones in a file the second gets ` #2`, and so on.

survivors=$root/tests/mutants/survivors
last_run=$root/tests/mutants/last-run
work=$target/generated

# A run with a limit takes this many mutants, about two seconds each.
LIMIT=60

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

# Prints the IDs of the mutants with this outcome in the last run.
with_outcome() {
    awk -F'\t' 'NR == FNR { id[$2] = $1; next } { print id[$1] }' "$work/identified" "$output/mutants.out/$1.txt"
}

# Runs the unit and property tests with each of the mutants that the arguments of cargo-mutants select, and fails if
# one survives that is not in the list, or one is caught that is.
#
# A property has a quarter of its usual cases (that of the pool has all), of a fixed seed, so that a run can be
# repeated. It does not shrink a failure: nobody reads it. A mutant that takes memory without end must not take the
# machine's.
examine() {
    local output=$work/run status=0 caught timeout unviable missed unlisted unexpected began=$SECONDS
    rm -rf "$output"
    mkdir -p "$output"
    (
        ulimit -v 16000000
        export CARGO_TARGET_DIR=$work/build RUST_BACKTRACE=0
        export PROPTEST_CASES=64 PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
        cargo_mutants --profile mutants --jobs 1 --cargo-arg=--lib --timeout 20 --build-timeout 120 \
            --output "$output" "$@"
    ) || status=$?
    # Some were missed, or not ended.
    case $status in 0 | 2 | 3) ;; *) die "cargo-mutants failed (exit code $status)" ;; esac
    [ -e "$output/mutants.out/outcomes.json" ] || { say 'no mutants to examine' && return; }
    with_outcome missed | sort >"$work/missed"
    { with_outcome caught && with_outcome timeout; } | sort >"$work/caught"
    caught=$(wc -l <"$output/mutants.out/caught.txt")
    timeout=$(wc -l <"$output/mutants.out/timeout.txt")
    unviable=$(wc -l <"$output/mutants.out/unviable.txt")
    missed=$(wc -l <"$work/missed")
    unlisted=$(comm -23 "$work/missed" <(cut -f1 "$work/excused" | sort))
    unexpected=$(comm -12 "$work/caught" <(cut -f1 "$work/excused" | sort))
    counts="caught $caught, did not end $timeout, did not compile $unviable, survived $missed"
    say "$counts, in $((SECONDS - began)) s"
    [ -z "$unlisted" ] || printf 'SURVIVED, and is not in %s:\n%s\n' "${survivors#"$root/"}" "$unlisted" >&2
    [ -z "$unexpected" ] || printf 'CAUGHT, and is in %s:\n%s\n' "${survivors#"$root/"}" "$unexpected" >&2
    [ -z "$unlisted$unexpected" ]
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

# All of them, in pieces: those that were examined with these sources are not examined again. Writes the record.
examine_all() {
    local pieces=20 piece sources done_file failed=()
    git diff --quiet HEAD -- src/engine tests/mutants/survivors ||
        die 'src/engine or the list has changes that are not committed: the record names a commit'
    sources=$(git rev-parse HEAD:src/engine HEAD:tests/mutants/survivors | git hash-object --stdin)
    mkdir -p "$work/all/$sources"
    for ((piece = 0; piece < pieces; piece++)); do
        done_file=$work/all/$sources/$piece
        [ ! -e "$done_file" ] || continue
        say "piece $((piece + 1)) of $pieces"
        if examine --shard "$piece/$pieces"; then
            tr -dc '0-9,' <<<"$counts" >"$done_file"
        else
            failed+=("$((piece + 1))")
        fi
    done
    [ ${#failed[@]} -eq 0 ] || die "pieces of $pieces that failed: ${failed[*]}"
    {
        echo '# Written by `ci/engine mutants generated all`.'
        git log -1 --format='commit %H'
        date +'date %F'
        awk -F, '
            { caught += $1; endless += $2; unviable += $3; survived += $4 }
            END {
                print "mutants", caught + endless + unviable + survived
                print "caught", caught
                print "endless", endless
                print "unviable", unviable
                print "survived", survived
            }' "$work/all/$sources"/*
    } >"$last_run"
    cat "$last_run"
}

# Shows that the models named in the list (of loom, or `schedules` of shuttle) catch the survivors whose reason they are.
examine_by_models() {
    local model file names=() name id explorer output=$work/run count=0 status
    while read -r model <&3; do
        file=${model%%::*} names=()
        while IFS=$'\t' read -r id name; do
            [ -z "${1:-}" ] || [[ $id =~ $1 ]] || continue
            # shellcheck disable=SC2001
            names+=(--re "^$(sed 's/[][\.|$(){}?+*^]/\\&/g' <<<"$name")\$")
        done < <(awk -F'\t' -v model="model $model:" '
            NR == FNR { name[$1] = $2; next }
            index($2, model) == 1 { print $1 "\t" name[$1] }' "$work/identified" "$work/excused")
        [ ${#names[@]} -gt 0 ] || continue
        explorer=loom
        [ "$file" != schedules ] || explorer=shuttle
        say "$model: $((${#names[@]} / 2))"
        rm -rf "$output"
        mkdir -p "$output"
        status=0
        RUSTFLAGS="--cfg $explorer" CARGO_TARGET_DIR=$target/$explorer PGB_SECONDS=30 \
            cargo_mutants --profile models --jobs 1 --test-package loom_tests --cargo-arg="--test=$file" --timeout 120 \
            --build-timeout 300 --caught --output "$output" "${names[@]}" -- -- --exact "${model#*::}" || status=$?
        # 3: did not end, as a model may with a defect.
        case $status in 0) ;; *) die "$model does not catch them (exit code $status)" ;; esac
        count=$((count + ${#names[@]} / 2))
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
    all) examine_all ;;
    matching) [ $# -eq 2 ] || usage; examine --re "$2" ;;
    models) examine_by_models "${@:2}" ;;
    [1-9]*/[1-9]*) examine --shard "$((${1%/*} - 1))/${1#*/}" ;;
    *) usage ;;
    esac
}
