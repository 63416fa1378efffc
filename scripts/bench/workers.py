"""Programs of several processes that start at one moment and count what they do.

Such a program is run with one argument, the fields of a `Job` as JSON, and prints one line of JSON:
the fields of a `Tally`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Job:
    """What to do. `pattern` is one of the program's."""

    pattern: str
    paths: list[str]
    workers: int = 1
    block: int = 1 << 20
    stride: int = 0
    size: int = 0
    folders: int = 0
    files: int = 0
    direct: bool = False
    seconds: float = 5.0
    seed: int = 1


@dataclass
class Tally:
    """What was done: an operation is one read, one write, one file or one name, as the pattern has it."""

    bytes: int = 0
    operations: int = 0
    seconds: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass
class Worker:
    """One of the processes of a job."""

    job: Job
    index: int
    deadline: float = 0.0
    bytes: int = 0
    latencies: list[float] = field(default_factory=list)

    def over(self) -> bool:
        """Whether the job's time is over."""
        return time.monotonic() >= self.deadline

    def count(self, started: float, size: int) -> None:
        """Counts an operation on so many bytes that ends now."""
        self.latencies.append(time.monotonic() - started)
        self.bytes += size

    def share(self) -> list[str]:
        """This worker's part of the paths."""
        return self.job.paths[self.index :: self.job.workers]


Patterns = dict[str, Callable[[Worker], None]]


def main(patterns: Patterns) -> None:
    """Runs the job of the command line."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    print(json.dumps(asdict(_run(Job(**json.loads(sys.argv[1])), patterns))))


def _run(job: Job, patterns: Patterns) -> Tally:
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    results = []
    for index in range(job.workers):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(go_write)
            _work(Worker(job, index), patterns[job.pattern], ready_write, go_read, write_end)
        os.close(write_end)
        results.append(os.fdopen(read_end))
    for _ in range(job.workers):
        os.read(ready_read, 1)
    started = time.monotonic()
    os.close(go_read)
    os.close(go_write)
    parts = [json.loads(result.read() or '{"errors": ["a worker died"]}') for result in results]
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


def _work(worker: Worker, pattern: Callable[[Worker], None], ready: int, go: int, result: int) -> None:
    errors = []
    os.write(ready, b"1")
    os.read(go, 1)
    worker.deadline = time.monotonic() + worker.job.seconds
    try:
        pattern(worker)
    except OSError as error:
        errors.append(str(error))
    with os.fdopen(result, "w") as pipe:
        json.dump({"bytes": worker.bytes, "latencies": worker.latencies, "errors": errors}, pipe)
    os._exit(0)
