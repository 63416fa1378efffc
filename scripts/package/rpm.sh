#!/usr/bin/env bash
# target/packages/mount-s3-VERSION-1.MACHINE.rpm, checked by rpmlint. Run stage.sh first.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/package/names

root=$PWD/target/package/rpm
top=$PWD/target/package/rpmbuild
scripts/package/root.sh "$root" usr/share/zsh/site-functions
rm -rf "$top"
SOURCE_DATE_EPOCH=$EPOCH rpmbuild -bb --quiet --target "$MACHINE" \
    --define "_topdir $top" --define "_rpmdir $top/out" --define '_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm' \
    --define 'clamp_mtime_to_source_date_epoch 1' --define '_binary_payload w19.zstdio' \
    --define "tree $root" --define "package_version $VERSION" --define "maintainer $MAINTAINER" \
    --define "date $(LC_ALL=C date -u -d "@$EPOCH" '+%a %b %d %Y')" packaging/rpm/mount-s3.spec

package=target/packages/mount-s3-$VERSION-1.$MACHINE.rpm
mv "$top/out/${package##*/}" "$package"
rpmlint --config packaging/rpm/rpmlint.toml "$package"
ls -l "$package"
