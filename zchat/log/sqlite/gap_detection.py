"""What is missing in a page: each batch names the last offset of its room before it (`prev`).

Rules of this file
1. Each batch says `prev`, the last offset of its room before it. What a scan did not find, whatever the
   reason, is between the batches that it did find: nothing is passed over in silence.
2. At the end of a page the next batch of each room says whether something before it is missing; the
   room's row says so for its newest.

    found up to 40, next batch prev=40    -> nothing is missing
    found up to 40, next batch prev=57    -> (40, 57] is a gap; of which batches, the index may still know
    trimmed up to 30                      -> what is above 30 must follow on it
    joins and leaves trimmed up to 60     -> (40, 57] are those, unless the index knows of something else there

Tests: tests/log/sqlite/test_gap_detection.py.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import NamedTuple

from zchat import wire
from zchat.core.log import Gap
from zchat.errors import WireError
from zchat.log.retention import removed_of
from zchat.log.sqlite.scans import IndexDamaged, Scanner
from zchat.log.sqlite.stored import BatchRow
from zchat.wire import OFFSET_MAX

ROOMS_CHECKED_MAX = 256  # at the end of a page that stops short, unless damage was met: of more, asking costs too much
EXACT_GAPS_MAX = 1_000  # of one room in a row; more are told as one


class Lasts:
    """The last offsets of some rooms, as they were once."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        """`pairs`: (last offset, room), rising."""
        self.of = {room: last for last, room in pairs}
        self._pairs = pairs

    def __len__(self) -> int:
        """How many rooms there are."""
        return len(self._pairs)

    def up_to(self, after: int, upto: int) -> list[tuple[int, int]]:
        """(last offset, room) of those that end in `after < offset <= upto`."""
        return self._pairs[bisect_left(self._pairs, (after + 1,)) : bisect_left(self._pairs, (upto + 1,))]

    def above(self, upto: int) -> list[int]:
        """The rooms that go on behind an offset."""
        return [room for _, room in self._pairs[bisect_left(self._pairs, (upto + 1,)) :]]

    def count_above(self, upto: int) -> int:
        """How many those are."""
        return len(self._pairs) - bisect_left(self._pairs, (upto + 1,))


class PageRooms(NamedTuple):
    """What is known of the rooms of a page, by their ids."""

    names: dict[int, str]  # of all that match
    lasts: Lasts  # of those that go on behind the beginning; taken before the snapshot
    trimmed: dict[int, int]  # what was trimmed of them, where that is above the beginning; as the snapshot has it,
    thinned: dict[int, int] = {}  # and of their joins and leaves, behind what stays
    purged: dict[int, int] = {}  # up to where somebody asked for it


class GapDetector:
    """Finds the gaps of one page, over offsets above `after`."""

    def __init__(self, scanner: Scanner, rooms: PageRooms, after: int, *, by_index: bool) -> None:
        """With `by_index`, what is missing and has no place in the index raises IndexDamaged."""
        self._scanner = scanner
        self._names = rooms.names
        self._lasts = rooms.lasts
        self._trimmed = rooms.trimmed
        self._thinned = rooms.thinned
        self._purged = rooms.purged
        self._after = after
        self._by_index = by_index
        self._found: dict[int, int] = {}  # room -> last offset of it that is accounted for
        self._missed: list[Gap] = []

    def add(self, row: BatchRow) -> None:
        """The next batch of its room that was found."""
        room = row.room
        known, prev = self._known(room), prev_of(row)
        if prev > known:
            self._miss(room, known + 1, prev)
        self._found[room] = row.last

    def close(self, upto: int) -> list[Gap]:
        """The page ends there. Returns all its gaps."""
        lasts = self._lasts
        told = {room: last for last, room in lasts.up_to(self._after, upto)}
        if self._scanner.met_damage or lasts.count_above(upto) - len(self._found) <= ROOMS_CHECKED_MAX:
            going_on = [room for room in lasts.above(upto) if self._known(room) < upto]
            if self._scanner.met_damage or len(going_on) <= ROOMS_CHECKED_MAX:
                told |= self._prev_of_next(going_on, upto)
        for room, last in told.items():
            if last > (known := self._known(room)) and known < upto:
                self._miss(room, known + 1, min(last, upto))
        first = self._after + 1
        removed = [
            gap
            for room, last in self._trimmed.items()
            for gap in removed_of(self._names[room], first, min(last, upto), self._purged.get(room, 0))
        ]
        return sorted(removed + self._missed, key=attrgetter("first"))

    def _known(self, room: int) -> int:
        return self._found.get(room) or max(self._after, self._trimmed.get(room, 0))

    def _prev_of_next(self, rooms: list[int], upto: int) -> dict[int, int]:
        """Room -> `prev` of its next batch, or where that cannot be had, the last that the index has before it."""
        scanner = self._scanner
        if self._by_index:
            following = [row for room in rooms if (row := scanner.next_of(room, upto + 1))]
        else:
            following = scanner.first_of_each(rooms, upto + 1)
        told = {row.room: prev_of(row) for row in following}
        for room in rooms:
            passed_over = scanner.places(room, self._known(room) + 1, upto)
            if passed_over:
                told[room] = max(told.get(room, 0), passed_over[-1].last)
            elif room not in told and not scanner.places(room, upto + 1, OFFSET_MAX - 1, 1):
                told[room] = upto  # neither the table nor the index can tell
        return told

    def _miss(self, room: int, first: int, last: int) -> None:
        """Tell of the batches that the index has there, when they are those that cannot be read.

        An index that has misled already may not have all of them either: then all of it is told. Where joins and
        leaves were removed, nothing else is missing as far as the index has nothing.
        """
        name, thinned = self._names[room], min(self._thinned.get(room, 0), last)
        places = [(max(first, thinned + 1), last)] if thinned < last else []
        if self._by_index:
            exact = self._scanner.places(room, first, last, EXACT_GAPS_MAX + 1)
            if (places and not exact) or any(self._scanner.at(base) for base, _ in exact):
                raise IndexDamaged
            if len(exact) <= EXACT_GAPS_MAX:
                places = [(base, min(end, last)) for base, end in exact]  # what lies behind it, the next page tells
        if thinned >= first:
            self._missed.append(Gap(name, first, thinned, "trimmed"))
        self._missed += [Gap(name, *place, "damaged") for place in places]


def prev_of(row: BatchRow) -> int:
    """The last offset of its room before that batch; 0: none."""
    try:
        return wire.decode_head(row.frame).prev
    except WireError:  # it is what was written, and yet no batch
        return 0
