#!/usr/bin/env bash
# The benchmark at a bucket of S3, from the instance's side: builds, then measures.
# Usage: run.sh BUCKET REGION [option of bench.py]...
set -euo pipefail
cd "$(dirname "$0")/../../.."
bucket=${1:?usage: run.sh BUCKET REGION [option]...}
region=${2:?usage: run.sh BUCKET REGION [option]...}
shift 2
scripts/setup.sh
scripts/tools.sh
scripts/bench/setup.sh
# As root, for the page cache is dropped before each run.
sudo --preserve-env=AWS_PROFILE,PEER_MOUNTPOINT python3 scripts/bench/bench.py \
    --bucket "$bucket" --region "$region" --seconds 15 --rounds 5 "$@"
