"""A progress bar on standard error, or a line for each step where that is not a terminal."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts steps up to `total`."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Another step is done: `text` says what it found."""
        self._done += 1
        left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
        when = f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"
        if self._terminal:
            filled = _WIDTH * self._done // max(1, self._total)
            bar = "█" * filled + "░" * (_WIDTH - filled)
            line = f"{bar} {self._done}/{self._total}, {when}  {text}"
            sys.stderr.write(f"\r\033[K{line[:_LINE]}")
        else:
            sys.stderr.write(f"[{self._done}/{self._total}, {when}] {text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leaves the bar behind."""
        if self._terminal:
            sys.stderr.write("\n")


_WIDTH = 24
_LINE = 150
