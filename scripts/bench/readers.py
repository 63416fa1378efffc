"""Programs that read files, in the ways that fio and dd do not: run as a process of its own.

Usage: readers.py JSON, with the fields of `Job`. Forks one process for each worker, lets them all
start at one moment, and prints one line of JSON: the fields of `Tally`.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field


@dataclass
class Job:
    """What to read. `pattern` is a key of `_PATTERNS`."""

    pattern: str
    paths: list[str]
    workers: int = 1
    block: int = 1 << 20
    stride: int = 0
    seconds: float = 5.0
    seed: int = 1


@dataclass
class Tally:
    """What was read: an operation is one read, one file or one name, as the pattern has it."""

    bytes: int = 0
    operations: int = 0
    seconds: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass
class _Worker:
    job: Job
    index: int
    deadline: float = 0.0
    bytes: int = 0
    latencies: list[float] = field(default_factory=list)

    def over(self) -> bool:
        return time.monotonic() >= self.deadline

    def count(self, started: float, size: int) -> None:
        self.latencies.append(time.monotonic() - started)
        self.bytes += size

    def share(self) -> list[str]:
        """This worker's part of the paths."""
        return self.job.paths[self.index :: self.job.workers]


def run(job: Job) -> Tally:
    """Runs `job` in forked processes."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    results = []
    for index in range(job.workers):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(go_write)
            _work(_Worker(job, index), ready_write, go_read, write_end)
        os.close(write_end)
        results.append(os.fdopen(read_end))
    for _ in range(job.workers):
        os.read(ready_read, 1)
    started = time.monotonic()
    os.close(go_read)
    os.close(go_write)
    parts = [json.loads(result.read() or '{"errors": ["a reader died"]}') for result in results]
    tally = Tally(seconds=time.monotonic() - started)
    latencies: list[float] = []
    for part in parts:
        tally.bytes += part.get("bytes", 0)
        latencies += part.get("latencies", [])
        tally.errors += part.get("errors", [])
    tally.operations = len(latencies)
    latencies.sort()
    if latencies:
        tally.p50_us = 1e6 * latencies[len(latencies) // 2]
        tally.p99_us = 1e6 * latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)]
    return tally


def _work(worker: _Worker, ready: int, go: int, result: int) -> None:
    errors = []
    os.write(ready, b"1")
    os.read(go, 1)
    worker.deadline = time.monotonic() + worker.job.seconds
    try:
        _PATTERNS[worker.job.pattern](worker)
    except OSError as error:
        errors.append(str(error))
    with os.fdopen(result, "w") as pipe:
        json.dump({"bytes": worker.bytes, "latencies": worker.latencies, "errors": errors}, pipe)
    os._exit(0)


def _streams(worker: _Worker) -> None:
    """Each worker its own file from its start, dropping what it has read from the page cache."""
    buffer = memoryview(bytearray(worker.job.block))
    path = worker.job.paths[worker.index]
    file = os.open(path, os.O_RDONLY)
    at = 0
    while not worker.over():
        started = time.monotonic()
        size = os.readv(file, [buffer])
        if size == 0:
            at = os.lseek(file, 0, os.SEEK_SET)
            continue
        worker.count(started, size)
        os.posix_fadvise(file, at, size, os.POSIX_FADV_DONTNEED)
        at += size
    os.close(file)


def _stride(worker: _Worker) -> None:
    """One block at every multiple of the stride."""
    buffer = memoryview(bytearray(worker.job.block))
    file = os.open(worker.job.paths[0], os.O_RDONLY)
    end = os.fstat(file).st_size
    for at in range(0, end - worker.job.block, worker.job.stride):
        if worker.over():
            break
        started = time.monotonic()
        worker.count(started, os.preadv(file, [buffer], at))
    os.close(file)


def _mapped(worker: _Worker, offsets: Iterator[int], file: int) -> None:
    block = worker.job.block
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as view:
        for at in offsets:
            if worker.over():
                break
            started = time.monotonic()
            worker.count(started, len(view[at : at + block]))


def _mmap_sequential(worker: _Worker) -> None:
    file = os.open(worker.job.paths[0], os.O_RDONLY)
    end = os.fstat(file).st_size
    _mapped(worker, iter(range(0, end, worker.job.block)), file)


def _mmap_random(worker: _Worker) -> None:
    """Whole blocks in random order, as a program loads some tensors of a model."""
    file = os.open(worker.job.paths[0], os.O_RDONLY)
    blocks = os.fstat(file).st_size // worker.job.block
    order = random.Random(worker.job.seed)
    _mapped(worker, (order.randrange(blocks) * worker.job.block for _ in range(1 << 30)), file)


def _first_byte(worker: _Worker) -> None:
    """Opens each file and reads its first 4 KiB."""
    for path in worker.share():
        if worker.over():
            break
        started = time.monotonic()
        file = os.open(path, os.O_RDONLY)
        size = len(os.pread(file, 4096, 0))
        worker.count(started, size)
        os.close(file)


def _files(worker: _Worker) -> None:
    """Every file from its start to its end: open, read, close. An operation is a file."""
    buffer = memoryview(bytearray(worker.job.block))
    for path in worker.share():
        started = time.monotonic()
        file = os.open(path, os.O_RDONLY)
        total = 0
        while size := os.readv(file, [buffer]):
            total += size
        os.close(file)
        worker.count(started, total)


def _shuffle(worker: _Worker) -> None:
    """One epoch: every sample once, in an order that differs between epochs (the seed), the workers
    taking turns, each with all files open."""
    block = worker.job.block
    buffer = memoryview(bytearray(block))
    files = [os.open(path, os.O_RDONLY) for path in worker.job.paths]
    each = os.fstat(files[0]).st_size // block
    order = list(range(each * len(files)))
    random.Random(worker.job.seed).shuffle(order)
    for sample in order[worker.index :: worker.job.workers]:
        started = time.monotonic()
        worker.count(started, os.preadv(files[sample // each], [buffer], sample % each * block))
    for file in files:
        os.close(file)


def _list(worker: _Worker) -> None:
    """`ls -lR`. An operation is a line."""
    listing = subprocess.run(["ls", "-lR", worker.job.paths[0]], capture_output=True, check=False)
    lines = [line for line in listing.stdout.splitlines() if line.startswith(b"-")]
    if listing.returncode != 0:
        raise OSError(listing.stderr.decode(errors="replace").strip())
    worker.latencies = [0.0] * len(lines)


_PATTERNS: dict[str, Callable[[_Worker], None]] = {
    "streams": _streams,
    "stride": _stride,
    "mmap-sequential": _mmap_sequential,
    "mmap-random": _mmap_random,
    "first-byte": _first_byte,
    "files": _files,
    "shuffle": _shuffle,
    "list": _list,
}


def main() -> None:
    """Runs the job of the command line."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    print(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
