#!/usr/bin/env bash
# Installs the programs of scripts/requirements.txt into target/tools (a Python virtual environment).
# Does nothing when they are there in the pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools
if ! cmp -s scripts/requirements.txt $tools/installed.txt; then
    rm -rf $tools
    python3 -m venv $tools
    $tools/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt
    cp scripts/requirements.txt $tools/installed.txt
fi
