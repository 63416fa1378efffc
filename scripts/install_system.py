"""Clean systems in directories, for the scripts that install packages into them."""

import os
import re
import subprocess
from pathlib import Path

from mounts import ACCESS_KEY, SECRET_KEY, Wrong

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# What a mount has to know of the server of the tests.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def output_of(*command, **more) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Wrong(f"{' '.join(map(str, command))}: status {done.returncode}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


class System:
    """A clean system in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        archive = output_of(ROOT / "scripts/package/base-root.sh").strip()
        output_of("tar", "--extract", "--numeric-owner", "--directory", directory, "--file", ROOT / archive)
        output_of("mount", "-t", "proc", "proc", directory / "proc")
        # As systems have it, for all users; the one of this machine may be for root alone.
        fuse = os.stat("/dev/fuse")
        os.mknod(directory / "dev/fuse", fuse.st_mode, fuse.st_rdev)
        os.chmod(directory / "dev/fuse", 0o666)
        # Made by the installation of a whole system; fusermount3 reads it.
        (directory / "etc/mtab").symlink_to("/proc/self/mounts")
        # apt asks the same name servers as this machine.
        (directory / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())

    def run(self, *command: str, user: int = 0) -> str:
        environment = {**ENVIRONMENT, **CREDENTIALS, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/"}
        entered = ["chroot", f"--userspec={user}:{user}", self.directory, *command]
        return output_of(*entered, env=environment)

    def apt_get(self, *words: str) -> None:
        self.run("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends", "-y", *words)

    def files(self) -> set[str]:
        """All files, but for what package managers and the kernel keep."""
        kept = re.compile(r"(proc|sys|dev|run|tmp|mnt|var/(cache|log|lib))(/|$)")
        found = set()
        for path, directories, files in os.walk(self.directory):
            names = {os.path.relpath(os.path.join(path, name), self.directory) for name in (*directories, *files)}
            found |= {name for name in names if not kept.match(name)}
            below = os.path.relpath(path, self.directory)
            directories[:] = [one for one in directories if not kept.match(os.path.normpath(f"{below}/{one}"))]
        return found
