#!/usr/bin/env python3
"""Reads a mounted bucket from many readers at once while objects are replaced and the store fails.

usage: stress.py [--seconds N] [--seed N] [--readers N] [--bin DIRECTORY]

Starts the local S3 server and a mount, then, for N seconds:
- readers (threads of several processes) read sequentially, at random, backwards, in strides, directly
  (O_DIRECT), by mmap and in short opens;
- objects are replaced by others of the same key;
- calm times alternate with slow ones and with faults: 503s, resets, cut and stalled bodies, outages.

Every byte is verified: all reads of an open file are of one version of its object, one that existed
when it was opened. A read may fail with ESTALE once its version is gone, and with EIO while the store
fails; nothing else. At the end the mount must be as at the start: reads that succeed, no request open,
memory given back, an unmount at once and exit status 0.

Exits 0 if all of that held, else 1 with the reasons. The seed decides who does what, not when the
machine does it: a failure may take several runs to come again.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time

from mounts import MIB, Mount, Server, Wrong
from stress_readers import MAX_VERSIONS, SIZES, Content, Shared, seed_of, size_of, work

BUCKET = "stress"

# Longest time that one system call may take: all retries of the slowest fault, on a busy machine.
STUCK_SECONDS = 120.0

READERS_A_PROCESS = 8

# Resident memory above that of the start that is not worth asking about, and above --memory-target.
CALM_RSS_MIB = 192
PEAK_RSS_MIB = 88


def rule(fault: dict, rate: float, **more) -> dict:
    return {"fault": fault, "operation": "GetObject", "rate": rate, **more}


def weather(choice: random.Random) -> tuple[str, dict, bool]:
    """A state of the store: its name, its model, and whether reads may fail by it."""
    seed = choice.randrange(1 << 32)
    reset = rule({"kind": "reset", "after_bytes": choice.choice([None, 0, 100_000])}, 0.2)
    cut = rule({"kind": "truncate", "after_bytes": choice.choice([0, 1, 300_000])}, 0.2)
    stall = rule({"kind": "stall", "after_bytes": 100_000, "seconds": choice.choice([1, 3])}, 0.1)
    long_stall = rule({"kind": "stall", "after_bytes": 100_000, "seconds": 14}, 0.02)
    outage = rule({"kind": "error", "status": 500, "code": "InternalError"}, 1.0,
                  key_prefix=f"object-{choice.randrange(5)}")
    refusal = rule({"kind": "error", "status": 400, "code": "InvalidRequest"}, 0.3)
    return choice.choice([
        ("slow", {"first_byte_ms": 15, "list_ms": 30, "bandwidth": 90_000_000}, False),
        ("very slow", {"first_byte_ms": 200, "list_ms": 200, "bandwidth": 20_000_000}, False),
        ("503s", {"seed": seed, "slow_down_rate": 0.3}, True),
        ("resets", {"seed": seed, "rules": [reset]}, True),
        ("cut bodies", {"seed": seed, "rules": [cut]}, True),
        ("stalls", {"seed": seed, "first_byte_ms": 15, "rules": [stall, long_stall]}, True),
        ("an outage", {"seed": seed, "rules": [outage]}, True),
        ("refusals", {"seed": seed, "rules": [refusal]}, True),
        ("everything", {"seed": seed, "first_byte_ms": 15, "slow_down_rate": 0.1,
                        "rules": [reset, cut, stall]}, True),
    ])


class Run:
    """The run as a whole."""

    def __init__(self, options: argparse.Namespace, server: Server, mount: Mount) -> None:
        self.options, self.server, self.mount = options, server, mount
        self.shared = Shared(options.readers)
        self.random = random.Random(options.seed)
        self.problems: list[str] = []
        self.replaced = self.peak_mib = 0

    def run(self) -> None:
        for key in range(len(SIZES)):
            self.plant(key, 0)
        content = Content()
        # The first reads make what stays: threads, connections, tables.
        for key in range(len(SIZES)):
            self.read_again(key, content)
        self.start_mib = self.mount.rss_mib()
        processes = self.start_readers(content)
        try:
            self.disturb()
        finally:
            self.shared.stop.set()
            totals = self.collect(processes)
        self.finish(content)
        self.summarize(totals)

    def start_readers(self, content: Content) -> list:
        processes = []
        for first in range(0, self.options.readers, READERS_A_PROCESS):
            numbers = range(first, min(first + READERS_A_PROCESS, self.options.readers))
            arguments = (numbers, self.mount.directory, content, self.shared, self.options.seed)
            processes.append(multiprocessing.Process(target=work, args=arguments, daemon=True))
            processes[-1].start()
        return processes

    def disturb(self) -> None:
        """Replaces objects and changes the weather until the time is over or something fails."""
        end = time.monotonic() + self.options.seconds
        self.change, calm, next_line = time.monotonic() + 3, True, 0.0
        name = "calm"
        while (now := time.monotonic()) < end and not self.shared.stop.wait(self.random.uniform(0.02, 0.3)):
            if now >= self.change:
                self.change = now + (self.random.uniform(3, 9) if calm else self.random.uniform(1, 4))
                name, calm = self.set_weather(calm), not calm
            self.replace(self.random.randrange(len(SIZES)))
            rss = self.mount.rss_mib()
            self.peak_mib = max(self.peak_mib, rss)
            if now >= next_line:
                next_line = now + 10
                print(f"{end - now:4.0f} s left  {name:<10}  {self.replaced} replaced  RSS {rss} MiB", flush=True)
            if not self.mount.alive():
                self.problems.append("the daemon has ended")
                return
            if self.stuck():
                return

    def stuck(self) -> bool:
        now = time.monotonic()
        for number, entered in enumerate(self.shared.entered):
            if 0 < entered < now - STUCK_SECONDS:
                self.problems.append(f"reader {number} has waited for {now - entered:.0f} s")
                return True
        return False

    def set_weather(self, calm: bool) -> str:
        name, model, faults = weather(self.random) if calm else ("calm", {}, False)
        if faults:
            self.shared.faults_until.value = float("inf")
        self.server.call("PUT", "/model", model)
        if not faults and self.shared.faults_until.value == float("inf"):
            self.shared.faults_until.value = time.monotonic()
        return name

    def plant(self, key: int, version: int) -> None:
        self.server.call("PUT", "/object", {
            "bucket": BUCKET,
            "key": f"object-{key:02}",
            "seed": seed_of(key, version),
            "size": size_of(key, version),
        })

    def replace(self, key: int) -> None:
        version = self.shared.begun[key] + 1
        if version == MAX_VERSIONS:
            return
        self.shared.begun[key] = version
        self.plant(key, version)
        self.shared.placed[key * MAX_VERSIONS + version] = time.monotonic()
        self.replaced += 1

    def collect(self, processes: list) -> dict[str, int]:
        """Waits for the readers; those that hang are told of by number."""
        self.set_weather(calm=False)
        deadline = time.monotonic() + STUCK_SECONDS
        totals: dict[str, int] = {}
        reports = 0
        while reports < len(processes) and time.monotonic() < deadline:
            if self.shared.reports.empty():
                if not any(process.is_alive() for process in processes) and self.shared.reports.empty():
                    break
                time.sleep(0.05)
                continue
            counts, failures = self.shared.reports.get()
            reports += 1
            self.problems += failures
            for what, number in counts.items():
                totals[what] = totals.get(what, 0) + number
        if reports < len(processes):
            now = time.monotonic()
            waiting = {n: f"{now - at:.0f} s" for n, at in enumerate(self.shared.entered) if at > 0}
            self.problems.append(f"{len(processes) - reports} processes of readers did not end; waiting: {waiting}")
            for process in processes:
                process.kill()
        for process in processes:
            process.join(10)
        return totals

    def finish(self, content: Content) -> None:
        """Everything must be as before."""
        if not self.mount.alive():
            self.problems.append(f"the daemon has ended with status {self.mount.process.returncode}")
            return
        self.wait("requests are open at the server", 2,
                  lambda: self.server.call("GET", "/stats")["requests_open"], lambda count: count == 0)
        for key in range(len(SIZES)):
            if self.problems:
                break
            self.read_again(key, content)
        if self.peak_mib > self.options.memory_target + PEAK_RSS_MIB:
            self.problems.append(f"{self.peak_mib} MiB at the peak, with a target of {self.options.memory_target}")
        limit = self.start_mib + CALM_RSS_MIB
        self.end_mib = self.wait(f"MiB are resident; {self.start_mib} at the start", 15,
                                 self.mount.rss_mib, lambda rss: rss <= limit)
        try:
            self.mount.unmount()
        except Wrong as wrong:
            self.problems.append(str(wrong))

    def wait(self, problem: str, seconds: float, value, good) -> int:
        deadline = time.monotonic() + seconds
        while not good(last := value()):
            if time.monotonic() > deadline:
                self.problems.append(f"{last} {problem}, {seconds} s after the last close")
                break
            time.sleep(0.1)
        return last

    def read_again(self, key: int, content: Content) -> None:
        """The newest version, beginning and end; nothing may fail now."""
        version = self.shared.begun[key]
        size = size_of(key, version)
        try:
            with open(f"{self.mount.directory}/object-{key:02}", "rb", buffering=0) as file:
                for offset in (0, max(0, size - MIB)):
                    if os.pread(file.fileno(), MIB, offset) != content.bytes(key, version, offset, MIB):
                        self.problems.append(f"object-{key:02} is not as its version {version} at {offset}")
        except OSError as error:
            self.problems.append(f"object-{key:02} cannot be read in calm: {error}")

    def summarize(self, totals: dict[str, int]) -> None:
        reads, size = totals.pop("reads", 0), totals.pop("bytes", 0)
        if reads == 0:
            self.problems.append("nothing was read")
        others = ", ".join(f"{number} {what}" for what, number in sorted(totals.items()))
        stats = self.server.call("GET", "/stats")
        statuses = ", ".join(f"{number} x {status}" for status, number in stats["statuses"].items())
        print(f"{reads} reads, {size / 1e9:.2f} GB verified ({others}); {self.replaced} objects replaced")
        print(f"the server's answers: {statuses} (0: reset)")
        print(f"RSS {self.start_mib} MiB at the start, {self.peak_mib} at the peak, {getattr(self, 'end_mib', 0)} at the end")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300, help="default 300")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--readers", type=int, default=64, help="default 64")
    parser.add_argument("--memory-target", type=int, default=512, help="MiB, default 512")
    parser.add_argument("--bin", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release"),
                        help="directory of mount-s3 and s3-test-server")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.readers} readers, {options.seconds:.0f} s", flush=True)

    multiprocessing.set_start_method("fork")
    work_directory = tempfile.mkdtemp(prefix="stress-")
    server, mount, problems = None, None, []
    try:
        server = Server(options.bin, BUCKET)
        arguments = ["--read-only", "--memory-target", str(options.memory_target)]
        mount = Mount(f"{options.bin}/mount-s3", BUCKET, server.endpoint, work_directory, arguments)
        run = Run(options, server, mount)
        problems = run.problems
        run.run()
    except (Wrong, OSError) as error:
        problems.append(str(error))
    finally:
        if mount:
            mount.destroy()
        if server:
            server.end()

    if problems:
        for problem in problems[:20]:
            print(f"WRONG  {problem}", file=sys.stderr)
        print(f"{len(problems)} problems; --seed {options.seed}; the daemon's log is {work_directory}/log", file=sys.stderr)
        if mount:
            print(mount.log(), file=sys.stderr)
        return 1
    os.remove(f"{work_directory}/log")
    os.rmdir(f"{work_directory}/mnt")
    os.rmdir(work_directory)
    print("No wrong byte; the mount ended as it began.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
