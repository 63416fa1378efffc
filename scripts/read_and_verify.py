#!/usr/bin/env python3
"""Reads every file of a manifest below a directory and verifies its SHA-256, with a progress bar.

usage: read_and_verify.py DIRECTORY MANIFEST [--jobs N]

MANIFEST has one line a file: SHA-256, size in bytes, path below DIRECTORY; tab-separated.
Exits 1 if a file differs, is missing, or if DIRECTORY holds a file that the manifest does not name.
"""

import argparse
import hashlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

BLOCK = 4 << 20


class Progress:
    """Bytes done so far, drawn as a bar on a terminal and as a line every 10 % elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.shown = total, 0, -1
        self.start, self.drawn = time.monotonic(), 0.0
        self.lock = threading.Lock()
        self.live = sys.stderr.isatty()

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            now = time.monotonic()
            percent = 100 * self.done // max(self.total, 1)
            step = percent if self.live else percent // 10 * 10
            if step == self.shown and now - self.drawn < 0.2 or (not self.live and step == self.shown):
                return
            self.shown, self.drawn = step, now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / max(rate, 1)
            bar = "#" * (percent * 40 // 100)
            text = f"[{bar:<40}] {percent:3d} %  {self.done / 1e9:6.2f} GB  {rate / 1e9:5.2f} GB/s  {left:3.0f} s left"
            print(text, end="\r" if self.live else "\n", file=sys.stderr, flush=True)

    def finish(self) -> float:
        if self.live:
            print(file=sys.stderr)
        return time.monotonic() - self.start


def verify(directory: str, expected: tuple[str, int, str], progress: Progress) -> str | None:
    """Reads one file; returns what is wrong with it, or None."""
    digest, size, path = expected
    hasher, length = hashlib.sha256(), 0
    buffer = bytearray(BLOCK)
    try:
        with open(os.path.join(directory, path), "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(memoryview(buffer)[:count])
                length += count
                progress.add(count)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if length != size:
        return f"{path}: {length} bytes instead of {size}"
    if hasher.hexdigest() != digest:
        return f"{path}: SHA-256 differs"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("manifest")
    parser.add_argument("--jobs", type=int, default=8, help="files read at once (default 8)")
    options = parser.parse_args()

    files = []
    with open(options.manifest, encoding="utf-8") as manifest:
        for line in manifest:
            digest, size, path = line.rstrip("\n").split("\t")
            files.append((digest, int(size), path))
    known = {path for _, _, path in files}
    found = {
        os.path.relpath(os.path.join(parent, name), options.directory)
        for parent, _, names in os.walk(options.directory)
        for name in names
    }
    problems = [f"{path}: not in the manifest" for path in sorted(found - known)]

    progress = Progress(sum(size for _, size, _ in files))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda expected: verify(options.directory, expected, progress), files)
        problems += [problem for problem in results if problem]
    seconds = progress.finish()

    for problem in problems[:20]:
        print(f"WRONG  {problem}", file=sys.stderr)
    if problems:
        print(f"{len(problems)} problems", file=sys.stderr)
        return 1
    print(f"{len(files)} files, {progress.done / 1e9:.2f} GB, every SHA-256 right: {progress.done / 1e9 / seconds:.2f} GB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
