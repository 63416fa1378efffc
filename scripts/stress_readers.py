"""The readers of stress.py: what the objects hold, and how it is read and verified."""

import array
import ctypes
import errno
import mmap
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback

from mounts import MIB, Wrong

KIB = 1 << 10

# Content of the server's synthetic objects: tests/server/src/synthetic.rs.
PERIOD = 16_777_259
MASK = (1 << 64) - 1
LONGEST_READ = 4 * MIB

# Sizes of the objects.
SIZES = (
    [0, 1, 4095, 4097]
    + [100 * KIB] * 12
    + [MIB - 1, MIB, MIB + 1]
    + [5 * MIB] * 16
    + [8 * MIB, 8 * MIB + 1, 33 * MIB, 64 * MIB, 100 * MIB]
    + [256 * MIB] * 4
    + [2048 * MIB]
)
MAX_VERSIONS = 4096


def mix(value: int) -> int:
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def make_table() -> bytes:
    words = array.array("Q", (mix(counter) for counter in range(PERIOD // 8 + 1)))
    if sys.byteorder != "little":
        words.byteswap()
    period = words.tobytes()[:PERIOD]
    return period + period[:LONGEST_READ]


def seed_of(key: int, version: int) -> int:
    return key * MAX_VERSIONS + version


def size_of(key: int, version: int) -> int:
    """Versions of the larger objects differ in size, too."""
    size = SIZES[key]
    return size if size < 64 * KIB else size + (mix(seed_of(key, version)) % 3) * 4099


class Content:
    """What the server has in its objects."""

    def __init__(self) -> None:
        self.table = make_table()

    def bytes(self, key: int, version: int, offset: int, length: int) -> bytes:
        """At most LONGEST_READ bytes; fewer at the object's end."""
        length = max(0, min(length, size_of(key, version) - offset))
        start = (mix(seed_of(key, version) ^ 0x5EED) + offset) % PERIOD
        return self.table[start : start + length]


class Shared:
    """What all processes see."""

    def __init__(self, readers: int) -> None:
        self.stop = multiprocessing.Event()
        # Versions whose replacement has begun: the newest that a read can meet.
        self.begun = multiprocessing.Array("q", len(SIZES), lock=False)
        # When each version was in place: the oldest that an open can meet.
        self.placed = multiprocessing.Array("d", len(SIZES) * MAX_VERSIONS, lock=False)
        # The end of the last time of faults; in the future while faults are in force.
        self.faults_until = multiprocessing.Value("d", 0.0, lock=False)
        # When each reader began its system call; 0 between calls.
        self.entered = multiprocessing.Array("d", readers, lock=False)
        self.reports = multiprocessing.SimpleQueue()

    def oldest(self, key: int, moment: float) -> int:
        version = self.begun[key]
        while version > 0 and not 0 < self.placed[key * MAX_VERSIONS + version] <= moment:
            version -= 1
        return version


class Gone(Exception):
    """A failure that is allowed; the reader goes on with another file."""


class OpenFile:
    """An open file, every read of which is verified."""

    def __init__(self, reader: "Reader", key: int, flags: int = 0) -> None:
        self.reader, self.key = reader, key
        self.opened = time.monotonic()
        # Which versions this file can still be. Every open asks for the newest one.
        oldest = reader.shared.oldest(key, self.opened)
        self.versions = [oldest]
        self.fd = self.call(os.open, reader.path(key), os.O_RDONLY | flags)
        self.versions = list(range(oldest, reader.shared.begun[key] + 1))
        self.direct = reader.buffer if flags & os.O_DIRECT else None

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_exception) -> None:
        os.close(self.fd)

    def size(self) -> int:
        return size_of(self.key, self.versions[0])

    def call(self, function, *arguments):
        """Makes a system call and judges its failure."""
        shared, number = self.reader.shared, self.reader.number
        shared.entered[number] = time.monotonic()
        try:
            return function(*arguments)
        except OSError as error:
            code = errno.errorcode.get(error.errno, str(error.errno))
            self.reader.count(code)
            faults = shared.faults_until.value >= self.opened
            replaced = shared.begun[self.key] > self.versions[0]
            if error.errno == errno.EFAULT and (faults or replaced):
                raise Gone from None
            if error.errno == errno.EIO and faults or error.errno == errno.ESTALE and replaced:
                raise Gone from None
            raise Wrong(f"{function.__name__} of {self.name()}: {code}") from None
        finally:
            shared.entered[number] = 0.0

    def read(self, offset: int, length: int) -> int:
        """Reads and verifies; returns the number of bytes."""
        data = b""
        while True:
            more = self.read_once(offset + len(data), length - len(data))
            data += more
            if not more or len(data) == length or self.fitting(data, offset, length):
                break
            # A failure in the middle ends a read early; the next read has to tell.
            self.reader.count("short reads")
        self.verify(data, offset, length)
        return len(data)

    def read_once(self, offset: int, length: int) -> bytes:
        if self.direct is None:
            return self.call(os.pread, self.fd, length, offset)
        with memoryview(self.direct) as whole, whole[:length] as view:
            return view[: self.call(os.preadv, self.fd, [view], offset)].tobytes()

    def fitting(self, data: bytes, offset: int, length: int) -> list[int]:
        """The versions of which a read of `length` bytes gives `data`."""
        content, key = self.reader.content, self.key
        return [v for v in self.versions if content.bytes(key, v, offset, length) == data]

    def verify(self, data: bytes, offset: int, length: int) -> None:
        fit = self.fitting(data, offset, length)
        if not fit:
            raise Wrong(self.explain(data, offset, length))
        self.versions = fit
        self.reader.count("reads")
        self.reader.count("bytes", len(data))

    def name(self) -> str:
        return f"{self.reader.path(self.key)} (size {SIZES[self.key]})"

    def explain(self, data: bytes, offset: int, length: int) -> str:
        content, newest = self.reader.content, self.reader.shared.begun[self.key]
        text = f"{length} bytes of {self.name()} from {offset}: {len(data)} bytes that are not those of "
        text += f"version {list(self.versions)[:4]} (newest {newest}, opened {time.monotonic() - self.opened:.1f} s ago)"
        for version in range(newest, -1, -1):
            expected = content.bytes(self.key, version, offset, length)
            if data == expected:
                return f"{text}; they are those of version {version}"
            if data and data[:16] == expected[:16]:
                same = len(os.path.commonprefix([data, expected]))
                text += f"; the first {same} of {len(expected)} are those of version {version}"
        return text + f"; they begin with {data[:16].hex()}"


class Reader(threading.Thread):
    """Opens files and reads them in all ways until told to stop."""

    def __init__(self, number: int, directory: str, content: Content, shared: Shared, seed: int) -> None:
        super().__init__(daemon=True)
        self.number, self.directory, self.content, self.shared = number, directory, content, shared
        self.random = random.Random(f"{seed} {number}")
        self.buffer = mmap.mmap(-1, MIB)
        self.sink = os.memfd_create("sink")
        self.counts: dict[str, int] = {}
        self.failure: str | None = None

    def path(self, key: int) -> str:
        return f"{self.directory}/object-{key:02}"

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def run(self) -> None:
        ways = [
            (self.sequential, 4),
            (self.seeks, 4),
            (self.direct, 2),
            (self.stride, 1),
            (self.backward, 1),
            (self.mapped, 3),
            (self.short_opens, 2),
            (self.idle, 1),
        ]
        functions, weights = zip(*ways)
        try:
            while not self.shared.stop.is_set():
                key = self.random.randrange(len(SIZES))
                way = self.random.choices(functions, weights)[0]
                self.count("files")
                try:
                    way(key)
                except Gone:
                    self.count("gone")
        except Wrong as wrong:
            self.failure = f"reader {self.number}, {way.__name__}: {wrong}"
        except Exception:
            self.failure = f"reader {self.number}: {traceback.format_exc()}"
        if self.failure:
            self.shared.stop.set()

    def open(self, key: int, flags: int = 0) -> OpenFile:
        file = OpenFile(self, key, flags)
        if self.random.random() < 0.5:
            # Otherwise most reads would be of the kernel's page cache.
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return file

    def stopped(self) -> bool:
        return self.shared.stop.is_set()

    def position(self, file: OpenFile) -> int:
        return self.random.randrange(file.size() + 1)

    def length(self) -> int:
        return self.random.choice([1, 100, 4 * KIB, 16 * KIB, 128 * KIB, 300_000, MIB])

    def sequential(self, key: int) -> None:
        with self.open(key) as file:
            offset = self.random.choice([0, 0, self.position(file)])
            block = self.random.choice([4 * KIB, 64 * KIB, 128 * KIB, MIB])
            for _ in range(self.random.randrange(1, 64)):
                count = file.read(offset, block)
                if count == 0 or self.stopped():
                    break
                offset += count

    def seeks(self, key: int) -> None:
        with self.open(key) as file:
            for _ in range(self.random.randrange(1, 40)):
                if self.stopped():
                    break
                offset = self.position(file)
                for _ in range(self.random.choice([1, 1, 1, 4])):
                    offset += file.read(offset, self.length())

    def direct(self, key: int) -> None:
        with self.open(key, os.O_DIRECT) as file:
            block = self.random.choice([4 * KIB, 128 * KIB, MIB])
            offset = self.position(file) // block * block
            for _ in range(self.random.randrange(1, 30)):
                if self.stopped():
                    break
                file.read(offset, block)
                run = self.random.random() < 0.7
                offset = offset + block if run else self.position(file) // block * block

    def stride(self, key: int) -> None:
        with self.open(key) as file:
            step = self.random.choice([200_000, MIB, 17 * MIB])
            for offset in list(range(0, file.size(), step))[:40]:
                if self.stopped():
                    break
                file.read(offset, self.length())

    def backward(self, key: int) -> None:
        with self.open(key) as file:
            block = self.random.choice([16 * KIB, 128 * KIB, MIB])
            offset = self.position(file)
            for _ in range(30):
                if offset == 0 or self.stopped():
                    break
                start = max(0, offset - block)
                file.read(start, offset - start)
                offset = start

    def mapped(self, key: int) -> None:
        with self.open(key) as file:
            # The kernel's idea of the size: a mapping cannot be longer than the file.
            size = file.call(os.fstat, file.fd).st_size
            if size not in (sizes := {size_of(key, version) for version in file.versions}):
                raise Wrong(f"{file.name()} has {size} bytes instead of {sizes}")
            if size == 0:
                return
            pages = file.call(mmap.mmap, file.fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
            try:
                offset = self.random.randrange(size)
                for _ in range(self.random.randrange(1, 30)):
                    if self.stopped():
                        break
                    length = min(self.length(), size - offset)
                    file.verify(self.copied(file, pages, offset, length), offset, length)
                    run = self.random.random() < 0.5 and offset + length < size
                    offset = offset + length if run else self.random.randrange(size)
            finally:
                pages.close()

    def copied(self, file: OpenFile, pages: mmap.mmap, offset: int, length: int) -> bytes:
        """Bytes of a mapping. The kernel copies them: a page that cannot be read fails the call with
        EFAULT, where a touch by this process would end it with SIGBUS."""
        with memoryview(pages) as whole, whole[offset : offset + length] as part:
            done = 0
            while done < length:
                with part[done:] as rest:
                    done += file.call(os.pwrite, self.sink, rest, done)
        return os.pread(self.sink, length, 0)

    def short_opens(self, key: int) -> None:
        for _ in range(8):
            if self.stopped():
                break
            with self.open(key) as file:
                file.read(0, self.length())

    def idle(self, key: int) -> None:
        """A file that stays open and is hardly read."""
        with self.open(key) as file:
            for _ in range(self.random.randrange(1, 6)):
                file.read(self.position(file), self.length())
                if self.shared.stop.wait(self.random.random() * 2):
                    break


def work(numbers: range, directory: str, content: Content, shared: Shared, seed: int) -> None:
    """One process of readers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Ends with the parent, however that ends.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    readers = [Reader(number, directory, content, shared, seed) for number in numbers]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    total: dict[str, int] = {}
    for reader in readers:
        for what, number in reader.counts.items():
            total[what] = total.get(what, 0) + number
    shared.reports.put((total, [reader.failure for reader in readers if reader.failure]))
