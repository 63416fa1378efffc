#!/usr/bin/env python3
"""Installs the packages of target/packages into clean systems, uses them there, and removes them.

Usage, as root: install-test.py [deb] [rpm] [tarball] [container]   (default: the first three)

A clean system is Debian 12's smallest (scripts/package/base-root.sh), entered by chroot in a mount namespace of its
own. The S3 server runs outside. After the deb is installed, systemd is started there (install_boot.py) and mounts by
units and by /etc/fstab (install_systemd.py). The rpm is installed by this machine's rpm into such a system, as its
dependencies are other names for what Debian has: each is looked for there by hand. The container is the image that
scripts/container.sh product has made. Exits 0 if all held, else 1 with the reason.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from install_system import ROOT, System, output_of
from mounts import ACCESS_KEY, LONG, SECRET_KEY, Server, Wrong

PACKAGES = ROOT / "target" / "packages"
BINARIES = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
BUCKET, SIZE = "install-test", 3 << 20
NOBODY = 65534
# What the packages depend on besides libraries.
DEPENDENCIES = ("ca-certificates", "fuse3")
INSTALLED = (
    "opt/mount-s3/bin/mount-s3", "opt/mount-s3/LICENSE", "opt/mount-s3/THIRD_PARTY_LICENSES", "opt/mount-s3/VERSION",
    "usr/bin/mount-s3", "usr/sbin/mount.mount-s3",
)  # fmt: skip
COMPLETIONS = ("usr/share/bash-completion/completions/mount-s3", "usr/share/fish/vendor_completions.d/mount-s3.fish")


def package(pattern: str) -> Path:
    """The newest file of that name."""
    found = sorted(PACKAGES.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Wrong(f"no {pattern} in {PACKAGES}: make it first")
    return found[-1]


def install_deb(system: System) -> None:
    target = system.directory / "tmp/mount-s3.deb"
    target.write_bytes(package("*.deb").read_bytes())
    # apt installs what the package depends on, or fails.
    system.apt_get("install", "/tmp/mount-s3.deb")


def remove_deb(system: System) -> None:
    system.apt_get("purge", "mount-s3")


def rpm(system: System, *words) -> str:
    return output_of("rpm", "--root", system.directory, "--dbpath", "/var/lib/rpm", *words)


def install_rpm(system: System) -> None:
    file = package("*.rpm")
    for requirement in output_of("rpm", "-qp", "--requires", file).split("\n"):
        check_requirement(system, requirement.strip())
    rpm(system, "--initdb")
    # The dependencies were looked for above: rpm knows none of Debian's packages.
    rpm(system, "--install", "--nodeps", file)
    rpm(system, "--verify", "--nodeps", "mount-s3")


def remove_rpm(system: System) -> None:
    rpm(system, "--erase", "mount-s3")


def check_requirement(system: System, requirement: str) -> None:
    """Looks in the system for what the rpm requires: a package, or a version of a library."""
    library = re.fullmatch(r"([\w.+-]+\.so\.\d+)\(([\w.]*)\)(\(64bit\))?", requirement)
    if not requirement or requirement.startswith(("rpmlib(", "rtld(")):
        return
    if library:
        paths = [path for path in (system.directory / "usr").rglob(library[1])]
        if not paths or library[2] not in output_of("objdump", "-p", paths[0]):
            raise Wrong(f"the rpm requires {requirement}, which Debian 12 lacks")
    elif requirement in DEPENDENCIES:
        system.run("dpkg-query", "--status", requirement)
    else:
        raise Wrong(f"the rpm requires {requirement}, which nobody has looked for")


def install_tarball(system: System) -> None:
    place = system.directory / "opt/mount-s3"
    place.mkdir(parents=True)
    output_of("tar", "--extract", "--directory", place, "--file", package("*.tar.gz"))
    system.run("/opt/mount-s3/links.sh")


def remove_tarball(system: System) -> None:
    system.run("/opt/mount-s3/links.sh", "--remove")
    system.run("rm", "-r", "/opt/mount-s3")
    # Folders that the links needed and that a package manager would have removed with them.
    for folder in ("bash-completion", "fish", "zsh"):
        system.run("find", f"/usr/share/{folder}", "-depth", "-type", "d", "-empty", "-delete")


KINDS = {
    "deb": (install_deb, remove_deb),
    "rpm": (install_rpm, remove_rpm),
    "tarball": (install_tarball, remove_tarball),
}


def check_installed(system: System, kind: str) -> None:
    pages = [f"usr/share/man/man1/mount-s3.1{'' if kind == 'tarball' else '.gz'}"]
    pages.append(pages[0].replace("man1/mount-s3.1", "man8/mount.mount-s3.8"))
    # Of zsh's two folders, Debian's own programs use the first.
    zsh = f"usr/share/zsh/{'vendor-completions' if kind == 'deb' else 'site-functions'}/_mount-s3"
    for name in (*INSTALLED, *pages, *COMPLETIONS, zsh):
        if not system.run("readlink", "-e", f"/{name}"):
            raise Wrong(f"{name} was not installed")
    pager = "cat" if kind == "tarball" else "zcat"
    if ".TH" not in system.run(pager, f"/{pages[1]}"):
        raise Wrong(f"{pages[1]} is no manual page")
    version = system.run("mount-s3", "--version").split()[1]
    if version != system.run("cat", "/opt/mount-s3/VERSION").strip():
        raise Wrong(f"VERSION is not {version}")


def check_mounts(system: System, server: Server) -> None:
    """A mount of each kind that a package has to make possible, and a file read through it."""
    options = ["--endpoint-url", server.endpoint, "--force-path-style", "--region", "us-east-1"]
    as_fstab = f"_netdev,nosuid,nodev,ro,endpoint-url={server.endpoint},force-path-style,region=us-east-1"
    ways = {
        "by root": (0, ["mount-s3", BUCKET, "/mnt", "--read-only", *options]),
        "by a user, through fusermount3": (NOBODY, ["mount-s3", BUCKET, "/mnt", *options]),
        "by mount(8), as for a line of /etc/fstab": (
            0, ["mount", "-t", "mount-s3", f"s3://{BUCKET}/", "/mnt", "-o", as_fstab],
        ),
    }
    for way, (user, command) in ways.items():
        os.chown(system.directory / "mnt", user, user)
        system.run(*command, user=user)
        try:
            read = int(system.run("sh", "-c", "cat /mnt/folder/file | wc -c", user=user))
        finally:
            system.run(*(["umount"] if user == 0 else ["fusermount3", "-u"]), "/mnt", user=user)
        if read != SIZE:
            raise Wrong(f"mounted {way}: read {read} bytes instead of {SIZE}")
        wait_for_end(system)
        print(f"  mounted {way}: ok")


def check_systemd(system: System) -> set[str]:
    """In a network of its own, so that no systemd and no udev of this machine hears of it. Gives the files that an
    administrator of the system would have written."""
    system.apt_get("install", "systemd")
    before = system.files()
    spaces = ["unshare", "--net", "--uts", "--ipc"]
    script = ROOT / "scripts/install_systemd.py"
    if subprocess.run([*spaces, sys.executable, script, system.directory, BINARIES], check=False).returncode != 0:
        raise Wrong("mounting by systemd failed, as told above")
    return system.files() - before


def wait_for_end(system: System) -> None:
    """The daemon ends after the unmount."""
    deadline = time.monotonic() + LONG
    root = str(system.directory)
    while any(is_rooted(process, root) for process in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            raise Wrong(f"the daemon does not end within {LONG} s of the unmount")
        time.sleep(0.05)


def is_rooted(process: Path, root: str) -> bool:
    try:
        return os.readlink(process / "root") == root
    except OSError:
        return False


def check(kind: str, server: Server) -> None:
    began = time.monotonic()
    install, remove = KINDS[kind]
    with tempfile.TemporaryDirectory(prefix="install-test-") as directory:
        os.chmod(directory, 0o755)
        system = System(Path(directory))
        try:
            system.apt_get("update")
            if kind != "deb":
                system.apt_get("install", *DEPENDENCIES)
            before = system.files()
            print(f"{kind}:")
            install(system)
            check_installed(system, kind)
            check_mounts(system, server)
            written = check_systemd(system) if kind == "deb" else set()
            remove(system)
            left = {name for name in system.files() - before - written if kind != "deb" or "mount-s3" in name}
            if left:
                raise Wrong(f"{kind}: removing it leaves {sorted(left)}")
            print(f"  removed, nothing left; {time.monotonic() - began:.0f} s")
        finally:
            output_of("umount", system.directory / "proc")


def check_container(server: Server) -> None:
    """The image of the product mounts, in a container, and what it brings ends the mount."""
    options = f"--endpoint-url {server.endpoint} --force-path-style --region us-east-1 --no-log"
    script = f"""export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_EC2_METADATA_DISABLED=true
        mount-s3 {BUCKET} /mnt {options}
        grep -q ' /mnt fuse ' /proc/self/mounts && cat /mnt/folder/file; umount /mnt"""
    command = [ROOT / "scripts/container.sh", "try", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, check=False)
    # Beside the file, the line that the mount prints.
    if len(done.stdout) < SIZE or done.returncode != 0:
        raise Wrong(f"the container: status {done.returncode}, {len(done.stdout)} bytes: {done.stderr.decode()}")
    print("container:\n  mounted by root: ok")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("error: making clean systems and mounting in them needs root")
    if "--inside" not in sys.argv:
        # Nothing that is mounted here is seen outside, and all of it is gone at the end.
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv, "--inside"])
    kinds = [word for word in sys.argv[1:] if word != "--inside"] or list(KINDS)
    if unknown := [kind for kind in kinds if kind not in (*KINDS, "container")]:
        sys.exit(f"error: {unknown[0]}: not one of {', '.join(KINDS)}, container")
    server = Server(str(BINARIES), BUCKET)
    try:
        server.call("PUT", "/object", {"bucket": BUCKET, "key": "folder/file", "size": SIZE, "seed": 1})
        for kind in kinds:
            if kind == "container":
                check_container(server)
            else:
                check(kind, server)
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
    finally:
        server.end()


if __name__ == "__main__":
    main()
