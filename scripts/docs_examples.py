#!/usr/bin/env python3
"""Runs the examples of a document, and compares what they print with what the document says.

Usage: docs_examples.py [--bin DIRECTORY] [DOCUMENT.md ...]   (default: target/debug, those with examples)

An example is a fenced block that is marked `console`: lines that begin with `$ ` are commands of one bash session
(`> ` continues one), the lines after them what it prints. A line `...` stands for any lines, `...` at the end of a
line for the rest of it. Each example begins with
an empty bucket `my-bucket` on the local S3 server (marked `console directory-bucket`, one that appends and renames)
and an empty directory /mnt/data, both for itself: it runs in a mount namespace of its own, so that nothing is seen
outside. `mount-s3` and `aws` are the real programs, told in their environment where S3 is. Exits 0 if every example
prints what it should, else 1 with the differences.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mounts import ACCESS_KEY, LONG, SECRET_KEY, Server, Wrong

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```console(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = ("semantics.md", "troubleshooting.md", "cache.md")


class Example:
    """A block of a document: commands, and what they must print."""

    def __init__(self, place: str, kind: str, text: str) -> None:
        self.place = place
        self.arguments = {"": [], "directory-bucket": ["--directory"]}[kind.strip()]
        self.steps: list[tuple[str, list[str]]] = []
        for line in text.splitlines():
            if line.startswith("$ "):
                self.steps.append((line[2:], []))
            elif line.startswith("> ") and not self.steps[-1][1]:
                command, printed = self.steps[-1]
                self.steps[-1] = (f"{command}\n{line[2:]}", printed)
            elif self.steps:
                self.steps[-1][1].append(line)
            else:
                raise Wrong(f"{place}: an example begins with a command")


class Session:
    """A bash with a bucket and a mount point."""

    def __init__(self, binaries: Path, arguments: list[str], scratch: Path) -> None:
        self.server = Server(str(binaries), "my-bucket", *arguments)
        programs = scratch / "bin"
        programs.mkdir()
        # For mounts, as not every machine has a syslog.
        self.log = f"{scratch}/log"
        more = f"--log-directory {self.log}"
        script = f'#!/bin/sh\ncase "$2" in /*) set -- "$@" {more} ;; esac\nexec {binaries}/mount-s3 "$@"\n'
        (programs / "mount-s3").write_text(script)
        (programs / "mount-s3").chmod(0o755)
        (programs / "aws").symlink_to(ROOT / "target/tools/bin/aws")
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(scratch), "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.server.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        os.makedirs("/mnt/data", exist_ok=True)
        self.shell = subprocess.Popen(
            ["bash", "--norc"], cwd=scratch, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> list[str]:
        """The lines that the command prints."""
        end = "-- end of the command --"
        self.shell.stdin.write(f"{{ {command}\n}}\nprintf '\\n%s\\n' '{end}'\n")
        self.shell.stdin.flush()
        lines = []
        for line in self.shell.stdout:
            if line == f"{end}\n":
                break
            lines.append(re.sub(r"^bash: line \d+: ", "bash: ", line.rstrip("\n")))
        # The next command is not to find the daemon at the end of its work.
        if command.startswith("umount "):
            self.wait_for_daemons()
        # The line break before the mark: the command's own last one, or that of a last line without one.
        return lines[:-1] if lines and not lines[-1] else lines

    def end(self) -> None:
        self.shell.stdin.close()
        try:
            self.shell.wait(LONG)
        except subprocess.TimeoutExpired:
            self.shell.kill()
        while os.path.ismount("/mnt/data"):
            subprocess.run(["umount", "--lazy", "/mnt/data"], check=True)
        # The server has to be there for what a daemon still sends, the directory for its files.
        try:
            self.wait_for_daemons()
        finally:
            self.server.end()

    def wait_for_daemons(self) -> None:
        """They end after the unmount."""
        deadline = time.monotonic() + LONG
        while any(self.is_daemon(process) for process in Path("/proc").glob("[0-9]*")):
            if time.monotonic() > deadline:
                raise Wrong(f"the daemon does not end within {LONG} s of the unmount")
            time.sleep(0.02)

    def is_daemon(self, process: Path) -> bool:
        """Whether it is one of this session. Its program is hidden from those who may not trace it."""
        try:
            return self.log.encode() in (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False


def as_said(said: list[str], printed: list[str]) -> bool:
    """Whether the lines are those that the document has, in which `...` stands for any lines."""

    def pattern(line: str) -> str:
        if line == "...":
            return r"(?:.*\n)*?"
        return re.escape(line.removesuffix("...")) + (r".*\n" if line.endswith("...") else r"\n")

    return re.fullmatch("".join(map(pattern, said)), "".join(f"{line}\n" for line in printed)) is not None


def run(example: Example, binaries: Path) -> list[str]:
    """What is wrong with the example; nothing if it is right."""
    with tempfile.TemporaryDirectory(prefix="docs-examples-") as scratch:
        session = Session(binaries, example.arguments, Path(scratch))
        try:
            for command, said in example.steps:
                printed = session.run(command)
                if not as_said(said, printed):
                    difference = difflib.unified_diff(said, printed, "said", "printed", lineterm="", n=9)
                    return [f"{example.place}: $ {command}", *list(difference)[2:]]
        finally:
            session.end()
    return []


def examples(document: Path) -> list[Example]:
    text = document.read_text(encoding="utf-8")
    return [
        Example(f"{document.name}:{text.count(chr(10), 0, match.start()) + 1}", match["kind"], match["text"])
        for match in BLOCK.finditer(text)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the examples of documents.")
    parser.add_argument("--bin", type=Path, default=ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("documents", nargs="*", type=Path, default=[ROOT / "docs" / name for name in DOCUMENTS])
    arguments = parser.parse_args()
    if not arguments.inside:
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", "--mount", "--propagation", "private", *user, sys.executable, *sys.argv, "--inside"]
        os.execvp(command[0], command)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    failures = 0
    began = time.monotonic()
    try:
        found = [example for document in arguments.documents for example in examples(document.resolve())]
        for example in found:
            wrong = run(example, arguments.bin.resolve())
            failures += bool(wrong)
            print("\n".join(wrong or [f"{example.place}: ok"]), flush=True)
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
    print(f"{len(found)} examples in {time.monotonic() - began:.0f} s, {failures} wrong")
    sys.exit(1 if failures or not found else 0)


if __name__ == "__main__":
    main()
