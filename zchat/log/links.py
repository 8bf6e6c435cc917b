"""What is missing in a page, told by the links between a room's batches.

Rules of this file
1. Each batch says `prev`, the last offset of its room before it. What a walk did not find, whatever the
   reason, is between the batches that it did find: nothing is passed over in silence.
2. At the end of a page the next batch of each room says whether something before it is missing; the
   room's row says so for its newest.

    found up to 40, next batch prev=40    -> nothing is missing
    found up to 40, next batch prev=57    -> (40, 57] is a gap; of which batches, the index may still know
    trimmed up to 30                      -> the links begin at 30

Tests: tests/log/test_links.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from zchat import wire
from zchat.log import walks
from zchat.log.schema import Row
from zchat.log.state import Matched, RoomStates

ROOMS_CHECKED_MAX = 256  # at the end of a page that stops short: the next batch of more is too much to ask for
EXACT_GAPS_MAX = 1_000  # of one room in a row; more are told as one

Gap = tuple[str, int, int, str]

_head_of = msgspec.msgpack.Decoder(wire.BatchHead).decode


class Links:
    """The links of one page, over offsets above `after`."""

    def __init__(
        self, connection: sqlite3.Connection, rooms: RoomStates, matched: Matched, after: int, *, by_index: bool
    ) -> None:
        """With `by_index`, what is missing and has no place in the index raises IndexDamaged."""
        self._connection = connection
        self._rooms = rooms
        self._matched = matched
        self._after = after
        self._by_index = by_index
        self._found: dict[int, int] = {}  # room -> last offset of it that is accounted for
        self._damaged: list[Gap] = []
        # As the snapshot has it, that the page is read in: what is trimmed meanwhile is still there.
        statement = "SELECT id, trimmed FROM rooms WHERE trimmed > ? AND trimmed > 0"
        rows = connection.execute(statement, (after,)).fetchall()
        self._trimmed = {room: trimmed for room, trimmed in rows if room in matched}

    def add(self, row: Row) -> None:
        """The next batch of its room that was found."""
        room = row[1]
        known, prev = self._known(room), _prev(row[6])
        if prev > known:
            self._miss(room, known + 1, prev)
        self._found[room] = row[0] + row[3] - 1

    def close(self, upto: int, active: Iterable[int]) -> list[Gap]:
        """The page ends there; `active` rooms have something above its beginning. Returns all its gaps."""
        behind = [(room, known) for room in active if (known := self._known(room)) < upto]
        for room, known in behind:
            last = self._rooms.row(room).last
            if last > upto:
                last = self._prev_of_next(room, upto) if len(behind) <= ROOMS_CHECKED_MAX else 0
            if last > known:
                self._miss(room, known + 1, min(last, upto))
        names, first = self._matched.names, self._after + 1
        trimmed = [(names[room], first, min(last, upto), "trimmed") for room, last in self._trimmed.items()]
        return sorted([gap for gap in trimmed if gap[2] >= first] + self._damaged, key=_first)

    def _known(self, room: int) -> int:
        return self._found.get(room) or max(self._after, self._trimmed.get(room, 0))

    def _prev_of_next(self, room: int, upto: int) -> int:
        following = walks.next_of(self._connection, room, upto + 1)
        return _prev(following[6]) if following else 0

    def _miss(self, room: int, first: int, last: int) -> None:
        name = self._matched.names[room]
        exact = walks.places(self._connection, room, first, last, EXACT_GAPS_MAX + 1)
        if self._by_index and not exact:
            raise walks.IndexDamaged
        if not exact or len(exact) > EXACT_GAPS_MAX:
            exact = [(first, last)]
        self._damaged += [(name, base, end, "damaged") for base, end in exact]


def _first(gap: Gap) -> int:
    return gap[1]


def _prev(frame: bytes) -> int:
    try:
        return _head_of(frame).prev
    except ValueError:  # it is what was written, and yet no batch
        return 0
