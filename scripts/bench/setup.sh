#!/usr/bin/env bash
# Builds and installs what the benchmark runs: our command, the local server, the ceilings, the
# peers. Asks before using sudo, unless run as root or with YES=1. A peer that cannot be installed
# is left out of the benchmark; everything else has to be there.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
need() { # need TEST APT-PACKAGE DNF-PACKAGE
    eval "$1" >/dev/null 2>&1 || missing+=("$2|$3")
}
need 'command -v fio' fio fio
need 'command -v s3fs' s3fs ''
# Mountpoint's library links libfuse.
need 'command -v pkg-config' pkg-config pkgconf
need 'pkg-config --exists fuse3' libfuse3-dev fuse3-devel

if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null; then
        packages=$(printf '%s\n' "${missing[@]}" | cut -d'|' -f1 | xargs)
        install="apt-get update && apt-get install -y $packages"
    else
        packages=$(printf '%s\n' "${missing[@]}" | cut -d'|' -f2 | xargs)
        install="dnf install -y $packages"
    fi
    sudo=
    if [ -n "$packages" ] && [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
        if [ "${YES:-}" != 1 ]; then
            read -r -p "Install with sudo: $packages? [y/N] " answer </dev/tty
            [[ $answer == [yY]* ]] || { echo "Not installed. By hand: $install" >&2; exit 1; }
        fi
    fi
    if [ -n "$packages" ]; then
        echo "Installing: $packages"
        DEBIAN_FRONTEND=noninteractive $sudo sh -c "$install"
    fi
fi

cargo build --release --locked -p mount-s3 -p s3-test-server
cargo build --release --locked -p mount-s3 --examples

if [ -z "${PEER_MOUNTPOINT:-}" ]; then
    CARGO_TARGET_DIR=$PWD/target/peers/mountpoint cargo build --release --locked \
        --manifest-path scripts/bench/peers/mountpoint/Cargo.toml ||
        echo "The Mountpoint launcher was not built: the benchmark runs without it." >&2
fi
if ! target/tools/bin/pip install --quiet --disable-pip-version-check -r scripts/bench/requirements.txt; then
    echo "rclone was not installed: the benchmark runs without it." >&2
fi
