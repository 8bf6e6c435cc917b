"""What an operator is told of a log's trouble: when it begins, when it ends, and each damage once.

Tests: tests/log/test_trouble.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from zchat.errors import LogError

DAMAGES_TOLD_MAX = 100  # then it is known that the log is damaged

Tell = Callable[[str], None]


class Trouble:
    """Remembers what was told."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell or _tell_nobody
        self._lock = threading.Lock()
        self._refusing = ""
        self._damages: set[tuple[str, int]] = set()

    def appended(self, error: LogError | None) -> None:
        """An append was kept, or not."""
        code = error.code if error else ""
        if code == self._refusing:
            return
        self._refusing = code
        self._tell(f"nothing can be stored: {error}" if error else "messages are stored again")

    def damaged(self, gaps: Iterable[tuple[str, int, int, str]]) -> None:
        """A read met these gaps."""
        for room, first, last, reason in gaps:
            if reason != "damaged":
                continue
            with self._lock:
                if (room, first) in self._damages or len(self._damages) >= DAMAGES_TOLD_MAX:
                    continue
                self._damages.add((room, first))
            self._tell(f"damage in the log: room {room}, offsets {first} to {last} cannot be read")


def _tell_nobody(_line: str) -> None:
    pass
