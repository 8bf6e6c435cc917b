"""Offsets as ranges: few, however many offsets there are, as long as they lie side by side.

    add(4, 6), add(7, 9)  ->  4…9        remove(5, 5)  ->  4…4, 6…9; it returns 5…5, what of it was there

Tests: tests/core/test_ranges.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter

OffsetSpan = tuple[int, int]  # first and last

_last = itemgetter(1)


class OffsetRanges:
    """A set of offsets."""

    def __init__(self) -> None:
        self._spans: list[OffsetSpan] = []  # in order, none beside another
        self.count = 0  # of offsets

    def __iter__(self) -> Iterator[OffsetSpan]:
        """In order."""
        return iter(self._spans)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._spans)

    def add(self, first: int, last: int) -> None:
        """These are in it."""
        if self._spans and self._spans[-1][1] == first - 1:  # nearly always, or it begins a new one
            self._spans[-1] = (self._spans[-1][0], last)
            self.count += last - first + 1
            return
        self.remove(first, last)
        self.count += last - first + 1
        at = bisect_left(self._spans, first, key=_last)
        if at and self._spans[at - 1][1] == first - 1:
            at -= 1
            first = self._spans.pop(at)[0]
        if at < len(self._spans) and self._spans[at][0] == last + 1:
            last = self._spans.pop(at)[1]
        self._spans.insert(at, (first, last))

    def remove(self, first: int, last: int) -> list[OffsetSpan]:
        """These are not. Returns what of them was."""
        at = bisect_left(self._spans, first, key=_last)
        end = at
        removed: list[OffsetSpan] = []
        left: list[OffsetSpan] = []
        while end < len(self._spans) and self._spans[end][0] <= last:
            begin, until = self._spans[end]
            removed.append((max(begin, first), min(until, last)))
            if begin < first:
                left.append((begin, first - 1))
            if until > last:
                left.append((last + 1, until))
            end += 1
        if removed:
            self._spans[at:end] = left
            self.count -= sum([until - begin + 1 for begin, until in removed])
        return removed

    def clear(self) -> None:
        """None is."""
        self._spans, self.count = [], 0
