#!/usr/bin/env bash
# Builds the binary that packages hold, and prints its path. Neither it nor its debug information names a
# folder of this machine. PACKAGE_BINARY=FILE takes a binary that is there, to try the packages out.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -n "${PACKAGE_BINARY:-}" ]; then
    realpath -e "$PACKAGE_BINARY"
    exit
fi
root=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# A folder of its own: other flags than those of `cargo build` would rebuild everything each time.
export CARGO_TARGET_DIR=$root/target/dist
# The folders of registries are known, by names that tell where crates come from, once something is in them.
cargo fetch --locked >&2
export RUSTFLAGS="--remap-path-prefix=$root=/mount-s3"
for registry in "$cargo_home"/registry/src/*/; do
    [ -d "$registry" ] && RUSTFLAGS+=" --remap-path-prefix=${registry%/}=/crates"
done
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$root=/mount-s3"
cargo build --release --locked -p mount-s3 >&2
echo "$CARGO_TARGET_DIR/release/mount-s3"
