# Sourced by ci/engine: fuzzing of the targets in tests/fuzz.
# shellcheck shell=bash

# Prepares `guided` (the program; empty if it cannot be built here) and `blind`. Both have the same targets.
build_fuzzers() {
    local host flags log=$target/fuzz/build.log
    host=$(rustc -vV | sed -n 's/^host: //p')
    mkdir -p "$target/fuzz"
    CARGO_TARGET_DIR=$target/fuzz cargo build --quiet --locked --profile fuzz -p fuzz --bin blind
    blind=$target/fuzz/fuzz/blind
    # libFuzzer finds out through these which edges an input takes, and what it is compared with.
    flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
    flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
    flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares'
    guided=$target/fuzz/$host/fuzz/guided
    # With --target, so that programs that only the build runs are compiled without them.
    if ! RUSTFLAGS=$flags CARGO_TARGET_DIR=$target/fuzz \
        cargo build --quiet --locked --profile fuzz --target "$host" -p fuzz --features guided --bin guided 2>"$log"; then
        guided=
        say "fuzz: guided runs SKIPPED, blind ones instead ($(grep -m1 -E 'error' "$log" || tail -1 "$log"))"
        return "${PGB_SKIPPED_STATUS:-0}"
    fi
}

# Runs a target for some seconds: fuzz_target NAME SECONDS. Prints a line about it. What it found is in $found, which
# ends with the corpus of the target.
fuzz_target() {
    local name=$1 seconds=$2 corpus=$root/tests/fuzz/corpus/$1 failures=$target/fuzz/failures log=$target/fuzz/$1.log
    local failure
    found=$target/fuzz/found/$name
    rm -rf "$found"
    mkdir -p "$found" "$failures" "$target/fuzz/empty"
    [ -d "$corpus" ] || corpus=$target/fuzz/empty
    if [ -z "$guided" ]; then
        # A target that does not come to an end is stopped.
        timeout $((seconds + 120)) "$blind" run "$name" "$corpus" "$failures" "$seconds" "$seed" 2>"$log" && return
        grep -m3 -A2 'panicked' "$log" || tail -5 "$log"
        return 1
    fi
    if PGB_TARGET=$name "$guided" "$found" "$corpus" -seed="$seed" -max_total_time="$seconds" -max_len=4096 \
        -timeout=60 -rss_limit_mb=1024 -artifact_prefix="$failures/$name-" -print_final_stats=1 >"$log" 2>&1; then
        printf '%s: %s executions, %s edges, %s inputs found beside the %s of the corpus\n' "$name" \
            "$(sed -nE 's/^stat::number_of_executed_units: +//p' "$log")" \
            "$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -1)" \
            "$(find "$found" -type f | wc -l)" "$(find "$corpus" -type f | wc -l)"
        return
    fi
    failure=$(sed -nE 's/.*Test unit written to //p' "$log")
    grep -m3 -A2 'panicked' "$log" || grep -m3 -E 'ERROR|error' "$log" || tail -5 "$log"
    printf '%s: fails with %s; run it again: PGB_TARGET=%s %s FILE\n' "$name" "${failure:-$log}" "$name" "$guided"
    return 1
}

# A run that finds nothing where something is, is worth nothing.
fuzz_finds_what_was_planted() {
    local began=$SECONDS guides
    for guides in "$guided" ''; do
        if guided=$guides fuzz_target planted 30 >"$target/fuzz/planted.out" 2>&1; then
            say "fuzz: the planted defect was not found${guides:+ by libFuzzer}"
            return 1
        fi
        grep -q panicked "$target/fuzz/planted.out" || { cat "$target/fuzz/planted.out"; return 1; }
        [ -n "$guided" ] || break
    done
    rm -f "$target"/fuzz/failures/planted-*
    say "fuzz: the planted defect was found in $((SECONDS - began)) s"
}

# Makes the corpus anew, from itself and what was found: about as few inputs as reach all that these reach.
keep_found() {
    local name=$1 corpus=$root/tests/fuzz/corpus/$1 kept=$target/fuzz/kept
    [ -n "$guided" ] || die 'without libFuzzer there is nothing to keep'
    rm -rf "$kept"
    mkdir -p "$corpus" "$kept"
    PGB_TARGET=$name "$guided" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$kept" "$corpus" "$found" \
        >"$target/fuzz/$name.log" 2>&1
    rm -rf "$corpus"
    cp -r "$kept" "$corpus"
}

fuzz_all() {
    local seconds=$1 each name passed=0 failed=0
    local -a names=("${@:2}")
    local seed=${PGB_SEED:-$((RANDOM * 32768 + RANDOM + 1))} blind guided found
    build_fuzzers
    [ ${#names[@]} -gt 0 ] || mapfile -t names < <("$blind" list)
    each=$((seconds / ${#names[@]}))
    [ "$each" -ge 1 ] || each=1
    say "fuzz: ${#names[@]} targets, $each s each, PGB_SEED=$seed"
    if fuzz_finds_what_was_planted; then passed=1; else failed=1; fi
    for name in "${names[@]}"; do
        if fuzz_target "$name" "$each"; then
            passed=$((passed + 1))
            [ -z "${PGB_KEEP:-}" ] || keep_found "$name"
        else
            failed=$((failed + 1))
        fi
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
