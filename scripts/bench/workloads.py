"""What a case does on a mount: fio, dd, our own readers or writers; each answers with what was done."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import drop_caches, warm_memory
from workers import Job, Tally

TIMEOUT = 180.0


class Failed(Exception):
    """The workload ended with an error or not at all."""


@dataclass(frozen=True)
class Context:
    """Where a workload runs."""

    directory: Path
    seconds: float
    """How long a workload that has no end of its own runs."""
    fresh: str
    """The name of a directory that is not there before the run, for what it writes."""
    cache: Path | None = None
    """The directory of the client's cache on the disk."""


Workload = Callable[[Context], Tally]


def dd(key: str, size: int, *, direct: bool = False, keep: bool = False) -> Workload:
    """`dd bs=1M` of an object: with `nocache` (unless `keep`), or with `direct`."""

    def run(context: Context) -> Tally:
        flags = ["iflag=direct"] if direct else [] if keep else ["iflag=nocache"]
        path = context.directory / key
        line = ["dd", f"if={path}", "of=/dev/null", "bs=1M", f"count={size >> 20}", *flags]
        started = time.monotonic()
        _, errors = _run(line)
        seconds = time.monotonic() - started
        copied = re.search(r"^(\d+) bytes", errors, re.MULTILINE)
        if copied is None or int(copied[1]) != size:
            raise Failed(f"dd: {errors.strip().splitlines()[-1]}")
        return Tally(bytes=size, operations=size >> 20, seconds=seconds)

    return run


def fio_object(key: str, size: int, mode: str, block: int, threads: int, direct: bool) -> Workload:
    """fio on one object for the context's time; `mode` is fio's `rw`. Sequential threads each have
    a part of the object."""

    def run(context: Context) -> Tally:
        part = size // threads if mode == "read" else size
        offsets = [f"--offset_increment={part}"] if mode == "read" else ["--norandommap"]
        return _fio(
            [f"--filename={context.directory / key}", f"--filesize={size}", f"--size={part}"]
            + ["--time_based", f"--runtime={context.seconds:.0f}s", f"--numjobs={threads}", *offsets],
            mode, block, direct,
        )  # fmt: skip

    return run


def fio_files(folder: str, count: int, size: int, mode: str, block: int, threads: int, direct: bool) -> Workload:
    """fio on files, one after the other, each opened, read whole and closed; every thread has its
    own."""

    def run(context: Context) -> Tally:
        each = count // threads
        line = []
        for thread in range(threads):
            names = (f"{folder}/{thread * each + i:04}.bin" for i in range(each))
            paths = ":".join(str(context.directory / name) for name in names)
            line += [f"--name=job{thread}", f"--filename={paths}"]
        common = [f"--filesize={size}", f"--size={each * size}"]
        common += ["--file_service_type=sequential", "--openfiles=1"]
        return _fio(common, mode, block, direct, jobs=line)

    return run


def read(pattern: str, keys: list[str], **options: Any) -> Workload:
    """A pattern of readers.py."""

    def run(context: Context) -> Tally:
        paths = [str(context.directory / key) for key in keys]
        return _work("readers.py", Job(pattern, paths, **({"seconds": context.seconds} | options)))

    return run


def write(pattern: str, names: list[str], **options: Any) -> Workload:
    """A pattern of writers.py, on these names in the fresh directory."""

    def run(context: Context) -> Tally:
        directory = context.directory / context.fresh
        directory.mkdir(exist_ok=True)
        return _work("writers.py", Job(pattern, [str(directory / name) for name in names], **options))

    return run


def pause(seconds: float) -> Workload:
    """Nothing for a while."""

    def run(context: Context) -> Tally:
        del context
        time.sleep(seconds)
        return Tally(seconds=seconds)

    return run


def settle() -> Workload:
    """Waits until the cache has written what it wants to keep, then empties the page cache, that of
    the mount included."""

    def run(context: Context) -> Tally:
        started, taken = time.monotonic(), -1
        while (now := _taken(context.cache)) != taken:
            if time.monotonic() - started > TIMEOUT:
                raise Failed(f"still writing after {TIMEOUT:.0f} s")
            taken = now
            time.sleep(0.5)
        # Names are believed for a while by who has a cache.
        if not drop_caches(names=False):
            raise Failed("only root can empty the page cache")
        # The host may have taken back what was not used for a while: the first reader would pay for it.
        warm_memory()
        return Tally(seconds=time.monotonic() - started)

    return run


def _taken(directory: Path | None) -> int:
    """Blocks of the disk below a directory."""
    # Blocks are allotted when they are written.
    os.sync()
    if directory is None:
        return 0
    return sum(entry.stat().st_blocks for path, _, _ in os.walk(directory) for entry in os.scandir(path))


def _work(script: str, job: Job) -> Tally:
    output, _ = _run([sys.executable, str(Path(__file__).with_name(script)), json.dumps(asdict(job))])
    tally = Tally(**json.loads(output))
    if tally.errors:
        raise Failed("; ".join(sorted(set(tally.errors))[:2]))
    return tally


def _fio(options: list[str], mode: str, block: int, direct: bool, jobs: list[str] | None = None) -> Tally:
    line = ["fio", "--output-format=json", "--readonly", "--allow_file_create=0", "--thread"]
    line += ["--ioengine=psync", f"--rw={mode}", f"--bs={block}", f"--direct={int(direct)}"]
    # Programs rarely tell the kernel how they will read; fio by itself does.
    line += ["--fadvise_hint=0", "--group_reporting", *options, *(jobs or ["--name=job"])]
    output, _ = _run(line)
    job = json.loads(output[output.index("{") :])["jobs"][0]
    if job["error"]:
        raise Failed(f"fio: error {job['error']}")
    figures = job["read"]
    latency = figures["clat_ns"].get("percentile", {})
    return Tally(
        bytes=figures["io_bytes"],
        operations=figures["total_ios"],
        seconds=figures["runtime"] / 1000,
        p50_us=latency.get("50.000000", 0) / 1000,
        p99_us=latency.get("99.000000", 0) / 1000,
    )


def _run(line: list[str]) -> tuple[str, str]:
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{line[0]}: not done after {TIMEOUT:.0f} s") from late
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{line[0]}: {last[-1] if last else done.returncode}")
    return done.stdout, done.stderr
