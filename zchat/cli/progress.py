"""A bar on stderr for what takes long: only on a terminal, and gone when it is done.

Tests: tests/cli/test_log.py.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

WIDTH = 30  # characters of the bar
DRAWN_SECONDS = 0.1  # then it is drawn anew


class ProgressLine:
    """Called with how far it is, and how far it goes; 0 where that is not known."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._shown = sys.stderr.isatty()
        self._drawn = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, done: int, total: int) -> None:
        """Draw it, when it is time."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < DRAWN_SECONDS:
            return
        self._drawn = now
        if total:
            part = min(1.0, done / total)
            bar = "#" * int(WIDTH * part)
            sys.stderr.write(f"\r{self._doing} [{bar:{WIDTH}}] {part:4.0%}")
        else:
            sys.stderr.write(f"\r{self._doing} {done}")
        sys.stderr.flush()
