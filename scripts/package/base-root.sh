#!/usr/bin/env bash
# target/roots/bookworm.tar: the smallest Debian 12, from this machine's own Debian mirror. Made once; prints
# its path. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

archive=target/roots/bookworm.tar
if [ ! -e $archive ]; then
    mkdir -p target/roots
    mirror=
    if command -v apt-get >/dev/null; then
        # Of Debian's main archive, not of its updates or of other publishers.
        mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' |
            awk '$2 == "Debian" && $3 == "Debian" && !found { print $1; found = 1 }')
    fi
    root=$(mktemp -d target/roots/new.XXXXXX)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >&2
    # What apt has to know to get through from here: settings, certificates of a proxy.
    cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/resolv.conf
    chmod 755 "$root"
    tar --create --directory "$root" --numeric-owner --one-file-system --file $archive.part .
    mv $archive.part $archive
fi
echo $archive
