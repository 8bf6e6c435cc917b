"""The part of a conversation that is in memory: a window that moves over it.

    older, at the broker ◄── window ──► newer, at the broker, unless `is_at_end`

Rules of this file
1. It holds at most MOST records and a few more; what falls out at one end is read again when it is wanted.
2. Who reads further up is not moved: while the window is not followed, what comes is counted, and not taken in once it
   is full.
3. A record has a number in it that never changes, whatever comes or goes at the other end. So whoever draws it knows
   what has changed by the numbers of the first and the last.

Tests: tests/chat/core/test_window.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from zchat.chat.core.shown import Shown

MOST = 1_200
STEP = 300  # so many fall out at once


class LoadedPart:
    """Records in order, each with a number from `first` on."""

    def __init__(self, most: int = MOST) -> None:
        self.records: list[Shown] = []
        self.first = 0  # the number of the first of them
        self.is_at_end = True  # nothing newer is at the broker only
        self.is_at_beginning = False  # nothing older is
        self.newer = 0  # that came and were not taken in
        self.drops = 0  # how often it began anew: then the numbers mean others
        self._most = most

    @property
    def end(self) -> int:
        """The number behind the last."""
        return self.first + len(self.records)

    @property
    def first_offset(self) -> int:
        """Of the first record that has one; 0: there is none."""
        return next((record.offset for record in self.records if record.offset), 0)

    @property
    def last_offset(self) -> int:
        """Of the last record that has one; 0: there is none."""
        return next((record.offset for record in reversed(self.records) if record.offset), 0)

    def add(self, record: Shown, *, is_followed: bool) -> bool:
        """It came. False where it is read again later, when somebody goes there."""
        if not self.is_at_end or (not is_followed and len(self.records) >= self._most):
            if record.offset:
                self.is_at_end = False
                self.newer += 1
            return False
        self.records.append(record)
        if is_followed and len(self.records) >= self._most + STEP:
            self._drop_first(len(self.records) - self._most)
        return True

    def add_older(self, records: Sequence[Shown], *, is_at_beginning: bool) -> None:
        """What is before the first."""
        self.records[:0] = records
        self.first -= len(records)
        self.is_at_beginning = is_at_beginning
        if (above := len(self.records) - self._most - STEP) > 0:
            del self.records[-above:]
            self.is_at_end = False

    def add_newer(self, records: Sequence[Shown], *, is_at_end: bool) -> None:
        """What is behind the last, read again."""
        known = self.last_offset
        self.records += [record for record in records if record.offset > known]
        self.is_at_end = is_at_end
        self.newer = 0 if is_at_end else max(0, self.newer - len(records))
        if (above := len(self.records) - self._most - STEP) > 0:
            self._drop_first(above)

    def begin_at(self, records: Sequence[Shown], *, is_at_end: bool, is_at_beginning: bool = False) -> None:
        """Another place of the conversation."""
        self.records = list(records)
        self.first, self.newer = 0, 0
        self.is_at_end, self.is_at_beginning = is_at_end, is_at_beginning
        self.drops += 1

    def _drop_first(self, count: int) -> None:
        del self.records[:count]
        self.first += count
        self.is_at_beginning = False
