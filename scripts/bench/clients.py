"""What is measured: our command, its peers, and the ceilings that no client can beat."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from machine import is_mounted
from observers import Observers
from stores import MILLION_BUCKET, Store

OURS = "mount-s3"
MOUNT_TIMEOUT = 20.0


class Refused(Exception):
    """The client did not mount; its message is what the client said."""


@dataclass(frozen=True)
class Options:
    """What a case asks of a client beyond its defaults."""

    tls: bool = False
    writes: bool = False
    directory_bucket: bool = False
    """To append and to rename."""
    memory_target_mib: int | None = None
    index: bool = False
    """To mount the bucket of a million objects, with an index of it."""
    metadata_ttl: int | None = None
    """Seconds for which names, attributes and versions are believed."""
    cache: Path | None = None
    """The directory of a cache on the disk."""
    passthrough: bool = True
    """Whether the kernel may read whole objects from the cache by itself; only ours can have it do so."""


@dataclass(frozen=True)
class Client:
    """One way to mount the bucket: `command` makes the argument list of a process that serves the
    mount in the foreground."""

    name: str
    command: Callable[[Store, Path, Options], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    ceiling: bool = False
    observed: bool = False
    """Whether its figures are fetched and sent meanwhile."""
    gathering: bool = False
    """Whether the kernel gathers what is written; measured only where that is of interest."""


class Mounted:
    """A client's mount. Leaving its context unmounts and waits for the process."""

    def __init__(self, client: Client, store: Store, directory: Path, options: Options) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory.with_suffix(".log")
        environment = os.environ | store.environment | client.environment
        if options.tls and store.ca_bundle:
            environment["AWS_CA_BUNDLE"] = str(store.ca_bundle)
        if not options.passthrough:
            environment["MOUNT_S3_CACHE_PASSTHROUGH"] = "off"
        command = client.command(store, directory, options)
        self._observers = Observers(directory) if client.observed else None
        if self._observers:
            command += self._observers.flags()
        started = time.monotonic()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.pid = self._process.pid
        self._wait()
        self.seconds = time.monotonic() - started
        """How long it took until the mount answered."""
        # Settings made just after the mount, such as the read-ahead, belong to it.
        time.sleep(0.2)

    def __enter__(self) -> Mounted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def said(self) -> str:
        """The first line that the process has written about an error, or its last line."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        errors = (line for line in lines if "error" in line.lower())
        return next(errors, lines[-1] if lines else "").strip()

    def close(self) -> None:
        """Unmounts; kills the process if it does not end by itself."""
        deadline = time.monotonic() + 5
        while is_mounted(self.directory) and time.monotonic() < deadline:
            subprocess.run(["umount", self.directory], capture_output=True, check=False)
            if is_mounted(self.directory):
                time.sleep(0.1)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if is_mounted(self.directory):
            subprocess.run(["umount", "-l", self.directory], capture_output=True, check=False)
        if self._observers:
            self._observers.close()

    def kill(self) -> None:
        """Ends the process at once, so that whoever waits for the mount gets an error."""
        self._process.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + MOUNT_TIMEOUT
        while not is_mounted(self.directory):
            if self._process.poll() is not None:
                raise Refused(self.said() or f"ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise Refused(f"not mounted after {MOUNT_TIMEOUT:.0f} s")
            time.sleep(0.02)
        os.statvfs(self.directory)


def find(release: Path, tools: Path, peers: Path) -> tuple[list[Client], list[str]]:
    """The clients that are installed, ours first, and a line for each one that is not."""
    ours = _ours(str(release / "mount-s3"))
    clients = [
        Client(OURS, ours),
        Client(f"{OURS}-observed", ours, observed=True),
        Client(f"{OURS}-gathering", _gathering(ours), gathering=True),
    ]
    missing = []

    mountpoint = os.environ.get("PEER_MOUNTPOINT") or str(peers / "mountpoint/release/peer-mountpoint")
    if Path(mountpoint).exists():
        clients.append(Client("mountpoint", _mountpoint(mountpoint)))
    else:
        missing.append("mountpoint is left out: not built (scripts/bench/setup.sh builds it)")

    s3fs = which("s3fs")
    if s3fs:
        clients.append(Client("s3fs", lambda store, at, options: _s3fs(s3fs, store, at, options)))
    else:
        missing.append("s3fs is left out: not installed (apt install s3fs)")

    rclone = tools / "bin/rclone"
    if rclone.exists():
        clients.append(Client("rclone", lambda store, at, options: _rclone(rclone, store, at, options)))
    else:
        missing.append("rclone is left out: not installed (scripts/bench/setup.sh installs it)")

    null = release / "examples/null_fs"
    if null.exists():
        clients.append(Client("null-fuse", lambda _store, at, _options: [str(null), str(at)], ceiling=True))
    else:
        missing.append("null-fuse is left out: not built (scripts/bench/setup.sh builds it)")
    return clients, missing


def _gathering(ours: Callable[[Store, Path, Options], list[str]]) -> Callable[[Store, Path, Options], list[str]]:
    return lambda store, directory, options: [*ours(store, directory, options), "--writeback-cache"]


def _ours(program: str) -> Callable[[Store, Path, Options], list[str]]:
    common = _mount_s3_like(program)

    def command(store: Store, directory: Path, options: Options) -> list[str]:
        line = common(store, directory, options)
        if options.directory_bucket:
            line += ["--bucket-type", "directory", "--incremental-upload"]
        if options.index:
            line[1] = MILLION_BUCKET
            line += ["--index", str(store.index(program))]
        return line

    return command


def _mountpoint(program: str) -> Callable[[Store, Path, Options], list[str]]:
    common = _mount_s3_like(program)

    def command(store: Store, directory: Path, options: Options) -> list[str]:
        if options.directory_bucket:
            raise Refused("directory buckets only at their own endpoints")
        if options.index:
            raise Refused("Mountpoint has no index")
        return common(store, directory, options)

    return command


def _mount_s3_like(program: str) -> Callable[[Store, Path, Options], list[str]]:
    """Our command, and Mountpoint's, which has the same flags."""

    def command(store: Store, directory: Path, options: Options) -> list[str]:
        line = [program, store.bucket, str(directory), "--region", store.region, "--foreground"]
        line += ["--allow-overwrite", "--allow-delete"] if options.writes else ["--read-only"]
        if endpoint := store.endpoint(options.tls):
            line += ["--endpoint-url", endpoint, "--force-path-style"]
        if options.memory_target_mib is not None:
            line += ["--memory-target", str(options.memory_target_mib)]
        if options.metadata_ttl is not None:
            line += ["--metadata-ttl", str(options.metadata_ttl)]
        if options.cache is not None:
            line += ["--cache", str(options.cache)]
        return line

    return command


