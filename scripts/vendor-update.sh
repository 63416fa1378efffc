#!/bin/sh
# Moves the pin of the C sources to another version, builds them and tests the bindings.
#
# usage: scripts/vendor-update.sh NEWVERSION
set -eu
version=${1:?usage: scripts/vendor-update.sh NEWVERSION}
cd "$(dirname "$0")/.."

sed -i "s/^mountpoint-s3-crt-sys = \"=.*\"/mountpoint-s3-crt-sys = \"=$version\"/" vendor/Cargo.toml
# Moves this package and what it forces to move, and records the checksum.
cargo update --manifest-path vendor/Cargo.toml -p mountpoint-s3-crt-sys
cargo fetch --locked --manifest-path vendor/Cargo.toml
cargo test -p crt-sys
git --no-pager diff --stat -- vendor
