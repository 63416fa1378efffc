#!/usr/bin/env bash
# Installs the programs of scripts/requirements.txt into target/tools (a Python virtual environment).
# Does nothing when they are there in the pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools
if ! cmp -s scripts/requirements.txt $tools/installed.txt; then
    rm -rf $tools
    python3 -m venv $tools
    # pip tries again to connect, but not if a download is cut off.
    for try in 1 2 3; do
        $tools/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt && break
        [ $try -lt 3 ]
    done
    cp scripts/requirements.txt $tools/installed.txt
fi
