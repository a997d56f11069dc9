#!/usr/bin/env bash
# The stages of the Dockerfile at /given/source, step by step, in a chroot in place of the image that the first begins
# with: TOOLCHAIN CARGO_HOME. The steps are read from the file. Rust is mounted from this machine, so the step that
# downloads it finds it. What the later stages copy from the first is put into /result/STAGE, that of the last, which
# has no name, into /result/final.
# shellcheck source=tests/package/lib.sh
source /given/lib.sh
toolchain=$1
export CARGO_HOME=$2 CARGO_NET_OFFLINE=true

without_server
install "postgresql-$major"

# One instruction a line, without comments; a command that goes on has its lines joined.
instructions() {
    perl -ne 'next if /^\s*(#|$)/; chomp; if (s/\\$//) { print } else { print "$_\n" }' /given/source/Dockerfile
}

# What is given or set before holds for an ARG.
set_variable() {
    local name=${2%%=*}
    [ "$name" = "$2" ] || { [ "$1" = ARG ] && [ -n "${!name:-}" ]; } || eval "export $name=\"${2#*=}\""
}

export PG_MAJOR=$major
stage=
steps=0
while read -r instruction arguments; do
    case $instruction in
    FROM)
        stage=final
        [[ $arguments != *' AS '* ]] || stage=${arguments##* AS }
        ;;
    ARG | ENV) set_variable "$instruction" "$arguments" ;;
    SHELL) [ "$arguments" = '["/bin/bash", "-euo", "pipefail", "-c"]' ] ;;
    WORKDIR) mkdir -p "$arguments" && cd "$arguments" ;;
    COPY)
        echo "$stage: COPY $arguments"
        eval "set -- $arguments"
        if [ "$stage" = build ]; then
            [ $# -eq 2 ]
            mkdir -p "$2"
            cp -r "/given/source/$1/." "$2"
        else
            [ $# -eq 3 ] && [ "$1" = --from=build ]
            mkdir -p "/result/$stage$3"
            cp -r "$2/." "/result/$stage$3"
        fi
        ;;
    RUN)
        echo "$stage: RUN $arguments"
        [ "$stage" = build ]
        PATH=$toolchain/bin:$PATH /bin/bash -euo pipefail -c "$arguments" </dev/null
        steps=$((steps + 1))
        ;;
    *) echo "$instruction: unknown" >&2 && exit 1 ;;
    esac
done < <(instructions)
[ $steps -ge 4 ]
