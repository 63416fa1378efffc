#!/bin/sh
# Runs the tests of the CRT layer under AddressSanitizer and LeakSanitizer: C and Rust code both
# instrumented, in a target folder of its own (target-asan). First proves, with planted bugs, that the
# sanitizers would report what they are to look for.
#
# usage: scripts/asan.sh [ARGUMENT OF THE TEST BINARIES...]
set -eu
cd "$(dirname "$0")/.."

target=$(rustc --print host-tuple)
export AWS_CRT_PROFILE=asan
# -Zsanitizer is not stable; this is how a stable compiler takes it. The runtime comes with it.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes"
export CARGO_TARGET_DIR=target-asan
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export RUST_BACKTRACE=0

say() { printf '%s\n' "asan: $*"; }

# expect NAME TEXT: the planted bug NAME must end the program with a report that has TEXT.
expect() {
    if report=$("target-asan/$target/debug/examples/tripwire" "$1" 2>&1); then
        say "the planted $1 was not reported: this run would prove nothing"
        exit 1
    fi
    case $report in
    *"$2"*) say "planted $1: reported" ;;
    *)
        printf '%s\n' "$report"
        say "the planted $1 failed in another way than by \"$2\""
        exit 1
        ;;
    esac
}

# --target keeps build scripts and macros, which are for the host, free of the sanitizer.
cargo build --quiet --target "$target" -p crt-sys --features tripwire --example tripwire
expect use-after-free "AddressSanitizer: heap-use-after-free"
expect leak "LeakSanitizer: detected memory leaks"
"target-asan/$target/debug/examples/tripwire" none
say "no planted bug: nothing reported"

cargo test --target "$target" -p crt-sys --test abi -- "$@"
if [ -e tests/crt ] || [ -e tests/crt.rs ]; then
    cargo test --target "$target" -p mount-s3 --test crt -- "$@"
fi
say "clean"
