"""The cases: what is read or written, how, and from or to which model of a store."""

from __future__ import annotations

from dataclasses import dataclass, field

from backing import PlainFiles
from clients import Options
from raw import RawGet
from stores import (
    CLASSES,
    GIB,
    HUGE,
    HUGE_BYTES,
    IMAGES,
    LARGE,
    LARGE_BYTES,
    MIB,
    MIDDLE,
    MIDDLE_BYTES,
    NAMES_IN_DIRECTORY,
    SHARDS,
    SMALL_FILE_BYTES,
    TINY_FILE_BYTES,
    TINY_FILES,
    image_key,
    million_key,
)
from workloads import Workload, dd, fio_files, fio_object, pause, read, settle, write

KIB = 1 << 10
RAW_BLOCKS = 5_000
INSTANT = "instant"
S3_LIKE = "s3-like"
TEN_MS = "10ms"
THIRTY_MS = "30ms"


@dataclass(frozen=True)
class Step:
    """A part of a case; all parts of a case run on the same mount, or from `remount` on on another."""

    workload: Workload
    suffix: str = ""
    measured: bool = True
    unit: str = ""
    """If it is not that of the case."""
    remount: bool = False


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    name: str
    group: str
    about: str
    steps: tuple[Step, ...]
    model: str = INSTANT
    unit: str = "MiB/s"
    options: Options = field(default_factory=Options)
    headline: bool = False
    """Whether `--quick` runs it."""
    null_ceiling: bool = False
    """Whether the null file system is measured beside it."""
    raw: RawGet | None = None
    """The raw GET that is measured beside it."""
    with_mount: bool = False
    """Whether the time that the mount takes to answer counts."""
    cached: bool = False
    """Whether the client has a cache on the disk, empty at first."""
    observed: bool = False
    """Whether our command is measured once more, with its figures fetched and sent each second."""
    gathering: bool = False
    """Whether our command is measured once more, with the kernel gathering what is written."""
    backing: PlainFiles | None = None
    """The plain files that are read beside it."""

    def mounts(self) -> list[list[Step]]:
        """The steps of each mount."""
        found: list[list[Step]] = [[]]
        for step in self.steps:
            if step.remount:
                found.append([])
            found[-1].append(step)
        return found


def all_cases() -> list[Case]:
    """Every case, in the order in which they run."""
    return [*_sequential(), *_random(), *_again(), *_cache(), *_many_files(), *_fio(), *_writing(), *_new_files()]


def _one(workload: Workload) -> tuple[Step, ...]:
    return (Step(workload),)


def _streams(count: int) -> tuple[Step, ...]:
    return _one(read("streams", [f"streams/{i:02}.bin" for i in range(count)], workers=count))


def _sequential() -> list[Case]:
    group = "Sequential"
    whole, half, quarter = LARGE_BYTES, LARGE_BYTES // 2, LARGE_BYTES // 4
    raw_whole, raw_half = RawGet((LARGE,), whole), RawGet((LARGE,), half)
    raw_four = RawGet(tuple(f"streams/{i:02}.bin" for i in range(4)), quarter)
    tls, limited = Options(tls=True), Options(memory_target_mib=512)
    return [
        Case("dd", group, "dd bs=1M iflag=nocache, one 4 GiB object", _one(dd(LARGE, whole)),
             headline=True, null_ceiling=True, raw=raw_whole, observed=True),
        Case("dd-direct", group, "dd bs=1M iflag=direct, the same", _one(dd(LARGE, whole, direct=True)),
             headline=True, null_ceiling=True, raw=raw_whole),
        Case("dd-s3-like", group, "dd bs=1M iflag=nocache, 2 GiB", _one(dd(LARGE, half)), S3_LIKE,
             headline=True, raw=raw_half),
        Case("dd-tls", group, "dd bs=1M iflag=nocache, 2 GiB, TLS", _one(dd(LARGE, half)), options=tls, raw=raw_half),
        Case("streams-4", group, "4 objects at once, 1 MiB reads", _streams(4), null_ceiling=True, raw=raw_four),
        Case("streams-16", group, "16 objects at once, 1 MiB reads", _streams(16)),
        Case("mmap-seq", group, "mapped, from the start, 1 MiB at a time", _one(read("mmap-sequential", [LARGE]))),
        Case("dd-512M", group, "dd, 1 GiB, --memory-target 512", _one(dd(LARGE, quarter)), options=limited),
        Case("streams-16-512M", group, "16 objects, --memory-target 512", _streams(16), options=limited),
        Case("streams-64-512M", group, "64 objects, --memory-target 512", _streams(64), options=limited),
    ]


