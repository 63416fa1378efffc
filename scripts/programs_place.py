"""Where a case of programs.py runs, and how it says what must come of it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import errorcode
from pathlib import Path

from mounts import LONG, Wrong

# Kinds of mounts: files are written once and in order; they can be renamed, too; they are staged, and
# written in any order.
PLAIN, RENAMES, STAGED = "plain", "renames", "staged"


@dataclass(frozen=True)
class Case:
    """One thing to do on a mount."""

    name: str
    run: Callable[[Place], None]
    ways: tuple[str, ...]


class Cases(list):
    """Cases, in the order of the functions that are marked with `case`."""

    def case(self, *ways: str) -> Callable:
        """Makes a case of a function, for mounts of these kinds: PLAIN alone if none is named."""

        def add(function: Callable) -> Callable:
            self.append(Case(function.__name__.replace("_", "-"), function, ways or (PLAIN,)))
            return function

        return add


class Place:
    """A directory on the mount, one beside it, and what the bucket must hold in the end."""

    def __init__(self, name: str, mount: str, scratch: str) -> None:
        self.name = name
        self.path = Path(mount, name)
        self.scratch = Path(scratch)
        self.expected: dict[str, str] = {}
        self._random = random.Random(name)
        self.path.mkdir()

    def bytes(self, size: int) -> bytes:
        """Bytes that compress badly; others at each call."""
        return self._random.randbytes(size)

    def make(self, name: str, size: int) -> Path:
        """A file beside the mount."""
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes(size))
        return path

    def sparse(self) -> Path:
        """A file of 20 MiB beside the mount, with data in its middle alone."""
        path = self.scratch / "sparse"
        with open(path, "wb") as file:
            file.truncate(20 << 20)
            file.seek(10 << 20)
            file.write(b"data")
        return path

    def tree(self, name: str = "tree") -> Path:
        """A directory beside the mount, with an empty file, small ones, deep ones and one of two parts."""
        for file, size in TREE.items():
            self.make(f"{name}/{file}", size)
        return self.scratch / name

    def run(self, *command: str | Path, status: int | tuple[int, ...] = 0, says: str = "", **more) -> str:
        """Runs a program to its end, in the scratch directory if `more` names no other, which must end
        with `status` (or one of them), and with `says` in what it prints. What it printed."""
        line = [str(word) for word in command]
        done = subprocess.run(
            line, capture_output=True, cwd=more.pop("cwd", self.scratch), timeout=LONG, check=False,
            env=dict(os.environ, LC_ALL="C", HOME=str(self.scratch)), **more,
        )  # fmt: skip
        output = (done.stdout + done.stderr).decode(errors="replace")
        statuses = status if isinstance(status, tuple) else (status,)
        if done.returncode not in statuses or says not in output:
            raise Wrong(f"{' '.join(line)!r} ended with {done.returncode} instead of {status}, and said {output!r}")
        return output

    def shell(self, script: str, *arguments: str | Path, **more) -> str:
        """Runs a script of bash, whose directory is that on the mount."""
        return self.run("bash", "-ec", script, "bash", *arguments, cwd=self.path, **more)

    def holds(self, name: str, content: Path | bytes) -> None:
        """Says that the bucket must hold this in the end."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        self.expected[name] = hashlib.sha256(data).hexdigest()

    def holds_tree(self, name: str, tree: Path) -> None:
        """Says that the bucket must hold the files of a directory."""
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                self.holds(f"{name}/{path.relative_to(tree)}", path)

    def holds_shown(self) -> None:
        """Says that the bucket must hold what the mount shows now: for programs that choose the bytes
        of their files themselves, and have checked them."""
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                self.holds(str(path.relative_to(self.path)), path)

    @contextmanager
    def fails(self, *errors: int) -> Iterator[None]:
        """What is done inside must fail with one of these errnos."""
        try:
            yield
        except OSError as error:
            if error.errno not in errors:
                raise Wrong(f"{error} instead of {[errorcode[one] for one in errors]}") from error
            return
        raise Wrong(f"it succeeds, instead of failing with {[errorcode[one] for one in errors]}")


TREE = {"empty": 0, "one": 1, "a b/page": 4096, "a b/deep/er/100k": 100_000, "more/9M": 9 << 20}
