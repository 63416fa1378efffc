"""A clean system that runs: its own systemd, as the first process of namespaces of its own."""

import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from install_system import ENVIRONMENT, output_of
from mounts import LONG, Wrong

# The device by which systemd mounts when somebody looks, as the kernel's list of devices numbers it.
AUTOFS = os.makedev(10, 235)

# Becomes the systemd in the directory "$0". What the kernel has only once is not touched: the settings of
# sysctl(8), and the nodes of devtmpfs, which systemd would mount if /dev were no mount.
BOOT = """
set -e
cd "$0"
mount --bind . .
cd "$0"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind dev dev
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
pivot_root . mnt
umount --lazy /mnt
exec env -i container=install-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""

# Something brings the network up, which everywhere is after the system's own file systems: mounts that wait for the
# network never start beside those. Nothing of this kernel's log, and no logins at the terminals of this machine.
SETTINGS = {
    "system/network.service": "[Unit]\nBefore=network-online.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "journald.conf.d/test.conf": "[Journal]\nReadKMsg=no\nAudit=no\n",
}
LINKS = {
    "system/network-online.target.wants/network.service": "../network.service",
    "system/getty.target": "/dev/null",
}


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not holds():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {LONG} s")
        time.sleep(0.05)


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Booted:
    """The system in `directory`, up. It shares this process's network."""

    def __init__(self, directory: Path) -> None:
        for name, text in SETTINGS.items():
            path = directory / "etc/systemd" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
        for name, target in LINKS.items():
            path = directory / "etc/systemd" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        (directory / "dev/console").unlink(missing_ok=True)
        os.mknod(directory / "dev/autofs", stat.S_IFCHR | 0o600, AUTOFS)
        self.groups = tempfile.TemporaryDirectory(prefix="install-test-cgroup-")
        output_of("mount", "-t", "cgroup2", "cgroup2", self.groups.name)
        self.group = Path(self.groups.name) / f"mount-s3-install-test-{os.getpid()}"
        self.group.mkdir()
        enter = f'echo $$ >"{self.group}/cgroup.procs" && exec "$@"'
        # It ends with this process, however that ends.
        spaces = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child"]
        command = ["sh", "-c", enter, "sh", *spaces, "sh", "-c", BOOT, str(directory)]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        try:
            self.init = self._wait()
        except Wrong:
            self.destroy()
            raise

    def _wait(self) -> int:
        """The process of its systemd, once all that it starts by itself was started or has failed."""
        init, state = 0, ""

        def is_up() -> bool:
            nonlocal init, state
            if self.process.poll() is not None:
                self.errors.seek(0)
                raise Wrong(f"systemd does not start: {self.errors.read().decode().strip()}")
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
            if not children:
                return False
            init = int(children)
            # Before, it has this machine's root, and systemctl would ask the systemd of that.
            if name_of(init) != "systemd":
                return False
            state = self._enter(init, "systemctl", "is-system-running").stdout.strip()
            return state in ("running", "degraded")

        try:
            wait_until("systemd is up", is_up)
        except Wrong as wrong:
            waits = self._enter(init, "systemctl", "--no-pager", "list-jobs").stdout
            raise Wrong(f"{wrong}: it is {state!r}, and waits for\n{waits}") from None
        return init

    def _enter(self, init: int, *command: str, environment: dict[str, str] | None = None):
        entered = ["nsenter", "--target", str(init), "--mount", "--pid", "--cgroup", "--root", "--wd=/", *command]
        more = {"env": {**ENVIRONMENT, **(environment or {})}, "stdin": subprocess.DEVNULL}
        return subprocess.run(entered, capture_output=True, text=True, check=False, **more)

    def run(self, *command: str, status: int | None = 0, environment: dict[str, str] | None = None) -> str:
        """What the command prints; it must end with this status, or with another than 0 for None."""
        done = self._enter(self.init, *command, environment=environment)
        if done.returncode != status and (status is not None or done.returncode == 0):
            raise Wrong(f"{' '.join(command)}: status {done.returncode}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self, *words: str) -> str:
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--quiet", "--no-pager", "--output=cat", *words)

    def mounts(self, directory: str) -> int:
        """How many file systems of FUSE are mounted there."""
        table = Path(f"/proc/{self.init}/mounts").read_text(encoding="utf-8")
        return sum(line.split()[1:3] == [directory, "fuse"] for line in table.splitlines())

    def processes(self, unit: str) -> list[str]:
        """The numbers of the processes of a unit of the system."""
        group = Path(f"/proc/{self.init}/root/sys/fs/cgroup/system.slice/{unit}/cgroup.procs")
        try:
            return group.read_text(encoding="ascii").split()
        except OSError:
            # The group is gone with the last of them.
            return []

    def power_off(self) -> None:
        """As an administrator does it."""
        # The system may be gone, and this with it, before it has said that it will.
        asked = self._enter(self.init, "systemctl", "poweroff")
        try:
            self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the system does not power off within {LONG} s: {asked.stderr.strip()}") from None

    def destroy(self) -> None:
        """Leaves nothing behind, whatever state it is in."""
        if self.process.poll() is None:
            # Its systemd is killed with it, and everything else with that.
            self.process.kill()
            self.process.wait()
        self.errors.close()
        wait_until("the processes of the system end", lambda: not self._remove_groups())
        output_of("umount", self.groups.name)
        self.groups.cleanup()

    def _remove_groups(self) -> bool:
        """Whether some are left."""
        for path, _, _ in os.walk(self.group, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                return True
        return False
