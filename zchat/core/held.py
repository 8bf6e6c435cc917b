"""Batches of one listener that came live, and wait until what is missing before them has been fetched.

Rules of this file: bounded in bytes. Past the bound all are dropped, and fetched again like what was missing.
Tests: tests/core/test_held.py.
"""

from __future__ import annotations

from collections import deque

from zchat import wire
from zchat.core import answers

HELD_BYTES_MAX = 16 << 20
BATCH_BYTES = 700  # what a decoded batch takes besides its frame,
RECORD_BYTES = 50  # and each record in it


def cost(batch: wire.Batch) -> int:
    """Bytes of memory that a batch takes besides its frame."""
    return BATCH_BYTES + RECORD_BYTES * answers.count(batch)


class Held:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._batches: deque[tuple[str, wire.Batch, int]] = deque()
        self.bytes = 0

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._batches)

    @property
    def first(self) -> tuple[str, wire.Batch, int]:
        """The oldest: room, batch, and bytes of its frame."""
        return self._batches[0]

    def add(self, room: str, batch: wire.Batch, size: int) -> bool:
        """Keep one. False where all have been dropped."""
        self._batches.append((room, batch, size))
        self.bytes += size + cost(batch)
        if self.bytes <= HELD_BYTES_MAX:
            return True
        self.clear()
        return False

    def pop(self) -> None:
        """The oldest waits no more."""
        _, batch, size = self._batches.popleft()
        self.bytes -= size + cost(batch)

    def clear(self) -> None:
        """None waits any more."""
        self._batches.clear()
        self.bytes = 0
