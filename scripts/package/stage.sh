#!/usr/bin/env bash
# Lays out, under target/package, what every package holds:
#   opt/               the contents of /opt/mount-s3: binary, licences, version, and share/ with what belongs to it
#   mount-s3.debug     the debug information of the binary
#   names              lines NAME=VALUE for the scripts that make the packages
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(scripts/package/binary.sh)
work=target/package
opt=$work/opt
rm -rf "$work"
mkdir -p "$opt"/{bin,share/doc,share/man/man{1,8},share/completions,share/systemd} target/packages

# build.rs's version: that of Cargo.toml, and the revision if there is one. Revisions have no order, but
# packages need one: the time of the commit comes before it.
built=$("$binary" --version | cut -d' ' -f2)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
version=$built
if [[ $built == *+* ]]; then
    version=${built%%+*}+$(date -u -d "@$epoch" +%Y%m%d%H%M%S).${built#*+}
fi

# Debuggers and backtraces find the debug information by the link, or by the build id.
objcopy --only-keep-debug --compress-debug-sections "$binary" "$work/mount-s3.debug"
strip --strip-all --remove-section=.comment -o "$opt/bin/mount-s3" "$binary"
objcopy --add-gnu-debuglink="$work/mount-s3.debug" "$opt/bin/mount-s3"

"$binary" generate man "$opt/share/man/man1"
ln -s ../man1/mount-s3.1 "$opt/share/man/man8/mount.mount-s3.8"
"$binary" generate completions "$opt/share/completions"
install -m 644 packaging/systemd/* "$opt/share/systemd/"
install -m 644 README.md CHANGELOG.md docs/*.md "$opt/share/doc/"
install -m 644 LICENSE "$opt/LICENSE"
scripts/package/licences.py "$opt/THIRD_PARTY_LICENSES"
echo "$built" >"$opt/VERSION"
install -m 755 packaging/links.sh "$opt/links.sh"
chmod -R u=rwX,go=rX "$opt"

cat >"$work/names" <<END
VERSION=$version
EPOCH=$epoch
MACHINE=$(uname -m)
MAINTAINER='${PACKAGE_MAINTAINER:-mount-s3 maintainers <maintainers@mount-s3.invalid>}'
END
