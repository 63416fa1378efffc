#!/usr/bin/env bash
# Builds and runs containers without a daemon (buildah), from a base that debootstrap makes: no registry of images
# is needed. Usage, as root:
#   container.sh product            localhost/mount-s3, from the deb in target/packages (`make deb`)
#   container.sh ci                 localhost/mount-s3-ci, what .ci/run needs: .ci/container/Containerfile
#   container.sh run [COMMAND ...]  a command (default: .ci/run) in a copy of the last commit, in that container;
#                                   packages that it makes are then in target/packages here
#   container.sh try COMMAND ...    a command in a container of the product
#   container.sh remove             all of it
# BASE=IMAGE takes an image of a registry instead: for ci one that holds Rust, such as docker.io/library/rust:bookworm.
set -euo pipefail
cd "$(dirname "$0")/.."

store=$PWD/target/containers
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
buildah() { command buildah --root "$store/images" --runroot "$store/run" "$@"; }

# Imports a base image under a name, from the archive of scripts/package/base-root.sh and more folders.
import() { # import NAME [SOURCE DESTINATION]...
    local name=$1 archive container
    shift
    buildah inspect --type image "$name" >/dev/null 2>&1 && return
    archive=$(scripts/package/base-root.sh)
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$archive" / >/dev/null
    while [ $# -gt 0 ]; do
        buildah add --quiet "$container" "$1" "$2" >/dev/null
        shift 2
    done
    buildah config --env PATH=/usr/local/rust/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$name" >/dev/null
}

# How this machine reaches package registries: files, read-only, and variables; for what runs, not in images.
declare -a reach=()
cargo_config=${CARGO_HOME:-$HOME/.cargo}/config.toml
for path in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf "${PIP_FIND_LINKS:-}"; do
    [[ $path != /* || ! -e $path ]] || reach+=(--volume "$path:$path:ro")
done
[ ! -e "$cargo_config" ] || reach+=(--volume "$cargo_config:/root/.cargo/config.toml:ro")
while IFS= read -r name; do
    reach+=(--env "$name=${!name}")
done < <(compgen -e | grep -E '^(PIP_|CARGO_(HTTP|NET|REGISTRIES|REGISTRY|SOURCE)|(HTTPS?|NO|ALL)_PROXY$|https?_proxy$|no_proxy$|SSL_CERT_)' || true)

# Runs a command in a new container of an image, that may mount by FUSE, and removes the container.
run() { # run IMAGE [OPTION]... -- COMMAND...
    local container options=() status=0
    container=$(buildah from "$1")
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    buildah run --cap-add CAP_SYS_ADMIN,CAP_MKNOD,CAP_NET_ADMIN --volume /dev/fuse:/dev/fuse "${options[@]}" "$container" "$@" || status=$?
    buildah rm "$container" >/dev/null
    return $status
}

case ${1:-} in
    product)
        deb=$(ls -t target/packages/mount-s3_*.deb | head -1)
        base=${BASE:-localhost/debian:bookworm}
        [ -n "${BASE:-}" ] || import "$base"
        buildah bud --layers=false --build-arg BASE="$base" --build-arg DEB="${deb##*/}" \
            --tag localhost/mount-s3 --file packaging/container/Containerfile target/packages
        buildah images localhost/mount-s3
        ;;
    ci)
        base=${BASE:-localhost/rust:bookworm}
        [ -n "${BASE:-}" ] || {
            rust=$(rustc --print sysroot)
            # Not its books: licences.py reads what is beside them.
            import "$base" "$rust/bin" /usr/local/rust/bin "$rust/lib" /usr/local/rust/lib \
                "$rust/share/doc/rust/licenses" /usr/local/rust/share/doc/rust/licenses \
                "$rust/share/doc/rust/COPYRIGHT-library.html" /usr/local/rust/share/doc/rust/
        }
        buildah bud --layers=false --build-arg BASE="$base" \
            --tag localhost/mount-s3-ci --file .ci/container/Containerfile scripts
        buildah images localhost/mount-s3-ci
        ;;
    run)
        shift
        [ $# -gt 0 ] || set -- .ci/run
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        git clone --quiet . "$work/mount-s3"
        mkdir -p target/packages
        run localhost/mount-s3-ci "${reach[@]}" --volume "$work/mount-s3:/work" \
            --volume "$PWD/target/packages:/work/target/packages" --workingdir /work -- "$@"
        ;;
    try)
        shift
        run localhost/mount-s3 -- "$@"
        ;;
    remove)
        buildah rm --all >/dev/null
        buildah rmi --all --force >/dev/null
        rm -rf "$store"
        ;;
    *)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