def _random() -> list[Case]:
    group, ops = "Random", "ops/s"

    def fio(block: int, threads: int, direct: bool) -> tuple[Step, ...]:
        return _one(fio_object(HUGE, HUGE_BYTES, "randread", block, threads, direct))

    def raw(block: int) -> RawGet:
        return RawGet((HUGE,), RAW_BLOCKS * block, block)

    return [
        Case("random-128K", group, "128 KiB, 1 thread, 100 GiB object", fio(128 * KIB, 1, False),
             unit=ops, headline=True, null_ceiling=True, raw=raw(128 * KIB)),
        Case("random-128K-direct", group, "128 KiB, 1 thread, direct", fio(128 * KIB, 1, True),
             unit=ops, null_ceiling=True, raw=raw(128 * KIB)),
        Case("random-4K", group, "4 KiB, 1 thread", fio(4 * KIB, 1, False),
             unit=ops, null_ceiling=True, raw=raw(4 * KIB)),
        Case("random-4K-direct", group, "4 KiB, 1 thread, direct", fio(4 * KIB, 1, True),
             unit=ops, null_ceiling=True, raw=raw(4 * KIB), observed=True),
        Case("stride-17M", group, "128 KiB at every 17 MiB",
             _one(read("stride", [HUGE], block=128 * KIB, stride=17 * MIB)),
             unit=ops, null_ceiling=True),
        Case("mmap-random", group, "mapped 4 GiB, whole 1 MiB blocks at random",
             _one(read("mmap-random", [LARGE])), unit=ops),
    ]  # fmt: skip


def _again() -> list[Case]:
    group = "Once more"
    shards = [f"shards/{i:02}.bin" for i in range(SHARDS)]

    def epoch(seed: int) -> Workload:
        return read("shuffle", shards, workers=8, seed=seed)

    return [
        Case("reread", group, "1 GiB read a second time, in a new open",
             (Step(dd(MIDDLE, MIDDLE_BYTES, keep=True), measured=False), Step(dd(MIDDLE, MIDDLE_BYTES, keep=True))),
             headline=True),
        Case("epoch", group, "4 GiB in 1 MiB samples, shuffled, 8 processes",
             (Step(epoch(1), "-1"), Step(epoch(2), "-2"))),
    ]  # fmt: skip


