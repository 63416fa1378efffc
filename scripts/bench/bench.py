"""Measures our command and its peers side by side; writes bench/results.{json,md,html}.

`make bench` runs this after everything was built; see docs/benchmarking.md.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from backing import BACKING
from cases import Case, all_cases
from charts import write_html
from clients import OURS, Client, find
from machine import describe, drop_caches, warm_memory
from measure import DISTURBED, Bench, Figures, measure, measure_backing, measure_raw
from progress import Progress
from raw import available
from report import Results, rate_text, write_json, write_markdown
from stores import LocalServer, Store
from summary import summarize

QUICK_PEERS = f"mountpoint,null-fuse,crt-get,{BACKING}"
TWIN = "-s3-like"
"""Cases of this ending do on a modelled store what the case of the same name without it does."""


def main() -> int:
    """Runs what the command line asks for."""
    options = _options()
    # So that the mount and the server are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    root = Path(__file__).resolve().parents[2]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    installed = root / "target"
    clients, notes = find(target / "release", installed / "tools", installed / "peers")
    raw = available(target / "release")
    wanted = options.peers.split(",")
    clients = [one for one in clients if one.name == OURS or _matches(one.name, wanted)]
    raw = {name: program for name, program in raw.items() if _matches(name, wanted)}
    cases = [case for case in all_cases() if _selected(case, options)]
    for note in notes:
        print(note, file=sys.stderr)
    if not drop_caches():
        notes.append("the page cache was not dropped between runs, which only root can do")
    warm_memory()
    out = Path(options.out or root / "bench")

    with tempfile.TemporaryDirectory(prefix="bench-") as name, _store(options, target, Path(name)) as store:
        bench = Bench(store, Path(name) / "mnt", Path(options.cache_disk or out), options.seconds)
        runs = _run(cases, clients, raw, bench, options)
        disturbed = sum(figures.disturbed >= DISTURBED for figures in runs)
        if disturbed:
            notes.append(f"{disturbed} of {len(runs)} runs were disturbed by other processes")
        results = Results(
            machine=describe(),
            settings={"store": options.bucket or "local server", "rounds": options.rounds, "seconds": options.seconds},
            notes=notes,
            cases=cases,
            runs=runs,
            lines=summarize(runs),
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(results, out / "results.json")
    write_markdown(results, out / "results.md")
    write_html(results, out / "results.html")
    print(f"Results: {out}/results.md, results.html, results.json")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each client takes its turn [3]")
    parser.add_argument("--seconds", type=float, default=3, help="length of a run that has no end of its own [3]")
    parser.add_argument("--cases", default="*", help="names or patterns, with commas between [all]")
    parser.add_argument("--peers", help="names or patterns, with commas between [all that are installed]")
    parser.add_argument("--quick", action="store_true", help=f"headline cases only, peers {QUICK_PEERS}")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--out", help="directory to write to [bench]")
    parser.add_argument("--cache-disk", metavar="DIRECTORY", help="where to put caches on the disk [that of --out]")
    parser.add_argument("--bucket", help="measure at this bucket of S3 instead of the local server")
    parser.add_argument("--region", default="us-east-1", help="its region")
    parser.add_argument(
        "--repeat-disturbed", type=int, default=1, metavar="N",
        help=f"repeat a run up to N times while other processes take over {100 * DISTURBED:.0f} %% of the CPUs [1]",
    )  # fmt: skip
    parser.add_argument("--lock", help="a file to hold a lock of while measuring, so that builds can wait")
    options = parser.parse_args()
    if options.list:
        for case in all_cases():
            print(f"{case.name:24} {case.model:8} {case.about}")
        sys.exit(0)
    options.peers = options.peers or (QUICK_PEERS if options.quick else "*")
    return options


def _selected(case: Case, options: argparse.Namespace) -> bool:
    wanted = case.options
    local = wanted.tls or wanted.directory_bucket or wanted.index or case.name.endswith(TWIN)
    if options.bucket and local:
        return False
    return _matches(case.name, options.cases.split(",")) and (case.headline or not options.quick)


def _takes_part(client: Client, case: Case) -> bool:
    return (
        (case.null_ceiling or not client.ceiling)
        and (case.observed or not client.observed)
        and (case.gathering or not client.gathering)
    )


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _store(options: argparse.Namespace, target: Path, work: Path) -> Iterator[Store]:
    if options.bucket:
        yield Store(options.bucket, options.region)
        return
    server = LocalServer(target / "release/s3-test-server", work)
    try:
        yield server
    finally:
        server.close()


def _run(
    cases: list[Case], clients: list[Client], raw: dict[str, str], bench: Bench, options: argparse.Namespace
) -> list[Figures]:
    turns = {case.name: [one for one in clients if _takes_part(one, case)] for case in cases}
    fetchers = {case.name: [name for name in raw if case.raw and case.raw.can(name)] for case in cases}
    backed = {case.name for case in cases if case.backing and _matches(BACKING, options.peers.split(","))}
    turn_count = sum(len(turns[case.name]) + len(fetchers[case.name]) + (case.name in backed) for case in cases)
    progress = Progress(turn_count * options.rounds)
    runs: list[Figures] = []
    given_up: set[tuple[str, str]] = set()
    for case in cases:
        for number in range(1, options.rounds + 1):
            with _lock(options.lock):
                for client in turns[case.name]:
                    # A client that could not do it once is not waited for again.
                    if (case.name, client.name) in given_up:
                        progress.step(f"{case.name} {client.name}: left out")
                        continue
                    found = _calm(partial(measure, case, client, bench, number), options)
                    if any(figures.error for figures in found):
                        given_up.add((case.name, client.name))
                    runs += found
                    progress.step(_say(found))
                for name in fetchers[case.name]:
                    found = _calm(partial(measure_raw, case, name, raw[name], bench.store, number), options)
                    runs += found
                    progress.step(_say(found))
                if case.name in backed:
                    found = _calm(partial(measure_backing, case, bench, number), options)
                    runs += found
                    progress.step(_say(found))
    progress.end()
    return runs


def _calm(run: Callable[[], list[Figures]], options: argparse.Namespace) -> list[Figures]:
    """Runs, and runs again if other processes disturbed it."""
    found = run()
    for _ in range(options.repeat_disturbed):
        if all(figures.disturbed < DISTURBED for figures in found):
            break
        found = run()
    return found


def _say(found: list[Figures]) -> str:
    parts = [figures.error or rate_text(figures) for figures in found]
    if any(figures.disturbed >= DISTURBED for figures in found):
        parts.append("disturbed")
    return f"{found[0].case} {found[0].client}: {', '.join(parts)}" if found else ""


@contextmanager
def _lock(path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
