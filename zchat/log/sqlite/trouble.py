"""What an operator is told of damage that was met: each once, and not without end.

Tests: tests/log/sqlite/test_trouble.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

DAMAGES_TOLD_MAX = 100  # then it is known that the log is damaged

Tell = Callable[[str], object]


class Trouble:
    """Remembers what was told."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._told: set[tuple[str, int]] = set()

    def met(self, gaps: Iterable[tuple[str, int, int, str]]) -> None:
        """A read met these gaps, some of them perhaps damage."""
        if self._tell is None:
            return
        for room, first, last, reason in gaps:
            if reason != "damaged":
                continue
            with self._lock:
                if (room, first) in self._told or len(self._told) >= DAMAGES_TOLD_MAX:
                    continue
                self._told.add((room, first))
            self._tell(f"damage in the log: offsets {first} to {last} of {room} cannot be read")
