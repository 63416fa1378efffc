"""The results as one page of HTML with a picture for each group: no scripts, nothing loaded."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from clients import OURS
from report import Results, describe, memory_text, milliseconds, rate_text, ratio_text
from summary import Line


def write_html(results: Results, path: Path) -> None:
    """The page."""
    out = [_HEAD, f"<h1>Benchmark</h1><p>{escape(describe(results))}</p>"]
    out += [f"<p class=note>{escape(note)}</p>" for note in results.notes]
    out.append(_legend(results))
    for group, cases in results.groups().items():
        rows = [(f"{name} · {case.model}", case.about, lines) for case, name, lines in cases]
        out.append(f"<h2>{escape(group)}</h2>")
        out.append(_picture(rows))
        out.append(_table([(name, lines) for _, name, lines in cases]))
    path.write_text("\n".join(out) + "\n</body></html>\n")


def color(client: str) -> str:
    """A client's colour; the same in every picture."""
    return _COLORS.get(client, "#7f7f7f")


def _legend(results: Results) -> str:
    names = dict.fromkeys(line.client for line in results.lines)
    items = (f'<span><i style="background:{color(name)}"></i>{escape(name)}</span>' for name in names)
    return f"<p class=legend>{''.join(items)}</p>"


def _picture(rows: list[tuple[str, str, list[Line]]]) -> str:
    """For each case a block of bars: speed on the left, CPU on the right, each to the scale of the
    largest of its block."""
    parts: list[str] = []
    y = 28
    parts.append(_text(_SPEED_X, 14, "speed (longer is better)", "head"))
    parts.append(_text(_CPU_X, 14, "client CPU, s/GiB (shorter is better)", "head"))
    for title, about, lines in rows:
        top = y
        parts.append(_text(0, top + 12, title, "title"))
        parts.append(_text(0, top + 28, about[:46], "about"))
        _bars(parts, top, lines, _SPEED_X, lambda line: line.rate, _speed_label)
        # Where no bytes are asked for, there is no cost per byte.
        if all(line.moved_per_asked is not None or line.error for line in lines):
            _bars(parts, top, lines, _CPU_X, lambda line: line.cpu_s_per_gib, _cpu_label)
        y = top + max(36, len(lines) * _BAR) + 14
        parts.append(f'<line x1="0" x2="{_WIDTH}" y1="{y - 8}" y2="{y - 8}" class="rule"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}">{"".join(parts)}</svg>'


def _bars(
    parts: list[str], top: int, lines: list[Line], x: int, value: Callable[[Line], float], label: Callable[[Line], str]
) -> None:
    most = max((value(line) for line in lines if not line.error), default=0.0) or 1.0
    for index, line in enumerate(lines):
        y = top + index * _BAR
        width = 0.0 if line.error else max(1.0, value(line) / most * _BAR_WIDTH)
        fill = color(line.client)
        parts.append(f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{_BAR - 4}" fill="{fill}" rx="2"/>')
        style = "label own" if line.client == OURS else "label"
        parts.append(_text(x + width + 6, y + _BAR - 7, label(line), style))


def _speed_label(line: Line) -> str:
    if line.error:
        return f"{line.client}: refused"
    ratio = "" if line.ours_rate_ratio is None else f" (ours {ratio_text(line.ours_rate_ratio)})"
    return f"{line.client} {rate_text(line)}{ratio}"


def _cpu_label(line: Line) -> str:
    return "" if line.error else f"{line.cpu_s_per_gib:.2f}"


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(text)}</text>'


def _table(cases: list[tuple[str, list[Line]]]) -> str:
    rows = []
    for name, lines in cases:
        for line in lines:
            rows.append(f"<tr><td>{escape(name)}<td>{escape(line.client)}{_numbers(line)}")
    heads = "".join(f"<th>{head}" for head in _HEADS)
    return f"<details><summary>All figures</summary><table><tr>{heads}{''.join(rows)}</table></details>"


def _numbers(line: Line) -> str:
    if line.error:
        return f'<td colspan="{len(_HEADS) - 2}">refused: {escape(line.error)}'
    requests = ", ".join(f"{count} {kind}" for kind, count in line.requests.items())
    cells = [
        rate_text(line),
        f"{line.user_s_per_gib:.2f} + {line.sys_s_per_gib:.2f}",
        f"{line.server_s_per_gib:.2f}",
        "–" if line.moved_per_asked is None else f"{line.moved_per_asked:.2f}",
        f"{milliseconds(line.p50_us)} / {milliseconds(line.p99_us)}",
        memory_text(line),
        ratio_text(line.ours_rate_ratio),
        ratio_text(line.ours_cpu_ratio),
        requests or "–",
    ]
    return "".join(f"<td>{escape(cell)}" for cell in cells)


_HEADS = [
    "case", "client", "rate", "client CPU s/GiB (user + sys)", "server CPU s/GiB", "moved/asked",
    "p50 / p99 ms", "peak RSS MiB", "ours: speed", "ours: CPU", "requests",
]  # fmt: skip

_COLORS = {
    OURS: "#e8710a",
    "mountpoint": "#3b6fb6",
    "s3fs": "#6aa84f",
    "rclone": "#8e6bbf",
    "null-fuse": "#b8b8b8",
    "crt-get": "#9a9a9a",
    "curl-get": "#cfcfcf",
    "backing-file": "#b8b8b8",
}

_WIDTH = 1180
_SPEED_X = 300
_CPU_X = 840
_BAR_WIDTH = 260
_BAR = 18

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Benchmark</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222; }
h2 { margin-top: 2em; }
svg { max-width: 100%; height: auto; font-family: system-ui, sans-serif; }
svg .title { font-size: 13px; font-weight: 600; } svg .about { font-size: 11px; fill: #666; }
svg .head { font-size: 12px; fill: #666; } svg .label { font-size: 11px; fill: #444; }
svg .own { font-weight: 600; } svg .rule { stroke: #ececec; }
.legend span { margin-right: 1.4em; } .legend i { display: inline-block; width: .9em; height: .9em; margin-right: .4em; }
.note { color: #666; margin: 0; } table { border-collapse: collapse; font-size: 12px; }
td, th { border-bottom: 1px solid #e4e4e4; padding: 2px 8px; text-align: left; vertical-align: top; }
</style></head><body>"""
