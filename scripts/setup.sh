#!/usr/bin/env bash
# Installs the system packages that building and testing need, and says what it does.
# Asks before using sudo, unless run as root or with YES=1. Does nothing when all is there.
# Usage: setup.sh [packages]   (packages: also what making and testing packages needs)
set -euo pipefail

missing=()
need() { # need TEST APT-PACKAGE DNF-PACKAGE
    eval "$1" >/dev/null 2>&1 || missing+=("$2|$3")
}

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    # The development package brings the plain .so and the compiler's own headers, which bindgen needs.
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib64/libclang.so*' || compgen -G '/usr/lib/x86_64-linux-gnu/libclang*.so*' ||
        compgen -G '/usr/lib/aarch64-linux-gnu/libclang*.so*'
}

command -v cargo >/dev/null || {
    echo "error: cargo not found: install Rust 1.92 or newer (https://rustup.rs), then run this again" >&2
    exit 1
}
need 'command -v cc && command -v c++' build-essential 'gcc gcc-c++ make'
need 'command -v cmake' cmake cmake
need 'command -v clang' clang clang
need have_libclang libclang-dev clang-devel
need 'command -v fusermount3' fuse3 fuse3
need 'command -v git' git git
need 'command -v getfattr' attr attr
need 'command -v rsync' rsync rsync
need 'command -v curl' curl curl-minimal
need 'command -v groff' groff-base groff-base
need 'PATH=$PATH:/usr/sbin command -v ip' iproute2 iproute
need 'PATH=$PATH:/usr/sbin command -v mkfs.ext4' e2fsprogs e2fsprogs
need 'python3 -c "import venv, ensurepip"' python3-venv python3
# What scripts/programs.py runs.
need 'command -v vim' vim vim-enhanced
need 'command -v rsync' rsync rsync
need 'command -v zip' zip zip
need 'command -v unzip' unzip unzip
need 'command -v tar' tar tar
if [ "${1:-}" = packages ]; then
    need 'command -v dpkg-shlibdeps' dpkg-dev dpkg-dev
    need 'command -v lintian' lintian lintian
    need 'command -v rpmbuild' rpm rpm-build
    need 'command -v rpmlint' rpmlint rpmlint
    need 'PATH=$PATH:/usr/sbin command -v debootstrap' debootstrap debootstrap
    need 'command -v buildah' buildah buildah
fi
# What scripts/rgw.sh runs. Without what it recommends, which are daemons that it does not need here.
ceph=''
for program in radosgw ceph-mon ceph-osd ceph; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || ceph='radosgw ceph-mon ceph-osd ceph-common'
done
[ ${#missing[@]} -eq 0 ] && [ -z "$ceph" ] && exit 0

if command -v apt-get >/dev/null; then
    field=1
    install='apt-get update && '
    [ -z "$ceph" ] || install+="apt-get install -y --no-install-recommends $ceph && "
    install+='apt-get install -y'
elif command -v dnf >/dev/null; then
    field=2
    install='dnf install -y'
    [ -z "$ceph" ] || echo "warning: Ceph RGW is not there, and dnf does not have it everywhere: its tests will fail" >&2
    [ ${#missing[@]} -gt 0 ] || exit 0
else
    echo "error: neither apt-get nor dnf found; install by hand: $(printf '%s\n' "${missing[@]}" | cut -d'|' -f1 | tr '\n' ' ')" >&2
    exit 1
fi
packages=$(printf '%s\n' "${missing[@]}" | cut -d'|' -f$field | tr '\n' ' ')

if [ "$(id -u)" -eq 0 ]; then
    sudo=
else
    sudo=sudo
    if [ "${YES:-}" != 1 ]; then
        read -r -p "Install with sudo: $packages$ceph? [y/N] " answer </dev/tty
        [[ $answer == [yY]* ]] || { echo "Not installed. By hand: $install $packages" >&2; exit 1; }
    fi
fi
echo "Installing: $packages$ceph"
export DEBIAN_FRONTEND=noninteractive
$sudo sh -c "$install $packages"