def _s3fs(program: str, store: Store, directory: Path, options: Options) -> list[str]:
    if options.memory_target_mib is not None:
        raise Refused("s3fs has no limit of memory")
    if options.directory_bucket:
        raise Refused("s3fs has no directory buckets")
    if options.index:
        raise Refused("s3fs has no index")
    if options.metadata_ttl is not None:
        raise Refused("s3fs caches metadata in another way")
    if options.cache is not None:
        raise Refused("s3fs is measured without a cache on the disk")
    flags = f"{'rw' if options.writes else 'ro'},sigv4,endpoint={store.region}"
    if endpoint := store.endpoint(options.tls):
        flags += f",url={endpoint},use_path_request_style"
    else:
        flags += ",iam_role=auto"
    if options.tls and store.ca_bundle:
        flags += ",ssl_verify_hostname=0,no_check_certificate"
    return [program, store.bucket, str(directory), "-f", "-o", flags]


def _rclone(program: Path, store: Store, directory: Path, options: Options) -> list[str]:
    if options.memory_target_mib is not None:
        raise Refused("rclone has no limit of memory")
    if options.directory_bucket:
        raise Refused("rclone has no directory buckets")
    if options.index:
        raise Refused("rclone has no index")
    if options.metadata_ttl is not None:
        raise Refused("rclone caches metadata in another way")
    if options.cache is not None:
        raise Refused("rclone is measured without a cache on the disk")
    remote = f":s3,env_auth=true,region={store.region},provider="
    if endpoint := store.endpoint(options.tls):
        remote += f'Other,force_path_style=true,endpoint="{endpoint}"'
    else:
        remote += "AWS"
    remote += f":{store.bucket}"
    line = [str(program), "mount", remote, str(directory), "--config", "/dev/null"]
    line += [] if options.writes else ["--read-only"]
    # The server's ETags are not MD5 sums, which rclone takes them for.
    line += ["--no-checksum"]
    if options.tls and store.ca_bundle:
        line += ["--ca-cert", str(store.ca_bundle)]
    return line
