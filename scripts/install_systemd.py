"""Mounts by the systemd of a clean system with mount-s3: units of the package, systemd-run, /etc/fstab.

Usage, as root, in a network of its own: install_systemd.py DIRECTORY BINARIES
"""

import sys
import urllib.request
from pathlib import Path

from install_boot import Booted, wait_until
from install_system import CREDENTIALS, output_of
from mounts import LONG, Server, Wrong

BUCKET, TEXT = "install-systemd", "of S3\n"
TEMPLATE = "mount-s3@{}.service"
# How long the server thinks about a list, which every mount begins with.
SLOW_MS = 1500


class Units:
    """The system, the server, and what both tests of it need."""

    def __init__(self, root: Path, server: Server) -> None:
        self.root, self.server = root, server
        self.fstab_options = f"endpoint-url={server.endpoint},force-path-style,region=us-east-1"
        self.lines: dict[str, str] = {}
        self.system: Booted

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    def directory(self, name: str) -> str:
        (self.root / "mnt" / name).mkdir(parents=True)
        return f"/mnt/{name}"

    def fstab(self, name: str, options: str, bucket: str = BUCKET) -> str:
        """A line that mounts at /mnt/NAME, and credentials for the unit that systemd makes of it."""
        variables = "".join(f"Environment={name}={value}\n" for name, value in CREDENTIALS.items())
        self.write(f"etc/systemd/system/mnt-{name}.mount.d/credentials.conf", f"[Mount]\n{variables}")
        options = f"_netdev,nosuid,nodev,{options},{self.fstab_options}"
        return f"s3://{bucket}/ {self.directory(name)} mount-s3 {options} 0 0\n"

    def write_fstab(self) -> None:
        self.write("etc/fstab", "".join(self.lines.values()))

    def instance(self, name: str, options: str = "", bucket: str = BUCKET) -> str:
        """The file that an instance of the package's template needs, and the name of the instance."""
        variables = "".join(f"{name}={value}\n" for name, value in CREDENTIALS.items())
        options = f"--endpoint-url {self.server.endpoint} --force-path-style --region us-east-1 {options}"
        text = f"BUCKET={bucket}\nDIRECTORY={self.directory(name)}\nOPTIONS={options}\n{variables}"
        self.write(f"etc/mount-s3/{name}.conf", text)
        return TEMPLATE.format(name)

    def set_model(self, **model) -> None:
        """How the server behaves; without anything, well."""
        self.server.call("PUT", "/model", model)

    def must_read(self, directory: str) -> None:
        read = self.system.run("cat", f"{directory}/folder/file")
        if read != TEXT:
            raise Wrong(f"{directory}: read {read!r} instead of {TEXT!r}")

    def must_be(self, unit: str, **properties: str) -> None:
        for name, value in properties.items():
            found = self.system.show(unit, name)
            if found != value:
                log = self.system.journal("--unit", unit)
                raise Wrong(f"{unit}: {name} is {found!r} instead of {value!r}; its journal:\n{log}")

    def must_say(self, unit: str, *texts: str) -> None:
        log = self.system.journal("--unit", unit)
        for text in texts:
            if text not in log:
                raise Wrong(f"the journal of {unit} lacks {text!r}:\n{log}")

    def must_stop(self, unit: str, directory: str) -> None:
        """Stopping it unmounts, and nothing of it is left."""
        self.system.run("systemctl", "stop", unit)
        if self.system.mounts(directory):
            raise Wrong(f"{directory} is mounted after {unit} was stopped")
        self.must_be(unit, ActiveState="inactive", Result="success")
        wait_until(f"the processes of {unit} have ended", lambda: not self.system.processes(unit))


