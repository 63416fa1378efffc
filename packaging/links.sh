#!/bin/sh
# Links what this folder holds to where programs look for it; for the archive, as packages bring the links.
# Usage, as root: links.sh            makes the links
#                 links.sh --remove   removes them; the folder itself can then be deleted
# DESTDIR, if set, is the root of the system.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

link() { # link TARGET-IN-THIS-FOLDER NAME
    target=$here/$1
    name=${DESTDIR:-}$2
    if [ "$action" = remove ]; then
        # Only what leads here: the name may have become somebody else's.
        if [ "$(readlink "$name")" = "$target" ]; then rm "$name"; fi
        return
    fi
    if [ -e "$name" ] && [ "$(readlink "$name")" != "$target" ]; then
        echo "error: $name is there and is not a link to $target: remove what it belongs to first" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$name")"
    ln -sf "$target" "$name"
}

case ${1:-} in
    '') action=link ;;
    --remove) action=remove ;;
    *) echo "usage: links.sh [--remove]" >&2; exit 2 ;;
esac

link bin/mount-s3 /usr/bin/mount-s3
link bin/mount-s3 /usr/sbin/mount.mount-s3
for page in "$here"/share/man/man[18]/*; do
    link "${page#"$here"/}" "/usr/share/man/${page#"$here"/share/man/}"
done
link share/completions/mount-s3.bash /usr/share/bash-completion/completions/mount-s3
link share/completions/_mount-s3 /usr/share/zsh/site-functions/_mount-s3
link share/completions/mount-s3.fish /usr/share/fish/vendor_completions.d/mount-s3.fish
