"""Reading backwards: the last records before an offset, of a room whose records lie anywhere in the log.

The broker reads forward from an offset, and offsets count the records of all rooms. So what lies before is asked for in
spans that grow while they bring too little, and shrink where one has more than is taken at once.

    ask for what is above `after`, up to `upto`, at most `most` records ─► take ─► … ─► `after` is None

Rules of this file
1. However a room's records lie, as many come as are wanted, if there are so many, and no more than `most` above that.
2. What is kept joins what is known already: there is no hole between them.

Tests: tests/chat/core/test_back.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_TIMES = 4  # as many as are wanted, in one span
GROWS, SHRINKS = 8, 4


class Backwards(Generic[T]):
    """The records before an offset: `found`, in order, once `after` is None."""

    def __init__(self, before: int, wanted: int) -> None:
        self.found: list[T] = []
        self.upto = before - 1  # all above it, and below `before`, is known
        self.most = wanted * MOST_TIMES
        self._wanted = wanted
        self._span = wanted

    @property
    def after(self) -> int | None:
        """What to ask for: what is above it. None: nothing."""
        if self.upto <= 0 or len(self.found) >= self._wanted:
            return None
        return max(0, self.upto - self._span)

    @property
    def is_at_beginning(self) -> bool:
        """Whether there is nothing before what was found."""
        return self.upto <= 0

    def take(self, records: Iterable[T], *, is_whole: bool) -> None:
        """What the span has; or that there is more in it than `most`, so that it counts for nothing."""
        after = self.after
        assert after is not None, "it was asked for"
        if is_whole:
            self.found[:0] = records
            self.upto = after
            self._span *= GROWS
        else:
            self._span = max(self._wanted, self._span // SHRINKS)