def active_when_it_answers(at: Units) -> None:
    """A unit of the package is active when the mount answers, and what was written is stored when it has stopped."""
    unit, directory = at.instance("data", "--allow-delete"), "/mnt/data"
    at.set_model(list_ms=SLOW_MS)
    # systemd forgets how a process ended that has ended well.
    how = "[Service]\nExecStopPost=/bin/sh -c 'echo $$EXIT_CODE $$EXIT_STATUS >/run/how-it-ended'\n"
    at.write(f"etc/systemd/system/{unit}.d/end.conf", how)
    at.system.run("systemctl", "daemon-reload")
    at.system.run("systemctl", "start", unit)
    at.must_read(directory)
    at.set_model()
    # By systemd's own clock: who looks now and then may miss a state.
    began, active = (int(at.system.show(unit, f"{name}TimestampMonotonic")) for name in ("InactiveExit", "ActiveEnter"))
    if active - began < SLOW_MS * 1000:
        raise Wrong(f"{unit} was activating for {active - began} us only")
    at.must_be(unit, StatusText=f"bucket {BUCKET} is mounted at {directory}", Type="notify")
    at.system.run("sh", "-c", f"echo written >{directory}/written")
    at.must_stop(unit, directory)
    ended = at.system.run("cat", "/run/how-it-ended").strip()
    if ended != "exited 0":
        raise Wrong(f"{unit} ended so: {ended}")


def killed_one_is_mounted_again(at: Units) -> None:
    unit, directory = TEMPLATE.format("data"), "/mnt/data"
    at.system.run("systemctl", "start", unit)
    first = at.system.show(unit, "MainPID")
    at.system.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", unit)
    wait_until("the process has ended", lambda: at.system.show(unit, "MainPID") != first)
    wait_until(f"{unit} is active again", lambda: at.system.show(unit, "ActiveState") == "active")
    at.must_be(unit, NRestarts="1")
    at.must_read(directory)
    at.must_stop(unit, directory)


def failures_are_told(at: Units) -> None:
    """A unit that cannot mount fails with the message in its journal; one whose command line is wrong is left alone."""
    missing = at.instance("missing-unit", bucket="no-such-bucket")
    # While it is started again, systemd forgets how it has ended.
    at.write(f"etc/systemd/system/{missing}.d/once.conf", "[Service]\nRestartSec=1h\n")
    at.system.run("systemctl", "daemon-reload")
    at.system.run("systemctl", "start", missing, status=1)
    at.must_say(missing, "NoSuchBucket", "To fix it: check the name of the bucket")
    at.must_be(missing, ExecMainStatus="1")
    at.system.run("systemctl", "stop", missing)
    wrong = at.instance("wrong", "--memory-target 100")
    at.system.run("systemctl", "start", wrong, status=1)
    at.must_be(wrong, ActiveState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="0")
    at.must_say(wrong, "invalid value '100' for '--memory-target <MiB>'")


def systemd_run(at: Units) -> None:
    directory, unit = at.directory("run"), "run-mount.service"
    command = ["systemd-run", "--property=Type=notify", f"--unit={unit}"]
    command += [f"--setenv={name}={value}" for name, value in CREDENTIALS.items()]
    command += ["mount-s3", BUCKET, directory, "--foreground", "--endpoint-url", at.server.endpoint]
    at.system.run(*command, "--force-path-style", "--region", "us-east-1")
    at.must_be(unit, ActiveState="active")
    at.must_read(directory)
    if at.system.run("cat", f"{directory}/written") != "written\n":
        raise Wrong("what was written before the unit was stopped is not in the bucket")
    at.must_stop(unit, directory)


def fstab_at_boot(at: Units) -> None:
    """The line was mounted by what systemd made of it, with the network and before users come."""
    unit, directory = "mnt-boot.mount", "/mnt/boot"
    at.must_be(unit, ActiveState="active", FragmentPath="/run/systemd/generator/mnt-boot.mount")
    at.must_be("remote-fs.target", ActiveState="active")
    for name, other in (("After", "network-online.target"), ("Before", "remote-fs.target")):
        if other not in at.system.show(unit, name).split():
            raise Wrong(f"{unit}: {other} is not in {name}=")
    at.must_read(directory)
    # The process in the background logs to syslog, which is the journal.
    at.set_model(rules=[{"fault": {"kind": "deny"}, "operation": "GetObject", "key_prefix": "folder/denied"}])
    at.system.run("cat", f"{directory}/folder/denied", status=1)
    at.set_model()
    log = at.system.journal("--identifier", "mount-s3")
    if "AccessDenied" not in log or "folder/denied" not in log:
        raise Wrong(f"the journal lacks the refused request; of mount-s3 it has: {log}")
    at.must_stop(unit, directory)
    at.system.run("systemctl", "start", unit)
    at.must_read(directory)


