"""Where to start reading a log: the last records, or a time.

Rules of this file
1. Nothing is sorted and nothing is read twice: the newest batches come first, from the table as they lie
   or from the index room by room; a time is found by halving, for times rise with the offsets.
2. Only what a search ends on is read with its frame; of the rest its place is enough.

Tests: tests/log/test_seeking.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from zchat import wire
from zchat.log.schema import is_unreadable
from zchat.log.state import Matched, RoomStates
from zchat.log.walks import Walker
from zchat.wire import OFFSET_MAX

FEW_ROOMS = 16  # their newest batches are asked of the index at once; of more, the table's newest are looked at first
SKIPPED_ROWS_MAX = 2_000  # that match nothing: then the index is asked
CHUNK_ROWS_MAX = 4_096
NO_KIND = -1

_TABLE = """SELECT base, room, kind, records FROM batches NOT INDEXED
    WHERE base < ? ORDER BY base DESC LIMIT ?"""
_ROOM = """SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base <= ? AND kind <> ? ORDER BY base DESC LIMIT ?"""


class _EveryRoom:
    def __contains__(self, room: object) -> bool:
        return True


class Place(NamedTuple):
    """A batch without its frame."""

    base: int
    records: int


def last_records(
    connection: sqlite3.Connection, rooms: RoomStates, patterns: list[str], count: int, presence: bool
) -> int:
    """The offset after which the last `count` records start; 0: there are fewer."""
    matched = rooms.matching(patterns)
    back = _Back(connection, rooms, matched, NO_KIND if presence else wire.PRESENCE)
    few = len(matched.ids) <= FEW_ROOMS
    try:
        return _counted(connection, back.by_index() if few else back.by_both(), count)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_unreadable(error):
            raise
        return _counted(connection, back.by_table() if few else back.by_index(), count)


def since(connection: sqlite3.Connection, rooms: RoomStates, patterns: list[str], time: int) -> int:
    """The offset after which everything is at least as young; the head when nothing is.

    What is older is found by what is left of it, and by what is known of what was trimmed; of that, all that may
    be as young lies behind.
    """
    walker = Walker(connection)
    # What is at or below `low` is older, what begins at or above `high` is not.
    low, high = rooms.trimmed_before(time, rooms.matching(patterns)), rooms.head + 1
    while high - low > 1:
        middle = (low + high) // 2
        row = next(walker.by_table(middle, high - 1, _EveryRoom(), rows=1), None)
        if row is None or row[4] >= time:
            high = middle
        else:
            low = row[0] + row[3] - 1
    return low


# --- parts --------------------------------------------------------------------------------------


def _counted(connection: sqlite3.Connection, places: Iterator[Place], count: int) -> int:
    walker = Walker(connection)
    for place in places:
        if place.records != 1 and walker.at(place.base) is None:
            continue  # what cannot be read does not count, and its number of records may be wrong
        if count <= place.records:
            return place.base + place.records - count - 1
        count -= place.records
    return 0


class _Back:
    """Ways through the batches of some rooms, the newest first."""

    def __init__(self, connection: sqlite3.Connection, rooms: RoomStates, matched: Matched, left_out: int) -> None:
        """`left_out`: the kind of batches that do not count."""
        self._connection = connection
        self._matched = matched
        self._left_out = left_out
        self._below = rooms.head + 1
        self._lasts = {room: rooms.row(room).last for room in matched.ids}

    def by_index(self) -> Iterator[Place]:
        return self._of_rooms(self._below)

    def by_table(self) -> Iterator[Place]:
        return self._of_table(OFFSET_MAX)

    def by_both(self) -> Iterator[Place]:
        """By the table, and where that has too many rows that do not count, by the index."""
        below = yield from self._of_table(SKIPPED_ROWS_MAX)
        yield from self._of_rooms(below)

    def _of_table(self, skipped_max: int) -> Generator[Place, None, int]:
        """Returns where it stopped."""
        rows, skipped, below = 64, 0, self._below
        while skipped < skipped_max:
            chunk = self._connection.execute(_TABLE, (below, rows)).fetchall()
            for base, room, kind, records in chunk:
                skipped += 1
                if room in self._matched and kind != self._left_out:
                    skipped = 0
                    yield Place(base, records)
            if len(chunk) < rows:
                return 0
            below = chunk[-1][0]
            rows = min(2 * rows, CHUNK_ROWS_MAX)
        return below

    def _of_rooms(self, below: int) -> Iterator[Place]:
        """A room's last offset bounds where its newest batch begins: it is asked only when its turn may have come."""
        heap = [(-min(last, below - 1), room) for room, last in self._lasts.items()] if below > 1 else []
        heapify(heap)
        ahead: dict[int, list[Place]] = {}  # room -> its next ones, the newest at the end
        rows: dict[int, int] = {}
        while heap:
            bound, room = heappop(heap)
            following = ahead.get(room)
            if following:
                yield following.pop()
                bound += 1
            else:
                rows[room] = min(2 * rows.get(room, 2), CHUNK_ROWS_MAX)
                values = (room, -bound, self._left_out, rows[room])
                chunk = self._connection.execute(_ROOM, values).fetchall()
                following = ahead[room] = [Place._make(row) for row in reversed(chunk)]
                if not chunk:
                    continue
            heappush(heap, (-following[-1].base if following else bound, room))
