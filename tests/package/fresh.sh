#!/usr/bin/env bash
# The first steps of a newcomer, with the project at /given/project.bundle: TOOLCHAIN CARGO_HOME root|user TARGET ...
# shellcheck source=tests/package/lib.sh
source /given/lib.sh
toolchain=$1 cargo_home=$2 who=$3
shift 3

download apt-get update -qq
install git make ca-certificates
[ "$toolchain" != /usr ] || install cargo rustc
home=/result user=root
if [ "$who" = user ]; then
    install sudo
    home=/result/newcomer user=newcomer
    useradd --create-home --home-dir "$home" --shell /bin/bash newcomer
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/newcomer
    # They are mounted where this machine has them, which may be root's home.
    for directory in "$toolchain" "$cargo_home"; do
        while [ "$directory" != / ]; do
            directory=$(dirname "$directory")
            chmod 755 "$directory"
        done
    done
fi

# Each in a login of its own, as somebody would type it.
as_newcomer() {
    runuser -u "$user" -- env -i HOME="$home" USER="$user" LC_ALL=C.UTF-8 CARGO_HOME="$cargo_home" \
        CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never PATH="$toolchain/bin:/usr/local/bin:/usr/bin:/bin" \
        bash -euc 'cd "$1" && shift && exec "$@"' bash "$@"
}
as_newcomer "$home" git clone -q /given/project.bundle pg_background
for target; do
    as_newcomer "$home/pg_background" make "$target"
done
# A build leaves nothing that git does not know of.
[ -z "$(as_newcomer "$home/pg_background" git status --porcelain)" ]