def fstab_automount(at: Units) -> None:
    """It is mounted when somebody looks."""
    unit, directory = "mnt-automount.mount", "/mnt/automount"
    at.must_be("mnt-automount.automount", ActiveState="active")
    at.must_be(unit, ActiveState="inactive")
    at.must_read(directory)
    at.must_be(unit, ActiveState="active")
    at.must_stop(unit, directory)
    at.must_read(directory)


def fstab_that_fails(at: Units) -> None:
    unit = "mnt-missing.mount"
    at.must_be(unit, ActiveState="failed", Result="exit-code")
    at.must_say(unit, "NoSuchBucket", "To fix it: check the name of the bucket")


def mount_all(at: Units) -> None:
    """A new line is mounted by mount -a, and what is mounted already is not touched."""
    at.lines["by-hand"] = at.fstab("by-hand", "rw,allow-delete,uid=7")
    del at.lines["missing"]
    at.write_fstab()
    at.system.run("systemctl", "daemon-reload")
    for _ in range(2):
        at.system.run("mount", "-a", environment=CREDENTIALS)
    for name in at.lines:
        if at.system.mounts(f"/mnt/{name}") != 1:
            raise Wrong(f"mount -a: /mnt/{name} is mounted {at.system.mounts(f'/mnt/{name}')} times")
    at.must_read("/mnt/by-hand")
    if at.system.run("stat", "--format=%u", "/mnt/by-hand/folder/file") != "7\n":
        raise Wrong("an option of the line has no effect")
    at.system.run("umount", "/mnt/by-hand")


def power_off(at: Units) -> None:
    """A service that writes is ended with the system, before its mount, which stores the file."""
    script = "exec >/mnt/automount/late; echo late; exec sleep 600"
    command = ["systemd-run", "--unit=writer", "--property=RequiresMountsFor=/mnt/automount", "sh", "-c", script]
    at.system.run(*command)
    has_written = "test -s /mnt/automount/late && echo yes || echo no"
    wait_until("the service writes", lambda: at.system.run("sh", "-c", has_written) == "yes\n")
    at.system.power_off()
    with urllib.request.urlopen(f"{at.server.control}/manifest/{BUCKET}", timeout=LONG) as answer:
        stored = answer.read().decode()
    if "\t5\tlate\n" not in stored:
        raise Wrong(f"what a service wrote when the system was powered off is not in the bucket: {stored}")


CASES = {
    "mounted at boot, by a line of /etc/fstab": fstab_at_boot,
    "mounted when it is looked at, by x-systemd.automount": fstab_automount,
    "failed at boot, and told": fstab_that_fails,
    "mounted by mount -a": mount_all,
    "mounted by mount-s3@.service, active when it answers": active_when_it_answers,
    "mounted again after it was killed": killed_one_is_mounted_again,
    "failed, and told": failures_are_told,
    "mounted by systemd-run": systemd_run,
}


def check(at: Units) -> None:
    for name in ("file", "denied"):
        at.server.call("PUT", "/object", {"bucket": BUCKET, "key": f"folder/{name}", "text": TEXT})
    at.lines = {
        "boot": at.fstab("boot", "ro"),
        "automount": at.fstab("automount", "rw,x-systemd.automount"),
        "missing": at.fstab("missing", "nofail,rw", bucket="no-such-bucket"),
    }
    at.write_fstab()
    at.system = Booted(at.root)
    try:
        for what, case in CASES.items():
            case(at)
            print(f"  systemd: {what}: ok", flush=True)
        power_off(at)
        print("  systemd: powered off with mounts, and stored what was written: ok", flush=True)
    finally:
        at.system.destroy()


def main() -> None:
    root, binaries = Path(sys.argv[1]), sys.argv[2]
    output_of("ip", "link", "set", "lo", "up")
    server = Server(binaries, BUCKET)
    try:
        check(Units(root, server))
    except Wrong as wrong:
        sys.exit(f"error: systemd: {wrong}")
    finally:
        server.end()


if __name__ == "__main__":
    main()
