# Sourced by ci/lint: the checks of scripts, workflows and SQL, which need neither cargo nor a server.
# shellcheck shell=bash

source ci/lib/tools.sh

# Nothing is checked if the programs cannot be installed. That is a failure only if PGB_SKIPPED_STATUS says so.
with_tools() {
    if python_tools; then
        "$@"
    else
        say "SKIPPED $1: its program could not be installed, see $target/tools/python.log"
        return "${PGB_SKIPPED_STATUS:-0}"
    fi
}

lint_scripts() {
    local commands scripts
    mapfile -t commands < <(find .ci ci -maxdepth 1 -type f | sort && echo tests/from-2.0/run)
    scripts=("${commands[@]}" ci/lib/*.sh tests/package/*.sh)
    # One file at a time: bash -n reads only the first.
    syntax() { for file; do bash -n "$file" || return; done; }
    check 'scripts parse' syntax "${scripts[@]}"
    check 'shellcheck' with_tools shellcheck -x -S warning -P "ci:$root" "${commands[@]}" tests/package/*.sh
}

# Fails, and prints the steps of .ci/nightly that no part of nightly.yml chooses.
night_is_complete() {
    local line words word chosen missing=0
    while read -r line; do
        chosen=no
        while read -r words; do
            for word in $words; do
                case " $line " in *" $word "*) chosen=yes ;; esac
            done
        done < <(sed -nE 's/^ *words: //p' .github/workflows/nightly.yml)
        [ "$chosen" = yes ] || { missing=1 && echo "in no part of nightly.yml: $line"; }
    done < <(sed -nE "s/^step [0-9]+ //p" .ci/nightly | tr -d "'")
    return $missing
}

lint_workflows() {
    check 'workflows' with_tools actionlint
    # Without a network: rights of jobs, actions that are not pinned, text of others in commands.
    check 'security of the workflows' with_tools zizmor --offline --no-progress --quiet .github
    check 'the night is complete' night_is_complete
}

# Every script that is no link to another one, and what the script makes from a template.
pgspot_findings() {
    local template=$target/lint/template.sql scripts
    mapfile -t scripts < <(find sql -name '*.sql' -type f | sort)
    mkdir -p "$target/lint"
    perl -0777 -ne 'print $1 while /\$template\$(.*?)\$template\$/gs' "${scripts[@]}" |
        sed 's/<name>/grant_pg_background_privileges/; s/<GRANT>/GRANT/; s/<TO>/TO/' >"$template"
    [ -s "$template" ] || { echo 'there is no template in sql/' && return; }
    pgspot "${scripts[@]}" "$template" >"$target/lint/pgspot" 2>&1 || true
    grep -q '^TOTAL: ' "$target/lint/pgspot" || echo 'pgspot has not run to its end'
    grep -vE '^ *$|^[^ ]*\.sql: *$|^(TOTAL:| Errors:) ' "$target/lint/pgspot"
}

sql_names_are_safe() {
    local findings accepted=ci/lib/pgspot.txt row wrong=0
    findings=$(pgspot_findings)
    while IFS= read -r row; do
        grep -qE -- "$row" <<<"$findings" || { wrong=1 && echo "$accepted: nothing matches $row"; }
    done < <(grep -vE '^(#|$)' "$accepted")
    ! grep -vE -f <(grep -vE '^(#|$)' "$accepted") <<<"$findings" || wrong=1
    return $wrong
}

lint_sql() {
    check 'names in the SQL scripts' with_tools sql_names_are_safe
}
