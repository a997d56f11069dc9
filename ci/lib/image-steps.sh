# Sourced by `ci/package image-steps`: the steps of the Dockerfile, for PG_MAJOR, in a chroot. It shows that they work
# where there is no container engine. What the official image itself does (its entry point, its packages of the server)
# is not tested.
# shellcheck shell=bash

source ci/lib/package-use.sh

given=$target/package/image
log=$given.log
: >"$log"
if prepare_chroot "$PG_MAJOR" "$log"; then
    status=0
    give "$given"
    # What a container engine gets: the files less those that .dockerignore names, which are none of the project's.
    give_source "$given"
    mkdir "$given/result"
    aside_reads=("$toolchain" "$cargo_home")
    aside_writes=$given/result
    try "$PG_MAJOR" "$given" image-build.sh "$toolchain" "$cargo_home" || status=$?
    aside_reads=() aside_writes=
    if [ $status -eq 0 ]; then
        as_root mv "$given"/result/* "$given/"
        try "$PG_MAJOR" "$given" image.sh || status=$?
    fi
    note "image steps $PG_MAJOR" $status
else
    lines+=("SKIPPED image steps $PG_MAJOR: $reason")
fi
finish_lines
