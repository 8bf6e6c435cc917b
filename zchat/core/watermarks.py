"""How far the rooms of one listener were delivered: a low watermark for all, and a high one for each room above it.

    low 40; high: a 57, b 41      nothing is missing up to 40 in any room, up to 57 in a, up to 41 in b

A room that was delivered no farther than the low watermark has no high one, so what is remembered is bounded by what
came since the low one was lifted.

Tests: tests/core/test_watermarks.py.
"""

from __future__ import annotations


class ListenerWatermarks:
    """Offsets of one log."""

    def __init__(self) -> None:
        self.low = 0
        self._high: dict[str, int] = {}

    def __len__(self) -> int:
        """How many rooms have a high watermark."""
        return len(self._high)

    def of(self, room: str) -> int:
        """Up to which offset nothing of the room is missing."""
        high = self._high.get(room, 0)  # in every batch: `max` would take twice as long
        return high if high > self.low else self.low

    @property
    def highest(self) -> int:
        """The highest offset that is known to be in the log."""
        return max(self.low, max(self._high.values(), default=0))

    def reach(self, room: str, last: int) -> None:
        """Nothing of the room is missing up to there."""
        if last > self.low and last > self._high.get(room, 0):
            self._high[room] = last

    def lift(self, low: int) -> None:
        """Nothing is missing in any room up to there."""
        if low > self.low:
            self.low = low
            self._high = {room: last for room, last in self._high.items() if last > low}

    def fall_back(self, upto: int) -> None:
        """What is above that offset is not the same any more."""
        self.low = min(self.low, upto)
        within = {room: min(last, upto) for room, last in self._high.items()}
        self._high = {room: last for room, last in within.items() if last > self.low}

    def begin(self, low: int) -> None:
        """Everything up to there counts as delivered, and nothing else."""
        self.low = low
        self._high.clear()
