"""One measurement: a fresh mount, the workload, and what it cost the client and the store."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from cases import Case
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


def measure(case: Case, client: Client, store: Store, directory: Path, number: int, seconds: float) -> list[Figures]:
    """Runs the steps of `case` on a mount of its own. A client that refuses or fails gives figures
    whose `error` says so."""
    store.set_model(case.model)
    drop_caches()
    names = [case.name + step.suffix for step in case.steps if step.measured]
    found: list[Figures] = []
    try:
        with Mounted(client, store, directory, case.options) as mounted:
            context = Context(mounted.directory, seconds, f"written-{time.time_ns()}")
            for step in case.steps:
                store.reset()
                busy, program = busy_time(), children_time()
                server, own = store.cpu(), cpu_time(mounted.pid)
                try:
                    tally = step.workload(context)
                    own, server = cpu_time(mounted.pid) - own, store.cpu() - server
                    program = children_time() - program
                    others = busy_time() - busy - (own + server + program).total
                except (Failed, OSError) as error:
                    said = mounted.said()
                    mounted.kill()
                    raise Refused(f"{error}" + (f" ({said})" if said else "")) from error
                if case.with_mount:
                    tally.seconds += mounted.seconds
                if step.measured:
                    figures = Figures(case.name + step.suffix, client.name, number, unit=case.unit)
                    _fill(figures, tally, own, server, store, writes=case.options.writes)
                    figures.peak_rss = peak_rss(mounted.pid)
                    figures.disturbed = _share(others, tally.seconds)
                    found.append(figures)
            if case.options.writes and store.keeps_uploads:
                _delete_files(mounted.directory / context.fresh)
    except Refused as refusal:
        done = {figures.case for figures in found}
        found += [Figures(name, client.name, number, str(refusal), case.unit) for name in names if name not in done]
    return found


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
