"""The results as JSON and as a Markdown table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cases import Case
from measure import Figures
from summary import Line


@dataclass(frozen=True)
class Results:
    """All that a run has found."""

    machine: dict[str, str]
    settings: dict[str, object]
    notes: list[str]
    cases: list[Case]
    runs: list[Figures]
    lines: list[Line]

    def groups(self) -> dict[str, list[tuple[Case, str, list[Line]]]]:
        """By group: the case, the name of its step, and the lines of its clients."""
        found: dict[str, list[tuple[Case, str, list[Line]]]] = {}
        for case in self.cases:
            for name in dict.fromkeys(case.name + step.suffix for step in case.steps if step.measured):
                lines = [line for line in self.lines if line.case == name]
                if lines:
                    found.setdefault(case.group, []).append((case, name, lines))
        return found


def write_json(results: Results, path: Path) -> None:
    """Everything, for programs."""
    cases = [
        {"name": case.name, "group": case.group, "about": case.about, "model": case.model}
        for case in results.cases
    ]
    content = {
        "machine": results.machine,
        "settings": results.settings,
        "notes": results.notes,
        "cases": cases,
        "summary": [asdict(line) for line in results.lines],
        "runs": [asdict(run) for run in results.runs],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_markdown(results: Results, path: Path) -> None:
    """One table for each group."""
    out = ["# Benchmark", "", describe(results), ""]
    out += [f"- {note}" for note in results.notes]
    for group, cases in results.groups().items():
        out += ["", f"## {group}", "", f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        for case, name, lines in cases:
            for index, line in enumerate(lines):
                label = f"**{name}** ({case.model}): {case.about}" if index == 0 else ""
                out.append(f"| {' | '.join([label, *_cells(line)])} |")
    path.write_text("\n".join(out) + "\n")


def describe(results: Results) -> str:
    """The machine and the settings, in one sentence."""
    machine = results.machine
    kind = "virtual machine" if machine["virtual"] == "yes" else "machine"
    return (
        f"{machine['cores']}-core {kind}, {machine['processor']}, {machine['memory']}, "
        f"Linux {machine['kernel']}; store: {results.settings['store']}; medians of "
        f"{results.settings['rounds']} rounds, clients taking turns, a fresh mount each time."
    )


def rate_text(line: Line | Figures) -> str:
    """A rate with its unit."""
    digits = 1 if line.rate < 100 else 0
    return f"{line.rate:,.{digits}f} {line.unit}"


def milliseconds(us: float) -> str:
    """A latency, or a dash for one that was not measured."""
    return f"{us / 1000:.{2 if us < 10_000 else 0}f}" if us else "–"


def memory_text(line: Line) -> str:
    """MiB, or a dash for what was not measured."""
    return f"{line.peak_rss >> 20}" if line.peak_rss else "–"


def ratio_text(ratio: float | None) -> str:
    """A ratio, or a dash."""
    return "–" if ratio is None else f"{ratio:.2f}x"


_COLUMNS = [
    "case", "client", "rate", "min–max", "CPU s/GiB (user + sys)", "server CPU s/GiB", "moved/asked",
    "requests", "p50 / p99 ms", "peak RSS MiB", "ours: speed", "ours: CPU",
]  # fmt: skip


def _cells(line: Line) -> list[str]:
    if line.error:
        return [line.client, f"refused: {line.error}".replace("|", "/")] + [""] * (len(_COLUMNS) - 3)
    requests = ", ".join(f"{count} {kind}" for kind, count in line.requests.items())
    moved = "–" if line.moved_per_asked is None else f"{line.moved_per_asked:.2f}"
    return [
        line.client,
        rate_text(line),
        f"{line.rate_min:,.0f}–{line.rate_max:,.0f}",
        f"{line.cpu_s_per_gib:.2f} ({line.user_s_per_gib:.2f} + {line.sys_s_per_gib:.2f})",
        f"{line.server_s_per_gib:.2f}",
        moved,
        requests or "–",
        f"{milliseconds(line.p50_us)} / {milliseconds(line.p99_us)}",
        memory_text(line),
        ratio_text(line.ours_rate_ratio),
        ratio_text(line.ours_cpu_ratio),
    ]
