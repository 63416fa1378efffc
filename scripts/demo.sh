#!/usr/bin/env bash
# A bucket on this machine, mounted, read and verified; leaves nothing behind.
# Usage: make demo (YES=1: install missing system packages without asking)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

scripts/setup.sh
say "Building (the first build compiles the AWS Common Runtime: a few minutes)"
cargo build --release --locked -p mount-s3 -p s3-test-server
bin=${CARGO_TARGET_DIR:-target}/release

work=$(mktemp -d)
mkdir "$work/mnt"
server= daemon=
cleanup() {
    if mountpoint -q "$work/mnt"; then umount "$work/mnt" 2>/dev/null || fusermount3 -u "$work/mnt" || true; fi
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; }
    rmdir "$work/mnt" && rm -rf "$work"
}
trap cleanup EXIT

say "Starting an S3 server on this machine: one object of 4 GiB, a tree of 2,000 small ones"
"$bin/s3-test-server" --bucket demo >"$work/server.json" &
server=$!
for _ in $(seq 100); do [ -s "$work/server.json" ] && break; sleep 0.1; done
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/server.json" "$1"; }
endpoint=http://$(field addr) control=http://$(field control)
call() { curl --silent --show-error --fail --output /dev/null --request "$1" --data "$3" "$control$2"; }
call PUT /object '{"bucket": "demo", "key": "model.safetensors", "size": 4294967296, "seed": 1}'
for class in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19; do
    call PUT /objects "{\"bucket\": \"demo\", \"key\": \"images/class-$class/{i:05}.jpg\", \"count\": 100, \"size\": 100000, \"seed\": 1${class}000}"
done
curl --silent --show-error --fail --output "$work/manifest" "$control/manifest/demo"

say "Mounting it: mount-s3 demo $work/mnt"
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true \
    "$bin/mount-s3" demo "$work/mnt" --endpoint-url "$endpoint" --force-path-style --region us-east-1 \
    --read-only --foreground >"$work/mounted" &
daemon=$!
for _ in $(seq 100); do
    grep -q 'is mounted at' "$work/mounted" && break
    kill -0 $daemon 2>/dev/null || { echo "error: mount-s3 ended" >&2; exit 1; }
    sleep 0.1
done
cat "$work/mounted"

say "ls"
ls -lh "$work/mnt"
ls "$work/mnt/images" | head -5
echo "... $(find "$work/mnt" -type f | wc -l) files in all"

say "Reading everything, verifying every SHA-256"
python3 scripts/read_and_verify.py "$work/mnt" "$work/manifest"

say "The large object once more, as fast as it goes (dd, page cache dropped as it fills)"
dd if="$work/mnt/model.safetensors" of=/dev/null bs=1M iflag=nocache 2>&1 | tail -1

say "Unmounting"
trap - EXIT
cleanup
echo "Nothing is left behind. Your own bucket, with your usual AWS credentials:"
echo
echo "    $bin/mount-s3 YOUR-BUCKET YOUR-DIRECTORY"
