"""Reads that give way: each works for a moment, then lets others have the thread, and goes on later.

Rules of this file
1. Between two slices nothing of the log is held: no snapshot, no cursor, no lock. What a long read has open would
   let the WAL grow, and what it has locked would keep the writer waiting.
2. So the log may be another one in the next slice: newer, and trimmed. Each read says what it makes of that.

Tests: tests/log/test_slices.py; and the contract runs in slices of no time too.
"""

from __future__ import annotations

import time

from zchat.core.log import Gap, Sliced, T
from zchat.core.read_pause import read_pause

SLICE_SECONDS = 0.02  # who asks next waits so long


class Slice:
    """Begins when it is made."""

    __slots__ = ("_pause", "end")

    def __init__(self) -> None:
        self.end = time.monotonic() + SLICE_SECONDS
        self._pause = read_pause.get()

    @property
    def is_over(self) -> bool:
        """Whether it is time to give way. A good moment for a pause, too."""
        if self._pause is not None:
            self._pause()
        return time.monotonic() >= self.end


def paced(steps: Sliced[T]) -> Sliced[T]:
    """What yields after every small step, as one that gives way when a slice is over."""
    begun = Slice()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: T = end.value
            return answer
        if begun.is_over:
            yield
            begun = Slice()


def add_gaps(gaps: list[Gap], more: list[Gap], after: int) -> None:
    """Those of a slice that began behind `after`; one that began in the slice before is one with it."""
    ends = {(room, reason): at for at, (room, _, last, reason) in enumerate(gaps) if last == after}
    for gap in more:
        room, first, last, reason = gap
        at = ends.get((room, reason)) if first == after + 1 else None
        if at is None:
            gaps.append(gap)
        else:
            gaps[at] = gaps[at]._replace(last=last)
