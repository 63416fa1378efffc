#!/usr/bin/env bash
# Makes the file tree of the deb and the rpm from what stage.sh has laid out.
# Usage: root.sh DIRECTORY ZSH-FUNCTIONS-FOLDER   (the latter differs between distributions)
set -euo pipefail
cd "$(dirname "$0")/../.."

opt=target/package/opt
root=$1
rm -rf "$root"
mkdir -p "$root"/opt/mount-s3/bin "$root"/usr/{bin,sbin} "$root"/usr/share/{man/man{1,8},doc/mount-s3/systemd}

install -m 755 $opt/bin/mount-s3 "$root/opt/mount-s3/bin/"
install -m 644 $opt/{LICENSE,THIRD_PARTY_LICENSES,VERSION} "$root/opt/mount-s3/"
ln -s /opt/mount-s3/bin/mount-s3 "$root/usr/bin/mount-s3"
ln -s /opt/mount-s3/bin/mount-s3 "$root/usr/sbin/mount.mount-s3"

for page in $opt/share/man/man1/*.1; do
    gzip -9n <"$page" >"$root/usr/share/man/man1/${page##*/}.gz"
done
ln -s ../man1/mount-s3.1.gz "$root/usr/share/man/man8/mount.mount-s3.8.gz"
install -Dm 644 $opt/share/completions/mount-s3.bash "$root/usr/share/bash-completion/completions/mount-s3"
install -Dm 644 $opt/share/completions/_mount-s3 "$root/$2/_mount-s3"
install -Dm 644 $opt/share/completions/mount-s3.fish "$root/usr/share/fish/vendor_completions.d/mount-s3.fish"

# Templates are units whose instances name a mount; the other files are examples to copy.
install -Dm 644 -t "$root/usr/lib/systemd/system" $opt/share/systemd/*@.service
install -m 644 $opt/share/systemd/* "$root/usr/share/doc/mount-s3/systemd/"
rm "$root"/usr/share/doc/mount-s3/systemd/*@.service
install -m 644 $opt/share/doc/* "$root/usr/share/doc/mount-s3/"
chmod -R u=rwX,go=rX "$root"
