"""Programs that write files: see workers.py."""

from __future__ import annotations

import mmap
import os
import time

from workers import Patterns, Worker, main


def _sequential(worker: Worker) -> None:
    """Each worker files of its own, `size` bytes each, in blocks. An operation is a block."""
    block = _block(worker)
    for path in worker.share():
        file = _create(worker, path)
        for at in range(0, worker.job.size, len(block)):
            started = time.monotonic()
            worker.count(started, os.write(file, block[: worker.job.size - at]))
        # What the close takes is in the time of the whole.
        os.close(file)


def _files(worker: Worker) -> None:
    """Each worker files of its own: created, written in one go, closed. An operation is a file."""
    data = _block(worker)[: worker.job.size]
    for path in worker.share():
        started = time.monotonic()
        file = _create(worker, path)
        size = os.write(file, data)
        os.close(file)
        worker.count(started, size)


def _append(worker: Worker) -> None:
    """One file, to whose end a block is added in each of many opens. An operation is an open."""
    block = _block(worker)
    for _ in range(0, worker.job.size, len(block)):
        started = time.monotonic()
        file = os.open(worker.job.paths[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        size = os.write(file, block)
        os.close(file)
        worker.count(started, size)


def _rename(worker: Worker) -> None:
    """Gives each file another name."""
    for path in worker.share():
        started = time.monotonic()
        os.rename(path, path + ".renamed")
        worker.count(started, 0)


def _create(worker: Worker, path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if worker.job.direct else 0))


def _block(worker: Worker) -> memoryview:
    """A block at the beginning of a page, with other bytes for each worker."""
    buffer = mmap.mmap(-1, max(worker.job.block, mmap.PAGESIZE))
    buffer.write(os.urandom(4096).ljust(len(buffer), bytes([worker.index + 1]))[: len(buffer)])
    return memoryview(buffer)[: worker.job.block]


_PATTERNS: Patterns = {
    "sequential": _sequential,
    "files": _files,
    "append": _append,
    "rename": _rename,
}


if __name__ == "__main__":
    main(_PATTERNS)