def _cache() -> list[Case]:
    group = "Cache"
    whole, half = dd(LARGE, LARGE_BYTES, keep=True), dd(LARGE, LARGE_BYTES // 2)
    settled = Step(settle(), measured=False)
    object_file = PlainFiles({LARGE: LARGE_BYTES})
    images = PlainFiles({image_key(number): TINY_FILE_BYTES for number in range(IMAGES)})

    def fio(block: int, suffix: str) -> Step:
        return Step(fio_object(LARGE, LARGE_BYTES, "randread", block, 1, direct=False), suffix, unit="ops/s")

    def epoch(seed: int) -> Workload:
        return read("epoch", ["images"], workers=8, folders=CLASSES, files=IMAGES, seed=seed)

    def again(name: str, about: str, options: Options) -> Case:
        # The memory that is read into is the same each time: a virtual machine may not have it before.
        steps = [Step(whole, measured=False), settled, Step(whole, measured=False), settled]
        steps += [Step(whole, "-seq"), Step(whole, "-seq-warm")]
        steps += [settled, fio(128 * KIB, "-random-128K"), settled, fio(4 * KIB, "-random-4K")]
        return Case(name, group, about, tuple(steps), options=options, headline=True, cached=True, backing=object_file)

    return [
        Case("first-uncached", group, "dd bs=1M iflag=nocache, 2 GiB, no cache", _one(half), S3_LIKE),
        Case("first-cached", group, "the same, filling a cache", _one(half), S3_LIKE, cached=True),
        again("cached", "4 GiB in the cache: dd from the disk and from memory; fio from the disk", Options()),
        again("cached-daemon", "the same without passthrough", Options(passthrough=False)),
        Case("cached-train", group,
             "20,000 files of 100 KiB, shuffled, 8 processes: into the cache, from the disk, and from memory",
             (Step(read("walk", ["images"]), measured=False), Step(epoch(1), "-1"), settled, Step(epoch(2), "-2"),
              Step(epoch(3), "-2-warm")),
             unit="files/s", headline=True, cached=True, backing=images),
        Case("cached-restart", group, "1 GiB in the cache, once before and once after a new mount",
             (Step(dd(MIDDLE, MIDDLE_BYTES), "-before"), settled, Step(dd(MIDDLE, MIDDLE_BYTES), "-after", remount=True)),
             S3_LIKE, cached=True),
    ]  # fmt: skip


def _many_files() -> list[Case]:
    group = "Many files"
    tiny = [f"tiny/{i:04}.bin" for i in range(TINY_FILES)]
    first = [f"small/{i:04}.bin" for i in range(60)]
    stats = read("stat", ["names"], folders=10, files=10 * NAMES_IN_DIRECTORY)
    believing = Options(metadata_ttl=60)
    names, walk = Step(read("list", ["tiny"]), measured=False), Step(read("walk", ["images"]), measured=False)

    def epoch(seed: int) -> Workload:
        return read("epoch", ["images"], workers=8, folders=CLASSES, files=IMAGES, seed=seed)

    return [
        Case("ttfb", group, "open and first 4 KiB of 60 files", _one(read("first-byte", first)), S3_LIKE, "files/s"),
        Case("ls", group, "ls -lR of 20,000 objects in 20 directories", _one(read("list", ["names"])), unit="names/s"),
        Case("list-100k-30ms", group, "ls -f of 100,000 objects in one directory", _one(read("names", ["flat"])),
             THIRTY_MS, unit="names/s"),
        Case("walk-20k-10ms", group, "ls -lR of 20,000 objects in 20 directories", _one(read("list", ["names"])),
             TEN_MS, unit="names/s"),
        Case("find-100x1000-10ms", group, "find in 100 directories of 1,000 objects", _one(read("find", ["wide"])),
             TEN_MS, unit="names/s"),
        Case("tiny-1", group, "2,000 files of 100 KiB, one after the other", _one(read("files", tiny)),
             unit="files/s", headline=True),
        Case("tiny-8", group, "2,000 files of 100 KiB, 8 processes", _one(read("files", tiny, workers=8)),
             unit="files/s"),
        Case("tiny-1-10ms", group, "2,000 files of 100 KiB, one after the other", _one(read("files", tiny)),
             TEN_MS, "files/s"),
        Case("stat-10ms", group, "stat of 10,000 names, and once more 2 s later",
             (Step(stats, "-1"), Step(pause(2), measured=False), Step(stats, "-2")),
             TEN_MS, "names/s"),
        Case("tiny-1-ttl-10ms", group, "2,000 files of 100 KiB, --metadata-ttl 60", _one(read("files", tiny)),
             TEN_MS, "files/s", believing),
        Case("tiny-8-ttl-10ms", group, "the same, 8 processes", _one(read("files", tiny, workers=8)),
             TEN_MS, "files/s", believing),
        Case("tiny-1-known-10ms", group, "the same after ls -l, one after the other", (names, Step(read("files", tiny))),
             TEN_MS, "files/s", believing),
        Case("tiny-8-known-10ms", group, "the same after ls -l, 8 processes", (names, Step(read("files", tiny, workers=8))),
             TEN_MS, "files/s", believing),
        Case("train-epoch", group, "20,000 files of 100 KiB in 100 directories, shuffled, 8 processes, --metadata-ttl 60",
             (walk, Step(epoch(1), "-1"), Step(epoch(2), "-2")), S3_LIKE, "files/s", believing, headline=True),
        Case("index-first-file", group, "mount of 1,000,000 objects with an index, and its first file",
             _one(read("files", [million_key(500_500)])), S3_LIKE, "files/s", Options(index=True), headline=True,
             with_mount=True),
        Case("index-open", group, "open of each of 1,000,000 objects with an index", _one(read("open", [""])),
             S3_LIKE, "files/s", Options(index=True)),
    ]  # fmt: skip


def _fio() -> list[Case]:
    cases = []
    block = 256 * KIB
    for mode, word in (("read", "seq"), ("randread", "rand")):
        for threads in (1, 4):
            for direct in (False, True):
                name = f"{word}-{threads}" + ("-direct" if direct else "")
                about = f"{threads} thread{'s' if threads > 1 else ''}" + (", direct" if direct else "")
                huge = _one(fio_object(HUGE, HUGE_BYTES, mode, block, threads, direct))
                cases.append(Case(f"fio-{name}", "fio, 256 KiB of a 100 GiB object", about, huge))
                if not direct:
                    cases.append(Case(f"fio-{name}-s3-like", "fio, 256 KiB of a 100 GiB object", about, huge, S3_LIKE))
                # One reader of 5 MiB files waits for each of them: fewer do.
                count = 24 if threads == 1 else 96
                files = _one(fio_files("small", count, SMALL_FILE_BYTES, mode, block, threads, direct))
                cases.append(Case(f"fio-5M-{name}", "fio, 256 KiB of 5 MiB files", about, files, S3_LIKE))
    return cases


def _writing() -> list[Case]:
    group = "Writing"
    writes = Options(writes=True)

    def case(name: str, about: str, size: int, block: int, workers: int = 1, model: str = INSTANT, *,
             direct: bool = False, headline: bool = False, gathering: bool = False) -> Case:
        names = [f"{i:02}.bin" for i in range(workers)]
        steps = _one(write("sequential", names, size=size, block=block, workers=workers, direct=direct))
        # It stores nothing: where much else is waited for, it says nothing.
        null_ceiling = workers == 1 and model == INSTANT
        return Case(name, group, about, steps, model, options=writes, headline=headline, gathering=gathering,
                    null_ceiling=null_ceiling)

    return [
        case("write-256K", "one file of 4 GiB, blocks of 256 KiB", 4 * GIB, 256 * KIB, gathering=True),
        case("write-1M", "one file of 4 GiB, blocks of 1 MiB", 4 * GIB, MIB, headline=True),
        case("write-256K-direct", "the same, direct, blocks of 256 KiB", 4 * GIB, 256 * KIB, direct=True),
        case("write-1M-direct", "the same, direct, blocks of 1 MiB", 4 * GIB, MIB, direct=True),
        case("write-4K", "one file of 1 GiB, blocks of 4 KiB", GIB, 4 * KIB, headline=True, gathering=True),
        case("write-s3-like", "one file of 4 GiB, blocks of 1 MiB", 4 * GIB, MIB, model=S3_LIKE),
        case("writers-4", "4 files of 1 GiB at once, blocks of 1 MiB", GIB, MIB, 4),
        case("checkpoint-16", "16 files of 1 GiB at once, blocks of 1 MiB", GIB, MIB, 16, S3_LIKE, headline=True),
    ]  # fmt: skip


def _new_files() -> list[Case]:
    group = "New files"
    writes, directory_bucket = Options(writes=True), Options(writes=True, directory_bucket=True)
    size = 100 * KIB

    def files(count: int, workers: int) -> Workload:
        return write("files", [f"{i:04}.bin" for i in range(count)], size=size, block=size, workers=workers)

    renamed = write("rename", [f"{i:04}.bin" for i in range(300)])
    return [
        # One writer waits for each file: fewer do.
        Case("create-1", group, "300 files of 100 KiB, one after the other", _one(files(300, 1)), S3_LIKE,
             unit="files/s", options=writes),
        Case("create-8", group, "1,000 files of 100 KiB, 8 processes", _one(files(1000, 8)), S3_LIKE,
             unit="files/s", options=writes, headline=True),
        Case("append", group, "1 MiB added in each of 200 opens", _one(write("append", ["log"], size=200 * MIB)), S3_LIKE,
             unit="opens/s", options=directory_bucket),
        Case("rename", group, "300 files renamed, one after the other",
             (Step(files(300, 8), measured=False), Step(renamed)), S3_LIKE, unit="files/s", options=directory_bucket),
    ]  # fmt: skip
