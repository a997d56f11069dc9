# Sourced by the scripts that download more from Debian than packages for this machine: the source of a server, and
# chroots of the releases that have a server version.
# shellcheck shell=bash

release_of() {
    case $1 in
    14) echo jammy ;;
    15) echo bookworm ;;
    16) echo noble ;;
    17) echo trixie ;;
    18 | 19) echo testing ;;
    esac
}

# One line for each test, and those that failed.
lines=()
failed=()

# Prints the lines. Fails if a test has failed; where PGB_SKIPPED_STATUS says so, also if one was skipped.
finish_lines() {
    [ ${#lines[@]} -gt 0 ] || die 'nothing was tested'
    printf '%s\n' "${lines[@]}"
    [ ${#failed[@]} -eq 0 ] || return 1
    case $(printf '%s\n' "${lines[@]}") in SKIPPED* | *$'\n'SKIPPED*) return "${PGB_SKIPPED_STATUS:-0}" ;; esac
}

# Downloads fail at times.
attempt() {
    "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }
}

# The mirror of this machine's own Debian packages; empty if it is no Debian, then debootstrap uses its default.
# `mirror Debian-Security`: that of the security updates.
mirror() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 2>/dev/null |
        sed -n "/^${1:-Debian}|/{s/^[^|]*|//p;q}"
}

install_debootstrap() {
    command -v debootstrap >/dev/null ||
        { as_root apt-get update -qq && as_root apt-get install -y -qq debootstrap </dev/null; }
}

# Ubuntu's keys. Debian has a package since 13, which is used if this machine has none.
ubuntu_keyring() {
    local keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
    if [ ! -e "$keyring" ]; then
        make_chroot 17 && inside 17 apt-get update -qq &&
            inside 17 apt-get install -y -qq ubuntu-keyring </dev/null || return
        keyring=$target/chroot/17$keyring
    fi >&2
    echo "$keyring"
}

# Has apt take the packages of the newest server, and only those, from Debian's experimental.
experimental_server() {
    local chroot=$1
    echo "deb $(mirror) experimental main" |
        as_root tee "$chroot/etc/apt/sources.list.d/experimental.list" >/dev/null
    printf 'Package: src:postgresql-19\nPin: release a=experimental\nPin-Priority: 990\n' |
        as_root tee "$chroot/etc/apt/preferences.d/server" >/dev/null
}

# debootstrap's scripts for Debian and Ubuntu work for every release, even one that this debootstrap does not know.
bootstrap() {
    local version=$1 chroot=$2 release keyring security
    release=$(release_of "$version")
    set -- as_root env PATH="$PATH" debootstrap --variant=minbase \
        --include=ca-certificates
    case $version in
    14 | 16)
        keyring=$(ubuntu_keyring) || return
        "$@" --components=main,universe --keyring="$keyring" \
            "$release" "$chroot" '' /usr/share/debootstrap/scripts/gutsy &&
            # The releases themselves have only the first minor versions.
            as_root sed -i "p; s/ $release / $release-updates /" "$chroot/etc/apt/sources.list"
        ;;
    *)
        "$@" "$release" "$chroot" "$(mirror)" /usr/share/debootstrap/scripts/sid || return
        # The same as on this machine: a library needs the minor version for which it was built.
        security=$(mirror Debian-Security)
        [ "$release" = testing ] || [ -z "$security" ] ||
            echo "deb $security $release-security main" | as_root tee -a "$chroot/etc/apt/sources.list" >/dev/null
        # Debian's experimental has what testing does not have yet. Apt takes from it only what it is told to take.
        [ "$version" != 19 ] || experimental_server "$chroot"
        ;;
    esac
}

