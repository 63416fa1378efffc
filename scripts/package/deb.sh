#!/usr/bin/env bash
# target/packages/mount-s3_VERSION_ARCHITECTURE.deb, checked by lintian. Run stage.sh first.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/package/names

work=target/package/deb
root=$work/debian/mount-s3
scripts/package/root.sh "$root" usr/share/zsh/vendor-completions
doc=$root/usr/share/doc/mount-s3
install -m 644 packaging/debian/copyright "$doc/copyright"
install -Dm 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/mount-s3"
gzip -9n >"$doc/changelog.gz" <<END
mount-s3 ($VERSION) unstable; urgency=medium

  * See CHANGELOG.md in this folder.

 -- $MAINTAINER  $(LC_ALL=C date -u -R -d "@$EPOCH")
END

# The C library's version, from the symbols that the binary needs.
mkdir -p "$root/DEBIAN"
printf 'Source: mount-s3\n\nPackage: mount-s3\nArchitecture: any\n' >$work/debian/control
depends=$(cd $work && dpkg-shlibdeps -O debian/mount-s3/opt/mount-s3/bin/mount-s3 | sed -n 's/^shlibs:Depends=//p')

architecture=$(dpkg --print-architecture)
size=$(du --apparent-size -sk --exclude=DEBIAN "$root" | cut -f1)
sed -e "s|@VERSION@|$VERSION|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@MAINTAINER@|$MAINTAINER|" \
    -e "s|@SIZE@|$size|" -e "s|@DEPENDS@|$depends|" packaging/debian/control.in >"$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)

package=target/packages/mount-s3_${VERSION}_$architecture.deb
SOURCE_DATE_EPOCH=$EPOCH dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
lintian --allow-root --fail-on error "$package"
ls -l "$package"
