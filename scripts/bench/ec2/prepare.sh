#!/usr/bin/env bash
# Fills a bucket with the objects that the benchmark reads. About 365 GiB: see README.md for the price.
# Usage: prepare.sh BUCKET
set -euo pipefail
bucket=${1:?usage: prepare.sh BUCKET}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

put() { # put KEY MIB: pseudo-random bytes, made faster than /dev/urandom makes them
    local bytes=$(($2 * 1048576))
    head -c "$bytes" /dev/zero | openssl enc -aes-128-ctr -pass "pass:$1" -nosalt -pbkdf2 |
        aws s3 cp --only-show-errors --expected-size "$bytes" - "s3://$bucket/$1"
}
fill() { # fill FOLDER COUNT KIB WIDTH: many small files, made here and sent together
    mkdir -p "$work/$1"
    for ((i = 0; i < $2; i++)); do
        head -c "$(($3 * 1024))" /dev/urandom >"$work/$1/$(printf "%0$4d" "$i").bin"
    done
    aws s3 sync --only-show-errors "$work/$1" "s3://$bucket/$1"
}
aws configure set default.s3.max_concurrent_requests 64
put huge.bin 102400
put large.bin 4096
put middle.bin 1024
for i in $(seq -w 00 63); do put "streams/$i.bin" 4096; done
for i in $(seq -w 00 15); do put "shards/$i.bin" 256; done
fill small 200 5120 4
fill tiny 2000 100 4
for ((d = 0; d < 20; d++)); do
    folder=$(printf 'names/d%02d' "$d")
    mkdir -p "$work/$folder"
    for ((i = d * 1000; i < (d + 1) * 1000; i++)); do printf '0123456789' >"$work/$folder/$(printf '%05d' "$i")"; done
done
aws s3 sync --only-show-errors "$work/names" "s3://$bucket/names"
