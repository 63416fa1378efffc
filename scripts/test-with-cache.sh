#!/usr/bin/env bash
# The tests on real mounts once more, with a cache on the disk under all of them: what programs see does
# not change, whatever the store does. Arguments go to the test binary.
set -euo pipefail
cd "$(dirname "$0")/.."

# These count requests, bytes or memory, which a cache is there to change.
differ=(
    cold_small_files_cost_one_get_each_and_a_list_a_page
    jitter_costs_no_more_than_a_per_cent_and_a_part
    random_reads_fetch_about_what_they_ask_for
    stalled_part_is_asked_for_again_and_nothing_else_is
)
# These have caches of their own, and ran before.
own=(cache_commands:: caching:: crashing:: passthrough:: sharing::)

skip=()
for name in "${differ[@]}" "${own[@]}"; do
    skip+=(--skip "$name")
done
MOUNT_S3_TESTS_WITH_CACHE=1 cargo test --locked -p mount-s3 --test fuse -- "${skip[@]}" "$@"
