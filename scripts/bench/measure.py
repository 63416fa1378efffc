"""One measurement: a fresh mount, the workload, and what it cost the client and the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from backing import BACKING, fresh_directory
from cases import Case, Step
from clients import Client, Mounted, Refused
from machine import CpuTime, busy_time, children_time, cpu_time, drop_caches, peak_rss
from raw import fetch
from stores import Store
from workers import Tally
from workloads import Context, Failed

GIB = 1 << 30
DISTURBED = 0.1
"""When other processes took this part of the machine, a run says little."""


@dataclass
class Figures:
    """What one run of one step of a case showed."""

    case: str
    client: str
    round: int
    error: str = ""
    unit: str = "MiB/s"
    rate: float = 0.0
    seconds: float = 0.0
    bytes_asked: int = 0
    """What the program read or wrote."""
    operations: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    client_user_s: float = 0.0
    client_sys_s: float = 0.0
    server_cpu_s: float = 0.0
    peak_rss: int = 0
    bytes_moved: int = 0
    """What the store sent in answers, or received of a client that writes."""
    requests: dict[str, int] = field(default_factory=dict)
    disturbed: float = 0.0
    """Part of the machine's CPU time that went to processes that have nothing to do with the run."""


@dataclass(frozen=True)
class Bench:
    """Where everything runs, and for how long."""

    store: Store
    directory: Path
    """To mount at."""
    disk: Path
    """Where caches are, each in a directory of its own."""
    seconds: float
    """How long a run that has no end of its own lasts."""


def measure(case: Case, client: Client, bench: Bench, number: int) -> list[Figures]:
    """Runs the steps of `case` on a mount of its own. A client that refuses or fails gives figures
    whose `error` says so."""
    turn = _Turn(case, client.name, number)
    bench.store.set_model(case.model)
    drop_caches()
    try:
        with fresh_directory(bench.disk) if case.cached else nullcontext() as cache:
            options = replace(case.options, cache=cache)
            for steps in case.mounts():
                with Mounted(client, bench.store, bench.directory, options) as mounted:
                    context = Context(mounted.directory, bench.seconds, f"written-{time.time_ns()}", cache)
                    _run_steps(turn, steps, mounted, context, bench.store)
    except Refused as refusal:
        turn.refuse(str(refusal))
    return turn.found


def measure_backing(case: Case, bench: Bench, number: int) -> list[Figures]:
    """Runs the steps of `case` on plain files in place of a mount."""
    turn = _Turn(case, BACKING, number)
    if case.backing is None:
        return []
    try:
        with fresh_directory(bench.disk) as directory:
            case.backing.write(directory)
            context = Context(directory, bench.seconds, "", directory)
            for step in case.steps:
                turn.add(step, _Run(step, context, bench.store, CpuTime), 0)
    except (Failed, OSError) as error:
        turn.refuse(str(error))
    return turn.found


def measure_raw(case: Case, name: str, program: str, store: Store, number: int) -> list[Figures]:
    """Fetches what the case names as its raw equivalent, with a program that mounts nothing."""
    if case.raw is None:
        return []
    figures = Figures(case.name, name, number, unit=case.unit)
    store.set_model(case.model)
    store.reset()
    server, busy = store.cpu(), busy_time()
    try:
        result = fetch(name, program, case.raw, store, case.options.tls)
    except OSError as error:
        figures.error = str(error)
        return [figures]
    server = store.cpu() - server
    others = busy_time() - busy - (server + result.cpu).total
    size = len(case.raw.keys) * case.raw.bytes_each
    tally = Tally(bytes=size, operations=case.raw.operations, seconds=result.seconds)
    _fill(figures, tally, result.cpu, server, store)
    figures.disturbed = _share(others, result.seconds)
    return [figures]


class _Run:
    """A workload, done, and the CPU time that it cost. Raises what the workload raises."""

    def __init__(self, step: Step, context: Context, store: Store, own_time: Callable[[], CpuTime]) -> None:
        store.reset()
        busy, program = busy_time(), children_time()
        server, own = store.cpu(), own_time()
        self.tally = step.workload(context)
        self.own, self.server = own_time() - own, store.cpu() - server
        program = children_time() - program
        self.others = busy_time() - busy - (self.own + self.server + program).total
        self.store = store


@dataclass
class _Turn:
    """A client's turn at a case, and what it has shown so far."""

    case: Case
    client: str
    number: int
    found: list[Figures] = field(default_factory=list)

    def add(self, step: Step, run: _Run, peak: int) -> None:
        """Adds what a step has shown, if it is measured; `peak` bytes were resident."""
        if not step.measured:
            return
        figures = self._figures(step)
        _fill(figures, run.tally, run.own, run.server, run.store, writes=self.case.options.writes)
        figures.disturbed = _share(run.others, run.tally.seconds)
        figures.peak_rss = peak
        self.found.append(figures)

    def refuse(self, why: str) -> None:
        """Adds figures with an error for the steps that were not done."""
        done = {figures.case for figures in self.found}
        left = [self._figures(step) for step in self.case.steps if step.measured]
        for figures in left:
            figures.error = why
        self.found += [figures for figures in left if figures.case not in done]

    def _figures(self, step: Step) -> Figures:
        return Figures(self.case.name + step.suffix, self.client, self.number, unit=step.unit or self.case.unit)


def _run_steps(turn: _Turn, steps: list[Step], mounted: Mounted, context: Context, store: Store) -> None:
    for step in steps:
        try:
            run = _Run(step, context, store, lambda: cpu_time(mounted.pid))
        except (Failed, OSError) as error:
            said = mounted.said()
            mounted.kill()
            raise Refused(f"{error}" + (f" ({said})" if said else "")) from error
        if turn.case.with_mount:
            run.tally.seconds += mounted.seconds
        turn.add(step, run, peak_rss(mounted.pid))
    if turn.case.options.writes and store.keeps_uploads:
        _delete_files(mounted.directory / context.fresh)


def _fill(
    figures: Figures, tally: Tally, own: CpuTime, server: CpuTime, store: Store, *, writes: bool = False
) -> None:
    counters = store.counters()
    figures.seconds = tally.seconds
    figures.bytes_asked = tally.bytes
    figures.operations = tally.operations
    amount = tally.bytes / (1 << 20) if figures.unit == "MiB/s" else tally.operations
    figures.rate = amount / tally.seconds if tally.seconds else 0.0
    figures.p50_us, figures.p99_us = tally.p50_us, tally.p99_us
    figures.client_user_s, figures.client_sys_s = own.user, own.sys
    figures.server_cpu_s = server.total
    figures.bytes_moved = counters.bytes_received if writes else counters.bytes_sent
    figures.requests = counters.requests


def _delete_files(directory: Path) -> None:
    """Deletes the files in a directory, which goes with the last of them."""
    for name in os.listdir(directory):
        (directory / name).unlink()


def _share(cpu_seconds: float, seconds: float) -> float:
    """The part of the machine's CPU time that `cpu_seconds` are."""
    return max(0.0, cpu_seconds / seconds / (os.cpu_count() or 1)) if seconds else 0.0
