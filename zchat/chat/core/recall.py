"""What was typed before, to be had again with Up and Down.

Rules of this file: what is being typed is not lost when one looks back; what stands twice in a row is kept once.
Tests: tests/chat/core/test_recall.py.
"""

from __future__ import annotations

KEPT_MAX = 200


class Recall:
    """Lines, the last one last, and where one looks."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._at = 0  # == len: at what is being typed
        self._typed = ""

    def add(self, line: str) -> None:
        """It was sent."""
        if line and self._lines[-1:] != [line]:
            self._lines.append(line)
            del self._lines[:-KEPT_MAX]
        self._at, self._typed = len(self._lines), ""

    def older(self, typed: str) -> str | None:
        """The one before; None: there is none."""
        if not self._at:
            return None
        if self._at == len(self._lines):
            self._typed = typed
        self._at -= 1
        return self._lines[self._at]

    def newer(self) -> str | None:
        """The one behind, at last what was being typed; None: that is where one is."""
        if self._at == len(self._lines):
            return None
        self._at += 1
        return self._typed if self._at == len(self._lines) else self._lines[self._at]
