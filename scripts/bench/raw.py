"""The raw ceiling: the same bytes fetched without a file system, by curl and by the CRT."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from machine import CpuTime
from stores import Store

CURL = "curl-get"
CRT = "crt-get"
CURL_PARTS = 4


@dataclass(frozen=True)
class RawGet:
    """What to fetch: the first bytes of each of the objects, all objects at once; or, with a
    `block`, so many bytes of one object in blocks at random, one after the other."""

    keys: tuple[str, ...]
    bytes_each: int
    block: int = 0

    @property
    def operations(self) -> int:
        """Blocks in all."""
        return self.bytes_each // self.block if self.block else 0

    def can(self, name: str) -> bool:
        """Whether the program of this name can fetch that."""
        return name == CRT or not self.block


@dataclass(frozen=True)
class RawResult:
    """How that went."""

    seconds: float
    cpu: CpuTime


def available(release: Path) -> dict[str, str]:
    """The programs that fetch, by the name that they have in the results."""
    found = {}
    if curl := which("curl"):
        found[CURL] = curl
    if (program := release / "examples/raw_get").exists():
        found[CRT] = str(program)
    return found


def fetch(name: str, program: str, get: RawGet, store: Store, tls: bool) -> RawResult:
    """Fetches and throws away. Raises `OSError` if a program fails."""
    endpoint = store.endpoint(tls)
    if endpoint is None:
        raise OSError("only measured at the local server, which takes unsigned requests")
    if name == CRT:
        amount = f"{get.operations}x{get.block}" if get.block else str(get.bytes_each)
        commands = [[program, endpoint, store.bucket, amount, *get.keys]]
    else:
        # One connection carries one range: as many as keep both sides busy.
        ranges = max(1, CURL_PARTS // len(get.keys))
        part = get.bytes_each // ranges
        commands = [
            [program, "--silent", "--fail", "--output", "/dev/null"]
            + ["--range", f"{i * part}-{(i + 1) * part - 1}", f"{endpoint}/{store.bucket}/{key}"]
            for key in get.keys
            for i in range(ranges)
        ]
    environment = os.environ | store.environment
    if store.ca_bundle:
        environment |= {"AWS_CA_BUNDLE": str(store.ca_bundle), "CURL_CA_BUNDLE": str(store.ca_bundle)}
    started = time.monotonic()
    processes = [subprocess.Popen(line, stdin=subprocess.DEVNULL, env=environment) for line in commands]
    cpu, failed = CpuTime(), 0
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        failed += process.returncode != 0
        cpu += CpuTime(usage.ru_utime, usage.ru_stime)
    if failed:
        raise OSError(f"{name}: {failed} of {len(processes)} processes failed")
    return RawResult(time.monotonic() - started, cpu)
