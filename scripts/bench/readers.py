"""Programs that read files, in the ways that fio and dd do not: see workers.py."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import time
from collections.abc import Iterator

from workers import Patterns, Worker, main


def _streams(worker: Worker) -> None:
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


def _stride(worker: Worker) -> None:
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


def _mapped(worker: Worker, offsets: Iterator[int], file: int) -> None:
    block = worker.job.block
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as view:
        for at in offsets:
            if worker.over():
                break
            started = time.monotonic()
            worker.count(started, len(view[at : at + block]))


def _mmap_sequential(worker: Worker) -> None:
    file = os.open(worker.job.paths[0], os.O_RDONLY)
    end = os.fstat(file).st_size
    _mapped(worker, iter(range(0, end, worker.job.block)), file)


def _mmap_random(worker: Worker) -> None:
    """Whole blocks in random order, as a program loads some tensors of a model."""
    file = os.open(worker.job.paths[0], os.O_RDONLY)
    blocks = os.fstat(file).st_size // worker.job.block
    order = random.Random(worker.job.seed)
    _mapped(worker, (order.randrange(blocks) * worker.job.block for _ in range(1 << 30)), file)


def _first_byte(worker: Worker) -> None:
    """Opens each file and reads its first 4 KiB."""
    for path in worker.share():
        if worker.over():
            break
        started = time.monotonic()
        file = os.open(path, os.O_RDONLY)
        size = len(os.pread(file, 4096, 0))
        worker.count(started, size)
        os.close(file)


def _files(worker: Worker) -> None:
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


def _epoch(worker: Worker) -> None:
    """One epoch over a directory of images, a directory for each class: every file once, in an order
    that differs between epochs (the seed), the workers taking turns. An operation is a file."""
    job = worker.job
    buffer = memoryview(bytearray(job.block))
    order = list(range(job.files))
    random.Random(job.seed).shuffle(order)
    each = job.files // job.folders
    for image in order[worker.index :: job.workers]:
        started = time.monotonic()
        file = os.open(f"{job.paths[0]}/{image // each:03}/{image:05}.jpg", os.O_RDONLY)
        total = 0
        while size := os.readv(file, [buffer]):
            total += size
        os.close(file)
        worker.count(started, total)


def _walk(worker: Worker) -> None:
    """The names of all files below a directory, as a data loader finds them. An operation is a name."""
    for _, _, names in os.walk(worker.job.paths[0]):
        worker.latencies += [0.0] * len(names)


def _open(worker: Worker) -> None:
    """Opens every file below a directory, and closes it again. An operation is a file."""
    for directory, _, names in os.walk(worker.job.paths[0]):
        for name in names:
            started = time.monotonic()
            os.close(os.open(f"{directory}/{name}", os.O_RDONLY))
            worker.count(started, 0)


def _shuffle(worker: Worker) -> None:
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


def _lines(worker: Worker, *command: str) -> list[bytes]:
    listing = subprocess.run([*command, worker.job.paths[0]], capture_output=True, check=False)
    if listing.returncode != 0:
        raise OSError(listing.stderr.decode(errors="replace").strip())
    return listing.stdout.splitlines()


def _stat(worker: Worker) -> None:
    """`stat` of every file in the first directories, `folders` of them with `files` in all."""
    each = worker.job.files // worker.job.folders
    for number in range(worker.job.files):
        path = f"{worker.job.paths[0]}/d{number // each:02}/{number:05}"
        started = time.monotonic()
        os.stat(path)
        worker.count(started, 0)


def _list(worker: Worker) -> None:
    """`ls -lR`. An operation is a line."""
    lines = [line for line in _lines(worker, "ls", "-lR") if line.startswith(b"-")]
    worker.latencies = [0.0] * len(lines)


def _names(worker: Worker) -> None:
    """`ls -f`. An operation is a name."""
    names = [name for name in _lines(worker, "ls", "-f") if name not in (b".", b"..")]
    worker.latencies = [0.0] * len(names)


def _find(worker: Worker) -> None:
    """`find`. An operation is a path."""
    worker.latencies = [0.0] * len(_lines(worker, "find"))


_PATTERNS: Patterns = {
    "streams": _streams,
    "stride": _stride,
    "mmap-sequential": _mmap_sequential,
    "mmap-random": _mmap_random,
    "first-byte": _first_byte,
    "files": _files,
    "epoch": _epoch,
    "walk": _walk,
    "open": _open,
    "shuffle": _shuffle,
    "list": _list,
    "stat": _stat,
    "names": _names,
    "find": _find,
}


if __name__ == "__main__":
    main(_PATTERNS)