# Renamed into place when it is complete, so that an interrupted run leaves nothing that looks finished.
make_chroot() {
    local version=$1 chroot=$target/chroot/$1
    [ ! -d "$chroot" ] || return 0
    mkdir -p "$target/chroot"
    as_root rm -rf "$chroot.new"
    bootstrap "$version" "$chroot.new" &&
        # Packages must not start services in the chroot.
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$chroot.new/usr/sbin/policy-rc.d" >/dev/null &&
        as_root chmod 755 "$chroot.new/usr/sbin/policy-rc.d" &&
        # A frozen or outdated mirror is accepted too, because its packages are signed.
        echo 'Acquire::Check-Valid-Until "false";' |
        as_root tee "$chroot.new/etc/apt/apt.conf.d/check-valid-until" >/dev/null &&
        as_root mv "$chroot.new" "$chroot"
}

# Runs a command in the chroot of a version, as root, with the project and its target directory at their usual paths.
# Mounts and processes are in namespaces of their own: they end with the command, however it ends.
# The toolchain and cargo's downloads are mounted for reading only.
inside() {
    local version=$1 chroot=$target/chroot/$1
    shift
    # shellcheck disable=SC2016
    as_root unshare --mount --pid --ipc --fork --kill-child bash -euc '
        chroot=$1 root=$2 target=$3 toolchain=$4 cargo_home=$5
        shift 5
        mkdir -p "$chroot$root" "$chroot$target" "$chroot$toolchain" "$chroot$cargo_home"
        mount --bind "$root" "$chroot$root"
        mount --bind "$target" "$chroot$target"
        for home in "$toolchain" "$cargo_home"; do
            mount --bind "$home" "$chroot$home"
            mount -o remount,bind,ro "$chroot$home"
        done
        mount -t proc proc "$chroot/proc"
        mount --rbind /dev "$chroot/dev"
        # Its servers have shared memory of their own: tests count the segments.
        mount -t tmpfs -o mode=1777 tmpfs "$chroot/dev/shm"
        cp -L /etc/resolv.conf "$chroot/etc/resolv.conf"
        exec chroot "$chroot" "$@"
    ' bash "$chroot" "$root" "$target" "$toolchain" "$cargo_home" \
        /usr/bin/env -i PATH="$toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root LC_ALL=C.UTF-8 \
        CARGO_HOME="$cargo_home" CARGO_TARGET_DIR="$target/matrix/$version" CARGO_NET_OFFLINE=true \
        CARGO_TERM_COLOR=never PG_MAJOR="$version" PGB_TEST_FILTER="${PGB_TEST_FILTER:-}" \
        PGB_CLIENTS="${PGB_CLIENTS:-}" \
        /bin/bash -c 'cd "$1" && shift && exec "$@"' bash "$root" "$@"
}

# Runs a command in a temporary copy of the chroot of a version. Of this machine it has one directory, at /given, for
# reading only, and those that the caller has in these two: `aside_reads`, at their own paths, for reading only, and
# `aside_writes`, at /result.
aside_reads=()
aside_writes=
aside() {
    local version=$1 given=$2 chroot=$target/chroot/$1
    shift 2
    as_root mkdir -p "$chroot.copy"
    # shellcheck disable=SC2016
    as_root unshare --mount --pid --ipc --fork --kill-child bash -euc '
        chroot=$1 given=$2 result=$3 reads=$4
        shift 4
        copy=$chroot.copy
        mount -t tmpfs tmpfs "$copy"
        mkdir "$copy/upper" "$copy/work" "$copy/root"
        mount -t overlay overlay -o "lowerdir=$chroot,upperdir=$copy/upper,workdir=$copy/work" "$copy/root"
        show() {
            mkdir -p "$copy/root$2"
            mount --bind "$1" "$copy/root$2"
        }
        show "$given" /given
        mount -o remount,bind,ro "$copy/root/given"
        [ -z "$result" ] || show "$result" /result
        for ((i = 0; i < reads; i++)); do
            show "$1" "$1"
            mount -o remount,bind,ro "$copy/root$1"
            shift
        done
        mount -t proc proc "$copy/root/proc"
        mount --rbind /dev "$copy/root/dev"
        cp -L /etc/resolv.conf "$copy/root/etc/resolv.conf"
        exec chroot "$copy/root" "$@"
    ' bash "$chroot" "$given" "$aside_writes" "${#aside_reads[@]}" ${aside_reads[@]+"${aside_reads[@]}"} \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

toolchain=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
