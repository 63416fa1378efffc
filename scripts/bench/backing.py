"""The ceiling of a cache: plain files on the same disk, read without any file system of ours."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BACKING = "backing-file"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PlainFiles:
    """Files of these names and sizes, which stand in for the objects of a case."""

    sizes: dict[str, int]

    def write(self, directory: Path) -> None:
        """Makes them, of bytes that no file system can make less of."""
        chunk = os.urandom(_CHUNK)
        for key, size in self.sizes.items():
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for at in range(0, size, _CHUNK):
                    file.write(chunk[: size - at])


@contextmanager
def fresh_directory(disk: Path) -> Iterator[Path]:
    """An empty directory of this user alone on the disk that is measured, removed afterwards."""
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cache-", dir=disk, ignore_cleanup_errors=True) as name:
        yield Path(name)
