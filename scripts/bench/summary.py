"""From the figures of all rounds to one line for each case and client."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from clients import OURS
from measure import DISTURBED, GIB, Figures


@dataclass
class Line:
    """Medians over the rounds that nothing disturbed, if there are any. Costs are per GiB that the program asked for."""

    case: str
    client: str
    unit: str
    rounds: int = 0
    error: str = ""
    rate: float = 0.0
    rate_min: float = 0.0
    rate_max: float = 0.0
    user_s_per_gib: float = 0.0
    sys_s_per_gib: float = 0.0
    server_s_per_gib: float = 0.0
    moved_per_asked: float | None = None
    requests: dict[str, int] = field(default_factory=dict)
    p50_us: float = 0.0
    p99_us: float = 0.0
    peak_rss: int = 0
    ours_rate_ratio: float | None = None
    """Our rate over this client's: above 1 is faster."""
    ours_cpu_ratio: float | None = None
    """Our CPU over this client's: below 1 is cheaper."""

    @property
    def cpu_s_per_gib(self) -> float:
        """User and system together."""
        return self.user_s_per_gib + self.sys_s_per_gib


def summarize(runs: list[Figures]) -> list[Line]:
    """One line for each case and client, in the order of their first run."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for run in runs:
        groups.setdefault((run.case, run.client), []).append(run)
    lines = [_line(case, client, group) for (case, client), group in groups.items()]
    ours = {line.case: line for line in lines if line.client == OURS}
    for line in lines:
        own = ours.get(line.case)
        if own is None or line is own or line.error or own.error:
            continue
        line.ours_rate_ratio = _ratio(own.rate, line.rate)
        line.ours_cpu_ratio = _ratio(own.cpu_s_per_gib, line.cpu_s_per_gib)
    return lines


def _line(case: str, client: str, group: list[Figures]) -> Line:
    line = Line(case, client, group[0].unit)
    good = [run for run in group if not run.error]
    if not good:
        line.error = group[0].error
        return line
    # Only if every round was disturbed are those better than nothing.
    good = [run for run in good if run.disturbed < DISTURBED] or good
    line.rounds = len(good)
    rates = [run.rate for run in good]
    line.rate, line.rate_min, line.rate_max = median(rates), min(rates), max(rates)
    line.user_s_per_gib = median(run.client_user_s / _cost_base(run) for run in good)
    line.sys_s_per_gib = median(run.client_sys_s / _cost_base(run) for run in good)
    line.server_s_per_gib = median(run.server_cpu_s / _cost_base(run) for run in good)
    amounts = [run.bytes_moved / run.bytes_asked for run in good if run.bytes_asked]
    line.moved_per_asked = median(amounts) if amounts else None
    kinds = sorted({kind for run in good for kind in run.requests})
    line.requests = {kind: round(median(run.requests.get(kind, 0) for run in good)) for kind in kinds}
    line.p50_us = median(run.p50_us for run in good)
    line.p99_us = median(run.p99_us for run in good)
    line.peak_rss = round(median(run.peak_rss for run in good))
    return line


def _cost_base(run: Figures) -> float:
    """GiB asked for. Listing and renaming move nothing: their cost is that of the whole run."""
    return run.bytes_asked / GIB or 1.0


def _ratio(ours: float, other: float) -> float | None:
    return ours / other if other else None
