#!/usr/bin/env bash
# target/packages/mount-s3-VERSION-MACHINE.tar.gz: the contents of /opt/mount-s3. Run stage.sh first.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/package/names

archive=target/packages/mount-s3-$VERSION-$MACHINE.tar.gz
tar --create --directory target/package/opt --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner \
    --format=gnu . | gzip -9n >"$archive"
cp target/package/mount-s3.debug "target/packages/mount-s3-$VERSION-$MACHINE.debug"
ls -l "$archive"
